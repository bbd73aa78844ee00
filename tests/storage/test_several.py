"""Several messages stored in one transaction, on every database."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from sqlalchemy import func, select
from twisted.trial.unittest import TestCase

from mailrelay.observe.events import NewEvent
from mailrelay.queue.entry import Conditions, NewMessage, StoredAnswer
from mailrelay.queue.store import (
    AnsweredBefore,
    FromIDTaken,
    NotStored,
    Together,
    TooManyNewRecipients,
)
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.idempotency import find_answer
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import new_message

TABLES = ("message", "entry", "content", "event", "sent_to", "message_tag", "idempotency_key")


class SeveralContract(Base):
    """add_all."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A store."""
        self.database: Database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            node = register(connection, "node")
        spool = RowSpool(self.database, lambda: "0")
        self.store = DatabaseQueueStore(self.database, ids_of(self.database), node, spool)
        self.told: list[NewEvent] = []
        self.store.committed = self.told.extend

    def to(self, *recipients: str, most: int | None = 3, at: float = 50.0) -> NewMessage:
        """A message of an account that may send to so many new recipients in 24 hours."""
        of = {"account_id": 1, "received_at": at, "tags": ("a",)}
        new = new_message(self.store, len(recipients), message=of)
        entries = [
            evolve(entry, recipient=Address.parse(f"{recipient}@example.net"))
            for entry, recipient in zip(new.entries, recipients, strict=True)
        ]
        conditions = None if most is None else Conditions(new_recipients=most)
        return evolve(new, entries=entries, conditions=conditions)

    def answer(self, refusals: Sequence[NotStored | None]) -> StoredAnswer:
        """What is kept: how many were stored."""
        count = sum(refusal is None for refusal in refusals)
        return StoredAnswer(1, "k", b"h", 202, b"%d" % count, 1000.0)

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        with self.database.engine.connect() as connection:
            return {
                name: connection.execute(
                    select(func.count()).select_from(tables.metadata.tables[name])
                ).scalar_one()
                for name in TABLES
            }

    async def add(self, *new: NewMessage, **together: bool) -> list[type[NotStored] | None]:
        """What came of each."""
        refusals = await self.store.add_all(new, Together(**together, answer=self.answer))
        return [None if refusal is None else type(refusal) for refusal in refusals]

    def kept(self) -> bytes | None:
        """The answer that is kept."""
        with self.database.engine.connect() as connection:
            found = find_answer(connection, 1, "k", 60.0)
        return None if found is None else found.answer

    async def test_all(self) -> None:
        """Everything of all of them is there, with the answer, and is told."""
        new = [self.to(f"r{n}", "x", most=None) for n in range(150)]
        self.assertEqual(await self.add(*new), [None] * 150)
        expected = [150, 300, 150, 150, 0, 150, 1]
        self.assertEqual(list(self.counts().values()), expected)
        self.assertEqual((self.kept(), len(self.told)), (b"150", 150))
        self.assertEqual(len(await self.store.claim_due(100.0, 500, [])), 300)

    async def test_new_recipients(self) -> None:
        """Each counts with those before it; one that is too much leaves room for the next."""
        await self.add(self.to("old"))
        too_many = TooManyNewRecipients
        self.database.write(lambda c: c.execute(tables.idempotency_key.delete()) and None)
        new = [self.to("a", "old"), self.to("b", "c"), self.to("A"), self.to("b"), self.to("d")]
        self.assertEqual(await self.add(*new), [None, too_many, None, None, too_many])
        counts = self.counts()
        self.assertEqual((counts["message"], counts["sent_to"]), (4, 3))
        self.assertEqual((self.kept(), len(self.told)), (b"3", 4))

    async def test_reports(self) -> None:
        """Reports are there with what they tell of, by either way in, and not without it."""
        told = evolve(self.to("a", "b", most=None), reports=[self.to("sender", most=None)])
        await self.store.add(told)
        self.assertEqual(list(self.counts().values())[:5], [2, 3, 2, 2, 0])
        refused = evolve(self.to("c", "d", "e", most=2), reports=[self.to("sender", most=None)])
        taken = evolve(self.to("c", most=2), reports=[self.to("sender", most=None)])
        await self.add(refused, taken)
        self.assertEqual(list(self.counts().values())[:5], [4, 5, 4, 4, 1])
        with self.assertRaises(TooManyNewRecipients):
            await self.store.add(refused)
        self.assertEqual((self.counts()["message"], len(self.told)), (4, 4))

    async def test_one_from_id(self) -> None:
        """The conditions of one are not those of another."""
        taken = new_message(self.store, from_id="f")
        await self.store.add(taken)
        again = evolve(
            new_message(self.store, from_id="f"), conditions=Conditions(unique_from_id="f")
        )
        self.assertEqual(await self.add(self.to("a"), again), [None, FromIDTaken])

    async def test_all_or_nothing(self) -> None:
        """One that must not be stored leaves nothing of the others, nor the answer."""
        new = [self.to("a"), self.to("b", "c", "d"), self.to("e")]
        with self.assertRaises(TooManyNewRecipients):
            await self.add(*new, all_or_nothing=True)
        self.assertEqual(set(self.counts().values()), {0})
        self.assertEqual((self.kept(), self.told), (None, []))
        self.assertEqual(await self.add(new[0], new[2], all_or_nothing=True), [None, None])

    async def test_answered_before(self) -> None:
        """What was answered is not done again, and the answer stays."""
        await self.add(self.to("a"))
        with self.assertRaises(AnsweredBefore):
            await self.add(self.to("b"), self.to("c"))
        self.assertEqual((self.counts()["message"], self.kept()), (1, b"1"))

    async def test_none(self) -> None:
        """Where none is stored no answer is kept."""
        self.assertEqual(await self.add(self.to("a", most=0)), [TooManyNewRecipients])
        self.assertEqual(set(self.counts().values()), {0})

    async def test_unstorable(self) -> None:
        """Data that cannot be stored fails all of them, and nobody else."""
        bad = self.to("a")
        bad = evolve(bad, message=evolve(bad.message, subject="\ud800"))
        others = self.store.add(self.to("z"))
        failed = self.store.add_all([self.to("b"), bad], Together(answer=self.answer))
        await others
        await self.assertFailure(failed, Exception)
        self.assertEqual((self.counts()["message"], self.kept()), (1, None))


class SQLiteTests(SeveralContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(SeveralContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
