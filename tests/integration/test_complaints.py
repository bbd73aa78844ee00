"""Complaints, as mailbox providers send them: by SMTP, to the address that was agreed."""

from __future__ import annotations

from typing import Any

from mailrelay.testing.loopback import USER
from tests.integration.application import World, WorldCase
from tests.integration.webapi.v1.client import Client

OTHER = "other@example.org"


def complaint(sender: str, message_id: str = "<none@x.example>", type_: str = "abuse") -> bytes:
    """A feedback report, with the recipient left out (RFC 5965 section 3.2, RFC 6590)."""
    return f"""\
From: <fbl@example.net>
To: <{OTHER}>
Subject: FW: our offer
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

This is an email abuse report.

--b
Content-Type: message/feedback-report

Feedback-Type: {type_}
User-Agent: SomeLoop/1.0
Version: 1
Original-Mail-From: <{sender}>

--b
Content-Type: message/rfc822

Message-ID: {message_id}
Subject: our offer

offer
--b--
""".encode()


class ComplaintTests(WorldCase):
    """From the report to the event."""

    async def found(self, client: Client, kind: str = "complained") -> list[Any]:
        """The events of a kind, once there is one."""
        page = await client.ask("GET", f"/events?kind={kind}&wait=30")
        events: list[Any] = page.json["events"]
        return events

    async def delivered(self, world: World, sent: dict[str, Any]) -> str:
        """The return path of what was sent, once it is delivered."""
        await self.told(world, event="delivered")
        return f"user+{sent['FromID']}@example.org"

    async def test_by_from_id(self) -> None:
        """It comes to another account, where it stays, and suppresses for the sender's."""
        world = await self.world()
        client = Client(world.api)
        sent = await world.send("joe.x@example.net")
        path = await self.delivered(world, sent)
        await world.deliver(OTHER, complaint(path), "fbl@example.net")
        [event] = await self.found(client)
        self.assertEqual(event["entry_id"], sent["QueueMsgID"])
        self.assertEqual(
            (event["feedback_type"], event["user_agent"], event["by"], event["suppressing"]),
            ("abuse", "SomeLoop/1.0", "fbl@example.net", True),
        )
        why = await client.ask("GET", "/suppressions/why?address=joex@example.net")
        [one] = why.json["suppressions"]
        self.assertEqual((one["cause"], one["entry_id"]), ("complaint", event["entry_id"]))
        self.assertIn("SomeLoop/1.0", one["evidence"])
        await world.send("joe.x@example.net")
        [suppressed] = await self.found(client, "suppressed")
        self.assertEqual(suppressed["recipient"], "joe.x@example.net")
        kept = world.json("message", "list", "--account", "other")
        self.assertEqual([one["subject"] for one in kept], ["FW: our offer"])
        self.assertEqual(world.receiver.at("/out", "complained"), [])  # mox knows none

    async def test_by_message_id(self) -> None:
        """What anybody could write is an event, and suppresses nobody."""
        world = await self.world()
        client = Client(world.api)
        sent = await world.send("joe@example.net")
        await self.delivered(world, sent)
        await world.deliver(USER, complaint(USER, sent["MessageID"]), "fbl@example.net")
        [event] = await self.found(client)
        self.assertEqual((event["entry_id"], event["suppressing"]), (sent["QueueMsgID"], False))
        why = await client.ask("GET", "/suppressions/why?address=joe@example.net")
        self.assertFalse(why.json["is_suppressed"])

    async def test_not_spam(self) -> None:
        """Who takes a message out of the junk does not complain."""
        world = await self.world()
        client = Client(world.api)
        sent = await world.send("joe@example.net")
        path = await self.delivered(world, sent)
        await world.deliver(path, complaint(path, type_="not-spam"), "fbl@example.net")
        [event] = await self.found(client, "unrecognized")
        self.assertEqual((event["entry_id"], event["suppressing"]), (sent["QueueMsgID"], False))
        page = await client.ask("GET", "/events?kind=complained")
        self.assertEqual(page.json["events"], [])
