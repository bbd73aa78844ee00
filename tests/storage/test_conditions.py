"""What must hold of a message when it is stored, on every database."""

from __future__ import annotations

from attrs import evolve
from sqlalchemy import func, select
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from mailrelay.queue.entry import Conditions, NewMessage, StoredAnswer
from mailrelay.queue.store import (
    AllOverQuota,
    AnsweredBefore,
    FromIDTaken,
    NotStored,
    TooManyNewRecipients,
)
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.idempotency import find_answer, sweep_answers
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import new_message


class ConditionsContract(Base):
    """A message whose conditions do not hold is not there, and disturbs no other."""

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

    def with_id(self, from_id: str) -> NewMessage:
        """A message with a FromID that must be its own."""
        new = new_message(self.store, from_id=from_id)
        return evolve(new, conditions=Conditions(unique_from_id=from_id))

    def to(self, *recipients: str, at: float = 50.0, account: int = 1) -> NewMessage:
        """A message of an account that may send to three new recipients in 24 hours."""
        new = new_message(
            self.store, len(recipients), message={"account_id": account, "received_at": at}
        )
        entries = [
            evolve(entry, recipient=Address.parse(recipient))
            for entry, recipient in zip(new.entries, recipients, strict=True)
        ]
        return evolve(new, entries=entries, conditions=Conditions(new_recipients=3))

    def test_room(self) -> None:
        """Not stored when no account that is named has room; one that has is enough."""
        account = tables.account
        plain = {"full_name": "", "login_disabled": False}
        with self.database.engine.begin() as connection:
            for id_, quota, used in ((1, 100, 90), (2, 1000, 1000), (3, 100, 0), (4, None, 5)):
                values = {**plain, "id": id_, "name": str(id_), "quota_bytes": quota}
                connection.execute(account.insert().values(**values, used_bytes=used))
        for accounts, is_stored in (
            ({1}, False),
            ({1, 2}, False),
            ({1, 2, 3}, True),
            ({2, 4}, True),
            ({1, 99}, True),
        ):
            new = new_message(self.store)
            new = evolve(new, conditions=Conditions(room_in=frozenset(accounts)))
            before = self.messages()
            if is_stored:
                self.successResultOf(self.store.add(new))
            else:
                self.failureResultOf(self.store.add(new), AllOverQuota)
            self.assertEqual(self.messages() - before, int(is_stored), accounts)

    def messages(self) -> int:
        """How many are stored."""
        with self.database.engine.connect() as connection:
            count = select(func.count()).select_from(tables.message)
            return int(connection.execute(count).scalar_one())

    async def add(self, *new: NewMessage) -> list[type[NotStored] | None]:
        """What came of each, all asked for at once."""

        def refusal(failure: object) -> type[NotStored]:
            error = failure.value  # type: ignore[attr-defined]
            assert isinstance(error, NotStored), error
            return type(error)

        # They wait while the writer is busy: the next commit has them all.
        adding = await self.database.write(
            lambda _: [self.store.add(one).addErrback(refusal) for one in new]
        )
        return await gatherResults(adding)

    async def test_from_id(self) -> None:
        """A FromID is taken once, also within a batch; what others have is not looked at."""
        first, second, third = self.with_id("a"), self.with_id("a"), self.with_id("b")
        came = await self.add(first, second, third, new_message(self.store))
        self.assertEqual(came, [None, FromIDTaken, None, None])
        self.assertEqual(await self.add(self.with_id("a")), [FromIDTaken])
        self.assertEqual(self.messages(), 3)

    async def test_new_recipients(self) -> None:
        """Only those never sent to count, in any case of letters, for 24 hours and per account."""
        self.assertEqual(await self.add(self.to("a@x.example", "A@x.example")), [None])
        late = 50.0 + 80_000
        came = await self.add(
            self.to("b@x.example", "c@x.example", "a@x.example", at=late),
            self.to("d@x.example", at=late),
            self.to("d@x.example", at=late, account=2),
            self.to("a@x.example", "b@x.example", "c@x.example", at=late),
        )
        self.assertEqual(came, [None, TooManyNewRecipients, None, None])
        a_day_later = 50.0 + 86_400
        self.assertEqual(await self.add(self.to("d@x.example", at=a_day_later)), [None])
        self.assertEqual(
            await self.add(self.to("e@x.example", at=a_day_later)), [TooManyNewRecipients]
        )
        self.assertEqual(self.messages(), 5)

    async def test_many_recipients(self) -> None:
        """More than a statement's worth."""
        addresses = [f"a{n}@x.example" for n in range(200)]
        many = evolve(self.to(*addresses), conditions=Conditions(new_recipients=200))
        again = evolve(self.to(*addresses), conditions=Conditions(new_recipients=200))
        self.assertEqual(await self.add(many, again), [None, None])

    def answered(self, key: str, at: float = 50.0, account: int = 1) -> NewMessage:
        """A message whose answer is kept until 100."""
        new = new_message(self.store, message={"account_id": account, "received_at": at})
        answer = StoredAnswer(account, key, b"hash", 202, str(new.message.id).encode(), at + 50)
        return evolve(new, conditions=Conditions(answer=answer))

    async def test_answers(self) -> None:
        """Of the messages of one key one is stored, with its answer, as long as that is kept."""
        first, second = self.answered("a"), self.answered("a")
        came = await self.add(first, second, self.answered("b"), self.answered("a", account=2))
        self.assertEqual(came, [None, AnsweredBefore, None, None])
        with self.database.engine.connect() as connection:
            kept = find_answer(connection, 1, "a", 99.0)
            self.assertIsNone(find_answer(connection, 1, "a", 100.0))
        assert first.conditions is not None
        self.assertEqual(kept, first.conditions.answer)
        self.assertEqual(await self.add(self.answered("a", at=100.0)), [None])
        self.assertEqual(self.messages(), 4)

    async def test_refused_keeps_no_answer(self) -> None:
        """What is refused for another reason may be tried again."""
        answer = StoredAnswer(1, "a", b"hash", 202, b"", 100.0)
        too_many = self.to(*(f"{n}@x.example" for n in range(4)))
        new = evolve(too_many, conditions=Conditions(new_recipients=3, answer=answer))
        self.assertEqual(await self.add(new), [TooManyNewRecipients])
        with self.database.engine.connect() as connection:
            self.assertIsNone(find_answer(connection, 1, "a", 50.0))

    async def test_answers_are_swept(self) -> None:
        """What has expired goes, so many at a time."""
        await self.add(*(self.answered(f"{n}", at=float(n)) for n in range(5)))
        with self.database.engine.begin() as connection:
            sweep_answers(connection, 53.0, 3)
            sweep_answers(connection, 53.0, 3)
            count = select(func.count()).select_from(tables.idempotency_key)
            self.assertEqual(connection.execute(count).scalar_one(), 1)


class SQLiteTests(OnSQLite, ConditionsContract, TestCase):
    """On SQLite."""


class PostgresTests(OnPostgres, ConditionsContract, TestCase):
    """On PostgreSQL."""
