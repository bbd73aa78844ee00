"""Server-sent events, heard by real clients."""

from __future__ import annotations

import subprocess
from random import Random

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from mailrelay.observe.bell import Bell
from mailrelay.queue.store import StoreUnavailable
from mailrelay.testing.loopback import PASSWORD, USER
from mailrelay.web.settings import HTTPSettings
from tests.integration.webapi.v1.client import BASE, Client
from tests.integration.webapi.v1.event_source import EventSource
from tests.integration.webapi.v1.test_history import DELIVERED, HistoryCase
from tests.integration.world import until

STREAM = "/events/stream"


class StreamCase(HistoryCase):
    """A server and those who listen to it."""

    def source(self, client: Client, query: str = "") -> EventSource:
        """A client that is not connected yet; it goes when the test ends."""
        port = client.http.server.port("http")
        source = EventSource(f"http://127.0.0.1:{port}{BASE}{STREAM}{query}", client.login)
        self.addCleanup(source.close)
        return source

    async def log(self, client: Client) -> list[int]:
        """The positions of all events, by the other way to them."""
        positions: list[int] = []
        cursor = 0
        while page := (await self.ok(client, f"/events?limit=100&cursor={cursor}"))["events"]:
            positions += [event["position"] for event in page]
            cursor = page[-1]["position"]
        return positions


class StreamTests(StreamCase):
    """``/events/stream``."""

    async def test_everything_and_then_what_comes(self) -> None:
        """From 0 the whole log, as event_list has it; then each event when it is there."""
        client = await self.started()
        known = (await self.ok(client, "/events"))["events"]
        source = await self.source(client, "?cursor=0").open()
        self.assertEqual((source.status, source.content_type), (200, "text/event-stream"))
        heard = await source.seen(len(known))
        self.assertEqual([one.data for one in heard], known)
        self.assertEqual([one.position for one in heard], [e["position"] for e in known])
        self.assertEqual([one.kind for one in heard], [e["kind"] for e in known])
        await client.http.send(To=[{"Address": DELIVERED}])
        await source.seen(len(known) + 2)
        self.assertEqual([one.kind for one in heard[len(known) :]], ["accepted", "delivered"])

    async def test_from_now_on(self) -> None:
        """Without a cursor old events are passed over, and none that comes is."""
        client = await self.started()
        newest = (await self.log(client))[-1]
        source = await self.source(client).open()
        await until(the_reactor, lambda: source.reader.last_event_id)
        self.assertEqual(source.reader.last_event_id, str(newest))  # known before the first event
        self.assertEqual(source.reader.retry, 3000)
        await source.close()
        await client.http.send(To=[{"Address": DELIVERED}])
        await source.open()
        self.assertEqual([e.kind for e in await source.seen(2)], ["accepted", "delivered"])
        self.assertGreater(source.events[0].position, newest)

    async def test_last_event_id_goes_before_the_cursor(self) -> None:
        """A browser comes back to the address that it was given: what it heard last counts."""
        client = await self.started()
        positions = await self.log(client)
        source = self.source(client, "?cursor=0")
        await source.open(**{"Last-Event-ID": str(positions[1])})
        await source.seen(len(positions) - 2)
        self.assertEqual([one.position for one in source.events], positions[2:])
        for wrong in ("x", "-1", "1.5", "01", "1" * 16, "9 9"):
            answered = await client.ask("GET", STREAM, headers={"Last-Event-ID": wrong})
            self.assert_problem(answered, 400, "invalid_field", "Last-Event-ID")
        for query, field in (("cursor=-1", "cursor"), ("tag=%0d%0a", "tag"), ("limit=1", "limit")):
            answered = await client.ask("GET", f"{STREAM}?{query}")
            self.assert_problem(answered, 400, "invalid_field", field)

    async def test_kinds(self) -> None:
        """Only what is asked for; the position moves on all the same."""
        client = await self.started()
        source = await self.source(client, "?cursor=0&kind=delivered&kind=canceled").open()
        await source.seen(1)
        await client.http.send(To=[{"Address": DELIVERED}])
        await source.seen(2)
        self.assertEqual([one.kind for one in source.events], ["delivered", "delivered"])

    async def test_other_accounts_are_not_heard(self) -> None:
        """Each hears what is its own."""
        client = await self.started()
        other = await self.source(
            client.logged_in("other@example.org", "battery staple"), "?cursor=0"
        ).open()
        source = await self.source(client, "?cursor=0").open()
        await source.seen(3)
        self.assertEqual((other.events, other.is_open), ([], True))

    async def test_curl(self) -> None:
        """curl -N prints what comes, as it comes."""
        client = await self.started()
        port = client.http.server.port("http")
        command = ["curl", "-sSN", "--max-time", "60", "-u", f"{USER}:{PASSWORD}"]
        url = f"http://127.0.0.1:{port}{BASE}{STREAM}?cursor=0&kind=delivered"

        def listen() -> list[str]:
            with subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                lines = [process.stdout.readline().rstrip("\n") for _ in range(6)]
                process.kill()
            return lines

        lines: list[str] = await deferToThread(listen)
        self.assertEqual(lines[:3], ["retry: 3000", "id: 0", ""])
        self.assertRegex(lines[3], r"^id: [1-9]\d*$")
        self.assertEqual(lines[4], "event: delivered")
        self.assertTrue(lines[5].startswith('data: {"position":'), lines)

    async def test_thousand_events_and_clients_that_come_and_go(self) -> None:
        """Three clients leave in the middle and come back: each hears each event once, in order."""
        no_limits = HTTPSettings(requests_per_minute=0, requests_per_hour=0)
        client = await self.client(http=no_limits)
        random = Random(7)
        sources = [self.source(client, "?cursor=0") for _ in range(3)]
        visits = [0, 0, 0]

        async def come_and_go(number: int) -> None:
            source = sources[number]
            while len(source.events) < 1010:
                await source.open()
                visits[number] += 1
                await source.seen(min(1010, len(source.events) + random.randint(1, 150)))
                await source.close()

        listening = [Deferred.fromCoroutine(come_and_go(number)) for number in range(3)]
        to = [{"Address": f"joe{number}@example.net"} for number in range(100)]
        for _ in range(10):
            await client.http.send(To=to)
        await gatherResults(listening)
        positions = await self.log(client)
        self.assertEqual(len(positions), 1010)
        for source in sources:
            self.assertEqual([one.position for one in source.events], positions)
        self.assertGreater(min(visits), 5)


class EndTests(StreamCase):
    """What ends a stream, and what keeps it."""

    async def test_key_is_revoked(self) -> None:
        """Who may not log in any more hears no more, and is told so when it comes back."""
        client = await self.started()
        new = {"name": "listener", "scopes": ["read"]}
        made = (await client.ask("POST", "/keys", new)).json
        source = await self.source(client.with_key(made["key"]), "?cursor=0").open()
        await source.seen(3)
        self.assertEqual((await client.ask("DELETE", f"/keys/{made['id']}")).status, 204)
        await client.http.send(To=[{"Address": DELIVERED}])
        self.assertTrue(await source.ended)
        await source.open()
        self.assertEqual(source.status, 401)

    async def test_scope(self) -> None:
        """A key must be for reading."""
        client = await self.client()
        new = {"name": "sender", "scopes": ["send"]}
        made = (await client.ask("POST", "/keys", new)).json
        answered = await client.with_key(made["key"]).ask("GET", STREAM)
        self.assert_problem(answered, 403, "not_allowed")

    async def test_too_many(self) -> None:
        """An account has so many at once; who goes makes room."""
        client = await self.client(http=HTTPSettings(streams_per_account=2))
        first, second, third = (self.source(client) for _ in range(3))
        await first.open()
        await second.open()
        answered = await client.ask("GET", STREAM)
        self.assert_problem(answered, 429, "too_many_requests")
        self.assertEqual(answered.headers["retry-after"], "5")
        self.assertEqual((await client.ask("HEAD", STREAM)).status, 429)
        metric = "mailrelay_event_streams 2.0"
        self.assertIn(metric, (await client.http.ask("GET", "/metrics")).body.decode())
        await first.close()
        await until(the_reactor, lambda: self.open_streams(client) == 1)
        self.assertEqual((await client.ask("HEAD", STREAM)).status, 200)
        self.assertEqual(self.open_streams(client), 1)
        self.assertEqual((await third.open()).status, 200)

    def open_streams(self, client: Client) -> float:
        """What the metric says."""
        registry = client.http.server.server.metrics.registry
        return float(registry.get_sample_value("mailrelay_event_streams") or 0)

    async def test_server_stops(self) -> None:
        """A stop does not wait for who listens; the stream ends whole, by itself or at the bell."""
        self.patch(Bell, "close", lambda bell: None)
        client = await self.started()
        sources = [await self.source(client).open() for _ in range(2)]
        server = client.http.server.server
        await server.stopService()
        self.assertEqual(await gatherResults([s.ended for s in sources]), [True, True])

    async def test_store_is_lost(self) -> None:
        """The client is told when to come back, and goes on where it was."""
        client = await self.started()
        source = await self.source(client, "?cursor=0").open()
        await source.seen(3)
        database = client.http.server.server.stores.database
        readers = database.readers

        class Lost:
            def run(self, work, /, *args, **kwargs):
                failed: Deferred[object] = Deferred()
                failed.errback(StoreUnavailable("gone"))
                return failed

        object.__setattr__(database, "readers", Lost())
        client.http.server.server._bell.ring_all()
        self.assertTrue(await source.ended)
        self.assertIn("the store does not answer", source.reader.comments)
        self.assertEqual(source.reader.retry, 3000)
        object.__setattr__(database, "readers", readers)
        await client.http.send(To=[{"Address": DELIVERED}])
        await source.open()
        heard = await source.seen(6)
        self.assertEqual([one.position for one in heard], await self.log(client))
