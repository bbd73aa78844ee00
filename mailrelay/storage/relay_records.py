"""Relay rules as ``control/`` asks for them: each change tells others, and is audited."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from attrs import frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred

from mailrelay.directory.model import Directory
from mailrelay.directory.relays import RelayRule
from mailrelay.storage import relay_rows as rows
from mailrelay.storage.database import Database
from mailrelay.storage.directory import load, record_audit, tell

T = TypeVar("T")

MOST_TOLD = 20
"""Rules of one change that its audit line names."""


@frozen
class DatabaseRelayRules:
    """RelayRecords over one database."""

    database: Database
    now: Callable[[], float]

    def load(self) -> Deferred[Directory]:
        """See RelayRecords."""
        return self.database.read(load)

    def put(self, actor: str, rules: Sequence[RelayRule]) -> Deferred[None]:
        """See RelayRecords."""
        subjects = [f"{rule.kind.value} {rule.key}" for rule in rules]
        return self._change(actor, "relay put", subjects, lambda c: rows.put_relay_rules(c, rules))

    def remove(self, actor: str, keys: Collection[str]) -> Deferred[Sequence[RelayRule]]:
        """See RelayRecords."""
        return self._change(
            actor, "relay remove", sorted(keys), lambda c: rows.remove_relay_rules(c, keys)
        )

    def _change(
        self,
        actor: str,
        action: str,
        subjects: Sequence[str],
        work: Callable[[Connection], T],
    ) -> Deferred[T]:
        def change(connection: Connection) -> T:
            result = work(connection)
            now = self.now()
            tell(connection, now, "directory", None)
            told = [*subjects[:MOST_TOLD], *(["..."] if len(subjects) > MOST_TOLD else [])]
            record_audit(connection, now, actor, action, ", ".join(told))
            return result

        return self.database.write(change)
