"""Hold rules' rows: what acceptance asks, and what operators change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from sqlalchemy import Connection, delete, insert, select
from twisted.internet.defer import Deferred

from mailrelay.control.errors import AlreadyThere, Refusal
from mailrelay.control.holds import MOST_RULES, ListedRule
from mailrelay.policy.holds import HoldRule
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import account_id, record_audit, tell

_rule, _account = tables.hold_rule, tables.account


def load(connection: Connection) -> list[HoldRule]:
    """All rules, by id."""
    rows = connection.execute(select(_rule).order_by(_rule.c.id))
    return [HoldRule(**row._mapping) for row in rows]


@frozen
class DatabaseHoldRecords:
    """HoldRecords over one database."""

    database: Database
    now: Callable[[], float]

    def rules(self) -> Deferred[Sequence[ListedRule]]:
        """See HoldRecords."""
        return self.database.read(_listed)

    def add(
        self, actor: str, account: str | None, sender: str | None, recipient: str | None
    ) -> Deferred[HoldRule]:
        """See HoldRecords."""

        def work(connection: Connection) -> HoldRule:
            id_ = None if account is None else account_id(connection, account)
            there = [rule for rule in load(connection) if rule.account_id == id_]
            for rule in there:
                if (rule.sender, rule.recipient) == (sender, recipient):
                    raise AlreadyThere(f"hold rule {rule.id} says the same")
            if id_ is not None and len(there) >= MOST_RULES:
                raise Refusal(f"an account has at most {MOST_RULES} hold rules: remove one")
            values = {"account_id": id_, "sender": sender, "recipient": recipient}
            connection.execute(insert(_rule).values(values))
            made = load(connection)[-1]
            self._changed(connection, actor, "holdrule add", made.id)
            return made

        return self.database.write(work)

    def remove(
        self, actor: str, rule_id: int, account_id: int | None = None
    ) -> Deferred[HoldRule | None]:
        """See HoldRecords."""

        def work(connection: Connection) -> HoldRule | None:
            row = connection.execute(select(_rule).where(_rule.c.id == rule_id)).first()
            if row is None or account_id not in (None, row.account_id):
                return None
            connection.execute(delete(_rule).where(_rule.c.id == rule_id))
            self._changed(connection, actor, "holdrule remove", rule_id)
            return HoldRule(**row._mapping)

        return self.database.write(work)

    def _changed(self, connection: Connection, actor: str, action: str, rule_id: int) -> None:
        now = self.now()
        tell(connection, now, "holds", rule_id)
        record_audit(connection, now, actor, action, str(rule_id))


def _listed(connection: Connection) -> list[ListedRule]:
    names = {row.id: row.name for row in connection.execute(select(_account.c.id, _account.c.name))}
    return [
        ListedRule(rule, None if rule.account_id is None else names.get(rule.account_id))
        for rule in load(connection)
    ]
