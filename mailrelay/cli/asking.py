"""Commands that ask the network: many things at once, with a reactor that runs that long."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailrelay.config.settings import Settings
from mailrelay.control.dns_finding import Fetch
from mailrelay.net.http import ClientSettings, HTTPAnswer, HTTPClient
from mailrelay.net.lookup import FreshResolver
from mailrelay.net.surroundings import LOOKUPS
from mailrelay.net.threads import ThreadExecutor
from mailrelay.net.tls import client_tls

T = TypeVar("T")

FETCH_WITHIN = 20.0
"""Seconds."""


def with_reactor(
    settings: Settings, work: Callable[[FreshResolver, Fetch], Coroutine[Any, Any, T]]
) -> T:
    """What ``work`` comes to.  Once a process: a reactor does not run again."""
    from twisted.internet import reactor as installed_reactor

    reactor: Any = installed_reactor
    executor = ThreadExecutor(reactor, LOOKUPS, "lookups")
    reactor.addSystemEventTrigger("after", "shutdown", executor.stop)
    resolver = FreshResolver(executor, settings.dns.nameservers, settings.dns.timeout)
    client = HTTPClient(reactor, reactor, resolver, client_tls(), ClientSettings())

    async def fetch(url: str) -> HTTPAnswer:
        return await client.call("GET", url, {}, b"", FETCH_WITHIN)

    outcome: list[T] = []
    trouble: list[Failure] = []

    def begin() -> None:
        working = Deferred.fromCoroutine(work(resolver, fetch))
        working.addCallbacks(outcome.append, trouble.append)
        working.addBoth(lambda _: client.close())
        working.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    for failure in trouble:
        failure.raiseException()
    return outcome[0]
