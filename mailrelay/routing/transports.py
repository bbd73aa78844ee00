"""Transports: ways out that have a name in the configuration, for routes to choose."""

from __future__ import annotations

from attrs import frozen

from mailrelay.queue.destination import Destination
from mailrelay.routing.ways import ByMX, ByRelayHost, Fail, RelayHost, SocksProxy, ToPeer


@frozen
class Direct:
    """To the hosts that DNS names, by these families of addresses, through ``socks`` if any."""

    ipv4: bool = True
    ipv6: bool = True
    socks: SocksProxy | None = None


@frozen
class NamedTransport:
    """One ``[[transport]]``."""

    name: str
    kind: RelayHost | Direct | ToPeer | Fail

    def destination(self, domain: str) -> Destination:
        """Where mail for ``domain`` goes by it.  Names are unique, so keys differ as they do."""
        kind = self.kind
        if isinstance(kind, Fail):
            return Destination(f"transport:{self.name}", kind)
        if isinstance(kind, RelayHost):
            way = ByRelayHost(kind, tls_is_fixed=True)
            return Destination(f"transport:{self.name}:{relay_key(kind)}", way)
        if isinstance(kind, ToPeer):
            return Destination(peer_key(kind.name), kind)
        by_mx = ByMX(domain, kind.ipv4, kind.ipv6, kind.socks)
        return Destination(f"transport:{self.name}:mx:{domain}", by_mx)


def peer_key(name: str) -> str:
    """What goes to one peer is one destination, by whatever transport."""
    return f"peer:{name}"


def relay_key(host: RelayHost) -> str:
    """Host, credentials and TLS level: what is tried, throttled and counted together."""
    user = f"{host.username}@" if host.username else ""
    implicit = "+implicit" if host.implicit_tls else ""
    return f"relay:{user}{host.host}:{host.port}:{host.tls.value}{implicit}"
