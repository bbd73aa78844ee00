"""Messages, timelines, events and entries, asked by an application over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, gatherResults

from tests.integration.webapi.v1.client import Client, ClientCase
from tests.integration.world import soon

DELIVERED = "joe@example.net"
WAITING = "x-temperror@example.net"


class HistoryCase(ClientCase):
    """A server with one message delivered and one that waits for its retry."""

    async def started(self) -> Client:
        """Start it."""
        client = await self.client()
        for recipient in (DELIVERED, WAITING):
            await client.http.send(
                To=[{"Address": recipient}], Subject=recipient, Extra={"user": recipient}
            )
        await self.kinds(client, {"delivered", "delayed"})
        return client

    async def kinds(self, client: Client, wanted: set[str]) -> list[dict[str, Any]]:
        """All events, once those ``wanted`` are among them."""
        while True:
            events: list[dict[str, Any]] = (await self.ok(client, "/events"))["events"]
            if wanted <= {event["kind"] for event in events}:
                return events
            await soon(the_reactor)

    async def ok(self, client: Client, path: str, method: str = "GET", body: object = None) -> Any:
        """The answer of a request that must succeed."""
        answered = await client.ask(method, path, body)
        self.assertEqual(answered.status, 200, answered)
        return answered.json


class MessageTests(HistoryCase):
    """``/messages``."""

    async def test_list(self) -> None:
        """Newest first, page by page, by state, recipient and extra."""
        client = await self.started()
        page = await self.ok(client, "/messages?limit=1")
        [newest] = page["messages"]
        self.assertEqual((newest["subject"], newest["came_by"]), (WAITING, "webapi"))
        self.assertEqual(newest["extra"], [{"name": "user", "value": WAITING}])
        [entry] = newest["entries"]
        self.assertEqual((entry["state"], entry["attempts"]), ("waiting", 1))
        rest = await self.ok(client, f"/messages?cursor={page['next_cursor']}")
        self.assertEqual([one["subject"] for one in rest["messages"]], [DELIVERED])
        self.assertIsNone(rest["next_cursor"])
        for query in ("state=delivered", f"recipient={DELIVERED}", f"extra=user={DELIVERED}"):
            found = await self.ok(client, f"/messages?{query}")
            self.assertEqual([one["subject"] for one in found["messages"]], [DELIVERED], query)

    async def test_timeline(self) -> None:
        """One message, everything that happened to it, and nothing of anybody else's."""
        client = await self.started()
        [message] = (await self.ok(client, "/messages?state=delivered"))["messages"]
        path = f"/messages/{message['id']}"
        self.assertEqual(await self.ok(client, path), message)
        found = await self.ok(client, f"{path}/timeline")
        self.assertEqual([e["kind"] for e in found["events"]], ["accepted", "delivered"])
        self.assertEqual((found["events"][1]["code"], found["calls"]), (250, []))
        for missing in ("/messages/1", "/messages/1/timeline", "/entries/1", "/messages/x"):
            self.assert_problem(await client.ask("GET", missing), 404, "not_found")

    async def test_bad_queries(self) -> None:
        """What cannot be meant is refused by the name of its field."""
        client = await self.client()
        for query, field in (
            ("limit=0", "limit"),
            ("cursor=x", "cursor"),
            ("state=lost", "state"),
            ("since=yesterday", "since"),
            ("extra=user", "extra"),
            ("tag=,", "tag"),
            ("unknown=1", "unknown"),
        ):
            answered = await client.ask("GET", f"/messages?{query}")
            self.assert_problem(answered, 400, "invalid_field", field)


class EventTests(HistoryCase):
    """``/events``."""

    async def test_cursor(self) -> None:
        """Each event once, in order; only the kinds that are asked for."""
        client = await self.started()
        everything = await self.kinds(client, {"delivered"})
        seen, cursor = [], 0
        while page := (await self.ok(client, f"/events?limit=2&cursor={cursor}"))["events"]:
            seen += page
            cursor = page[-1]["position"]
        self.assertEqual(seen, everything)
        some = await self.ok(client, "/events?kind=delivered&kind=delayed")
        self.assertEqual({one["kind"] for one in some["events"]}, {"delivered", "delayed"})
        for path in ("/events?kind=bounced", "/events/stream?kind=delivered&kind=bounced"):
            place = f"kind[{path.count('kind=') - 1}]"
            self.assert_problem(await client.ask("GET", path), 400, "invalid_field", place)

    async def test_long_poll(self) -> None:
        """Who waits is answered when there is something; who has waited enough, without."""
        client = await self.started()
        cursor = (await self.ok(client, "/events?limit=100"))["next_cursor"]
        none = await self.ok(client, f"/events?cursor={cursor}&wait=1")
        self.assertEqual(none, {"events": [], "next_cursor": cursor})
        waiting = Deferred.fromCoroutine(self.ok(client, f"/events?cursor={cursor}&wait=60"))
        sending = Deferred.fromCoroutine(client.http.send(To=[{"Address": DELIVERED}]))
        found, _ = await gatherResults([waiting, sending])
        self.assertEqual(found["events"][0]["kind"], "accepted")


class EntryTests(HistoryCase):
    """``/entries``."""

    async def test_life(self) -> None:
        """Hold, release, another time, cancel; then it is over."""
        client = await self.started()
        [message] = (await self.ok(client, f"/messages?recipient={WAITING}"))["messages"]
        path = f"/entries/{message['entries'][0]['id']}"
        held = await self.ok(client, f"{path}/hold", "POST")
        self.assertEqual(held["state"], "held")
        self.assert_problem(await client.ask("POST", f"{path}/hold"), 409, "wrong_state")
        self.assertEqual((await self.ok(client, f"{path}/release", "POST"))["state"], "waiting")
        at = "2030-01-02T03:04:05Z"
        far = await client.ask("POST", f"{path}/reschedule", {"at": at})
        self.assert_problem(far, 400, "invalid_field", "at")
        await self.ok(client, f"{path}/hold", "POST")
        self.assertEqual((await self.ok(client, f"{path}/cancel", "POST"))["state"], "canceled")
        for change in ("hold", "release", "retry", "cancel"):
            answered = await client.ask("POST", f"{path}/{change}")
            self.assert_problem(answered, 409, "wrong_state")
        self.assertEqual((await self.ok(client, path))["state"], "canceled")

    async def test_reschedule(self) -> None:
        """The next attempt is at the time that was asked for."""
        client = await self.started()
        [message] = (await self.ok(client, f"/messages?recipient={WAITING}"))["messages"]
        path = f"/entries/{message['entries'][0]['id']}"
        due = datetime.fromisoformat(message["entries"][0]["next_attempt_at"])
        later = due + timedelta(hours=1)
        body = {"at": later.isoformat()}
        moved = await self.ok(client, f"{path}/reschedule", "POST", body)
        self.assertEqual(datetime.fromisoformat(moved["next_attempt_at"]), later)
        body = {"at": "0001-01-01T00:00:00+10:00"}  # in UTC before there were years
        await self.ok(client, f"{path}/reschedule", "POST", body)
