"""Relay hosts that are out, as operators see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred


@frozen
class RelayAlarm:
    """What is out, as a node finds; ``since`` is in seconds since the epoch."""

    node: str
    subject: str
    since: float
    reason: str


class RelayAlarmRecords(Protocol):
    """The alarms of all nodes that live."""

    def load(self) -> Deferred[Sequence[RelayAlarm]]:
        """All of them, the oldest first."""
