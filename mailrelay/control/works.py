"""Works: what is done to many things, piece by piece, also when the server stops meanwhile.

Invariants: a work goes up the ids, and what is done of a piece is recorded before the next; after a
crash the last piece may be done again, which changes nothing that it changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch

ADMIN = 0
"""Whose works are no account's."""

KEPT_FOR = 7 * 86400.0
"""Seconds for which a work that ended can be looked at."""

CHANGED = "changed"


class WorkState(Enum):
    """Where a work stands; the values are stored and shown."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@frozen
class Work:
    """One work.  ``wanted`` is JSON; ``total`` is 0 until it is counted.  Times since the epoch."""

    id: int
    kind: str
    wanted: str
    actor: str
    state: WorkState
    began_at: float
    ended_at: float | None = None
    total: int = 0
    done: int = 0
    changed: int = 0
    after_id: int = 0
    error: str = ""


@frozen
class WorkResult:
    """What became of one thing."""

    subject_id: int
    outcome: str


@frozen
class Piece:
    """What was done in one go; everything up to ``to_id`` is done, and all of it when it ends."""

    results: Sequence[WorkResult]
    to_id: int
    is_end: bool

    @property
    def changed(self) -> int:
        """How many things were changed."""
        return sum(one.outcome == CHANGED for one in self.results)


class Doer(Protocol):
    """Does works of one kind."""

    def count(self, work: Work) -> Awaitable[int]:
        """How many things it is to be done to, roughly."""

    def do(self, work: Work) -> Awaitable[Piece]:
        """The next piece, behind ``after_id``.  Raises: Refusal, when it can never be done."""


class WorkRecords(Protocol):
    """The works of one owner.  Methods may fail with StoreUnavailable."""

    def start(self, kind: str, wanted: str, actor: str, now: float) -> Deferred[Work]:
        """Store a work, audit it, and tell running processes."""

    def add_done(
        self, kind: str, wanted: str, actor: str, results: Sequence[WorkResult], now: float
    ) -> Deferred[Work]:
        """Store a work that was done at once."""

    def find(self, limit: int, before_id: int | None) -> Deferred[Sequence[Work]]:
        """Works, newest first."""

    def get(self, id_: int) -> Deferred[Work | None]:
        """One work."""

    def results(
        self, id_: int, limit: int, after_id: int, outcome: str | None
    ) -> Deferred[Sequence[WorkResult]]:
        """What became of each thing, by id."""

    def outcomes(self, id_: int) -> Deferred[Mapping[str, int]]:
        """How many things came to what."""

    def stop(self, id_: int, actor: str, now: float) -> Deferred[bool]:
        """End a running work before its time."""


@frozen
class WorkControl:
    """What may be asked of works, and by whom it was."""

    records: WorkRecords
    now: Callable[[], float]
    actor: str

    async def start(self, kind: str, wanted: str) -> Work:
        """Begin a work; this server goes on with it."""
        return await self.records.start(kind, wanted, self.actor, self.now())

    async def add_done(self, kind: str, wanted: str, results: Sequence[WorkResult]) -> Work:
        """Keep what was done at once, to be looked at as works are."""
        return await self.records.add_done(kind, wanted, self.actor, results, self.now())

    async def find(self, limit: int = 50, before_id: int | None = None) -> Sequence[Work]:
        """Works, newest first."""
        return await self.records.find(limit, before_id)

    async def get(self, id_: int) -> Work:
        """One work.  Raises: NoSuch."""
        found = await self.records.get(id_)
        if found is None:
            raise NoSuch(f"no work {id_}: it never was, or ended more than a week ago")
        return found

    async def results(
        self, id_: int, limit: int = 100, after_id: int = 0, outcome: str | None = None
    ) -> Sequence[WorkResult]:
        """What became of each thing, by id.  Raises: NoSuch."""
        await self.get(id_)
        return await self.records.results(id_, limit, after_id, outcome)

    async def outcomes(self, id_: int) -> Mapping[str, int]:
        """How many things came to what."""
        return await self.records.outcomes(id_)

    async def stop(self, id_: int) -> bool:
        """End a running work; False when it had ended.  Raises: NoSuch."""
        await self.get(id_)
        return await self.records.stop(id_, self.actor, self.now())


class RunningWorks(Protocol):
    """What whoever does works asks of the store.  Methods may fail with StoreUnavailable."""

    def running(self) -> Deferred[Sequence[Work]]:
        """This node's works that have not ended."""

    def counted(self, id_: int, total: int) -> Deferred[None]:
        """So much is to be done."""

    def took(self, work: Work, piece: Piece, now: float) -> Deferred[Work]:
        """Record a piece; the work as it is now, which somebody may have stopped."""

    def failed(self, id_: int, error: str, now: float) -> Deferred[None]:
        """A running work cannot be done."""
