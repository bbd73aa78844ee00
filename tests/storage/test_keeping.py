"""What must hold of answers that are kept with a change, on every database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import func, select
from twisted.trial.unittest import TestCase

from mailrelay.control.answers import Inside, settled
from mailrelay.control.errors import AlreadyThere
from mailrelay.queue.entry import StoredAnswer
from mailrelay.queue.store import AnsweredBefore
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.idempotency import sweep_answers
from mailrelay.storage.keeping import DatabaseAnswers
from mailrelay.storage.templates import DatabaseTemplateRecords
from mailrelay.templates.model import Source
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

ACCOUNT: dict[str, object] = {"full_name": "", "login_disabled": False, "used_bytes": 0}
SOURCE = Source(text="x")


class KeepingContract(Base):
    """Answers beside templates: any records that write once would do."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """One account."""
        self.database: Database = database_on(self, self.make_engine())
        directory = DatabaseDirectory(self.database, lambda: 1.0)
        self.account_id = self.successResultOf(directory.add_account("op", "anna", ACCOUNT))
        self.at = 100.0
        self.answers = DatabaseAnswers(self.database, lambda: self.at)
        self.templates = DatabaseTemplateRecords(self.database, lambda: self.at)

    def answer(self, body: bytes = b"made", expires_at: float = 200.0) -> StoredAnswer:
        """To the request of the key ``k``."""
        return StoredAnswer(self.account_id, "k", b"h" * 32, 201, body, expires_at)

    def keeping(self, made_of: Callable[..., StoredAnswer | None]) -> DatabaseTemplateRecords:
        """Templates whose change keeps what ``made_of`` makes."""
        return self.answers.keeping(self.templates, made_of)

    async def count(self) -> Sequence[int]:
        """How many templates there are, and how many entries of the audit."""
        counted = [
            select(func.count()).select_from(table) for table in (tables.template, tables.audit)
        ]
        return await self.database.read(lambda c: [c.execute(q).scalar_one() for q in counted])

    async def test_kept(self) -> None:
        """The answer is made of the result, and of what can be read before the commit."""
        seen: list[Any] = []

        def made_of(result: Any, inside: Inside) -> StoredAnswer:
            seen.append((result, settled(inside(self.templates).get("anna", "t", None))))
            return self.answer(result.template.name.encode())

        made = await self.keeping(made_of).add("op", "anna", "t", SOURCE)
        self.assertEqual(seen, [(made, made)])
        self.assertEqual(await self.answers.find(self.account_id, "k"), self.answer(b"t"))

    async def test_answered_before(self) -> None:
        """The second of two requests with one key changes nothing; the answer stays."""
        await self.answers.keep(self.answer(b"first"))
        before = await self.count()
        again = self.keeping(lambda result, inside: self.answer()).add("op", "anna", "t", SOURCE)
        await self.assertFailure(again, AnsweredBefore)
        self.assertEqual(await self.count(), before)
        self.assertEqual(await self.answers.find(self.account_id, "k"), self.answer(b"first"))
        self.at = 300.0  # its day is over
        late = self.answer(expires_at=400.0)
        await self.keeping(lambda result, inside: late).add("op", "anna", "t", SOURCE)
        self.assertEqual(await self.answers.find(self.account_id, "k"), late)

    async def test_nothing_to_keep(self) -> None:
        """A change without an answer is made; a change that fails keeps none."""
        await self.keeping(lambda result, inside: None).add("op", "anna", "t", SOURCE)
        self.assertIsNone(await self.answers.find(self.account_id, "k"))
        failing = self.keeping(lambda result, inside: self.answer()).add("op", "anna", "t", SOURCE)
        await self.assertFailure(failing, AlreadyThere)
        self.assertIsNone(await self.answers.find(self.account_id, "k"))

    async def test_fault_between(self) -> None:
        """What fails after the change and before its answer is kept undoes the change."""
        before = await self.count()

        def broken(result: Any, inside: Inside) -> StoredAnswer:
            raise ZeroDivisionError

        failing = self.keeping(broken).add("op", "anna", "t", SOURCE)
        await self.assertFailure(failing, ZeroDivisionError)
        self.assertEqual(await self.count(), before)

    async def test_nothing_else_is_written(self) -> None:
        """Who makes the answer only reads."""
        refused: list[Exception] = []

        def made_of(result: Any, inside: Inside) -> None:
            try:
                settled(inside(self.templates).add("op", "anna", "other", SOURCE))
            except NotImplementedError as error:
                refused.append(error)

        await self.keeping(made_of).add("op", "anna", "t", SOURCE)
        self.assertEqual((len(refused), (await self.count())[0]), (1, 1))

    async def test_rows(self) -> None:
        """As migration 0006 made the table: any bytes, the longest key, one row each, swept."""
        key = "~" * 255
        body = bytes(range(256)) * 100
        kept = StoredAnswer(self.account_id, key, b"\x00" * 32, 599, body, 200.5)
        await self.answers.keep(kept)
        self.assertEqual(await self.answers.find(self.account_id, key), kept)
        self.assertIsNone(await self.answers.find(self.account_id + 1, key))
        self.assertIsNone(await self.answers.find(self.account_id, key[:-1]))
        await self.answers.keep(self.answer())
        self.at = 200.2
        self.assertIsNone(await self.answers.find(self.account_id, "k"))
        self.assertEqual(await self.answers.find(self.account_id, key), kept)
        rows = select(tables.idempotency_key.c.key)
        for now, left in ((199.0, ["k", key]), (200.2, [key]), (201.0, [])):
            await self.database.write(partial(sweep_answers, now=now, limit=1))
            found = await self.database.read(lambda c: sorted(c.execute(rows).scalars()))
            self.assertEqual(found, left)


class SQLiteTests(KeepingContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(KeepingContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
