"""DKIM keys as ``control/`` asks for them: each change tells others, and is audited."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.errors import AlreadyThere, NoSuch
from mailrelay.directory.dkim import StoredKey
from mailrelay.storage import tables
from mailrelay.storage.audited import AuditedRecords
from mailrelay.storage.directory import record_audit, tell

_key = tables.dkim_key


@frozen
class DatabaseDKIMKeys(AuditedRecords):
    """DKIMRecords over one database."""

    def add(self, actor: str, keys: Sequence[StoredKey]) -> Deferred[None]:
        """See DKIMRecords."""

        def work(connection: Connection) -> None:
            for key in keys:
                if connection.execute(select(_key.c.id).where(_own(key))).first():
                    raise AlreadyThere(f"{key.domain} has a key with selector {key.selector}")
                connection.execute(
                    insert(_key).values(
                        domain=key.domain,
                        selector=key.selector,
                        algorithm=key.algorithm,
                        pem=key.pem,
                        record=key.record,
                        state=key.state.value,
                        created_at=key.created_at,
                    )
                )

        return self._change_keys(actor, "dkim add", keys, work)

    def set_states(self, actor: str, keys: Sequence[StoredKey]) -> Deferred[None]:
        """See DKIMRecords."""

        def work(connection: Connection) -> None:
            for key in keys:
                values = {"state": key.state.value, "removed_at": key.removed_at}
                connection.execute(update(_key).where(_own(key)).values(values))

        return self._change_keys(actor, "dkim change", keys, work)

    def remove(self, actor: str, keys: Sequence[StoredKey]) -> Deferred[None]:
        """See DKIMRecords."""

        def work(connection: Connection) -> None:
            for key in keys:
                if connection.execute(delete(_key).where(_own(key))).rowcount == 0:
                    raise NoSuch(f"{key.domain} has no key with selector {key.selector}")

        return self._change_keys(actor, "dkim remove", keys, work)

    def _change_keys(
        self,
        actor: str,
        action: str,
        keys: Sequence[StoredKey],
        work: Callable[[Connection], None],
    ) -> Deferred[None]:
        def change(connection: Connection) -> None:
            work(connection)
            now = self.now()
            for key in keys:
                tell(connection, now, "directory", key.domain)
                record_audit(connection, now, actor, action, f"{key.name} {key.state}")

        return self.database.write(change)


def _own(key: StoredKey) -> ColumnElement[bool]:
    return and_(_key.c.domain == key.domain, _key.c.selector == key.selector)
