"""What was handed in before: a mail server that did not hear our answer sends the same again.

Invariants:

- What is taken of a request is noted in the transaction that makes it ours, under a key of which
  there is one: of the same request twice, at once or later, one is taken.
- A request may be taken in rounds, when some of its recipients could not be then.  Each round's
  note says for whom it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec
from attrs import evolve, frozen

from mailrelay.control.handed_in import NOBODY, SETTLED, UNDER_WAY, Asked, Note, NoteStore
from mailrelay.queue.entry import StoredAnswer
from mailrelay.smtp.address import Address

HANDLED_FOR = 86400.0
"""Seconds for which a recipient of To or Cc has a message that has a Message-ID."""

MOST_ROUNDS = 1000


@frozen
class Before:
    """What was taken of a request before; ``rounds`` is how often."""

    rounds: int = 0
    recipients: frozenset[str] = frozenset()
    served: frozenset[str] = frozenset()
    under_way: tuple[int, Note] | None = None  # its round, and what it is about
    is_other: bool = False  # another request had the key

    def has(self, address: Address) -> bool:
        """Whether nothing remains to be done for ``address``."""
        return str(address) in self.recipients


def asked(
    endpoint: str,
    given_key: str | None,
    sender: Address | None,
    recipients: Iterable[Address],
    digest: bytes,
) -> Asked:
    """The identity of a request.  The same key for other recipients is of another request."""
    content = _hashed(str(sender or ""), digest.hex())
    own = given_key if given_key is not None else content.hex()
    kind = "key" if given_key is not None else "content"
    key = _hashed(kind, own, *sorted(map(str, recipients)))
    return Asked(f"handoff {endpoint} {key.hex()}", content)


def handled(endpoint: str, message_id: str, recipient: Address, now: float) -> StoredAnswer:
    """The note that ``recipient`` has the message of that Message-ID."""
    key = f"handoff-id {endpoint} {_hashed(message_id, str(recipient)).hex()}"
    return StoredAnswer(NOBODY, key, b"", SETTLED, b"", now + HANDLED_FOR)


def _hashed(*texts: str) -> bytes:
    digest = hashlib.sha256()
    for text in texts:
        value = text.encode("utf-8", "surrogateescape")
        digest.update(b"%d:%s" % (len(value), value))
    return digest.digest()


@frozen
class Memory:
    """Reads the notes."""

    store: NoteStore

    async def before(self, asked: Asked) -> Before:
        """What was taken of this request.  Raises: StoreUnavailable."""
        before = Before()
        for round_ in range(MOST_ROUNDS):
            found = await self.store.find(NOBODY, f"{asked.key}/{round_}")
            if found is None:
                break
            note = msgspec.json.decode(found.answer, type=Note)
            before = evolve(
                before,
                rounds=round_ + 1,
                recipients=before.recipients | frozenset(note.recipients),
                served=before.served | frozenset(note.served),
                under_way=(round_, note) if found.status == UNDER_WAY else before.under_way,
                is_other=before.is_other or found.request_hash != asked.content,
            )
        return before

    async def unhandled(self, notes: Sequence[StoredAnswer]) -> Sequence[StoredAnswer]:
        """Those of ``notes`` that are not there.  Raises: StoreUnavailable."""
        return [one for one in notes if await self.store.find(NOBODY, one.key) is None]
