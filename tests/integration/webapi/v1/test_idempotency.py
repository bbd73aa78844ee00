"""Requests that come again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults

from mailrelay.control.queue import EntryFilter
from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage import keeping
from mailrelay.storage.idempotency import find_answer
from mailrelay.storage.keeping import DatabaseAnswers
from mailrelay.testing.loopback import USER
from tests.integration.webapi.api import Answered
from tests.integration.webapi.v1.client import Client
from tests.integration.webapi.v1.test_mailbox import MailboxCase
from tests.integration.world import OTHER_PASSWORD

LETTER: dict[str, object] = {
    "from": {"address": USER},
    "to": [{"address": "x-temperror@example.net"}],
    "text": "hi",
}
KEY = {"Idempotency-Key": "order-7"}


class IdempotencyTests(MailboxCase):
    """Idempotency-Key."""

    async def send(self, client: Client, **fields: object) -> Answered:
        """A message, each time with the same key."""
        return await client.ask("POST", "/messages", {**LETTER, **fields}, KEY)

    async def queued(self, client: Client) -> int:
        """How many entries there are."""
        return len(await self.control(client.http).queue.find(EntryFilter()))

    async def test_again(self) -> None:
        """A repetition is answered the same, says so, and sends nothing."""
        client = await self.client()
        first, again = await self.send(client), await self.send(client)
        self.assertEqual((first.status, again.status), (202, 202))
        self.assertEqual(first.body, again.body)
        self.assertNotIn("idempotency-replayed", first.headers)
        self.assertEqual(again.headers["idempotency-replayed"], "true")
        self.assertEqual(await self.queued(client), 1)

    async def test_other_request(self) -> None:
        """The key of another body, or another path, is refused; another key is not."""
        client = await self.client()
        await self.send(client)
        self.assert_problem(await self.send(client, text="ho"), 422, "idempotency_key_used")
        key = {"name": "app", "scopes": ["send"]}
        answered = await client.ask("POST", "/keys", key, KEY)
        self.assert_problem(answered, 422, "idempotency_key_used")
        other = await client.ask("POST", "/messages", LETTER, {"Idempotency-Key": "order-8"})
        self.assertEqual(other.status, 202)

    async def test_in_flight(self) -> None:
        """While the first is under way the others are told to come again; one message is sent."""
        client = await self.client()
        sends = [Deferred.fromCoroutine(self.send(client)) for _ in range(8)]
        answers: list[Any] = await gatherResults(sends)
        self.assertLessEqual({one.status for one in answers}, {202, 409})
        self.assertEqual(len({one.body for one in answers if one.status == 202}), 1)
        for one in answers:
            if one.status == 409:
                self.assert_problem(one, 409, "request_in_flight")
                self.assertEqual(one.headers["retry-after"], "1")
        self.assertEqual(await self.queued(client), 1)

    async def test_what_failed_may_be_tried_again(self) -> None:
        """A refusal is not kept."""
        client = await self.client()
        self.assertEqual((await self.send(client, to=[])).status, 400)
        self.assertEqual((await self.send(client)).status, 202)

    async def test_accounts(self) -> None:
        """A key is an account's own."""
        client = await self.client()
        await self.send(client)
        other = client.logged_in("other@example.org", OTHER_PASSWORD)
        answered = await self.send(other, **{"from": {"address": "other@example.org"}})
        self.assertEqual(answered.status, 202)
        self.assertNotIn("idempotency-replayed", answered.headers)

    async def test_with_the_message(self) -> None:
        """The answer is stored by the acceptance itself, and swept when its day is over."""
        client = await self.client()
        answered = await self.send(client)
        database = client.http.server.server.stores.database
        now = client.http.server.server._s.now()
        kept = await database.read(lambda c: find_answer(c, 1, "order-7", now))
        assert kept is not None
        self.assertEqual(kept.answer, answered.body)
        self.assertLess(abs(kept.expires_at - now - 86400), 60)
        gone = await database.read(lambda c: find_answer(c, 1, "order-7", now + 90000))
        self.assertIsNone(gone)

    async def test_keys_are_not_stored(self) -> None:
        """The repetition of a request for a key tells which it was, and not what it is."""
        client = await self.client()
        wanted = {"name": "app", "scopes": ["send"]}
        first = (await client.ask("POST", "/keys", wanted, KEY)).json
        again = (await client.ask("POST", "/keys", wanted, KEY)).json
        self.assertEqual(again, {**first, "key": ""})
        self.assertEqual(len((await client.ask("GET", "/keys")).json["keys"]), 1)
        removed = await client.ask("DELETE", f"/keys/{first['id']}", None, {"Idempotency-Key": "d"})
        once_more = await client.ask(
            "DELETE", f"/keys/{first['id']}", None, {"Idempotency-Key": "d"}
        )
        self.assertEqual((removed.status, once_more.status), (204, 204))

    async def writes(self, client: Client) -> Sequence[tuple[str, str, object]]:
        """Operations that keep their answer with what they do; each has its effect only once."""
        sent = (await self.send(client)).json
        entry = f"/entries/{sent['entries'][0]['id']}"
        template = {"name": "a", "text": "x"}
        made = (await client.ask("POST", "/templates", template)).json
        key = {"name": "app", "scopes": ["send"]}
        gone = (await client.ask("POST", "/keys", key)).json
        webhook = {"name": "a", "url": "https://a.example/hook"}
        hook = f"/webhooks/{(await client.ask('POST', '/webhooks', webhook)).json['id']}"
        await self.receive(client, b"Subject: hi\r\n\r\nhi")
        mail = f"/mailbox/messages/{(await self.listed(client, 1))[0]['id']}"
        later = {"at": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
        return [
            ("POST", "/keys", key),
            ("DELETE", f"/keys/{gone['id']}", None),
            ("POST", "/templates", {**template, "name": "b"}),
            ("PUT", f"/templates/{made['id']}", {**template, "text": "y"}),
            ("DELETE", f"/templates/{made['id']}", None),
            ("POST", "/suppressions", {"address": "x@example.net"}),
            ("POST", "/suppressions/remove", {"address": "x@example.net"}),
            ("POST", "/webhooks", {**webhook, "name": "b"}),
            ("PATCH", hook, {"name": "c"}),
            ("POST", f"{hook}/rotate", {}),
            ("POST", f"{hook}/enable", None),
            ("POST", f"{hook}/test", {}),
            ("DELETE", hook, None),
            ("POST", f"{mail}/flags", {"add": ["$a"]}),
            ("POST", f"{mail}/move", {"mailbox": "Trash"}),
            ("DELETE", mail, None),
            ("POST", f"{entry}/hold", None),
            ("POST", f"{entry}/release", None),
            ("POST", f"{entry}/retry", None),
            ("POST", f"{entry}/reschedule", later),
            ("POST", f"{entry}/cancel", None),
        ]

    async def test_kept_with_what_was_done(self) -> None:
        """No second transaction is needed: what it would have kept is there without it."""
        client = await self.client()
        writes = await self.writes(client)

        def not_kept(answers: object, answer: object) -> Deferred[None]:
            return fail(StoreUnavailable("the process ended here"))

        self.patch(DatabaseAnswers, "keep", not_kept)
        for number, (method, path, body) in enumerate(writes):
            key = {"Idempotency-Key": f"once-{number}"}
            first = await client.ask(method, path, body, key)
            self.assertIn(first.status, (200, 201, 204), (path, first))
            again = await client.ask(method, path, body, key)
            self.assertEqual(again.headers.get("idempotency-replayed"), "true", (path, again))
            expected = first.body
            expected = re.sub(rb'"(key|secret)":"[^"]*"', rb'"\1":""', expected)  # told once
            self.assertEqual((again.status, again.body), (first.status, expected), path)

    async def test_fault_between(self) -> None:
        """Where the answer cannot be kept nothing was done; the same request does it later."""
        client = await self.client()
        writes = await self.writes(client)

        def broken(*given: object) -> None:
            raise StoreUnavailable("the disk is full")

        for number, (method, path, body) in enumerate(writes):
            key = {"Idempotency-Key": f"once-{number}"}
            patched = self.patch(keeping, "keep_answer", broken)
            failed = await client.ask(method, path, body, key)
            patched.restore()
            self.assert_problem(failed, 503, "store_unavailable")
            done = await client.ask(method, path, body, key)
            self.assertIn(done.status, (200, 201, 204), (path, done))
            self.assertNotIn("idempotency-replayed", done.headers)

    async def test_malformed(self) -> None:
        """A key is of printable characters, and not long."""
        client = await self.client()
        for key in ("", "a b", "x" * 256):
            answered = await client.ask("POST", "/messages", LETTER, {"Idempotency-Key": key})
            self.assert_problem(answered, 400, "invalid_field", "Idempotency-Key")
