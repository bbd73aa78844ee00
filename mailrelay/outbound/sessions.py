"""Sessions with the hosts of a way, one after the other, the best host first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import zip_longest
from random import Random

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from mailrelay.net.resolver import NoSuchDomain
from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.health import RelayHealth
from mailrelay.outbound.hosts import HostFinder, Target
from mailrelay.outbound.opening import LoginFailed, SessionRefused, Stage
from mailrelay.outbound.pool import Access, ConnectionPool
from mailrelay.outbound.protocol import SMTPClientProtocol
from mailrelay.outbound.tls_failure import TLSFailed, failure_of, is_tls_trouble, not_offered
from mailrelay.outbound.tls_policy import (
    AS_SET,
    Decision,
    DomainPolicy,
    HostRefused,
    NotVouchedFor,
    TLSPolicies,
    Wishes,
    set_for_all,
)
from mailrelay.outbound.tls_result import TLSFailure
from mailrelay.outbound.transcript import Transcript
from mailrelay.queue.outcome import (
    Deferral,
    PermanentFailure,
    Postponed,
    Undeliverable,
    outcome_of_error,
)
from mailrelay.queue.transport import Job
from mailrelay.routing.ways import ByMX, ByRelayHost, RelayHost, SocksProxy
from mailrelay.smtp.reply import Reply, reply

NO_HOST = reply(451, "4.4.1", "no host to connect to")
UNVOUCHED_MX = reply(
    550,
    "5.7.30",
    "REQUIRETLS needs MX hosts that DNSSEC or MTA-STS vouches for, and neither does:"
    " send without it, or have the domain routed by a relay host with verified TLS",
)
UNVERIFIED_TRANSPORT = reply(
    550,
    "5.7.30",
    "REQUIRETLS needs verified TLS, and the transport is not set to it:"
    " send without it, or set the transport's tls to verify",
)


MOST_AGE_OF_POLICY = 300.0
"""Seconds for which a connection stands for a policy that was discovered when it was opened."""

_SET_FOR_MX = {level: set_for_all(level) for level in TLSLevel}
_SET_FOR_HOST = {level: set_for_all(level, "the relay host's") for level in TLSLevel}
REQUIRED_OF_HOST = Decision(TLSLevel.VERIFY, "requiretls", "the message asks for it")


class NoConnection(Exception):
    """No host could be talked to; ``outcome`` is that of the last one tried."""

    def __init__(self, outcome: Deferral | PermanentFailure, target: Target | None) -> None:
        super().__init__(str(outcome.reply))
        self.outcome, self.target = outcome, target


@frozen
class Source:
    """Something that hosts are found by, and how these are talked to."""

    access: Access
    relay_host: RelayHost | None = None
    by_mx: ByMX | None = None
    tls_is_fixed: bool = False
    weight: int = 0
    decision: Decision = AS_SET


@frozen
class Session:
    """A connection that is ready, the host it leads to, and what that was found by."""

    connection: SMTPClientProtocol
    target: Target
    is_kept: bool
    source: Source


@frozen
class _Place:
    """An address to connect to, and what it was found by."""

    source: Source
    target: Target


@define
class Sessions:
    """The sessions of one attempt.

    Invariant: a host that has answered the message is not asked again in the same attempt.
    """

    pool: ConnectionPool
    hosts: HostFinder
    mx_tls: TLSLevel
    health: RelayHealth
    job: Job
    transcript: Transcript
    policies: TLSPolicies = TLSPolicies()
    waives: Callable[[], Awaitable[bool]] | None = None
    decision: Decision = AS_SET  # the last one
    _policy: DomainPolicy | None = None
    _fell_back: bool = False
    _sources: Sequence[Source] = field(init=False)
    _unresolved: list[Source] | None = None
    _left: list[_Place] = field(factory=list)
    _proxy: Target | None = None
    _asked: list[Target] = field(factory=list)
    _begun: list[Source] = field(factory=list)  # no kept connection is taken for these
    _failures: list[tuple[Deferral | PermanentFailure, Target]] = field(factory=list)
    _log: Logger = field(factory=Logger, init=False)

    @_sources.default
    def _found_by(self) -> Sequence[Source]:
        """Where hosts are to be found, and how they are talked to, best first."""
        way = self.job.destination.way
        if isinstance(way, ByMX):
            access = Access(way.least_tls or self.mx_tls, socks=way.socks)
            return [Source(access, by_mx=way, decision=_SET_FOR_MX[access.level])]
        assert isinstance(way, ByRelayHost)
        return [
            self._by_relay_host(way, host, weight)
            for host, weight in zip_longest(way.relay_hosts, way.weights, fillvalue=0)
            if isinstance(host, RelayHost)
        ]

    def _by_relay_host(self, way: ByRelayHost, host: RelayHost, weight: int) -> Source:
        access = self._access_to(host)
        decision = _SET_FOR_HOST[access.level]
        if self.job.message.require_tls:
            decision = REQUIRED_OF_HOST
        return Source(access, host, None, way.tls_is_fixed, weight, decision)

    def _access_to(self, host: RelayHost) -> Access:
        access = access_to(host)
        # RFC 8689 section 4.2.1, step 4, whatever level the relay host is set to
        return evolve(access, level=TLSLevel.VERIFY) if self.job.message.require_tls else access

    def _key(self, source: Source) -> Hashable:
        """Whose connections are shared: those to one host, as one user, with the same TLS.

        By MX those of one destination.  REQUIRETLS: these connections are verified, the others
        may not be.
        """
        host, require_tls = source.relay_host, self.job.message.require_tls
        if host is None:
            return self.job.destination.key, require_tls, source.access, self._policy
        level = host.tls if source.tls_is_fixed else None
        return host.host, host.port, host.mx_lookup, level, require_tls, source.access

    async def next(self) -> Session:
        """A kept connection, or a new one to the first host left that lets us begin.

        Raises: NoConnection, and what keeps hosts from being found.
        """
        await self._look_up_policy()
        while (kept := self._kept()) is None and await self._find():
            place = self._left.pop(0)
            self._begun.append(place.source)
            target = place.target
            if target in self._asked:
                continue
            self.transcript.note(f"{target.host} [{target.ip}]:{target.port}")
            try:
                decision = self.decision = await self._decided(place)
                connection = await self._open(place, decision)
            except Exception as error:
                outcome = self._opening_outcome(error, place)
                self.transcript.note(str(outcome.reply))
                self._failures.append((outcome, target))
                if is_tls_trouble(error):
                    self._tell(failure_of(error, target))
                self._failed(place.source, outcome.reply)
            else:
                connection.decision = decision
                self._tell_of(connection, target)
                return Session(connection, target, False, place.source)
        if kept is None:
            raise self._no_connection()
        self.decision = kept.connection.decision
        return kept

    async def _look_up_policy(self) -> None:
        """What the domain's own policy is, once in an attempt."""
        way, message, policies = self.job.destination.way, self.job.message, self.policies
        if self._policy is not None or not isinstance(way, ByMX) or policies.is_idle:
            return
        source = self._sources[0]
        policy = policies.set_for(
            way.domain,
            source.access.level,
            source.decision.because,
            requires=message.require_tls,
        )
        if not policy.is_fixed and not policy.wishes.requires and self.waives is not None:
            policy = evolve(policy, wishes=Wishes(waives=await self.waives()))
        self._policy = await policies.discovered(way.domain, policy)

    async def _decided(self, place: _Place) -> Decision:
        """How ``place`` is to be talked to.  Raises: what keeps it from being used."""
        if self._policy is None:
            return place.source.decision
        try:
            return await self.policies.of_host(self._policy, place.target)
        except NotVouchedFor as error:
            self.transcript.note(str(error))
            raise Undeliverable(UNVOUCHED_MX) from error
        except HostRefused as error:
            self.decision = error.decision
            raise

    def _tell_of(self, connection: SMTPClientProtocol, target: Target) -> None:
        """A session began: as the policy wants it, or with what was only observed."""
        trouble = not_offered() if connection.tls is None else connection.flaw
        told = self.decision.level is not TLSLevel.NONE and not self._fell_back
        self._tell(failure_of(trouble, target) if trouble is not None else None, told=told)

    def _tell(self, failure: TLSFailure | None, *, told: bool = True) -> None:
        """What only tells of mail is not told of: it would be reported for ever."""
        policy, way = self._policy, self.job.destination.way
        if policy is None or not told or policy.wishes.waives:
            return
        assert isinstance(way, ByMX)
        counts = not self.job.message.is_automatic
        self.policies.tell(way.domain, self.decision, policy, failure, counts=counts)

    def _kept(self) -> Session | None:
        """A connection that was kept for the source whose turn it is."""
        if self._unresolved is None:
            self._unresolved = self._by_health()
        source = self._left[0].source if self._left else next(iter(self._unresolved), None)
        if source is None or source in self._begun:
            return None
        most_age = MOST_AGE_OF_POLICY if self._policy is not None else None
        kept = self.pool.take_idle(self._key(source), most_age)
        if kept is None:
            return None
        connection, target = kept
        if self._has_others:
            self.transcript.note(f"{target.host} [{target.ip}]:{target.port}")
        self.transcript.note("connection reused")
        connection.transcript = self.transcript
        return Session(connection, target, True, source)

    def _no_connection(self) -> NoConnection:
        if not self._failures:
            return NoConnection(Deferral(NO_HOST), None)
        # For good only when all of them say so: the best host may just have been away.
        deferrals = [each for each in self._failures if isinstance(each[0], Deferral)]
        return NoConnection(*(deferrals or self._failures)[-1])

    async def has_another(self, session: Session) -> bool:
        """Whether there is a host to ask after the one of ``session``."""
        try:
            await self._find()
        except Exception:
            return False  # it was a kept connection, and now its hosts cannot be found
        others = [place.target for place in self._left if place.target not in self._asked]
        return any(target != session.target for target in others) or bool(self._unresolved)

    def give_back(self, session: Session) -> None:
        """The attempt is over: keep the connection for the next message."""
        self.pool.give_back(self._key(session.source), session.connection, session.target)

    def pass_over(self, session: Session) -> None:
        """Leave a host that has answered, but for now: another one will be asked."""
        self._asked.append(session.target)
        self._begun.append(session.source)
        if self._has_others:
            self.give_back(session)
        else:
            session.connection.close()
        self.transcript.note("trying the next host")

    def judge(self, session: Session, replies: Sequence[Reply]) -> None:
        """Note whether the host is well that has answered, or has broken off."""
        host = session.source.relay_host
        if not self._has_others or host is None:
            return
        is_gone = session.connection.stage is Stage.CLOSED
        if is_gone and all(answer.is_transient for answer in replies):
            self._failed(session.source, replies[0])
        else:
            self.health.answered(host)

    @property
    def most(self) -> int:
        """How many hosts one attempt asks."""
        return max(self.hosts.settings.most_sessions, len(self._sources))

    async def _find(self) -> bool:
        """Whether there is a place left to try.

        Raises: what keeps the last source's hosts from being found, when no other was.
        """
        if self._unresolved is None:
            self._unresolved = self._by_health()
        while not self._left and self._unresolved:
            source = self._unresolved.pop(0)
            try:
                found = await self._targets(source)
            except Exception as error:
                if not self._unresolved and not self._failures and not self._asked:
                    raise
                self.transcript.note(str(error))
                self._failed(source, outcome_of_error(error).reply)
                continue
            self._left = [_Place(source, target) for target in found]
        return bool(self._left)

    @property
    def _has_others(self) -> bool:
        """Whether one relay host may rest, since another one takes its place."""
        return len(self._sources) > 1

    def _failed(self, source: Source, answer: Reply) -> None:
        if self._has_others and source.relay_host is not None:
            self.health.failed(source.relay_host, self._chain, str(answer))

    @property
    def _chain(self) -> Sequence[RelayHost]:
        return [one.relay_host for one in self._sources if one.relay_host is not None]

    def _by_health(self) -> list[Source]:
        if not self._has_others:
            return list(self._sources)
        drawn = by_weight(self._sources, self.hosts.random)
        by_host = {one.relay_host: one for one in drawn if one.relay_host is not None}
        return [by_host[host] for host in self.health.in_order(list(by_host))]

    async def _targets(self, source: Source) -> Sequence[Target]:
        require_tls, way = self.job.message.require_tls, source.by_mx
        if way is not None:
            if require_tls and not self.policies.discovers:  # RFC 8689 section 4.2.1, step 2
                raise Undeliverable(UNVOUCHED_MX)
            if way.socks is not None:
                self._proxy = await self._proxy_at(way.socks)
            return await self.hosts.by_families(way.ipv4, way.ipv6).for_domain(way.domain)
        host = source.relay_host
        assert host is not None
        if require_tls and source.tls_is_fixed and host.tls is not TLSLevel.VERIFY:
            raise Undeliverable(UNVERIFIED_TRANSPORT)
        try:
            if host.mx_lookup:
                return await self.hosts.for_domain(host.host, host.port)
            return await self.hosts.for_host(host.host, host.port)
        except (NoSuchDomain, Undeliverable) as error:
            # The operator's to mend: no reason to bounce all mail.
            raise Postponed(reply(451, "4.4.4", f"no such relay host: {error}")) from error

    async def _proxy_at(self, socks: SocksProxy) -> Target:
        try:
            found = await self.hosts.for_host(socks.host, socks.port)
        except NoSuchDomain as error:
            found, reason = (), str(error)
        else:
            reason = "no address"
        if not found:
            raise Postponed(reply(451, "4.4.4", f"no such SOCKS proxy: {reason}"))
        self.transcript.note(f"through SOCKS proxy {socks.host} [{found[0].ip}]:{socks.port}")
        return found[0]

    async def _open(self, place: _Place, decision: Decision) -> SMTPClientProtocol:
        access, target = place.source.access, place.target
        if self._policy is not None:
            level, check, is_observed = decision.level, decision.check, decision.is_observed
            access = evolve(access, level=level, check=check, is_observed=is_observed)
        self._fell_back = False
        try:
            return await self.pool.connect(target, access, self.transcript, self._proxy)
        except Exception as error:
            # A port that speaks TLS from the first byte has nothing to say in clear.
            falls_back = decision.falls_back and not access.implicit_tls
            if not falls_back or not is_tls_trouble(error):
                raise
            self._tell(failure_of(error, target))
            self._fell_back = True
        # Opportunistic: what cannot do TLS gets the mail all the same (RFC 7435).
        self.transcript.note("TLS failed, going on without")
        plain = evolve(access, level=TLSLevel.NONE)
        return await self.pool.connect(target, plain, self.transcript, self._proxy)

    def _opening_outcome(self, error: Exception, place: _Place) -> Deferral | PermanentFailure:
        """Classify what kept a connection from getting ready."""
        target = place.target
        if isinstance(error, SessionRefused):
            # RFC 5321 section 3.1: 554 instead of a greeting; another host may take it.
            answer = error.reply
            return PermanentFailure(answer) if answer.is_permanent else Deferral(answer)
        if isinstance(error, LoginFailed):
            self._log.error(
                "cannot log in to {host}: {reply}", host=target.host, reply=str(error.reply)
            )
        if is_tls_trouble(error) or type(error).__name__ == "VerificationError":
            return self._tls_outcome(error, place)
        return outcome_of_error(error)

    def _tls_outcome(self, error: Exception, place: _Place) -> Deferral | PermanentFailure:
        target = place.target
        passes = isinstance(error, HostRefused) or (
            isinstance(error, TLSFailed) and error.is_temporary
        )
        if self.job.message.require_tls and not passes:  # RFC 8689 section 4.2.1: it must bounce
            return PermanentFailure(
                reply(550, "5.7.10", f"REQUIRETLS, and no verified TLS with {target.host}: {error}")
            )
        if not place.source.access.implicit_tls:
            return Deferral(reply(454, "4.7.5", f"TLS failed: {error}"))
        where = f"port {target.port} of {target.host}"
        return Deferral(reply(454, "4.7.5", f"no TLS from the first byte on {where}: {error}"))


def by_weight(sources: Sequence[Source], random: Random) -> Sequence[Source]:
    """Those that have a weight, drawn by it; then the others in their order."""
    drawn: list[Source] = []
    left = [source for source in sources if source.weight]
    while left:
        [chosen] = random.choices(left, [source.weight for source in left])
        left.remove(chosen)
        drawn.append(chosen)
    return [*drawn, *(source for source in sources if not source.weight)]


def access_to(host: RelayHost) -> Access:
    """How ``host`` is talked to."""
    return Access(
        host.tls,
        host.implicit_tls,
        host.username,
        host.password,
        host.auth_without_tls,
        tuple(host.mechanisms),
    )
