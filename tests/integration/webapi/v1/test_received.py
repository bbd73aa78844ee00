"""Received messages told to signed endpoints, by a whole server."""

from __future__ import annotations

from typing import Any

from mailrelay.testing.loopback import USER
from tests.integration.webapi.test_messages import NESTED
from tests.integration.webapi.v1.test_webhooks import Hooked, HookedCase, verified


class ReceivedTests(HookedCase):
    """Calls of the type ``message.received``."""

    async def receive(
        self, hooked: Hooked, to: str = USER, sender: str = "jane@client.test"
    ) -> None:
        """Give the server a message by SMTP."""
        replies = await hooked.client.http.server.say(
            b"EHLO client.test",
            f"MAIL FROM:<{sender}>".encode(),
            f"RCPT TO:<{to}>".encode(),
            b"DATA",
            NESTED.rstrip() + b"\r\n.",
        )
        self.assertEqual(replies[-1][:3], b"250")

    async def test_told(self) -> None:
        """What is told is what the API tells; its links lead to the parts."""
        hooked = await self.hooked()
        made = await hooked.made(events=["incoming"])
        await self.receive(hooked)
        [call] = await self.told(hooked)
        said = verified(made["secret"], call)
        self.assertEqual(said["type"], "message.received")
        mail: dict[str, Any] = said["data"]
        path = f"/mailbox/messages/{mail['id']}"
        asked = (await hooked.client.ask("GET", path)).json
        for own in (mail, asked):
            urls = [own.pop("raw_url"), *(one.pop("url") for one in own["attachments"])]
            bodies = [(await hooked.client.http.ask("GET", url)).body for url in urls]
            self.assertEqual(bodies[1:], [b"x", b"not the text"])
            self.assertEqual(len(bodies[0]), own["size_bytes"])
        self.assertEqual(mail, asked)

    async def test_filters(self) -> None:
        """Whoever wants other events, or tags, is not called; the account's own are."""
        hooked = await self.hooked()
        await hooked.made("/failed", events=["failed"])
        await hooked.made("/tagged", tags=["a"], events=[])
        await hooked.made("/every", events=[])
        await self.receive(hooked, to="other@example.org")
        await self.receive(hooked)
        [call] = await self.told(hooked, path="/every")
        self.assertEqual(call.json["data"]["envelope"]["recipient"], USER)
        for path in ("/failed", "/tagged"):
            self.assertEqual(hooked.receiver.at(path), [])

    async def test_bounce_is_an_event(self) -> None:
        """What comes back to a message tells of that; another bounce is told as automated."""
        hooked = await self.hooked()
        await hooked.made(events=["incoming"])
        await self.receive(hooked, sender="")
        [call] = await self.told(hooked)
        mail = call.json["data"]
        self.assertEqual((mail["envelope"]["sender"], mail["is_automated"]), ("", True))
