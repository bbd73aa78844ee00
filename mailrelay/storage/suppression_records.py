"""Suppression lists as ``control/`` asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, or_, select
from twisted.internet.defer import Deferred

from mailrelay.control.suppression import (
    ListedSuppression,
    NewSuppression,
    SuppressionFilter,
    Why,
    whose,
)
from mailrelay.policy.suppression import SERVER, Suppression, whole_domain
from mailrelay.smtp.address import Address
from mailrelay.storage import suppression as rows
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import account_id, record_audit, tell

_suppression, _account = tables.suppression, tables.account
_streak = tables.failure_streak


@frozen
class DatabaseSuppressionRecords:
    """SuppressionRecords over one database."""

    database: Database
    now: Callable[[], float]

    def find(self, wanted: SuppressionFilter) -> Deferred[Sequence[ListedSuppression]]:
        """See SuppressionRecords."""
        return self.database.read(lambda c: _find(c, wanted, self.now()))

    def add(
        self,
        actor: str,
        account: str | None,
        new: Sequence[NewSuppression],
        *,
        replacing: bool = False,
    ) -> Deferred[Sequence[bool]]:
        """See SuppressionRecords."""

        def work(connection: Connection) -> Sequence[bool]:
            id_ = _list_id(connection, account)
            peer = actor.removeprefix("peer:") if actor.startswith("peer:") else ""
            added = [
                rows.add(connection, _suppression_of(id_, one), replacing=replacing, came_from=peer)
                for one in new
            ]
            bases = [one.base_address for one, was in zip(new, added, strict=True) if was]
            self._changed(connection, actor, "suppression add", account, bases)
            return added

        return self.database.write(work)

    def remove(self, actor: str, account: str | None, base: str) -> Deferred[bool]:
        """See SuppressionRecords."""

        def work(connection: Connection) -> bool:
            removed = rows.remove(connection, _list_id(connection, account), base, self.now())
            gone = [base] if removed else []
            self._changed(connection, actor, "suppression remove", account, gone)
            return removed

        return self.database.write(work)

    def _changed(
        self,
        connection: Connection,
        actor: str,
        action: str,
        account: str | None,
        bases: Sequence[str],
    ) -> None:
        if bases:
            now = self.now()
            tell(connection, now, "suppression", account)
            subject = " ".join([whose(None) if account is None else account, *bases])
            record_audit(connection, now, actor, action, subject)

    def why(self, account: str, base: str, address: Address) -> Deferred[Why]:
        """See SuppressionRecords."""

        def work(connection: Connection) -> Why:
            own = account_id(connection, account)
            bases = dict.fromkeys((base, whole_domain(address.domain)))
            found = [
                ListedSuppression(one, account if id_ == own else None, not one.holds(self.now()))
                for id_ in (own, SERVER)
                for one in (rows.listed(connection, id_, each) for each in bases)
                if one is not None
            ]
            failures = select(_streak.c.failures).where(_streak.c.recipient == str(address))
            return Why(base, found, int(connection.execute(failures).scalar() or 0))

        return self.database.read(work)


def _list_id(connection: Connection, account: str | None) -> int:
    return SERVER if account is None else account_id(connection, account)


def _suppression_of(id_: int, new: NewSuppression) -> Suppression:
    return Suppression(
        0,
        id_,
        new.base_address,
        new.base_address if new.is_domain else str(new.address),
        new.added_at,
        new.manual,
        new.reason,
        new.cause.value,
        new.evidence,
        None,
        new.expires_at,
    )


def _find(connection: Connection, wanted: SuppressionFilter, now: float) -> list[ListedSuppression]:
    query = (
        select(*_suppression.c, _account.c.name.label("account_name"))
        .join(_account, _account.c.id == _suppression.c.account_id, isouter=True)
        .where(_suppression.c.id > wanted.after_id, *_conditions(connection, wanted, now))
        .order_by(_suppression.c.id)
        .limit(wanted.limit)
    )
    return [_listed(row._mapping, now) for row in connection.execute(query)]


def _listed(row: Any, now: float) -> ListedSuppression:
    values = dict(row)
    name = values.pop("account_name")
    one = Suppression(**values)
    return ListedSuppression(one, name, not one.holds(now))


def _conditions(
    connection: Connection, wanted: SuppressionFilter, now: float
) -> list[ColumnElement[bool]]:
    column = _suppression.c
    conditions: list[ColumnElement[bool]] = []
    if wanted.account is not None:
        conditions.append(column.account_id == account_id(connection, wanted.account))
    if wanted.is_servers:
        conditions.append(column.account_id == SERVER)
    if wanted.cause is not None:
        conditions.append(column.cause == wanted.cause.value)
    if wanted.text is not None:
        within = (column.base_address, column.original_address)
        conditions.append(or_(*(one.icontains(wanted.text, autoescape=True) for one in within)))
    if wanted.is_domain is not None:
        starts = column.base_address.startswith("*@")
        conditions.append(starts if wanted.is_domain else ~starts)
    if wanted.has_ended is not None:
        ended = column.expires_at <= now
        lasts = or_(column.expires_at.is_(None), column.expires_at > now)
        conditions.append(ended if wanted.has_ended else lasts)
    return conditions
