"""Suppression lists as ``control/`` asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from sqlalchemy import Connection, select
from twisted.internet.defer import Deferred

from mailrelay.control.suppression import (
    ListedSuppression,
    NewSuppression,
    SuppressionFilter,
    Why,
)
from mailrelay.policy.suppression import Suppression, base_address
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
        return self.database.read(lambda c: _find(c, wanted))

    def add(self, actor: str, account: str, new: Sequence[NewSuppression]) -> Deferred[int]:
        """See SuppressionRecords."""

        def work(connection: Connection) -> int:
            id_ = account_id(connection, account)
            added = [base_address(one.address) for one in new if _add(connection, id_, one)]
            self._changed(connection, actor, "suppression add", account, added)
            return len(added)

        return self.database.write(work)

    def remove(self, actor: str, account: str, base: str) -> Deferred[bool]:
        """See SuppressionRecords."""

        def work(connection: Connection) -> bool:
            removed = rows.remove(connection, account_id(connection, account), base)
            gone = [base] if removed else []
            self._changed(connection, actor, "suppression remove", account, gone)
            return removed

        return self.database.write(work)

    def _changed(
        self, connection: Connection, actor: str, action: str, account: str, bases: Sequence[str]
    ) -> None:
        if bases:
            now = self.now()
            tell(connection, now, "suppression", account)
            record_audit(connection, now, actor, action, " ".join([account, *bases]))

    def why(self, account: str, address: Address) -> Deferred[Why]:
        """See SuppressionRecords."""

        def work(connection: Connection) -> Why:
            base = base_address(address)
            wanted = select(_suppression).where(
                _suppression.c.account_id == account_id(connection, account),
                _suppression.c.base_address == base,
            )
            row = connection.execute(wanted).first()
            failures = select(_streak.c.failures).where(_streak.c.recipient == str(address))
            return Why(
                base,
                Suppression(**row._mapping) if row is not None else None,
                int(connection.execute(failures).scalar() or 0),
            )

        return self.database.read(work)


def _add(connection: Connection, id_: int, new: NewSuppression) -> bool:
    one = Suppression(0, id_, "", str(new.address), new.added_at, new.manual, new.reason)
    return rows.add(connection, one)


def _find(connection: Connection, wanted: SuppressionFilter) -> list[ListedSuppression]:
    query = (
        select(*_suppression.c, _account.c.name.label("account_name"))
        .join(_account, _account.c.id == _suppression.c.account_id)
        .where(_suppression.c.id > wanted.after_id)
        .order_by(_suppression.c.id)
        .limit(wanted.limit)
    )
    if wanted.account is not None:
        query = query.where(_suppression.c.account_id == account_id(connection, wanted.account))
    found = []
    for row in connection.execute(query):
        values = dict(row._mapping)
        name = str(values.pop("account_name"))
        found.append(ListedSuppression(Suppression(**values), name))
    return found
