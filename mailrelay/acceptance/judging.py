"""Judging mail of strangers, when its content is there whole and before it is made a message.

Judges are asked in order, and each sees what those before it found.  Invariants: what came is not
changed while it is judged; of a message that is refused nothing is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.screening import TurnedAway
from mailrelay.mailauth.arc_seal import Sealing
from mailrelay.mailauth.arc_verify import ARCOutcome
from mailrelay.mailauth.authentication import Authentication
from mailrelay.mailauth.dmarc_result import Override
from mailrelay.message.auth_results import MethodResult, authentication_results, payload
from mailrelay.message.edit import Stretch
from mailrelay.message.header import Header, header_end
from mailrelay.message.verdict import Verdict
from mailrelay.smtp.reply import Reply

READ_BYTES = 256 * 1024

ReadSpool = Callable[[str, int, int], Deferred[bytes]]

Body = tuple[bytes | None, str | None]
"""What is in memory, or the name of what is in the spool."""


@frozen
class Arrived:
    """Mail as it came.  ``at`` is seconds since the epoch.

    ``head`` is its header section; of what is in memory, where ``spool_name`` is None, all of it.
    ``header`` is empty when the section is too large to be read.
    """

    source: Source
    envelope: Envelope
    header: Header
    head: bytes
    size_bytes: int
    spool_name: str | None
    read_spool: ReadSpool
    at: float

    @property
    def body_at(self) -> int:
        """Where the body begins."""
        return header_end(self.head)

    async def pieces(self, at: int = 0) -> AsyncIterator[bytes]:
        """What came, from byte ``at`` on."""
        if self.spool_name is None:
            yield self.head[at:]
            return
        while piece := await self.read_spool(self.spool_name, at, READ_BYTES):
            yield piece
            at += len(piece)


@frozen
class Judgement:
    """What is known of a message so far.

    ``refused_by`` is one word for what refuses it: dmarc, spf, ...  ``results`` are told in the one
    Authentication-Results field; ``fields`` are whole fields that stand under it.  ``hidden`` are
    stretches of the header as it came, in order, that are replaced.  ``arc`` is the chain of those
    who passed it on before, when it was validated.  ``overrides`` say why DMARC's policy is not to
    be followed, before it is.
    """

    refusal: Reply | None = None
    refused_by: str = ""
    verdict: Verdict = Verdict()
    results: tuple[MethodResult, ...] = ()
    fields: bytes = b""
    hidden: tuple[Stretch, ...] = ()
    authentication: Authentication | None = None
    overrides: tuple[Override, ...] = ()
    arc: ARCOutcome | None = None


class Judge(Protocol):
    """One that is asked."""

    async def judge(self, arrived: Arrived, found: Judgement) -> Judgement:
        """``found`` with what this one finds.

        It raises nothing for what is wrong with the message or with the world outside, and its
        time is bounded.
        """


@frozen
class Judged:
    """What a message is stored with: ``fields`` stand under our Received."""

    fields: bytes = b""
    verdict: Verdict | None = None
    sealing: Sealing | None = None  # what is told to those to whom it is passed on
    is_signed: bool = False  # by its author's domain
    fails_elsewhere: bool = False  # passed on, it fails its author's DMARC


NOTHING_JUDGED = Judged()


@frozen
class Chain:
    """Judges in order, as far as none refuses.

    ``authserv_id`` is our name in what is told of authentication; empty when that is not judged.
    """

    authserv_id: str
    judges: Sequence[Judge]
    read_spool: ReadSpool
    turned_away: Callable[[TurnedAway], None] = lambda one: None  # hears of what is refused

    def arrived(
        self,
        source: Source,
        envelope: Envelope,
        header: Header,
        incoming: IncomingContent,
        body: Body,
        at: float,
    ) -> Arrived:
        """What they are asked about."""
        head, size = incoming.head, incoming.size_bytes
        return Arrived(source, envelope, header, head, size, body[1], self.read_spool, at)

    async def judge(self, arrived: Arrived) -> Judgement:
        """What all of them found."""
        found = Judgement()
        for judge in self.judges:
            found = await judge.judge(arrived, found)
            if found.refusal is not None:
                self._tell(arrived, found, found.refusal)
                break
        return found

    def _tell(self, arrived: Arrived, found: Judgement, refusal: Reply) -> None:
        envelope, ip = arrived.envelope, arrived.source.peer_ip or ""
        recipient = envelope.recipients[0].forward_path
        by = found.refused_by or "judge"
        self.turned_away(TurnedAway(by, refusal, ip, envelope.reverse_path, recipient))

    def told(self, found: Judgement) -> Judged:
        """The same for those who get the message."""
        if not self.authserv_id:
            return Judged(found.fields, found.verdict)
        said = payload(self.authserv_id, found.results)
        sealing = Sealing(said.decode(), found.arc) if found.arc is not None else None
        fields = authentication_results(said) + found.fields
        known = found.authentication
        if known is None:
            return Judged(fields, found.verdict, sealing)
        fails = known.dmarc.fails_elsewhere
        return Judged(fields, found.verdict, sealing, known.is_signed_by_author, fails)
