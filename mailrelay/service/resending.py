"""Sending again, composed."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.control.resend import ResendControl
from mailrelay.storage.history import DatabaseHistory
from mailrelay.storage.resend import DatabaseSentContents
from mailrelay.storage.stores import Stores
from mailrelay.webapi.send import Sender
from mailrelay.webapi.v1.operations import Operation
from mailrelay.webapi.v1.resend import Resender, ResendOperations


def make_resender(stores: Stores, sender: Sender) -> Resender:
    """What the API and the pages send again with."""
    contents = DatabaseSentContents(stores.database, stores.spool)
    return Resender(ResendControl(DatabaseHistory(stores.database), contents), sender)


def resend_operations(stores: Stores, sender: Sender) -> Sequence[Operation]:
    """``/messages/{id}/resend``."""
    return ResendOperations(make_resender(stores, sender)).operations()
