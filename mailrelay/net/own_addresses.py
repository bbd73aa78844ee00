"""The addresses of this machine that others see, as far as it can know them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

# Documentation's: a socket that is connected to one sends nothing, and has the address that
# the default route gives it.
_FAR_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def outgoing_addresses() -> Sequence[str]:
    """The global ones from which connections leave; none behind NAT, or without a network."""
    return tuple(one for one in _outgoing() if ip_address(one).is_global)


def _outgoing() -> Iterator[str]:
    for family, far_away in _FAR_AWAY:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((far_away, 25))
                yield str(probe.getsockname()[0]).partition("%")[0]
        except OSError:
            continue  # no route
