"""Finding entries among many that are retired."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from attrs import evolve
from sqlalchemy import Connection, insert, text
from twisted.trial.unittest import TestCase

from mailrelay.control.queue import EntryFilter
from mailrelay.queue.entry import EntryState
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.entry_views import entries_query
from mailrelay.storage.nodes import Node
from mailrelay.storage.queue_records import DatabaseQueueRecords
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

ENTRIES = 6000

FILTERS = [
    EntryFilter(),
    EntryFilter(held=True),
    EntryFilter(held=False),
    EntryFilter(domain="example.org", sender="a@", account="anna", older_than=5.0),
    EntryFilter(after_id=1000, limit=2),
]
"""Those of the living that name no ids."""


def state_of(id_: int) -> EntryState:
    """Which state the entry with this id is in."""
    if id_ % 1000 == 0:
        return EntryState.READY
    return EntryState.HELD if id_ % 1000 == 500 else EntryState.RETIRED


def fill(connection: Connection) -> None:
    """Store ENTRIES, one a message, of accounts that take turns."""
    names = ("anna", "bert")
    account = {"full_name": "", "login_disabled": False, "used_bytes": 0}
    connection.execute(
        insert(tables.account), [account | {"id": i + 1, "name": n} for i, n in enumerate(names)]
    )
    shared = {"received_at": 0.0, "size_bytes": 1, "door": "smtp", "subject": "", "flags": 0}
    ids = range(1, ENTRIES + 1)
    connection.execute(
        insert(tables.message),
        [shared | {"id": i, "account_id": None, "reverse_path": "a@client.test"} for i in ids],
    )
    entry = {
        "attempts": 1,
        "next_attempt_at": 0.0,
        "lane": 1,
        "node_id": 0,
        "epoch": 0,
        "notify": "",
        "delay_reported": 0,
    }
    connection.execute(
        insert(tables.entry),
        [
            entry
            | {
                "id": i,
                "message_id": i,
                "account_id": 1 + i // 1000 % 2,
                "recipient": f"u{i}@{'example.org' if i % 500 else 'x.test'}",
                "state": state_of(i).value,
                "queued_at": float(i),
                "keep_until": 1.0 if state_of(i) is EntryState.RETIRED else None,
            }
            for i in ids
        ],
    )


class FindContract(Base):
    """What an operator is shown."""

    explain: str
    walk: re.Pattern[str]

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Store many retired entries, and some that live."""
        # As commands read, so that a busy machine does not cut a long list off.
        self.database: Database = evolve(database_on(self, self.make_engine()), read_cap=60.0)
        with self.database.engine.begin() as connection:
            fill(connection)
            if connection.dialect.name == "postgresql":  # which does it by itself, in time
                connection.execute(text("ANALYZE"))
        self.records = DatabaseQueueRecords(self.database, lambda: Node(1, 1), lambda names: None)

    async def found(self, wanted: EntryFilter, now: float = 0.0) -> Sequence[int]:
        """The ids that fit."""
        return [view.entry.id for view in await self.records.find(wanted, now)]

    async def test_states(self) -> None:
        """Living, held, not held and retired entries, each by id."""
        by_state: dict[EntryState, list[int]] = {state: [] for state in EntryState}
        for id_ in range(1, ENTRIES + 1):
            by_state[state_of(id_)].append(id_)
        ready, held = by_state[EntryState.READY], by_state[EntryState.HELD]
        self.assertEqual(await self.found(EntryFilter()), sorted(ready + held))
        self.assertEqual(await self.found(EntryFilter(held=True)), held)
        self.assertEqual(await self.found(EntryFilter(held=False)), ready)
        for held_or_not in (None, True, False):
            retired = EntryFilter(retired=True, limit=ENTRIES, held=held_or_not)
            self.assertEqual(await self.found(retired), by_state[EntryState.RETIRED])

    async def test_pages(self) -> None:
        """Page after page gives every entry once."""
        for wanted, expected in ((None, range(500, 6001, 500)), (True, range(500, 6000, 1000))):
            seen: list[int] = []
            while page := await self.found(
                EntryFilter(held=wanted, limit=5, after_id=seen[-1] if seen else 0)
            ):
                self.assertLessEqual(len(page), 5)
                seen += page
            self.assertEqual(seen, list(expected))

    async def test_filters(self) -> None:
        """Filters narrow the living, and ids find what lives only unless asked otherwise."""
        self.assertEqual(
            await self.found(EntryFilter(account="anna", held=False)), [2000, 4000, 6000]
        )
        self.assertEqual(await self.found(EntryFilter(recipient="u35")), [3500])
        self.assertEqual(await self.found(EntryFilter(domain="example.org")), [])
        self.assertEqual(await self.found(EntryFilter(newer_than=500.0), 6000.0), [5500, 6000])
        self.assertEqual(await self.found(EntryFilter(ids=[1, 500, 1000], held=True)), [500])
        self.assertEqual(await self.found(EntryFilter(ids=[1, 500], retired=True)), [1])

    async def test_look(self) -> None:
        """Parts of so many entries, either way, whatever fits there."""
        whole = list(range(500, 6001, 500))
        for backwards in (False, True):
            seen: list[int] = []
            wanted, is_end = EntryFilter(recipient="0"), False
            while not is_end:
                found = await self.records.look(wanted, 0.0, 5, backwards=backwards)
                seen += [view.entry.id for view in found.views]
                self.assertLessEqual(len(found.views), 5)
                bound: Any = {"before_id" if backwards else "after_id": found.to_id}
                wanted, is_end = evolve(wanted, **bound), found.is_end
            self.assertEqual(seen, whole[::-1] if backwards else whole)

    async def test_look_at_few(self) -> None:
        """What fits nowhere in a part costs no more, and how many fit is told beyond the limit."""
        for wanted, most, expected in (
            (EntryFilter(recipient="nobody"), 4, ([], 2000, False, 0)),
            (EntryFilter(recipient="nobody"), 100, ([], 6000, True, 0)),
            (EntryFilter(limit=2), 5, ([500, 1000], 2500, False, 5)),
            (EntryFilter(limit=2, held=True), 100, ([500, 1500], 5500, True, 6)),
            (EntryFilter(limit=2, after_id=5000, before_id=6000), 100, ([5500], 5500, True, 1)),
            (EntryFilter(retired=True, limit=1), 5, ([1], 5, False, 5)),
            (EntryFilter(messages=[500, 3]), 5, ([500], 0, True, 1)),
            (EntryFilter(subject="x"), 5, ([], 2500, False, 0)),
            (EntryFilter(message_id="<x@y>"), 5, ([], 2500, False, 0)),
            (EntryFilter(transport="hub"), 5, ([], 2500, False, 0)),
            (EntryFilter(lanes=[1, 2], limit=1), 5, ([500], 2500, False, 5)),
            (EntryFilter(received_by=-1.0), 5, ([], 2500, False, 0)),
        ):
            found = await self.records.look(wanted, 0.0, most, counts=True)
            ids = [view.entry.id for view in found.views]
            told = (ids, found.to_id, found.is_end, found.fitting)
            self.assertEqual(told, expected, wanted)

    def walked(self, wanted: EntryFilter) -> set[str]:
        """How the database would walk the entries."""
        with self.database.engine.connect() as connection:
            query = entries_query(wanted, 0.0).compile(connection)
            names = query.positiontup
            values = query.params if names is None else tuple(query.params[n] for n in names)
            plan = connection.exec_driver_sql(f"{self.explain} {query}", values)
            return set(re.findall(self.walk, "\n".join(str(row) for row in plan)))

    def test_retired_are_not_looked_at(self) -> None:
        """However many are retired, only an index of the living is walked."""
        for wanted in FILTERS:
            index = "entry_held" if wanted.held else "entry_living"
            self.assertEqual(self.walked(wanted), {index}, wanted)


class SQLiteTests(FindContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine
    explain = "EXPLAIN QUERY PLAN"
    walk = re.compile(r"(?:SCAN|SEARCH) entry USING (?:INDEX )?(\w+)")


class PostgresTests(FindContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
    explain = "EXPLAIN"
    walk = re.compile(r"(\S+)(?: Scan)? on entry\b")
