"""Requests and results of mox's webapi v0.  Field order is the wire's.

Every field may be missing or null, and is its zero value then.
"""

from __future__ import annotations

from mailrelay.webhooks.gojson import GoStruct
from mailrelay.webhooks.types import NameAddress, Structure


class File(GoStruct, frozen=True):
    """A file of a message; ``data`` is base64."""

    name: str = ""
    content_type: str = ""
    content_id: str = ""
    data: str = ""


class Message(GoStruct, frozen=True):
    """What people write and read."""

    from_: list[NameAddress] = []
    to: list[NameAddress] = []
    cc: list[NameAddress] = []
    bcc: list[NameAddress] = []
    reply_to: list[NameAddress] = []
    message_id: str = ""
    references: list[str] = []
    date: str | None = None
    subject: str = ""
    text: str = ""
    html: str = ""


class SendRequest(Message, frozen=True):
    """Send: a message with what its delivery is to be."""

    extra: dict[str, str] = {}
    headers: list[list[str]] = []
    alternative_files: list[File] = []
    inline_files: list[File] = []
    attached_files: list[File] = []
    require_tls: bool | None = None
    future_release: str | None = None
    save_sent: bool = False


class Submission(GoStruct, frozen=True):
    """What became of one recipient."""

    address: str = ""
    queue_msg_id: int = 0
    from_id: str = ""


class SendResult(GoStruct, frozen=True):
    """The message is queued for every recipient."""

    message_id: str = ""
    submissions: list[Submission] = []


class SuppressionListRequest(GoStruct, frozen=True):
    """SuppressionList."""


class Suppression(GoStruct, frozen=True):
    """An address that is not sent to."""

    id: int = 0
    created: str = ""
    account: str = ""
    base_address: str = ""
    original_address: str = ""
    manual: bool = False
    reason: str = ""


class SuppressionListResult(GoStruct, frozen=True):
    """The account's list."""

    suppressions: list[Suppression] = []


class SuppressionAddRequest(GoStruct, frozen=True):
    """SuppressionAdd."""

    email_address: str = ""
    manual: bool = False
    reason: str = ""


class SuppressionRequest(GoStruct, frozen=True):
    """SuppressionRemove and SuppressionPresent."""

    email_address: str = ""


class SuppressionPresentResult(GoStruct, frozen=True):
    """Whether it is on the list."""

    present: bool = False


class Empty(GoStruct, frozen=True):
    """It was done."""


class MessageRequest(GoStruct, frozen=True):
    """MessageGet, MessageRawGet, MessageDelete."""

    msg_id: int = 0


class MessagePartRequest(GoStruct, frozen=True):
    """MessagePartGet."""

    msg_id: int = 0
    part_path: list[int] = []


class MessageFlagsRequest(GoStruct, frozen=True):
    """MessageFlagsAdd and MessageFlagsRemove."""

    msg_id: int = 0
    flags: list[str] = []


class MessageMoveRequest(GoStruct, frozen=True):
    """MessageMove."""

    msg_id: int = 0
    dest_mailbox_name: str = ""


class MessageMeta(GoStruct, frozen=True):
    """How a message came, and where it is."""

    size: int = 0
    dsn: bool = False
    flags: list[str] = []
    mail_from: str = ""
    mail_from_validated: bool = False
    rcpt_to: str = ""
    msg_from: str = ""
    msg_from_validated: bool = False
    dkim_verified_domains: list[str] = []
    remote_ip: str = ""
    mailbox_name: str = ""


class MessageGetResult(GoStruct, frozen=True):
    """A message."""

    message: Message = Message()
    structure: Structure = Structure()
    meta: MessageMeta = MessageMeta()
