"""What strangers are told by a whole server: each refusal in a dialogue, and what the log says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.acceptance.first_time import FirstTime, FirstTimeSettings
from mailrelay.acceptance.greylisting import GreylistSettings
from mailrelay.config.settings import LogSection
from mailrelay.control.mailbox import MessageFilter
from mailrelay.control.queue import EntryFilter, EntryView
from mailrelay.policy.blocklists import DNSBLSettings, ListAction, WaitAt, ZoneSettings
from mailrelay.policy.rates import SenderLimits
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.loopback import Loopback, make_settings
from tests.integration.world import mailbox, soon, start_world, until

LISTED = FakeResolver(
    hosts={
        "2.0.0.127.lists.test": ["127.0.0.2"],
        "9.0.0.127.lists.test": ["127.0.0.4"],
    },
    txt={
        "9.0.0.127.lists.test": [b"spam was seen\r\nMAIL FROM:<x>"],
        "sure.test": [b"v=spf1 ip4:127.0.0.9 -all"],
        "other.test": [b"v=spf1 ip4:127.0.0.9 -all"],
    },
)
BEGIN = (b"EHLO client.test", b"MAIL FROM:<a@client.test>", b"RCPT TO:<user@example.org>")


class IncomingTests(TestCase):
    """Peers that are refused."""

    timeout = 120

    async def start(self, **settings: Any) -> Loopback:
        """A server that logs."""
        self.log = Path(self.mktemp()).absolute()
        log = LogSection(mail_log=str(self.log), format="json")
        roles = ("mx", "submission")
        return await start_world(self, reactor, roles=roles, log=log, **settings)

    async def say(self, server: Loopback, *lines: bytes, source: str = "127.0.0.9") -> list[bytes]:
        """What a peer is told; the greeting comes first."""
        client = await server.connect(source=source)
        replies = [await client.reply()]
        for line in lines:
            client.send(line + b"\r\n")
            replies.append(await client.reply())
        return replies

    async def logged(self, count: int) -> list[dict[str, Any]]:
        """The refusals in the mail log, without their times."""
        await until(reactor, lambda: self.log.exists() and len(self.refusals()) >= count)
        return self.refusals()

    def refusals(self) -> list[dict[str, Any]]:
        """Those that are there."""
        if not self.log.exists():
            return []
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [
            {name: value for name, value in line.items() if name != "time"}
            for line in lines
            if line["event"] == "refused"
        ]

    async def test_listed(self) -> None:
        """A listed peer is refused at RCPT; its list's words are one line, here and in the log."""
        lists = DNSBLSettings((ZoneSettings("lists.test"),))
        server = await self.start(resolver=LISTED, dnsbl=lists)
        replies = await self.say(server, *BEGIN)
        text = "127.0.0.9 is listed by lists.test (spam was seen??MAIL FROM:<x>)"
        self.assertEqual(replies[-1], f"550 5.7.1 {text}\r\n".encode())
        [line] = await self.logged(1)
        self.assertEqual(
            line,
            {
                "event": "refused",
                "door": "mx",
                "recipient": "user@example.org",
                "reverse_path": "a@client.test",
                "peer_ip": "127.0.0.9",
                "code": 550,
                "status": "5.7.1",
                "reply": text,
                "reason": "dnsbl",
            },
        )
        metrics = (await server.server._scrape()).decode()
        self.assertIn('mailrelay_refused_mail_total{reason="dnsbl"} 1.0', metrics)
        self.assertEqual((await self.say(server, *BEGIN, source="127.0.0.8"))[-1][:3], b"250")

    async def test_listed_at_greeting(self) -> None:
        """Or in place of a greeting."""
        lists = DNSBLSettings((ZoneSettings("lists.test"),), WaitAt.GREETING)
        server = await self.start(resolver=LISTED, dnsbl=lists)
        [said] = await self.say(server)
        self.assertEqual(said[:41], b"554 5.7.1 127.0.0.9 is listed by lists.te")
        self.assertEqual((await self.say(server, source="127.0.0.8"))[0][:3], b"220")

    async def test_list_is_away(self) -> None:
        """A list that fails refuses nobody."""
        away = evolve(LISTED, failing=frozenset({"9.0.0.127.lists.test"}))
        lists = DNSBLSettings((ZoneSettings("lists.test"),))
        server = await self.start(resolver=away, dnsbl=lists)
        self.assertEqual((await self.say(server, *BEGIN))[-1][:3], b"250")

    async def test_greylisted(self) -> None:
        """A new sender comes again and is taken then; a restart does not forget it."""
        settings = GreylistSettings(True, delay=0.2)
        server = await self.start(greylisting=settings)
        replies = await self.say(server, *BEGIN)
        self.assertEqual(replies[-1], b"451 4.7.1 greylisted, try again in 1 seconds\r\n")
        [line] = await self.logged(1)
        self.assertEqual(line["reason"], "greylist")
        said: list[bytes] = []
        while not said or said[-1][:3] == b"451":
            said = await self.say(server, *BEGIN)
        said = await self.say(server, *BEGIN, b"DATA", b"From: a@client.test\r\n\r\nhi\r\n.")
        self.assertEqual([one[:3] for one in said[-2:]], [b"354", b"250"])
        await mailbox(server, 1)

    async def send(self, server: Loopback, sender: bytes = b"a@sure.test") -> bytes:
        """The answer to a message, from 127.0.0.9."""
        content = b"From: %s\r\n\r\nhi\r\n." % sender
        lines = (BEGIN[0], b"MAIL FROM:<%s>" % sender, BEGIN[2], b"DATA", content)
        return (await self.say(server, *lines))[-1]

    async def found(self, server: Loopback, count: int) -> list[tuple[str, str]]:
        """The mailbox of each message, and what its history says of why."""
        await mailbox(server, count)
        control = server.control()
        self.addCleanup(control.close)
        found = await control.messages.find(MessageFilter())
        places = {one.message_id: one.mailbox for _, one in found}
        told = []
        retired: Sequence[EntryView] = ()
        while len(retired) < count:
            await soon(reactor)
            retired = await control.queue.find(EntryFilter(retired=True))
        for view in retired:
            message = view.entry.message
            assert message.verdict is not None
            told.append((places[message.id], message.verdict.reasons[-1]))
        return sorted(told)

    async def test_listed_to_junk(self) -> None:
        """Lists may do no more than put mail into Junk, each on its own or together."""
        zone = ZoneSettings("lists.test", ListAction.WEIGH)
        lists = DNSBLSettings((zone,), junk_weight=1.0)
        server = await self.start(resolver=LISTED, dnsbl=lists)
        self.assertEqual((await self.send(server))[:3], b"250")
        why = "the peer is listed by lists.test"
        self.assertEqual(await self.found(server, 1), [("Junk", why)])
        self.assertNotIn(b"Authentication-Results", (await mailbox(server, 1))[0])

    async def test_first_time(self) -> None:
        """The first message of a sender waits, the next one does not; others wait again."""
        first = FirstTimeSettings(0.5)
        server = await self.judging(first_time_senders=first)
        [judge] = [one for one in server.server.services if isinstance(one, FirstTime)]
        waited = "its sender is new here: it waited 0.5 seconds"
        sending = Deferred.fromCoroutine(self.send(server))
        await until(reactor, lambda: judge.waiting == 1)
        self.assertEqual((await sending)[:3], b"250")
        self.assertEqual((await self.send(server))[:3], b"250")
        self.assertEqual([why for _, why in await self.found(server, 2)].count(waited), 1)

    async def test_stop_does_not_wait(self) -> None:
        """A message that waits is taken when the server stops."""
        server = await self.judging(first_time_senders=FirstTimeSettings(200.0))
        [judge] = [one for one in server.server.services if isinstance(one, FirstTime)]
        sending = Deferred.fromCoroutine(self.send(server))
        await until(reactor, lambda: judge.waiting == 1)
        stopping = server.server.stopService()
        self.assertEqual((await sending)[:3], b"250")
        await stopping

    async def test_domain(self) -> None:
        """A domain of which much comes is put off; the log says why."""
        server = await self.judging(sender_limits=SenderLimits(messages_per_domain=2))
        said = [(await self.send(server))[:9] for _ in range(3)]
        self.assertEqual(said, [b"250 2.0.0", b"250 2.0.0", b"451 4.7.1"])
        [line] = await self.logged(1)
        seen = (line["reason"], line["recipient"], line["reverse_path"], line["code"])
        self.assertEqual(seen, ("rate", "user@example.org", "a@sure.test", 451))
        self.assertEqual((await self.send(server, b"a@other.test"))[:3], b"250")

    async def judging(self, **settings: Any) -> Loopback:
        """A server that finds out who mail is from."""
        plain = make_settings(self, ("mx",), "sqlite:///mailrelay.db", None, {}).listener
        listener = [evolve(one, judge=True) for one in plain]
        return await self.start(listener=listener, resolver=LISTED, **settings)

    async def test_rates(self) -> None:
        """A peer that brings much is sent away for now."""
        limits = SenderLimits(messages_per_address=2)
        server = await self.start(sender_limits=limits)
        for code in (b"250", b"250", b"421"):
            self.assertEqual((await self.say(server, *BEGIN[:2]))[-1][:3], code)
        [line] = await self.logged(1)
        self.assertEqual((line["reason"], line["code"]), ("rate", 421))
        self.assertEqual((await self.say(server, *BEGIN, source="127.0.0.8"))[-1][:3], b"250")
