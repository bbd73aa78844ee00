"""What an application may read and change of its messages, composed for the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.config.settings import Settings
from mailrelay.control.queue import QueueControl
from mailrelay.directory.model import Directory
from mailrelay.net.surroundings import Surroundings
from mailrelay.observe.bell import Bell
from mailrelay.queue.report import Reporter
from mailrelay.storage.history import DatabaseHistory
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.stores import Stores
from mailrelay.webapi.v1.entries import EntryOperations
from mailrelay.webapi.v1.history import HistoryOperations
from mailrelay.webapi.v1.operations import Operation


def history_operations(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    directory: Callable[[], Directory],
    reporter: Reporter,
    bell: Bell,
) -> Sequence[Operation]:
    """Lists, timelines, events, and what is done to entries that wait."""
    history = DatabaseHistory(stores.database)
    control = queue_control(s, settings, stores, directory, reporter)
    return [
        *HistoryOperations(history, bell).operations(),
        *EntryOperations(history, control, s.now).operations(),
    ]


def queue_control(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    directory: Callable[[], Directory],
    reporter: Reporter,
) -> Callable[[str], QueueControl]:
    """The queue's control in the running server, for whoever is named in the audit."""
    records = DatabaseQueueRecords(stores.database, lambda: stores.node, stores.spool.remove)

    def control(actor: str) -> QueueControl:
        return QueueControl(
            records,
            stores.queue,
            reporter,
            s.now,
            settings.queue.retired_keep_after,
            actor,
            lambda account_id: directory().retired_kept_for(account_id),
            settings.queue.failed_content_keep_after,
        )

    return control
