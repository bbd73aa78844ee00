"""What makes the webhook calls, composed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

import mailrelay
from mailrelay.config.settings import Settings
from mailrelay.directory.model import Account, Directory
from mailrelay.mailbox.model import INBOX, Incoming
from mailrelay.net.http import ClientSettings, HTTPClient
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import client_tls
from mailrelay.observe.metrics import Metrics
from mailrelay.queue.entry import Entry
from mailrelay.reporting.receiving import MAILBOX, Receiving
from mailrelay.service.received import file_links
from mailrelay.service.snapshots import Snapshots
from mailrelay.storage.calls import KEPT_FOR
from mailrelay.storage.endpoints import DatabaseEndpointRecords
from mailrelay.storage.sent import DatabaseSentEntries
from mailrelay.storage.stores import Stores
from mailrelay.webhooks.arrival import Arrivals, Placed
from mailrelay.webhooks.delivery import CallScheduler, CallSurroundings
from mailrelay.webhooks.endpoint import StandardEndpoint


def make_reading(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    directory: Callable[[], Directory],
    reports: Receiving,
) -> Callable[[Incoming, Entry, Account], Deferred[Incoming]]:
    """What adds to a delivery what an application is told of it, and keeps the report it brings."""
    arrivals = Arrivals(
        sent=DatabaseSentEntries(stores.database),
        directory=directory,
        content=stores.queue.content,
        read_spool=stores.queue.read_spool,
        executor=s.workers,
        links=file_links(settings, stores),
        feedback=reports.feedback,
    )

    async def read(incoming: Incoming, entry: Entry, owner: Account) -> Incoming:
        placed = Placed(incoming.id, incoming.mailbox, incoming.received_at, incoming.prefix)
        is_junk = incoming.mailbox != INBOX
        if not is_junk and reports.is_for(entry.told_as) and await reports.mail(entry):
            incoming = evolve(incoming, mailbox=MAILBOX)
            placed = evolve(placed, mailbox=MAILBOX)
        arrival = await arrivals.of(entry, owner, placed)
        return evolve(
            incoming,
            event=arrival.event,
            payload=arrival.payload,
            signed_payload=arrival.signed,
        )

    return lambda incoming, entry, owner: Deferred.fromCoroutine(read(incoming, entry, owner))


@frozen
class KnownEndpoints:
    """Endpoints, of the snapshots and their store."""

    known: Snapshots
    records: DatabaseEndpointRecords

    def get(self, endpoint_id: int, account_id: int) -> StandardEndpoint | None:
        """See Endpoints."""
        endpoint = self.known.endpoints.get(endpoint_id)
        return endpoint if endpoint is not None and endpoint.account_id == account_id else None

    def read_again(self) -> Deferred[object]:
        """See Endpoints."""
        return self.known.load_directory()

    def disable(self, endpoint: StandardEndpoint, because: str) -> Deferred[object]:
        """See Endpoints."""
        disabled = self.records.disable(endpoint, because)
        return disabled.addCallback(lambda _: self.read_again())


def make_calls(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    known: Snapshots,
    metrics: Metrics,
) -> tuple[CallScheduler, HTTPClient]:
    """The scheduler of calls, and the client that it has: close it when that has stopped."""

    def kept_for(account_id: int) -> float:
        account = known.directory.accounts.get(account_id)
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
            endpoints=KnownEndpoints(known, DatabaseEndpointRecords(stores.database, s.now)),
        )
    )
    return calls, client
