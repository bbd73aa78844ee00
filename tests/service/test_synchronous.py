"""A server with an application that answers while the sender waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.handoff.settings import HandOffSettings
from mailrelay.queue.store import StoreUnavailable
from mailrelay.testing.loopback import RawClient
from tests.cli.operated import Operated, soon
from tests.handoff.endpoint import OK, HTTPEndpoint, status

MESSAGE = b"From: joe@client.test\r\nSubject: hello\r\n\r\nhi"
LARGE = MESSAGE + b"\r\n" + b"a line of some length, and many of them\r\n" * 4000


class SynchronousTests(TestCase):
    """On loopback."""

    timeout = 60

    async def start(self, *answers: Any, **given: Any) -> None:
        """A server whose ``app.test`` answers at once; ``slow@`` there is of a queue."""
        self.endpoint = HTTPEndpoint(*answers)
        self.addCleanup(self.endpoint.close)
        shared: dict[str, Any] = {"url": self.endpoint.url(), "allowed_networks": ["127.0.0.0/8"]}
        section: dict[str, Any] = {
            "domains": ["app.test"],
            "synchronous": True,
            "permanent_statuses": [422],
            **given,
        }
        queued = HandOffSettings("queued", addresses=["slow@app.test"], **shared)
        at_once = HandOffSettings("app", **shared, **section)
        self.operated = await Operated.start(self, reactor, handoff=[at_once, queued])

    async def session(self, *recipients: str) -> tuple[RawClient, list[bytes]]:
        """A session after RCPT, and the codes that were answered to that."""
        client = await self.operated.server.connect("mx")
        await client.reply()
        for line in (b"EHLO client.test", b"MAIL FROM:<joe@client.test>"):
            await client.ask(line)
        asked = [await client.ask(f"RCPT TO:<{one}>".encode()) for one in recipients]
        return client, [reply[:9] for reply in asked]

    async def send(
        self, recipient: str = "bob@app.test", message: bytes = MESSAGE, parameters: str = ""
    ) -> bytes:
        """What is answered to the end of the message."""
        client, _ = await self.session()
        await client.ask(f"RCPT TO:<{recipient}>{parameters}".encode())
        await client.ask(b"DATA")
        reply = await client.ask(message + b"\r\n.")
        self.assertEqual((await client.ask(b"NOOP"))[:3], b"250")
        return reply

    def entries(self) -> Sequence[Any]:
        """What is in the queue and was."""
        return [
            *self.operated.json("queue", "list"),
            *self.operated.json("retired", "list"),
        ]

    async def test_taken(self) -> None:
        """250 when the application took it; the history has the message and its delivery."""
        await self.start(OK)
        reply = await self.send()
        self.assertTrue(reply.startswith(b"250 2.0.0 delivered as "), reply)
        [entry] = self.entries()
        self.assertEqual(entry["state"], "delivered")
        shown = self.operated.json("queue", "show", str(entry["id"]))
        kinds = [event["event"] for event in shown["events"]]
        self.assertEqual(kinds, ["accepted", "delivered"])
        [request] = self.endpoint.requests
        self.assertIn(MESSAGE, request.body)
        self.assertEqual(request.one(b"X-Mailrelay-Rcpt-To"), b"bob@app.test")
        self.assertEqual(int(request.one(b"X-Mailrelay-Id")), shown["message"])

    async def test_answers(self) -> None:
        """The application's answer is the reply; of what it did not take nothing is kept."""
        told = (status(422, b"no such ticket"), status(503), status(401), status(302))
        await self.start(*told)
        for start in (b"550 5.3.0", b"451 4.3.0", b"451 4.7.8", b"451 4.3.0"):
            reply = await self.send()
            self.assertTrue(reply.startswith(start), reply)
            if start == b"550 5.3.0":
                self.assertIn(b"no such ticket", reply)
        self.assertEqual(self.entries(), [])
        self.assertEqual(len(self.endpoint.requests), 4)

    async def test_no_answer(self) -> None:
        """An application that is not there, or too slow, is 451."""
        await self.start(timeout=1.0)
        self.endpoint.answer_with(self.endpoint.silence)
        self.assertTrue((await self.send()).startswith(b"451 4.4.2"))
        self.endpoint.close()
        self.assertTrue((await self.send()).startswith(b"451 4.4.2"))
        self.assertEqual(self.entries(), [])

    async def test_one_at_a_time(self) -> None:
        """Each recipient of such an application has a transaction of its own."""
        await self.start(OK)
        ok, later = b"250 2.1.5", b"452 4.5.3"
        for recipients, expected in (
            (["bob@app.test", "ann@app.test"], [ok, later]),
            (["bob@app.test", "user@example.org"], [ok, later]),
            (["user@example.org", "bob@app.test", "slow@app.test"], [ok, later, ok]),
            (["bob@app.test", "nobody@example.org"], [ok, b"550 5.1.1"]),
        ):
            _, codes = await self.session(*recipients)
            self.assertEqual(codes, expected, recipients)

    async def test_same_key_again(self) -> None:
        """Who sends it again has the same key; another message, or sender, has another."""
        await self.start(status(503), OK, OK, OK, OK)
        for message in (LARGE, LARGE, LARGE + b"x", MESSAGE):
            await self.send(message=message)
        await self.send("ann@app.test")
        keys = [request.one(b"Idempotency-Key") for request in self.endpoint.requests]
        self.assertEqual(keys[0], keys[1])
        self.assertEqual(len(set(keys)), 4)
        self.assertTrue(self.endpoint.requests[0].body.endswith(LARGE + b"\r\n"))
        spool = self.operated.server.settings.data_dir / "spool"
        while list(spool.iterdir()):  # nothing is left of the large ones
            await soon(reactor)

    async def test_store_fails(self) -> None:
        """What the application took and cannot be recorded is 452: the sender tries again."""
        await self.start(OK)
        store = self.operated.server.server.stores.queue
        works = store.add_finished

        def fails(*args: object) -> Any:
            raise StoreUnavailable

        self.patch(type(store), "add_finished", fails)
        self.assertTrue((await self.send()).startswith(b"452 4.3.1"))
        self.assertEqual(self.entries(), [])
        self.patch(type(store), "add_finished", lambda self, *args: works(*args))
        self.assertTrue((await self.send()).startswith(b"250"))
        first, again = (one.one(b"Idempotency-Key") for one in self.endpoint.requests)
        self.assertEqual(first, again)
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    async def test_full(self) -> None:
        """It is asked for as many at once as it takes."""
        await self.start(concurrency=1, timeout=5.0)
        self.endpoint.answer_with(self.endpoint.silence)
        client, _ = await self.session("bob@app.test")
        await client.ask(b"DATA")
        waiting = client.ask(MESSAGE + b"\r\n.")
        first = Deferred.fromCoroutine(waiting)
        while not self.endpoint.requests:
            await soon(reactor)
        self.assertTrue((await self.send()).startswith(b"451 4.3.2"))
        self.endpoint.close()
        self.assertTrue((await first).startswith(b"451 4.4.2"))

    async def test_success_is_reported(self) -> None:
        """NOTIFY=SUCCESS has its DSN."""
        await self.start(OK)
        await self.send(parameters=" NOTIFY=SUCCESS")
        while len(rows := self.entries()) < 2:
            await soon(reactor)
        self.assertEqual({row["recipient"] for row in rows}, {"bob@app.test", "joe@client.test"})

    async def test_held(self) -> None:
        """What a hold rule keeps is queued, and posted when it is released."""
        await self.start(OK)
        self.operated.run("holdrule", "add", "--recipient", "app.test")
        await self.server_has_rule()
        self.assertTrue((await self.send()).startswith(b"250 2.0.0 queued as "))
        self.assertEqual(self.endpoint.requests, [])
        [row] = self.operated.json("queue", "list")
        self.operated.run("queue", "release", str(row["id"]))
        while not self.endpoint.requests:
            await soon(reactor)

    async def server_has_rule(self) -> None:
        """Once the server has read the rule."""
        while not self.operated.server.server._known.hold_rules:
            await soon(reactor)

    async def test_through_an_alias(self) -> None:
        """What comes by an alias is queued, as for its other members."""
        await self.start(OK)
        self.operated.run("alias", "add", "desk@example.org", "bob@app.test", "--post-public")
        while not self.operated.server.server.directory.aliases:
            await soon(reactor)
        reply = await self.send("desk@example.org")
        self.assertTrue(reply.startswith(b"250 2.0.0 queued as "), reply)
        while not self.endpoint.requests:
            await soon(reactor)

    async def test_submission(self) -> None:
        """An account is answered in the same way; its events are the same as ever."""
        await self.start(OK)
        await self.operated.submit("bob@app.test")
        [entry] = self.entries()
        self.assertEqual((entry["account"], entry["state"]), ("user", "delivered"))
