"""Attempts by SMTP: ask one host after the other, and classify what came of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.message.header import MAX_HEADER_BYTES, header_end
from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.content import Outgoing
from mailrelay.outbound.health import RelayHealth
from mailrelay.outbound.hosts import HostFinder, Target
from mailrelay.outbound.opening import Stage
from mailrelay.outbound.pool import ConnectionPool
from mailrelay.outbound.protocol import SMTPClientProtocol
from mailrelay.outbound.sessions import NoConnection, Session, Sessions
from mailrelay.outbound.tls_policy import TLSPolicies
from mailrelay.outbound.transactions import OutgoingMessage, Said, to_ask_next
from mailrelay.outbound.transcript import Transcript
from mailrelay.queue.copy import copy_of
from mailrelay.queue.entry import Content, Entry, Message
from mailrelay.queue.outcome import (
    Deferral,
    Outcome,
    PermanentFailure,
    outcome_of_error,
    outcome_of_reply,
)
from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.routing.ways import ByRelayHost
from mailrelay.smtp.dialogue import OutgoingEnvelope, OutgoingRecipient
from mailrelay.smtp.reply import Reply


@define
class _Trail:
    """What an attempt has to tell, whatever becomes of it."""

    started_at: float
    target: Target | None = None
    connection: SMTPClientProtocol | None = None
    transcript: Transcript = field(factory=Transcript)
    sessions: Sessions | None = None

    def attempt(self, ended_at: float) -> Attempt:
        tls = self.connection.tls if self.connection else None
        decision = self.sessions.decision if self.sessions is not None else None
        return Attempt(
            self.started_at,
            ended_at,
            host=self.target.host if self.target else None,
            ip=f"{self.target.ip}:{self.target.port}" if self.target else None,
            tls=str(tls) if tls else None,
            transcript=self.transcript.lines(),
            tls_policy=decision.policy if decision is not None else None,
            tls_because=decision.because if decision is not None else None,
            certificate=self.connection.certificate if self.connection else None,
        )


@frozen
class SMTPTransport:
    """Delivers jobs whose way is ByMX or ByRelayHost."""

    pool: ConnectionPool
    hosts: HostFinder
    mx_tls: TLSLevel
    health: RelayHealth
    now: Callable[[], float]
    content: Callable[[int], Deferred[Content]]
    read_spool: Callable[[str, int, int], Deferred[bytes]]
    policies: TLSPolicies = TLSPolicies()
    _log: Logger = field(factory=Logger, init=False)

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        return Deferred.fromCoroutine(self._attempt(job))

    async def _attempt(self, job: Job) -> Result:
        trail = _Trail(self.now())
        count = len(job.entries)
        try:
            outcomes = await self._deliver(job, trail)
        except NoConnection as error:
            trail.target = error.target
            failed = isinstance(error.outcome, Deferral)
            return self._result([error.outcome] * count, trail, host_failed=failed)
        except Exception as error:
            outcome = outcome_of_error(error)
            if str(outcome.reply.status) == "4.3.0":
                self._log.failure("an attempt failed for a reason of our own")
            return self._result([outcome] * count, trail)
        return self._result(outcomes, trail)

    def _result(
        self, outcomes: Sequence[Outcome], trail: _Trail, *, host_failed: bool = False
    ) -> Result:
        return Result(outcomes, trail.attempt(self.now()), host_failed=host_failed)

    async def _deliver(self, job: Job, trail: _Trail) -> Sequence[Outcome]:
        """What became of each recipient.  Raises: what kept us from asking any host.

        RFC 5321 section 5.1: addresses are tried in order "until a delivery attempt succeeds".
        """
        whole = await self.content(job.message.id)
        content = await copy_of(whole, job.entries[0].edit, self.read_spool)
        envelope = outgoing_envelope(job.message, job.entries, content.size_bytes)
        message = OutgoingMessage(envelope, lambda: self._outgoing(content))
        sessions = trail.sessions = Sessions(
            *(self.pool, self.hosts, self.mx_tls, self.health, job, trail.transcript),
            self.policies,
            lambda: self._waives_tls(content),
        )
        patterns = way.move_on if isinstance(way := job.destination.way, ByRelayHost) else ()
        session, said = await _ask(sessions, message, trail)
        outcomes = [_outcome(answer, said) for answer in said.replies]
        left = list(range(len(outcomes)))  # whom the last host was asked for
        for _ in range(sessions.most - 1):
            moving = to_ask_next(said, patterns, is_gone=session.connection.stage is Stage.CLOSED)
            if not moving or not await sessions.has_another(session):
                break
            sessions.pass_over(session)
            left = [left[place] for place in moving]
            try:
                session, said = await _ask(sessions, message.for_some(left), trail)
            except NoConnection as error:
                _put_off(outcomes, left, error)
                break
            for place, answer in zip(left, said.replies, strict=True):
                outcomes[place] = _outcome(answer, said)
        sessions.give_back(session)
        return outcomes

    async def _waives_tls(self, content: Content) -> bool:
        """Whether its header says ``TLS-Required: No`` (RFC 8689 section 5)."""
        head = content.prefix
        if content.body is not None:
            head += content.body[:MAX_HEADER_BYTES]
        elif content.spool_name is not None:
            size = min(MAX_HEADER_BYTES, content.size_bytes - len(content.prefix))
            head += await self.read_spool(content.spool_name, content.body_from, size)
        found = _TLS_REQUIRED.search(head, 0, header_end(head))
        return found is not None

    def _outgoing(self, content: Content) -> Outgoing:
        if content.body is not None:
            return Outgoing(content.prefix + content.body, content.size_bytes)
        name = content.spool_name
        assert name is not None
        return Outgoing(
            content.prefix,
            content.size_bytes,
            lambda offset, size: self.read_spool(name, content.body_from + offset, size),
        )


_TLS_REQUIRED = re.compile(rb"(?:\A|\n)tls-required[ \t]*:[ \t]*no[ \t]*\r\n", re.IGNORECASE)


def _outcome(answer: Reply, said: Said) -> Outcome:
    if not said.is_ours:
        return outcome_of_reply(answer, said.reach)
    return PermanentFailure(answer) if answer.is_permanent else Deferral(answer)


def _put_off(outcomes: list[Outcome], left: Sequence[int], error: NoConnection) -> None:
    """What the last host said stands, but for refusals that the next one was to be asked about."""
    for place in left:
        if isinstance(outcomes[place], PermanentFailure) and isinstance(error.outcome, Deferral):
            outcomes[place] = error.outcome


async def _ask(sessions: Sessions, message: OutgoingMessage, trail: _Trail) -> tuple[Session, Said]:
    """What the next host says of ``message``.  Raises: see Sessions.next."""
    while True:
        session = await sessions.next()
        said = await message.send(session.connection)
        # A kept connection may have been closed meanwhile: nothing was said on it yet.
        if not (session.is_kept and said.is_lost):
            trail.target, trail.connection = session.target, session.connection
            sessions.judge(session, said.replies)
            return session, said


def outgoing_envelope(
    message: Message, entries: Sequence[Entry], size_bytes: int
) -> OutgoingEnvelope:
    """The envelope of one transaction.  What was accepted with ORCPT and the like keeps it."""
    return OutgoingEnvelope(
        entries[0].reverse_path,
        [OutgoingRecipient(e.recipient, e.notify, e.orcpt) for e in entries],
        size_bytes,
        eight_bit=message.eight_bit,
        smtputf8=message.smtputf8,
        require_tls=message.require_tls,
        ret=message.ret,
        envid=None if entries[0].is_of_list else message.envid,
    )
