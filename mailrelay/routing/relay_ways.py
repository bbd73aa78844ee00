"""The hops that the relay rules chose, as a destination.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.net.tls import TLSLevel
from mailrelay.queue.destination import Destination
from mailrelay.routing.relay_rules import Hop, HopTLS, RelayDecision
from mailrelay.routing.transports import relay_key
from mailrelay.routing.ways import ByRelayHost, Fail, RelayHost
from mailrelay.smtp.reply import reply

NO_CREDENTIALS = reply(451, "4.3.5", "the relay hosts' credentials are missing here")


def destination_by(decision: RelayDecision) -> Destination:
    """The hops of ``decision``, or that their credentials are missing."""
    if decision.is_stuck:
        return Destination("relays:no credentials", Fail(NO_CREDENTIALS))
    hosts = tuple(relay_host_of(hop) for hop in decision.hops)
    parts = [
        relay_key(host) + _more_key(hop) for host, hop in zip(hosts, decision.hops, strict=True)
    ]
    replies = "".join(f",{reply}" for reply in decision.move_on)
    weights = tuple(hop.weight for hop in decision.hops)
    way = ByRelayHost(hosts[0], others=hosts[1:], weights=weights, move_on=decision.move_on)
    return Destination(f"relays:{','.join(parts)}{replies}", way)


def destination_of(hosts: Sequence[RelayHost]) -> Destination:
    """Relay hosts that are tried in their order."""
    key = f"relays:{','.join(relay_key(host) for host in hosts)}"
    return Destination(key, ByRelayHost(hosts[0], others=tuple(hosts[1:])))


def _more_key(hop: Hop) -> str:
    """One user may have a password for each sender: they share no destination."""
    login = f"({hop.login.key})" if hop.login is not None else ""
    return f"{login}*{hop.weight}" if hop.weight else login


def relay_host_of(hop: Hop) -> RelayHost:
    """How a hop is talked to."""
    login = hop.login.credentials if hop.login is not None else None
    return RelayHost(
        hop.next_hop.host,
        hop.next_hop.port,
        _level(hop),
        hop.tls is HopTLS.IMPLICIT,
        login.username if login is not None else None,
        login.password if login is not None else None,
        mx_lookup=hop.next_hop.mx_lookup,
    )


def _level(hop: Hop) -> TLSLevel:
    if hop.verifies:
        return TLSLevel.VERIFY
    return TLSLevel.MAY if hop.tls is HopTLS.MAY else TLSLevel.ENCRYPT
