"""Zotonic sites that hand mail to us, or report of ours, composed: routes, and what tells them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import evolve
from twisted.application.service import MultiService

import mailrelay
from mailrelay.config.settings import Settings
from mailrelay.directory.peers import Peer
from mailrelay.net.surroundings import Surroundings
from mailrelay.peering.door import is_loopback
from mailrelay.peering.zotonic import error_body
from mailrelay.peering.zotonic_door import ZotonicDoor
from mailrelay.peering.zotonic_places import ZotonicPlaces
from mailrelay.peering.zotonic_reports import Poster, ReportSurroundings, ZotonicReports
from mailrelay.peering.zotonic_status import ZotonicStatusDoor
from mailrelay.peering.zotonic_taking import ZotonicTaking
from mailrelay.service.application import Doors, suppression_control
from mailrelay.smtp.reply import Reply
from mailrelay.storage.peer_feed import DatabasePeerFeed
from mailrelay.storage.peer_mail import DatabasePeerMail
from mailrelay.storage.relayed import DatabaseRelayedMail
from mailrelay.storage.stores import Stores
from mailrelay.web.intake import Intake
from mailrelay.web.request import Handler, Request, Response, Route


class ZotonicSites(MultiService):
    """Where they hand mail to us; while it runs they are told of that."""

    def __init__(
        self,
        s: Surroundings,
        settings: Settings,
        stores: Stores,
        doors: Doors,
        intake: Intake,
        store_trouble: Callable[[], Reply | None],
        poster: Callable[[Peer], Awaitable[Poster]],
    ) -> None:
        super().__init__()
        self._retired_kept_for = settings.queue.retired_keep_after
        self._directory = doors.directory
        mail = DatabaseRelayedMail(stores.database, stores.node, doors.committed)
        taking = ZotonicTaking(
            hostname=settings.hostname.lower(),
            directory=doors.directory,
            acceptance=doors.acceptance,
            mail=mail,
            lists=suppression_control(s, stores),
            over_daily_limit=doors.over_daily_limit,
            open_spool=stores.spool.open,
            now=s.now,
            kept_for=self._kept_for,
            most_bytes=settings.limits.message_bytes,
        )
        door = ZotonicDoor(
            taking, doors.directory, intake, doors.authenticator, store_trouble, s.now
        )
        status = ZotonicStatusDoor(
            ZotonicPlaces(stores.secret, settings.http.public_url),
            doors.directory,
            DatabasePeerFeed(stores.database, doors.committed, stores.spool.remove),
            doors.authenticator,
            s.now,
            self._kept_for,
        )
        self._doors = [*door.routes(), *status.routes()]
        reports = ZotonicReports(
            ReportSurroundings(
                clock=s.clock,
                now=s.now,
                mail=DatabasePeerMail(stores.database),
                directory=doors.directory,
                poster=poster,
                bell=doors.bell,
                user_agent=f"mailrelay/{mailrelay.__version__} (zotonic)",
            )
        )
        reports.setServiceParent(self)

    def _kept_for(self, account_id: int | None) -> float:
        own = self._directory().retired_kept_for(account_id)
        return self._retired_kept_for if own is None else own

    def routes(self, behind_proxy: bool) -> Sequence[Route]:
        """What a listener serves; what stands before it, if anything does, sees to HTTPS."""
        return [evolve(one, handle=in_secret(one.handle, behind_proxy)) for one in self._doors]


def in_secret(handle: Handler, behind_proxy: bool) -> Handler:
    """``handle`` for requests whose secret nobody reads on the way."""

    async def handled(request: Request) -> Response:
        if request.is_secure or behind_proxy or is_loopback(request.peer_ip):
            return await handle(request)
        return Response.json(403, error_body("eacces", "the secret goes by https alone"))

    return handled
