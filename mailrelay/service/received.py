"""What an application reads of its mailboxes, composed for the API."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from mailrelay.config.settings import Settings
from mailrelay.handoff.told import front_of
from mailrelay.net.surroundings import Surroundings
from mailrelay.policy.file_links import PURPOSE, FileLinks
from mailrelay.policy.links import Links
from mailrelay.storage.account_messages import DatabaseAccountMessages
from mailrelay.storage.stores import Stores
from mailrelay.storage.waiting import DatabaseWaitingMessages
from mailrelay.web.intake import Intake
from mailrelay.web.request import Route
from mailrelay.webapi.v1.downloads import Downloads, Files, SignedFiles
from mailrelay.webapi.v1.mailbox import MailboxOperations
from mailrelay.webapi.v1.operations import Operation


def file_links(settings: Settings, stores: Stores) -> FileLinks:
    """Links to received messages, as webhooks and the API tell them."""
    http = settings.http
    return FileLinks(Links(stores.secret, PURPOSE), http.public_url, http.file_links_hold)


@frozen
class Received:
    """The API's operations on received messages, and the route of links to them."""

    operations: Sequence[Operation]
    routes: Sequence[Route]


def received_mail(s: Surroundings, settings: Settings, stores: Stores, intake: Intake) -> Received:
    """Both, over one store."""
    store = DatabaseAccountMessages(stores.database, stores.spool)
    downloads, links = Downloads(store, intake), file_links(settings, stores)
    waiting = Files(DatabaseWaitingMessages(stores.database, stores.spool, front_of), intake)
    return Received(
        MailboxOperations(downloads, links, s.now).operations(),
        SignedFiles(downloads, waiting, links, s.now).routes(),
    )
