"""IP addresses as they count: one host has one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address


def unmapped(text: str) -> IPv4Address | IPv6Address:
    """The address in ``text``; IPv4 where IPv6 only carries it: ::ffff:192.0.2.1.

    Raises: ValueError, where there is none, as of a peer that came by a Unix socket.
    """
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
