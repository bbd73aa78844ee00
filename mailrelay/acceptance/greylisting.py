"""Greylisting: who is not known here is asked to come again (RFC 6647).

Programs that send spam rarely try again; mail servers do.  What is remembered of a peer's network,
a sender and a recipient is a hash, under a key of the installation.

Invariants: nobody is asked to come again by a store that cannot be read; what waits for the store,
and what is remembered, is bounded.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Protocol, TypeVar

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.directory.login import networks
from mailrelay.policy.networks import TrustedNetworks
from mailrelay.queue.store import StoreUnavailable
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply, reply

T = TypeVar("T")

DAY = 86400.0
MOST_KEPT = 50_000
MOST_WAITING = 200
"""Reads at once; beyond, mail is taken."""

MOST_NEW_PER_MINUTE = 1000
"""That are written; those beyond are remembered by this process alone."""

USED_AGAIN_AFTER = DAY
"""Seconds after which it is written again that one is in use."""


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class GreylistSettings:
    """``[greylisting]``.  Times in seconds."""

    enabled: bool = field(default=False, metadata=_doc("ask who is not known to come again"))
    delay: float = field(
        default=60.0, metadata=_doc("seconds before which a further attempt is too early")
    )
    retry_within: float = field(
        default=2 * DAY, metadata=_doc("seconds after which an attempt is a first one again")
    )
    pass_for: float = field(
        default=36 * DAY, metadata=_doc("seconds that who passed is known without coming again")
    )
    skip_networks: Sequence[str] = field(
        factory=tuple, metadata=_doc("networks that are never asked")
    )
    skip_named: bool = field(
        default=False,
        metadata=_doc("do not ask peers that have a name of their own, which leads back to them"),
    )
    skip_known: bool = field(
        default=False,
        metadata=_doc("do not ask senders whom the account knows, where SPF says that it is them"),
    )


@frozen
class Triplet:
    """When a network, a sender and a recipient were first, last and successfully met."""

    key: bytes
    first_at: float
    last_at: float
    passed_at: float | None = None


class GreylistStore(Protocol):
    """What is kept for longer, and for other processes."""

    def find(self, key: bytes) -> Deferred[Triplet | None]:
        """What is known.  Fails with StoreUnavailable."""

    def keep(self, triplet: Triplet) -> Deferred[None]:
        """Know this from now on, in place of what was known."""

    def sweep(self, new_before: float, passed_before: float, limit: int) -> Deferred[int]:
        """Forget up to ``limit`` that were last met before then; how many."""


Exempt = Callable[[str, Address | None, Address], Awaitable[bool]]
"""Whether a peer, which sends from a path to a path, need not come again.  Raises nothing."""


class Greylist:
    """Says who is to come again."""

    _log = Logger()

    def __init__(
        self,
        settings: GreylistSettings,
        store: GreylistStore,
        now: Callable[[], float],
        secret: bytes,
        exempt: Exempt | None = None,
    ) -> None:
        self._settings, self._store, self._now = settings, store, now
        self._secret, self._exempt = secret[:64], exempt
        self._skipped = TrustedNetworks.of(settings.skip_networks)
        self._known: OrderedDict[bytes, Triplet] = OrderedDict()
        self._waiting = 0
        self._minute, self._written = 0, 0

    def refuse(
        self, ip: str, reverse_path: Address | None, forward_path: Address
    ) -> Reply | Deferred[Reply | None] | None:
        """The reply to who is to come again; the store is asked where memory does not know."""
        if self._skipped(ip):
            return None
        key = self._key(ip, reverse_path, forward_path)
        known = self._known.get(key)
        if known is not None and not self._is_over(known):
            return self._met(known)
        if self._waiting >= MOST_WAITING:
            return None
        self._waiting += 1
        asking = Deferred.fromCoroutine(self._first(key, ip, reverse_path, forward_path))
        return asking.addErrback(self._unknown).addBoth(self._answered)

    def sweep(self, limit: int = 500) -> Deferred[int]:
        """Forget some of what is over; how many."""
        now, settings = self._now(), self._settings
        return self._store.sweep(now - settings.retry_within, now - settings.pass_for, limit)

    async def _first(
        self, key: bytes, ip: str, reverse_path: Address | None, forward_path: Address
    ) -> Reply | None:
        """What this process has not met yet."""
        known = await self._store.find(key)
        if known is None or self._is_over(known):
            now = self._now()
            is_exempt = self._exempt and await self._exempt(ip, reverse_path, forward_path)
            known = Triplet(key, now, now, now if is_exempt else None)
            if self._may_write():
                self._keep(known)
        self._remember(known)
        return self._met(known)

    def _answered(self, result: T) -> T:
        self._waiting -= 1
        return result

    def _unknown(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable) is None:
            self._log.failure("greylisting cannot be judged", failure)

    def _met(self, known: Triplet) -> Reply | None:
        now, delay = self._now(), self._settings.delay
        left = known.first_at + delay - now
        if known.passed_at is None and left > 0:
            seconds = int(min(left, delay)) + 1
            return reply(451, "4.7.1", f"greylisted, try again in {seconds} seconds")
        if known.passed_at is None or now - known.last_at >= USED_AGAIN_AFTER:
            passed = now if known.passed_at is None else known.passed_at
            known = evolve(known, last_at=now, passed_at=passed)
            self._keep(known)
            self._remember(known)
        return None

    def _is_over(self, known: Triplet) -> bool:
        settings, now = self._settings, self._now()
        if known.passed_at is None:
            return now - known.first_at > settings.retry_within
        return now - known.last_at > settings.pass_for

    def _remember(self, known: Triplet) -> None:
        self._known[known.key] = known
        self._known.move_to_end(known.key)
        if len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)

    def _may_write(self) -> bool:
        minute = int(self._now() // 60)
        if minute != self._minute:
            self._minute, self._written = minute, 0
        self._written += 1
        return self._written <= MOST_NEW_PER_MINUTE

    def _keep(self, known: Triplet) -> None:
        self._store.keep(known).addErrback(self._unknown)

    def _key(self, ip: str, reverse_path: Address | None, forward_path: Address) -> bytes:
        sender = "" if reverse_path is None else _usual(str(reverse_path))
        text = "\0".join((_network(ip), sender, str(forward_path).lower()))
        return blake2b(text.encode("utf-8", "replace"), digest_size=16, key=self._secret).digest()


_DIGITS = re.compile(r"\d+")


def _usual(path: str) -> str:
    """An address without what differs from message to message of one sender."""
    localpart, _, domain = path.lower().rpartition("@")
    return f"{_DIGITS.sub('#', localpart.partition('+')[0].partition('=')[0])}@{domain}"


def _network(ip: str) -> str:
    """An IPv4 /24, an IPv6 /64."""
    network = networks(ip)[0]
    return network if network.endswith("/64") else network.removesuffix("/32").rpartition(".")[0]
