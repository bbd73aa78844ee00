"""How a host of a domain is to be talked to: what is set, what the domain publishes, and why.

In this order:

1. what the operator sets for the domain, alone;
2. what the message wants: REQUIRETLS, or the field ``TLS-Required: No``;
3. the host's TLSA records, when DNSSEC vouches for them and for how the host was found (DANE);
4. the domain's MTA-STS policy;
5. the level that is set for all.

Invariant: what DANE or an enforced MTA-STS policy asks for is never less than it asks for: when it
cannot be had, or cannot be known, the host is not used now.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from attrs import evolve, field, frozen

from mailrelay.mailauth.dane import ByRecords, usable
from mailrelay.mailauth.mta_sts import Mode, Policy
from mailrelay.net.dnssec import TLSA, ValidatingResolver
from mailrelay.net.peer_tls import Check
from mailrelay.net.resolver import LookupFailed, NoSuchDomain
from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.hosts import Target
from mailrelay.outbound.tls_result import (
    PolicyType,
    ResultType,
    TLSFailure,
    TLSPolicy,
    TLSResult,
)

NOT_ASKED = TLSPolicy(PolicyType.NONE)


@frozen
class FoundPolicy:
    """What is known of a domain's MTA-STS: ``policy`` is None without one that is valid.

    ``trouble`` is why a policy that there is cannot be had; ``is_unknown`` when it cannot be known
    now whether there is one.
    """

    policy: Policy | None = None
    trouble: ResultType | None = None
    because: str = ""
    is_unknown: bool = False


class NotVouchedFor(Exception):
    """REQUIRETLS, and neither DNSSEC nor MTA-STS vouches for how the host was found."""


@frozen
class Wishes:
    """What a message says of TLS."""

    requires: bool = False  # REQUIRETLS
    waives: bool = False  # TLS-Required: No


@frozen
class DomainPolicy:
    """What holds for all hosts of a domain; connections are shared by those who agree on it."""

    level: TLSLevel
    because: str
    is_fixed: bool = False  # nothing that is discovered counts
    wishes: Wishes = Wishes()
    found: FoundPolicy = FoundPolicy()


@frozen
class Decision:
    """How one host is talked to, and why.  ``policy`` is a word, ``because`` a line.

    ``is_observed``: a certificate that is not right is noted, and believed.
    """

    level: TLSLevel
    policy: str
    because: str
    check: Check | None = None
    is_observed: bool = False
    applied: TLSPolicy = NOT_ASKED

    @property
    def falls_back(self) -> bool:
        """Whether what cannot do TLS gets the mail all the same."""
        return self.level is TLSLevel.MAY


class HostRefused(Exception):
    """A host is not used because of ``decision``; ``result`` is how that is told."""

    def __init__(self, text: str, result: ResultType, decision: Decision) -> None:
        super().__init__(text)
        self.result, self.decision = result, decision


def set_for_all(level: TLSLevel, because: str = "the setting") -> Decision:
    """Where nothing is looked up."""
    return Decision(level, level.value, because)


AS_SET = set_for_all(TLSLevel.MAY)


def level_for(domain: str, levels: Mapping[str, TLSLevel]) -> tuple[str, TLSLevel] | None:
    """The pattern and level that ``levels`` has for ``domain``: its own, or of what it is below.

    ``.example.org`` is all below it, and not itself.
    """
    if not levels:
        return None
    found = levels.get(domain)
    if found is not None:
        return domain, found
    rest = domain
    while (dot := rest.find(".", 1)) >= 0:
        rest = rest[dot:]
        found = levels.get(rest)
        if found is not None:
            return rest, found
    return None


async def _nothing(domain: str) -> FoundPolicy:
    return FoundPolicy()


@frozen
class TLSPolicies:
    """Decides.  ``mta_sts`` answers from memory when it can; ``dane`` asks DNS for each host."""

    levels: Mapping[str, TLSLevel] = field(factory=dict)
    mta_sts: Callable[[str], Awaitable[FoundPolicy]] | None = None
    dane: ValidatingResolver | None = None
    told: Callable[[TLSResult], object] | None = None
    not_met: Callable[[str], object] | None = None  # a domain's MTA-STS policy

    def set_for(
        self, domain: str, level: TLSLevel, because: str, *, requires: bool = False
    ) -> DomainPolicy:
        """What is set for ``domain``, before anything is discovered; REQUIRETLS goes before it."""
        if requires:
            return DomainPolicy(TLSLevel.VERIFY, because, wishes=Wishes(requires=True))
        own = level_for(domain, self.levels)
        if own is not None:
            return DomainPolicy(own[1], f"set for {own[0]}", is_fixed=True)
        return DomainPolicy(level, because, is_fixed=level is TLSLevel.NONE)

    @property
    def is_idle(self) -> bool:
        """Whether one level is set for all, and nothing else counts."""
        return not (self.levels or self.discovers or self.told)

    @property
    def discovers(self) -> bool:
        """Whether anything is looked up."""
        return self.mta_sts is not None or self.dane is not None

    async def discovered(self, domain: str, policy: DomainPolicy) -> DomainPolicy:
        """``policy`` with what ``domain`` publishes."""
        if policy.is_fixed or self.mta_sts is None:
            return policy
        return evolve(policy, found=await self.mta_sts(domain))

    async def of_host(self, policy: DomainPolicy, target: Target) -> Decision:
        """How ``target`` is talked to.

        Raises: HostRefused, NotVouchedFor, LookupFailed.
        """
        if policy.is_fixed:
            return set_for_all(policy.level, policy.because)
        if policy.wishes.waives:
            return set_for_all(policy.level, "TLS-Required: No, so policies are not asked")
        if self.dane is not None:
            by_dane = await self._by_dane(self.dane, target, policy)
            if by_dane is not None:
                return by_dane
        return self._by_mta_sts(policy, target)

    async def _by_dane(
        self, resolver: ValidatingResolver, target: Target, policy: DomainPolicy
    ) -> Decision | None:
        """None when there are no records that DNSSEC vouches for."""
        try:
            base, records = await _records(resolver, target)
        except LookupFailed as error:  # RFC 7672 section 2.1.3: the host must not be used
            text = f"TLSA records: {error}"
            applied = TLSPolicy(PolicyType.TLSA, (), (target.host,))
            decision = Decision(TLSLevel.VERIFY, "dane", text, applied=applied)
            raise HostRefused(text, ResultType.DNSSEC_INVALID, decision) from error
        if not records:
            return None
        applied = TLSPolicy(PolicyType.TLSA, tuple(map(str, records)), (base,))
        good = usable(records)
        where = f"{len(records)} TLSA records of {base}"
        if good:
            assert target.vouched is not None
            names = tuple(dict.fromkeys((base, target.host, *target.vouched.domain)))
            check = ByRecords(good, names)
            return Decision(TLSLevel.VERIFY, "dane", where, check, applied=applied)
        because = f"{where}, none of which can be used: encrypted, not verified"
        if policy.wishes.requires or policy.level is TLSLevel.VERIFY:
            return Decision(TLSLevel.VERIFY, "dane", because, applied=applied)
        return Decision(TLSLevel.ENCRYPT, "dane", because, applied=applied)

    def _by_mta_sts(self, policy: DomainPolicy, target: Target) -> Decision:
        sts = policy.found.policy
        if sts is None or sts.mode is Mode.NONE:
            return self._by_level(policy, target)
        applied = TLSPolicy(PolicyType.STS, sts.lines(), sts.hosts)
        fits = sts.fits(target.host)
        shown = f"the policy of the domain, mode {sts.mode},"
        if policy.wishes.requires:
            if not fits:
                raise NotVouchedFor(f"{target.host} does not fit the domain's MTA-STS policy")
            return Decision(TLSLevel.VERIFY, "requiretls", f"{shown} names it", applied=applied)
        if sts.mode is Mode.ENFORCE:
            if not fits:
                text = f"{target.host} does not fit the domain's MTA-STS policy"
                decision = Decision(TLSLevel.VERIFY, "mta-sts", text, applied=applied)
                raise HostRefused(text, ResultType.VALIDATION_FAILURE, decision)
            return Decision(TLSLevel.VERIFY, "mta-sts", f"{shown} names it", applied=applied)
        because = f"{shown} {'names it' if fits else 'does not name it'}: only told"
        level = policy.level
        is_observed = level is not TLSLevel.VERIFY
        return Decision(level, level.value, because, is_observed=is_observed, applied=applied)

    def _by_level(self, policy: DomainPolicy, target: Target) -> Decision:
        if policy.wishes.requires:
            if target.vouched is None or not target.vouched.mx:
                if policy.found.is_unknown:
                    text = f"REQUIRETLS, and {policy.found.because}"
                    decision = Decision(TLSLevel.VERIFY, "requiretls", text)
                    raise HostRefused(text, ResultType.STS_POLICY_FETCH_ERROR, decision)
                raise NotVouchedFor("neither DNSSEC nor MTA-STS vouches for the MX host")
            because = "signed MX records name the host"
            return Decision(TLSLevel.VERIFY, "requiretls", because)
        because = policy.because
        if policy.found.because:
            because = f"{because}; {policy.found.because}"
        return set_for_all(policy.level, because)

    def tell(
        self,
        domain: str,
        decision: Decision,
        policy: DomainPolicy,
        failure: TLSFailure | None,
        *,
        counts: bool = True,
    ) -> None:
        """One session with a host of ``domain`` has begun, or could not; it ``counts`` or not."""
        is_sts = decision.applied.type is PolicyType.STS
        if failure is not None and is_sts and self.not_met is not None:
            self.not_met(domain)
        if self.told is None or not counts:
            return
        self.told(TLSResult(domain, decision.applied, failure))
        found = policy.found
        if found.trouble is not None and not is_sts:
            trouble = TLSFailure(found.trouble, reason=found.because)
            self.told(TLSResult(domain, TLSPolicy(PolicyType.STS), trouble))


async def _records(resolver: ValidatingResolver, target: Target) -> tuple[str, tuple[TLSA, ...]]:
    """The TLSA base domain and its records (RFC 7672 section 2.2.3); none without DNSSEC."""
    vouched = target.vouched
    if vouched is None or not vouched.mx:
        return "", ()
    bases = [target.host]
    if vouched.led_to.lower() != target.host.lower():
        if vouched.addresses:
            bases = [vouched.led_to, target.host]
        elif not await _is_secure_alias(resolver, target.host):
            return "", ()
    elif not vouched.addresses:
        return "", ()
    for base in bases:
        answer = await resolver.tlsa(f"_{target.port}._tcp.{base}")
        if answer.values and answer.is_secure:
            return base, tuple(answer.values)
    return "", ()


async def _is_secure_alias(resolver: ValidatingResolver, host: str) -> bool:
    try:
        answer = await resolver.alias(host)
    except NoSuchDomain:
        return False
    return bool(answer.values) and answer.is_secure
