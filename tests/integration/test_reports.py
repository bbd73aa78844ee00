"""Two servers: what one notes of the other's mail and TLS is told the next day, and shown there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email import message_from_bytes
from typing import Any

import dkim as oracle
from sqlalchemy import func, select, update
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.config.settings import ListenerSection, SMTPOutSection
from mailrelay.control.mailbox import MessageFilter
from mailrelay.mailauth.dkim import Algorithm
from mailrelay.outbound.tls_result import PolicyType, ResultType, TLSFailure, TLSPolicy, TLSResult
from mailrelay.reporting.settings import ReportSettings
from mailrelay.reporting.store import Listed, ReportQuery
from mailrelay.service.controls import Control
from mailrelay.storage import tables
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.loopback import Loopback
from tests.integration.webapi.api import API
from tests.integration.world import mailbox, soon, start_world, until
from tests.reporting.samples import TLS, WEBMAIL, packed

DAY = 86400.0


def rows(control: Control, table: Any) -> int:
    """How many a table has now."""
    with control.database.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


class ReportsTests(TestCase):
    """One serves example.org, the other b.test."""

    timeout = 120

    def setUp(self) -> None:
        """DNS says what each publishes."""
        self.texts = {
            "b.test": [b"v=spf1 -all"],
            "_dmarc.b.test": [b"v=DMARC1; p=quarantine; rua=mailto:dmarc-reports@b.test"],
            "_smtp._tls.b.test": [b"v=TLSRPTv1; rua=mailto:tls-reports@b.test"],
            "example.org": [b"v=spf1 -all"],
            "_dmarc.example.org": [b"v=DMARC1; p=reject; rua=mailto:dmarc-reports@example.org"],
        }

    async def server(self, **settings: Any) -> Loopback:
        """One that judges mail."""
        listener = ListenerSection("mx", "tcp:0:interface=127.0.0.1", judge=True)
        resolver = FakeResolver(txt=self.texts)
        return await Loopback.start(
            self, reactor, roles=(), listener=[listener], resolver=resolver, **settings
        )

    async def start(self) -> None:
        """Both run; DNS says where reports go."""
        self.told = await self.server(smtp_out=SMTPOutSection())
        self.there = self.control_of(self.told)
        await self.there.directory.add_domain("b.test")
        there = f"127.0.0.1:{self.told.port('mx')}"
        self.teller = await self.server(smtp_out=SMTPOutSection(host_overrides={"b.test": there}))
        self.here = self.control_of(self.teller)
        self.keys = await self.here.dkim.add("example.org", [Algorithm.RSA])
        await self.here.dkim.activate(self.keys)
        self.texts |= {key.name: [key.record.encode()] for key in self.keys}
        server = self.teller.server
        await until(reactor, lambda: bool(server.directory.dkim_keys))
        await until(reactor, lambda: "b.test" in self.told.server.directory.domains)

    def control_of(self, server: Loopback) -> Control:
        """What its operator asks."""
        control = server.control()
        self.addCleanup(control.close)
        return control

    async def test_next_day(self) -> None:
        """Noted, written, made, signed, delivered, read, kept and shown."""
        await self.start()
        reports, at = self.teller.server.reports, time.time() - DAY
        for _ in range(3):
            replies = await self.teller.say(
                b"EHLO b.test",
                b"MAIL FROM:<a@b.test>",
                b"RCPT TO:<user@example.org>",
                b"DATA",
                b"From: a@b.test\r\n\r\nhi\r\n.",
            )
            self.assertEqual(replies[-1][:3], b"250", replies)
        failure = TLSFailure(ResultType.CERTIFICATE_EXPIRED, receiving_host="mx.b.test")
        policy = TLSPolicy(PolicyType.STS, mx_hosts=("mx.b.test",))
        reports.record_tls(TLSResult("b.test", policy, failure), at)
        dmarc, tls = reports.makings
        await self.noted(3)
        while not (await dmarc.is_any_due() and await tls.is_any_due()):
            await soon(reactor)
        for making in (dmarc, tls, dmarc, tls):
            await making.run()
        found = await self.arrived(2)
        kinds = {one.kind.value: one for one in found}
        self.assertEqual((kinds["dmarc"].failed, kinds["tls"].failed), (3, 1))
        self.assertEqual({(one.source, one.is_verified) for one in found}, {("example.org", True)})
        summary = await self.there.reports.summary(ReportQuery(domain="b.test"))
        [source] = summary.sources
        self.assertEqual((source.ip, source.messages, source.aligned), ("127.0.0.1", 3, 0))
        self.assertEqual(source.dispositions, {"quarantine": 3})
        self.assertEqual([one.result_type for one in summary.failures], ["certificate-expired"])
        made = await self.here.reports.sent(ReportQuery())
        self.assertEqual(len(made), 2)
        self.assertTrue(all("mailed to" in one.outcome for one in made))
        await self.look_at_mail()
        await self.not_in_turn()

    async def noted(self, count: int) -> None:
        """What was judged of so many messages is written, and as if it was yesterday."""
        table = tables.dmarc_result
        await until(reactor, lambda: rows(self.here, table) == count)
        with self.here.database.engine.begin() as connection:
            connection.execute(update(table).values(at=table.c.at - DAY))

    async def not_in_turn(self) -> None:
        """Of the reports themselves nobody is told."""
        reports = self.told.server.reports
        await until(reactor, lambda: rows(self.there, tables.dmarc_result) == 2)
        for received in (tables.dmarc_result.c.at, tables.report.c.received_at):
            with self.there.database.engine.begin() as connection:
                moved = update(received.table).values({received.name: received - DAY})
                connection.execute(moved)
        for making in reports.makings:
            await making.run()
        self.assertEqual(await self.there.reports.sent(ReportQuery()), [])

    async def arrived(self, count: int) -> Sequence[Listed]:
        """The reports, once there are so many."""
        for _ in range(3000):
            if len(found := await self.there.reports.find(ReportQuery())) >= count:
                return found
            await soon(reactor)
        raise AssertionError("no reports came")

    async def look_at_mail(self) -> None:
        """What lies in the mailbox for reports is signed by who sent it."""
        names = {key.name.encode() + b".": key.record.encode() for key in self.keys}
        every = await mailbox(self.told, 2)
        kept = await self.there.messages.find(MessageFilter())
        self.assertEqual([message.mailbox for _, message in kept], ["Reports"] * 2)
        for raw in every:
            mail = message_from_bytes(raw)
            self.assertRegex(mail["From"], r"^<(dmarc|tls)-reports@example\.org>$")
            verified = oracle.DKIM(raw).verify(dnsfunc=lambda name, **_: names.get(name))
            self.assertTrue(verified)

    async def test_posted(self) -> None:
        """By anybody, within bounds, to a server that wants it."""
        wanted = ReportSettings(receive_https=True)
        api = API(await start_world(self, reactor, reports=wanted))
        good = TLS.replace(b"webmail", b"poster")
        for body, type_, status in (
            (packed(good), "application/tlsrpt+gzip", 201),
            (packed(good), "application/tlsrpt+gzip", 201),
            (good, "application/tlsrpt+json", 201),
            (good, "application/json", 415),
            (b"{}", "application/tlsrpt+json", 400),
            (packed(WEBMAIL), "application/tlsrpt+gzip", 400),
            (packed(b"{" + b" " * 12_000_000), "application/tlsrpt+gzip", 413),
            (b" " * 300_000, "application/tlsrpt+json", 413),
            (good.replace(b"example.org", b"a.test"), "application/tlsrpt+json", 404),
        ):
            answer = await api.ask("POST", "/tlsrpt", body, {"Content-Type": type_})
            self.assertEqual(answer.status, status, (type_, answer.body))
        self.there = self.control_of(api.server)
        [listed] = await self.there.reports.find(ReportQuery())
        self.assertEqual((listed.source, listed.is_verified), ("127.0.0.1", False))

    async def test_not_posted(self) -> None:
        """There is no such path unless it is wanted."""
        api = API(await start_world(self, reactor))
        answer = await api.ask("POST", "/tlsrpt", TLS, {})
        self.assertEqual(answer.status, 404)
