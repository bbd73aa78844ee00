"""Signing what our accounts send with DKIM, between acceptance's checks and the transaction.

A message that cannot be signed goes unsigned: it is not refused for a fault of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.directory.model import Directory
from mailrelay.mailauth.dkim import BodyDigest, field_name, raw_fields
from mailrelay.mailauth.dkim_sign import BODY, SigningKey, key_from_pem, sign
from mailrelay.message.header import addresses_in, header_end, unfolded
from mailrelay.net.threads import Executor
from mailrelay.queue.entry import NewMessage

READ_BYTES = 256 * 1024


@frozen
class Signing:
    """Signs with the keys of the domain of From.  ``read_spool`` as QueueStore has it."""

    directory: Callable[[], Directory]
    executor: Executor
    read_spool: Callable[[str, int, int], Deferred[bytes]]
    now: Callable[[], float]
    _usable: dict[bytes, SigningKey] = field(factory=dict, init=False)  # by what is kept
    _log = Logger()

    @property
    def has_keys(self) -> bool:
        """Whether any domain's mail is signed."""
        return bool(self.directory().dkim_keys)

    def signed(self, new: NewMessage, head: bytes) -> Deferred[NewMessage]:
        """``new`` with signatures on top, if its domain has keys; ``head`` begins what came."""
        signing = Deferred.fromCoroutine(self._signed(new, head))

        def failed(failure: Failure) -> NewMessage:
            self._log.failure("message {id} is not signed", failure, id=new.message.id)
            return new

        return signing.addErrback(failed)

    async def _signed(self, new: NewMessage, head: bytes) -> NewMessage:
        content = new.content
        start = content.prefix + head
        end = header_end(start)
        fields = raw_fields(start[:end])
        keys = self._keys(fields)
        if not keys:
            return new
        digest = BodyDigest(BODY)
        if content.body is not None:
            body = (content.prefix + content.body)[end:]
            added = await self.executor.run(self._sign, fields, digest, body, keys)
        else:
            assert content.spool_name is not None
            at = end - len(content.prefix)
            while piece := await self.read_spool(content.spool_name, at, READ_BYTES):
                await self.executor.run(digest.update, piece)
                at += len(piece)
            added = await self.executor.run(self._sign, fields, digest, b"", keys)
        return _with_fields(new, added)

    def _sign(
        self,
        fields: Sequence[bytes],
        digest: BodyDigest,
        body: bytes,
        keys: Sequence[StoredKey],
    ) -> bytes:
        """In a thread."""
        digest.update(body)
        usable = [self._usable_key(key) for key in keys]
        return sign(fields, digest.finish(), usable, self.now())

    def _usable_key(self, key: StoredKey) -> SigningKey:
        usable = self._usable.get(key.pem)
        if usable is None:
            usable = SigningKey(key.domain, key.selector, key_from_pem(key.pem))
            self._usable[key.pem] = usable
        return usable

    def _keys(self, fields: Sequence[bytes]) -> Sequence[StoredKey]:
        """Those in use of the domain of the only author."""
        known = self.directory().dkim_keys
        domains = set(_author_domains(fields))
        if len(domains) != 1:
            return []
        return [key for key in known.get(domains.pop(), []) if key.state is KeyState.ACTIVE]


def _with_fields(new: NewMessage, added: bytes) -> NewMessage:
    """``new`` with fields on top, which count for its size."""
    size = new.message.size_bytes + len(added)
    message = evolve(new.message, size_bytes=size)
    events = [
        evolve(event, data={**event.data, "size_bytes": size})
        if "size_bytes" in event.data
        else event
        for event in new.events
    ]
    entries = [evolve(entry, message=message) for entry in new.entries]
    content = evolve(new.content, prefix=added + new.content.prefix)
    return evolve(new, message=message, content=content, entries=entries, events=events)


def _author_domains(fields: Sequence[bytes]) -> Iterator[str]:
    for raw in fields:
        if field_name(raw) == "from":
            for address in addresses_in(unfolded(raw.partition(b":")[2])):
                yield address.domain
