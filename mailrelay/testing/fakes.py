"""Fakes that obey the same contracts as the real things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen
from twisted.internet.defer import Deferred, fail, succeed

from mailrelay.net.resolver import LookupFailed, MXHost, NoSuchDomain, as_ip


@frozen
class FakeResolver:
    """A whole DNS in one literal: MX, addresses, TXT by name; ``failing`` names time out."""

    mx: Mapping[str, Sequence[tuple[int, str]]] = field(factory=dict)
    hosts: Mapping[str, Sequence[str]] = field(factory=dict)
    failing: frozenset[str] = frozenset()
    txt: Mapping[str, Sequence[bytes]] = field(factory=dict)

    def mx_hosts(self, domain: str) -> Deferred[Sequence[MXHost]]:
        """See Resolver."""
        if domain in self.failing:
            return fail(LookupFailed(f"looking up MX of {domain}: Timeout"))
        if domain not in self.mx and domain not in self.hosts:
            return fail(NoSuchDomain(f"{domain} does not exist"))
        return succeed([MXHost(*record) for record in self.mx.get(domain, ())])

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """See Resolver."""
        if name in self.failing:
            return fail(LookupFailed(f"looking up TXT of {name}: Timeout"))
        if name not in self.txt and name not in self.hosts and name not in self.mx:
            return fail(NoSuchDomain(f"{name} does not exist"))
        return succeed(self.txt.get(name, ()))

    def addresses(self, host: str, *, ipv4: bool, ipv6: bool) -> Deferred[Sequence[str]]:
        """See Resolver."""
        own = as_ip(host)
        if own is not None:
            return succeed([own])
        if host in self.failing:
            return fail(LookupFailed(f"looking up A of {host}: Timeout"))
        if host not in self.hosts and host not in self.mx:
            return fail(NoSuchDomain(f"{host} does not exist"))
        wanted = [ip for ip in self.hosts.get(host, ()) if (ipv6 if ":" in ip else ipv4)]
        return succeed(sorted(wanted, key=lambda ip: ":" not in ip))
