"""Aliases as ``control/`` asks for them: each change tells others, and is audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.aliases import Member
from mailrelay.smtp.address import Address
from mailrelay.storage import alias_rows as rows
from mailrelay.storage.alias_rows import Key
from mailrelay.storage.audited import AuditedRecords


@frozen
class DatabaseAliases(AuditedRecords):
    """AliasRecords over one database."""

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

    def members(self, key: Key) -> Deferred[Sequence[Member]]:
        """See AliasRecords."""
        return self.database.read(lambda c: rows.members_of(c, key))


def _subject(key: Key, members: Sequence[Address]) -> str:
    return " ".join([f"{key[0]}@{key[1]}", *map(str, members)])
