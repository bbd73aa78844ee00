"""The judge that finds who mail is from: SPF, DKIM, DMARC, and the name of the host it came by.

Invariants: it only finds; all of DNS and of the body is done within ``within`` seconds, and then as
many are there for the policies of From's domains: whoever forges them chooses how slow the rest is.
What is not known in time is a transient error; nothing that takes long is computed in the
reactor's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailrelay.acceptance.judging import Arrived, Judgement
from mailrelay.mailauth.authentication import Authentication
from mailrelay.mailauth.dkim import raw_fields
from mailrelay.mailauth.dkim_verify import DKIMOutcome, DKIMResult, Verifier
from mailrelay.mailauth.dmarc import (
    DMARC,
    Checked,
    DMARCOutcome,
    DMARCWorld,
    Looking,
    dmarc_of,
)
from mailrelay.mailauth.dmarc_record import Disposition
from mailrelay.mailauth.iprev import HostName, Iprev, name_of
from mailrelay.mailauth.spf import SPFOutcome, SPFResult, check_host
from mailrelay.message.auth_results import claiming
from mailrelay.message.edit import Stretch
from mailrelay.message.header import Header, addresses_in
from mailrelay.message.mailboxes import hides_address
from mailrelay.message.places import any_fields
from mailrelay.message.verdict import Verdict
from mailrelay.net.in_time import in_time
from mailrelay.net.resolver import LookupFailed, NoSuchDomain, Resolver, as_ip
from mailrelay.net.threads import Executor
from mailrelay.smtp.reply import printable

T = TypeVar("T")

WITHIN = 10.0
LATE = "it took too long to find out"
MAX_REASON = 300
READ_AT_ONCE = 8192
"""Bytes of a header section that is read in the reactor's thread."""


@frozen
class Authenticating:
    """See Judge.  ``chance`` gives a number from 0 to below 1; ``now`` is since the epoch."""

    authserv_id: str
    resolver: Resolver
    executor: Executor
    clock: IReactorTime
    now: Callable[[], float]
    chance: Callable[[], float]
    is_public_suffix: Callable[[str], bool]
    within: float = WITHIN
    _log = Logger()

    async def judge(self, arrived: Arrived, found: Judgement) -> Judgement:
        """See Judge."""
        authors, hidden = await self._section(arrived)
        known = await self._known(arrived, authors)
        return evolve(
            found,
            authentication=known,
            results=(*found.results, *known.results()),
            hidden=(*found.hidden, *hidden),
            verdict=_verdict(found.verdict, known),
        )

    async def _section(self, arrived: Arrived) -> tuple[Sequence[str], Sequence[Stretch]]:
        """Whose From it is, and what of the header is hidden."""
        if arrived.body_at <= READ_AT_ONCE:
            return _read(arrived, self.authserv_id)
        return await self.executor.run(_read, arrived, self.authserv_id)

    async def _known(self, arrived: Arrived, authors: Sequence[str]) -> Authentication:
        source, path = arrived.source, arrived.envelope.reverse_path
        ip, helo = as_ip(source.peer_ip or "") or "", source.helo or ""
        sender = f"{path.localpart}@{path.domain}" if path is not None else ""
        ends_at = self.clock.seconds() + self.within

        def starting(work: Coroutine[Any, Any, T], late: T) -> Deferred[T]:
            return Deferred.fromCoroutine(self._in_time(work, ends_at, late))

        spf_late = SPFOutcome(SPFResult.TEMPERROR, LATE)
        dkim_late = [DKIMOutcome(DKIMResult.TEMPERROR, LATE)]
        started: list[Deferred[Any]] = [
            starting(self._host(ip), HostName(Iprev.TEMPERROR, reason=LATE)),
            starting(self._spf(ip, sender, helo) if sender else _nothing(), spf_late),
            starting(self._spf(ip, "", helo), spf_late),
            starting(self._dkim(arrived), dkim_late),
        ]
        host, spf, helo_spf, dkim = await gatherResults(started)
        known = Authentication(ip, helo, sender, host, spf, helo_spf, dkim)
        checked = Checked(
            known.sender_domain,
            known.sender_spf.result if known.sender_spf is not None else SPFResult.NONE,
            dkim,
        )
        return evolve(known, dmarc=await self._dmarc(authors, checked))

    async def _dmarc(self, authors: Sequence[str], checked: Checked) -> DMARCOutcome:
        """Each domain is looked at by itself: one that is slow hides no other's policy."""
        ends_at = self.clock.seconds() + self.within

        def bounded(domain: str, looking: Looking) -> Looking:
            return self._in_time(looking, ends_at, _unknown(domain))

        return await dmarc_of(self._world(), authors, checked, bounded)

    async def _in_time(self, work: Coroutine[Any, Any, T], ends_at: float, late: T) -> T:
        """What ``work`` gives, or ``late``, also when it fails: mail is put off at most."""

        def failed() -> None:
            self._log.failure("mail cannot be authenticated")

        return await in_time(self.clock, ends_at - self.clock.seconds(), work, late, failed)

    async def _host(self, ip: str) -> HostName | None:
        return await name_of(self.resolver, ip) if ip else None

    async def _spf(self, ip: str, sender: str, helo: str) -> SPFOutcome | None:
        domain = sender.rpartition("@")[2] or helo
        if not ip or not domain or domain.startswith("["):
            return None
        here = self.authserv_id
        return await check_host(self.resolver, ip, sender, helo, receiver=here, now=self.now)

    async def _dkim(self, arrived: Arrived) -> Sequence[DKIMOutcome]:
        section = arrived.head[: arrived.body_at]
        if b"dkim-signature" not in section.lower():
            return []
        verifier = await self.executor.run(_verifier, section)
        if verifier.has_signatures:
            async for piece in arrived.pieces(arrived.body_at):
                await self.executor.run(verifier.update, piece)
        return await verifier.outcomes(self.resolver.texts, arrived.at, self.executor.run)

    def _world(self) -> DMARCWorld:
        return DMARCWorld(self.resolver.texts, self._exists, self.is_public_suffix, self.chance)

    async def _exists(self, domain: str) -> bool:
        try:
            found = await self.resolver.addresses(domain, ipv4=True, ipv6=True)
            return bool(found or await self.resolver.mx_hosts(domain))
        except NoSuchDomain:
            return False
        except LookupFailed:
            return True


async def _nothing() -> None:
    return None


def _unknown(author: str) -> DMARCOutcome:
    """Of a policy that could not be had in time: it may be the strictest."""
    return DMARCOutcome(DMARC.TEMPERROR, LATE, author, asked=Disposition.REJECT)


def _verifier(section: bytes) -> Verifier:
    return Verifier(raw_fields(section))


def _read(arrived: Arrived, authserv_id: str) -> tuple[Sequence[str], Sequence[Stretch]]:
    section = arrived.head[: arrived.body_at]
    hidden = [(at, end, b"") for at, end in claiming(section, authserv_id)]
    return authors_of(arrived.header, section), hidden


def authors_of(header: Header, head: bytes) -> Sequence[str]:
    """The domains of From, none where readers may differ about whose it is."""
    count = sum(name == "from" for name, _, _ in any_fields(head))
    author = header.first("from")
    if count != 1 or author is None or hides_address(author):
        return []
    return [one.domain for one in addresses_in(author)]


def _verdict(verdict: Verdict, known: Authentication) -> Verdict:
    spf, dmarc = known.sender_spf, known.dmarc
    return evolve(
        verdict,
        spf=spf.result.value if spf is not None else SPFResult.NONE.value,
        dmarc=dmarc.result.value,
        is_mail_from_valid=spf is not None and spf.result is SPFResult.PASS,
        is_from_valid=dmarc.is_spf_aligned or dmarc.is_dkim_aligned,
        dkim_domains=known.dkim_domains,
        reasons=(*verdict.reasons, *(printable(str(one), MAX_REASON) for one in known.results())),
    )
