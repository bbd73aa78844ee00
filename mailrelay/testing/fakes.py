"""Fakes that obey the same contracts as the real things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred, fail, succeed

from mailrelay.net.dnssec import TLSA, Answer
from mailrelay.net.resolver import LookupFailed, MXHost, NoSuchDomain, as_ip


@frozen
class FakeResolver:
    """A whole DNS in one literal: MX, addresses, TXT by name; ``failing`` names time out."""

    mx: Mapping[str, Sequence[tuple[int, str]]] = field(factory=dict)
    hosts: Mapping[str, Sequence[str]] = field(factory=dict)
    failing: frozenset[str] = frozenset()
    txt: Mapping[str, Sequence[bytes]] = field(factory=dict)
    ptr: Mapping[str, Sequence[str]] = field(factory=dict)

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

    def pointers(self, ip: str) -> Deferred[Sequence[str]]:
        """See Resolver."""
        if ip in self.failing:
            return fail(LookupFailed(f"looking up PTR of {ip}: Timeout"))
        if ip not in self.ptr:
            return fail(NoSuchDomain(f"{ip} does not exist"))
        return succeed(self.ptr[ip])

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


@frozen
class FakeDNSSEC:
    """The same for ValidatingResolver: what is in ``insecure`` is not signed.

    ``aliases`` are CNAMEs; ``bogus`` names fail, or a type of theirs, as ``a.test/TLSA``.  TLSA
    records are by the host: they are those of any port.
    """

    mx_of: Mapping[str, Sequence[tuple[int, str]]] = field(factory=dict)
    hosts: Mapping[str, Sequence[str]] = field(factory=dict)
    tlsa_of: Mapping[str, Sequence[TLSA]] = field(factory=dict)
    aliases: Mapping[str, str] = field(factory=dict)
    insecure: frozenset[str] = frozenset()
    bogus: frozenset[str] = frozenset()
    asked: list[str] = field(factory=list)

    def mx(self, domain: str) -> Deferred[Answer[MXHost]]:
        """See ValidatingResolver."""
        return self._answer(domain, "MX", [MXHost(*one) for one in self.mx_of.get(domain, ())])

    def host(self, name: str, *, ipv4: bool, ipv6: bool) -> Deferred[Answer[str]]:
        """See ValidatingResolver."""
        led_to = self.aliases.get(name, name)
        return self._answer(name, "A", list(self.hosts.get(led_to, ())), led_to)

    def alias(self, name: str) -> Deferred[Answer[str]]:
        """See ValidatingResolver."""
        return self._answer(name, "CNAME", [self.aliases[name]] if name in self.aliases else [])

    def tlsa(self, name: str) -> Deferred[Answer[TLSA]]:
        """See ValidatingResolver."""
        host = name.partition("._tcp.")[2]
        return self._answer(host, "TLSA", list(self.tlsa_of.get(host, ())))

    def _answer(
        self, name: str, type_: str, values: Sequence[Any], led_to: str = ""
    ) -> Deferred[Any]:
        self.asked.append(f"{name}/{type_}")
        if not self.bogus.isdisjoint((name, f"{name}/{type_}")):
            return fail(LookupFailed(f"looking up {type_} of {name}: NoNameservers"))
        is_secure = self.insecure.isdisjoint((name, f"{name}/{type_}", led_to))
        return succeed(Answer(values, is_secure, led_to or name))
