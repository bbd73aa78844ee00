"""Where Zotonic relays tell what became of mail that we handed to them.

Invariants:

- A report is believed when it comes to the relay's own place with the secret that we send it, and
  is about a message that this relay, and no other, was handed.
- What is answered 200 is recorded, as an event of the entry, or is about nothing that is known: a
  relay repeats what is answered otherwise for days.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen
from twisted.logger import Logger

from mailrelay.control.peer_feed import PeerFeedStore, PeerNews
from mailrelay.directory.model import Directory
from mailrelay.directory.peers import Peer, PeerProtocol
from mailrelay.observe.events import EventKind
from mailrelay.peering.door import Failures
from mailrelay.peering.zotonic import (
    OK_BODY,
    Malformed,
    Report,
    ReportType,
    error_body,
    read_report,
)
from mailrelay.peering.zotonic_door import NOBODY, NOT_THAT, check_tries, is_of_peer
from mailrelay.peering.zotonic_places import PATH, ZotonicPlaces
from mailrelay.queue.store import StoreUnavailable
from mailrelay.smtp.reply import printable
from mailrelay.web.request import Request, Response, Route

MOST_REPORT_BYTES = 64 * 1024

_KINDS = {
    ReportType.RELAYED: EventKind.DELIVERED,
    ReportType.TEMPORARY_FAILURE: EventKind.DELAYED,
    ReportType.PERMANENT_FAILURE: EventKind.FAILED,
}
_CODES = {EventKind.DELIVERED: 250, EventKind.DELAYED: 451, EventKind.FAILED: 550}

BOUNCE = "bounce"
"""The status of a failure that a relay heard of by mail."""

_REPLY = re.compile(r"([245][0-9]{2})(?:[ -]+([245]\.[0-9]{1,3}\.[0-9]{1,3}))?(?:[ -]+(.*))?", re.S)


@frozen
class ZotonicStatusDoor:
    """Takes reports.  ``kept_for`` is how long an account's retired entries are kept."""

    places: ZotonicPlaces
    directory: Callable[[], Directory]
    store: PeerFeedStore
    failures: Failures
    now: Callable[[], float]
    kept_for: Callable[[int | None], float]
    _log = Logger()

    def routes(self) -> Sequence[Route]:
        """Everything below PATH: the token is in no log, whatever is asked of it."""
        return [Route(("POST",), f"{PATH}/*", self._answered, is_secret=True)]

    async def _answered(self, request: Request) -> Response:
        peers = self.directory().peers.values()
        relays = [one for one in peers if one.protocol is PeerProtocol.ZOTONIC]
        peer = self.places.peer_at(request.params["*"], relays)
        if peer is None or peer.disabled:
            return Response.json(404, NOBODY)
        check_tries(request, self.failures)
        if not is_of_peer(request, peer, self.now(), is_ours=True):
            self.failures.failed(request.peer_ip)
            return Response.json(403, NOT_THAT)
        try:
            report = read_report(await request.body.read(MOST_REPORT_BYTES))
            await self._record(peer, report)
        except Malformed as error:
            return Response.json(400, error_body("payload", str(error)))
        except StoreUnavailable:
            return Response.json(503, error_body("unavailable"))
        return Response.json(200, OK_BODY)

    async def _record(self, peer: Peer, report: Report) -> None:
        news = news_of(peer, report)
        recorded = await self.store.record(peer.id, [news], 0, self.now(), self.kept_for)
        if not recorded.events:
            self._log.info(
                "peer {name} tells nothing new of {number}",
                name=peer.name,
                number=printable(report.message_nr, 100),
            )


def news_of(peer: Peer, report: Report) -> PeerNews:
    """What a report tells, as other peers' events do.  The recipient is whose the number is."""
    kind = _KINDS[report.type]
    number = report.message_nr.strip("<>")
    return PeerNews(0, number, "", kind, _data(peer, report, kind))


def _data(peer: Peer, report: Report, kind: EventKind) -> Mapping[str, object]:
    read = _REPLY.fullmatch(report.status.strip())
    code = int(read[1]) if read is not None else _CODES[kind]
    if kind is EventKind.DELIVERED:
        code = _CODES[kind]
    data: dict[str, object] = {
        "destination": f"peer:{peer.name}",
        "peer": peer.name,
        "code": code,
        "status": (read[2] or "") if read is not None else "",
        "reply": (read[3] or "") if read is not None else report.status,
        "answered": read is not None and kind is not EventKind.DELIVERED,
        "expired": kind is EventKind.FAILED and code < 500,
        "dsn": report.status == BOUNCE,
    }
    return {name: value for name, value in data.items() if value is not False}
