"""FactorRecords (control/second_factor.py) over Core: an account's column, or a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Delete, Update, delete, insert, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.second_factor import Factor
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import read_setting, record_audit, tell

ADMIN_TOTP = "admin_totp"
"""The administrator's."""

_account, _setting = tables.account, tables.setting


@frozen
class DatabaseFactors:
    """FactorRecords over one database."""

    database: Database
    now: Callable[[], float]

    def find(self, account_id: int | None) -> Deferred[Factor | None]:
        """See FactorRecords."""

        def work(connection: Connection) -> Factor | None:
            text = _text(connection, account_id)
            return None if text is None else Factor.of(text)

        return self.database.read(work)

    def use(self, account_id: int | None, before: Factor, after: Factor) -> Deferred[bool]:
        """See FactorRecords."""
        if account_id is None:
            was = (_setting.c.name == ADMIN_TOTP, _setting.c.value == before.text)
            change = update(_setting).where(*was).values(value=after.text)
        else:
            had = (_account.c.id == account_id, _account.c.totp == before.text)
            change = update(_account).where(*had).values(totp=after.text)
        return self.database.write(lambda connection: _changed(connection, change))

    def turn_on(self, actor: str, account_id: int | None, factor: Factor) -> Deferred[bool]:
        """See FactorRecords."""

        def work(connection: Connection) -> bool:
            if account_id is None:
                if _text(connection, None) is not None:
                    return False
                made = insert(_setting).values(name=ADMIN_TOTP, value=factor.text)
                connection.execute(made)
            else:
                has_none = (_account.c.id == account_id, _account.c.totp.is_(None))
                if not _changed(
                    connection, update(_account).where(*has_none).values(totp=factor.text)
                ):
                    return False
            self._told(connection, actor, "second factor on", account_id)
            return True

        return self.database.write(work)

    def turn_off(self, actor: str, account_id: int | None) -> Deferred[bool]:
        """See FactorRecords."""

        def work(connection: Connection) -> bool:
            change: Update | Delete = delete(_setting).where(_setting.c.name == ADMIN_TOTP)
            if account_id is not None:
                has_one = (_account.c.id == account_id, _account.c.totp.is_not(None))
                change = update(_account).where(*has_one).values(totp=None)
            if not _changed(connection, change):
                return False
            self._told(connection, actor, "second factor off", account_id)
            return True

        return self.database.write(work)

    def _told(
        self, connection: Connection, actor: str, action: str, account_id: int | None
    ) -> None:
        name = None
        if account_id is not None:
            wanted = select(_account.c.name).where(_account.c.id == account_id)
            name = connection.execute(wanted).scalar()
        now = self.now()
        tell(connection, now, "directory", name)
        record_audit(connection, now, actor, action, name or "administrator")


def _text(connection: Connection, account_id: int | None) -> str | None:
    if account_id is None:
        return read_setting(connection, ADMIN_TOTP)
    return connection.execute(select(_account.c.totp).where(_account.c.id == account_id)).scalar()


def _changed(connection: Connection, change: Any) -> bool:
    return connection.execute(change).rowcount > 0
