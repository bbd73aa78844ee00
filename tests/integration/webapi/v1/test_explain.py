"""``/explain``, asked by an application over HTTP."""

from __future__ import annotations

import base64
import json
from typing import Any

from sqlalchemy import update
from twisted.internet import reactor as the_reactor

from mailrelay.config.transports import RelayHostSection
from mailrelay.control.aliases import AliasDetails
from mailrelay.net.tls import TLSLevel
from mailrelay.storage import tables
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.loopback import USER
from mailrelay.testing.ports import free_port
from tests.integration.webapi.v1.client import Client
from tests.integration.webapi.v1.test_history import DELIVERED, WAITING, HistoryCase
from tests.integration.world import OTHER_PASSWORD, soon

ASKED = f"/explain?from={USER}&to="


class ExplainTests(HistoryCase):
    """One account's mail."""

    async def outward(self, **settings: Any) -> Client:
        """A server that sends to others."""
        return await self.client(localserve=False, resolver=FakeResolver(), **settings)

    async def test_ways(self) -> None:
        """Where it goes, and nothing of how the operator logs in there."""
        host = RelayHostSection(
            "relay.test", 587, TLSLevel.VERIFY, username="sesame", password="open"
        )
        client = await self.outward(relay_host=host)
        for to, way, because, tls in (
            ("a@far.test", "relay_host", "relay_host", "verify"),
            (USER, "mailbox", "mailbox", ""),
        ):
            found = await self.ok(client, ASKED + to)
            [copy] = found["copies"]
            said = (copy["recipient"], copy["way"], copy["because"], copy["tls"])
            self.assertEqual(said, (to, way, because, tls))
            self.assertEqual((found["accepted"], found["code"], found["reply"]), (True, 250, ""))
            self.assertNotIn("sesame", json.dumps(found))
        [copy] = (await self.ok(client, ASKED + "a@far.test"))["copies"]
        self.assertEqual(
            copy["hosts"],
            [
                {
                    "host": "relay.test",
                    "port": 587,
                    "tls": "verify",
                    "implicit_tls": False,
                    "rests": False,
                }
            ],
        )

    async def test_refused(self) -> None:
        """The command that would be refused, with its reply."""
        client = await self.outward()
        for query, expected in (
            ("from=joe@client.test&to=a@far.test", ("MAIL", 550)),
            (f"from={USER}&to=nobody@example.org", ("RCPT", 550)),
            (f"from={USER}&to=a@off.example", ("RCPT", 450)),
        ):
            found = await self.ok(client, f"/explain?{query}")
            self.assertEqual((found["refused_at"], found["code"]), expected, query)
            self.assertEqual((found["accepted"], found["copies"]), (False, []))

    async def test_message(self) -> None:
        """The message itself is judged; it is not sent."""
        client = await self.outward()
        for author, refused in ((USER, ""), ("boss@elsewhere.test", "DATA")):
            raw = base64.b64encode(f"From: {author}\n\nhello\n".encode()).decode()
            body = {"from": USER, "to": "a@far.test", "raw": raw}
            found = await self.ok(client, "/explain", "POST", body)
            self.assertEqual(found["refused_at"], refused)
        self.assertEqual((await self.ok(client, "/messages"))["messages"], [])
        for body, field in (
            ({"to": "a@far.test", "raw": "?"}, "raw"),
            ({"to": "nothing"}, "to"),
            ({"from": "a\nb@c.test", "to": "a@far.test"}, "from"),
        ):
            answered = await client.ask("POST", "/explain", body)
            self.assert_problem(answered, 400, "invalid_field", field)

    async def test_limits(self) -> None:
        """What is left of one's own."""
        client = (await self.outward()).logged_in("full@example.org", "123456789")
        asked = "/explain?from=full@example.org&to=a@far.test"
        limits = (await self.ok(client, asked))["limits"]
        self.assertEqual(
            limits,
            [{"name": "messages_per_day", "most": 2, "used": 0, "left": 2, "counts": True}],
        )

    async def test_list(self) -> None:
        """Who the members of an alias are is not said."""
        client = await self.outward()
        server = client.http.server
        control = server.control()
        self.addCleanup(control.close)
        members = ["other@example.org", "eve@far.test"]
        await control.aliases.add("team@example.org", members, AliasDetails(post_public=True))
        while not server.server.directory.aliases:
            await soon(the_reactor)
        found = await self.ok(client, ASKED + "team@example.org")
        [copy] = found["copies"]
        self.assertEqual((copy["recipient"], copy["is_list"]), ("team@example.org", True))
        self.assertNotIn("eve", json.dumps(found))

    async def test_forwarded(self) -> None:
        """Where another account has its mail sent is not said."""
        client = await self.outward()
        server = client.http.server.server
        known, column = server._known, tables.account.c
        to_eve = update(tables.account).where(column.name == "other")
        with server.stores.database.engine.begin() as connection:
            connection.execute(to_eve.values(forward_to="eve@far.test", forward_confirmed_at=1.0))
        await known.load_directory()
        self.assertTrue(known.directory.forwards)
        found = await self.ok(client, ASKED + "other@example.org")
        [copy] = found["copies"]
        said = (copy["recipient"], copy["is_list"], copy["way"])
        self.assertEqual(said, ("other@example.org", False, "mailbox"))
        self.assertNotIn("eve", json.dumps(found))

    async def test_destination(self) -> None:
        """A host that does not answer, as the running server sees it."""
        host = RelayHostSection("127.0.0.1", free_port())
        client = await self.outward(relay_host=host)
        letter = {"from": {"address": USER}, "to": [{"address": "a@far.test"}], "text": "hi"}
        self.assertEqual((await client.ask("POST", "/messages", letter)).status, 202)
        await self.kinds(client, {"delayed"})
        [copy] = (await self.ok(client, ASKED + "a@far.test"))["copies"]
        self.assertEqual(copy["failures"], 1)

    async def test_past(self) -> None:
        """What was decided: attempts and why, and of nobody else's message."""
        client = await self.started()
        for recipient, kind, because in (
            (DELIVERED, "delivered", "mailbox"),
            (WAITING, "delayed", "simulated"),
        ):
            [message] = (await self.ok(client, f"/messages?recipient={recipient}"))["messages"]
            path = f"/messages/{message['id']}/explain"
            found = await self.ok(client, path)
            self.assertEqual((found["id"], found["came_by"]), (message["id"], "webapi"))
            [one] = found["recipients"]
            [attempt] = one["attempts"]
            self.assertEqual(
                (one["recipient"], attempt["kind"], attempt["because"]), (recipient, kind, because)
            )
            other = client.logged_in("other@example.org", OTHER_PASSWORD)
            self.assert_problem(await other.ask("GET", path), 404, "not_found")

    async def test_scope(self) -> None:
        """A key must be for reading."""
        client = await self.outward()
        made = await client.ask("POST", "/keys", {"name": "sends", "scopes": ["send"]})
        key = client.with_key(made.json["key"])
        answered = await key.ask("GET", ASKED + "a@far.test")
        self.assertEqual(answered.status, 403, answered)
