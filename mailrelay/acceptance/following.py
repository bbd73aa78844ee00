"""The judge that does what domains ask for mail that fails in their name, as far as we follow them.

Asked after whoever may have found that a message comes by a forwarder that is trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

from attrs import evolve, frozen

from mailrelay.acceptance.judging import Arrived, Judgement
from mailrelay.mailauth.authentication import Authentication
from mailrelay.mailauth.dmarc import DMARC, DMARCOutcome
from mailrelay.mailauth.dmarc_record import Disposition
from mailrelay.mailauth.dmarc_result import DKIMChecked, DMARCResult, Override, SPFChecked
from mailrelay.mailauth.spf import SPFResult
from mailrelay.smtp.reply import Reply, printable, reply

Record = Callable[[str, float, DMARCResult], object]
"""Told of the domain whose policy it is, the time, and what was found."""

MAX_TEXT, MAX_NAME = 200, 255


class Follow(StrEnum):
    """How far a wish is followed."""

    REPORT = "report"  # it is only noted
    QUARANTINE = "quarantine"  # at the most Junk
    REJECT = "reject"


@frozen
class FollowSettings:
    """Of a listener."""

    on_dmarc_failure: Follow = Follow.REJECT
    on_spf_failure: Follow = Follow.REPORT


@frozen
class Following:
    """See Judge.  ``record`` is told of results that their domain wants reports of."""

    settings: FollowSettings
    record: Record | None = None

    async def judge(self, arrived: Arrived, found: Judgement) -> Judgement:
        """See Judge."""
        known = found.authentication
        if known is None:
            return found
        done = Disposition.NONE if found.overrides else self._followed(known.dmarc)
        if self.record is not None:
            self._tell(self.record, arrived, found, known, done)
        if found.overrides:
            return found
        return self._by_spf(known, self._by_dmarc(known.dmarc, found, done))

    def _followed(self, dmarc: DMARCOutcome) -> Disposition:
        """What is done of what is asked, when that is known."""
        if dmarc.result not in (DMARC.FAIL, DMARC.PERMERROR):
            return Disposition.NONE
        return _at_most(dmarc.asked, self.settings.on_dmarc_failure)

    def _by_dmarc(self, dmarc: DMARCOutcome, found: Judgement, done: Disposition) -> Judgement:
        domain = dmarc.from_domain
        if done is Disposition.REJECT:
            return evolve(found, refusal=dmarc_failed(domain), refused_by="dmarc")
        if done is Disposition.QUARANTINE:
            return _junk(found, f"DMARC: {dmarc.reason}")
        if dmarc.result is not DMARC.TEMPERROR:
            return found
        # Whoever forges mail can have it that DNS does not answer: that must gain him nothing.
        most = _at_most(dmarc.asked, self.settings.on_dmarc_failure)
        if most is Disposition.REJECT:
            return evolve(found, refusal=dmarc_unknown(domain), refused_by="dmarc")
        return _junk(found, f"DMARC: {dmarc.reason}") if most is Disposition.QUARANTINE else found

    def _by_spf(self, known: Authentication, found: Judgement) -> Judgement:
        """A message that DMARC passes is let through: forwarders break SPF alone."""
        spf = known.sender_spf
        if spf is None or spf.result is not SPFResult.FAIL or found.refusal is not None:
            return found
        follow = self.settings.on_spf_failure
        if known.dmarc.result is DMARC.PASS or follow is Follow.REPORT:
            return found
        if follow is Follow.REJECT:
            refusal = spf_failed(known.ip, known.sender_domain)
            return evolve(found, refusal=refusal, refused_by="spf")
        return _junk(found, f"SPF: {spf.reason}")

    def _tell(
        self,
        record: Record,
        arrived: Arrived,
        found: Judgement,
        known: Authentication,
        done: Disposition,
    ) -> None:
        dmarc, path = known.dmarc, arrived.envelope.reverse_path
        published = dmarc.published
        is_known = dmarc.result in (DMARC.PASS, DMARC.FAIL)
        if published is None or dmarc.record is None or not dmarc.record.rua or not is_known:
            return
        overrides = (*dmarc.overrides, *found.overrides)
        if done is not dmarc.asked and not found.overrides:
            overrides = (*overrides, Override("local_policy"))
        result = DMARCResult(
            known.ip,
            published,
            done,
            dmarc.is_dkim_aligned,
            dmarc.is_spf_aligned,
            dmarc.from_domain,
            path.domain if path is not None else "",
            arrived.envelope.recipients[0].forward_path.domain,
            overrides,
            tuple(_dkim(known)),
            tuple(_spf(known)),
        )
        record(dmarc.found_at, arrived.at, result)


def _at_most(asked: Disposition, follow: Follow) -> Disposition:
    if follow is Follow.REPORT:
        return Disposition.NONE
    return asked.lowered if asked is Disposition.REJECT and follow is not Follow.REJECT else asked


def _junk(found: Judgement, why: str) -> Judgement:
    verdict = found.verdict
    return evolve(found, verdict=evolve(verdict, junk=verdict.junk or printable(why, MAX_TEXT)))


def _dkim(known: Authentication) -> Iterator[DKIMChecked]:
    for one in known.dkim:
        yield DKIMChecked(
            one.domain[:MAX_NAME], one.selector[:MAX_NAME], one.result, one.reason[:MAX_TEXT]
        )


def _spf(known: Authentication) -> Iterator[SPFChecked]:
    for outcome, scope, domain in (
        (known.spf, "mfrom", known.sender_domain),
        (known.helo_spf, "helo", known.helo),
    ):
        if outcome is not None:
            yield SPFChecked(domain[:MAX_NAME], scope, outcome.result, outcome.reason[:MAX_TEXT])


def dmarc_failed(domain: str) -> Reply:
    """What is told of mail that its domain wants to be refused (RFC 7372 section 3.3)."""
    return reply(
        550,
        "5.7.26",
        f"neither SPF nor DKIM passed for {_name(domain)}, whose DMARC policy is reject: "
        "send it by the domain's own servers, or sign it with DKIM",
    )


def dmarc_unknown(domain: str) -> Reply:
    """What is told of mail that might pass if DNS had answered."""
    return reply(
        451, "4.7.26", f"DNS does not tell now whether {_name(domain)} sends this: try again later"
    )


def spf_failed(ip: str, domain: str) -> Reply:
    """What is told of mail from a host that its domain does not send by (RFC 7372 section 3.2)."""
    return reply(
        550,
        "5.7.23",
        f"{_name(domain)} does not send mail by {ip}: mend its SPF record, or the server",
    )


def _name(domain: str) -> str:
    return printable(domain, MAX_NAME)
