"""Streams of events, composed for the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.config.settings import Settings
from mailrelay.directory.model import Account
from mailrelay.observe.bell import Bell
from mailrelay.observe.metrics import Metrics
from mailrelay.storage.history import DatabaseHistory
from mailrelay.storage.stores import Stores
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.v1.operations import Operation
from mailrelay.webapi.v1.stream import StreamOperations, Streams


def stream_operations(
    settings: Settings,
    stores: Stores,
    bell: Bell,
    is_still_in: Callable[[Account, str], bool],
    metrics: Metrics,
) -> Sequence[Operation]:
    """The log of events as it grows, for who ``is_still_in``: an account, from an address."""
    streams = Streams(settings.http.streams_per_account)
    metrics.gauge("mailrelay_event_streams", "Open streams of events", lambda: streams.total)

    def is_caller_still_in(caller: Caller) -> bool:
        return is_still_in(caller.account, caller.peer_ip)

    history = DatabaseHistory(stores.database)
    return StreamOperations(history, bell, streams, is_caller_still_in).operations()
