"""AccountRecords (control/accounts.py) over Core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, delete, or_, select
from twisted.internet.defer import Deferred

from mailrelay.control.accounts import (
    MOST_ADDRESSES,
    MOST_LISTED,
    AccountQuery,
    AccountUse,
    no_account,
)
from mailrelay.control.sessions import Session
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import account_id, record_audit
from mailrelay.storage.sessions import session_of

_account, _address, _session = tables.account, tables.address, tables.session


@frozen
class DatabaseAccounts:
    """AccountRecords over one database."""

    database: Database
    now: Callable[[], float]

    def listed(self, wanted: AccountQuery) -> Deferred[Sequence[AccountUse]]:
        """See AccountRecords."""
        found = _USED.where(_account.c.name > wanted.after).order_by(_account.c.name)
        if wanted.text:
            found = found.where(_has(wanted.text))
        return self.database.read(lambda c: _uses(c, found.limit(min(wanted.limit, MOST_LISTED))))

    def use(self, name: str) -> Deferred[AccountUse]:
        """See AccountRecords."""

        def work(connection: Connection) -> AccountUse:
            for one in _uses(connection, _USED.where(_account.c.name == name)):
                return one
            raise no_account(name)

        return self.database.read(work)

    def sessions(self, name: str) -> Deferred[Sequence[Session]]:
        """See AccountRecords."""

        def work(connection: Connection) -> Sequence[Session]:
            own = _session.c.account_id == account_id(connection, name)
            rows = connection.execute(select(_session).where(own).order_by(_session.c.seen_at))
            return [session_of(row) for row in rows][::-1]

        return self.database.read(work)

    def end_sessions(self, actor: str, name: str) -> Deferred[int]:
        """See AccountRecords."""

        def work(connection: Connection) -> int:
            own = _session.c.account_id == account_id(connection, name)
            ended = connection.execute(delete(_session).where(own)).rowcount
            if ended:
                record_audit(connection, self.now(), actor, "account logout", name)
            return int(ended)

        return self.database.write(work)


_USED = select(
    *(_account.c.id, _account.c.name, _account.c.full_name, _account.c.login_disabled),
    *(_account.c.used_bytes, _account.c.quota_bytes, _account.c.messages_per_day),
)


def _has(text: str) -> Any:
    written = _address.c.localpart + "@" + _address.c.domain
    owners = select(_address.c.account_id).where(written.icontains(text, autoescape=True))
    return or_(
        _account.c.name.icontains(text, autoescape=True),
        _account.c.full_name.icontains(text, autoescape=True),
        _account.c.id.in_(owners),
    )


def _uses(connection: Connection, found: Any) -> Sequence[AccountUse]:
    rows = connection.execute(found).all()
    addresses: dict[int, list[str]] = {row.id: [] for row in rows}
    owned = select(_address).where(_address.c.account_id.in_(addresses))
    for row in connection.execute(owned.order_by(_address.c.domain, _address.c.localpart)):
        addresses[row.account_id].append(f"{row.localpart}@{row.domain}")
    return [
        AccountUse(
            row.id,
            row.name,
            row.full_name,
            row.login_disabled,
            addresses[row.id][:MOST_ADDRESSES],
            len(addresses[row.id]),
            row.used_bytes,
            row.quota_bytes,
            row.messages_per_day,
        )
        for row in rows
    ]
