"""What an application may ask of its webhook endpoints and their calls, composed for the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from mailrelay.control.calls import CallControl
from mailrelay.control.endpoints import EndpointControl
from mailrelay.control.replay import ReplayControl
from mailrelay.net.surroundings import Surroundings
from mailrelay.storage.call_records import DatabaseCallRecords
from mailrelay.storage.endpoints import DatabaseEndpointRecords
from mailrelay.storage.replay import DatabaseReplayRecords
from mailrelay.storage.stores import Stores
from mailrelay.webapi.v1.calls import CallOperations
from mailrelay.webapi.v1.operations import Operation
from mailrelay.webapi.v1.webhooks import WebhookOperations


def webhook_operations(
    s: Surroundings,
    stores: Stores,
    random: Callable[[], bytes],
    load_directory: Callable[[], Awaitable[object]],
) -> Sequence[Operation]:
    """Endpoints, their calls, and what is called again."""
    records = DatabaseEndpointRecords(stores.database, s.now)

    def control(actor: str) -> EndpointControl:
        return EndpointControl(records, random, s.now, actor)

    made_calls = DatabaseReplayRecords(stores.database)

    def replay_control(actor: str) -> ReplayControl:
        return ReplayControl(made_calls, s.now, actor)

    waiting_calls = DatabaseCallRecords(stores.database)

    def call_control(actor: str) -> CallControl:
        return CallControl(waiting_calls, s.now, actor)

    return [
        *WebhookOperations(control, load_directory).operations(),
        *CallOperations(replay_control, call_control).operations(),
    ]
