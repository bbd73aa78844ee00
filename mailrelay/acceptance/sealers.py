"""The judge that validates what those who passed a message on sealed, and believes some of them.

Asked between the one that finds who mail is from and the one that follows wishes.  Invariants as
there: it only finds, within ``within`` seconds, and computes nothing in the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailrelay.acceptance.judging import Arrived, Judgement
from mailrelay.mailauth.arc import ChainResult
from mailrelay.mailauth.arc_trust import vouched_by
from mailrelay.mailauth.arc_verify import ARCOutcome, ChainVerifier
from mailrelay.mailauth.dkim import raw_fields
from mailrelay.mailauth.dkim_verify import Texts
from mailrelay.mailauth.dmarc import DMARC
from mailrelay.mailauth.dmarc_result import Override
from mailrelay.message.auth_results import MethodResult
from mailrelay.net.in_time import in_time
from mailrelay.net.threads import Executor
from mailrelay.smtp.reply import printable

WITHIN = 10.0
MAX_TOLD = 500
LATE = ARCOutcome(ChainResult.FAIL, "it took too long to find out", is_temporary=True)
NO_CHAIN = ARCOutcome(ChainResult.NONE)


@frozen
class Sealers:
    """See Judge.  What the ``trusted`` domains sealed is believed, also against DMARC."""

    texts: Texts
    executor: Executor
    clock: IReactorTime
    trusted: frozenset[str] = frozenset()
    within: float = WITHIN
    _log = Logger()

    async def judge(self, arrived: Arrived, found: Judgement) -> Judgement:
        """See Judge."""
        outcome = await self._in_time(arrived)
        if outcome.result is ChainResult.NONE:
            return evolve(found, arc=outcome)
        said = MethodResult("arc", outcome.result.value, outcome.reason)
        verdict = evolve(
            found.verdict,
            arc=outcome.result.value,
            reasons=(*found.verdict.reasons, printable(str(said), MAX_TOLD)),
        )
        judged = evolve(found, arc=outcome, results=(*found.results, said), verdict=verdict)
        return self._believed(judged, outcome)

    def _believed(self, found: Judgement, outcome: ARCOutcome) -> Judgement:
        known = found.authentication
        if known is None or known.dmarc.result is not DMARC.FAIL:
            return found
        by = vouched_by(outcome, self.trusted, known.dmarc.from_domain)
        if not by:
            return found
        # RFC 8617 section 7.2.2: told to the domain in its report.
        sealed = " ".join(
            f"as[{number}].d={one.seal.domain} as[{number}].s={one.seal.selector}"
            for number, one in reversed(list(enumerate(outcome.chain.sets, 1)))
        )
        comment = printable(f"arc=pass {sealed}", MAX_TOLD)
        told = f"DMARC is not followed: {by} is trusted, and found the author's domain right"
        reasons = (*found.verdict.reasons, printable(told, MAX_TOLD))
        return evolve(
            found,
            overrides=(*found.overrides, Override("local_policy", comment)),
            verdict=evolve(found.verdict, reasons=reasons),
        )

    async def _in_time(self, arrived: Arrived) -> ARCOutcome:
        """What is found of the chain; mail is not lost for a fault of ours."""
        section = arrived.head[: arrived.body_at]
        if b"arc-" not in section.lower():
            return NO_CHAIN

        def failed() -> None:
            self._log.failure("a chain of seals cannot be validated")

        validating = self._validated(section, arrived)
        return await in_time(self.clock, self.within, validating, LATE, failed)

    async def _validated(self, section: bytes, arrived: Arrived) -> ARCOutcome:
        verifier = await self.executor.run(_verifier, section)
        if verifier.has_chain:
            async for piece in arrived.pieces(arrived.body_at):
                await self.executor.run(verifier.update, piece)
        compute: Callable[[Callable[[], bool]], Deferred[bool]] = self.executor.run
        return await verifier.outcome(self.texts, arrived.at, compute)


def _verifier(section: bytes) -> ChainVerifier:
    return ChainVerifier(raw_fields(section))
