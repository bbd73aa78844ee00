"""Certificates that are ordered and renewed while the server runs.  Imported with ``[acme]`` only.

One order at a time, and not more than ``orders_per_hour``.  A certificate that cannot be renewed
stays in use; its ``Standing`` says when it is tried again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.logger import Logger

from mailrelay.certificates.authority import Authority as RealAuthority
from mailrelay.certificates.authority import renewal_id
from mailrelay.certificates.held import Certificates
from mailrelay.certificates.ordering import ACMEFailed, Authority, Ordering
from mailrelay.certificates.pair import Pair
from mailrelay.certificates.renewal import (
    ASK_AGAIN_USUALLY,
    asked_again_after,
    planned,
    retried_after,
    settled_for,
    within,
)
from mailrelay.certificates.settings import AUTO, ACMESettings
from mailrelay.certificates.store import ACMEStore, Standing, Standings
from mailrelay.directory.model import Directory
from mailrelay.net.resolver import LookupFailed, NoSuchDomain
from mailrelay.net.surroundings import Surroundings

_log = Logger()

NAMES_EVERY = 3600.0
"""Seconds between two looks in DNS for names of the domains served."""

SERVED = ("mta-sts", "autoconfig", "autodiscover")

MakeAuthority = Callable[[ACMESettings, ec.EllipticCurvePrivateKey, str | None], Authority]


@frozen
class Names:
    """The host names to have certificates for."""

    surroundings: Surroundings
    settings: ACMESettings
    hostname: str
    directory: Callable[[], Directory]

    async def wanted(self) -> Sequence[str]:
        """Those that are set, and those that resolve to where ``hostname`` does."""
        named = [name.lower() for name in self.settings.names if name != AUTO]
        if AUTO not in self.settings.names:
            return list(dict.fromkeys(named))
        own = await self._addresses(self.hostname)
        found = []
        for domain in sorted(self.directory().domains):
            for name in (f"{label}.{domain}" for label in SERVED):
                addresses = await self._addresses(name) if name not in named else frozenset()
                if addresses and addresses <= own:
                    found.append(name)
        return list(dict.fromkeys([self.hostname.lower(), *named, *found]))

    async def _addresses(self, name: str) -> frozenset[str]:
        with suppress(NoSuchDomain, LookupFailed):
            resolver = self.surroundings.resolver
            return frozenset(await resolver.addresses(name, ipv4=True, ipv6=True))
        return frozenset()


@define(eq=False)
class Renewals:
    """Orders what is due whenever ``look`` is called; not twice at once.

    Invariant: the pair in ``certificates`` is the one in ``store``, or an older one of its name.
    """

    surroundings: Surroundings
    settings: ACMESettings
    store: ACMEStore
    certificates: Certificates
    names: Names
    make_authority: MakeAuthority = RealAuthority
    standings: Standings = field(factory=dict)
    _wanted: Sequence[str] = ()
    _wanted_until: float = float("-inf")
    _began: deque[float] = field(factory=deque)

    @property
    def failing(self) -> int:
        """Of how many names the last order failed."""
        return sum(bool(one.failures) for one in self.standings.values())

    async def look(self) -> None:
        """Order what is due now."""
        s = self.surroundings
        await self._find_names()
        asked = await s.workers.run(self.store.asked)
        for name in asked - set(self._wanted):
            _log.warn("{name} is to be renewed, and is none of [acme] names", name=name)
            await s.workers.run(self.store.done, name)
        authority: Authority | None = None
        for name in self._wanted:
            if not (name in asked or self._may_need(name)) or not self._may_order():
                continue
            if authority is None:
                authority = await self._connected(is_asked=bool(asked))
                if authority is None:
                    return
            if name in asked or await self._is_due(name, authority):
                await self._order(name, authority)
                await s.workers.run(self.store.done, name)

    async def _find_names(self) -> None:
        clock = self.surroundings.clock
        if clock.seconds() >= self._wanted_until:
            self._wanted = await self.names.wanted()
            self._wanted_until = clock.seconds() + NAMES_EVERY
            for name in self.standings.keys() - {"", *self._wanted}:
                del self.standings[name]
            self._forget_the_old()

    def _forget_the_old(self) -> None:
        """What nobody wants any more is shown to its end, for DNS may only have failed."""
        now, held = self.surroundings.now(), self.certificates
        gone = [name for name in self._unwanted() if held.ordered[name].ends < now]
        for name in gone:
            del held.ordered[name]
        if gone:
            held.choose()

    def _unwanted(self) -> Sequence[str]:
        return [name for name in self.certificates.ordered if name not in self._wanted]

    def unwanted(self) -> Sequence[Pair]:
        """What was ordered for names that are wanted no more; nobody need care for them."""
        return [self.certificates.ordered[name] for name in self._unwanted()]

    def _may_order(self) -> bool:
        hour_ago = self.surroundings.clock.seconds() - 3600.0
        while self._began and self._began[0] < hour_ago:
            self._began.popleft()
        return len(self._began) < self.settings.orders_per_hour

    def _standing(self, name: str) -> Standing:
        return self.standings.setdefault(name, Standing())

    def _may_need(self, name: str) -> bool:
        """Whether anything is to be done for ``name``, before anybody is asked."""
        standing, now = self._standing(name), self.surroundings.now()
        if now < standing.next_at:
            return False
        pair = self.certificates.ordered.get(name)
        if pair is None or not pair.covers(name) or now >= pair.ends:
            return True
        return now >= min(standing.asked_at, standing.renew_at or 0.0)

    async def _is_due(self, name: str, authority: Authority) -> bool:
        """Ask the authority, if it is time to, and decide."""
        pair, now = self.certificates.ordered.get(name), self.surroundings.now()
        if pair is None or not pair.covers(name) or now >= pair.ends:
            return True
        standing = self._standing(name)
        if now >= standing.asked_at:
            await self._plan(standing, pair, authority)
            await self._keep()
        return standing.renew_at is not None and now >= standing.renew_at

    async def _plan(self, standing: Standing, pair: Pair, authority: Authority) -> None:
        """Have the standing say when ``pair`` is renewed."""
        s = self.surroundings
        chance, suggestion = s.random.random(), None
        try:
            suggestion = await s.workers.run(authority.suggestion, pair.certificate)
        except ACMEFailed as failed:
            _log.warn("no renewal information: {reason}", reason=str(failed))
        if suggestion is not None:
            standing.asked_at = s.now() + asked_again_after(suggestion)
            if standing.renew_at is None or not (
                suggestion.start <= standing.renew_at <= suggestion.end
            ):
                standing.renew_at = within(suggestion, chance)
            return
        standing.asked_at = s.now() + ASK_AGAIN_USUALLY
        if standing.renew_at is None:
            standing.renew_at = planned(pair, chance)

    async def _connected(self, *, is_asked: bool) -> Authority | None:
        """The authority, with our account there; None when it cannot be had now."""
        s, standing = self.surroundings, self._standing("")
        if s.now() < standing.next_at and not is_asked:
            return None
        try:
            authority = await s.workers.run(self._made)
        except ACMEFailed as failed:
            await self._failed("", failed)
            return None
        if standing.failures:
            self.standings[""] = Standing()
        return authority

    def _made(self) -> Authority:
        """In a thread."""
        place = self.settings.directory
        key, uri = self.store.account(place)
        authority = self.make_authority(self.settings, key, uri)
        account = authority.account()
        if account.uri != uri:
            self.store.keep_account(place, key, account.uri)
        return authority

    async def _order(self, name: str, authority: Authority) -> None:
        s, held = self.surroundings, self.certificates.ordered.get(name)
        self._began.append(s.clock.seconds())
        ordering = Ordering(authority, s.workers, s.clock, s.now, self.certificates.challenges)
        key = held.key if held is not None and self.settings.key_is_kept else None
        replaces = renewal_id(held.certificate) if held is not None else None
        try:
            pair = await ordering.obtain(name, key, replaces, self.store.source(name))
            await s.workers.run(self.store.keep, name, pair)
        except ACMEFailed as failed:
            if failed.is_account_gone:
                await s.workers.run(self._forget_account)
            await self._failed(name, failed)
            return
        except OSError as error:
            await self._failed(name, ACMEFailed(f"it cannot be kept: {error}"))
            return
        self.certificates.ordered[name] = pair
        self.certificates.choose()
        standing = self.standings[name] = Standing(next_at=s.now() + settled_for(pair))
        await self._plan(standing, pair, authority)
        await self._keep()
        until = f"{pair.certificate.not_valid_after_utc:%Y-%m-%d}"
        _log.info("{name} has a certificate until {until}", name=name, until=until)

    def _forget_account(self) -> None:
        """In a thread.  It is registered again next time."""
        key, _ = self.store.account(self.settings.directory)
        self.store.keep_account(self.settings.directory, key, None)

    async def _failed(self, name: str, failed: ACMEFailed) -> None:
        s, standing = self.surroundings, self._standing(name)
        standing.failures += 1
        standing.error, standing.error_at = str(failed), s.now()
        wait = retried_after(standing.failures, failed, s.random.random())
        standing.next_at = s.now() + wait
        _log.error(
            "no certificate for {name}: {reason}; it is tried again in {seconds} s",
            name=name or self.settings.directory,
            reason=str(failed),
            seconds=round(wait),
        )
        await self._keep()

    async def _keep(self) -> None:
        try:
            await self.surroundings.workers.run(self.store.keep_standings, dict(self.standings))
        except OSError as error:
            _log.error("{name} cannot be written: {reason}", name="standings", reason=str(error))
