"""What webhooks say, in the shape of mox's ``webhook`` package.  Field order is the wire's."""

from __future__ import annotations

from mailrelay.webhooks.gojson import GoStruct


class NameAddress(GoStruct, frozen=True):
    """A display name, which may be empty, and an address."""

    name: str = ""
    address: str = ""


class Structure(GoStruct, frozen=True):
    """One MIME part; sizes are of the decoded content, in bytes."""

    content_type: str = ""
    content_type_params: dict[str, str] = {}
    content_id: str = ""
    content_disposition: str = ""
    filename: str = ""
    decoded_size: int = 0
    parts: list[Structure] = []


class Outgoing(GoStruct, frozen=True):
    """What became of a submitted message, for one recipient."""

    version: int = 0
    event: str = ""
    dsn: bool = False
    suppressing: bool = False
    queue_msg_id: int = 0
    from_id: str = ""
    message_id: str = ""
    subject: str = ""
    webhook_queued: str = ""
    smtp_code: int = 0
    smtp_enhanced_code: str = ""
    error: str = ""
    extra: dict[str, str] = {}


class IncomingMeta(GoStruct, frozen=True):
    """How an incoming message came."""

    msg_id: int = 0
    mail_from: str = ""
    mail_from_validated: bool = False
    msg_from_validated: bool = False
    rcpt_to: str = ""
    dkim_verified_domains: list[str] = []
    remote_ip: str = ""
    received: str = ""
    mailbox_name: str = ""
    automated: bool = False


class Incoming(GoStruct, frozen=True):
    """A message that was put in a mailbox."""

    version: int = 0
    from_: list[NameAddress] = []
    to: list[NameAddress] = []
    cc: list[NameAddress] = []
    bcc: list[NameAddress] = []
    reply_to: list[NameAddress] = []
    subject: str = ""
    message_id: str = ""
    in_reply_to: str = ""
    references: list[str] = []
    date: str | None = None
    text: str = ""
    html: str = ""
    structure: Structure = Structure()
    meta: IncomingMeta = IncomingMeta()


OUTGOING_EVENTS = (
    "delivered",
    "suppressed",
    "delayed",
    "failed",
    "relayed",
    "expanded",
    "canceled",
    "unrecognized",
)
