"""DNS answers, and whether a resolver that is ours to believe found them to be signed.

The AD bit of an answer says so (RFC 4035 section 3.2.3).  It is only as good as the resolver and
the way to it: this is for one that the operator names as validating.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import dns.exception
import dns.flags
import dns.resolver
from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from mailrelay.net.resolver import LookupFailed, MXHost, NoSuchDomain, as_ip, nameserver
from mailrelay.net.threads import Executor

EDNS_BYTES = 1232

T = TypeVar("T")


@frozen
class TLSA:
    """A TLSA record (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"


@frozen
class Answer(Generic[T]):
    """``is_secure`` when all of it is signed; ``name`` is where CNAMEs led, without a last dot."""

    values: Sequence[T]
    is_secure: bool
    name: str


class ValidatingResolver(Protocol):
    """What DANE asks.  What is bogus fails with LookupFailed, as what cannot be had now does."""

    def mx(self, domain: str) -> Deferred[Answer[MXHost]]:
        """The MX records of ``domain``; fails with NoSuchDomain, too."""

    def host(self, name: str, *, ipv4: bool, ipv6: bool) -> Deferred[Answer[str]]:
        """The addresses of a host, IPv6 first; fails with NoSuchDomain, too.

        ``is_secure`` is about those that there are.
        """

    def alias(self, name: str) -> Deferred[Answer[str]]:
        """The CNAME of ``name`` itself."""

    def tlsa(self, name: str) -> Deferred[Answer[TLSA]]:
        """The TLSA records of ``name``; none for a name that does not exist."""


class DNSSECResolver:
    """dnspython's stub resolver on ``executor``'s threads; it asks ``nameservers`` for DNSSEC."""

    def __init__(self, executor: Executor, nameservers: Sequence[str], timeout: float) -> None:
        self._executor = executor
        named = [nameserver(text) for text in nameservers]
        self._resolver = dns.resolver.Resolver(configure=False)
        self._resolver.cache = dns.resolver.LRUCache(10_000)
        self._resolver.lifetime = timeout
        self._resolver.nameservers = [address for address, _ in named]
        self._resolver.nameserver_ports = dict(named)
        self._resolver.use_edns(0, dns.flags.DO, EDNS_BYTES)
        self._resolver.flags = dns.flags.RD | dns.flags.AD

    def mx(self, domain: str) -> Deferred[Answer[MXHost]]:
        """See ValidatingResolver."""
        return self._executor.run(self._mx, domain)

    def _mx(self, domain: str) -> Answer[MXHost]:
        found = self._ask(domain, "MX")
        return Answer(
            [
                MXHost(int(one.preference), one.exchange.to_text(omit_final_dot=True).lstrip("."))
                for one in found.values
            ],
            found.is_secure,
            found.name,
        )

    def host(self, name: str, *, ipv4: bool, ipv6: bool) -> Deferred[Answer[str]]:
        """See ValidatingResolver."""
        return self._executor.run(self._host, name, ipv4, ipv6)

    def _host(self, name: str, ipv4: bool, ipv6: bool) -> Answer[str]:
        own = as_ip(name)
        if own is not None:
            return Answer([own], False, name)
        found: Answer[str] = Answer([], True, name)
        trouble: LookupFailed | None = None
        for type_ in (["AAAA"] if ipv6 else []) + (["A"] if ipv4 else []):
            try:
                answer = self._ask(name, type_)
            except LookupFailed as error:
                trouble = error  # some name servers know one family only and fail for the other
                continue
            addresses = [record.address for record in answer.values]
            is_secure = found.is_secure and (answer.is_secure or not addresses)
            found = Answer([*found.values, *addresses], is_secure, answer.name)
        if not found.values and trouble is not None:
            raise trouble
        return found if found.values else Answer([], False, name)

    def alias(self, name: str) -> Deferred[Answer[str]]:
        """See ValidatingResolver."""
        return self._executor.run(self._alias, name)

    def _alias(self, name: str) -> Answer[str]:
        found = self._ask(name, "CNAME")
        return evolve(
            found, values=[one.target.to_text(omit_final_dot=True) for one in found.values]
        )

    def tlsa(self, name: str) -> Deferred[Answer[TLSA]]:
        """See ValidatingResolver."""
        return self._executor.run(self._tlsa, name)

    def _tlsa(self, name: str) -> Answer[TLSA]:
        try:
            found = self._ask(name, "TLSA")
        except NoSuchDomain:
            return Answer([], False, name)
        records = [TLSA(one.usage, one.selector, one.mtype, one.cert) for one in found.values]
        return Answer(records, found.is_secure, found.name)

    def _ask(self, name: str, type_: str) -> Answer[Any]:
        try:
            answer = self._resolver.resolve(name, type_, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            raise NoSuchDomain(f"{name} does not exist") from None
        except dns.exception.DNSException as error:
            raise LookupFailed(f"looking up {type_} of {name}: {type(error).__name__}") from error
        is_secure = bool(answer.response.flags & dns.flags.AD)
        records = list(answer.rrset) if answer.rrset is not None else []
        led_to = answer.canonical_name.to_text(omit_final_dot=True)
        return Answer(records, is_secure, led_to)
