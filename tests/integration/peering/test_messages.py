"""Mail that a peer hands to a real server."""

from __future__ import annotations

import json
import time
from threading import get_ident
from typing import Any

from sqlalchemy import select
from twisted.internet.defer import Deferred, gatherResults

from mailrelay.control.peers import PeerDetails
from mailrelay.directory.peers import FromPolicy, PeerProtocol
from mailrelay.peering import taking
from mailrelay.peering.offer import Offer, read_offer
from mailrelay.policy.limits import Limits
from mailrelay.storage import tables
from tests.integration.peering.peer_client import (
    CONTENT,
    MESSAGE,
    PeerCase,
    body_of,
)

BASE = "/relay/v1/messages"


class MessageTests(PeerCase):
    """What is taken, what is not, and what is told."""

    async def listed(self, address: str) -> None:
        """Have an address on the list of the peer's account."""
        await self.control.suppression.add("user", address)
        self.server.server._known.changed({"suppression"})
        while not self.server.server._known.suppressed._lists:
            await self.soon()

    def rows(self, table: Any) -> list[Any]:
        """All of a table."""
        with self.control.database.engine.connect() as connection:
            return list(connection.execute(select(table)))

    async def test_taken(self) -> None:
        """Message, recipients, what the peer calls it and the answer are there when it is told."""
        signer = await self.signer()
        answered = await signer.post(
            "key-1",
            rcpt_to=["b@remote.test", "nobody@example.org", "user@example.org", "no address"],
            ret="HDRS",
            envid="e1",
            notify=["FAILURE"],
            priority="urgent",
            require_tls=True,
            hops=["h1", "h2"],
            extra={"campaign": "x"},
            colour="blue",
            weight=3,
        )
        self.assertEqual((answered.status, answered.is_signed), (202, True), answered)
        [message] = [row for row in self.rows(tables.message) if row.door == "relay"]
        self.assertEqual(
            answered.json,
            {
                "id": str(message.id),
                "receipt": "accepted",
                "results": [
                    {"rcpt": "b@remote.test", "state": "queued"},
                    {
                        "rcpt": "nobody@example.org",
                        "state": "rejected",
                        "code": 550,
                        "text": "5.1.1 no such user",
                    },
                    {"rcpt": "user@example.org", "state": "queued"},
                    {
                        "rcpt": "no address",
                        "state": "rejected",
                        "code": 501,
                        "text": "5.1.3 not an address",
                    },
                ],
            },
        )
        told = (message.reverse_path, message.ret, message.envid)
        self.assertEqual(told, ("a@sender.test", "HDRS", "e1"))
        [mail] = self.rows(tables.peer_message)
        self.assertEqual((mail.message_id, mail.msg_id), (message.id, "m1"))
        self.assertEqual(json.loads(mail.hops), ["h1", "h2"])
        extra = {"campaign": "x", "colour": "blue", "weight": "3"}
        self.assertEqual(json.loads(mail.extra), extra)
        self.assertEqual(json.loads(message.extra), extra)
        [content] = [row for row in self.rows(tables.content) if row.message_id == message.id]
        self.assertTrue(bytes(content.body) == CONTENT, content)
        self.assertIn(b"Received: from sender ([127.0.0.1])", bytes(content.prefix))

    async def test_repeated(self) -> None:
        """The answer is lost after the commit, and the request comes again: there is one copy."""
        signer = await self.signer()
        raw, signed = signer.request("POST", BASE, body_of(), "k1", MESSAGE)
        client = await self.server.connect("http")
        client.send(raw)
        while not self.messages():
            await self.soon()
        await client.close()
        again = await signer.send(raw, signed)
        self.assertEqual((again.status, again.is_signed), (200, True))
        self.assertEqual(again.json["id"], str(self.messages()[0][0]))
        later = await signer.post("k1")  # signed anew
        self.assertEqual((later.status, later.body), (200, again.body))
        other = await signer.post("k1", CONTENT + b"more\r\n")
        self.assertEqual((other.status, other.is_signed), (422, True))
        self.assertEqual(len(self.messages()), 1)
        self.assertEqual((await signer.post("k2")).status, 202)

    async def test_at_once(self) -> None:
        """Of several at once one is taken; the others are told to wait, or what it was told."""
        signer = await self.signer()
        asked = [Deferred.fromCoroutine(signer.post("k1")) for _ in range(5)]
        statuses = sorted(answered.status for answered in await gatherResults(asked))
        self.assertEqual(statuses.count(202), 1, statuses)
        self.assertLessEqual(set(statuses), {200, 202, 409})
        self.assertEqual(len(self.messages()), 1)

    async def test_large(self) -> None:
        """A large message goes through the spool, byte for byte; a larger one is refused."""
        signer = await self.signer(limits=Limits(message_bytes=600_000))
        content = CONTENT + b"".join(b"%08d line\r\n" % n for n in range(30_000))
        self.assertEqual((await signer.post("k1", content)).status, 202)
        [[id_]] = self.messages()
        with self.control.database.engine.connect() as connection:
            wanted = select(tables.content).where(tables.content.c.message_id == id_)
            row = connection.execute(wanted).one()
        spooled = self.server.settings.data_dir / "spool" / row.spool_name
        self.assertTrue(spooled.read_bytes() == content)
        refused = await signer.post("k2", content * 2)
        self.assertEqual((refused.status, refused.is_signed), (413, True))
        much = await signer.post("k3", content * 4)
        self.assertEqual(much.status, 413)
        self.assertEqual(len(self.messages()), 1)
        self.assertEqual(len(list(spooled.parent.iterdir())), 1)

    async def test_content(self) -> None:
        """What SMTP does not take is not taken here."""
        signer = await self.signer()
        for content, status in (
            (CONTENT + b"bare\nLF\r\n", 422),
            (CONTENT + b"bare\rCR\r\n", 422),
            (CONTENT + b"at the end\r", 422),
            (CONTENT + b".\n.\r\n", 422),
            (CONTENT + b"\0\r\n", 422),
            (b"Received: x\r\n" * 51 + CONTENT, 508),
            (b"Received: x\r\n" * 50 + CONTENT, 202),
        ):
            answered = await signer.post(f"k{len(content)}", content)
            self.assertEqual((answered.status, answered.is_signed), (status, True), content[-9:])
        self.assertEqual(len(self.messages()), 1)

    async def test_meta(self) -> None:
        """What is not understood is told with its field, and nothing is taken."""
        signer = await self.signer()
        for meta, said in (
            ({"v": 2}, "`$.v`"),
            ({"rcpt_to": []}, "`$.rcpt_to`"),
            ({"mail_from": "no address"}, "mail_from"),
            ({"msg_id": "a\nb"}, "msg_id"),
            ({"msg_id": "a" * 201}, "`$.msg_id`"),
            ({"ret": "ALL"}, "`$.ret`"),
            ({"notify": ["NEVER", "FAILURE"]}, "notify"),
            ({"envid": "a\0b"}, "envid"),
            ({"extra": {"a": "b\r\nc"}}, "extra"),
            ({"unknown": "x" * 1001}, "extra"),
            ({"hops": ["a\u2028"]}, "hops"),
            ({"not_before": 1e12}, "not_before"),
            ({"require_tls": "yes"}, "`$.require_tls`"),
        ):
            answered = await signer.post("k1", **meta)
            self.assertEqual((answered.status, answered.is_signed), (400, True), meta)
            self.assertIn(said, answered.json["error"])
        for body in (b"", b"{}", b"no JSON\n" + CONTENT, b"[" * 100_000 + b"\n" + CONTENT):
            answered = await signer.ask("POST", BASE, body, "k1", MESSAGE)
            self.assertEqual((answered.status, answered.is_signed), (400, True), body[:20])
        wrong_type = await signer.ask("POST", BASE, body_of(), "k1", "message/rfc822")
        self.assertEqual(wrong_type.status, 415)
        self.assertEqual(self.messages(), [])
        self.assertEqual((await signer.post("k1")).status, 202)

    async def test_long_meta(self) -> None:
        """Thousands of recipients are read by a worker; what is wrong is told as ever."""
        signer = await self.signer()
        read: list[int] = []
        in_reactor = get_ident()

        def noted(line: bytes, now: float) -> Offer:
            read.append(get_ident())
            return read_offer(line, now)

        self.patch(taking, "read_offer", noted)
        to = [f"b{number}@remote.test" for number in range(10_000)]
        for version, said in ((1, "more than"), (2, "`$.v`")):
            answered = await signer.post("k1", rcpt_to=to, v=version)
            self.assertEqual((answered.status, answered.is_signed), (400, True))
            self.assertIn(said, answered.json["error"])
        self.assertNotIn(in_reactor, read)
        self.assertEqual((await signer.post("k2")).status, 202)
        self.assertEqual(read[-1], in_reactor)

    async def test_loops(self) -> None:
        """A message that was here, or at too many servers, goes round."""
        signer = await self.signer()
        own = self.server.server.stores.server_id
        for hops, status in (([own], 508), ([f"h{n}" for n in range(9)], 508), (["h"] * 8, 202)):
            self.assertEqual((await signer.post(f"k{len(hops)}", hops=hops)).status, status)

    async def test_times(self) -> None:
        """A message may wait, and its life ends when the peer says."""
        signer = await self.signer()
        now = time.time()
        expired = await signer.post("k1", expires_at=now - 1)
        self.assertEqual(expired.status, 422)
        answered = await signer.post("k2", expires_at=now + 86400, not_before=now + 3600)
        self.assertEqual(answered.status, 202)
        [entry] = [row for row in self.rows(tables.entry) if row.recipient == "b@remote.test"]
        self.assertLess(abs(entry.next_attempt_at - now - 3600), 1)
        self.assertLess(abs(entry.queued_at - now + 4 * 86400), 1)

    async def test_no_account(self) -> None:
        """A peer without an account hands no mail to us."""
        signer = await self.signer(PeerDetails())
        answered = await signer.post("k1")
        self.assertEqual((answered.status, answered.is_signed), (403, True))

    async def test_daily_limit(self) -> None:
        """The account's limit is the peer's."""
        signer = await self.signer(PeerDetails(account="full"))
        self.assertEqual((await signer.post("k1", rcpt_to=["b@remote.test"] * 2)).status, 202)
        refused = await signer.post("k2")
        self.assertEqual((refused.status, refused.headers["retry-after"]), (429, "3600"))

    async def test_repeated_though_refused(self) -> None:
        """What was taken is told again, though it would be refused or left out by now."""
        signer = await self.signer(PeerDetails(account="full"))
        taken = await signer.post("k1", rcpt_to=["b@remote.test"] * 2)
        self.assertEqual((await signer.post("k2")).status, 429)
        again = await signer.post("k1", rcpt_to=["b@remote.test"] * 2)
        self.assertEqual((again.status, again.body), (200, taken.body))
        other = await signer.post("k1", rcpt_to=["c@remote.test"] * 2)
        self.assertEqual((other.status, other.is_signed), (422, True))
        self.assertEqual(len(self.messages()), 1)

    async def test_repeated_to_nobody(self) -> None:
        """What was taken is told again, though all of its recipients do not want mail by now."""
        signer = await self.signer()
        taken = await signer.post("k1")
        await self.listed("b@remote.test")
        again = await signer.post("k1")
        self.assertEqual((again.status, again.body), (200, taken.body))

    async def test_nobody(self) -> None:
        """When no recipient is taken there is no message, and each is told why."""
        signer = await self.signer()
        await self.listed("b@remote.test")
        answered = await signer.post("k1", rcpt_to=["b@remote.test", "x@off.example"])
        self.assertEqual((answered.status, answered.json["id"]), (202, ""))
        states = [(one["state"], one.get("code")) for one in answered.json["results"]]
        self.assertEqual(states, [("suppressed", None), ("rejected", 450)])
        self.assertEqual(self.messages(), [])

    async def test_from(self) -> None:
        """From is one of the peer's domains, or becomes ours."""
        signer = await self.signer()
        options: dict[str, object] = {"from_domains": ["other.test"]}
        await self.control.peers.set("sender", PeerDetails(options=options))
        await self.seen()
        self.assertEqual((await signer.post("k1")).status, 422)
        allowed = CONTENT.replace(b"a@sender.test", b"a@other.test")
        self.assertEqual((await signer.post("k2", allowed)).status, 202)
        options = {"from_policy": FromPolicy.REWRITE, "from_address": "relay@example.org"}
        await self.control.peers.set("sender", PeerDetails(options=options))
        await self.seen()
        self.assertEqual((await signer.post("k3")).status, 202)
        bodies = [bytes(row.body) for row in self.rows(tables.content)]
        self.assertIn(b"From: <relay@example.org>", bodies[-1])
        self.assertIn(b"Reply-To: <a@sender.test>", bodies[-1])
        self.assertTrue(bodies[-1].endswith(b"\r\n\r\nhello\r\n"))

    async def test_standing(self) -> None:
        """How a message stands is told to whose it is, who may end what waits of it."""
        signer = await self.signer()
        later = time.time() + 3600
        to = ["b@remote.test", "c@remote.test"]
        taken = (await signer.post("k1", rcpt_to=to, not_before=later)).json["id"]
        standing = await signer.ask("GET", f"{BASE}/{taken}")
        self.assertEqual((standing.status, standing.is_signed), (200, True))
        self.assertEqual(standing.json["msg_id"], "m1")
        told = [(one["rcpt"], one["state"], one["final"]) for one in standing.json["results"]]
        self.assertEqual(told, [(one, "queued", False) for one in to])
        for id_ in ("0", "999999", "x", "9" * 30, "1%00"):
            self.assertEqual((await signer.ask("GET", f"{BASE}/{id_}")).status, 404, id_)
        ended = await signer.ask("DELETE", f"{BASE}/{taken}?rcpt=c@remote.test", key="d1")
        states = [one["state"] for one in ended.json["results"]]
        self.assertEqual((ended.status, states), (200, ["queued", "cancelled"]))
        ended = await signer.ask("DELETE", f"{BASE}/{taken}", key="d2")
        states = [one["state"] for one in ended.json["results"]]
        self.assertEqual((ended.status, states), (200, ["cancelled", "cancelled"]))

    async def test_of_others(self) -> None:
        """Another peer's message is as one that never was."""
        signer = await self.signer()
        taken = (await signer.post("k1")).json["id"]
        [_, theirs] = await self.control.peers.add(
            "third", PeerProtocol.MAILRELAY, PeerDetails(account="user")
        )
        await self.seen()
        signer.key_id, signer.secret = theirs.key.key_id, theirs.key.secret
        self.assertEqual((await signer.ask("GET", f"{BASE}/{taken}")).status, 404)
        self.assertEqual((await signer.ask("DELETE", f"{BASE}/{taken}", key="d")).status, 404)
        self.assertEqual((await signer.post("k1")).status, 202)  # keys are each peer's own
