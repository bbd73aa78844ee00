"""All operations, as the document tells of them; none can be called."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from mailrelay.directory.model import Directory
from mailrelay.webapi.v1.account import AccountOperations
from mailrelay.webapi.v1.batch import BatchOperations
from mailrelay.webapi.v1.keys import KeyOperations
from mailrelay.webapi.v1.mailbox import MailboxOperations
from mailrelay.webapi.v1.operations import Operation
from mailrelay.webapi.v1.raw import RawOperations
from mailrelay.webapi.v1.sending import SendingOperations
from mailrelay.webapi.v1.templates import TemplateOperations
from mailrelay.webapi.v1.writing import Desk


@frozen
class Limits:
    """A Sender, as far as the document tells of it."""

    max_message_bytes: int = 1


def all_operations(directory: Directory) -> list[Operation]:
    """Those that a server has."""
    nothing: Any = None
    sender: Any = Limits()
    return [
        *AccountOperations(lambda: directory).operations(),
        *KeyOperations(nothing, nothing).operations(),
        *MailboxOperations(nothing, nothing, nothing).operations(),
        *SendingOperations(Desk(sender, nothing, nothing)).operations(),
        *RawOperations(sender).operations(),
        *BatchOperations(Desk(sender, nothing, nothing), nothing).operations(),
        *TemplateOperations(nothing).operations(),
    ]
