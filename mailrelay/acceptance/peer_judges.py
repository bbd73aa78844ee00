"""Judges of what is known of the peer, and of how much comes of a domain."""

from __future__ import annotations

from attrs import evolve, frozen

from mailrelay.acceptance.first_time import sender_of
from mailrelay.acceptance.judging import Arrived, Judgement
from mailrelay.message.verdict import Verdict
from mailrelay.policy.blocklists import Blocklists
from mailrelay.policy.rates import Rates
from mailrelay.smtp.reply import printable

MAX_REASON = 500


@frozen
class Listed:
    """Puts into Junk what comes from a peer that lists name, as their settings say."""

    lists: Blocklists

    async def judge(self, arrived: Arrived, found: Judgement) -> Judgement:
        """See Judge."""
        findings = await self.lists.findings(arrived.source.peer_ip or "")
        if not findings.listings:
            return found
        noted = noted_in(found.verdict, f"the peer is listed by {findings.zones}")
        why = self.lists.junk(findings)
        return evolve(found, verdict=junked(noted, why) if why else noted)


@frozen
class DomainRate:
    """Puts off what comes of a domain that sent much; of one that SPF or DMARC says is right."""

    rates: Rates

    async def judge(self, arrived: Arrived, found: Judgement) -> Judgement:
        """See Judge."""
        domain = sender_of(arrived, found.verdict).rpartition("@")[2]
        refusal = self.rates.refuse_domain(domain) if domain else None
        return found if refusal is None else evolve(found, refusal=refusal, refused_by="rate")


def junked(verdict: Verdict, why: str) -> Verdict:
    """A verdict that puts a message into Junk; the first reason stays."""
    return evolve(verdict, junk=verdict.junk or printable(why, MAX_REASON))


def noted_in(verdict: Verdict, line: str) -> Verdict:
    """A verdict with a line more for people."""
    return evolve(verdict, reasons=(*verdict.reasons, printable(line, MAX_REASON)))
