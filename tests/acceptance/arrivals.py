"""Mail as judges see it."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import succeed

from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.judging import Arrived
from mailrelay.message.header import header_end, parse_header
from mailrelay.policy.relay import Submitter
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Mail, Rcpt

PEER = "192.0.2.9"


def arrived(
    content: bytes = b"From: a@far.test\r\n\r\nhi\r\n",
    sender: str | None = "a@far.test",
    recipients: Sequence[str] = ("user@example.org",),
    *,
    is_spooled: bool = False,
) -> Arrived:
    """A message that came from ``PEER``."""
    mail = Mail(Address.parse(sender) if sender else None)
    to = [Rcpt(Address.parse(one)) for one in recipients]
    return Arrived(
        Source("mx", "ESMTP", Submitter(), peer_ip=PEER, helo="client.test"),
        Envelope(mail, to),
        parse_header(content),
        content[: header_end(content)] if is_spooled else content,
        len(content),
        "body" if is_spooled else None,
        lambda name, at, size: succeed(content[at : at + size]),
        1000.0,
    )
