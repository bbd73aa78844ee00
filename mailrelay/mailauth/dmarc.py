"""DMARC: whether From's domain stands behind a message (RFC 9989, which follows RFC 7489).

Where a policy is, and which domains belong together, is found by walking up the tree of DNS
(RFC 9989 section 4.10).  A name of the public suffix list is taken for one that says psd=y, if its
record does not say: else all who register below it would be aligned with each other.

Invariant: a walk asks for at most eight names, and each name is asked for once, or once for each of
From's domains that are looked at together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, gatherResults

from mailrelay.mailauth.dkim_verify import DKIMOutcome, Texts
from mailrelay.mailauth.dmarc_record import PSD, Disposition, Record, is_record, parse_record
from mailrelay.mailauth.dmarc_result import Override, PublishedPolicy
from mailrelay.mailauth.names import is_domain, is_within
from mailrelay.mailauth.spf import SPFResult
from mailrelay.net.resolver import LookupFailed, NoSuchDomain

MOST_LABELS = 7
"""Of what is asked for above the domain itself: with it, a walk asks for eight names."""

MOST_AUTHORS = 4
"""Domains of one From that are looked at."""


class DMARC(StrEnum):
    """What is known (RFC 7489 section 11.2)."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@frozen
class DMARCOutcome:
    """A result, the reason for it, and what the domain asks for this very message.

    ``overrides`` are why that is less than its record says; ``found_at`` is where that is.
    """

    result: DMARC = DMARC.NONE
    reason: str = ""
    from_domain: str = ""
    asked: Disposition = Disposition.NONE
    is_spf_aligned: bool = False
    is_dkim_aligned: bool = False
    found_at: str = ""
    record: Record | None = None
    overrides: tuple[Override, ...] = ()

    @property
    def fails_elsewhere(self) -> bool:
        """Whether, passed on, it fails and something is asked for: SPF is then another's."""
        record = self.record
        if record is None or record.problem or self.is_dkim_aligned:
            return False
        is_own = self.from_domain == self.found_at
        asked = record.p if is_own else record.sp or record.p
        return asked is not Disposition.NONE

    @property
    def published(self) -> PublishedPolicy | None:
        """The policy as a report has it."""
        record = self.record
        if record is None:
            return None
        return PublishedPolicy(
            self.found_at,
            record.p,
            record.sp,
            record.np,
            "s" if record.is_dkim_strict else "r",
            "s" if record.is_spf_strict else "r",
            record.percent,
            record.failure_options,
            record.is_testing,
        )


@frozen
class Checked:
    """What SPF and DKIM found, of which domains."""

    spf_domain: str
    spf: SPFResult
    dkim: Sequence[DKIMOutcome] = ()


@frozen
class DMARCWorld:
    """What is asked of the world.  ``exists`` is whether a domain has addresses or MX records.

    ``chance`` gives a number from 0 to below 1.
    """

    texts: Texts
    exists: Callable[[str], Awaitable[bool]]
    is_public_suffix: Callable[[str], bool]
    chance: Callable[[], float]


Looking = Coroutine[Any, Any, DMARCOutcome]
"""A domain being looked at."""


async def dmarc_of(
    world: DMARCWorld,
    authors: Sequence[str],
    checked: Checked,
    bounded: Callable[[str, Looking], Looking] = lambda domain, looking: looking,
) -> DMARCOutcome:
    """What is known of a message whose From has addresses of the domains ``authors``.

    Of several the one that fails, and asks for most, is told (RFC 7489 section 6.6.1).  They are
    looked at together, each as long as ``bounded`` lets it.
    """
    domains = list(dict.fromkeys(author.lower() for author in authors))
    if not 0 < len(domains) <= MOST_AUTHORS:
        return NO_AUTHOR
    message = _Message(world, checked)
    looked = [
        Deferred.fromCoroutine(bounded(domain, message.outcome(domain))) for domain in domains
    ]
    return max(await gatherResults(looked), key=_weight)


NO_AUTHOR = DMARCOutcome(
    DMARC.PERMERROR, "From does not tell who wrote it", asked=Disposition.QUARANTINE
)
"""Of a message without one From that can be read, which nobody's policy is for.

It may be shown as anybody's: it is as if that domain asked for quarantine.
"""


def _weight(outcome: DMARCOutcome) -> tuple[int, int, bool]:
    order = list(Disposition)
    results = (DMARC.PASS, DMARC.NONE, DMARC.PERMERROR, DMARC.TEMPERROR, DMARC.FAIL)
    is_aligned = outcome.is_spf_aligned or outcome.is_dkim_aligned
    return results.index(outcome.result), order.index(outcome.asked), not is_aligned


_PASS = "pass"
_MAY_PASS = (_PASS, "temperror")


class _Unknown(Exception):
    """DNS does not tell now."""


@define
class _Message:
    """One message's evaluation; ``found`` is what was asked for."""

    world: DMARCWorld
    checked: Checked
    found: dict[str, Record | _Unknown | None] = field(factory=dict, init=False)

    async def outcome(self, author: str) -> DMARCOutcome:
        """What is known of one domain of From."""
        if not is_domain(author):
            return DMARCOutcome(reason=f"{author} is no domain of DNS", from_domain=author)
        try:
            walk = await self._walk(author)
            at = self._policy_at(author, walk)
            if at is None:
                return self._without_policy(author)
            return await self._judged(DMARCOutcome(from_domain=author, found_at=at), walk[at])
        except _Unknown as error:
            return DMARCOutcome(DMARC.TEMPERROR, str(error), author)

    def _without_policy(self, author: str) -> DMARCOutcome:
        """No result, but what would stand for ``author``, as the list of public suffixes has it."""
        checked = self.checked
        passed = [one.domain for one in checked.dkim if one.result.value == _PASS]
        return DMARCOutcome(
            reason=f"{author} has no DMARC record",
            from_domain=author,
            is_spf_aligned=checked.spf.value == _PASS
            and self._is_related(author, checked.spf_domain),
            is_dkim_aligned=any(self._is_related(author, domain) for domain in passed),
        )

    def _is_related(self, author: str, domain: str) -> bool:
        shorter, longer = sorted((author, domain.lower().rstrip(".")), key=len)
        if shorter == longer:
            return True
        return is_within(longer, shorter) and not self.world.is_public_suffix(shorter)

    async def _judged(self, outcome: DMARCOutcome, record: Record) -> DMARCOutcome:
        author, checked = outcome.from_domain, self.checked
        outcome = evolve(outcome, record=record)
        if record.problem:
            reason = f"the record of {outcome.found_at}: {record.problem}"
            return evolve(outcome, result=DMARC.PERMERROR, reason=reason)
        aligned = [
            one.result.value
            for one in checked.dkim
            if one.result.value in _MAY_PASS and await self._may_align(author, one.domain, record)
        ]
        spf = checked.spf.value
        if spf not in _MAY_PASS or not await self._is_aligned(
            author, checked.spf_domain, strict=record.is_spf_strict
        ):
            spf = ""
        outcome = evolve(outcome, is_spf_aligned=spf == _PASS, is_dkim_aligned=_PASS in aligned)
        if outcome.is_spf_aligned or outcome.is_dkim_aligned:
            return evolve(outcome, result=DMARC.PASS, reason=_passed(outcome))
        outcome = await self._with_asked(outcome, record)
        if aligned or spf:  # may pass later
            reason = f"DNS does not tell now whether {author} stands behind it"
            return evolve(outcome, result=DMARC.TEMPERROR, reason=reason)
        reason = f"neither SPF nor DKIM passed for {author}"
        return evolve(outcome, result=DMARC.FAIL, reason=reason)

    async def _with_asked(self, outcome: DMARCOutcome, record: Record) -> DMARCOutcome:
        asked = record.p
        if outcome.from_domain != outcome.found_at:
            asked = record.sp or record.p
            if record.np not in (None, asked) and not await self.world.exists(outcome.from_domain):
                asked = record.np or asked
        if asked is Disposition.NONE:
            return outcome
        overrides: tuple[Override, ...] = ()
        if record.is_testing:
            overrides = (Override("policy_test_mode"),)
        elif self.world.chance() * 100 >= record.percent:  # RFC 7489 section 6.6.4
            overrides = (Override("sampled_out", f"pct={record.percent}"),)
        return evolve(outcome, asked=asked.lowered if overrides else asked, overrides=overrides)

    # Which domains belong together

    async def _may_align(self, author: str, signer: str, record: Record) -> bool:
        """Of a signature that could not be looked at in time nobody knows whose it is."""
        if not signer:
            return True
        return await self._is_aligned(author, signer, strict=record.is_dkim_strict)

    async def _is_aligned(self, author: str, domain: str, *, strict: bool) -> bool:
        domain = domain.lower().rstrip(".")
        if strict or author == domain or not is_domain(domain):
            return author == domain
        own = await self._organizational(author)
        return is_within(domain, own) and await self._organizational(domain) == own

    async def _organizational(self, domain: str) -> str:
        return self._organizational_in(domain, await self._walk(domain))

    def _organizational_in(self, domain: str, walk: Mapping[str, Record]) -> str:
        """RFC 9989 section 4.10.2."""
        for at, record in walk.items():
            if record.psd is PSD.NO:
                return at
            if at != domain and self._is_suffix(at, record):
                return ".".join(domain.split(".")[-at.count(".") - 2 :])
        return [domain, *walk][-1]

    def _is_suffix(self, at: str, record: Record) -> bool:
        return record.psd is PSD.YES or (
            record.psd is PSD.UNKNOWN and self.world.is_public_suffix(at)
        )

    def _policy_at(self, author: str, walk: Mapping[str, Record]) -> str | None:
        """RFC 9989 section 4.10.1: of the author, the organization, or its public suffix."""
        suffixes = [at for at, record in walk.items() if self._is_suffix(at, record)]
        own = (author, self._organizational_in(author, walk), *suffixes)
        return next((at for at in own if at in walk), None)

    # DNS

    async def _walk(self, domain: str) -> Mapping[str, Record]:
        """The records at and above ``domain``, the lowest first.  Raises: _Unknown."""
        walk: dict[str, Record] = {}
        for name in walked(domain):
            try:
                record = await self._record(name)
            except _Unknown:
                if not walk:
                    raise
                continue  # what is below it is enough to go by
            if record is not None:
                walk[name] = record
                if record.psd is not PSD.UNKNOWN:
                    break
        return walk

    async def _record(self, name: str) -> Record | None:
        """The one record of ``name``; of several none counts.  Raises: _Unknown."""
        if name not in self.found:
            self.found[name] = await self._asked(name)
        found = self.found[name]
        if isinstance(found, _Unknown):
            raise found
        return found

    async def _asked(self, name: str) -> Record | _Unknown | None:
        try:
            texts = await self.world.texts(f"_dmarc.{name}")
        except NoSuchDomain:
            return None
        except LookupFailed as error:
            return _Unknown(str(error))
        records = [parse_record(text) for text in texts if is_record(text)]
        return records[0] if len(records) == 1 else None


def walked(domain: str) -> Iterator[str]:
    """The domain itself, and those above it that are asked."""
    yield domain
    labels = domain.split(".")[1:][-MOST_LABELS:]
    for number in range(len(labels)):
        yield ".".join(labels[number:])


def _passed(outcome: DMARCOutcome) -> str:
    names = {"SPF": outcome.is_spf_aligned, "DKIM": outcome.is_dkim_aligned}
    passed = " and ".join(name for name, is_so in names.items() if is_so)
    return f"{passed} passed for {outcome.from_domain}"
