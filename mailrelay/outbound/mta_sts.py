"""MTA-STS as a sender (RFC 8461): other domains' policies, fetched, kept and looked after.

- A policy is used until it expires, whatever its domain's DNS and web server say meanwhile.
- Whoever asks for a domain that is known is answered from memory; what is to be looked at again is,
  meanwhile.
- Whoever asks first waits, for WAITED_FOR at the most, and goes on as if there were no policy.
- AT_ONCE domains are looked at at once: what they do not answer keeps none but their own mail, and
  no policy that is stored from being used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from attrs import define, evolve, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.mailauth.mta_sts import MalformedPolicy, Mode, Policy, parse_policy, record_id
from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.net.resolver import LookupFailed, NoSuchDomain, as_ip
from mailrelay.outbound.tls_policy import FoundPolicy
from mailrelay.outbound.tls_result import ResultType
from mailrelay.queue.store import StoreUnavailable

WAITED_FOR = 30.0
FETCH_TIMEOUT = 60.0  # RFC 8461 section 3.3
RECORD_EVERY = 3600.0
"""Seconds after which a domain's record is looked at again."""

REFRESHED_AFTER = 86400.0
FAILED_FOR = 300.0
"""Seconds for which it is not tried again what failed."""

FORGOTTEN_AFTER = 30 * 86400.0
"""Seconds since it was last asked for, after which a policy is no more refreshed."""

AT_ONCE = 30
MOST_KNOWN = 50_000
MOST_REFRESHED = 200  # of one round

Texts = Callable[[str], Awaitable[Sequence[bytes]]]
Get = Callable[[str, float], Awaitable[HTTPAnswer]]
"""The answer to a GET of a URL within so many seconds.  Raises: CallFailed."""


@frozen
class StoredPolicy:
    """A domain's policy and the id of its record.  Times are seconds since the epoch."""

    domain: str
    policy_id: str
    policy: Policy
    fetched_at: float

    @property
    def expires_at(self) -> float:
        """From then on it says nothing."""
        return self.fetched_at + self.policy.max_age


class MTASTSRecords(Protocol):
    """Where policies outlive the server.  Methods fail with StoreUnavailable."""

    def get(self, domain: str) -> Deferred[StoredPolicy | None]:
        """What is kept of ``domain``, expired or not."""

    def put(self, policy: StoredPolicy) -> Deferred[None]:
        """Keep it in place of what there was."""

    def forget_expired(self, now: float) -> Deferred[int]:
        """Remove what has expired; how many."""


class _NotHad(Exception):
    """The policy could not be had."""

    def __init__(self, result: ResultType, text: str) -> None:
        super().__init__(text)
        self.result = result


@define
class _Known:
    """``look_at`` is when to look again, ``asked_at`` when it was asked for; monotonic seconds."""

    stored: StoredPolicy | None
    found: FoundPolicy
    look_at: float
    asked_at: float


@define
class _Look:
    """A domain is being looked at, and some wait for it."""

    waiting: list[Deferred[None]]
    task: Deferred[None] | None = None


class MTASTS:
    """Knows the policies of domains.  ``clock`` is monotonic, ``now`` seconds since the epoch."""

    _log = Logger()

    def __init__(
        self,
        texts: Texts,
        get: Get,
        records: MTASTSRecords,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._texts, self._get, self._records = texts, get, records
        self._clock, self._now = clock, now
        self._known: dict[str, _Known] = {}
        self._looks: dict[str, _Look] = {}
        self._turns = DeferredSemaphore(AT_ONCE)
        self._is_stopped = False

    @property
    def known(self) -> int:
        """How many policies are in memory that say something."""
        return sum(one.stored is not None for one in self._known.values())

    async def policy_of(self, domain: str) -> FoundPolicy:
        """What is known of ``domain``; see the module."""
        known = self._known.get(domain)
        if known is None:
            if as_ip(domain) is not None:
                return FoundPolicy()
            await self._waited(domain)
            known = self._known.get(domain)
            if known is None:
                return FoundPolicy(
                    None, None, "MTA-STS could not be looked up in time", is_unknown=True
                )
        known.asked_at = seconds = self._clock.seconds()
        if known.stored is not None and self._now() >= known.stored.expires_at:
            del self._known[domain]
            return await self.policy_of(domain)
        if seconds >= known.look_at:
            if known.stored is None:
                await self._waited(domain)
                known = self._known.get(domain, known)
            else:
                self._look(domain)
        return known.found

    def failed(self, domain: str) -> None:
        """A host did not meet the policy that is known: it may have changed (RFC 8461, 5.1)."""
        known = self._known.get(domain)
        if known is not None and known.stored is not None:
            known.look_at = 0.0

    async def _waited(self, domain: str) -> None:
        look = self._look(domain)
        known = self._known.get(domain)
        if domain not in self._looks or (known is not None and known.stored is not None):
            return
        waited: Deferred[None] = Deferred()
        look.waiting.append(waited)
        call = self._clock.callLater(WAITED_FOR, _fire, waited)
        await waited
        if call.active():
            call.cancel()

    def _look(self, domain: str) -> _Look:
        """Look at ``domain``, unless that is being done."""
        there = self._looks.get(domain)
        if there is not None:
            return there
        look = self._looks[domain] = _Look([])
        if self._is_stopped:
            del self._looks[domain]
            return look

        def ended(result: object) -> None:
            self._looks.pop(domain, None)
            if isinstance(result, Failure) and not result.check(CancelledError):
                self._log.failure("MTA-STS of {domain} cannot be looked at", result, domain=domain)
            for waited in look.waiting:
                _fire(waited)

        look.task = Deferred.fromCoroutine(self._looked(domain))
        look.task.addBoth(ended)
        return look

    async def _looked(self, domain: str) -> None:
        stored = await self._valid(domain)
        seconds = self._clock.seconds()
        if stored is not None and domain not in self._known:
            # Its own mail needs not wait for what is looked at now.
            self._keep(domain, stored, FoundPolicy(stored.policy), seconds + RECORD_EVERY)
            self._wake(domain)
        try:
            found = await self._turns.run(
                lambda: Deferred.fromCoroutine(self._current(domain, stored))
            )
        except _NotHad as error:
            look_at = self._clock.seconds() + FAILED_FOR
            if stored is not None:
                self._keep(domain, stored, FoundPolicy(stored.policy), look_at)
            else:
                is_dns = error.result is ResultType.DNSSEC_INVALID
                trouble = None if is_dns else error.result
                found_ = FoundPolicy(None, trouble, str(error), is_unknown=True)
                self._keep(domain, None, found_, look_at)
        else:
            policy = found.policy if found is not None else None
            self._keep(domain, found, FoundPolicy(policy), self._clock.seconds() + RECORD_EVERY)

    async def _valid(self, domain: str) -> StoredPolicy | None:
        """What is kept and has not expired."""
        known = self._known.get(domain)
        stored = known.stored if known is not None else None
        if stored is None:
            try:
                stored = await self._records.get(domain)
            except StoreUnavailable:
                return None
        return stored if stored is not None and self._now() < stored.expires_at else None

    async def _current(self, domain: str, stored: StoredPolicy | None) -> StoredPolicy | None:
        """The policy as of now; None when there is none.  Raises: _NotHad."""
        now = self._now()
        policy_id = await self._record(domain)
        if policy_id is None:
            return stored  # RFC 8461 section 5.1: until it expires
        is_same = stored is not None and stored.policy_id == policy_id
        if stored is not None and is_same and now < stored.fetched_at + REFRESHED_AFTER:
            return stored
        policy = await self._fetched(domain)
        found = StoredPolicy(domain, policy_id, policy, now)
        if policy.max_age == 0:
            return None
        try:
            await self._records.put(found)
        except StoreUnavailable as error:
            self._log.warn("an MTA-STS policy cannot be kept: {reason}", reason=str(error))
        return found

    async def _record(self, domain: str) -> str | None:
        try:
            records = await self._texts(f"_mta-sts.{domain}")
        except NoSuchDomain:
            return None
        except LookupFailed as error:
            raise _NotHad(ResultType.DNSSEC_INVALID, str(error)) from error
        try:
            return record_id(records)
        except MalformedPolicy as error:
            raise _NotHad(ResultType.STS_POLICY_INVALID, str(error)) from error

    async def _fetched(self, domain: str) -> Policy:
        """RFC 8461 section 3.3: no redirects, a certificate for that host."""
        url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
        try:
            answer = await self._get(url, FETCH_TIMEOUT)
        except CallFailed as error:
            is_certificate = "certificate" in str(error)
            result = (
                ResultType.STS_WEBPKI_INVALID
                if is_certificate
                else ResultType.STS_POLICY_FETCH_ERROR
            )
            raise _NotHad(result, f"the MTA-STS policy cannot be fetched: {error}") from error
        if answer.status != 200:
            text = f"the MTA-STS policy was answered {answer.status}"
            raise _NotHad(ResultType.STS_POLICY_FETCH_ERROR, text)
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "text/plain":  # RFC 8461 section 3.2
            raise _NotHad(ResultType.STS_POLICY_INVALID, "the MTA-STS policy is not text/plain")
        if not answer.is_whole:
            text = "the MTA-STS policy is too large, or broke off"
            raise _NotHad(ResultType.STS_POLICY_INVALID, text)
        try:
            return parse_policy(answer.body_start)
        except MalformedPolicy as error:
            raise _NotHad(ResultType.STS_POLICY_INVALID, str(error)) from error

    def _keep(
        self, domain: str, stored: StoredPolicy | None, found: FoundPolicy, look_at: float
    ) -> None:
        before = self._known.pop(domain, None)
        asked_at = before.asked_at if before is not None else self._clock.seconds()
        self._known[domain] = _Known(stored, found, look_at, asked_at)
        while len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
        if found.policy is not None and found.policy.mode is Mode.NONE:
            self._known[domain].found = evolve(found, because="")

    def _wake(self, domain: str) -> None:
        look = self._looks.get(domain)
        if look is not None:
            waiting, look.waiting = look.waiting, []
            for waited in waiting:
                _fire(waited)

    async def refresh(self) -> None:
        """Fetch anew what is a day old and still in use, and forget what is not valid any more."""
        now, seconds = self._now(), self._clock.seconds()
        old = [
            domain
            for domain, known in self._known.items()
            if known.stored is not None
            and now >= known.stored.fetched_at + REFRESHED_AFTER
            and seconds - known.asked_at < FORGOTTEN_AFTER
        ]
        for domain in old[:MOST_REFRESHED]:
            self._look(domain)
        try:
            await self._records.forget_expired(now)
        except StoreUnavailable as error:
            self._log.warn("old MTA-STS policies stay: {reason}", reason=str(error))

    def stop(self) -> None:
        """Break off what is under way; who waits goes on."""
        self._is_stopped = True
        for look in list(self._looks.values()):
            if look.task is not None:
                look.task.cancel()


def _fire(waited: Deferred[None]) -> None:
    if not waited.called:
        waited.callback(None)
