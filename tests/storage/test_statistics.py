"""Events are counted once, before they are swept, on every database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from attrs import evolve
from sqlalchemy import insert, select, text, update
from twisted.trial.unittest import TestCase

from mailrelay.control import statistics as control
from mailrelay.control.errors import Refusal
from mailrelay.control.statistics import (
    DAY,
    HOUR,
    KINDS,
    By,
    Group,
    StatisticsControl,
    StatisticsQuery,
    rate,
)
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import EntryState, NewMessage
from mailrelay.smtp.address import Address
from mailrelay.storage import statistics, tables
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore, insert_events
from mailrelay.storage.spool import RowSpool
from mailrelay.storage.statistics import DatabaseStatistics
from mailrelay.storage.upkeep import SWEEP_BATCH, sweep
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import new_message

START = 20_000 * DAY
DOMAINS = ("example.net", "example.org", "xn--bcher-kva.example")
TAGS = ((), ("welcome",), ("welcome", "eu west"))


class StatisticsContract(Base):
    """What is promised of the numbers."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A store with nothing in it, and small batches."""
        self.patch(statistics, "BATCH", 7)
        self.database: Database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            self.node = register(connection, "main")
        spool = RowSpool(self.database, lambda: "0" * 32)
        self.queue = DatabaseQueueStore(self.database, ids_of(self.database), self.node, spool)
        self.store = DatabaseStatistics(self.database)
        self.now = START + 30 * DAY
        self.control = StatisticsControl(self.store, lambda: self.now)

    async def accepted(
        self,
        recipients: Sequence[str],
        *,
        at: float = START,
        account_id: int | None = 1,
        tags: Sequence[str] = (),
        **data: Any,
    ) -> NewMessage:
        """A message for ``recipients``."""
        new = new_message(
            self.queue,
            len(recipients),
            message={"account_id": account_id, "tags": tuple(tags)},
            epoch=self.queue.epoch,
        )
        entries = [
            evolve(entry, recipient=Address.parse(one))
            for entry, one in zip(new.entries, recipients, strict=True)
        ]
        told = {"recipients": list(recipients[:100]), "recipient_count": len(recipients), **data}
        event = NewEvent(EventKind.ACCEPTED, at, new.message.id, None, account_id, told)
        new = evolve(new, entries=entries, events=[event])
        await self.queue.add(new)
        return new

    async def happened(
        self, kind: EventKind, new: NewMessage, at: float = START, entry: int = 0, **data: Any
    ) -> None:
        """Something that happened to a message's entry."""
        one = new.entries[entry]
        told = {"recipient": str(one.recipient), **data}
        event = NewEvent(kind, at, new.message.id, one.id, new.message.account_id, told)
        await self.database.write(lambda c: insert_events(c, [event]))

    async def numbers(self, *by: By, account_id: int | None = 1, **wanted: Any) -> Any:
        """Groups and their counts, all of the time."""
        query = StatisticsQuery(START, self.now, account_id, by=frozenset(by))
        found = await self.control.find(evolve(query, **wanted), 1000)
        return {group: dict(counts) for group, counts in found.groups}

    async def counted_rows(self) -> int:
        """What all numbers of all messages come to, whatever is asked for."""
        query = text("SELECT sum(count) FROM statistic WHERE tag = ''")
        return await self.database.read(lambda c: int(c.execute(query).scalar() or 0))

    async def rows(self) -> int:
        """Of the table."""
        query = text("SELECT count(*) FROM statistic")
        return await self.database.read(lambda c: int(c.execute(query).scalar() or 0))

    # Counting

    async def test_groups(self) -> None:
        """By hour, day, tag, domain and account; of one of them; and in all."""
        one = await self.accepted(["a@example.net", "b@example.org"], tags=("welcome", "eu west"))
        two = await self.accepted(["c@example.net"], at=START + DAY + HOUR, account_id=2)
        await self.happened(EventKind.DELIVERED, one, START + HOUR)
        await self.happened(EventKind.FAILED, one, START + DAY, entry=1)
        await self.happened(EventKind.DELIVERED, two, START + DAY + HOUR)
        self.assertEqual(
            await self.numbers(), {Group(): {"accepted": 2, "delivered": 1, "failed": 1}}
        )
        self.assertEqual(
            await self.numbers(By.HOUR),
            {
                Group(START): {"accepted": 2},
                Group(START + HOUR): {"delivered": 1},
                Group(START + DAY): {"failed": 1},
            },
        )
        self.assertEqual(
            await self.numbers(By.DAY),
            {Group(START): {"accepted": 2, "delivered": 1}, Group(START + DAY): {"failed": 1}},
        )
        net, org = ({"accepted": 1, "delivered": 1}, {"accepted": 1, "failed": 1})
        self.assertEqual(
            await self.numbers(By.DOMAIN),
            {Group(domain="example.net"): net, Group(domain="example.org"): org},
        )
        everything = {"accepted": 2, "delivered": 1, "failed": 1}
        self.assertEqual(
            await self.numbers(By.TAG),
            {Group(tag="eu west"): everything, Group(tag="welcome"): everything},
        )
        self.assertEqual(await self.numbers(tag="welcome"), {Group(): everything})
        self.assertEqual(
            await self.numbers(By.TAG, tag="welcome", domain="example.org"),
            {Group(tag="welcome"): org},
        )
        self.assertEqual(await self.numbers(tag="wel"), {Group(): {}})
        self.assertEqual(
            await self.numbers(By.ACCOUNT, account_id=None),
            {
                Group(account_id=1): everything,
                Group(account_id=2): {"accepted": 1, "delivered": 1},
            },
        )
        self.assertEqual(await self.numbers(account_id=3), {Group(): {}})
        self.assertEqual(
            await self.numbers(since=START + HOUR, until=START + DAY), {Group(): {"delivered": 1}}
        )

    async def test_what_is_counted(self) -> None:
        """Recipients and outcomes of accounts' mail; a delivery that a DSN confirms only once."""
        new = await self.accepted(["a@EXAMPLE.net"])
        for kind in EventKind:
            if kind is not EventKind.ACCEPTED:
                await self.happened(kind, new)
        await self.happened(EventKind.DELIVERED, new, dsn=True)
        await self.happened(EventKind.FAILED, new, dsn=True)
        nobodys = await self.accepted(["a@example.net"], account_id=None)
        await self.happened(EventKind.DELIVERED, nobodys)
        wanted = {kind.value: 1 for kind in KINDS} | {"failed": 2}
        self.assertEqual(await self.numbers(By.DOMAIN), {Group(domain="example.net"): wanted})

    async def test_long_lists(self) -> None:
        """The event names a hundred recipients: all are found, or how many are gone."""
        recipients = [f"r{i}@{DOMAINS[i % 3]}" for i in range(250)]
        await self.accepted(recipients)
        new = await self.accepted(recipients, account_id=2)
        gone = [entry.id for entry in new.entries[:100]]
        with self.database.engine.begin() as connection:
            connection.execute(tables.entry.delete().where(tables.entry.c.id.in_(gone)))
        expected = Counter(one.rpartition("@")[2] for one in recipients)
        found = await self.numbers(By.DOMAIN)
        self.assertEqual({g.domain: c["accepted"] for g, c in found.items()}, expected)
        found = await self.numbers(By.DOMAIN, account_id=2)
        self.assertEqual(sum(c["accepted"] for c in found.values()), 250)
        self.assertEqual(found[Group(domain="")], {"accepted": 100})

    async def test_long_lists_are_counted_apart(self) -> None:
        """However many recipients, a transaction has not many more than it should."""
        self.patch(statistics, "MOST_RECIPIENTS", 5)
        for count in (3, 2, 9, 1):
            await self.accepted([f"r{i}@example.net" for i in range(count)])
        counts = []
        while True:
            more = await self.store.count_more()
            counts.append(await self.counted_rows())
            if not more:
                break
        self.assertEqual(counts, [5, 14, 15])

    async def test_many_domains_are_counted_apart(self) -> None:
        """However many numbers, a transaction writes not many more than it should."""
        self.patch(statistics, "ENOUGH_SUMS", 8)
        for number in range(5):
            count = 9 if number == 3 else 2
            to = [f"r@{number}.{i}.example.net" for i in range(count)]
            await self.accepted(to, tags=("welcome",))
        rows = []
        while await self.store.count_more():
            rows.append(await self.rows())
        self.assertEqual(rows, [8, 12, 20, 28, 30])
        self.assertEqual((await self.numbers())[Group()], {"accepted": 17})

    async def test_sums_are_the_log(self) -> None:
        """Whatever happens in whatever batches, the sums are those of the log, by any grouping."""
        self.patch(statistics, "ENOUGH_SUMS", 4)
        random = Random(3)
        expected: Counter[tuple[Group, str]] = Counter()
        sent: list[tuple[NewMessage, Sequence[str], int]] = []

        def expect(account: int, tags: Sequence[str], at: float, domain: str, kind: str) -> None:
            hour = at // HOUR * HOUR
            for tag in tags:
                expected[Group(hour, account, tag, domain), kind] += 1

        for _ in range(120):
            at = START + random.randrange(int(3 * DAY))
            if sent and random.random() < 0.7:
                new, tags, account = random.choice(sent)
                number = random.randrange(len(new.entries))
                kind = random.choice(KINDS[1:])
                await self.happened(kind, new, at, number)
                domain = new.entries[number].recipient.domain
                expect(account, tags, at, domain, kind.value)
            else:
                account, tags = random.choice((1, 2)), random.choice(TAGS)
                some = [f"r{i}@{random.choice(DOMAINS)}" for i in range(random.randint(1, 4))]
                new = await self.accepted(some, at=at, account_id=account, tags=tags)
                sent.append((new, tags, account))
                for one in new.entries:
                    expect(account, tags, at, one.recipient.domain, "accepted")
            if random.random() < 0.2:
                await self.store.count_more()
        every = await self.numbers(By.ACCOUNT, By.HOUR, By.TAG, By.DOMAIN, account_id=None)
        found = {(group, kind): n for group, counts in every.items() for kind, n in counts.items()}
        self.assertEqual(found, expected)
        logged = text("SELECT count(*) FROM event WHERE kind <> 'accepted'")
        others = await self.database.read(lambda c: int(c.execute(logged).scalar() or 0))
        entries = sum(len(new.entries) for new, _, _ in sent)
        self.assertEqual(await self.counted_rows(), others + entries)

    async def test_two_count_at_once(self) -> None:
        """What one node reads while another counts it is not counted twice."""
        for _ in range(10):
            await self.accepted(["a@example.net"])
        other = DatabaseStatistics(self.database)
        for _ in range(2):
            stale = await self.database.read(statistics._read)
            await other.count_more()
            self.assertFalse(await self.database.write(partial(statistics._add, read=stale)))
        self.assertEqual(await self.counted_rows(), 10)

    async def test_crash_between_batches(self) -> None:
        """Position and sums are committed together: what fails in between leaves neither."""
        for _ in range(20):
            await self.accepted(["a@example.net"])
        await self.store.count_more()
        real = statistics._move

        def fails_after(connection, read):
            real(connection, read)
            raise RuntimeError("killed")

        self.patch(statistics, "_move", fails_after)
        await self.assertFailure(self.store.count_more(), RuntimeError)
        self.assertEqual(await self.counted_rows(), 7)
        self.patch(statistics, "_move", real)
        again = DatabaseStatistics(self.database)
        while await again.count_more():
            pass
        self.assertEqual(await self.counted_rows(), 20)

    # Before sweeping

    async def over(self, new: NewMessage) -> None:
        """All is over, and need not be kept."""
        change = update(tables.entry).values(state=EntryState.RETIRED.value, keep_until=0.0)
        await self.database.write(
            lambda c: c.execute(change.where(tables.entry.c.message_id == new.message.id)) and None
        )

    async def test_counted_before_swept(self) -> None:
        """Neither entries nor events go before they are counted; then they do."""
        new = await self.accepted([f"r{i}@{DOMAINS[i % 3]}" for i in range(120)])
        await self.happened(EventKind.DELIVERED, new)
        await self.over(new)
        work = lambda c: sweep(c, self.now, SWEEP_BATCH)  # noqa: E731
        self.assertEqual(await self.database.write(work), (0, []))
        while await self.store.count_more():
            pass
        self.assertEqual((await self.database.write(work))[0], 120)
        events = select(tables.event.c.position)
        self.assertEqual(await self.database.read(lambda c: c.execute(events).all()), [])
        found = await self.numbers(By.DOMAIN)
        self.assertEqual([c["accepted"] for c in found.values()], [40, 40, 40])
        self.assertEqual((await self.numbers())[Group()], {"accepted": 120, "delivered": 1})

    # Asking

    async def test_counted_until(self) -> None:
        """Who asks hears how new the numbers are."""
        for number in range(20):
            await self.accepted(["a@example.net"], at=START + number)
        query = StatisticsQuery(START, self.now, 1)
        found = await self.control.find(query, 1)
        self.assertEqual(found.counted_until, START + 7)
        self.assertEqual(found.groups, [(Group(), {"accepted": 7})])
        found = await self.control.find(query)
        self.assertEqual(found.counted_until, self.now)
        self.assertEqual(found.groups, [(Group(), {"accepted": 20})])

    async def test_bounds(self) -> None:
        """Neither too long a time nor too many groups."""
        for since, until in ((START, START), (START, START - 1), (START, START + 500 * DAY)):
            query = StatisticsQuery(since, until, 1)
            with self.assertRaises(Refusal):
                await self.control.find(query)
        self.patch(control, "MOST_GROUPS", 100)
        rows = [
            {"account_id": 1, "hour": int(START // HOUR), "tag": "", "domain": f"d{i}.example"}
            | {"kind": "accepted", "count": 1}
            for i in range(101)
        ]
        with self.database.engine.begin() as connection:
            connection.execute(insert(tables.statistic), rows)
        self.assertEqual(await self.numbers(), {Group(): {"accepted": 101}})
        query = StatisticsQuery(START, self.now, 1, by=frozenset({By.DOMAIN}))
        with self.assertRaises(Refusal):
            await self.control.find(query)

    async def test_old_numbers_go(self) -> None:
        """What is older than it is kept, in small steps."""
        self.patch(statistics, "_SWEPT_TOGETHER", 3)
        for day in range(10):
            await self.accepted(["a@example.net"], at=START + day * DAY)
        await self.numbers()
        await self.control.sweep(self.now - START - 7 * DAY)
        found = await self.numbers(By.DAY)
        self.assertEqual(sorted(group.at for group in found), [START + n * DAY for n in (7, 8, 9)])

    def test_rates(self) -> None:
        """Of nothing there is none."""
        accepted, delivered = EventKind.ACCEPTED, EventKind.DELIVERED
        self.assertEqual(rate({"accepted": 4, "delivered": 3}, delivered, accepted), 0.75)
        self.assertEqual(rate({"accepted": 4}, delivered, accepted), 0.0)
        self.assertIsNone(rate({"delivered": 1}, delivered, accepted))


class SQLiteTests(StatisticsContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(StatisticsContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
