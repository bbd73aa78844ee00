"""Attempts by SMTP: find hosts, get a connection, run the transaction, classify what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.net.resolver import NoSuchDomain
from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.content import Outgoing
from mailrelay.outbound.hosts import HostFinder, Target
from mailrelay.outbound.opening import LoginFailed, SessionRefused, TLSFailed
from mailrelay.outbound.pool import Access, ConnectionPool
from mailrelay.outbound.protocol import SMTPClientProtocol
from mailrelay.outbound.transcript import Transcript
from mailrelay.queue.entry import Content, Entry, Message
from mailrelay.queue.outcome import (
    Deferral,
    Outcome,
    PermanentFailure,
    Postponed,
    Reach,
    outcome_of_error,
    outcome_of_reply,
)
from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.routing.ways import ByMX, ByRelayHost, RelayHost
from mailrelay.smtp.dialogue import (
    OutgoingEnvelope,
    OutgoingRecipient,
    Transaction,
    refusal_without_asking,
)
from mailrelay.smtp.reply import Reply, reply

NO_HOST = reply(451, "4.4.1", "no host to connect to")


class _NoConnection(Exception):
    """No host could be talked to; ``outcome`` is that of the last one tried."""

    def __init__(self, outcome: Deferral | PermanentFailure, target: Target | None) -> None:
        super().__init__(str(outcome.reply))
        self.outcome, self.target = outcome, target


@define
class _Trail:
    """What an attempt has to tell, whatever becomes of it."""

    started_at: float
    target: Target | None = None
    connection: SMTPClientProtocol | None = None
    transcript: Transcript = field(factory=Transcript)

    def attempt(self, ended_at: float) -> Attempt:
        tls = self.connection.tls if self.connection else None
        return Attempt(
            self.started_at,
            ended_at,
            host=self.target.host if self.target else None,
            ip=f"{self.target.ip}:{self.target.port}" if self.target else None,
            tls=str(tls) if tls else None,
            transcript=self.transcript.lines(),
        )


@frozen
class SMTPTransport:
    """Delivers jobs whose way is ByMX or ByRelayHost."""

    pool: ConnectionPool
    hosts: HostFinder
    mx_tls: TLSLevel
    now: Callable[[], float]
    content: Callable[[int], Deferred[Content]]
    read_spool: Callable[[str, int, int], Deferred[bytes]]
    _log: Logger = field(factory=Logger, init=False)

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        return Deferred.fromCoroutine(self._attempt(job))

    async def _attempt(self, job: Job) -> Result:
        trail = _Trail(self.now())
        count = len(job.entries)
        try:
            replies, reach = await self._deliver(job, trail)
        except _NoConnection as error:
            trail.target = error.target
            failed = isinstance(error.outcome, Deferral)
            return self._result([error.outcome] * count, trail, host_failed=failed)
        except Exception as error:
            outcome = outcome_of_error(error)
            if outcome.reply.status is not None and str(outcome.reply.status) == "4.3.0":
                self._log.failure("an attempt failed for a reason of our own")
            return self._result([outcome] * count, trail)
        return self._result([outcome_of_reply(r, reach) for r in replies], trail)

    def _result(
        self, outcomes: Sequence[Outcome], trail: _Trail, *, host_failed: bool = False
    ) -> Result:
        return Result(outcomes, trail.attempt(self.now()), host_failed=host_failed)

    async def _deliver(self, job: Job, trail: _Trail) -> tuple[Sequence[Reply], Reach]:
        key = job.destination.key
        if job.message.require_tls:
            key += "+requiretls"  # its connections are verified, others may not be
        content = await self.content(job.message.id)
        while True:
            kept = self.pool.take_idle(key)
            reused = kept is not None
            connection, target = kept or await self._connect(job, trail)
            trail.connection, trail.target = connection, target
            if reused:
                trail.transcript.note("connection reused")
                connection.transcript = trail.transcript
            try:
                return await self._transact(job, connection, content)
            except Exception:
                # A kept connection may have been closed meanwhile: nothing was said on it yet.
                if not reused or connection.answered:
                    raise
                trail.connection = None
            finally:
                self.pool.give_back(key, connection, target)

    async def _transact(
        self, job: Job, connection: SMTPClientProtocol, content: Content
    ) -> tuple[Sequence[Reply], Reach]:
        offered = connection.extensions
        envelope = outgoing_envelope(job.message, job.entries, content.size_bytes)
        refusal = refusal_without_asking(envelope, offered)
        if refusal is not None:
            connection.transcript.note(str(refusal))
            return [refusal] * len(job.entries), Reach.PASSED_ON
        replies: list[Reply] = []
        for batch in _batches(envelope, offered.max_recipients):
            try:
                transaction = Transaction(batch, offered)
                done = await connection.transact(transaction, self._outgoing(content))
                replies += done.replies
            except Exception as error:
                if not replies:
                    raise
                replies += [outcome_of_error(error).reply] * len(batch.recipients)
        return replies, Reach.PASSED_ON if "DSN" in offered else Reach.RELAYED

    def _outgoing(self, content: Content) -> Outgoing:
        if content.body is not None:
            return Outgoing(content.prefix + content.body, content.size_bytes)
        name = content.spool_name
        assert name is not None
        return Outgoing(
            content.prefix,
            content.size_bytes,
            lambda offset, size: self.read_spool(name, offset, size),
        )

    # Connections

    async def _connect(self, job: Job, trail: _Trail) -> tuple[SMTPClientProtocol, Target]:
        """A new connection to the first host that lets us begin.  Raises: _NoConnection."""
        targets, access = await self._targets(job.destination.way)
        if job.message.require_tls:  # RFC 8689 section 4.2.1
            access = evolve(access, level=TLSLevel.VERIFY)
        found: list[tuple[Deferral | PermanentFailure, Target | None]] = []
        for target in targets:
            trail.target = target
            trail.transcript.note(f"{target.host} [{target.ip}]:{target.port}")
            try:
                return await self._open(target, access, trail), target
            except Exception as error:
                outcome = self._opening_outcome(error, target)
                trail.transcript.note(str(outcome.reply))
                found.append((outcome, target))
        # For good only when all of them say so: the best host may just have been away.
        deferrals = [each for each in found if isinstance(each[0], Deferral)]
        raise _NoConnection(*(deferrals or found or [(Deferral(NO_HOST), None)])[-1])

    async def _targets(self, way: Any) -> tuple[Sequence[Target], Access]:
        if isinstance(way, ByMX):
            return await self.hosts.for_domain(way.domain), Access(self.mx_tls)
        assert isinstance(way, ByRelayHost)
        host = way.relay_host
        try:
            return await self.hosts.for_host(host.host, host.port), _access(host)
        except NoSuchDomain as error:  # the operator's to mend: no reason to bounce all mail
            raise Postponed(reply(451, "4.4.4", f"no such relay host: {error}")) from error

    async def _open(self, target: Target, access: Access, trail: _Trail) -> SMTPClientProtocol:
        try:
            return await self.pool.connect(target, access, trail.transcript)
        except Exception as error:
            if access.level is not TLSLevel.MAY or not _is_tls_trouble(error):
                raise
        # Opportunistic: what cannot do TLS gets the mail all the same (RFC 7435).
        trail.transcript.note("TLS failed, going on without")
        plain = Access(
            TLSLevel.NONE,
            username=access.username,
            password=access.password,
            auth_without_tls=access.auth_without_tls,
        )
        return await self.pool.connect(target, plain, trail.transcript)

    def _opening_outcome(self, error: Exception, target: Target) -> Deferral | PermanentFailure:
        """Classify what kept a connection from getting ready."""
        if isinstance(error, SessionRefused):
            # RFC 5321 section 3.1: 554 instead of a greeting; another host may take it.
            answer = error.reply
            return PermanentFailure(answer) if answer.is_permanent else Deferral(answer)
        if isinstance(error, LoginFailed):
            self._log.error(
                "cannot log in to {host}: {reply}", host=target.host, reply=str(error.reply)
            )
        if _is_tls_trouble(error) or type(error).__name__ == "VerificationError":
            return Deferral(reply(454, "4.7.5", f"TLS failed: {error}"))
        return outcome_of_error(error)


def _batches(envelope: OutgoingEnvelope, most: int | None) -> Iterator[OutgoingEnvelope]:
    """One envelope per ``most`` recipients (RFC 9422: RCPTMAX)."""
    recipients = envelope.recipients
    step = most or len(recipients)
    for start in range(0, len(recipients), step):
        yield evolve(envelope, recipients=recipients[start : start + step])


def outgoing_envelope(
    message: Message, entries: Sequence[Entry], size_bytes: int
) -> OutgoingEnvelope:
    """The envelope of one transaction.  What was accepted with ORCPT and the like keeps it."""
    return OutgoingEnvelope(
        message.reverse_path,
        [OutgoingRecipient(e.recipient, e.notify, e.orcpt) for e in entries],
        size_bytes,
        eight_bit=message.eight_bit,
        smtputf8=message.smtputf8,
        require_tls=message.require_tls,
        ret=message.ret,
        envid=message.envid,
    )


def _access(host: RelayHost) -> Access:
    return Access(host.tls, host.implicit_tls, host.username, host.password, host.auth_without_tls)


def _is_tls_trouble(error: BaseException) -> bool:
    return isinstance(error, TLSFailed) or type(error).__module__.startswith("OpenSSL")
