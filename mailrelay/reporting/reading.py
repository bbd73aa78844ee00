"""The report in a message, or in what was posted.  Called off the reactor thread."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from mailrelay.message.structure import Part, decoded, read_structure, walk
from mailrelay.reporting.dmarc_read import read_dmarc
from mailrelay.reporting.model import DMARCReport, MalformedReport, ReportTooLarge, TLSReport
from mailrelay.reporting.tls_read import read_tls
from mailrelay.reporting.unpack import is_packed, unpacked

MOST_CANDIDATES = 10
"""Parts of a message that are looked at."""

MOST_PACKED_BYTES = 10 * 1024 * 1024

_NEVER = ("/", "text/plain", "text/html", "message/", "image/")
_BLANK = b"\xef\xbb\xbf \t\r\n"


def report_in(content: bytes) -> DMARCReport | TLSReport:
    """The report that the message ``content`` brings, in whatever part.  Raises: MalformedReport.

    Part and file name say little: the first bytes decide what is read how.
    """
    trouble = MalformedReport("no part of the message is a report")
    for part in islice(_candidates(read_structure(content)), MOST_CANDIDATES):
        data = decoded(content, part)
        if not is_packed(data) and data.lstrip(_BLANK)[:1] not in (b"<", b"{"):
            continue
        try:
            return read_report(data)
        except MalformedReport as error:
            trouble = error
    raise trouble


def read_report(data: bytes) -> DMARCReport | TLSReport:
    """The report that ``data`` is, compressed or not.  Raises: MalformedReport."""
    if len(data) > MOST_PACKED_BYTES:
        raise ReportTooLarge("the report is too large")
    pieces = unpacked(data)
    first = b""
    for first in pieces:
        if first.lstrip(_BLANK):  # what is blank before it, however long, is left out
            break
    whole = _again(first, pieces)
    return read_tls(whole) if first.lstrip(_BLANK)[:1] == b"{" else read_dmarc(whole)


def _again(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _candidates(root: Part) -> Iterator[Part]:
    for _, part in walk(root):
        if not part.parts and not part.content_type.startswith(_NEVER):
            yield part
