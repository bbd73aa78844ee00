"""A server with an endpoint that mail is handed in at, a client of it, and the world outside."""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, frozen
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailrelay.config.settings import ListenerSection
from mailrelay.config.transports import RelayHostSection
from mailrelay.control.aliases import AliasDetails
from mailrelay.control.mailbox import MessageFilter
from mailrelay.control.queue import EntryFilter
from mailrelay.handoff.endpoints import HandOffInSettings
from mailrelay.net.tls import TLSLevel
from mailrelay.service.controls import Control
from mailrelay.testing.loopback import Loopback
from mailrelay.testing.scripted_server import Answers, ScriptedServer, polite
from tests.integration.webapi.api import Answered
from tests.integration.world import soon, start_world, until

TOKEN = "the-pre-shared-key"
SENDER = "a@sender.test"
MESSAGE = b"From: a@sender.test\r\nTo: user@example.org\r\nSubject: hello\r\n\r\n.a dot\r\nend\r\n"


@frozen
class Place:
    """The server, its operator and the sink that all mail for others goes to."""

    server: Loopback
    control: Control
    outside: ScriptedServer

    async def post(
        self,
        body: bytes = MESSAGE,
        *recipients: str,
        path: str = "/v1/email",
        token: str | None = TOKEN,
        **headers: str,
    ) -> Answered:
        """Hand a message in; ``Some_Field`` is a header."""
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        if token is not None:
            fields.append(("Authorization", f"Bearer {token}"))
        fields += [("X-Mailrelay-Rcpt-To", one) for one in recipients]
        return await self.ask("POST", path, body, fields)

    async def ask(
        self, method: str, path: str, body: bytes, fields: Sequence[tuple[str, str]]
    ) -> Answered:
        """One request on a connection of its own."""
        port = self.server.port("http")

        def speak() -> Answered:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.putrequest(method, path)
                for name, value in (*fields, ("Content-Length", str(len(body)))):
                    connection.putheader(name, value)
                connection.endheaders(body)
                response = connection.getresponse()
                named = {name.lower(): value for name, value in response.getheaders()}
                return Answered(response.status, named, response.read())
            finally:
                connection.close()

        answered: Answered = await deferToThread(speak)
        return answered

    async def alias(self, address: str, *members: str, **details: Any) -> None:
        """Make an alias that the server knows; everybody may post."""
        given = AliasDetails(**{"post_public": True, **details})
        await self.control.aliases.add(address, members, given)
        localpart, _, domain = address.partition("@")
        key = (localpart, domain)
        await until(reactor, lambda: key in self.server.server.directory.aliases)

    async def settled(self) -> None:
        """Wait until nothing is in the queue."""
        while await self.control.queue.find(EntryFilter()):
            await soon(reactor, 0.02)

    async def kept(self) -> list[tuple[str, str, str]]:
        """Account, mailbox and subject of all that is in mailboxes, once the queue is empty."""
        await self.settled()
        found = await self.control.messages.find(MessageFilter())
        return sorted((account, one.mailbox, one.subject) for account, one in found)

    async def content(self, mailbox: str = "Inbox") -> bytes:
        """The only message of a mailbox."""
        await self.settled()
        [(_, message)] = await self.control.messages.find(MessageFilter(mailbox=mailbox))
        return await self.control.messages.content(message.id)

    @property
    def envelopes(self) -> list[str]:
        """MAIL and RCPT of all that went out."""
        lines = [line.decode() for line in self.outside.lines]
        return [line for line in lines if line.startswith(("MAIL", "RCPT"))]


class HandingCase(TestCase):
    """A test with such a place."""

    timeout = 120

    async def place(
        self,
        *,
        answers: Mapping[str, Answers] | None = None,
        more: Sequence[HandOffInSettings] = (),
        settings: Mapping[str, Any] | None = None,
        **endpoint: Any,
    ) -> Place:
        """Start it; ``endpoint`` are settings of its endpoint."""
        outside = await ScriptedServer.start(self, reactor, polite(**(answers or {})))
        listener = ListenerSection("http", "tcp:0:interface=127.0.0.1", handoff=True)
        given = {"name": "postfix", "tokens": (TOKEN,), **endpoint}
        relay = RelayHostSection("127.0.0.1", outside.port, TLSLevel.NONE)
        chosen: dict[str, Any] = {
            "listener": [listener],
            "relay_host": relay,
            "handoff_in": (HandOffInSettings(**given), *more),
            **(settings or {}),
        }
        server = await start_world(self, reactor, **chosen)
        control = server.control()
        self.addCleanup(control.close)
        return Place(server, control, outside)

    def assert_answer(self, answered: Answered, status: int, first: str = "") -> None:
        """``answered`` has this status, and its text begins so."""
        self.assertEqual(answered.status, status, answered)
        self.assertTrue(answered.body.decode().startswith(first), answered)


__all__ = ["evolve"]
