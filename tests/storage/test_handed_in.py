"""What must hold of rounds and of what is put aside, on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import func, select, update
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from mailrelay.control.handed_in import NOBODY, SETTLED, UNDER_WAY, Asked, Note, Standing
from mailrelay.observe.events import EventKind
from mailrelay.queue.entry import Conditions, Content, Entry, Message, NewMessage, StoredAnswer
from mailrelay.queue.store import AnsweredBefore, NotStored
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.handed_in import DatabaseQuarantine, DatabaseRounds
from mailrelay.storage.keeping import DatabaseAnswers
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import delivered, new_message, put_off

ASKED = Asked("handoff test key", b"c" * 32)
LIST = Address("list", "example.org")
ACCOUNT: dict[str, object] = {"full_name": "", "login_disabled": False, "used_bytes": 0}


class HandedInContract(Base):
    """RoundStore, QuarantineStore, and the notes of a message."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A queue, and what stands beside it."""
        self.database: Database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            node = register(connection, "node")
        self.removed: list[str] = []
        spool = RowSpool(self.database, lambda: "0")
        ids = ids_of(self.database)
        self.store = DatabaseQueueStore(self.database, ids, node, spool)
        self.rounds = DatabaseRounds(self.database, self, 1000.0)  # type: ignore[arg-type]
        self.quarantine = DatabaseQuarantine(self.database, ids)
        self.answers = DatabaseAnswers(self.database, lambda: 100.0)

    def remove(self, names: list[str]) -> Deferred[None]:
        """See Spool."""
        self.removed += names
        return succeed(None)

    async def taken(self, recipients: int = 2, **entry: object) -> tuple[NewMessage, Note]:
        """A message that was taken in round 0, as claimed entries."""
        claimed: dict[str, Any] = {"epoch": self.store.epoch, **entry}
        new = new_message(self.store, recipients, **claimed)
        told = list(dict.fromkeys(str(one.told_as) for one in new.entries))
        note = Note(new.message.id, told)
        answer = ASKED.note(0, UNDER_WAY, note, 50.0)
        await self.store.add(evolve(new, conditions=Conditions(answer=answer)))
        return new, note

    async def note(self) -> tuple[int, Note] | None:
        """What is kept of round 0."""
        found = await self.answers.find(NOBODY, f"{ASKED.key}/0")
        return None if found is None else (found.status, _decoded(found))

    async def outcomes(self) -> list[str | None]:
        """Of the entries, None while they live."""
        wanted = select(tables.entry.c.outcome).order_by(tables.entry.c.id)
        return await self.database.read(lambda c: list(c.execute(wanted).scalars()))

    async def test_under_attempt(self) -> None:
        """A round whose entries are claimed is waited for, whoever asks."""
        _, note = await self.taken()
        for at_once in (False, True):
            standing = await self.rounds.settle(ASKED, 0, note, 100.0, at_once=at_once)
            self.assertEqual(standing, Standing(waits=True))
        self.assertEqual(await self.note(), (UNDER_WAY, note))

    async def test_not_claimed_yet(self) -> None:
        """What is due and waits for room may be waited for or not; what waits longer may not."""
        _, note = await self.taken(1, epoch=0, next_attempt_at=90.0)
        self.assertTrue((await self.rounds.settle(ASKED, 0, note, 100.0)).waits)
        standing = await self.rounds.settle(ASKED, 0, note, 80.0)
        self.assertEqual(standing, Standing(given_back=""))
        self.assertEqual(await self.outcomes(), ["canceled"])

    async def test_delivered(self) -> None:
        """All of it has come to an end."""
        new, note = await self.taken()
        await self.store.finish_attempts([delivered(one) for one in new.entries], [])
        self.assertEqual(await self.rounds.settle(ASKED, 0, note, 100.0), Standing())
        self.assertEqual(await self.note(), (SETTLED, note))

    async def finish(self, first: Entry, second: Entry) -> None:
        """One is delivered, the other put off."""
        later = put_off(second, 900.0)
        event = evolve(later.event, data={"reply": "greylisted", "code": 451})
        await self.store.finish_attempts([delivered(first), evolve(later, event=event)], [])

    async def test_given_back(self) -> None:
        """What was put off is ours no more, and the note has the others alone."""
        new, note = await self.taken()
        await self.finish(*new.entries)
        standing = await self.rounds.settle(ASKED, 0, note, 100.0)
        self.assertEqual(standing, Standing(given_back="greylisted"))
        self.assertEqual(await self.outcomes(), ["delivered", "canceled"])
        left = Note(note.message, [str(new.entries[0].recipient)])
        self.assertEqual(await self.note(), (SETTLED, left))
        kinds = select(tables.event.c.kind).order_by(tables.event.c.position)
        told = await self.database.read(lambda c: list(c.execute(kinds).scalars()))
        self.assertEqual(told[-1], EventKind.CANCELED.value)
        contents = select(func.count()).select_from(tables.content)
        self.assertEqual(await self.database.read(lambda c: c.execute(contents).scalar()), 0)

    async def test_members(self) -> None:
        """Of an alias it is remembered which of its members have it."""
        new, note = await self.taken(alias=LIST)
        await self.finish(*new.entries)
        await self.rounds.settle(ASKED, 0, note, 100.0)
        left = Note(note.message, [], [str(new.entries[0].recipient)])
        self.assertEqual(await self.note(), (SETTLED, left))

    async def test_nobody_has_it(self) -> None:
        """Then nothing is remembered."""
        new, note = await self.taken(1)
        await self.store.finish_attempts([put_off(new.entries[0], 900.0)], [])
        standing = await self.rounds.settle(ASKED, 0, note, 100.0)
        self.assertFalse(standing.waits)
        self.assertIsNone(await self.note())

    async def test_spooled(self) -> None:
        """A large body goes with what was given back."""
        content = Content(b"", None, "big", 100_000)
        new = new_message(self.store, 1, content=content, epoch=self.store.epoch)
        await self.store.add(new)
        await self.store.finish_attempts([put_off(new.entries[0], 900.0)], [])
        await self.rounds.settle(ASKED, 0, Note(new.message.id, ["x"]), 100.0)
        self.assertEqual(self.removed, ["big"])

    async def test_notes_of_a_message(self) -> None:
        """None of their keys may be there; they are kept with it, or it is not stored."""
        notes = [StoredAnswer(NOBODY, key, b"", SETTLED, b"", 1000.0) for key in "ab"]
        first = evolve(new_message(self.store), conditions=Conditions(notes=notes))
        await self.store.add(first)
        second = evolve(new_message(self.store), conditions=Conditions(notes=notes[1:]))
        with self.assertRaises(AnsweredBefore):
            await self.store.add(second)
        self.assertIsNotNone(await self.answers.find(NOBODY, "a"))
        count = select(func.count()).select_from(tables.message)
        self.assertEqual(await self.database.read(lambda c: c.execute(count).scalar()), 1)

    async def test_put_aside(self) -> None:
        """Once; not without room."""
        directory = DatabaseDirectory(self.database, lambda: 1.0)
        account = await directory.add_account("op", "anna", ACCOUNT)
        for expected in (True, AnsweredBefore):
            message = Message(self.store.new_id(), None, None, 50.0, 3, "handoff")
            content, note = Content(b"", b"a\0b", None, 3), ASKED.note(0, SETTLED, Note(1, []), 50)
            keeping = self.quarantine.put_aside(account, "Quarantine", message, content, note)
            if expected is True:
                self.assertTrue(await keeping)
            else:
                await self.assertFailure(keeping, NotStored)
        found = select(func.count()).select_from(tables.mailbox_message)
        self.assertEqual(await self.database.read(lambda c: c.execute(found).scalar()), 1)
        full = update(tables.account).values(quota_bytes=1)
        await self.database.write(lambda c: c.execute(full))
        other = Asked("handoff test other", b"").note(0, SETTLED, Note(1, []), 50)
        message = Message(self.store.new_id(), None, None, 50.0, 3, "handoff")
        kept = await self.quarantine.put_aside(account, "Quarantine", message, content, other)
        self.assertFalse(kept)
        self.assertIsNone(await self.answers.find(NOBODY, other.key))


def _decoded(found: StoredAnswer) -> Note:
    import msgspec

    return msgspec.json.decode(found.answer, type=Note)


class SQLiteTests(OnSQLite, HandedInContract, TestCase):
    """On SQLite."""


class PostgresTests(OnPostgres, HandedInContract, TestCase):
    """On PostgreSQL."""
