"""What acceptance asks of a header before anything is made of the message.  Pure."""

from __future__ import annotations

from collections.abc import Callable

from mailrelay.acceptance.envelope import Source
from mailrelay.acceptance.refusal import Refused
from mailrelay.directory.model import Directory
from mailrelay.message.header import Header, HeaderTooLarge, addresses_in, parse_header
from mailrelay.message.mailboxes import hides_address
from mailrelay.policy.limits import LOOPING
from mailrelay.policy.relay import NO_FROM, refuse_from
from mailrelay.smtp.reply import reply

NO_HEADER = Header((), 0)


def checked_header(
    source: Source, head: bytes, directory: Callable[[], Directory], max_received: int
) -> Header:
    """The header at the front of ``head``.  Raises: Refused."""
    try:
        header = parse_header(head)
    except HeaderTooLarge as error:
        if source.needs_from:
            raise Refused(reply(552, "5.3.4", str(error))) from None
        return NO_HEADER  # a stranger's: opaque to us
    if header.count("received") > max_received:
        raise Refused(LOOPING)
    if source.needs_from:
        author = header.first("from") or ""
        if header.count("from") != 1 or hides_address(author):
            raise Refused(NO_FROM)
        refusal = refuse_from(directory(), source.submitter, addresses_in(author))
        if refusal is not None:
            raise Refused(refusal)
    return header
