"""Relay rules' rows.  Each function is one unit of work."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, func, insert, select

from mailrelay.control.errors import Refusal
from mailrelay.directory.relays import OF_SENDER, RelayRule, RelayRuleKind
from mailrelay.storage import tables

MOST_RULES = 100_000

_rule = tables.relay_rule


def load_relay_rules(connection: Connection) -> tuple[RelayRule, ...]:
    """All of them, in the order of their keys."""
    rows = connection.execute(select(_rule).order_by(_rule.c.key, _rule.c.kind))
    return tuple(RelayRule(RelayRuleKind(row.kind), row.key, row.value) for row in rows)


def put_relay_rules(connection: Connection, rules: Sequence[RelayRule]) -> None:
    """Have ``rules`` hold, each in place of what was said of the same.  Raises: Refusal."""
    for rule in rules:
        kinds = OF_SENDER if rule.kind in OF_SENDER else {rule.kind}
        displaced = _rule.c.kind.in_([kind.value for kind in kinds])
        connection.execute(delete(_rule).where(displaced, _rule.c.key == rule.key))
        values = {"kind": rule.kind.value, "key": rule.key, "value": rule.value}
        connection.execute(insert(_rule).values(values))
    if connection.execute(select(func.count()).select_from(_rule)).scalar_one() > MOST_RULES:
        raise Refusal(f"there are at most {MOST_RULES} relay rules")


def remove_relay_rules(connection: Connection, keys: Collection[str]) -> list[RelayRule]:
    """Remove what is said of ``keys``, and tell what that was."""
    is_meant = _rule.c.key.in_(sorted(keys))
    gone = [
        RelayRule(RelayRuleKind(row.kind), row.key, row.value)
        for row in connection.execute(select(_rule).where(is_meant).order_by(_rule.c.kind))
    ]
    connection.execute(delete(_rule).where(is_meant))
    return gone
