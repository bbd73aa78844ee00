"""Next hops as Postfix writes them: ``host``, ``host:port``, ``[host]`` and ``[host]:port``.  Pure.

Brackets mean that the host is connected to as it is named; without them its MX records are looked
up first.  A list, with commas or blanks between, is tried in order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

from attrs import frozen

from mailrelay.smtp.address import MalformedAddress, normal_domain

SERVICES = {"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465, "urd": 465}
"""Names of ports, as /etc/services has them."""

IMPLICIT_TLS_PORT = 465
DUNNO = "DUNNO"
"""In place of a next hop: as if the key were not there."""

_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::(.*))?", re.DOTALL)
_PLAIN = re.compile(r"([^\[\]:]*)(?::([^:]*))?")
_BETWEEN = re.compile(r"[\s,]+")


class MalformedNextHop(ValueError):
    """The text is no next hop; the message says what is wrong with it."""


@frozen
class NextHop:
    """``host`` is a name in lower case or an address; ``text`` is how it was written."""

    host: str
    port: int
    mx_lookup: bool
    text: str

    @property
    def implies_tls(self) -> bool:
        """Whether TLS begins with the first byte."""
        return self.port == IMPLICIT_TLS_PORT

    @property
    def key(self) -> str:
        """What credentials are looked up by: how it was written, but for case."""
        return self.text.lower()


def parse_next_hops(text: str) -> Sequence[NextHop]:
    """The next hops of a list, in order; none when it says DUNNO.

    Raises: MalformedNextHop, also for an empty list.
    """
    written = [part for part in _BETWEEN.split(text.strip()) if part]
    if not written:
        raise MalformedNextHop("there is no next hop")
    if written == [DUNNO] or [part.upper() for part in written] == [DUNNO]:
        return []
    return [_next_hop(part) for part in written]


def _next_hop(text: str) -> NextHop:
    bracketed = _BRACKETED.fullmatch(text)
    found = bracketed or _PLAIN.fullmatch(text)
    if found is None:
        raise MalformedNextHop(
            f"{text!r} is none: write host, host:port, [host] or [host]:port,"
            " and an IPv6 address in brackets"
        )
    host, port = found.groups()
    return NextHop(
        _host(host, bracketed=bracketed is not None),
        25 if port is None else parse_port(port),
        bracketed is None,
        text,
    )


def _host(text: str, *, bracketed: bool) -> str:
    address = _address(text)
    if address is not None:
        if not bracketed:
            raise MalformedNextHop(f"an address has no MX records: write [{address}]")
        return address
    if not text:
        raise MalformedNextHop("the host is missing")
    try:
        return normal_domain(text)
    except MalformedAddress:
        raise MalformedNextHop(f"{text!r} is neither a host name nor an address") from None


def _address(text: str) -> str | None:
    try:
        return str(ip_address(re.sub(r"^ipv6:", "", text, flags=re.IGNORECASE)))
    except ValueError:
        return None


def parse_port(text: str) -> int:
    """A port's number, of its digits or its service's name.  Raises: MalformedNextHop."""
    named = SERVICES.get(text.lower())
    if named is not None:
        return named
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        known = ", ".join(SERVICES)
        raise MalformedNextHop(f"port {text!r} is no number from 1 to 65535, nor one of {known}")
    return int(text)
