"""Which URLs may be called, and which addresses: nothing inside unless the operator says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import frozen

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>[^#]*)", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{1,5}")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}

# What ipaddress of some Python, or all of them, takes for global.
_NOT_GLOBAL = tuple(
    ip_network(text)
    for text in (
        *("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/3"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1


class UnusableURL(ValueError):
    """The URL is none that is called; the message says why."""


@frozen
class Destination:
    """Where a call goes.  ``host`` is in lower case; an IPv6 address has no brackets."""

    scheme: str
    host: str
    port: int
    path: str  # with the query

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, by its name or address."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def authority(self) -> str:
        """For the Host field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@lru_cache(maxsize=1024)
def parse_url(url: str) -> Destination:
    """The destination that ``url`` names, in one way of reading only.

    Raises: UnusableURL; also for user names, and for numbers that some take for addresses.
    """
    if not url.isascii() or not url.isprintable() or any(c in url for c in ' \\"<>^`{|}'):
        raise UnusableURL("the URL has characters that must be percent-encoded")
    match = _URL.fullmatch(url.partition("#")[0])
    if match is None:
        raise UnusableURL("the URL must begin with http:// or https://")
    scheme, authority = match["scheme"].lower(), match["authority"].lower()
    if "@" in authority:
        raise UnusableURL("the URL must not have a user name: use the Authorization field")
    host, port = _host_and_port(authority)
    path = match["path"]
    return Destination(
        scheme, host, port or _PORTS[scheme], path if path.startswith("/") else f"/{path}"
    )


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        text, bracket, rest = authority[1:].partition("]")
        try:
            host = str(IPv6Address(text)) if bracket and "%" not in text else ""
        except ValueError:
            host = ""
        colon, port = rest[:1], rest[1:]
    else:
        text, colon, port = authority.partition(":")
        host = _host(text)
    if not host or colon not in ("", ":"):
        raise UnusableURL("the URL has no host name, or one that is not well-formed")
    if not colon:
        return host, None
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise UnusableURL("the URL's port must be a number from 1 to 65535")
    return host, int(port)


def _host(text: str) -> str:
    """A name, or four decimal numbers; "" for all that could be an address in disguise."""
    name = text.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return ""
    if not _NUMBER.fullmatch(labels[-1]):
        return name
    try:
        return str(IPv4Address(name))  # 127.1, 0177.0.0.1, 0x7f.0.0.1 and 2130706433 are not
    except ValueError:
        return ""


def is_permitted(text: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether ``text`` is an address that may be called: a global one, or one in ``allowed``."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        address = address.ipv4_mapped or address
    return any(address in network for network in allowed) or _is_global(address)


def _is_global(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address in _NAT64:
        return _is_global(IPv4Address(int(address) & 0xFFFF_FFFF))
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False  # IPv4-compatible and all that is yet to be given a meaning
    return not any(address in network for network in _NOT_GLOBAL)
