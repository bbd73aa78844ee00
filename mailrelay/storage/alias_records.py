"""Aliases as ``control/`` asks for them: each change tells others, and is audited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred

from mailrelay.directory.model import Directory
from mailrelay.smtp.address import Address
from mailrelay.storage import alias_rows as rows
from mailrelay.storage.alias_rows import Key
from mailrelay.storage.database import Database
from mailrelay.storage.directory import load, record_audit, tell


@frozen
class DatabaseAliases:
    """AliasRecords over one database."""

    database: Database
    now: Callable[[], float]

    def load(self) -> Deferred[Directory]:
        """See AliasRecords."""
        return self.database.read(load)

    def add(
        self, actor: str, key: Key, values: Mapping[str, object], members: Sequence[Address]
    ) -> Deferred[None]:
        """See AliasRecords."""
        subject = _subject(key, members)
        return self._change(
            actor, "alias add", subject, lambda c: rows.add_alias(c, key, values, members)
        )

    def set(self, actor: str, key: Key, values: Mapping[str, object]) -> Deferred[None]:
        """See AliasRecords."""
        return self._change(
            actor, "alias set", _subject(key, ()), lambda c: rows.set_alias(c, key, values)
        )

    def remove(self, actor: str, key: Key) -> Deferred[None]:
        """See AliasRecords."""
        return self._change(
            actor, "alias remove", _subject(key, ()), lambda c: rows.remove_alias(c, key)
        )

    def add_members(self, actor: str, key: Key, members: Sequence[Address]) -> Deferred[None]:
        """See AliasRecords."""
        return self._change(
            actor,
            "alias members add",
            _subject(key, members),
            lambda c: rows.add_members(c, key, members),
        )

    def remove_members(self, actor: str, key: Key, members: Sequence[Address]) -> Deferred[None]:
        """See AliasRecords."""
        return self._change(
            actor,
            "alias members remove",
            _subject(key, members),
            lambda c: rows.remove_members(c, key, members),
        )

    def _change(
        self, actor: str, action: str, subject: str, work: Callable[[Connection], None]
    ) -> Deferred[None]:
        def change(connection: Connection) -> None:
            work(connection)
            now = self.now()
            tell(connection, now, "directory", subject)
            record_audit(connection, now, actor, action, subject)

        return self.database.write(change)


def _subject(key: Key, members: Sequence[Address]) -> str:
    return " ".join([f"{key[0]}@{key[1]}", *map(str, members)])
