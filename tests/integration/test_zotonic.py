"""A Zotonic site hands mail to a real server, and hears what becomes of it."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field
from sqlalchemy import Connection, delete, func, select
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import formatEvent, globalLogPublisher

from mailrelay.config.settings import StorageSection
from mailrelay.config.transports import RouteSection, TransportSection
from mailrelay.control.peers import PeerDetails
from mailrelay.control.suppression import SuppressionFilter
from mailrelay.directory.login import LoginSettings
from mailrelay.directory.peers import FromPolicy, PeerProtocol
from mailrelay.observe.events import EventKind
from mailrelay.peering.zotonic import PATH, RECIPIENT_PATH
from mailrelay.peering.zotonic_places import ZotonicPlaces
from mailrelay.storage import tables
from mailrelay.web.settings import HTTPSettings
from tests.handoff.endpoint import HTTPEndpoint
from tests.integration.webapi.api import API, Answered, APICase
from tests.integration.world import soon, start_world
from tests.peering import zotonic_peer as site

JSON = {"Content-Type": "application/json", "Accept": "application/json"}
OK = site.http(200, b'{"status":"ok"}')
STATUS_PATH = "/api/model/email_relay/post/status"


@define
class Site:
    """A site that a server knows as a peer."""

    case: APICase
    api: API
    endpoint: HTTPEndpoint = field(factory=lambda: HTTPEndpoint(OK))
    control: Any = None

    async def known_as(self, name: str, secret: bytes = site.SECRET, **options: Any) -> None:
        """Have the server know it."""
        # Every control of a test's draws the same numbers: this is the only one.
        control = self.control = self.control or self.case.control(self.api)
        callback = self.endpoint.url(STATUS_PATH)
        options = {"allowed_networks": ("127.0.0.0/8",), **options}
        await control.peers.add(
            name,
            PeerProtocol.ZOTONIC,
            PeerDetails(callback_url=callback, account="user", options=options),
            their_key=secret.decode(),
        )
        await self.case.until(lambda: name in self.api.server.server.directory.peers)

    async def post(
        self, body: bytes, path: str = PATH, secret: str | None = site.SECRET_IN_QUERY
    ) -> Answered:
        """What the server answers."""
        query = "" if secret is None else f"?s={secret}"
        return await self.api.ask("POST", path + query, body, JSON)

    async def told(self, count: int) -> list[Any]:
        """The first reports, once they are there."""
        await self.case.until(lambda: len(self.endpoint.requests) >= count)
        return [json.loads(request.body)["report"] for request in self.endpoint.requests]


def mail(nr: str, recipient: str, email: str = "From: ann@site.test\\r\\n\\r\\nhi\\r\\n") -> bytes:
    """A request, spelled out."""
    return b'{"message_nr":"%s","recipient":"%s","email":"%s","webhook_url":""}' % (
        nr.encode(),
        recipient.encode(),
        email.encode(),
    )


class RelayingForSiteTests(APICase):
    """We relay for a Zotonic site."""

    async def site(self, name: str = "site", **options: Any) -> Site:
        """A server that knows a site."""
        made = Site(self, await self.start(login=LoginSettings(failures_per_minute=50)))
        self.addCleanup(made.endpoint.close)
        await made.known_as(name, **options)
        return made

    async def test_relayed(self) -> None:
        """Accepted with a receipt, delivered as it came, and told with the site's own number."""
        one = await self.site()
        answered = await one.post(site.RELAY)
        self.assertEqual(answered.status, 200, answered)
        told = json.loads(answered.body)
        self.assertEqual(told["status"], "ok")
        self.assertRegex(told["result"]["receipt"], r"^200 \[RELAY\] Message queued as \d+$")
        self.assertEqual(told["result"]["to"], "Rita Receiver <rita@remote.test>")
        [message] = await self.arrived(one.api)
        raw = await self.raw(one.api, message.id)
        email = json.loads(site.RELAY)["email"].encode()
        self.assertTrue(raw.endswith(email), raw)
        self.assertRegex(message.reverse_path, r"^user\+[A-Za-z0-9_-]{22}@")
        [report] = await one.told(1)
        self.assertEqual(
            report, {"type": "relayed", "message_nr": site.NR, "recipient": "rita@remote.test"}
        )
        [request] = one.endpoint.requests
        line = f"POST {STATUS_PATH}?s={site.SECRET_IN_QUERY} HTTP/1.1"
        self.assertEqual(request.line, line.encode())

    async def test_duplicates(self) -> None:
        """However often it comes, it is one message; for another recipient it is another."""
        one = await self.site()
        answers = await gatherResults(
            [Deferred.fromCoroutine(one.post(site.RELAY)) for _ in range(8)]
        )
        answers.append(await one.post(site.RELAY))
        results = [json.loads(answered.body)["result"] for answered in answers]
        self.assertEqual(len({result["message_nr"] for result in results}), 1)
        again = [result for result in results if "already queued as" in result["receipt"]]
        self.assertEqual(len(again), 8)
        other = json.loads((await one.post(mail(site.NR, "otto@remote.test"))).body)["result"]
        self.assertNotEqual(other["message_nr"], results[0]["message_nr"])
        await self.arrived(one.api, 2)

    async def test_refused(self) -> None:
        """A wrong secret, a bad payload, an unknown path, by the statuses of the table."""
        one = await self.site()
        for secret in (None, "", "wrong", site.SECRET_IN_QUERY + "x", "a&s=b"):
            for path in (PATH, RECIPIENT_PATH):
                answered = await one.post(site.RELAY, path, secret)
                self.assertEqual((answered.status, answered.body), (403, site.EACCES), secret)
        for body in (b"", b"{", b'{"recipient":"a@b.test"}', b'{"recipient":"a b","email":"x"}'):
            answered = await one.post(body)
            self.assertEqual(answered.status, 400, body)
            self.assertEqual(json.loads(answered.body)["error"], "payload")
        answered = await one.post(site.RELAY, PATH + "/other")
        self.assertEqual(answered.status, 404)

    async def test_guessing(self) -> None:
        """Who guesses often is not heard for a while."""
        one = Site(self, await self.start())
        self.addCleanup(one.endpoint.close)
        await one.known_as("site")
        found = [(await one.post(site.RELAY, secret=f"guess{n}")).status for n in range(12)]
        self.assertEqual(found, [403] * 10 + [429] * 2)

    async def test_full(self) -> None:
        """A disk without room refuses mail for now."""
        storage = StorageSection("sqlite:///mailrelay.db", min_free_bytes=10**18)
        one = Site(self, await self.start(storage=storage))
        self.addCleanup(one.endpoint.close)
        await one.known_as("site")
        await self.until(lambda: one.api.server.server._space.is_short)
        answered = await one.post(site.RELAY)
        self.assertEqual((answered.status, json.loads(answered.body)["error"]), (503, "full"))

    async def test_no_site(self) -> None:
        """Where there is no such peer, there is nothing."""
        one = Site(self, await self.start())
        self.addCleanup(one.endpoint.close)
        answered = await one.post(site.RELAY)
        self.assertEqual((answered.status, answered.body), (404, site.ENOENT))

    async def test_permanent_problems(self) -> None:
        """What cannot be delivered is taken all the same, and told as failed, the code first."""
        one = await self.site(from_domains=("site.test",))
        problems = {
            "1@site.test": (mail("1@site.test", "permerror@example.org"), "550 5.0.0"),
            "2@site.test": (mail("2@site.test", "a@b@remote.test"), "553 5.1.3"),
            "3@site.test": (
                mail("3@site.test", "a@r.test", "From: x@y.test\\r\\n\\r\\n"),
                "550 5.7.1",
            ),
            "4@site.test": (
                mail("4@site.test", "a@r.test", "From: a@site.test\\n\\nx"),
                "554 5.6.11",
            ),
            "5@site.test": (mail("5@site.test", "a@r.test", "no header"), "550 5.6.0"),
            "6@site.test": (
                mail(
                    "6@site.test",
                    "a@r.test",
                    "Received: x\\r\\n" * 51 + "From: a@site.test\\r\\n\\r\\n",
                ),
                "554 5.4.6",
            ),
        }
        for body, _ in problems.values():
            for word in ("", "already "):
                answered = await one.post(body)
                self.assertEqual(answered.status, 200, answered)
                self.assertIn(f"Message {word}queued as".encode(), answered.body)
        reports = {report["message_nr"]: report for report in await one.told(len(problems))}
        for nr, (_, starts) in problems.items():
            self.assertEqual(reports[nr]["type"], "permanent_failure", nr)
            self.assertEqual(reports[nr]["status"][: len(starts)], starts, reports[nr])

    async def test_blocked(self) -> None:
        """An address that is blocked there is suppressed here, until it is no longer."""
        one = await self.site()
        for body, count in ((site.BLOCK, 1), (site.BLOCK, 1), (site.UNBLOCK, 0), (site.UNBLOCK, 0)):
            answered = await one.post(body, RECIPIENT_PATH)
            self.assertEqual((answered.status, json.loads(answered.body)), (200, {"status": "ok"}))
            found = await one.control.suppression.find(SuppressionFilter("user"))
            self.assertEqual(len(found), count)
        await one.post(site.BLOCK, RECIPIENT_PATH)
        suppressed = self.api_suppressed(one.api)
        await self.until(suppressed)
        await one.post(site.RELAY)
        [report] = await one.told(1)
        self.assertEqual((report["type"], report["status"][:3]), ("permanent_failure", "550"))

    async def test_own_lists(self) -> None:
        """A peer that shares no suppression is heard, and changes nothing."""
        one = await self.site(shares_suppression=False)
        self.assertEqual((await one.post(site.BLOCK, RECIPIENT_PATH)).status, 200)
        self.assertEqual(await one.control.suppression.find(SuppressionFilter("user")), [])

    def api_suppressed(self, api: API) -> Any:
        """Whether the server knows that Rita is suppressed."""
        from mailrelay.smtp.address import Address

        server = api.server.server
        [account] = [a for a in server.directory.accounts.values() if a.name == "user"]
        return lambda: server._known.suppressed(account.id, Address("rita", "remote.test"))

    async def test_two_sites(self) -> None:
        """The secret says which it is: each hears of its own mail alone."""
        one = await self.site("one")
        two = Site(self, one.api, control=one.control)
        self.addCleanup(two.endpoint.close)
        await two.known_as("two", b"another-secret")
        await one.post(mail("1@one.test", "a@remote.test"))
        await two.post(mail("1@two.test", "a@remote.test"), secret="another-secret")
        self.assertEqual([r["message_nr"] for r in await one.told(1)], ["1@one.test"])
        self.assertEqual([r["message_nr"] for r in await two.told(1)], ["1@two.test"])

    async def test_rewritten(self) -> None:
        """From an address of ours, answers to the author."""
        rewrite = {"from_policy": FromPolicy.REWRITE, "from_address": "user@example.org"}
        one = await self.site(**rewrite)
        await one.post(site.RELAY)
        [message] = await self.arrived(one.api)
        raw = await self.raw(one.api, message.id)
        self.assertIn(b'From: "Ann Author" <user@example.org>\r\n', raw)
        self.assertIn(b'Reply-To: "Ann Author" <ann@site.test>\r\n', raw)
        self.assertNotIn(b'From: "Ann Author" <ann@', raw)

    async def test_webhook_url(self) -> None:
        """What a request names is used only where the operator's URL is."""
        one = await self.site()
        thief = HTTPEndpoint(OK)
        self.addCleanup(thief.close)
        own = one.endpoint.url("/other/status")
        for nr, url in (("1@a", thief.url("/x")), ("2@a", own), ("3@a", "file:///etc/passwd")):
            body = mail(nr, "a@remote.test").replace(
                b'webhook_url":"', b'webhook_url":"' + url.encode()
            )
            self.assertEqual((await one.post(body)).status, 200)
        await one.told(3)
        places = {
            json.loads(r.body)["report"]["message_nr"]: r.line.split(b"?")[0].split(b" ")[1]
            for r in one.endpoint.requests
        }
        callback = STATUS_PATH.encode()
        self.assertEqual(places, {"1@a": callback, "2@a": b"/other/status", "3@a": callback})
        self.assertEqual(thief.requests, [])


class SendingThroughSiteTests(APICase):
    """We send through a Zotonic relay, which reports."""

    async def sending(self, *answers: bytes, **settings: Any) -> tuple[API, HTTPEndpoint]:
        """A server whose mail to other servers goes through a site."""
        relay = HTTPEndpoint(*(answers or (site.http(200, site.QUEUED),)))
        self.addCleanup(relay.close)
        transport = TransportSection("site", peer="site")
        api = API(
            await start_world(
                self,
                the_reactor,
                transport=[transport],
                route=[RouteSection(transport="site", to_domain=["remote.test"])],
                http=HTTPSettings(public_url="https://us.test"),
                **settings,
            )
        )
        self.control_ = self.control(api)
        options = {"allowed_networks": ("127.0.0.0/8",)}
        await self.control_.peers.add(
            "site",
            PeerProtocol.ZOTONIC,
            PeerDetails(url=relay.url(PATH), options=options),
            our_key=site.SECRET.decode(),
            their_key="their-own-secret",
        )
        await self.until(lambda: "site" in api.server.server.directory.peers)
        return api, relay

    async def send(self, api: API, recipient: str = "joe@remote.test") -> int:
        """Submit a message; the entry's id."""
        sent = await api.send(
            To=[{"Address": recipient}], Subject="Gr\u00fc\u00dfe", Text="h\u00f6\n"
        )
        return int(sent["Submissions"][0]["QueueMsgID"])

    async def events(self, entry: int, count: int) -> list[Any]:
        """What became of an entry, once it is so much."""
        for _ in range(3000):
            history = await self.control_.queue.history(entry)
            found = [event for event in history.events if event.entry_id == entry]
            if len(found) >= count:
                return found
            await soon(the_reactor)
        raise AssertionError(found)

    async def report(self, api: API, place: str, body: bytes, secret: str) -> Answered:
        """What a report is answered."""
        path = place.removeprefix("https://us.test")
        return await api.ask("POST", f"{path}?s={secret}", body, JSON)

    async def test_reported(self) -> None:
        """Handed over with a receipt; what the relay reports are the entry's events."""
        api, relay = await self.sending()
        entry = await self.send(api)
        [event] = await self.events(entry, 1)
        self.assertEqual(event.kind, EventKind.HANDED_OVER)
        [request] = relay.requests
        self.assertEqual(request.line, f"POST {PATH}?s={site.SECRET_IN_QUERY} HTTP/1.1".encode())
        asked = json.loads(request.body)
        nr = f"{entry}@mx.example.org"
        self.assertEqual((asked["message_nr"], asked["recipient"]), (nr, "joe@remote.test"))
        self.assertTrue(asked["email"].partition("\r\n\r\n")[2].isascii())
        place, secret = asked["webhook_url"], site.SECRET_IN_QUERY
        self.assertRegex(place, r"^https://us\.test/relay/zotonic/[0-9a-f]{32}$")
        for type_, status_ in (
            (b"temporary_failure", b"451 4.2.0 later"),
            (b"relayed", None),
            (b"relayed", None),
            (b"permanent_failure", b"550 5.1.1 no such user"),
            (b"permanent_failure", b"550 5.1.1 no such user"),
        ):
            body = site.report(type_, nr.encode(), status_)
            answered = await self.report(api, place, body, secret)
            self.assertEqual((answered.status, json.loads(answered.body)), (200, {"status": "ok"}))
        events = await self.events(entry, 4)
        kinds = [one.kind for one in events[1:]]
        self.assertEqual(kinds, [EventKind.DELAYED, EventKind.DELIVERED, EventKind.FAILED])
        failed = events[-1].data
        self.assertEqual((failed["code"], failed["status"]), (550, "5.1.1"))
        self.assertEqual(
            (failed["reply"], failed["recipient"]), ("no such user", "joe@remote.test")
        )
        self.assertTrue(failed["suppressing"])

    async def test_who_may_report(self) -> None:
        """At its own place, with the secret that we send, about what it was handed."""
        api, relay = await self.sending()
        entry = await self.send(api)
        await self.events(entry, 1)
        nr = f"{entry}@mx.example.org".encode()
        body = site.report(b"relayed", nr)
        place = json.loads(relay.requests[0].body)["webhook_url"]
        logged: list[str] = []
        note: Any = lambda event: logged.append(repr(event))  # noqa: E731
        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        for where, secret, code in (
            (place[:-1] + ("1" if place[-1] == "0" else "0"), site.SECRET_IN_QUERY, 404),
            (place.rpartition("/")[0] + "/x", site.SECRET_IN_QUERY, 404),
            (place.rpartition("/")[0] + "/%C3%A9", site.SECRET_IN_QUERY, 404),
            (f"{place}/", site.SECRET_IN_QUERY, 404),
            (f"{place}/%FF", site.SECRET_IN_QUERY, 404),
            (place, "wrong", 403),
            (place, "", 403),
            (place, "their-own-secret", 403),
        ):
            answered = await self.report(api, where, body, secret)
            self.assertEqual(answered.status, code, where)
        for bad in (b"", b"[]", b'{"type":"x"}'):
            answered = await self.report(api, place, bad, site.SECRET_IN_QUERY)
            self.assertEqual(answered.status, 400, bad)
        self.assertTrue(any("/relay/zotonic/" in one for one in logged))
        self.assertFalse([one for one in logged if place.rpartition("/")[2] in one])
        # Of nobody, of a message long gone, of another's: heard, and let be.
        for number in (b"1@mx.example.org", b"99999@elsewhere", b"a@b@c", b"<>", nr + b"x"):
            told = site.report(b"permanent_failure", number, b"550 no")
            answered = await self.report(api, place, told, site.SECRET_IN_QUERY)
            self.assertEqual(answered.status, 200, number)
        self.assertEqual(len(await self.events(entry, 1)), 1)

    async def test_blocked_here(self) -> None:
        """What an operator blocks is blocked there."""
        _, relay = await self.sending(OK)
        await self.control_.suppression.add(None, "rita@remote.test")
        await self.until(lambda: relay.requests)
        [request] = relay.requests
        line = f"POST {RECIPIENT_PATH}?s={site.SECRET_IN_QUERY} HTTP/1.1"
        self.assertEqual((request.line, request.body), (line.encode(), site.BLOCK))

    async def test_long_gone(self) -> None:
        """A report about a message that was finished ten days ago, and swept, is heard."""
        api, relay = await self.sending()
        entry = await self.send(api)
        await self.events(entry, 1)

        def forget(connection: Connection) -> None:
            for table in (tables.entry, tables.event, tables.message):
                connection.execute(delete(table))

        database = api.server.server.stores.database
        await database.write(forget)
        body = site.report(b"permanent_failure", f"{entry}@mx.example.org".encode(), b"bounce")
        place = json.loads(relay.requests[0].body)["webhook_url"]
        answered = await self.report(api, place, body, site.SECRET_IN_QUERY)
        self.assertEqual((answered.status, json.loads(answered.body)), (200, {"status": "ok"}))
        count = select(func.count()).select_from(tables.event)
        self.assertEqual(await database.read(lambda c: c.execute(count).scalar()), 0)

    async def test_other_relay(self) -> None:
        """A relay cannot report on what another was handed."""
        api, _ = await self.sending()
        entry = await self.send(api)
        await self.events(entry, 1)
        await self.control_.peers.add(
            "two",
            PeerProtocol.ZOTONIC,
            PeerDetails(url="https://two.test/relay"),
            our_key="second-secret",
            their_key="third-secret",
        )
        peers = api.server.server.directory.peers
        await self.until(lambda: "two" in api.server.server.directory.peers)
        peers = api.server.server.directory.peers
        place = ZotonicPlaces(api.server.server.stores.secret, "https://us.test").of(peers["two"])
        body = site.report(b"permanent_failure", f"{entry}@mx.example.org".encode(), b"550 no")
        answered = await self.report(api, place, body, "second-secret")
        self.assertEqual(answered.status, 200)
        self.assertEqual(len(await self.events(entry, 1)), 1)

    async def test_faults(self) -> None:
        """Without a receipt nothing is handed over, and the secret is in no history and no log."""
        lines: list[str] = []
        seen: Any = lambda logged: lines.append(formatEvent(logged) + str(logged))  # noqa: E731
        globalLogPublisher.addObserver(seen)
        self.addCleanup(globalLogPublisher.removeObserver, seen)
        echo = b"no: " + site.SECRET + b" and ?s=" + site.SECRET_IN_QUERY.encode()
        for answer, code in (
            (site.http(200, site.NO_RECEIPT), 451),
            (site.http(200, site.LOGIN_PAGE), 451),
            (site.http(403, site.EACCES), 451),
            (site.http(404, b'{"status":"error","error":"' + echo + b'"}'), 451),
            (site.http(400, site.PAYLOAD), 554),
        ):
            api, _ = await self.sending(answer)
            entry = await self.send(api)
            [event] = await self.events(entry, 1)
            kind = EventKind.FAILED if code == 554 else EventKind.DELAYED
            self.assertEqual((event.kind, event.data["code"]), (kind, code), answer)
            self.assertNotIn("sesame", str(event))
            spool = api.server.settings.data_dir
            audit = b"".join(path.read_bytes() for path in spool.glob("*.log"))
            self.assertNotIn(b"sesame", audit)
        self.flushLoggedErrors()
        self.assertTrue([line for line in lines if "refuses us" in line])
        self.assertEqual([line for line in lines if "sesame" in line], [])
