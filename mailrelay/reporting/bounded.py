"""Values of what others wrote, within bounds."""

from __future__ import annotations

import re
from ipaddress import ip_address

from mailrelay.smtp.address import MalformedAddress, normal_domain
from mailrelay.smtp.reply import printable

MOST_CHARACTERS = 255
MOST_COUNT = 2**53 - 1
MOST_SECONDS = 253402300799  # the end of year 9999

_DIGITS = re.compile(r"[0-9]{1,16}")


def bounded(text: str | None, limit: int = MOST_CHARACTERS) -> str:
    """``text`` in one line, without what is invisible, and cut."""
    return printable(" ".join((text or "")[: 4 * limit].split()), limit)


def count_of(text: str | None, most: int = MOST_COUNT) -> int | None:
    """A number of decimal digits; None for what is none, or too large."""
    match = _DIGITS.fullmatch((text or "").strip())
    number = int(match.group()) if match else None
    return number if number is not None and number <= most else None


def domain_of(text: str | None) -> str:
    """A domain in its look-up form; empty for what is none."""
    try:
        return normal_domain((text or "").strip().rstrip("."))
    except MalformedAddress:
        return ""


def ip_of(text: str | None) -> str:
    """An IP address as it is written shortest; empty for what is none."""
    try:
        return str(ip_address((text or "").strip()[:64]))
    except ValueError:
        return ""
