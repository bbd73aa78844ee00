"""DNS: what delivery asks, behind a Protocol; dnspython on threads answers it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Protocol

import dns.exception
import dns.name
import dns.resolver
import dns.reversename
from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.net.threads import Executor
from mailrelay.smtp.address import literal_ip

_NO_NAMES = (
    *(dns.name.EmptyLabel, dns.name.LabelTooLong, dns.name.NameTooLong),
    *(dns.name.BadEscape, dns.name.IDNAException),
)
"""What dnspython says of what no name can be: asking later is of no use."""


class LookupFailed(Exception):
    """No answer could be had now (timeout, SERVFAIL): try again later."""


class NoSuchDomain(Exception):
    """The name does not exist (NXDOMAIN)."""


@frozen
class MXHost:
    """An MX record: lower preference is tried first; ``host`` has no final dot, "" is null MX."""

    preference: int
    host: str


class Resolver(Protocol):
    """What a test says in one literal and dnspython asks the network for."""

    def mx_hosts(self, domain: str) -> Deferred[Sequence[MXHost]]:
        """The MX records of ``domain``, CNAMEs followed, unsorted; empty when it has none.

        Fails with NoSuchDomain or LookupFailed.
        """

    def addresses(self, host: str, *, ipv4: bool, ipv6: bool) -> Deferred[Sequence[str]]:
        """The IP addresses of ``host``, IPv6 first; a literal is its own answer.

        Empty when the name exists and has none.  Fails with NoSuchDomain or LookupFailed.
        """

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """The TXT records of ``name``, the strings of each put together; empty when it has none.

        Fails with NoSuchDomain or LookupFailed.
        """

    def pointers(self, ip: str) -> Deferred[Sequence[str]]:
        """The names that the PTR records of an address have, without their last dots.

        Fails with NoSuchDomain or LookupFailed.
        """


class DNSResolver:
    """dnspython's stub resolver with its cache, on ``executor``'s threads."""

    def __init__(
        self, executor: Executor, nameservers: Sequence[str] = (), timeout: float = 10.0
    ) -> None:
        self._executor = executor
        self._resolver = dns.resolver.Resolver(configure=not nameservers)
        self._resolver.cache = dns.resolver.LRUCache(10_000)
        self._resolver.lifetime = timeout
        if nameservers:
            self._resolver.nameservers = [nameserver(text)[0] for text in nameservers]
            self._resolver.nameserver_ports = dict(nameserver(text) for text in nameservers)

    def mx_hosts(self, domain: str) -> Deferred[Sequence[MXHost]]:
        """See Resolver."""
        return self._executor.run(self._mx_hosts, domain)

    def _mx_hosts(self, domain: str) -> Sequence[MXHost]:
        return [
            MXHost(int(record.preference), record.exchange.to_text(omit_final_dot=True).lstrip("."))
            for record in self._ask(domain, "MX")
        ]

    def addresses(self, host: str, *, ipv4: bool, ipv6: bool) -> Deferred[Sequence[str]]:
        """See Resolver."""
        return self._executor.run(self._addresses, host, ipv4, ipv6)

    def _addresses(self, host: str, ipv4: bool, ipv6: bool) -> Sequence[str]:
        own = as_ip(host)
        if own is not None:
            return [own]
        types = (["AAAA"] if ipv6 else []) + (["A"] if ipv4 else [])
        found: list[str] = []
        trouble: LookupFailed | None = None
        for type_ in types:
            try:
                found += [record.address for record in self._ask(host, type_)]
            except LookupFailed as error:
                trouble = error  # some name servers know one family only and fail for the other
        if not found and trouble is not None:
            raise trouble
        return found

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """See Resolver."""
        return self._executor.run(self._texts, name)

    def _texts(self, name: str) -> Sequence[bytes]:
        return [b"".join(record.strings) for record in self._ask(name, "TXT")]

    def pointers(self, ip: str) -> Deferred[Sequence[str]]:
        """See Resolver."""
        return self._executor.run(self._pointers, ip)

    def _pointers(self, ip: str) -> Sequence[str]:
        found = self._ask(dns.reversename.from_address(ip).to_text(), "PTR")
        return [record.target.to_text(omit_final_dot=True) for record in found]

    def _ask(self, name: str, type_: str) -> list[Any]:
        try:
            return list(self._resolver.resolve(name, type_, search=False))
        except dns.resolver.NoAnswer:
            return []
        except (dns.resolver.NXDOMAIN, *_NO_NAMES):
            raise NoSuchDomain(f"{name} does not exist") from None
        except dns.exception.DNSException as error:
            raise LookupFailed(f"looking up {type_} of {name}: {type(error).__name__}") from error


def as_ip(host: str) -> str | None:
    """The address that ``host`` is, bare or in SMTP's brackets; None for a name."""
    try:
        return str(ip_address(literal_ip(host) or host))
    except ValueError:
        return None


def nameserver(text: str) -> tuple[str, int]:
    """Address and port of ``192.0.2.1``, ``192.0.2.1:5353`` or ``[2001:db8::1]:53``."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, int(port.lstrip(":") or 53)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, int(port)
    return text, 53
