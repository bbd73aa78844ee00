"""What keeps the store in order while it runs: checkpoints, sweeping, heartbeats, changes.

Every write here is small: none keeps the others waiting for more than 50 ms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from sqlalchemy import Connection, Engine, delete, exists, func, select, text
from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage import tables
from mailrelay.storage.call_records import sweep_calls
from mailrelay.storage.database import Database, as_unavailable
from mailrelay.storage.directory import changes_after, newest_change
from mailrelay.storage.idempotency import sweep_answers
from mailrelay.storage.kept_contents import release_contents
from mailrelay.storage.nodes import Node, beat, bury, heartbeats
from mailrelay.storage.orphans import Orphans
from mailrelay.storage.peer_messages import kept_for_peers, note_removal
from mailrelay.storage.queue import drop_unneeded_content
from mailrelay.storage.statements import delete_listed
from mailrelay.storage.statistics import counted
from mailrelay.storage.suppression import sweep_suppressions
from mailrelay.storage.vacuum import give_back, impatient_cursor, spare_pages
from mailrelay.storage.works import sweep_works

CHECKPOINT_EVERY = 1.0
SWEEP_EVERY = 1.0
SWEEP_BATCH = 500
SWEEP_CALLS_BATCH = 100  # a dozen attempts go with each
CHANGES_EVERY = 0.25
HEARTBEAT_EVERY = 5.0
DEAD_AFTER = 30.0
WAL_CEILING_BYTES = 256 * 1024 * 1024


@frozen
class Intervals:
    """How often what is done, in seconds; simulations of long times take longer ones."""

    checkpoint: float = CHECKPOINT_EVERY
    sweep: float = SWEEP_EVERY
    changes: float = CHANGES_EVERY
    heartbeat: float = HEARTBEAT_EVERY
    space: float = 1.0
    orphans: float = 600.0
    statistics: float = 1.0
    reports: float = 600.0


_entry = tables.entry


def repeated(
    clock: IReactorTime, every: float, work: Callable[[], Deferred[object]], log: Logger
) -> TimerService:
    """A service that calls ``work`` every so many seconds, never twice at once."""

    def run() -> Deferred[object]:
        done = work()
        done.addErrback(lambda failure: log.failure("upkeep failed", failure))
        return done

    service = TimerService(every, run)
    service.clock = clock
    return service


class Upkeep(MultiService):
    """Everything that is done to the store at intervals.

    ``changed`` is called with the kinds of changes that others made; ``is_short`` says
    that the disk has no room.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        node: Node,
        clock: IReactorTime,
        now: Callable[[], float],
        changed: Callable[[set[str]], None],
        remove_spooled: Callable[[list[str]], object],
        intervals: Intervals = Intervals(),
        orphans: Orphans | None = None,
        is_short: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._database, self._node = database, node
        self._clock, self._now = clock, now
        self._changed, self._remove_spooled = changed, remove_spooled
        self._orphans, self._is_short = orphans, is_short
        self._seen_change = -1
        self._watch = HeartbeatWatch()
        for every, work in (
            (intervals.checkpoint, self._checkpoint),
            (intervals.sweep, self._sweep),
            (intervals.changes, self._look_for_changes),
            (intervals.heartbeat, self._beat),
            (intervals.orphans, self._sweep_orphans),
        ):
            repeated(clock, every, work, self._log).setServiceParent(self)

    # Checkpoints

    def _checkpoint(self) -> Deferred[object]:
        if not self._database.is_sqlite:
            return succeed(None)
        path = Path(f"{self._database.engine.url.database}-wal")
        done = self._database.readers.run(_checkpoint, self._database, path)
        done.addCallback(self._checkpointed)
        return done.addErrback(as_unavailable).addErrback(_unless_unavailable)

    def _checkpointed(self, found: tuple[int, int]) -> object:
        wal_bytes, spare = found
        if wal_bytes > WAL_CEILING_BYTES:
            # Readers kept the passive ones from finishing: now the writer waits for it.
            return self._database.writer.outside(_truncate)
        if not spare:
            return None
        return self._database.writer.outside(lambda engine: give_back(engine, spare))

    # Sweeping

    def _sweep(self) -> Deferred[object]:
        swept = self._sweep_entries().addCallback(lambda _: self._sweep_calls())
        return swept.addCallback(lambda _: self._sweep_works())

    def _sweep_works(self) -> Deferred[object]:
        swept = self._database.write(lambda c: sweep_works(c, self._now()))

        def again(count: int) -> object:
            return self._sweep_works() if count and self.running else None

        return swept.addCallback(again).addErrback(_unless_unavailable)

    def _sweep_calls(self) -> Deferred[object]:
        swept = self._database.write(lambda c: sweep_calls(c, self._now(), SWEEP_CALLS_BATCH))

        def again(count: int) -> object:
            return self._sweep_calls() if count == SWEEP_CALLS_BATCH and self.running else None

        return swept.addCallback(again).addErrback(_unless_unavailable)

    def _sweep_entries(self) -> Deferred[object]:
        kept_for_nobody = self._is_short()
        swept = self._database.write(
            lambda c: sweep(c, self._now(), SWEEP_BATCH, is_short=kept_for_nobody)
        )

        def again(result: tuple[int, list[str]]) -> object:
            count, names = result
            if names:
                self._remove_spooled(names)
            return self._sweep_entries() if count == SWEEP_BATCH and self.running else None

        return swept.addCallback(again).addErrback(_unless_unavailable)

    def _sweep_orphans(self) -> Deferred[object]:
        if self._orphans is None:
            return succeed(None)
        swept: Deferred[object] = Deferred.fromCoroutine(self._orphans.sweep())
        return swept.addErrback(as_unavailable).addErrback(_unless_unavailable)

    # Changes

    def _look_for_changes(self) -> Deferred[object]:
        if self._seen_change < 0:
            newest = self._database.read(newest_change)
            return newest.addCallback(self._start_from).addErrback(_unless_unavailable)
        found = self._database.read(lambda c: changes_after(c, self._seen_change))
        return found.addCallback(self._take_changes).addErrback(_unless_unavailable)

    def _start_from(self, newest: int) -> None:
        self._seen_change = newest
        self._changed({"directory", "queue", "calls"})

    def _take_changes(self, changes: list[tuple[int, str]]) -> None:
        if changes:
            self._seen_change = changes[-1][0]
            self._changed({kind for _, kind in changes})

    # Nodes

    def _beat(self) -> Deferred[object]:
        def work(connection: Connection) -> dict[int, int]:
            beat(connection, self._node)
            return heartbeats(connection)

        done = self._database.write(work)
        return done.addCallback(self._bury_the_dead).addErrback(_unless_unavailable)

    def _bury_the_dead(self, counters: dict[int, int]) -> object:
        dead = self._watch.dead(counters, self._clock.seconds(), own=self._node.id)
        if not dead:
            return None

        def work(connection: Connection) -> int:
            return sum(bury(connection, node_id) for node_id in dead)

        return self._database.write(work).addCallback(self._took_over)

    def _took_over(self, freed: int) -> None:
        if freed:
            self._log.warn("took over {freed} entries and calls of dead nodes", freed=freed)
            self._changed({"queue", "calls"})


def _unless_unavailable(failure: Failure) -> None:
    failure.trap(StoreUnavailable)


@define
class HeartbeatWatch:
    """Which nodes' counters stand still, by the observer's own monotonic clock."""

    _seen: dict[int, tuple[int, float]] = field(factory=dict)
    _looked_at: float = 0.0

    def dead(self, counters: dict[int, int], now: float, *, own: int) -> list[int]:
        """Nodes that have not moved for DEAD_AFTER seconds; each is named once."""
        if now - self._looked_at > DEAD_AFTER / 2:
            # We could not look, so perhaps nobody could write: everybody gets the time anew.
            self._seen = {id_: (counter, now) for id_, counter in counters.items()}
        self._looked_at = now
        found = []
        for node_id, counter in counters.items():
            before = self._seen.get(node_id)
            if before is None or before[0] != counter:
                self._seen[node_id] = (counter, now)
            elif node_id != own and 0 <= before[1] <= now - DEAD_AFTER:
                self._seen[node_id] = (counter, float("inf"))
                found.append(node_id)
        return found


def _checkpoint(database: Database, wal: Path) -> tuple[int, int]:
    """A passive checkpoint on a reader's connection; the WAL's size after it, and spare pages."""
    raw = database.engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        spare = spare_pages(raw.cursor())
    finally:
        raw.close()
    return wal.stat().st_size if wal.exists() else 0, spare


def _truncate(engine: Engine) -> None:
    with impatient_cursor(engine) as cursor:  # it waits for readers
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


_STILL_THERE = (
    "EXISTS (SELECT 1 FROM entry WHERE entry.message_id = {0}) OR EXISTS"
    " (SELECT 1 FROM mailbox_message WHERE mailbox_message.message_id = {0})"
)


def sweep(
    connection: Connection, now: float, limit: int, *, is_short: bool = False
) -> tuple[int, list[str]]:
    """Remove up to ``limit`` retired entries whose time is over, and what only they needed.

    How many went, and the spool names that are free now.  As many kept answers go, and
    suppressions that ended, and contents that were kept to be sent again: all of them when the disk
    is short of room.
    """
    sweep_answers(connection, now, limit)
    sweep_suppressions(connection, now, limit)
    released = release_contents(connection, math.inf if is_short else now, limit)
    unneeded = drop_unneeded_content(connection, released)
    due = _due(connection, now, limit)
    if not due:
        return 0, list(unneeded)
    of = {row.message_id for row in due}
    messages = sorted(of - kept_for_peers(connection, sorted(of), now))
    gone = [row.id for row in due if row.message_id in messages]
    delete_listed(connection, "entry", "id", gone, "1 = 0")
    names = drop_unneeded_content(connection, messages)
    note_removal(connection, messages)
    for table, column in (
        ("event", "message_id"),
        ("peer_message", "message_id"),
        ("message_tag", "message_id"),
        ("message", "id"),
    ):
        still_there = _STILL_THERE.format(f"{table}.{column}")
        delete_listed(connection, table, column, messages, still_there)
    connection.execute(delete(tables.change).where(tables.change.c.at < now - 86400.0))
    return len(due), [*unneeded, *names]


def _due(connection: Connection, now: float, limit: int) -> Sequence[Any]:
    """The oldest retired entries whose time is over; not those with events yet to be counted."""
    over = (
        select(_entry.c.id, _entry.c.message_id)
        .where(text("state = 2"), _entry.c.keep_until <= now)
        .order_by(_entry.c.keep_until)
        .limit(limit)
        .subquery()
    )
    event = tables.event
    is_to_be_counted = exists().where(
        event.c.message_id == over.c.message_id,
        event.c.position > counted(connection),
        event.c.account_id.is_not(None),
    )
    return connection.execute(select(over).where(~is_to_be_counted)).all()


def queue_sizes(connection: Connection, now: float) -> tuple[dict[str, int], float]:
    """Entries by state, and the age in seconds of the oldest that is ready."""
    sizes = {}
    for name, condition in (
        ("ready", "state = 0 AND node_id = 0"),
        ("held", "state = 1"),
        ("claimed", "node_id <> 0"),
    ):
        counted = select(func.count()).select_from(_entry).where(text(condition))
        sizes[name] = int(connection.execute(counted).scalar_one())
    oldest = connection.execute(
        select(func.min(_entry.c.next_attempt_at)).where(text("state = 0 AND node_id = 0"))
    ).scalar()
    return sizes, max(0.0, now - oldest) if oldest is not None else 0.0
