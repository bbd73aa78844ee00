"""Which hosts to try for a domain, in order (RFC 5321 section 5, RFC 7505)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from attrs import evolve, field, frozen

from mailrelay.net.dnssec import Answer, ValidatingResolver
from mailrelay.net.resolver import MXHost, NoSuchDomain, Resolver, as_ip
from mailrelay.outbound.settings import OutboundSettings
from mailrelay.queue.outcome import Postponed, Undeliverable
from mailrelay.smtp.reply import reply

NULL_MX = reply(556, "5.1.10", "the domain takes no mail (null MX)")
NO_ADDRESS = reply(550, "5.4.4", "the domain has neither MX nor address records")
LOOPS_BACK = reply(554, "5.4.6", "mail for the domain loops back to this server")
NO_MX_HOST = reply(550, "5.4.4", "none of the domain's mail hosts exists or has an address")
HOSTS_UNKNOWN = reply(451, "4.4.3", "the first of the domain's many mail hosts do not exist")

MOST_LOOKUPS = 20
"""MX hosts looked up in one attempt, among them those that do not exist."""


@frozen
class Vouched:
    """What DNSSEC vouches for of how a host was found; ``led_to`` is where its CNAMEs led."""

    mx: bool
    addresses: bool
    led_to: str
    domain: tuple[str, ...] = ()  # whose MX host it is, and where the domain's CNAMEs led


@frozen
class Target:
    """One address to connect to, and the name its certificate must have."""

    host: str
    ip: str
    port: int
    vouched: Vouched | None = field(default=None, eq=False)


@frozen
class HostFinder:
    """Answers with addresses; ``own_addresses`` are where this server itself listens.

    With ``validating`` targets say what DNSSEC vouches for.
    """

    resolver: Resolver
    settings: OutboundSettings
    random: Random
    own_names: frozenset[str]
    own_addresses: frozenset[str]
    validating: ValidatingResolver | None = None

    def by_families(self, ipv4: bool, ipv6: bool) -> HostFinder:
        """The same for these families of addresses only, of those that are switched on."""
        s = self.settings
        if ipv4 and ipv6:
            return self
        return evolve(self, settings=evolve(s, ipv4=s.ipv4 and ipv4, ipv6=s.ipv6 and ipv6))

    async def for_domain(self, domain: str, port: int | None = None) -> Sequence[Target]:
        """The addresses for mail to ``domain``, best first; ``port`` when it is not the setting's.

        Raises: Undeliverable, Postponed, LookupFailed, NoSuchDomain.
        """
        port = port or self.settings.mx_port
        override = self.settings.host_overrides.get(domain)
        if override:
            return await self.for_host(override, port)
        if as_ip(domain) is not None:
            return self._foreign(await self.for_host(domain, port))
        answer = await self._mx(domain)
        records = answer.values
        if not records:  # RFC 5321 section 5.1: the domain itself is the implicit MX
            targets = await self.for_host(domain, port)
            if not targets:
                raise Undeliverable(NO_ADDRESS)
            return _of_domain(self._foreign(targets), domain, answer)
        if all(record.host == "" for record in records):  # RFC 7505 section 3
            raise Undeliverable(NULL_MX)
        return _of_domain(await self._for_records(self._ordered(records), port), domain, answer)

    async def _mx(self, domain: str) -> Answer[MXHost]:
        if self.validating is not None:
            return await self.validating.mx(domain)
        return Answer(await self.resolver.mx_hosts(domain), False, domain)

    def _ordered(self, records: Sequence[MXHost]) -> list[MXHost]:
        """By preference, at random among equals, without us and what is worse than us."""
        named = [record for record in records if record.host]
        ours = [r.preference for r in named if r.host.lower() in self.own_names]
        worst = min(ours, default=1 << 16)
        usable = [record for record in named if record.preference < worst]
        if not usable:
            raise Undeliverable(LOOPS_BACK)
        return sorted(usable, key=lambda r: (r.preference, self.random.random()))

    async def _for_records(self, records: Sequence[MXHost], port: int) -> Sequence[Target]:
        targets: list[tuple[int, Target]] = []
        trouble: Exception | None = None
        ourselves: int | None = None
        hosts = 0
        for record in records[:MOST_LOOKUPS]:
            is_worse = ourselves is not None and record.preference > ourselves
            if is_worse or hosts == self.settings.most_hosts:
                break
            try:
                found = await self.for_host(record.host, port)
            except NoSuchDomain:
                continue  # another host may exist
            except Exception as error:
                trouble = error
                continue
            hosts += bool(found)
            if any(target.ip in self.own_addresses for target in found):
                # RFC 5321 section 5.1: what is no better than ourselves must not be tried.
                ourselves = record.preference
            targets += [(record.preference, target) for target in found]
        better = [t for rank, t in targets if ourselves is None or rank < ourselves]
        if better:
            return better[: 2 * self.settings.most_hosts]
        if trouble is not None:
            raise trouble
        if ourselves is None and len(records) > MOST_LOOKUPS:
            raise Postponed(HOSTS_UNKNOWN)
        raise Undeliverable(NO_MX_HOST if ourselves is None else LOOPS_BACK)

    async def for_host(self, host: str, port: int) -> Sequence[Target]:
        """The addresses of one host, the preferred family first."""
        s = self.settings
        looked_up, port = _with_port(s.host_overrides.get(host, host), port)
        if host.count(":") == 1:
            host = looked_up
        vouched = None
        if self.validating is not None and looked_up == host:
            found = await self.validating.host(host, ipv4=s.ipv4, ipv6=s.ipv6)
            addresses, vouched = found.values, Vouched(False, found.is_secure, found.name)
        else:
            addresses = await self.resolver.addresses(looked_up, ipv4=s.ipv4, ipv6=s.ipv6)
        ordered = sorted(addresses, key=lambda ip: (":" in ip) == s.prefer_ipv4)
        return [Target(as_ip(host) or host, ip, port, vouched) for ip in ordered]

    def _foreign(self, targets: Sequence[Target]) -> Sequence[Target]:
        foreign = [target for target in targets if target.ip not in self.own_addresses]
        if targets and not foreign:
            raise Undeliverable(LOOPS_BACK)
        return foreign


def _of_domain(targets: Sequence[Target], domain: str, answer: Answer[MXHost]) -> Sequence[Target]:
    """``targets`` with what is known of the records that named them."""
    names = tuple(dict.fromkeys((domain, answer.name)))
    return [
        target
        if target.vouched is None
        else evolve(target, vouched=evolve(target.vouched, mx=answer.is_secure, domain=names))
        for target in targets
    ]


def _with_port(text: str, port: int) -> tuple[str, int]:
    """``host``, ``host:port`` or ``[2001:db8::1]:port``."""
    host, colon, number = text.rpartition(":")
    if colon and (":" not in host or host.endswith("]")):
        return host, int(number)
    return text, port
