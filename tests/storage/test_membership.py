"""What taking members off must do on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import select, update
from twisted.trial.unittest import TestCase

from mailrelay.control.aliases import AliasControl, AliasDetails
from mailrelay.control.membership import Leaving, Left, Reason
from mailrelay.directory.model import Domain
from mailrelay.message.edit import Edit
from mailrelay.message.member_path import MembersCopy
from mailrelay.observe.events import FAILING, EventKind, NewEvent
from mailrelay.queue.entry import Finished
from mailrelay.queue.report import Notices
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.alias_records import DatabaseAliases
from mailrelay.storage.database import Database
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.member_failures import STALE_AFTER
from mailrelay.storage.membership import DatabaseMembers
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import new_message

LIST = "list@example.org"
DAY = 86400.0
KEY = ("list", "example.org")
ANN, BOB = Address("ann", "example.net"), Address("bob", "example.net")


class MembershipContract(Base):
    """Members that fail, and members that leave."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A list of two that takes who failed twice off."""
        self.database: Database = database_on(self, self.make_engine())
        directory = DatabaseDirectory(self.database, lambda: 1.0)
        self.successResultOf(directory.add_domain("op", Domain(0, "example.org")))
        self.control = AliasControl(DatabaseAliases(self.database, lambda: 7.0), "op")
        with self.database.engine.begin() as connection:
            node = register(connection, "main")
        spool = RowSpool(self.database, lambda: "0" * 32)
        self.queue = DatabaseQueueStore(self.database, ids_of(self.database), node, spool)
        self.told: list[NewEvent] = []
        self.records = DatabaseMembers(self.database, node, lambda: 9.0, self.told.extend)
        self.queue.committed = self.told.extend

    async def make_list(self, *members: Address) -> int:
        """The id of a list."""
        await self.control.add(LIST, [str(m) for m in members], AliasDetails(removes_after=2))
        return (await self.control.alias(LIST)).id

    async def outcome(self, list_id: int, kind: EventKind, **data: Any) -> NewEvent:
        """What is recorded of a copy of ann's."""
        by: dict[str, Any] = {
            "alias": Address(*KEY),
            "member_of": list_id,
            "edit": Edit(b"List-Id: <x>\r\n"),
        }
        await self.queue.add(new_message(self.queue, recipient=ANN, **by))
        [entry] = await self.queue.claim_due(1e9, 10, [])
        self.assertEqual((entry.member_of, entry.edit), (list_id, by["edit"]))
        data = {"recipient": str(ANN), "code": 550, "answered": True, **data}
        event = NewEvent(kind, 200.0, entry.message.id, entry.id, None, data)
        member = (list_id, str(ANN))
        finished = Finished(entry.id, entry.epoch, 200.0, event, 1000.0, unbegun=True)
        await self.queue.finish_attempts([evolve(finished, member=member)], [])
        return self.told[-1]

    async def failures(self) -> list[int]:
        """How often each member failed in a row, by address."""
        column = tables.alias_member.c
        wanted = select(column.failures).order_by(column.address)
        return list(await self.database.read(lambda c: c.execute(wanted).scalars().all()))

    async def leaving(self, member: Address, reason: Reason) -> Leaving:
        """With a notice for whatever becomes of it."""
        notices = Notices("mail.example.org", self.queue.new_id, lambda: 9.0)
        made = {
            left: await notices.message(BOB, "gone", left.value, lambda entry: entry)
            for left in (Left.TAKEN_OFF, Left.LAST)
        }
        return Leaving(KEY, member, reason, made)

    async def notices(self) -> list[str]:
        """What owners were told."""
        entries = await self.queue.claim_due(1e9, 10, [])
        bodies = [(await self.queue.content(one.message.id)).body for one in entries]
        return [(body or b"").split(b"\r\n\r\n")[1].decode().strip() for body in bodies]

    async def test_counted(self) -> None:
        """In a row, only what was answered for good; a delivery ends the row."""
        list_id = await self.make_list(ANN, BOB)
        failed, delivered = EventKind.FAILED, EventKind.DELIVERED
        for kind, data, expected in (
            (failed, {}, 1),
            (delivered, {"code": 250}, 0),
            (failed, {"answered": False}, 0),
            (failed, {"code": 452}, 0),
            (EventKind.DELAYED, {}, 0),
            (EventKind.SUPPRESSED, {}, 0),
            (failed, {}, 1),
        ):
            event = await self.outcome(list_id, kind, **data)
            self.assertEqual(await self.failures(), [expected, 0], (kind, data))
            self.assertNotIn(FAILING, event.data)
        event = await self.outcome(list_id, failed)
        self.assertEqual(event.data[FAILING], list_id)

    async def test_taken_off(self) -> None:
        """Only who failed often enough; once, with the notice, the audit and the change."""
        list_id = await self.make_list(ANN, BOB)
        leaving = await self.leaving(ANN, Reason.FAILURES)
        await self.outcome(list_id, EventKind.FAILED)
        self.assertIs(await self.records.leave(leaving), Left.NOT_THERE)
        await self.outcome(list_id, EventKind.FAILED)
        self.assertIs(await self.records.leave(leaving), Left.TAKEN_OFF)
        self.assertEqual((await self.control.alias(LIST)).members, (BOB,))
        self.assertIs(await self.records.leave(leaving), Left.NOT_THERE)
        self.assertEqual(await self.notices(), ["taken off"])
        audit = tables.audit.c
        wanted = select(audit.actor, audit.action, audit.subject).order_by(audit.id.desc()).limit(1)
        row = await self.database.read(lambda c: tuple(c.execute(wanted).one()))
        self.assertEqual(row, ("failures", "alias members remove", f"{LIST} {ANN}"))

    async def late(self) -> list[int]:
        """How many failures each member's reports told of, by address."""
        column = tables.alias_member.c
        wanted = select(column.late_failures).order_by(column.address)
        return list(await self.database.read(lambda c: c.execute(wanted).scalars().all()))

    async def put(self, **values: float) -> None:
        """What is counted of each member is so much."""
        changing = update(tables.alias_member).values(values)
        await self.database.write(lambda c: c.execute(changing) and None)

    async def report(self, list_id: int, sent_at: float, now: float) -> Address | None:
        """A report comes about a copy for ann, as a mail server spells her."""
        of = MembersCopy(list_id, Address("ANN", "example.net"), sent_at)
        return await evolve(self.records, now=lambda: now).reported(of)

    async def test_reported_late(self) -> None:
        """Once a day, and only of copies sent after the last one that counted."""
        list_id = await self.make_list(Address("Ann", "example.net"), BOB)
        self.assertIsNone(await self.report(list_id, 0.0, 100.0))
        self.assertEqual(await self.late(), [1, 0])
        for sent_at, now in ((0.0, 100.0), (200.0, 300.0), (60.0, 9 * DAY)):
            self.assertIsNone(await self.report(list_id, sent_at, now))
            self.assertEqual(await self.late(), [1, 0], (sent_at, now))
        found = await self.report(list_id, 200.0, DAY + 100.0)
        self.assertEqual((str(found), await self.late()), ("Ann@example.net", [2, 0]))
        self.assertIsNone(await self.report(list_id + 1, 9 * DAY, 10 * DAY))
        leaving = await self.leaving(Address("Ann", "example.net"), Reason.FAILURES)
        self.assertIs(await self.records.leave(leaving), Left.TAKEN_OFF)
        self.assertIsNone(await self.report(list_id, 9 * DAY, 10 * DAY))

    async def test_reports_and_deliveries(self) -> None:
        """A server that reports late takes mail first: that ends nothing until a week went by."""
        list_id = await self.make_list(ANN, BOB)
        for reported, left in ((200.0 - STALE_AFTER + 1, 1), (200.0 - STALE_AFTER - 1, 0)):
            await self.put(late_failures=1, late_failed_at=reported, failures=1)
            await self.outcome(list_id, EventKind.DELIVERED, code=250)
            self.assertEqual((await self.failures(), await self.late()), ([0, 1], [left, 1]))
        await self.put(late_failures=1, failures=0)
        event = await self.outcome(list_id, EventKind.FAILED)
        self.assertEqual(event.data[FAILING], list_id)

    async def test_last(self) -> None:
        """The last who fails stays and begins again; the last who wants no more ends the list."""
        list_id = await self.make_list(ANN)
        for _ in range(2):
            await self.outcome(list_id, EventKind.FAILED)
        leave = self.records.leave
        self.assertIs(await leave(await self.leaving(ANN, Reason.FAILURES)), Left.LAST)
        self.assertEqual(await self.failures(), [0])
        alias = await self.control.alias(LIST)
        self.assertEqual((alias.members, alias.disabled), ((ANN,), False))
        self.assertIs(await leave(await self.leaving(ANN, Reason.LINK)), Left.LAST)
        alias = await self.control.alias(LIST)
        self.assertEqual((alias.members, alias.disabled), ((ANN,), True))
        self.assertIs(await leave(await self.leaving(BOB, Reason.LINK)), Left.NOT_THERE)
        await self.control.remove(LIST)
        self.assertIs(await leave(await self.leaving(ANN, Reason.LINK)), Left.NOT_THERE)
        self.assertEqual(await self.notices(), ["the last one"] * 2)


class SQLiteMembershipTests(OnSQLite, MembershipContract, TestCase):
    """On SQLite."""


class PostgresMembershipTests(OnPostgres, MembershipContract, TestCase):
    """On PostgreSQL."""
