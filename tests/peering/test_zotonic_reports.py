"""What Zotonic sites are told of their mail: in order, and again until it is taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.peer_mail import PeerFeed, ToldEvent
from mailrelay.directory.model import Directory
from mailrelay.directory.peers import Peer, PeerKey, PeerProtocol
from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.observe.bell import Bell
from mailrelay.observe.events import Event, EventKind
from mailrelay.peering.zotonic_callback import may_hear_at, place_of_reports
from mailrelay.peering.zotonic_reports import (
    FIRST_WAIT,
    LOOK_EVERY,
    MOST_ERRORS,
    ReportSurroundings,
    ZotonicReports,
    report_of,
)
from mailrelay.queue.store import StoreUnavailable
from tests.peering import zotonic_peer as site

CALLBACK = "https://site.test/api/model/email_relay/post/status"
KEY = PeerKey("k", site.SECRET, False, 0.0)
PEER = Peer(3, "site", PeerProtocol.ZOTONIC, "", CALLBACK, account_id=5, keys=[KEY])
OK = site.answer(200, b'{"status":"ok"}')


def event(position: int, message: int, kind: EventKind, **data: Any) -> ToldEvent:
    """Something became of a message."""
    told = {"recipient": "rita@remote.test", **data}
    happened = Event(kind, 1.0, message, message + 100, 5, told, position=position)
    return ToldEvent(happened, f"{message}@site.test")


FAILED = {"code": 550, "status": "5.1.1", "reply": "no such user"}


class ReportTests(SynchronousTestCase):
    """Which event tells what."""

    def test_kinds(self) -> None:
        """As the table has it; of what no site knows nothing is told."""
        for kind, type_ in (
            (EventKind.DELIVERED, "relayed"),
            (EventKind.RELAYED, "relayed"),
            (EventKind.DELAYED, "temporary_failure"),
            (EventKind.FAILED, "permanent_failure"),
            (EventKind.SUPPRESSED, "permanent_failure"),
            (EventKind.CANCELED, "permanent_failure"),
            (EventKind.ACCEPTED, None),
            (EventKind.HELD, None),
            (EventKind.HANDED_OVER, None),
            (EventKind.REPORTED, None),
            (EventKind.COMPLAINED, None),
        ):
            report = report_of(event(1, 1, kind, **FAILED))
            self.assertEqual(report.type.value if report else None, type_, kind)
            if report is not None:
                status = "" if type_ == "relayed" else "550 5.1.1 no such user"
                self.assertEqual(report.status, status)
                self.assertEqual(report.message_nr, "1@site.test")

    def test_status(self) -> None:
        """It is one line of clean text."""
        report = report_of(event(1, 1, EventKind.FAILED, code=550, reply="a\nb\x07\ud800" * 900))
        assert report is not None
        self.assertEqual(report.status[:9], "550 a b??")
        self.assertLessEqual(len(report.status), 500)
        canceled = report_of(event(1, 1, EventKind.CANCELED))
        self.assertEqual(canceled.status[:3] if canceled else "", "550")


class PlaceTests(SynchronousTestCase):
    """Where reports go: the secret goes with them."""

    def test_origin(self) -> None:
        """Only where the operator's URL is."""
        for url, may in (
            ("https://site.test/other", True),
            ("https://SITE.test:443/other?x=y", True),
            ("http://site.test/other", False),
            ("https://site.test:8443/other", False),
            ("https://site.test.evil.test/", False),
            ("https://site.test@evil.test/", False),
            ("https://evil.test/https://site.test/", False),
            ("https://site.test/#@evil.test", False),
            ("https://127.0.0.1/", False),
            ("//site.test/", False),
            ("https://site.test/" + "a" * 250, False),
            ("", False),
        ):
            self.assertEqual(may_hear_at(PEER, url), may, url)
            self.assertEqual(place_of_reports(PEER, url), url if may else CALLBACK)
        self.assertFalse(may_hear_at(evolve(PEER, callback_url=""), "https://site.test/"))


@define
class FakeMail:
    """Events in memory, as PeerEvents has them."""

    happened: list[ToldEvent] = field(factory=list)
    at: int = 0
    fails: int = 0
    asked: list[int] = field(factory=list)

    def position(self, peer_id: int) -> Deferred[int]:
        """See PeerEvents."""
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable
        return succeed(self.at)

    def events(self, peer_id: int, account_id: int, after: int, limit: int) -> Deferred[PeerFeed]:
        """See PeerEvents."""
        assert (peer_id, account_id) == (3, 5)
        found = [one for one in self.happened if one.event.position > after][:limit]
        self.asked.append(after)
        position = found[-1].event.position if found else after
        return succeed(PeerFeed(found, position, len(found) == limit))

    def acknowledge(self, peer_id: int, position: int, at: float) -> Deferred[None]:
        """See PeerEvents."""
        self.at = max(self.at, position)
        return succeed(None)


@define
class FakeSite:
    """A site: each report waits until it is answered."""

    waiting: list[tuple[str, Any, Deferred[HTTPAnswer]]] = field(factory=list)
    answer: HTTPAnswer | None = OK
    got: list[Any] = field(factory=list)
    urls: list[str] = field(factory=list)
    trouble: str = ""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> HTTPAnswer:
        """See Poster."""
        report = json.loads(body)["report"]
        self.urls.append(url)
        self.got.append((report["message_nr"].partition("@")[0], report["type"]))
        if self.trouble:
            raise CallFailed(self.trouble)
        if self.answer is not None:
            return self.answer
        waiting: Deferred[HTTPAnswer] = Deferred()
        self.waiting.append((url, report, waiting))
        try:
            return await waiting
        except CancelledError:  # as HTTPClient has it
            raise CallFailed("broken off") from None


class TellingTests(SynchronousTestCase):
    """A site is told."""

    def setUp(self) -> None:
        """A site with nothing to be told."""
        self.clock, self.mail, self.site = Clock(), FakeMail(), FakeSite()
        self.peer: Peer | None = PEER
        self.bell = Bell(self.clock)
        self.reports = self.telling()

    def telling(self) -> ZotonicReports:
        """What tells, started."""

        async def poster(peer: Peer) -> FakeSite:
            return self.site

        def directory() -> Directory:
            return Directory(peers={"site": self.peer} if self.peer else {})

        outside = ReportSurroundings(
            self.clock, self.clock.seconds, self.mail, directory, poster, self.bell, "test"
        )
        reports = ZotonicReports(outside)
        reports.startService()
        self.addCleanup(lambda: reports.running and reports.stopService())
        return reports

    def happens(self, *events: ToldEvent) -> None:
        """They are recorded."""
        self.mail.happened += events
        self.bell.ring([5])

    def test_told(self) -> None:
        """What is recorded is told at once, each event once, and that is remembered."""
        self.happens(event(7, 1, EventKind.DELAYED), event(9, 1, EventKind.DELIVERED))
        self.assertEqual(self.site.got, [("1", "temporary_failure"), ("1", "relayed")])
        self.assertEqual(self.mail.at, 9)
        self.happens(event(12, 2, EventKind.FAILED))
        self.assertEqual(self.site.got[2:], [("2", "permanent_failure")])
        self.assertEqual(set(self.site.urls), {f"{CALLBACK}?s={site.SECRET_IN_QUERY}"})

    def test_order(self) -> None:
        """One of a message at a time, in order; another message's does not wait for it."""
        self.site.answer = None
        self.happens(
            event(1, 1, EventKind.DELAYED),
            event(2, 2, EventKind.FAILED),
            event(3, 1, EventKind.DELIVERED),
        )
        self.assertEqual(self.site.got, [("1", "temporary_failure"), ("2", "permanent_failure")])
        self.site.waiting[1][2].callback(OK)
        self.assertEqual((len(self.site.got), self.mail.at), (2, 0))
        self.site.waiting[0][2].callback(OK)
        self.assertEqual(self.site.got[2:], [("1", "relayed")])
        self.site.waiting[2][2].callback(OK)
        self.assertEqual(self.mail.at, 3)

    def test_again(self) -> None:
        """What a site does not take is told again, later and later, in order still."""
        for failing in (
            site.answer(403, site.EACCES),
            site.answer(404, site.ENOENT),
            site.answer(503, b""),
            site.answer(302, b""),
            site.answer(200, site.LOGIN_PAGE),
        ):
            self.setUp()
            self.site.answer = failing
            self.happens(event(1, 1, EventKind.DELAYED), event(2, 1, EventKind.DELIVERED))
            self.clock.advance(FIRST_WAIT)
            self.clock.advance(FIRST_WAIT * 2 - 1)
            self.assertEqual(self.site.got, [("1", "temporary_failure")] * 2, failing)
            self.assertEqual(self.mail.at, 0)
            self.site.answer = site.answer(204, b"")
            self.clock.advance(1)
            self.assertEqual(self.site.got[2:], [("1", "temporary_failure"), ("1", "relayed")])
            self.assertEqual(self.mail.at, 2)

    def test_refused_for_good(self) -> None:
        """A site that calls a report malformed is told the next."""
        self.site.answer = site.answer(400, site.PAYLOAD)
        self.happens(event(1, 1, EventKind.DELAYED), event(2, 1, EventKind.DELIVERED))
        self.assertEqual((len(self.site.got), self.mail.at), (2, 2))

    def test_errors(self) -> None:
        """Its own errors end one report; being away, or refusing us, ends none."""
        for failing, ends in ((site.answer(500, b""), True), (site.answer(403, b""), False)):
            self.setUp()
            self.site.answer = failing
            self.happens(event(1, 1, EventKind.FAILED))
            for _ in range(MOST_ERRORS * 2):
                self.clock.advance(3600.0)
            self.assertEqual(self.mail.at == 1, ends, failing)
            if ends:
                self.assertEqual(len(self.site.got), MOST_ERRORS)

    def test_secrets_in_turn(self) -> None:
        """While secrets are rotated, the site has one of them: it is found."""
        keys = [PeerKey("n", b"new-secret", False, 2.0), KEY]
        self.peer = evolve(PEER, keys=keys)
        self.site.answer = site.answer(403, site.EACCES)
        self.happens(event(1, 1, EventKind.FAILED))
        self.clock.advance(FIRST_WAIT)
        found = [url.partition("?s=")[2] for url in self.site.urls]
        self.assertEqual(found, ["new-secret", site.SECRET_IN_QUERY])

    def test_stop(self) -> None:
        """A stop waits for nobody; the next start tells what was not taken."""
        self.site.answer = None
        self.happens(event(1, 1, EventKind.DELIVERED))
        self.successResultOf(self.reports.stopService())
        self.assertEqual(self.mail.at, 0)
        self.site.answer = OK
        self.telling()
        self.assertEqual(self.site.got, [("1", "relayed")] * 2)
        self.assertEqual(self.mail.at, 1)

    def test_stop_between(self) -> None:
        """A stop while a report waits to be repeated leaves no timer."""
        self.site.answer = site.answer(503, b"")
        self.happens(event(1, 1, EventKind.DELIVERED))
        self.successResultOf(self.reports.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_secret_in_logs(self) -> None:
        """Nothing that is logged has it, whatever the site or the network says."""
        lines: list[str] = []
        self.site.trouble = f"cannot ask {CALLBACK}?s={site.SECRET_IN_QUERY}"

        seen: Any = lambda logged: lines.append(formatEvent(logged) + str(logged))  # noqa: E731
        globalLogPublisher.addObserver(seen)
        self.addCleanup(globalLogPublisher.removeObserver, seen)
        self.happens(event(1, 1, EventKind.DELIVERED))
        self.assertTrue(any("cannot be told" in line for line in lines), lines)
        self.assertFalse([line for line in lines if "sesame" in line])

    def test_switched_off(self) -> None:
        """A peer that is switched off, or gone, is told nothing; when it is back, all."""
        for away in (None, evolve(PEER, disabled=True), evolve(PEER, callback_url="")):
            self.setUp()
            self.peer = away
            self.clock.advance(LOOK_EVERY)
            self.happens(event(1, 1, EventKind.DELIVERED))
            self.assertEqual(self.site.got, [])
            self.peer = PEER
            self.clock.advance(LOOK_EVERY)
            self.clock.advance(LOOK_EVERY)
            self.assertEqual(self.site.got, [("1", "relayed")], away)

    def test_store_is_away(self) -> None:
        """A store that fails for a while delays reports."""
        self.mail.fails = 1
        self.happens(event(1, 1, EventKind.DELIVERED))
        self.assertEqual(self.site.got, [])
        self.clock.advance(60.0)
        self.clock.advance(60.0)
        self.assertEqual(self.site.got, [("1", "relayed")])

    def test_page_by_page(self) -> None:
        """A long list is told in parts, and nothing is left out."""
        self.happens(*(event(n, n, EventKind.DELIVERED) for n in range(1, 501)))
        self.assertEqual({nr for nr, _ in self.site.got}, {str(n) for n in range(1, 501)})
        self.assertEqual(self.mail.at, 500)
