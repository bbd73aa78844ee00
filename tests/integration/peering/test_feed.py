"""What a peer is told of its mail by a real server, and what it says of addresses."""

from __future__ import annotations

import json
import time
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred

from mailrelay.control.peers import PeerDetails
from mailrelay.directory.peers import PeerProtocol
from tests.integration.peering.peer_client import Answered, PeerCase, Signer

EVENTS = "/relay/v1/events"


class FeedTests(PeerCase):
    """Events, suppressions."""

    async def told(self, signer: Signer, after: int = 0, **asked: int) -> Any:
        """A page of events."""
        query = "".join(f"&{name}={value}" for name, value in asked.items())
        answered = await signer.ask("GET", f"{EVENTS}?after={after}{query}")
        self.assertEqual((answered.status, answered.is_signed), (200, True), answered)
        return answered.json

    async def test_events(self) -> None:
        """Each recipient's fate is told once, in order, with what the peer said."""
        signer = await self.signer()
        to = ["user@example.org", "b@remote.test"]
        taken = await signer.post("k1", rcpt_to=to, not_before=None, extra={"campaign": "x"})
        found: list[Any] = []
        after = 0
        while len(found) < 2:
            page = await self.told(signer, after, wait=20, limit=1)
            found += page["events"]
            self.assertGreaterEqual(page["next"], after)
            after = page["next"]
        by_recipient = {one["rcpt"]: one for one in found}
        mine, others = by_recipient["user@example.org"], by_recipient["b@remote.test"]
        self.assertEqual((mine["type"], mine["final"]), ("delivered", True))
        self.assertEqual((others["type"], others["final"]), ("bounced", True))
        for one in found:
            self.assertEqual((one["msg_id"], one["relay_id"]), ("m1", taken.json["id"]))
            self.assertEqual((one["extra"], one["attempt"]), ({"campaign": "x"}, 1))
            self.assertEqual(str(one["seq"]), one["id"])
            self.assertLess(abs(one["at"] - time.time()), 60)
        self.assertEqual((others["smtp_code"] // 100, others["enhanced"][0]), (5, "5"))
        self.assertTrue(others["text"])
        last = await self.told(signer, after)
        self.assertEqual((last["events"], last["more"]), ([], False))
        from_start = await self.told(signer)
        self.assertEqual(from_start["events"], sorted(found, key=lambda one: int(one["seq"])))

    async def test_long_poll(self) -> None:
        """Who waits hears at once; who waits for nothing is told so in the end."""
        signer = await self.signer()
        nothing = await self.told(signer, wait=0)
        self.assertEqual((nothing["events"], nothing["more"]), ([], False))
        waiting = Deferred.fromCoroutine(self.told(signer, nothing["next"], wait=25))
        await signer.post("k1", rcpt_to=["user@example.org"], not_before=None)
        page = await waiting
        self.assertEqual([one["type"] for one in page["events"]], ["delivered"])

    async def test_acknowledged(self) -> None:
        """Asking behind a position says that all up to there are seen."""
        signer = await self.signer()
        await self.told(signer, 5)
        await self.told(signer, 3)
        with self.control.database.engine.connect() as connection:
            [row] = connection.exec_driver_sql(
                "SELECT our_position, last_contact_at FROM peer_state"
            )
        self.assertEqual(row[0], 5)
        self.assertLess(abs(row[1] - time.time()), 60)

    async def test_gone(self) -> None:
        """Who asks for what was removed is told where to go on."""
        signer = await self.signer()
        with self.control.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE peer_state SET removed_position = 7")
        answered = await signer.ask("GET", f"{EVENTS}?after=6")
        told = (answered.status, answered.is_signed, answered.json)
        self.assertEqual(told, (410, True, {"oldest": 7}))
        self.assertEqual((await signer.ask("GET", f"{EVENTS}?after=7")).status, 200)

    async def test_asked_wrongly(self) -> None:
        """What is no number is told."""
        signer = await self.signer()
        for query in ("after=x", "after=-1", "after=1&after=2", "limit=1e3", "wait=" + "9" * 5000):
            self.assertEqual((await signer.ask("GET", f"{EVENTS}?{query}")).status, 400, query[:9])

    async def test_of_others(self) -> None:
        """What others of the same account sent is not told."""
        signer = await self.signer()
        made = await self.control.peers.add(
            "third", PeerProtocol.MAILRELAY, PeerDetails(account="user")
        )
        await self.seen()
        await signer.post("k1", rcpt_to=["user@example.org"], not_before=None)
        while not (await self.told(signer))["events"]:
            await self.soon()
        signer.key_id, signer.secret = made[1].key.key_id, made[1].key.secret
        self.assertEqual((await self.told(signer))["events"], [])

    async def change(self, signer: Signer, method: str, address: str, at: float) -> Answered:
        """Say something of an address."""
        body = json.dumps({"reason": "asked", "changed_at": at}).encode()
        target = f"/relay/v1/suppressions/{address}"
        return await signer.ask(method, target, body, f"{method}{at}", "application/json")

    async def test_suppressions(self) -> None:
        """What the peer blocks is blocked, until a newer change says otherwise."""
        signer = await self.signer()
        now = time.time()
        put = await self.change(signer, "PUT", "b%40remote.test", now - 10)
        self.assertEqual((put.status, put.is_signed, put.json["is_newest"]), (200, True, True))
        keys = (f"k{n}" for n in count(1))  # what was taken under a key is told again
        while (await signer.post(next(keys))).json["results"][0]["state"] != "suppressed":
            await self.soon()
        older = await self.change(signer, "DELETE", "b@remote.test", now - 11)
        self.assertEqual((older.status, older.json["is_newest"]), (200, False))
        [listed] = await self.control.suppression.everything("user")
        self.assertEqual(listed.suppression.reason, "asked")
        newer = await self.change(signer, "DELETE", "b@remote.test", now - 9)
        self.assertEqual((newer.status, newer.json["is_newest"]), (200, True))
        self.assertEqual(await self.control.suppression.everything("user"), [])

    async def test_suppressions_refused(self) -> None:
        """What cannot be, and what is not shared."""
        signer = await self.signer()
        for address, at in (("nobody", 1.0), ("b@remote.test", 1e12), ("b@remote.test", -1.0)):
            self.assertEqual((await self.change(signer, "PUT", address, at)).status, 400, address)
        target = "/relay/v1/suppressions/b@remote.test"
        for body in (b"", b"{}", b'{"changed_at":1,"reason":"a\\nb"}', b'{"changed_at":"x"}'):
            self.assertEqual((await signer.ask("PUT", target, body, "k")).status, 400, body)
        own = PeerDetails(options={"shares_suppression": False})
        await self.control.peers.set("sender", own)
        await self.seen()
        self.assertEqual((await self.change(signer, "PUT", "b@remote.test", 1.0)).status, 403)
