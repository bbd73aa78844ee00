"""What makes the webhook calls, composed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from attrs import evolve
from twisted.internet.defer import Deferred

import mailrelay
from mailrelay.config.settings import Settings
from mailrelay.directory.model import Account, Directory
from mailrelay.mailbox.model import Incoming
from mailrelay.net.http import ClientSettings, HTTPClient
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import client_tls
from mailrelay.observe.metrics import Metrics
from mailrelay.queue.entry import Entry
from mailrelay.storage.calls import KEPT_FOR
from mailrelay.storage.sent import DatabaseSentEntries
from mailrelay.storage.stores import Stores
from mailrelay.webhooks.arrival import Arrivals, Placed
from mailrelay.webhooks.delivery import CallScheduler, CallSurroundings


def make_reading(
    s: Surroundings, stores: Stores, directory: Callable[[], Directory]
) -> Callable[[Incoming, Entry, Account], Deferred[Incoming]]:
    """What adds to a delivery what an application is told of it."""
    arrivals = Arrivals(
        sent=DatabaseSentEntries(stores.database),
        directory=directory,
        content=stores.queue.content,
        read_spool=stores.queue.read_spool,
        executor=s.workers,
    )

    async def read(incoming: Incoming, entry: Entry, owner: Account) -> Incoming:
        placed = Placed(incoming.id, incoming.mailbox, incoming.received_at)
        arrival = await arrivals.of(entry, owner, placed)
        return evolve(incoming, event=arrival.event, payload=arrival.payload)

    return lambda incoming, entry, owner: Deferred.fromCoroutine(read(incoming, entry, owner))


def make_calls(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    directory: Callable[[], Directory],
    metrics: Metrics,
) -> tuple[CallScheduler, HTTPClient]:
    """The scheduler of calls, and the client that it has: close it when that has stopped."""

    def kept_for(account_id: int) -> float:
        account = directory().accounts.get(account_id)
        own = account.calls_kept_for if account is not None else None
        return KEPT_FOR if own is None else own

    networks = ClientSettings(allowed_networks=settings.webhooks.allowed_networks)
    client = HTTPClient(s.reactor, s.clock, s.resolver, client_tls(), networks)
    calls = CallScheduler(
        CallSurroundings(
            clock=s.clock,
            now=s.now,
            # Jitter needs no secrecy, and the system's source is a call into the kernel.
            random=Random(s.random.getrandbits(64)),
            store=stores.calls,
            poster=client,
            kept_for=kept_for,
            user_agent=f"mailrelay/{mailrelay.__version__} (webhook)",
            called=metrics.webhook_called,
        )
    )
    return calls, client
