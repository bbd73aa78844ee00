"""Events counted (control/statistics.py) over Core.

Invariants:

- Each event is counted once: with the numbers, in their transaction, moves the position up to
  which they are counted, and only from where the reader found it.  Whoever else counted meanwhile,
  in this process or another, made what was read worth nothing.
- An event is counted before it is swept, and so before the entries are that it is counted by.
- Events are read and summed up outside of the writer; it only adds the sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from attrs import define, field, frozen
from sqlalchemy import Connection, and_, func, insert, select, update
from twisted.internet.defer import Deferred, DeferredLock

from mailrelay.control.statistics import (
    DAY,
    HOUR,
    KINDS,
    MOST_GROUPS,
    By,
    Counts,
    Group,
    StatisticsQuery,
)
from mailrelay.observe.events import EventKind
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import read_setting
from mailrelay.storage.statements import chunked, cursor_of

_event, _message, _entry = tables.event, tables.message, tables.entry
_statistic, _setting = tables.statistic, tables.setting

POSITION = "statistics_position"

BATCH = 500
"""Events that are counted together."""

MOST_RECIPIENTS = 2000
"""Of accepted messages that are counted together; one message may have more."""

ENOUGH_SUMS = 500
"""Rows of the table that are written together; an event of more is counted in parts."""

_SWEPT_TOGETHER = 500

_MOST_ROWS = (MOST_GROUPS + 1) * len(KINDS)
"""Of an answer: who gets as many has more groups than there may be."""

_KINDS = {kind.value for kind in KINDS}

_Key = tuple[int, int, str, str, str]
"""Account, hour, tag, domain, kind: the table's key."""


@frozen
class _Place:
    """Events up to ``position`` are counted, and of the next one so many sums, in their order."""

    position: int = 0
    sums: int = 0

    @classmethod
    def of(cls, text: str | None) -> _Place:
        """As it is stored."""
        return cls(*map(int, (text or "0").split("+")))

    def __str__(self) -> str:
        return f"{self.position}+{self.sums}" if self.sums else str(self.position)


@frozen
class _Read:
    """What the events from the ``stored`` place, which is None at first, to ``end`` come to."""

    stored: str | None
    end: _Place
    sums: Mapping[_Key, int]
    is_all: bool


@define(eq=False)
class DatabaseStatistics:
    """StatisticsStore over one database."""

    database: Database
    _one_at_a_time: DeferredLock = field(factory=DeferredLock)

    def count_more(self) -> Deferred[bool]:
        """See StatisticsStore."""
        return self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._count_more()))

    async def _count_more(self) -> bool:
        read = await self.database.read(_read)
        if read.end == _Place.of(read.stored):
            return False
        was_added = await self.database.write(lambda c: _add(c, read))
        return not (was_added and read.is_all)

    def uncounted_since(self) -> Deferred[float | None]:
        """See StatisticsStore."""

        def work(connection: Connection) -> float | None:
            oldest = (
                select(_event.c.at)
                .where(_event.c.position > counted(connection))
                .order_by(_event.c.position)
                .limit(1)
            )
            return connection.execute(oldest).scalar()

        return self.database.read(work)

    def first_hour(self, wanted: StatisticsQuery) -> Deferred[int | None]:
        """See StatisticsStore."""
        hours = wanted.hours
        first = select(func.min(_statistic.c.hour)).where(
            _statistic.c.hour >= hours.start, _statistic.c.hour < hours.stop
        )
        if wanted.account_id is not None:
            first = first.where(_statistic.c.account_id == wanted.account_id)
        return self.database.read(lambda c: c.execute(first).scalar())

    def find(self, wanted: StatisticsQuery, hours: range) -> Deferred[Mapping[Group, Counts]]:
        """See StatisticsStore."""
        return self.database.read(lambda c: _find(c, wanted, hours))

    def sweep(self, before_hour: int) -> Deferred[bool]:
        """See StatisticsStore."""
        return self.database.write(lambda c: _sweep(c, before_hour))


def counted(connection: Connection) -> int:
    """The position up to which events are counted."""
    return _Place.of(read_setting(connection, POSITION)).position


# Counting


def _read(connection: Connection) -> _Read:
    stored = read_setting(connection, POSITION)
    place = _Place.of(stored)
    query = (
        select(_event, _message.c.tags)
        .outerjoin(_message, _message.c.id == _event.c.message_id)
        .where(_event.c.position > place.position)
        .order_by(_event.c.position)
        .limit(BATCH)
    )
    rows = connection.execute(query).all()
    sums: Counter[_Key] = Counter()
    end, recipients = place.position, 0
    for row in rows:
        domains = list(_domains(connection, row))
        own = Counter(_keys(row, domains))
        recipients += len(domains)
        is_first = end == place.position
        if is_first and (place.sums or len(own) > ENOUGH_SUMS):
            return _part(stored, place, row.position, own)
        too_many = recipients > MOST_RECIPIENTS or len(sums) + len(own) > ENOUGH_SUMS
        if too_many and not is_first:
            return _Read(stored, _Place(end), sums, is_all=False)
        sums.update(own)
        end = row.position
    return _Read(stored, _Place(end), sums, is_all=len(rows) < BATCH)


def _part(stored: str | None, place: _Place, position: int, own: Mapping[_Key, int]) -> _Read:
    """The next of the sums of one event that has many: they are the same until all are added."""
    part = dict(sorted(own.items())[place.sums : place.sums + ENOUGH_SUMS])
    added = place.sums + len(part)
    end = _Place(place.position, added) if added < len(own) else _Place(position)
    return _Read(stored, end, part, is_all=False)


def _keys(row: Any, domains: Sequence[str]) -> Iterator[_Key]:
    """What an event counts to, as often as it does."""
    tags = ["", *(msgspec.json.decode(row.tags) if row.tags else ())]
    for domain in domains:
        for tag in tags:
            yield row.account_id, int(row.at // HOUR), tag[:100], domain, row.kind


def _domains(connection: Connection, row: Any) -> Iterable[str]:
    """Whose recipients an event tells of; one that is not counted, of none."""
    if row.account_id is None or row.kind not in _KINDS:
        return []
    data = msgspec.json.decode(bytes(row.data))
    if row.kind == EventKind.DELIVERED.value and data.get("dsn"):
        return []  # it was counted when the next hop took it
    if row.kind != EventKind.ACCEPTED.value:
        return [_domain(str(data.get("recipient", "")))]
    return _accepted(connection, row.message_id, data)


def _accepted(connection: Connection, message_id: int, data: Mapping[str, Any]) -> list[str]:
    """The event names the first hundred: of longer lists the entries are asked."""
    named = [str(one) for one in data.get("recipients", ())]
    count = int(data.get("recipient_count", len(named)))
    if len(named) < count or not named:
        query = select(_entry.c.recipient).where(_entry.c.message_id == message_id)
        known = list(connection.execute(query).scalars())
        named = known if len(known) >= len(named) else named
    # Of a message from before there were statistics some entries may be gone.
    missing = [""] * (count - len(named))
    return [*map(_domain, named), *missing]


def _domain(recipient: str) -> str:
    return recipient.rpartition("@")[2].lower()[:255]


def _add(connection: Connection, read: _Read) -> bool:
    """Add the sums, unless somebody else has counted since."""
    if not _move(connection, read):
        return False
    cursor = cursor_of(connection)
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    row = f"({', '.join([mark] * 6)})"
    # Sorted: rows that are near each other in the table come one after the other.
    for chunk in chunked([(*key, count) for key, count in sorted(read.sums.items())]):
        cursor.execute(
            "INSERT INTO statistic (account_id, hour, tag, domain, kind, count)"
            f" VALUES {', '.join([row] * len(chunk))}"
            " ON CONFLICT (account_id, hour, tag, domain, kind)"
            " DO UPDATE SET count = statistic.count + excluded.count",
            [value for values in chunk for value in values],
        )
    return True


def _move(connection: Connection, read: _Read) -> bool:
    """Move the position, from where it was read; whether it was there still."""
    end = str(read.end)
    if read.stored is None:
        if read_setting(connection, POSITION) is not None:
            return False
        connection.execute(insert(_setting).values(name=POSITION, value=end))
        return True
    here = and_(_setting.c.name == POSITION, _setting.c.value == read.stored)
    return connection.execute(update(_setting).where(here).values(value=end)).rowcount == 1


# Asking


def _find(connection: Connection, wanted: StatisticsQuery, hours: range) -> dict[Group, Counts]:
    columns = {
        By.ACCOUNT: _statistic.c.account_id,
        By.HOUR: _statistic.c.hour,
        By.DAY: _statistic.c.hour // 24,
        By.TAG: _statistic.c.tag,
        By.DOMAIN: _statistic.c.domain,
    }
    by = [one for one in By if one in wanted.by]
    shown = [columns[one].label(f"by_{one.value}") for one in by]
    query = select(*shown, _statistic.c.kind, func.sum(_statistic.c.count)).where(
        _statistic.c.hour >= hours.start, _statistic.c.hour < hours.stop
    )
    if wanted.account_id is not None:
        query = query.where(_statistic.c.account_id == wanted.account_id)
    if wanted.tag is not None:
        query = query.where(_statistic.c.tag == wanted.tag)
    else:
        query = query.where(_statistic.c.tag != "" if By.TAG in by else _statistic.c.tag == "")
    if wanted.domain is not None:
        query = query.where(_statistic.c.domain == wanted.domain)
    query = query.group_by(*shown, _statistic.c.kind).limit(_MOST_ROWS)
    found: dict[Group, Counter[str]] = {}
    for row in connection.execute(query).all():  # the time of a statement is limited
        group = _group(dict(zip(by, row, strict=False)))
        found.setdefault(group, Counter())[row.kind] += int(row[-1])
    return dict(found)


def _group(of: Mapping[By, Any]) -> Group:
    at = of[By.HOUR] * HOUR if By.HOUR in of else of.get(By.DAY, 0) * DAY
    return Group(at, of.get(By.ACCOUNT, 0), of.get(By.TAG, ""), of.get(By.DOMAIN, ""))


def _sweep(connection: Connection, before_hour: int) -> bool:
    row = "rowid" if connection.dialect.name == "sqlite" else "ctid"
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    cursor = cursor_of(connection)
    cursor.execute(
        f"DELETE FROM statistic WHERE {row} IN"
        f" (SELECT {row} FROM statistic WHERE hour < {mark} LIMIT {_SWEPT_TOGETHER})",
        (before_hour,),
    )
    return bool(cursor.rowcount == _SWEPT_TOGETHER)
