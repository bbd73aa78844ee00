"""Failed logins on a whole server: limits by address and by account, and what strangers learn."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.config.settings import ListenerSection
from mailrelay.directory.login import LoginSettings
from mailrelay.inbound.replies import AUTH_FAILED, AUTH_OK, AUTH_TOO_OFTEN
from mailrelay.testing.clocks import LeapingClock
from mailrelay.testing.loopback import PASSWORD, USER, Loopback, RawClient
from tests.integration.world import soon

NOBODY = "nobody@example.org"
ELSEWHERE = "user@elsewhere.example"
MANY, FEW = 10_000, 3
DAY = 86400.0
FAILED, OK, TOO_OFTEN = (reply.to_wire() for reply in (AUTH_FAILED, AUTH_OK, AUTH_TOO_OFTEN))


class LoginLimitsTests(TestCase):
    """``[login]``."""

    timeout = 120

    async def start(self, **limits: int) -> None:
        """A server whose time is the test's, with limits that are never met but for those given."""
        self.clock = LeapingClock.start(self, reactor)
        never = {"failures_per_minute": MANY, "failures_per_day": MANY}
        login = LoginSettings(**{**never, "account_failures_per_hour": MANY, **limits})
        submission = ListenerSection(
            "submission", "tcp:0:interface=127.0.0.1", auth_without_tls=True
        )
        self.server = await Loopback.start(
            self, reactor, clock=self.clock, login=login, listener=[submission]
        )

    async def heard(self, client: RawClient) -> bytes:
        """The next reply; the delay of failures is not waited for."""
        replies: list[bytes] = []
        waiting: Deferred[Any] = Deferred.fromCoroutine(client.reply())
        waiting.addCallback(replies.append)
        while not replies:
            self.clock.advance(0.25)
            await soon(reactor)
        return replies[0]

    async def log_in(self, name: str, password: str, source: str) -> bytes:
        """The answer to AUTH on a connection of its own; a 421 must end it."""
        client = await self.server.connect("submission", source)
        await client.reply()
        await client.ask(b"EHLO client.test")
        client.send(b"AUTH PLAIN " + b64encode(f"\0{name}\0{password}".encode()) + b"\r\n")
        answer = await self.heard(client)
        if answer.startswith(b"421"):
            self.assertEqual(await client.reply(), b"")
        await client.close()
        return answer

    async def test_by_address(self) -> None:
        """An address that failed too often is refused whatever it says, a day long."""
        await self.start(failures_per_day=FEW)
        for name in (USER, NOBODY, ELSEWHERE):
            self.assertEqual(await self.log_in(name, "wrong", "127.1.0.1"), FAILED)
        for name, password in ((USER, PASSWORD), (USER, "wrong"), (NOBODY, "wrong")):
            self.assertEqual(await self.log_in(name, password, "127.1.0.1"), TOO_OFTEN)
        self.assertEqual(await self.log_in(USER, PASSWORD, "127.2.0.1"), OK)
        self.clock.advance(DAY)
        self.assertEqual(await self.log_in(USER, PASSWORD, "127.1.0.1"), OK)

    async def test_by_account(self) -> None:
        """Guesses shut those out who guessed; for who is unknown it looks the same."""
        for name in (USER, NOBODY, ELSEWHERE):
            await self.start(account_failures_per_hour=FEW)
            answers = [
                await self.log_in(name, "wrong", f"127.{number}.0.1")
                for number in (1, 2, 3, 4, 4, 1)
            ]
            self.assertEqual(answers, [*[FAILED] * 4, TOO_OFTEN, TOO_OFTEN], name)
            self.assertEqual(await self.log_in(USER, PASSWORD, "127.9.0.1"), OK)

    async def test_right_password_among_wrong_ones(self) -> None:
        """Where the password was right before, it goes on to be, whatever others try."""
        await self.start(account_failures_per_hour=FEW)
        self.assertEqual(await self.log_in(USER, PASSWORD, "127.9.0.1"), OK)
        for number in range(1, 5):
            await self.log_in(USER, "wrong", f"127.{number}.0.1")
        self.assertEqual(await self.log_in(USER, "wrong", "127.9.0.1"), FAILED)
        self.assertEqual(await self.log_in(USER, PASSWORD, "127.9.0.1"), OK)

    async def test_within_a_session(self) -> None:
        """The limits hold for the tries of one session as well."""
        await self.start(failures_per_day=FEW)
        client = await self.server.connect("submission")
        await client.reply()
        await client.ask(b"EHLO client.test")
        answers = []
        for _ in range(4):
            client.send(b"AUTH PLAIN " + b64encode(f"\0{USER}\0wrong".encode()) + b"\r\n")
            answers.append(await self.heard(client))
        self.assertEqual(answers, [FAILED, FAILED, FAILED, TOO_OFTEN])
        self.assertEqual(await client.reply(), b"")
