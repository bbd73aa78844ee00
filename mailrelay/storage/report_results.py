"""ResultStore (reporting/store.py) over Core, and what is recorded for it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from attrs import evolve, frozen
from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from twisted.internet.defer import Deferred

from mailrelay.mailauth.dmarc_result import DMARCResult
from mailrelay.outbound.tls_result import TLSFailure, TLSPolicy, TLSResult
from mailrelay.queue.entry import NewMessage
from mailrelay.reporting.model import FailureDetails, Kind, PolicyResult
from mailrelay.reporting.store import DAY, Due, Made
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import tell
from mailrelay.storage.nodes import Node
from mailrelay.storage.queue import insert_messages
from mailrelay.storage.statements import chunked, cursor_of

_dmarc, _tls, _made = tables.dmarc_result, tables.tls_result, tables.report_made

SWEPT_TOGETHER = 500

MOST_ROWS = 1000
"""Of a domain and day, of how TLS went: beyond, failures are told without their details."""

Judged = tuple[str, float, DMARCResult]
"""The domain that published the policy, when, and what was judged."""

Session = tuple[float, TLSResult]
"""When, and how it went."""

_Key = tuple[int, str, str, str]
"""Day, domain, policy and details."""


@frozen
class DatabaseResults:
    """Results over one database; ``make`` queues letters as ``node``."""

    database: Database
    node: Node
    now: Callable[[], float]

    def record_dmarc(self, judged: Sequence[Judged]) -> Deferred[None]:
        """Keep what was judged."""
        rows = [
            {"domain": domain, "at": at, "record": msgspec.json.encode(result).decode()}
            for domain, at, result in judged
        ]

        def work(connection: Connection) -> None:
            connection.execute(insert(_dmarc), rows)

        return self.database.write(work)

    def record_tls(self, sessions: Sequence[Session]) -> Deferred[None]:
        """Count sessions."""
        counts = Counter(
            (
                int(at // DAY),
                result.domain,
                msgspec.json.encode(result.policy).decode(),
                _details(result.failure),
            )
            for at, result in sessions
        )
        return self.database.write(lambda connection: _count(connection, counts))

    def due(
        self, kind: Kind, before_day: int, after: Due | None, limit: int
    ) -> Deferred[Sequence[Due]]:
        """See ResultStore."""
        find = _dmarc_due if kind is Kind.DMARC else _tls_due
        return self.database.read(lambda c: find(c, before_day, after, limit))

    def dmarc_results(
        self, due: Due, after: tuple[float, int] | None, limit: int
    ) -> Deferred[Sequence[tuple[tuple[float, int], DMARCResult]]]:
        """See ResultStore."""
        query = select(_dmarc.c.at, _dmarc.c.id, _dmarc.c.record).where(*_dmarc_of(due))
        if after is not None:
            at, id_ = after
            behind = or_(_dmarc.c.at > at, and_(_dmarc.c.at == at, _dmarc.c.id > id_))
            query = query.where(_dmarc.c.at >= at, behind)
        query = query.order_by(_dmarc.c.at, _dmarc.c.id).limit(limit)

        def work(connection: Connection) -> Sequence[tuple[tuple[float, int], DMARCResult]]:
            return [
                ((row.at, row.id), msgspec.json.decode(row.record, type=DMARCResult))
                for row in connection.execute(query)
            ]

        return self.database.read(work)

    def tls_results(self, due: Due) -> Deferred[Sequence[PolicyResult]]:
        """See ResultStore."""
        query = select(_tls.c.policy, _tls.c.details, _tls.c.sessions).where(*_tls_of(due))

        def work(connection: Connection) -> Sequence[PolicyResult]:
            return _policies(due.domain, connection.execute(query).all())

        return self.database.read(work)

    def make(self, made: Made, letters: Sequence[NewMessage]) -> Deferred[bool]:
        """See ResultStore."""

        def work(connection: Connection) -> bool:
            if connection.execute(select(_made.c.made_at).where(*_is(made))).first():
                return False
            connection.execute(insert(_made).values(**_made_row(made)))
            insert_messages(connection, letters, self.node)
            if letters:
                tell(connection, self.now(), "queue")
            return True

        return self.database.write(work)

    def tell(self, made: Made) -> Deferred[None]:
        """See ResultStore."""
        changed = update(_made).where(*_is(made)).values(outcome=made.outcome)

        def work(connection: Connection) -> None:
            connection.execute(changed)

        return self.database.write(work)

    def forget(self, due: Due) -> Deferred[bool]:
        """See ResultStore."""
        if due.kind is Kind.TLS:
            statement = delete(_tls).where(*_tls_of(due))
            return self.database.write(lambda c: _removed(c, statement) < 0)
        some = select(_dmarc.c.id).where(*_dmarc_of(due)).limit(SWEPT_TOGETHER)
        old = delete(_dmarc).where(_dmarc.c.id.in_(some))
        return self.database.write(lambda c: _removed(c, old) == SWEPT_TOGETHER)

    def sweep(self, results_before: float, made_before: float) -> Deferred[bool]:
        """See ResultStore."""

        def work(connection: Connection) -> bool:
            found = _dmarc_due(connection, int(results_before // DAY), None, 1)
            removed = 0
            for due in found:
                some = select(_dmarc.c.id).where(*_dmarc_of(due)).limit(SWEPT_TOGETHER)
                removed += _removed(connection, delete(_dmarc).where(_dmarc.c.id.in_(some)))
            for due in _tls_due(connection, int(results_before // DAY), None, 1):
                removed += _removed(connection, delete(_tls).where(*_tls_of(due)))
            old = select(_made.c.kind, _made.c.domain, _made.c.began_at)
            old = old.where(_made.c.made_at < made_before).limit(SWEPT_TOGETHER)
            for row in connection.execute(old).all():
                connection.execute(
                    delete(_made).where(
                        _made.c.kind == row.kind,
                        _made.c.domain == row.domain,
                        _made.c.began_at == row.began_at,
                    )
                )
                removed += 1
            return removed > 0

        return self.database.write(work)


def _removed(connection: Connection, statement: Any) -> int:
    return int(connection.execute(statement).rowcount)


# DMARC


def _dmarc_of(due: Due) -> tuple[Any, ...]:
    of_day = (_dmarc.c.at >= due.began_at, _dmarc.c.at < due.began_at + DAY)
    return (_dmarc.c.domain == due.domain, *of_day)


def _dmarc_due(
    connection: Connection, before_day: int, after: Due | None, limit: int
) -> Sequence[Due]:
    """The index is sought for each domain, not gone through: a day may have a million rows."""
    found: list[Due] = []
    last = after.domain if after is not None else ""
    while len(found) < limit:
        following = select(func.min(_dmarc.c.domain)).where(_dmarc.c.domain > last)
        domain = connection.execute(following).scalar()
        if domain is None:
            break
        last = str(domain)
        first = select(func.min(_dmarc.c.at)).where(_dmarc.c.domain == last)
        at = connection.execute(first).scalar()
        if at is not None and at < before_day * DAY:
            found.append(Due(Kind.DMARC, last, int(at // DAY)))
    return found


# TLS


def _tls_of(due: Due) -> tuple[Any, ...]:
    return _tls.c.day == due.day, _tls.c.domain == due.domain


def _tls_due(
    connection: Connection, before_day: int, after: Due | None, limit: int
) -> Sequence[Due]:
    query = select(_tls.c.day, _tls.c.domain).distinct().where(_tls.c.day < before_day)
    if after is not None:
        same_day = and_(_tls.c.day == after.day, _tls.c.domain > after.domain)
        query = query.where(or_(_tls.c.day > after.day, same_day))
    query = query.order_by(_tls.c.day, _tls.c.domain).limit(limit)
    return [Due(Kind.TLS, row.domain, row.day) for row in connection.execute(query)]


def _details(failure: TLSFailure | None) -> str:
    return "{}" if failure is None else msgspec.json.encode(failure).decode()


def _count(connection: Connection, counts: Counter[_Key]) -> None:
    cursor = cursor_of(connection)
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    row = f"({', '.join([mark] * 6)})"
    rows: Counter[tuple[int, str, bytes, str, str]] = Counter()
    for (day, domain, policy, details), sessions in counts.items():
        kept = _kept(connection, day, domain, policy, details)
        rows[(day, domain, _hash(policy, kept), policy, kept)] += sessions
    for chunk in chunked([(*key, sessions) for key, sessions in sorted(rows.items())]):
        cursor.execute(
            "INSERT INTO tls_result (day, domain, key_hash, policy, details, sessions)"
            f" VALUES {', '.join([row] * len(chunk))} ON CONFLICT (day, domain, key_hash)"
            " DO UPDATE SET sessions = tls_result.sessions + excluded.sessions",
            [value for values in chunk for value in values],
        )


def _kept(connection: Connection, day: int, domain: str, policy: str, details: str) -> str:
    """The details, without what tells failures apart where there are many."""
    if details == "{}":
        return details
    here = (_tls.c.day == day, _tls.c.domain == domain)
    known = select(_tls.c.day).where(*here, _tls.c.key_hash == _hash(policy, details))
    if connection.execute(known).first() is not None:
        return details
    count = select(func.count()).select_from(_tls).where(*here)
    if int(connection.execute(count).scalar_one()) < MOST_ROWS:
        return details
    return _details(TLSFailure(msgspec.json.decode(details, type=TLSFailure).result))


def _hash(policy: str, details: str) -> bytes:
    return hashlib.sha256(f"{policy}\n{details}".encode()).digest()


def _policies(domain: str, rows: Sequence[Any]) -> Sequence[PolicyResult]:
    found: dict[str, PolicyResult] = {}
    for row in rows:
        before = found.get(row.policy)
        if before is None:
            policy = msgspec.json.decode(row.policy, type=TLSPolicy)
            before = PolicyResult(policy.type.value, domain, policy.strings, policy.mx_hosts)
        if row.details == "{}":
            after = evolve(before, succeeded=before.succeeded + row.sessions)
        else:
            failure = _failure(row.details, row.sessions)
            failures = (*before.failures, failure)
            after = evolve(before, failed=before.failed + row.sessions, failures=failures)
        found[row.policy] = after
    return list(found.values())


def _failure(details: str, sessions: int) -> FailureDetails:
    told = msgspec.json.decode(details, type=TLSFailure)
    return FailureDetails(
        told.result.value,
        sessions,
        told.sending_ip,
        told.receiving_host,
        told.receiving_helo,
        told.receiving_ip,
        reason=told.reason,
    )


# Made


def _is(made: Made) -> tuple[Any, ...]:
    return (
        _made.c.kind == made.kind.value,
        _made.c.domain == made.domain,
        _made.c.began_at == made.began_at,
    )


def _made_row(made: Made) -> dict[str, Any]:
    return {
        "kind": made.kind.value,
        "domain": made.domain,
        "began_at": made.began_at,
        "ended_at": made.ended_at,
        "made_at": made.made_at,
        "message_id": made.message_id,
        "outcome": made.outcome,
    }
