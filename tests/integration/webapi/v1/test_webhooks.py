"""Standard endpoints by a whole server: made, called, verified as a receiver does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from mailrelay.testing.loopback import USER
from mailrelay.webhooks.call import INCOMING_EVENT
from mailrelay.webhooks.endpoint import EVENTS
from tests.integration.application import LOCAL_CALLS
from tests.integration.receiver import Received, Receiver, status
from tests.integration.webapi.v1.client import Client, ClientCase
from tests.integration.world import OTHER_PASSWORD

HOOK = "/hook"
OUTCOMES = [event for event in EVENTS if event != INCOMING_EVENT]


def verified(secret: str, received: Received, tolerance: float = 300.0) -> Any:
    """What a call says, as a receiver believes it: the scheme's algorithm, written again."""
    headers = {name.lower(): value for name, value in received.headers.items()}
    id_, at = headers["webhook-id"], headers["webhook-timestamp"]
    assert abs(time.time() - int(at)) < tolerance, at
    key = base64.b64decode(secret.split("_", 1)[1])
    mac = hmac.new(key, f"{id_}.{at}.".encode() + received.body, hashlib.sha256)
    expected = base64.b64encode(mac.digest()).decode()
    given = [one.split(",", 1) for one in headers["webhook-signature"].split(" ")]
    assert ["v1", expected] in given, (given, expected)
    return received.json


@frozen
class Hooked:
    """A server, its client, and a receiver."""

    client: Client
    receiver: Receiver

    async def made(self, path: str = HOOK, **wanted: object) -> Any:
        """An endpoint that the user made, for what becomes of messages unless it is told."""
        body = {"name": "app", "url": self.receiver.url(path), "events": OUTCOMES, **wanted}
        answered = await self.client.ask("POST", "/webhooks", body)
        assert answered.status == 201, answered
        return answered.json

    async def send(self, to: str = "joe@example.net", **more: object) -> Any:
        """Send a message."""
        body = {"from": {"address": USER}, "to": [{"address": to}], "text": "Hello", **more}
        answered = await self.client.ask("POST", "/messages", body)
        assert answered.status == 202, answered
        return answered.json


class HookedCase(ClientCase):
    """A test with a receiver."""

    async def hooked(self, **settings: Any) -> Hooked:
        """Start a server that may call it."""
        client = await self.client(webhooks=LOCAL_CALLS, **settings)
        receiver = Receiver()
        self.addCleanup(receiver.close)
        return Hooked(client, receiver)

    async def told(self, hooked: Hooked, count: int = 1, path: str = HOOK) -> Sequence[Received]:
        """The first ``count`` calls at a path, once they came; there must not be more."""
        await self.until(lambda: len(hooked.receiver.at(path)) >= count)
        found = hooked.receiver.at(path)
        self.assertEqual(len(found), count, found)
        return found

    async def delivered(self, hooked: Hooked, count: int) -> None:
        """Wait until so many messages are."""
        delivered: list[Any] = []
        while len(delivered) < count:
            answered = await hooked.client.ask("GET", "/messages?state=delivered")
            delivered = answered.json["messages"]


class EndpointTests(HookedCase):
    """``/webhooks``."""

    async def test_delivered(self) -> None:
        """A delivered message is told of, signed, with all that is known of it."""
        hooked = await self.hooked()
        made = await hooked.made()
        self.assertRegex(made["secret"], r"^whsec_[A-Za-z0-9+/]{43}=$")
        sent = await hooked.send(subject="hi", extra=[{"name": "user", "value": "456"}])
        [call] = await self.told(hooked)
        said = verified(made["secret"], call)
        self.assertEqual(call.headers["Content-Type"], "application/json; charset=utf-8")
        self.assertRegex(call.headers["Webhook-Id"], r"^call_[0-9]+$")
        self.assertEqual(
            (said["type"], list(said)), ("message.delivered", ["type", "timestamp", "data"])
        )
        event, message, entry = (said["data"][name] for name in ("event", "message", "entry"))
        self.assertEqual((event["kind"], event["at"]), ("delivered", said["timestamp"]))
        self.assertEqual(
            message,
            {
                "id": sent["id"],
                "message_id": sent["message_id"],
                "subject": "hi",
                "sender": USER,
                "tags": [],
                "extra": [{"name": "user", "value": "456"}],
            },
        )
        [tried] = entry.pop("attempts")
        self.assertEqual((tried["result"], tried["at"]), ("delivered", event["at"]))
        [own] = sent["entries"]
        self.assertEqual(
            entry,
            {"id": own["id"], "recipient": own["recipient"], "from_id": "", "state": "delivered"},
        )

    async def test_life(self) -> None:
        """An endpoint is listed without its secret, changed, and removed."""
        hooked = await self.hooked()
        ask = hooked.client.ask
        made = await hooked.made(events=["failed", "delivered"], tags=["a"], most_together=10)
        secret = made.pop("secret")
        self.assertEqual((made["events"], made["most_at_once"]), (["delivered", "failed"], 50))
        listed = await ask("GET", "/webhooks")
        self.assertEqual(listed.json, {"webhooks": [made]})
        path = f"/webhooks/{made['id']}"
        self.assertEqual((await ask("GET", path)).json, made)
        told = (await ask("GET", f"{path}/secrets")).json
        self.assertEqual(told, {"secrets": [{"secret": secret, "signs_until": None}]})
        changed = await ask("PATCH", path, {"name": "other", "events": []})
        self.assertEqual(changed.json, {**made, "name": "other", "events": []})
        self.assertEqual((await ask("DELETE", path)).status, 204)
        self.assert_problem(await ask("GET", path), 404, "not_found")
        again = await hooked.made()
        self.assertNotEqual(again["id"], made["id"])

    async def test_secret_is_told_once(self) -> None:
        """A repeated request has the endpoint that was made, and not its secret."""
        hooked = await self.hooked()
        body, key = {"name": "app", "url": hooked.receiver.url(HOOK)}, {"Idempotency-Key": "k"}
        first = await hooked.client.ask("POST", "/webhooks", body, key)
        again = await hooked.client.ask("POST", "/webhooks", body, key)
        self.assertEqual(again.json, {**first.json, "secret": ""})

    async def test_other_account(self) -> None:
        """Another account's endpoints are not there."""
        hooked = await self.hooked()
        path = f"/webhooks/{(await hooked.made())['id']}"
        other = hooked.client.logged_in("other@example.org", OTHER_PASSWORD)
        self.assertEqual((await other.ask("GET", "/webhooks")).json, {"webhooks": []})
        for method, more, body in (
            ("GET", "", None),
            ("GET", "/secrets", None),
            ("PATCH", "", {"name": "x"}),
            ("POST", "/rotate", {}),
            ("POST", "/enable", None),
            ("DELETE", "", None),
        ):
            answered = await other.ask(method, path + more, body)
            self.assert_problem(answered, 404, "not_found")
        self.assertEqual((await hooked.client.ask("GET", path)).json["name"], "app")

    async def test_mistakes(self) -> None:
        """Each mistake names its field."""
        hooked = await self.hooked()
        good = {"name": "app", "url": "https://app.example/"}
        for changes, field in (
            ({"name": ""}, "name"),
            ({"name": "a\nb"}, "name"),
            ({"url": "ftp://app.example/"}, "url"),
            ({"url": "https://app.example/\r\nx"}, "url"),
            ({"url": "x" * 2001}, "url"),
            ({"events": ["sent"]}, "events[0]"),
            ({"tags": ["a\x00"]}, "tags[0]"),
            ({"most_at_once": 0}, "most_at_once"),
            ({"most_together": 101}, "most_together"),
            ({"other": 1}, "other"),
        ):
            answered = await hooked.client.ask("POST", "/webhooks", {**good, **changes})
            self.assert_problem(answered, 400, "invalid_field", field)

    async def test_rotation(self) -> None:
        """The secret before goes on signing for as long as is asked."""
        hooked = await self.hooked()
        made = await hooked.made()
        path = f"/webhooks/{made['id']}/rotate"
        new = (await hooked.client.ask("POST", path, {})).json["secret"]
        self.assertNotEqual(new, made["secret"])
        await hooked.send()
        [call] = await self.told(hooked)
        for secret in (made["secret"], new):
            verified(secret, call)
        newest = (await hooked.client.ask("POST", path, {"kept_for": 0})).json["secret"]
        await hooked.send()
        [_, call] = await self.told(hooked, 2)
        verified(newest, call)
        self.assertEqual(call.headers["Webhook-Signature"].count("v1,"), 1)

    async def test_filters(self) -> None:
        """An endpoint hears of the events that it asked for, and no other."""
        hooked = await self.hooked()
        await hooked.made("/failed", events=["failed"])
        await hooked.made("/all")
        await hooked.send("x550@example.net")
        await hooked.send("joe@example.net")
        told = await self.told(hooked, 2, "/all")
        self.assertEqual(
            sorted(one.json["type"] for one in told), ["message.delivered", "message.failed"]
        )
        [failed] = await self.told(hooked, 1, "/failed")
        event = failed.json["data"]["event"]
        self.assertEqual((event["code"], event["suppressing"]), (550, True))

    async def test_gone(self) -> None:
        """410 disables an endpoint, until it is enabled."""
        hooked = await self.hooked()
        made = await hooked.made()
        path = f"/webhooks/{made['id']}"
        hooked.receiver.answers[HOOK] = status(410)
        await hooked.send()
        await self.told(hooked)
        known = hooked.client.http.server.server
        await self.until(lambda: known._known.endpoints[made["id"]].disabled_at is not None)
        told = (await hooked.client.ask("GET", path)).json
        self.assertEqual(told["disabled_because"], "it answered 410")
        self.assertIsNotNone(told["disabled_at"])
        await hooked.send()
        await self.delivered(hooked, 2)
        hooked.receiver.answers[HOOK] = status(204)
        enabled = (await hooked.client.ask("POST", f"{path}/enable")).json
        self.assertEqual((enabled["disabled_at"], enabled["disabled_because"]), (None, ""))
        await hooked.send(subject="after")
        [_, call] = await self.told(hooked, 2)
        self.assertEqual(call.json["data"]["message"]["subject"], "after")

    async def test_calls(self) -> None:
        """Calls are listed with what became of them, shown with attempts, and made again."""
        hooked = await self.hooked()
        ask = hooked.client.ask
        made = await hooked.made()
        hooked.receiver.answers[HOOK] = status(500, b"oops")
        tested = await ask("POST", f"/webhooks/{made['id']}/test", {"event": "failed"})
        self.assertEqual((tested.status, tested.json["state"]), (201, "waiting"))
        [call] = await self.told(hooked)
        self.assertEqual(verified(made["secret"], call)["type"], "message.failed")
        self.assertEqual(call.headers["Webhook-Id"], f"call_{tested.json['id']}")
        path = f"/calls/{tested.json['id']}"
        found = await ask("GET", path)
        while not found.json["attempts"]:
            found = await ask("GET", path)
        [attempt] = found.json["attempts"]
        self.assertEqual((attempt["code"], attempt["response"]), (500, "oops"))
        self.assertEqual(found.json["payload"].encode(), call.body)
        self.assert_problem(await ask("POST", f"{path}/replay"), 409, "conflict")
        waiting = (await ask("GET", f"/calls?state=waiting&endpoint={made['id']}")).json
        self.assertEqual([one["id"] for one in waiting["calls"]], [tested.json["id"]])
        self.assertEqual((await ask("GET", "/calls?state=taken")).json["calls"], [])
        retried = await ask("POST", f"{path}/retry")
        self.assertEqual((retried.status, retried.json["state"]), (200, "waiting"))
        await self.told(hooked, 2)
        key = {"Idempotency-Key": "cancel"}
        for _ in range(2):
            canceled = await ask("POST", f"{path}/cancel", None, key)
            self.assertEqual((canceled.status, canceled.json["state"]), (200, "canceled"))
        for change in ("retry", "cancel"):
            self.assert_problem(await ask("POST", f"{path}/{change}"), 409, "conflict")

    async def test_without_a_body(self) -> None:
        """Where every field may be left out, so may the body; elsewhere what is missing is told."""
        hooked = await self.hooked()
        ask = hooked.client.ask
        path = f"/webhooks/{(await hooked.made())['id']}"
        tested = await ask("POST", f"{path}/test")
        self.assertEqual((tested.status, tested.json["event"]), (201, "delivered"))
        self.assertEqual((await ask("POST", f"{path}/rotate")).status, 200)
        for given in (None, b"{}"):
            answered = await ask("POST", f"{path}/replay", given)
            self.assert_problem(answered, 415, "unsupported_media_type")
        self.assert_problem(await ask("POST", f"{path}/test", b"{}"), 415, "unsupported_media_type")

    async def test_replay(self) -> None:
        """What was told is told again, one by one or by a range, once for each key."""
        hooked = await self.hooked()
        ask = hooked.client.ask
        made = await hooked.made()
        await hooked.send(subject="first")
        [first] = await self.told(hooked)
        calls: list[Any] = []
        while not calls:
            calls = (await ask("GET", "/calls?state=taken")).json["calls"]
        again = await ask("POST", f"/calls/{calls[0]['id']}/replay")
        self.assertEqual((again.status, again.json["replay_of"]), (201, calls[0]["id"]))
        [_, second] = await self.told(hooked, 2)
        self.assertEqual(second.body, first.body)
        self.assertNotEqual(second.headers["Webhook-Id"], first.headers["Webhook-Id"])
        wanted = {"since": "2020-01-01T00:00:00Z"}
        path, key = f"/webhooks/{made['id']}/replay", {"Idempotency-Key": "again"}
        for _ in range(2):
            done = await ask("POST", path, wanted, key)
            self.assertEqual(done.json, {"calls": 1, "next_cursor": None})
        [*_, third] = await self.told(hooked, 3)
        self.assertEqual(third.body, first.body)
        later = {**wanted, "until": "2019-01-01T00:00:00Z"}
        self.assert_problem(await ask("POST", path, later), 400, "invalid_field", "until")

    async def test_calls_of_others(self) -> None:
        """Another account's calls are not there."""
        hooked = await self.hooked()
        id_ = (await hooked.made())["id"]
        tested = await hooked.client.ask("POST", f"/webhooks/{id_}/test", {})
        await self.told(hooked)
        other = hooked.client.logged_in("other@example.org", OTHER_PASSWORD)
        self.assertEqual((await other.ask("GET", "/calls")).json["calls"], [])
        for method, path, body in (
            ("GET", f"/calls/{tested.json['id']}", None),
            ("POST", f"/calls/{tested.json['id']}/replay", None),
            ("POST", f"/calls/{tested.json['id']}/retry", None),
            ("POST", f"/calls/{tested.json['id']}/cancel", None),
            ("POST", f"/webhooks/{id_}/test", {}),
            ("POST", f"/webhooks/{id_}/replay", {"since": "2020-01-01T00:00:00Z"}),
        ):
            self.assert_problem(await other.ask(method, path, body), 404, "not_found")
        self.assertEqual(len(hooked.receiver.at(HOOK)), 1)
