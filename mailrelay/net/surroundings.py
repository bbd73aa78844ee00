"""What the server is given of the world: nothing in the package reaches for it by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from random import Random, SystemRandom
from threading import Lock
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from mailrelay.net.dnssec import DNSSECResolver, ValidatingResolver
from mailrelay.net.lookup import FreshResolver, Lookups
from mailrelay.net.resolver import DNSResolver, Resolver
from mailrelay.net.threads import Executor, ThreadExecutor, Wanted


@frozen
class Surroundings:
    """Reactor, clocks, chance, names and threads.

    ``clock`` is monotonic, for timers; ``now`` is seconds since the epoch, for stored times.
    ``writer`` runs one piece of work at a time, ``workers`` several.
    """

    reactor: Any  # IReactorTCP, IReactorCore, ...: zope interfaces do not intersect in types
    clock: IReactorTime
    now: Callable[[], float]
    random: Random
    resolver: Resolver
    writer: Executor
    workers: Executor
    validating: ValidatingResolver | None = None  # one that is named as such
    _judging: Resolver | None = None
    lookups: Lookups | None = None  # for who checks what was just published

    @property
    def judging(self) -> Resolver:
        """What looks up names that strangers choose: where it has no threads, ``resolver``."""
        return self._judging or self.resolver


class StoredRandom(SystemRandom):
    """The system's random bits, fetched ahead: a token costs no call into the kernel each time.

    For all threads of one process: after a fork, both would give out the same.  A daemon forks
    before it asks.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stored, self._used = b"", 0
        self._lock = Lock()

    def getrandbits(self, k: int) -> int:
        """See Random: ``k`` bits, none of which was given out before."""
        if k <= 0 or k % 8:
            return super().getrandbits(k)
        with self._lock:
            end = self._used + k // 8
            if end > len(self._stored):
                self._stored, self._used, end = os.urandom(FETCHED_BYTES + k // 8), 0, k // 8
            bits, self._used = self._stored[self._used : end], end
        return int.from_bytes(bits)


FETCHED_BYTES = 4096

WORKERS = 8
"""Threads for reads, files, password hashing: two a core at the most are busy with hashing."""

LOOKUPS = 16
"""Threads that wait for DNS."""

JUDGING_LOOKUPS = 32
"""Threads that wait for what is asked to judge incoming mail."""

CHECKING_LOOKUPS = 8
"""Threads that wait for what an administrator has checked."""

JUDGING_TIMEOUT = 5.0
"""Seconds for a look-up of the latter at the most."""


def real_surroundings(
    reactor: Any,
    nameservers: Sequence[str] = (),
    dns_timeout: float = 10.0,
    *,
    validating: bool = False,
) -> Surroundings:
    """The world as it is, for the entry points; its threads end with the reactor.

    ``validating`` when ``nameservers`` check DNSSEC.

    Twisted's clock follows steps of the wall clock: ours must not.
    """
    reactor.seconds = time.monotonic
    writer = ThreadExecutor(reactor, 1, "writer")
    workers = ThreadExecutor(reactor, WORKERS, "workers")
    lookups = ThreadExecutor(reactor, LOOKUPS, "lookups")
    # Whoever has us ask name servers that never answer holds up no delivery.
    judging = ThreadExecutor(reactor, JUDGING_LOOKUPS, "lookups of judging")
    checking = ThreadExecutor(reactor, CHECKING_LOOKUPS, "lookups of checks")
    for executor in (writer, workers, lookups, judging, checking):
        reactor.addSystemEventTrigger("after", "shutdown", executor.stop)
    return Surroundings(
        reactor,
        reactor,
        time.time,
        StoredRandom(),
        DNSResolver(lookups, nameservers, dns_timeout),
        writer,
        workers,
        DNSSECResolver(lookups, nameservers, dns_timeout) if validating else None,
        judging=DNSResolver(Wanted(judging), nameservers, min(dns_timeout, JUDGING_TIMEOUT)),
        lookups=FreshResolver(checking, nameservers, dns_timeout),
    )
