"""Receivers that misbehave, called by a whole server over real connections."""

from __future__ import annotations

import threading
from typing import Any

from mailrelay.webhooks import delivery
from tests.integration.application import OUT, World, WorldCase
from tests.integration.receiver import Answer, closes, floods, status, waits_for

GIGABYTE = 1 << 30
MOST_TAKEN = 64 << 20
"""Bytes of a flood that the sockets' buffers may swallow before the connection is cut."""


class ReceiverTests(WorldCase):
    """What is recorded of an attempt."""

    async def attempt(self, answer: Answer) -> tuple[World, Any]:
        """The one attempt at a receiver that answers so, as an operator sees it."""
        world = await self.world()
        world.receiver.answers[OUT] = answer
        await world.send("joe@example.net")
        [call] = await self.told(world)

        def shown() -> Any:
            return world.json("webhook", "show", str(call.id))

        await self.until(lambda: shown()["tries"])
        return world, shown()

    async def assert_failed(self, answer: Answer, code: int, error: str) -> None:
        """It failed so, and will be tried again."""
        world, shown = await self.attempt(answer)
        [tried] = shown["tries"]
        self.assertEqual((tried["success"], tried["code"]), (False, code))
        self.assertIn(error, tried["error"])
        self.assertEqual(shown["state"], "waiting")
        await world.send("ann@example.net")  # the next is called all the same
        await self.told(world, 2)

    async def test_redirect(self) -> None:
        """A redirect is a failure with its code; nobody is asked where it leads."""
        there = status(302, Location="/elsewhere")
        world, shown = await self.attempt(there)
        self.assertEqual(shown["tries"][0]["code"], 302)
        self.assertEqual(world.receiver.at("/elsewhere"), [])

    async def test_other_codes(self) -> None:
        """Nothing but 200 is success, and 410 and 429 have no meaning of their own here."""
        world = await self.world()
        for code in (204, 410, 429, 500):
            path = f"/{code}"
            world.receiver.answers[path] = status(code, b"" if code == 204 else b"no\x00thanks")
            await self.set_account(world, "--outgoing-webhook", world.receiver.url(path))
            await world.send("joe@example.net")
            [call] = await self.told(world, path=path)
            id_ = str(call.id)
            await self.until(lambda: world.json("webhook", "show", id_)["tries"])  # noqa: B023
            shown = world.json("webhook", "show", id_)
            [tried] = shown["tries"]
            said = "" if code == 204 else "no?thanks"
            self.assertEqual((tried["code"], tried["response"]), (code, said))
            self.assertEqual(shown["state"], "waiting")

    async def test_no_answer(self) -> None:
        """A connection that is closed without an answer is a failure without a code."""
        await self.assert_failed(closes, 0, "closed")

    async def test_hangs(self) -> None:
        """A call ends at its deadline."""
        self.patch(delivery, "TIMEOUT", 0.5)
        released = threading.Event()
        self.addCleanup(released.set)
        await self.assert_failed(
            waits_for(released, status(200)), 0, "no answer within 0.5 seconds"
        )

    async def test_floods(self) -> None:
        """A body without end is cut off; its start is kept, and its code is what counts."""
        sent: list[int] = []
        world, shown = await self.attempt(floods(GIGABYTE, sent))
        [tried] = shown["tries"]
        self.assertEqual((tried["code"], shown["state"]), (200, "delivered"))
        self.assertEqual(len(tried["response"]), 512)
        await self.until(lambda: world.receiver.is_idle)
        self.assertLess(sum(sent), MOST_TAKEN)
