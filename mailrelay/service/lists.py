"""Lists, composed: links to leave one, and members that are taken off after failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.config.settings import Settings
from mailrelay.control.membership import PURPOSE, LeaveLinks, MemberControl
from mailrelay.directory.model import Directory
from mailrelay.message.member_path import MembersCopy
from mailrelay.net.surroundings import Surroundings
from mailrelay.observe.events import FAILING, NewEvent
from mailrelay.policy.links import Links
from mailrelay.queue.report import Notices, Sign
from mailrelay.queue.scheduler import Scheduler
from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage.membership import DatabaseMembers
from mailrelay.storage.rows import stored_address
from mailrelay.storage.stores import Stores
from mailrelay.web.intake import Intake
from mailrelay.web.request import Route
from mailrelay.webapi.leaving import LeavingPages


class Lists:
    """What a server does of itself for lists.

    A member that cannot be taken off now goes at its next failure.
    """

    _log = Logger()

    def __init__(
        self,
        s: Surroundings,
        settings: Settings,
        stores: Stores,
        directory: Callable[[], Directory],
        scheduler: Scheduler,
        committed: Callable[[Sequence[NewEvent]], None],
        sign: Sign,
    ) -> None:
        links = LeaveLinks(Links(stores.secret, PURPOSE), settings.http.public_url)
        self.link = links.url
        self._members = MemberControl(
            DatabaseMembers(stores.database, stores.node, s.now, committed),
            directory,
            Notices(settings.hostname, stores.queue.new_id, s.now, sign),
            links,
            s.now,
            scheduler.admit,
            scheduler.enqueue,
        )

    def routes(self, intake: Intake) -> Sequence[Route]:
        """Where the links lead."""
        return LeavingPages(self._members, intake).routes()

    def committed(self, events: Sequence[NewEvent]) -> None:
        """These were recorded."""
        for event in events:
            if FAILING in event.data:
                alias_id = int(str(event.data[FAILING]))
                member = stored_address(str(event.data["recipient"]))
                failed = Deferred.fromCoroutine(self._members.failed(alias_id, member))
                failed.addErrback(self._not_now)

    def failed_late(self, of: MembersCopy) -> Deferred[None]:
        """A report says that a member's copy failed."""
        return Deferred.fromCoroutine(self._members.failed_late(of))

    def _not_now(self, failure: Failure) -> None:
        if not failure.check(StoreUnavailable):
            self._log.failure("a member of a list cannot be taken off", failure)
