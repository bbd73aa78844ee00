"""Mail of strangers on a whole server: every verdict, and what becomes of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.trial.unittest import TestCase

from mailrelay.acceptance.following import Follow
from mailrelay.cli.queue import history_text
from mailrelay.config.settings import LogSection
from mailrelay.control.mailbox import MessageFilter
from mailrelay.control.queue import EntryFilter
from mailrelay.handoff.settings import HandOffSettings
from mailrelay.mailauth.dkim import Algorithm, BodyDigest, raw_fields
from mailrelay.mailauth.dkim_sign import BODY, SigningKey, new_key, sign
from mailrelay.net.resolver import DNSResolver
from mailrelay.net.threads import ThreadExecutor
from mailrelay.testing.dns_server import DNSServer
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.loopback import USER, Loopback, make_settings
from tests.handoff.test_transport import OK, Application
from tests.integration.webapi.api import API
from tests.integration.webapi.v1.client import Client
from tests.integration.world import mailbox, start_world, until

reactor: Any = global_reactor

KEY = SigningKey("bank.test", "s1", new_key(Algorithm.ED25519))
DNS = FakeResolver(
    hosts={
        "client.test": ["127.0.0.1"],
        "news.bank.test": ["192.0.2.1"],
        "bank.test": ["192.0.2.1"],
    },
    ptr={"127.0.0.1": ["client.test"]},
    failing=frozenset({"_dmarc.late.test", "dark.bank.test"}),
    txt={
        "good.test": [b"v=spf1 ip4:127.0.0.1 -all"],
        "_dmarc.good.test": [b"v=DMARC1; p=reject"],
        "bad.test": [b"v=spf1 -all"],
        "_dmarc.bank.test": [b"v=DMARC1; p=reject; sp=quarantine; rua=mailto:d@bank.test"],
        "s1._domainkey.bank.test": [KEY.record().encode()],
        "_dmarc.shop.test": [b"v=DMARC1; p=quarantine"],
        "plain.test": [b"v=spf1 ?all"],
    },
)


FROM_BANK = b"From: a@bank.test\r\n\r\n"
FORGED = b"Authentication-Results: mx.example.org; dmarc=pass\r\n"
OTHERS = b"Authentication-Results: mx.other.test; dmarc=pass\r\n"


def signed(content: bytes) -> bytes:
    """``content`` with the bank's signature."""
    header, _, body = content.partition(b"\r\n\r\n")
    digest = BodyDigest(BODY)
    digest.update(body)
    return sign(raw_fields(header), digest.finish(), [KEY], reactor.seconds()) + content


class JudgingTests(TestCase):
    """One server, strangers from 127.0.0.1."""

    timeout = 120
    count = 0

    async def start(
        self, resolver: Any = DNS, settings: Mapping[str, Any] | None = None, **listener: Any
    ) -> Loopback:
        """Start it, its listener as given."""
        trusted = listener.pop("trusted_networks", ())
        plain = make_settings(self, ("mx", "http"), "sqlite:///mailrelay.db", None, {}).listener
        sections = [evolve(plain[0], **{"judge": True, **listener}), plain[1]]
        self.server = await start_world(
            self,
            reactor,
            listener=sections,
            trusted_networks=trusted,
            resolver=resolver,
            **(settings or {}),
        )
        return self.server

    async def send(
        self,
        sender: str,
        content: bytes,
        helo: str = "client.test",
        recipient: str = USER,
    ) -> bytes:
        """The last reply to a message, for the user if not for another."""
        replies = await self.server.say(
            b"EHLO " + helo.encode(),
            b"MAIL FROM:<%s>" % sender.encode(),
            b"RCPT TO:<%s>" % recipient.encode(),
            b"DATA",
            content + b"\r\n.",
        )
        return replies[-1]

    async def accepted(self, sender: str, content: bytes, helo: str = "client.test") -> bytes:
        """The message in its mailbox, whole."""
        answer = await self.send(sender, content, helo)
        self.assertEqual(answer[:3], b"250", answer)
        self.count += 1
        return (await mailbox(self.server, self.count))[-1]

    async def places(self) -> list[tuple[str, list[str]]]:
        """The mailbox and flags of each message."""
        control = self.server.control()
        self.addCleanup(control.close)
        found = await control.messages.find(MessageFilter())
        return [(message.mailbox, list(message.flags)) for _, message in found]

    async def test_pass(self) -> None:
        """SPF or DKIM stands for From's domain; the field tells it, under ours of this hop."""
        await self.start()
        content = b"From: a@good.test\r\n\r\nhi"
        got = await self.accepted("a@good.test", content)
        self.assertTrue(got.endswith(content + b"\r\n"), got)
        told = got[got.index(b"+0000\r\n") + 7 : got.index(b"From:")]
        self.assertEqual(
            told.decode(),
            "Authentication-Results: mx.example.org;\r\n"
            "\tiprev=pass policy.iprev=127.0.0.1;\r\n"
            '\tspf=pass reason="ip4 of good.test matches" smtp.mailfrom=a@good.test;\r\n'
            '\tspf=none reason="client.test has no SPF record" smtp.helo=client.test;\r\n'
            "\tdkim=none;\r\n"
            '\tdmarc=pass reason="SPF passed for good.test" header.from=good.test'
            " policy.dmarc=none\r\n",
        )
        got = await self.accepted("a@plain.test", signed(FROM_BANK + b"hi\r\n"))
        self.assertIn(b"dkim=pass header.d=bank.test header.s=s1", got)
        self.assertIn(b"dmarc=pass", got)
        self.assertEqual(await self.places(), [("Inbox", [])] * 2)

    async def test_large(self) -> None:
        """What is in the spool is judged alike, and loses the same fields."""
        await self.start()
        body = b"x" * 70 + b"\r\n"
        forged = b'authentication-results : (a (b)) "MX.example.org";\r\n dmarc=pass\r\n'
        content = FORGED + forged + OTHERS + signed(FROM_BANK + body * 5000)
        got = await self.accepted("a@plain.test", content)
        self.assertIn(b"dkim=pass", got)
        self.assertTrue(got.endswith(content[content.index(OTHERS) :] + b"\r\n"), got[:2000])
        self.assertNotIn(FORGED, got)
        self.assertNotIn(forged, got)
        bad = await self.send("a@plain.test", content.replace(b"xx\r\n", b"xy\r\n", 1))
        self.assertEqual(bad[:10], b"550 5.7.26", bad)

    async def test_handed_off(self) -> None:
        """An application is posted the field with our name, and no other that has it."""
        application = Application([OK])
        url = f"http://127.0.0.1:{application.listen(self)}/in"
        networks = ["127.0.0.0/8"]
        endpoint = HandOffSettings("app", url, domains=["app.test"], allowed_networks=networks)
        await self.start(settings={"handoff": [endpoint]})
        content = FORGED + b"From: a@good.test\r\n\r\nhi"
        await self.send("a@good.test", content, recipient="bob@app.test")
        await until(reactor, lambda: application.requests)
        [request] = application.requests
        self.assertIn(b"Authentication-Results: mx.example.org;\r\n\tiprev=pass", request)
        self.assertNotIn(FORGED, request)

    async def test_forged_results(self) -> None:
        """A stranger's field with our name is taken away, and another's kept; also after junk."""
        await self.start()
        got = await self.accepted("a@good.test", FORGED + OTHERS + b"From: a@good.test\r\n\r\nhi")
        self.assertIn(OTHERS + b"From: a@good.test\r\n\r\nhi", got)
        self.assertNotIn(FORGED, got)
        junk = b"From: a@good.test\r\nno field\r\n" + FORGED + b"\r\nhi"
        got = await self.accepted("a@good.test", junk)
        self.assertNotIn(FORGED, got)

    async def test_reject(self) -> None:
        """Where the domain asks for it; the reply says what to do."""
        await self.start()
        for content in (FROM_BANK + b"hi", signed(FROM_BANK + b"hi\r\n") + b"more"):
            answer = await self.send("a@good.test", content)
            self.assertEqual(answer[:10], b"550 5.7.26", answer)
            self.assertIn(b"sign it with DKIM", answer)
        self.assertEqual(await self.places(), [])

    async def test_quarantine(self) -> None:
        """Junk, where the domain asks for it, or nobody can tell who wrote it."""
        await self.start()
        for content in (
            b"From: a@shop.test\r\n\r\nhi",
            b"From: a@news.bank.test\r\n\r\nhi",
            b"From: a@good.test\r\nfrom: a@bank.test\r\n\r\nhi",
            b"Subject: nobody's\r\n\r\nhi",
            b"Subject: hidden\r\nno field\r\nFrom: a@bank.test\r\n\r\nhi",
            b"From: a@good.test, b@shop.test\r\n\r\nhi",
        ):
            await self.accepted("a@good.test", content)
        self.assertEqual(await self.places(), [("Junk", ["$junk"])] * 6)

    async def test_told(self) -> None:
        """The application, the history and the mail log are told; refused mail has a line."""
        log = LogSection(mail_log=os.path.abspath(self.mktemp()))
        await self.start(settings={"log": log})
        await self.accepted("a@plain.test", signed(FROM_BANK + b"hi\r\n"))
        await self.accepted("a@good.test", b"From: a@shop.test\r\n\r\nhi")
        await self.send("a@good.test", FROM_BANK + b"hi")
        api = Client(API(self.server))
        passed, junk = reversed((await api.ask("GET", "/mailbox/messages")).json["messages"])
        mail = (await api.ask("GET", f"/mailbox/messages/{passed['id']}")).json["verdict"]
        names = ("spf", "dmarc", "is_mail_from_valid", "is_from_valid", "dkim_domains", "junk")
        told = [mail[name] for name in names]
        self.assertEqual(told, ["neutral", "pass", False, True, ["bank.test"], ""])
        self.assertIn("dkim=pass header.d=bank.test", " ".join(mail["reasons"]))
        mail = (await api.ask("GET", f"/mailbox/messages/{junk['id']}")).json["verdict"]
        self.assertIn("shop.test", mail["junk"])
        control = self.server.control()
        self.addCleanup(control.close)
        [_, view] = await control.queue.find(EntryFilter(retired=True))
        history = await control.queue.history(view.entry.id)
        text = history_text(history, self.server.server.directory)
        self.assertIn("dmarc: fail", text)
        self.assertIn("judged: iprev=pass", text)
        logged = await self.log_of("refused")
        self.assertIn("reason=dmarc", logged)
        self.assertIn("peer_ip=127.0.0.1", logged)
        self.assertIn("dmarc=pass", await self.log_of("accepted"))

    async def log_of(self, word: str) -> str:
        """The first line of the mail log of a kind."""
        path = Path(self.server.settings.log.mail_log)

        def lines() -> list[str]:
            text = path.read_text() if path.exists() else ""
            return [line for line in text.splitlines() if f" {word} " in line]

        await until(reactor, lines)
        return lines()[0]

    async def test_listener(self) -> None:
        """A listener may follow less far."""
        await self.start(on_dmarc_failure=Follow.QUARANTINE)
        await self.accepted("a@good.test", FROM_BANK + b"hi")
        self.assertEqual(await self.places(), [("Junk", ["$junk"])])
        self.count = 0
        await self.start(on_dmarc_failure=Follow.REPORT)
        got = await self.accepted("a@good.test", FROM_BANK + b"hi")
        self.assertIn(b"dmarc=fail", got)
        self.assertEqual(await self.places(), [("Inbox", [])])

    async def test_spf(self) -> None:
        """SPF alone decides only where that is wanted, and never against DMARC."""
        content = b"From: a@plain.test\r\n\r\nhi"
        await self.start()
        await self.accepted("a@bad.test", content)
        self.assertEqual(await self.places(), [("Inbox", [])])
        self.count = 0
        await self.start(on_spf_failure=Follow.QUARANTINE)
        await self.accepted("a@bad.test", content)
        await self.accepted("", content, helo="bad.test")
        self.assertEqual(await self.places(), [("Junk", ["$junk"])] * 2)
        self.count = 0
        await self.start(on_spf_failure=Follow.REJECT)
        answer = await self.send("a@bad.test", content)
        self.assertEqual(answer[:10], b"550 5.7.23", answer)
        await self.accepted("a@bad.test", signed(FROM_BANK + b"hi\r\n"))

    async def test_dns_fails(self) -> None:
        """Mail waits where refusing may have to follow; else it is taken."""
        await self.start()
        answer = await self.send("a@dark.bank.test", FROM_BANK + b"hi")
        self.assertEqual(answer[:10], b"451 4.7.26", answer)
        got = await self.accepted("a@good.test", b"From: a@late.test\r\n\r\nhi")
        self.assertIn(b"dmarc=temperror", got)
        self.assertEqual(await self.places(), [("Inbox", [])])

    async def test_real_dns(self) -> None:
        """The same of a name server, which is silent about one domain: nobody waits for long."""
        zone = {
            "good.test": {"TXT": ['"v=spf1 ip4:127.0.0.1" " -all"']},
            "_dmarc.good.test": {"TXT": ['"v=DMARC1; p=reject"']},
            "_dmarc.bank.test": {"TXT": ['"v=DMARC1; p=reject"']},
            "bank.test": {"MX": ["10 mail.bank.test."]},
            "s1._domainkey.bank.test": {"TXT": [f'"{KEY.record()}"']},
            "1.0.0.127.in-addr.arpa": {"PTR": ["client.test."]},
            "client.test": {"A": ["127.0.0.1"]},
        }
        silent = frozenset({"_dmarc.late.test"})
        dns = await DNSServer(zone, silent=silent).start(self, reactor)
        lookups = ThreadExecutor(reactor, 4, "lookups")
        self.addCleanup(lookups.stop)
        await self.start(DNSResolver(lookups, [f"127.0.0.1:{dns.port}"], 0.5))
        got = await self.accepted("a@good.test", b"From: a@good.test\r\n\r\nhi")
        self.assertIn(b"iprev=pass", got)
        self.assertIn(b"dmarc=pass", got)
        got = await self.accepted("a@x.test", signed(FROM_BANK + b"hi\r\n"))
        self.assertIn(b"dkim=pass", got)
        got = await self.accepted("a@good.test", b"From: a@late.test\r\n\r\nhi")
        self.assertIn(b"dmarc=temperror", got)
        answer = await self.send("a@good.test", FROM_BANK + b"hi")
        self.assertEqual(answer[:10], b"550 5.7.26", answer)
        self.assertIn("_dmarc.good.test/TXT", dns.asked)

    async def test_not_judged(self) -> None:
        """Who may relay is not judged, nor is anybody where nobody asked for it."""
        for settings in ({"trusted_networks": ("127.0.0.1/32",)}, {"judge": False}):
            self.count = 0
            await self.start(**settings)
            got = await self.accepted("a@good.test", FORGED + FROM_BANK + b"hi")
            self.assertEqual(got.count(b"uthentication-"), 1, got)
            self.assertIn(FORGED + FROM_BANK, got)
