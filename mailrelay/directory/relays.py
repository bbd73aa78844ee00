"""Relay rules in the directory, as they are stored: what they say is read in ``routing``."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen


class RelayRuleKind(StrEnum):
    """What a rule is about; the values are stored and shown."""

    MAP = "map"  # a sender's next hops
    EXCLUDE = "exclude"  # a sender's domain that opts out of RELAY_HOST
    PASSWORD = "password"  # who logs in: a secret
    ROUTE = "route"  # a recipient's next hops
    CHAIN = "chain"  # a sender's or an account's relay hosts, with weights and replies


OF_SENDER = frozenset({RelayRuleKind.MAP, RelayRuleKind.EXCLUDE, RelayRuleKind.CHAIN})
"""Of these kinds a key has one rule at most."""


@frozen
class RelayRule:
    """One rule.  ``value`` is shown to nobody: it may be a password."""

    kind: RelayRuleKind
    key: str
    value: str = field(repr=False)
