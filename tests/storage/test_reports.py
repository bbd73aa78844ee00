"""What stores of reports must do on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import func, select
from twisted.trial.unittest import TestCase

from mailrelay.mailauth.dmarc_result import (
    DKIMChecked,
    DMARCResult,
    Override,
    PublishedPolicy,
    SPFChecked,
)
from mailrelay.outbound.tls_result import (
    PolicyType,
    ResultType,
    TLSFailure,
    TLSPolicy,
    TLSResult,
)
from mailrelay.queue.entry import NewMessage
from mailrelay.queue.store import StoreUnavailable
from mailrelay.reporting.dmarc_read import read_dmarc
from mailrelay.reporting.model import DMARCReport, Feedback, Kind, Report, TLSReport
from mailrelay.reporting.store import DAY, Due, Made, Received, ReportQuery
from mailrelay.reporting.tls_read import read_tls
from mailrelay.storage import report_results, reports, tables
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import register
from mailrelay.storage.report_results import DatabaseResults
from mailrelay.storage.reports import DatabaseReports
from tests.reporting.samples import OFFICE, TLS, WEBMAIL
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import new_message

DAY_1 = 20454 * DAY
JUDGED = DMARCResult(
    "192.0.2.1",
    PublishedPolicy("a.example", "reject", sp="none"),
    "none",
    is_dkim_aligned=True,
    is_spf_aligned=False,
    header_from="a.example",
    overrides=(Override("local_policy", "a list"),),
    dkim=(DKIMChecked("a.example", "s1", "pass"),),
    spf=(SPFChecked("b.example", "mfrom", "fail", "\0 odd"),),
)
STS = TLSPolicy(PolicyType.STS, ("version: STSv1", "mode: enforce"), ("mx.a.example",))
EXPIRED = TLSFailure(ResultType.CERTIFICATE_EXPIRED, "192.0.2.9", "mx.a.example", reason="late")


class ReportStoreContract(Base):
    """ResultStore, ReceivedStore and ReportRecords."""

    def make_engine(self) -> Any:
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Nothing is recorded."""
        self.database: Database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            node = register(connection, "one")
        self.results = DatabaseResults(self.database, node, lambda: 1.0)
        self.reports = DatabaseReports(self.database)
        self.ids = ids_of(self.database)

    def count(self, table: Any) -> int:
        """How many rows there are."""
        counted = select(func.count()).select_from(table)
        return self.successResultOf(self.database.read(lambda c: c.execute(counted).scalar_one()))

    def letter(self) -> NewMessage:
        """Some message."""
        return new_message(self.ids)  # type: ignore[arg-type]

    # Results

    async def test_dmarc_results(self) -> None:
        """They are found by domain and day, in pages, as they were told."""
        await self.results.record_dmarc(
            [
                ("a.example", DAY_1 + 5.0, JUDGED),
                ("b.example", DAY_1 + 6.0, JUDGED),
                ("a.example", DAY_1 + 5.0, evolve(JUDGED, source_ip="192.0.2.2")),
                ("a.example", DAY_1 + DAY, evolve(JUDGED, source_ip="192.0.2.3")),
            ]
        )
        self.assertEqual(await self.results.due(Kind.DMARC, 20454, None, 10), [])
        [first, second] = await self.results.due(Kind.DMARC, 20455, None, 10)
        self.assertEqual(first, Due(Kind.DMARC, "a.example", 20454))
        self.assertEqual(second.domain, "b.example")
        self.assertEqual(await self.results.due(Kind.DMARC, 20455, first, 10), [second])
        self.assertEqual(await self.results.due(Kind.DMARC, 20455, None, 1), [first])
        [(place, found)] = await self.results.dmarc_results(first, None, 1)
        self.assertEqual(found, JUDGED)
        [(place, found)] = await self.results.dmarc_results(first, place, 5)
        self.assertEqual(found.source_ip, "192.0.2.2")
        self.assertEqual(await self.results.dmarc_results(first, place, 5), [])

    async def test_forgotten_in_batches(self) -> None:
        """What was reported goes, and nothing else."""
        self.patch(report_results, "SWEPT_TOGETHER", 2)
        await self.results.record_dmarc([("a.example", DAY_1 + 1.0, JUDGED)] * 3)
        await self.results.record_dmarc([("a.example", DAY_1 + DAY + 1.0, JUDGED)])
        due = Due(Kind.DMARC, "a.example", 20454)
        self.assertEqual([await self.results.forget(due) for _ in range(2)], [True, False])
        self.assertEqual(self.count(tables.dmarc_result), 1)

    async def test_tls_results(self) -> None:
        """Sessions are counted by day, domain, policy and failure."""
        none = TLSPolicy(PolicyType.NONE)
        good, bad = TLSResult("a.example", STS), TLSResult("a.example", STS, EXPIRED)
        for _ in range(2):
            await self.results.record_tls(
                [
                    *((DAY_1 + 1.0, good), (DAY_1 + 2.0, good), (DAY_1 + 3.0, bad)),
                    (DAY_1 + 3.0, TLSResult("a.example", none)),
                    *((DAY_1 + DAY + 0.0, good), (DAY_1 + 3.0, TLSResult("b.example", none))),
                ]
            )
        due = await self.results.due(Kind.TLS, 20455, None, 10)
        self.assertEqual([one.domain for one in due], ["a.example", "b.example"])
        self.assertEqual(await self.results.due(Kind.TLS, 20455, due[0], 10), due[1:])
        found = {one.policy_type: one for one in await self.results.tls_results(due[0])}
        sts = found["sts"]
        self.assertEqual((sts.succeeded, sts.failed, found["no-policy-found"].succeeded), (4, 2, 2))
        [failure] = sts.failures
        self.assertEqual(
            (failure.result_type, failure.sessions, failure.sending_ip, failure.reason),
            ("certificate-expired", 2, "192.0.2.9", "late"),
        )
        self.assertFalse(await self.results.forget(due[0]))
        left = await self.results.due(Kind.TLS, 20456, None, 10)
        self.assertEqual(
            [(one.domain, one.day) for one in left], [("b.example", 20454), ("a.example", 20455)]
        )

    async def test_many_kinds_of_failure(self) -> None:
        """Beyond the bound failures are counted by their type alone."""
        self.patch(report_results, "MOST_ROWS", 2)
        for number in (1, 2, 3, 4, 1):
            failure = evolve(EXPIRED, receiving_ip=f"192.0.2.{number}")
            await self.results.record_tls([(DAY_1, TLSResult("a.example", STS, failure))])
        [policy] = await self.results.tls_results(Due(Kind.TLS, "a.example", 20454))
        told = sorted((one.receiving_ip, one.sessions) for one in policy.failures)
        self.assertEqual(told, [("", 2), ("192.0.2.1", 2), ("192.0.2.2", 1)])

    async def test_made_once(self) -> None:
        """Who comes second makes none, and queues nothing."""
        due = Due(Kind.TLS, "a.example", 20454)
        made = Made(Kind.TLS, "a.example", due.began_at, due.ended_at, 5.0, 7, "mailed")
        self.assertTrue(await self.results.make(made, [self.letter()]))
        self.assertFalse(await self.results.make(made, [self.letter()]))
        self.assertEqual(self.count(tables.message), 1)
        self.assertTrue(await self.results.make(evolve(made, kind=Kind.DMARC), []))
        await self.results.tell(evolve(made, outcome="posted"))
        self.assertEqual(
            await self.reports.sent(ReportQuery(Kind.TLS)), [evolve(made, outcome="posted")]
        )

    async def test_letters_that_cannot_be_stored(self) -> None:
        """Then the report is not made either."""
        made = Made(Kind.TLS, "a.example", 0.0, 1.0, 5.0, 7, "")
        letter = self.letter()
        await self.results.make(made, [letter])
        other = evolve(made, domain="b.example")
        with self.assertRaises(Exception) as raised:
            await self.results.make(other, [letter])
        self.assertNotIsInstance(raised.exception, StoreUnavailable)
        self.flushLoggedErrors()
        self.assertEqual(len(await self.reports.sent(ReportQuery())), 1)

    async def test_results_are_swept(self) -> None:
        """What nobody was told of goes, a batch at a time."""
        await self.results.record_dmarc([("a.example", DAY_1 + 1.0, JUDGED)])
        await self.results.record_tls([(DAY_1 + 1.0, TLSResult("a.example", STS))])
        await self.results.make(Made(Kind.TLS, "a", 0.0, 1.0, 5.0, None, ""), [])
        self.assertFalse(await self.results.sweep(DAY_1, 5.0))
        self.assertTrue(await self.results.sweep(DAY_1 + DAY, 6.0))
        self.assertFalse(await self.results.sweep(DAY_1 + DAY, 6.0))
        for table in (tables.dmarc_result, tables.tls_result, tables.report_made):
            self.assertEqual(self.count(table), 0)

    # Reports of others

    def received(self, report: Report, at: float = 1.0, *, verified: bool = True) -> Received:
        """``report``, as it came."""
        kinds = {"DMARCReport": Kind.DMARC, "TLSReport": Kind.TLS, "Feedback": Kind.FEEDBACK}
        return Received(kinds[type(report).__name__], "w.example", verified, at, 9, report)

    async def test_kept_and_found(self) -> None:
        """Each kind as it came; the newest first."""
        dmarc, tls = read_dmarc([WEBMAIL]), read_tls([TLS])
        feedback = Feedback("w.example", "<1@w>", "example.org", 3.0, "abuse", recipients=("a@b",))
        every: list[Report] = [dmarc, tls, feedback]
        for at, report in enumerate(every, 1):
            self.assertTrue(await self.reports.add(self.received(report, float(at))))
        listed = await self.reports.find(ReportQuery())
        self.assertEqual([one.kind for one in listed], [Kind.FEEDBACK, Kind.TLS, Kind.DMARC])
        newest, _, oldest = listed
        self.assertEqual((oldest.succeeded, oldest.failed, oldest.domain), (42, 3, "example.org"))
        self.assertEqual((oldest.message_id, oldest.source), (9, "w.example"))
        for one, kept in zip(listed, reversed(every), strict=True):
            self.assertEqual(await self.reports.get(one.id), (one, kept))
        self.assertIsNone(await self.reports.get(newest.id + 1))
        for query, expected in (
            (ReportQuery(Kind.TLS), 1),
            (ReportQuery(domain="example.org"), 3),
            (ReportQuery(domain="example.net"), 0),
            (ReportQuery(since=2.0), 2),
            (ReportQuery(before=newest.id), 2),
            (ReportQuery(limit=1), 1),
            (ReportQuery(is_verified=True), 3),
            (ReportQuery(is_verified=False), 0),
        ):
            self.assertEqual(len(await self.reports.find(query)), expected)
            self.assertEqual(len(await self.reports.contents(query)), expected)

    async def test_once(self) -> None:
        """The same report is kept once; one that is verified replaces a forged one."""
        report = read_dmarc([WEBMAIL])
        forged = evolve(report, rows=())
        self.assertTrue(await self.reports.add(self.received(forged, verified=False)))
        self.assertFalse(await self.reports.add(self.received(forged, verified=False)))
        self.assertTrue(await self.reports.add(self.received(report)))
        self.assertFalse(await self.reports.add(self.received(forged, verified=False)))
        self.assertFalse(await self.reports.add(self.received(forged)))
        [(_, kept)] = await self.reports.contents(ReportQuery())
        self.assertEqual(kept, report)

    async def test_too_long(self) -> None:
        """Rows of few messages are left out of what is kept; the numbers stay."""
        self.patch(reports, "MOST_CONTENT_BYTES", 1000)
        report = read_dmarc([WEBMAIL])
        await self.reports.add(self.received(report))
        [(id_, kept)] = await self.reports.contents(ReportQuery())
        assert kept == evolve(report, rows=report.rows[:1], left_out=3)
        found = await self.reports.get(id_)
        assert found is not None
        self.assertEqual((found[0].succeeded, found[0].failed), (42, 3))
        self.patch(reports, "MOST_CONTENT_BYTES", 9999)
        self.patch(reports, "MOST_UNVERIFIED_BYTES", 1000)
        guessed = evolve(report, report_id="guessed")
        await self.reports.add(self.received(guessed, verified=False))
        [(_, kept), _] = await self.reports.contents(ReportQuery())
        assert isinstance(kept, DMARCReport)
        self.assertEqual(len(kept.rows), 1)
        self.patch(reports, "MOST_UNVERIFIED_BYTES", 1)
        feedback = Feedback("w.example", "<1@w>", "example.org", 3.0, "abuse", recipients=("a@b",))
        await self.reports.add(self.received(feedback, verified=False))
        await self.reports.add(
            self.received(evolve(read_tls([TLS]), report_id="x"), verified=False)
        )
        [(_, least), (_, none), *_] = await self.reports.contents(ReportQuery())
        assert isinstance(least, TLSReport)
        assert isinstance(none, Feedback)
        self.assertEqual((least.failed, least.policies[0].strings, none.recipients), (3, (), ()))
        self.patch(reports, "MOST_CONTENT_BYTES", 600)
        await self.reports.add(self.received(read_tls([TLS])))
        [(_, tls), *_] = await self.reports.contents(ReportQuery())
        self.assertEqual(tls.failed, 3)

    async def test_swept(self) -> None:
        """Old ones go, and those beyond the newest so many."""
        self.patch(reports, "SWEPT_TOGETHER", 2)
        for number in range(7):
            report = evolve(read_dmarc([OFFICE]), report_id=str(number))
            received = self.received(report, float(number), verified=number not in (3, 6))
            await self.reports.add(received)
        self.assertTrue(await self.reports.sweep(1.0, 5))
        self.assertFalse(await self.reports.sweep(1.0, 5))
        self.assertTrue(await self.reports.sweep(0.0, 2))
        self.assertTrue(await self.reports.sweep(0.0, 2))
        self.assertFalse(await self.reports.sweep(0.0, 2))
        left = await self.reports.find(ReportQuery())
        self.assertEqual([one.report_id for one in left], ["5", "4"])


class SQLiteReportStoreTests(OnSQLite, ReportStoreContract, TestCase):
    """On SQLite."""


class PostgresReportStoreTests(OnPostgres, ReportStoreContract, TestCase):
    """On PostgreSQL."""
