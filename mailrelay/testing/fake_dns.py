"""DNS from records that a test writes down, without a socket; see DNSServer for one with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dns.rdata
import dns.reversename
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed

from mailrelay.net.lookup import Found
from mailrelay.net.resolver import LookupFailed, MXHost, NoSuchDomain


@define
class FakeDNS:
    """Lookups over ``records``, as DNSServer has them; ``failing`` names time out."""

    records: Mapping[str, Mapping[str, Sequence[str]]]
    failing: frozenset[str] = frozenset()
    authentic: bool = False
    asked: list[str] = field(factory=list, init=False)

    def find(self, name: str, type_: str) -> Deferred[Found]:
        """See Lookups."""
        try:
            return succeed(self._find(name, type_))
        except LookupFailed as error:
            return fail(error)

    def _find(self, name: str, type_: str) -> Found:
        name = name.lower().rstrip(".")
        self.asked.append(f"{name}/{type_}")
        if name in self.failing:
            raise LookupFailed(f"looking up {type_} of {name}: Timeout")
        own = self.records.get(name)
        if own is None:
            return Found(name, exists=False, is_authentic=self.authentic)
        if type_ not in own and "CNAME" in own:
            return self._find(own["CNAME"][0], type_)
        values = sorted(_shown(type_, text) for text in own.get(type_, ()))
        return Found(name, values, is_authentic=self.authentic)

    def _there(self, name: str, type_: str) -> Sequence[str]:
        found = self._find(name, type_)
        if not found.exists:
            raise NoSuchDomain(f"{name} does not exist")
        return found.values

    def _answer(self, work: Any) -> Deferred[Any]:
        try:
            return succeed(work())
        except (LookupFailed, NoSuchDomain) as error:
            return fail(error)

    def mx_hosts(self, domain: str) -> Deferred[Sequence[MXHost]]:
        """See Resolver."""

        def work() -> Sequence[MXHost]:
            split = [value.split() for value in self._there(domain, "MX")]
            return [MXHost(int(preference), host.rstrip(".")) for preference, host in split]

        return self._answer(work)

    def addresses(self, host: str, *, ipv4: bool, ipv6: bool) -> Deferred[Sequence[str]]:
        """See Resolver."""
        types = (["AAAA"] if ipv6 else []) + (["A"] if ipv4 else [])
        return self._answer(lambda: [one for type_ in types for one in self._there(host, type_)])

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """See Resolver."""
        return self._answer(lambda: [one.encode("latin-1") for one in self._there(name, "TXT")])

    def pointers(self, ip: str) -> Deferred[Sequence[str]]:
        """See SPFResolver."""
        name = dns.reversename.from_address(ip).to_text(omit_final_dot=True)
        return self._answer(lambda: [one.rstrip(".") for one in self._there(name, "PTR")])


def _shown(type_: str, text: str) -> str:
    record: Any = dns.rdata.from_text("IN", type_, text)
    if type_ == "TXT":
        return b"".join(record.strings).decode("latin-1")
    return str(record.to_text())
