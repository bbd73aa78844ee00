"""Reports are made once, say what was recorded, and go where they are wanted."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from email import message_from_bytes
from email.message import Message as Mail
from random import Random
from typing import Any
from xml.etree import ElementTree

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.mailauth.dmarc_result import (
    DKIMChecked,
    DMARCResult,
    Override,
    PublishedPolicy,
    SPFChecked,
)
from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.net.threads import AtOnce
from mailrelay.outbound.tls_result import PolicyType, ResultType, TLSFailure, TLSPolicy, TLSResult
from mailrelay.queue.entry import NewMessage
from mailrelay.reporting import making
from mailrelay.reporting.daily import FIRST_AFTER, LOOK_EVERY, SPREAD, Daily
from mailrelay.reporting.destinations import Wanted
from mailrelay.reporting.dmarc_read import read_dmarc
from mailrelay.reporting.dmarc_write import policy_of, row_of, written_dmarc
from mailrelay.reporting.letter import Identity
from mailrelay.reporting.making import POST_AGAIN, Making, Surrounding
from mailrelay.reporting.model import AuthResult, DMARCReport, Kind, Reason, TLSReport
from mailrelay.reporting.reading import report_in
from mailrelay.reporting.store import DAY, Received, ReportQuery
from mailrelay.reporting.tls_read import read_tls
from mailrelay.reporting.tls_write import written_tls
from mailrelay.storage import tables
from mailrelay.storage.nodes import register
from mailrelay.storage.report_results import DatabaseResults
from mailrelay.storage.reports import DatabaseReports
from mailrelay.testing.fakes import FakeResolver
from tests.reporting.samples import NAMESPACED, TLS, WEBMAIL
from tests.storage.databases import OnSQLite, database_on, ids_of

TODAY = 20455
YESTERDAY = float(20454 * DAY)
JUDGED = DMARCResult(
    "192.0.2.1",
    PublishedPolicy("a.example", "reject", np="reject"),
    "pass",
    is_dkim_aligned=True,
    is_spf_aligned=False,
    header_from="a.example",
    envelope_to="example.org",
    dkim=(DKIMChecked("a.example", "s1", "pass"),),
    spf=(SPFChecked("b.example", "mfrom", "fail"),),
)
FORGED = evolve(
    JUDGED,
    source_ip="203.0.113.9",
    disposition="quarantine",
    is_dkim_aligned=False,
    overrides=(Override("policy_test_mode", "t=y <&>"),),
    dkim=(),
)
WANTED = {
    "_dmarc.a.example": [b"v=DMARC1; p=reject; rua=mailto:d@a.example!1m,mailto:e@a.example"],
    "_smtp._tls.a.example": [b"v=TLSRPTv1; rua=mailto:t@a.example, https://a.example/tls"],
}
STS = TLSPolicy(PolicyType.STS, ("version: STSv1",), ("mx.a.example",))


async def related(one: str, other: str) -> bool:
    """Nobody is."""
    return False


class WritingTests(SynchronousTestCase):
    """What is written is what was meant, by our readers and others'."""

    def report(self, *results: DMARCResult) -> DMARCReport:
        """Of some messages."""
        rows = tuple(row_of(result) for result in results)
        return DMARCReport(
            *("us & them", "dmarc-reports@example.org", "1@example.org", 86400.0, 172799.0),
            policy_of(JUDGED.policy),
            rows,
            errors=("some <error>",),
        )

    def test_dmarc(self) -> None:
        """Read again it is the same, but for what the schema has no place for."""
        report = self.report(JUDGED, FORGED)
        first, second = report.rows
        self.assertEqual((first.disposition, second.reasons[0].type), ("none", "other"))
        read = read_dmarc([written_dmarc(report)])
        self.assertEqual(read, evolve(report, policy=evolve(report.policy, sp="reject", np="")))

    def test_order_of_the_schema(self) -> None:
        """RFC 7489 appendix C: elements of a sequence come in its order."""
        root = ElementTree.fromstring(written_dmarc(self.report(FORGED)))
        names = [child.tag for child in root]
        self.assertEqual(names, ["version", "report_metadata", "policy_published", "record"])
        policy = [child.tag for child in root[2]]
        self.assertEqual(policy, ["domain", "adkim", "aspf", "p", "sp", "pct"])
        self.assertEqual([child.tag for child in root[3]], ["row", "identifiers", "auth_results"])
        self.assertEqual(root.findtext("record/row/policy_evaluated/reason/comment"), "t=y <&>")

    @given(st.text(max_size=50), st.text(max_size=50))
    def test_any_text(self, comment: str, selector: str) -> None:
        """What came from outside ends no element, and is XML always."""
        odd = evolve(
            FORGED,
            overrides=(Override("local_policy", comment),),
            dkim=(DKIMChecked("a.example", selector, "fail"),),
        )
        read = read_dmarc([written_dmarc(self.report(odd))])
        [row] = read.rows
        self.assertEqual((len(row.reasons), len(row.dkim_results)), (1, 1))

    def test_tls(self) -> None:
        """A report of others, written by us, reads the same."""
        report = read_tls([TLS])
        self.assertEqual(read_tls([written_tls(report)]), report)

    def test_samples(self) -> None:
        """So do those of mail, without what is of their successor."""
        for sample in (WEBMAIL, NAMESPACED):
            report = read_dmarc([sample])
            known = evolve(
                report, policy=evolve(report.policy, np="", sp=report.policy.sp or report.policy.p)
            )
            self.assertEqual(read_dmarc([written_dmarc(report)]), known)
        self.assertEqual(Reason("other"), Reason("other", ""))
        self.assertEqual(AuthResult("a", "pass").name, "")


class Posts:
    """A poster that answers from a list."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.got: list[tuple[str, Mapping[str, str], bytes]] = []

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> HTTPAnswer:
        """See Poster."""
        self.got.append((url, headers, body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return HTTPAnswer(answer, {}, b"", is_whole=True)


class MakingTests(OnSQLite, TestCase):
    """Over a real store."""

    def setUp(self) -> None:
        """A day has begun."""
        self.database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            self.node = register(connection, "one")
        self.clock, self.at = Clock(), float(TODAY * DAY + 100)
        self.results = DatabaseResults(self.database, self.node, self.now)
        self.reports = DatabaseReports(self.database)
        self.posts = Posts()
        self.counted: list[tuple[str, str]] = []
        self.ids = ids_of(self.database)
        self.txt: dict[str, Any] = dict(WANTED)
        self.failing: frozenset[str] = frozenset()

    def now(self) -> float:
        """The wall clock."""
        return self.at

    def making(self, kind: Kind = Kind.DMARC, results: DatabaseResults | None = None) -> Making:
        """Makes reports of ``kind``."""

        def signed(letter: NewMessage) -> Deferred[NewMessage]:
            content = evolve(letter.content, prefix=b"X-Signed: yes\r\n")
            return succeed(evolve(letter, content=content))

        return Making(
            kind,
            Surrounding(
                store=results or self.results,
                received=self.reports,
                wanted=Wanted(lambda name: self.resolver().texts(name), related),
                identity=lambda: Identity("example.org", "Example", "https://example.org/"),
                new_id=self.ids.new_id,
                token=lambda: "0123456789abcdef" * 2,
                now=self.now,
                sign=signed,
                executor=AtOnce(),
                poster=self.posts,
                pause=self.pause,
                told=lambda kind, word: self.counted.append((kind.value, word)),
            ),
        )

    def pause(self, seconds: float) -> Deferred[None]:
        """Waits on the clock."""
        done: Deferred[None] = Deferred()
        self.clock.callLater(seconds, done.callback, None)
        return done

    def resolver(self) -> FakeResolver:
        """DNS as it is now."""
        return FakeResolver(txt=self.txt, failing=self.failing)

    def letters(self) -> list[tuple[Mail, bytes, list[str]]]:
        """Those that are queued: parsed, whole, and for whom."""
        entry, message, content = tables.entry, tables.message, tables.content
        found = []
        with self.database.engine.connect() as connection:
            for row in connection.execute(
                select(message.c.id, content.c.prefix, content.c.body)
                .join(content, content.c.message_id == message.c.id)
                .order_by(message.c.id)
            ).all():
                to = select(entry.c.recipient).where(entry.c.message_id == row.id)
                whole = bytes(row.prefix) + bytes(row.body)
                recipients = list(connection.execute(to.order_by(entry.c.id)).scalars())
                found.append((message_from_bytes(whole), whole, recipients))
        return found

    async def judged(self, *results: DMARCResult, at: float = YESTERDAY + 5) -> None:
        """Messages of a.example came."""
        await self.results.record_dmarc([("a.example", at, result) for result in results])

    async def test_report_of_mail(self) -> None:
        """One message to both addresses, which says what was judged, and is signed."""
        await self.judged(JUDGED, FORGED, JUDGED)
        await self.making().run()
        [(mail, whole, recipients)] = self.letters()
        self.assertEqual(recipients, ["d@a.example", "e@a.example"])
        with self.database.engine.connect() as connection:
            told = connection.execute(select(tables.entry.c.notify)).scalars()
            self.assertEqual(set(told), {"NEVER"})
            [path] = connection.execute(select(tables.message.c.reverse_path)).scalars()
        self.assertEqual(path, "dmarc-reports@example.org")
        self.assertEqual(mail["X-Signed"], "yes")
        self.assertEqual(mail["From"], "<dmarc-reports@example.org>")
        subject = mail["Subject"].replace("\r\n", "").replace("\n", "")
        report_id = "1767225600.0123456789abcdef@example.org"
        expected = f"Report Domain: a.example Submitter: example.org Report-ID: <{report_id}>"
        self.assertEqual(subject, expected)
        [part] = [one for one in mail.walk() if one.get_filename()]
        self.assertEqual(part.get_content_type(), "application/gzip")
        name = str(part.get_filename())
        self.assertRegex(name, r"^example\.org!a\.example!1767225600!1767311999!\d+\.xml\.gz$")
        report = report_in(whole)
        assert isinstance(report, DMARCReport)
        counts = {row.source_ip: (row.count, row.disposition) for row in report.rows}
        self.assertEqual(counts, {"192.0.2.1": (2, "none"), "203.0.113.9": (1, "quarantine")})
        self.assertEqual((report.report_id, report.organization), (report_id, "Example"))
        self.assertEqual(self.counted, [("dmarc", "sent")])
        self.assertFalse(await self.making().is_any_due())
        [made] = await self.reports.sent(ReportQuery())
        self.assertEqual(made.outcome, "mailed to d@a.example; mailed to e@a.example")

    async def test_twice(self) -> None:
        """Two nodes make one; what is recorded too late of a day is told to nobody."""
        await self.judged(JUDGED)
        with self.database.engine.begin() as connection:
            other = DatabaseResults(self.database, register(connection, "two"), self.now)
        for results in (self.results, other):
            await self.judged(JUDGED)
            await self.making(results=results).run()
        self.assertEqual(len(self.letters()), 1)
        self.assertFalse(await self.making().is_any_due())

    async def test_day_that_is_not_over(self) -> None:
        """Today is told of tomorrow, by itself."""
        await self.judged(JUDGED, at=TODAY * DAY + 1.0)
        await self.making().run()
        self.assertEqual(self.letters(), [])
        await self.judged(JUDGED)
        self.at += DAY
        await self.making().run()
        await self.making().run()
        self.assertEqual(len(self.letters()), 2)

    async def test_nobody_asks(self) -> None:
        """Results are forgotten where no report is wanted, and nothing is noted."""
        self.txt = {"_dmarc.a.example": [b"v=DMARC1; p=none"]}
        await self.judged(JUDGED)
        await self.making().run()
        self.assertEqual((self.letters(), await self.reports.sent(ReportQuery())), ([], []))
        self.assertFalse(await self.making().is_any_due())

    async def test_dns_fails(self) -> None:
        """The next run makes it."""
        self.failing = frozenset({"_dmarc.a.example"})
        await self.judged(JUDGED)
        await self.making().run()
        self.assertEqual(self.letters(), [])
        self.failing = frozenset()
        await self.making().run()
        self.assertEqual(len(self.letters()), 1)

    async def test_too_large(self) -> None:
        """Who takes less gets none."""
        self.txt["_dmarc.a.example"] = [b"v=DMARC1; rua=mailto:d@a.example!1,mailto:e@a.example"]
        await self.judged(JUDGED)
        await self.making().run()
        [(_, _, recipients)] = self.letters()
        self.assertEqual(recipients, ["e@a.example"])
        [made] = await self.reports.sent(ReportQuery())
        self.assertIn("not to d@a.example, which takes less", made.outcome)

    async def test_many_kinds_of_mail(self) -> None:
        """What a report has no room for is counted in it."""
        self.patch(making, "MOST_ROWS", 2)
        await self.judged(*(evolve(JUDGED, source_ip=f"192.0.2.{n}") for n in range(5)))
        await self.making().run()
        report = report_in(self.letters()[0][1])
        assert isinstance(report, DMARCReport)
        self.assertEqual((len(report.rows), report.errors), (2, ("3 messages are left out",)))

    async def test_only_reports_came(self) -> None:
        """Two servers do not tell each other of their reports for ever."""
        at = YESTERDAY + 9
        came: list[DMARCReport | TLSReport] = [read_dmarc([WEBMAIL]), read_tls([TLS])]
        for number, report in enumerate(came):
            kind = Kind.TLS if isinstance(report, TLSReport) else Kind.DMARC
            received = Received(kind, "mail.a.example", True, at, number, report)
            await self.reports.add(received)
        await self.judged(JUDGED, JUDGED)
        await self.making().run()
        self.assertEqual(self.letters(), [])
        self.assertFalse(await self.making().is_any_due())
        await self.reports.add(Received(Kind.TLS, "xa.example", True, at, 5, read_tls([TLS])))
        self.at += DAY
        await self.judged(JUDGED, JUDGED, at=YESTERDAY + DAY)
        await self.making().run()
        self.assertEqual(len(self.letters()), 1)

    async def sessions(self) -> None:
        """Two, one of which failed."""
        failure = TLSFailure(ResultType.CERTIFICATE_EXPIRED, receiving_host="mx.a.example")
        results = [TLSResult("a.example", STS), TLSResult("a.example", STS, failure)]
        await self.results.record_tls([(YESTERDAY + 1, result) for result in results])

    async def test_report_about_tls(self) -> None:
        """By mail, though TLS may fail for it, and by POST."""
        await self.sessions()
        self.posts.answers = [201]
        await self.making(Kind.TLS).run()
        [(mail, whole, recipients)] = self.letters()
        self.assertEqual(recipients, ["t@a.example"])
        told = [
            mail[name]
            for name in ("From", "TLS-Report-Domain", "TLS-Report-Submitter", "TLS-Required")
        ]
        self.assertEqual(told, ["<tls-reports@example.org>", "a.example", "example.org", "No"])
        self.assertEqual(
            (mail.get_content_type(), mail.get_param("report-type")), ("multipart/report", "tlsrpt")
        )
        report = report_in(whole)
        assert isinstance(report, TLSReport)
        self.assertEqual((report.domain, report.succeeded, report.failed), ("a.example", 1, 1))
        [(url, headers, body)] = self.posts.got
        self.assertEqual(
            (url, headers["Content-Type"]), ("https://a.example/tls", "application/tlsrpt+gzip")
        )
        self.assertEqual(read_tls([gzip.decompress(body)]), report)
        [made] = await self.reports.sent(ReportQuery())
        self.assertEqual(
            made.outcome, "mailed to t@a.example; posted to https://a.example/tls: 201"
        )
        self.assertEqual(self.counted, [("tls", "sent")] * 2)
        with self.database.engine.connect() as connection:
            [door] = connection.execute(select(tables.message.c.door)).scalars()
        self.assertEqual(door, "tls-report")

    async def test_post_again(self) -> None:
        """After a while, and then not any more."""
        await self.sessions()
        self.posts.answers = [CallFailed("no answer"), 503, 500]
        await self.making(Kind.TLS).run()
        for wait in POST_AGAIN:
            [made] = await self.reports.sent(ReportQuery())
            self.assertIn("to be posted", made.outcome)
            self.clock.advance(wait)
        [made] = await self.reports.sent(ReportQuery())
        self.assertIn("posted to https://a.example/tls: 500", made.outcome)
        self.assertEqual(self.counted[-1], ("tls", "failed"))

    async def test_stop_gives_up(self) -> None:
        """What waits to be posted again does not outlive the server."""
        await self.sessions()
        self.posts.answers = [503, 201]
        making = self.making(Kind.TLS)
        await making.run()
        making.stop()
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.assertEqual(len(self.posts.got), 1)

    async def test_each_day_at_a_moment(self) -> None:
        """Not before the last results are written, and when chance says."""
        self.at, swept = float(TODAY * DAY), []

        async def sweep() -> bool:
            swept.append(self.at)
            return len(swept) == 1

        class Half(Random):
            def random(self) -> float:
                return 0.5

        daily = Daily(self.clock, self.now, Half(), [self.making()], sweep)
        daily.startService()
        self.addCleanup(daily.stopService)
        await self.judged(JUDGED)
        made_at = None
        while made_at is None:
            self.at += LOOK_EVERY
            self.clock.advance(LOOK_EVERY)
            made_at = self.at if self.letters() else None
        late = made_at - TODAY * DAY - FIRST_AFTER - SPREAD / 2
        self.assertTrue(0 <= late < LOOK_EVERY)
        self.assertEqual(swept[0], swept[1])

    async def test_failed_ones_are_tried_within_the_hour(self) -> None:
        """Not with every look."""
        self.failing, asked = frozenset({"_dmarc.a.example"}), []
        making = self.making()

        async def sweep() -> bool:
            return False

        daily = Daily(self.clock, self.now, Random(1), [making], sweep)
        self.at = float(TODAY * DAY + 6 * 3600)
        await self.judged(JUDGED)
        for _ in range(12):
            await daily.look()
            waiting = await making.is_any_due()
            asked.append(waiting)
            self.at += 400
            if len(asked) == 2:
                self.failing = frozenset()
        self.assertEqual(asked, [True] * 9 + [False] * 3)
