"""The application's own data in header fields of a submission, told again with each event."""

from __future__ import annotations

from mailrelay.message.header import Header
from mailrelay.smtp.reply import printable, reply

PREFIXES = ("x-mailrelay-extra-", "x-mox-extra-")
TWICE = reply(554, "5.6.0", "an X-Mailrelay-Extra or X-Mox-Extra field is there twice")
MAX_VALUE = 1000


class TwiceTheSame(Exception):
    """Two fields have one key."""


def extra_in(header: Header) -> dict[str, str]:
    """The data by key, which is written as Go writes a field's name.  Raises: TwiceTheSame."""
    extra: dict[str, str] = {}
    for name, _ in header.fields:
        prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
        if prefix is None:
            continue
        key = canonical(name.removeprefix(prefix))
        if key in extra:
            raise TwiceTheSame(key)
        extra[key] = printable(header.first(name) or "", MAX_VALUE)
    return extra


def canonical(name: str) -> str:
    """``user-id`` as ``User-Id``: net/textproto's CanonicalMIMEHeaderKey."""
    return "-".join(word.capitalize() for word in name.split("-"))
