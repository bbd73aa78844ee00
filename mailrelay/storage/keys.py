"""API keys' rows: the snapshot's, what changes them, and when they were used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from attrs import define, evolve, field, frozen
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from twisted.internet.defer import Deferred, succeed

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.keys import ListedKey
from mailrelay.directory.keys import APIKey, Scope
from mailrelay.directory.model import Directory
from mailrelay.storage import directory as rows
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory_keys import key_of

_key, _account = tables.api_key, tables.account


@frozen
class DatabaseKeyRecords:
    """KeyRecords over one database."""

    database: Database
    now: Callable[[], float]

    def load(self) -> Deferred[Directory]:
        """See KeyRecords."""
        return self.database.read(rows.load)

    def listed(self, account: str | None) -> Deferred[Sequence[ListedKey]]:
        """See KeyRecords."""

        def work(connection: Connection) -> Sequence[ListedKey]:
            wanted = select(_key, _account.c.name.label("of")).join(
                _account, _account.c.id == _key.c.account_id
            )
            if account is not None:
                wanted = wanted.where(_key.c.account_id == rows.account_id(connection, account))
            found = connection.execute(wanted.order_by(_key.c.id))
            return [ListedKey(key_of(row), row.of) for row in found]

        return self.database.read(work)

    def add(self, actor: str, key: APIKey, most: int) -> Deferred[APIKey]:
        """See KeyRecords."""

        def work(connection: Connection) -> APIKey:
            counted = select(func.count()).where(_key.c.account_id == key.account_id)
            if connection.execute(counted).scalar_one() >= most:
                raise Refusal(f"the account has {most} keys: revoke one that is not used")
            made = connection.execute(insert(_key).values(values_of(key)).returning(_key.c.id))
            id_ = int(made.scalar_one())
            self._changed(connection, actor, "key add", id_)
            return evolve(key, id=id_)

        return self.database.write(work)

    def remove(self, actor: str, key_id: int, account_id: int | None) -> Deferred[bool]:
        """See KeyRecords."""

        def work(connection: Connection) -> bool:
            wanted = delete(_key).where(_key.c.id == key_id)
            if account_id is not None:
                wanted = wanted.where(_key.c.account_id == account_id)
            gone = connection.execute(wanted).rowcount > 0
            if gone:
                self._changed(connection, actor, "key remove", key_id)
            return gone

        return self.database.write(work)

    def _changed(self, connection: Connection, actor: str, action: str, key_id: int) -> None:
        now = self.now()
        rows.tell(connection, now, "directory", key_id)
        rows.record_audit(connection, now, actor, action, str(key_id))


def set_key(connection: Connection, key: APIKey) -> None:
    """Change what a key may do.  Raises: NoSuch."""
    kept = ("account_id", "key_hash", "created_at")
    values = {name: value for name, value in values_of(key).items() if name not in kept}
    if connection.execute(update(_key).where(_key.c.id == key.id).values(values)).rowcount == 0:
        raise NoSuch(f"no key {key.id}: mailrelay key list")


def remove_key(connection: Connection, key_id: int) -> None:
    """Revoke a key.  Raises: NoSuch."""
    if connection.execute(delete(_key).where(_key.c.id == key_id)).rowcount == 0:
        raise NoSuch(f"no key {key_id}: mailrelay key list")


def values_of(key: APIKey) -> dict[str, object]:
    """The columns of a key's row, without its id."""
    return {
        "account_id": key.account_id,
        "name": key.name,
        "key_hash": key.key_hash,
        "scram_verifier": key.scram_verifier,
        "scopes": ",".join(scope.value for scope in Scope if scope in key.scopes),
        "senders": msgspec.json.encode(sorted(key.senders)).decode(),
        "networks": msgspec.json.encode(key.networks).decode(),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "requests_per_minute": key.requests_per_minute,
    }


_touch = update(_key).where(_key.c.id == bindparam("b_id")).values(last_used_at=bindparam("b_at"))


@define
class KeyUses:
    """When keys were used last: remembered, and written together now and then."""

    database: Database
    now: Callable[[], float]
    _at: dict[int, float] = field(factory=dict)

    def note(self, key: APIKey) -> None:
        """``key`` is used now."""
        self._at[key.id] = self.now()

    def write(self) -> Deferred[object]:
        """Write what was noted since the last time."""
        noted, self._at = self._at, {}
        if not noted:
            return succeed(None)
        parameters = [{"b_id": id_, "b_at": at} for id_, at in noted.items()]

        def work(connection: Connection) -> None:
            connection.execute(_touch, parameters)

        return self.database.write(work)
