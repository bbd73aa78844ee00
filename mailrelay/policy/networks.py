"""Networks that may relay without login."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from attrs import field, frozen

from mailrelay.net.ip import unmapped


@frozen
class TrustedNetworks:
    """Empty by default, loopback included: being local is no permission."""

    networks: Sequence[IPv4Network | IPv6Network] = ()
    _known: dict[str, bool] = field(factory=dict, init=False, eq=False, repr=False)

    @classmethod
    def of(cls, texts: Sequence[str]) -> TrustedNetworks:
        """The networks written in ``texts``.  Raises: ValueError."""
        return cls([ip_network(text) for text in texts])

    def __call__(self, ip: str) -> bool:
        """Whether ``ip`` lies in one of them."""
        if not self.networks:
            return False
        known = self._known.get(ip)
        if known is None:
            if len(self._known) > 10_000:
                self._known.clear()
            known = self._known[ip] = self._contains(ip)
        return known

    def _contains(self, ip: str) -> bool:
        try:
            address = unmapped(ip)
        except ValueError:
            return False
        return any(address in network for network in self.networks)
