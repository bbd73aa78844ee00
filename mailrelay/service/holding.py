"""Hold rules of accounts, composed for the API."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mailrelay.control.holds import HoldControl
from mailrelay.net.surroundings import Surroundings
from mailrelay.storage.holds import DatabaseHoldRecords
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.stores import Stores
from mailrelay.webapi.v1.holds import HoldRuleOperations
from mailrelay.webapi.v1.operations import Operation


def hold_operations(s: Surroundings, stores: Stores) -> Sequence[Operation]:
    """An account's own rules."""
    queue = DatabaseQueueRecords(stores.database, lambda: stores.node, stores.spool.remove)
    records = DatabaseHoldRecords(stores.database, s.now)
    return HoldRuleOperations(partial(HoldControl, records, queue, s.now)).operations()
