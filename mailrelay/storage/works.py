"""Works' rows (control/works.py): what is asked of them, and what who does them records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, delete, func, insert, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.works import ADMIN, KEPT_FOR, Piece, Work, WorkResult, WorkState
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import record_audit, tell

_work, _result = tables.work, tables.work_result

SWEPT_RESULTS = 2000


@frozen
class DatabaseWorks:
    """WorkRecords, and RunningWorks, over one database; ``node_id`` does what is started here."""

    database: Database
    node_id: int
    account_id: int = ADMIN

    def start(self, kind: str, wanted: str, actor: str, now: float) -> Deferred[Work]:
        """See WorkRecords."""
        return self.database.write(lambda c: self._started(c, kind, wanted, actor, now))

    def add_done(
        self, kind: str, wanted: str, actor: str, results: Sequence[WorkResult], now: float
    ) -> Deferred[Work]:
        """See WorkRecords."""

        def work(connection: Connection) -> Work:
            begun = self._started(connection, kind, wanted, actor, now)
            piece = Piece(results, results[-1].subject_id if results else 0, is_end=True)
            change = update(_work).where(_work.c.id == begun.id).values(total=len(results))
            connection.execute(change)
            return _taken(connection, begun, piece, now)

        return self.database.write(work)

    def _started(
        self, connection: Connection, kind: str, wanted: str, actor: str, now: float
    ) -> Work:
        values: dict[str, Any] = {
            **{"account_id": self.account_id, "node_id": self.node_id, "kind": kind},
            **{"wanted": wanted, "actor": actor, "state": WorkState.RUNNING.value},
            **{"began_at": now, "total": 0, "done": 0, "changed": 0, "after_id": 0, "error": ""},
        }
        made = connection.execute(insert(_work).values(values)).inserted_primary_key
        assert made is not None
        tell(connection, now, "works")
        record_audit(connection, now, actor, "work start", f"{made[0]} {kind} {wanted}"[:2000])
        return Work(made[0], kind, wanted, actor, WorkState.RUNNING, now)

    def find(self, limit: int, before_id: int | None) -> Deferred[Sequence[Work]]:
        """See WorkRecords."""
        wanted = select(_work).where(_work.c.account_id == self.account_id)
        if before_id is not None:
            wanted = wanted.where(_work.c.id < before_id)
        wanted = wanted.order_by(_work.c.id.desc()).limit(limit)
        return self.database.read(lambda c: [_work_of(row) for row in c.execute(wanted)])

    def get(self, id_: int) -> Deferred[Work | None]:
        """See WorkRecords."""
        return self.database.read(lambda c: self._get(c, id_))

    def _get(self, connection: Connection, id_: int) -> Work | None:
        own = (_work.c.id == id_, _work.c.account_id == self.account_id)
        row = connection.execute(select(_work).where(*own)).first()
        return None if row is None else _work_of(row)

    def results(
        self, id_: int, limit: int, after_id: int, outcome: str | None
    ) -> Deferred[Sequence[WorkResult]]:
        """See WorkRecords."""
        wanted = select(_result).where(
            _result.c.work_id == self._own(id_), _result.c.subject_id > after_id
        )
        if outcome is not None:
            wanted = wanted.where(_result.c.outcome == outcome)
        wanted = wanted.order_by(_result.c.subject_id).limit(limit)
        return self.database.read(
            lambda c: [WorkResult(row.subject_id, row.outcome) for row in c.execute(wanted)]
        )

    def _own(self, id_: int) -> Any:
        own = (_work.c.id == id_, _work.c.account_id == self.account_id)
        return select(_work.c.id).where(*own).scalar_subquery()

    def outcomes(self, id_: int) -> Deferred[Mapping[str, int]]:
        """See WorkRecords."""
        counted = (
            select(_result.c.outcome, func.count())
            .where(_result.c.work_id == self._own(id_), _result.c.outcome != "changed")
            .group_by(_result.c.outcome)
        )
        return self.database.read(lambda c: {row[0]: row[1] for row in c.execute(counted)})

    def stop(self, id_: int, actor: str, now: float) -> Deferred[bool]:
        """See WorkRecords."""

        def work(connection: Connection) -> bool:
            if self._get(connection, id_) is None:
                return False
            was_running = _end(connection, id_, WorkState.STOPPED, now)
            if was_running:
                record_audit(connection, now, actor, "work stop", str(id_))
            return was_running

        return self.database.write(work)

    # Whoever does them

    def running(self) -> Deferred[Sequence[Work]]:
        """See RunningWorks."""
        mine = (_work.c.node_id == self.node_id, _work.c.state == WorkState.RUNNING.value)
        wanted = select(_work).where(*mine).order_by(_work.c.id)
        return self.database.read(lambda c: [_work_of(row) for row in c.execute(wanted)])

    def counted(self, id_: int, total: int) -> Deferred[None]:
        """See RunningWorks."""
        change = update(_work).where(_work.c.id == id_).values(total=total)

        def work(connection: Connection) -> None:
            connection.execute(change)

        return self.database.write(work)

    def took(self, work: Work, piece: Piece, now: float) -> Deferred[Work]:
        """See RunningWorks."""
        return self.database.write(lambda c: _taken(c, work, piece, now))

    def failed(self, id_: int, error: str, now: float) -> Deferred[None]:
        """See RunningWorks."""

        def work(connection: Connection) -> None:
            _end(connection, id_, WorkState.FAILED, now, error)

        return self.database.write(work)

    def sweep(self, now: float) -> Deferred[int]:
        """Remove a little of what ended KEPT_FOR ago; how many rows went."""
        return self.database.write(lambda c: sweep_works(c, now))


def _taken(connection: Connection, work: Work, piece: Piece, now: float) -> Work:
    rows = [
        {"work_id": work.id, "subject_id": one.subject_id, "outcome": one.outcome}
        for one in piece.results
    ]
    if rows:
        connection.execute(insert(_result), rows)
    change = {
        "done": _work.c.done + len(piece.results),
        "changed": _work.c.changed + piece.changed,
        "after_id": piece.to_id,
    }
    connection.execute(update(_work).where(_work.c.id == work.id).values(change))
    if piece.is_end:
        _end(connection, work.id, WorkState.DONE, now)
    return _work_of(connection.execute(select(_work).where(_work.c.id == work.id)).one())


def _end(connection: Connection, id_: int, state: WorkState, now: float, error: str = "") -> bool:
    """End a work; False when it had ended."""
    is_running = (_work.c.id == id_, _work.c.state == WorkState.RUNNING.value)
    change = {"state": state.value, "ended_at": now, "error": error}
    return connection.execute(update(_work).where(*is_running).values(change)).rowcount > 0


def sweep_works(connection: Connection, now: float) -> int:
    """Remove results of what ended KEPT_FOR ago, and then the works; how many rows went."""
    old = select(_work.c.id).where(_work.c.ended_at < now - KEPT_FOR).order_by(_work.c.id).limit(1)
    id_ = connection.execute(old).scalar()
    if id_ is None:
        return 0
    some = select(_result.c.subject_id).where(_result.c.work_id == id_).limit(SWEPT_RESULTS)
    swept = delete(_result).where(_result.c.work_id == id_, _result.c.subject_id.in_(some))
    gone = connection.execute(swept).rowcount
    return int(gone) or int(connection.execute(delete(_work).where(_work.c.id == id_)).rowcount)


def _work_of(row: Any) -> Work:
    return Work(
        row.id,
        row.kind,
        row.wanted,
        row.actor,
        WorkState(row.state),
        row.began_at,
        row.ended_at,
        row.total,
        row.done,
        row.changed,
        row.after_id,
        row.error,
    )
