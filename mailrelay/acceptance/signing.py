"""Signing with DKIM, and sealing, between acceptance's checks and the transaction.

What our accounts send is signed by the domain of its author; a copy that an alias changes, or
gives fields of a list, by the alias's domain; what the server writes itself by its own.  What came
from outside and goes on is sealed (RFC 8617).

A message that cannot be signed goes unsigned: it is not refused for a fault of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.acceptance.signed_copies import (
    Job,
    Whole,
    author_domain,
    jobs_of,
    with_made,
)
from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.directory.model import Directory, Foreign
from mailrelay.mailauth.arc_seal import Sealing, seal
from mailrelay.mailauth.dkim import BodyDigest
from mailrelay.mailauth.dkim_sign import BODY, SigningKey, key_from_pem, sign
from mailrelay.net.threads import Executor
from mailrelay.queue.entry import Content, Entry, NewMessage

READ_BYTES = 256 * 1024
JOBS_AT_ONCE = 32
"""Signatures that a thread makes before others have a turn: some 20 ms."""

OWN_DOOR = "dsn"
"""Of what stands in place of a report that came."""


@frozen
class Signing:
    """Signs with the keys in use.  ``read_spool`` as QueueStore has it.

    ``hostname`` is in From of what the server writes; with ``seals``, forwarded mail is sealed.
    """

    directory: Callable[[], Directory]
    executor: Executor
    read_spool: Callable[[str, int, int], Deferred[bytes]]
    now: Callable[[], float]
    hostname: str = ""
    seals: bool = True
    _usable: dict[bytes, SigningKey] = field(factory=dict, init=False)  # by what is kept
    _log = Logger()

    @property
    def has_keys(self) -> bool:
        """Whether any domain's mail is signed."""
        return bool(self.directory().dkim_keys)

    def concerns(self, new: NewMessage, *, is_ours: bool) -> bool:
        """Whether something may have to be signed; ``is_ours`` as for ``signed``."""
        if not self.has_keys:
            return False
        return (
            is_ours
            or new.message.door == OWN_DOOR
            or bool(new.reports)
            or any(entry.edit for entry in new.entries)
        )

    def signed(
        self, new: NewMessage, head: bytes, *, is_ours: bool = True, sealing: Sealing | None = None
    ) -> Deferred[NewMessage]:
        """``new`` with signatures, and seals of what was found; ``head`` begins what came.

        ``is_ours`` when one of our accounts sends it.
        """
        return self._unless_failed(self._signed(new, head, is_ours, sealing), new)

    def own(self, new: NewMessage) -> Deferred[NewMessage]:
        """``new``, which the server wrote itself, with signatures."""
        return self._unless_failed(self._own(new), new)

    def _unless_failed(
        self, signing: Coroutine[Deferred[Any], Any, NewMessage], new: NewMessage
    ) -> Deferred[NewMessage]:
        def failed(failure: Failure) -> NewMessage:
            self._log.failure("message {id} is not signed", failure, id=new.message.id)
            return new

        return Deferred.fromCoroutine(signing).addErrback(failed)

    async def _signed(
        self, new: NewMessage, head: bytes, is_ours: bool, sealing: Sealing | None
    ) -> NewMessage:
        if new.message.door == OWN_DOOR:
            return await self._own(new)
        if new.reports:
            new = evolve(new, reports=[await self._own(one) for one in new.reports])
        whole = Whole.of(new.content.prefix, head)
        author = author_domain(whole.fields)
        shared = self._active(author) if is_ours and author else []
        leaving = [entry for entry in new.entries if self._leaves(entry)]
        found = sealing if self.seals else None
        jobs = jobs_of(whole, leaving, shared, found, self._active, self._own_keys)
        if not jobs:
            return new
        body = await self._body(new.content, len(whole.header))
        made: list[tuple[Job, bytes]] = []
        for at in range(0, len(jobs), JOBS_AT_ONCE):
            batch = jobs[at : at + JOBS_AT_ONCE]
            made += await self.executor.run(self._made, batch, body, found)
        return with_made(new, made)

    async def _own(self, new: NewMessage) -> NewMessage:
        keys, content = self._own_keys(), new.content
        if not keys or content.body is None or not any(map(self._leaves, new.entries)):
            return new
        whole = Whole.of(content.prefix, content.body)
        body = await self._body(content, len(whole.header))
        jobs = [Job(whole.fields, keys)]
        return with_made(new, await self.executor.run(self._made, jobs, body, None))

    async def _body(self, content: Content, at: int) -> _Body:
        """What is hashed: all from byte ``at`` of the content on."""
        at -= len(content.prefix)
        if content.body is not None:
            return _Body(content.body[at:])
        assert content.spool_name is not None
        body = _Body()
        while piece := await self.read_spool(content.spool_name, at, READ_BYTES):
            await self.executor.run(body.update, piece)
            at += len(piece)
        return body

    def _made(
        self, jobs: Sequence[Job], body: _Body, sealing: Sealing | None
    ) -> Sequence[tuple[Job, bytes]]:
        """What each job adds.  In a thread."""
        return [(job, self._added(job, body.digest(), sealing)) for job in jobs]

    def _added(self, job: Job, digest: bytes, sealing: Sealing | None) -> bytes:
        keys = [self._usable_key(key) for key in job.keys]
        if not job.seals:
            return sign(job.fields, digest, keys, self.now())
        assert sealing is not None
        return seal(job.fields, digest, sealing, keys[0], self.now())

    def _usable_key(self, key: StoredKey) -> SigningKey:
        usable = self._usable.get(key.pem)
        if usable is None:
            usable = SigningKey(key.domain, key.selector, key_from_pem(key.pem))
            self._usable[key.pem] = usable
        return usable

    def _active(self, domain: str) -> Sequence[StoredKey]:
        """The keys in use of a domain."""
        known = self.directory().dkim_keys
        return [key for key in known.get(domain, ()) if key.state is KeyState.ACTIVE]

    def _own_keys(self) -> Sequence[StoredKey]:
        """Those that sign for ``hostname``: of the nearest domain above it that has any."""
        name = self.hostname.lower()
        while name:
            if keys := self._active(name):
                return keys
            name = name.partition(".")[2]
        return []

    def _leaves(self, entry: Entry) -> bool:
        return isinstance(self.directory().resolve(entry.recipient), Foreign)


@define
class _Body:
    """A body, whose hash is made in a thread: of pieces, and what is left in ``rest``."""

    rest: bytes = b""
    _hash: BodyDigest = field(factory=lambda: BodyDigest(BODY), init=False)
    _digest: bytes | None = field(default=None, init=False)

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        self._hash.update(piece)

    def digest(self) -> bytes:
        """The hash of BODY."""
        if self._digest is None:
            self._hash.update(self.rest)
            self._digest = self._hash.finish()
        return self._digest
