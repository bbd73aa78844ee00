"""What relay rules in the directory must do on every database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import insert, select
from twisted.trial.unittest import TestCase

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.relays import RelayFolder
from mailrelay.control.stored_relays import LONGEST_VALUE, StoredRelayControl
from mailrelay.directory.relays import RelayRule, RelayRuleKind
from mailrelay.routing.relay_files import RelayProblem
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import changes_after
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.relay_records import MOST_TOLD, DatabaseRelayRules
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, temporary_directory

ACCOUNT: dict[str, object] = {"full_name": "", "login_disabled": False, "used_bytes": 0}


class RelayRulesContract(Base):
    """StoredRelayControl over a database."""

    def make_engine(self) -> Any:
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """One account, no rules."""
        self.database: Database = database_on(self, self.make_engine())
        self.directory = DatabaseDirectory(self.database, lambda: 1.0)
        self.successResultOf(self.directory.add_account("op", "Anna", ACCOUNT))
        self.records = DatabaseRelayRules(self.database, lambda: 7.0)
        self.control = StoredRelayControl(self.records, "op")

    async def rules(self) -> list[tuple[str, str, str]]:
        """Kind, key and value of everything there is."""
        directory = await self.records.load()
        return [(rule.kind.value, rule.key, rule.value) for rule in directory.relay_rules]

    async def test_kinds(self) -> None:
        """Each is stored under its normal key, and gone when it is removed."""
        await self.control.add_domain("Bücher.example", "R.example", "587")
        await self.control.exclude_domain("out.test")
        await self.control.add_login("Joe@a.test", "u", "p:w")
        await self.control.add_host_login("[R.example]:587", "u", "p")
        await self.control.add_route(".Remote.test", "[m.example]:2525")
        await self.control.add_route("joe@x.test", "")
        await self.control.add_chain("<>", ["[a.example] weight=2", "b.example"], ["421", "5.7.1"])
        await self.control.add_chain("account:Anna", ["[a.example]:465 credentials=Main"], [])
        chain = (
            '{"hops":[{"next_hop":"[a.example]","weight":2},{"next_hop":"b.example"}],'
            '"move_on":["421","5.7.1"]}'
        )
        expected = [
            ("chain", "<>", chain),
            (
                "chain",
                "account:Anna",
                '{"hops":[{"next_hop":"[a.example]:465","credentials":"main"}]}',
            ),
            ("exclude", "@out.test", ""),
            ("map", "@xn--bcher-kva.example", "[r.example]:587"),
            ("password", "[r.example]:587", "u:p"),
            ("password", "joe@a.test", "u:p:w"),
            ("route", ".remote.test", "smtp:[m.example]:2525"),
            ("route", "joe@x.test", "smtp:"),
        ]
        self.assertEqual(sorted(await self.rules()), expected)
        for _, key, _ in expected:
            await self.control.remove(key)
        self.assertEqual(await self.rules(), [])
        with self.assertRaises(NoSuch):
            await self.control.remove("@out.test")

    async def test_one_of_a_sender(self) -> None:
        """Map, chain and exclusion of a key displace each other; its login stays."""
        await self.control.add_login("a.test", "u", "p")
        await self.control.add_domain("a.test", "r.example")
        await self.control.add_chain("a.test", ["[a.example]"], [])
        await self.control.exclude_domain("@A.test")
        await self.control.add_login("a.test", "u", "p2")
        self.assertEqual(
            sorted(await self.rules()),
            [("exclude", "@a.test", ""), ("password", "@a.test", "u:p2")],
        )
        kinds = await self.control.remove("a.test")
        self.assertEqual(kinds, [RelayRuleKind.EXCLUDE, RelayRuleKind.PASSWORD])

    async def test_refused(self) -> None:
        """What cannot be used is not stored, and the message says what is wrong."""
        control = self.control
        for asked, said in (
            (control.add_domain("a b", "r.example"), "neither a domain nor an address"),
            (control.add_domain("a.test", "r.example", "0"), "no number from 1"),
            (control.exclude_domain("joe@a.test"), "only whole domains"),
            (control.add_login("a.test", "u:v", "p"), "colon"),
            (control.add_login("a.test", "u", "p\x00"), "printable"),
            (control.add_login("a.test", "u", "p" * LONGEST_VALUE), "longer than"),
            (control.add_host_login("h" * 64 + ".test", "u", "p"), "neither a host name"),
            (control.add_route("a..b", "[r.example]"), "no address, domain"),
            (control.add_route("a.test", "[r.example"), "is none"),
            (control.add_chain("account:Nobody", ["[a.example]"], []), "no account Nobody"),
            (control.add_chain("a.test", [], []), "1 to 20 hops"),
            (control.add_chain("a.test", ["[a.example]"] * 2, []), "twice"),
            (control.add_chain("a.test", ["[a.example] weight=-1"], []), "weight"),
            (control.add_chain("a.test", ["[a.example] wait=1"], []), "wait"),
            (control.add_chain("a.test", ["[a.example] tls=some"], []), "'some' is none of"),
            (control.add_chain("a.test", ["[a.example]"], ["250"]), "no reply that refuses"),
        ):
            with self.assertRaises(Refusal) as caught:
                await asked
            self.assertIn(said, str(caught.exception))
        self.assertEqual(await self.rules(), [])

    async def test_chain_of_an_account_that_goes(self) -> None:
        """It goes with the account: no later one of that name has it."""
        await self.control.add_domain("a.test", "r.example")
        await self.control.add_chain("account:Anna", ["[a.example]"], [])
        await self.directory.remove_account("op", "Anna")
        self.assertEqual(await self.rules(), [("map", "@a.test", "[r.example]:25")])

    async def test_import(self) -> None:
        """A folder's entries are taken over; what contradicts only when that is asked for."""
        folder = temporary_directory(self)
        (folder / "postfix-relaymap.cf").write_text("@a.test [x.example]:1\n@c.test\n")
        (folder / "postfix-sasl-password.cf").write_text("@a.test u:p\n")
        await self.control.add_domain("a.test", "mine.example")
        source, routes = RelayFolder(Path(folder)), "far.test smtp:[y.example]\n"
        with self.assertRaises(Refusal) as caught:
            await self.control.import_from(source, routes, replace=False)
        self.assertIn("@a.test has another value here", str(caught.exception))
        self.assertEqual(len(await self.rules()), 1)
        taken = [
            await self.control.import_from(source, routes, replace=True),
            await self.control.import_from(source, routes, replace=False),
        ]
        self.assertEqual(taken, [4, 0])
        self.assertEqual(
            sorted(await self.rules()),
            [
                ("exclude", "@c.test", ""),
                ("map", "@a.test", "[x.example]:1"),
                ("password", "@a.test", "u:p"),
                ("route", "far.test", "smtp:[y.example]"),
            ],
        )
        (folder / "postfix-relaymap.cf").write_text("@a.test [\n")
        with self.assertRaises(RelayProblem):
            await self.control.import_from(source, None, replace=True)

    async def test_told_and_audited(self) -> None:
        """Each change once, and no audit line has a password."""
        newest = len(await self.database.read(lambda c: changes_after(c, 0)))
        await self.control.add_login("a.test", "user", "sesame")
        await self.control.remove("a.test")
        many = [RelayRule(RelayRuleKind.EXCLUDE, f"@{n}.test", "") for n in range(MOST_TOLD + 1)]
        await self.records.put("op", many)
        changes = await self.database.read(lambda c: changes_after(c, 0))
        self.assertEqual([kind for _, kind in changes[newest:]], ["directory"] * 3)
        audit = tables.audit.c
        wanted = select(audit.actor, audit.action, audit.subject).order_by(audit.id)
        rows = await self.database.read(lambda c: [tuple(row) for row in c.execute(wanted)])
        self.assertEqual(rows[-3][:2], ("op", "relay put"))
        self.assertEqual(rows[-3][2], "password @a.test")
        self.assertTrue(rows[-1][2].endswith(", ..."))
        self.assertNotIn("sesame", str(rows))

    async def test_written_by_another_hand(self) -> None:
        """What cannot be read names its rule, and shows no value."""
        bad = {"kind": "password", "key": "@a.test", "value": "sesame"}
        with self.database.engine.begin() as connection:
            connection.execute(insert(tables.relay_rule).values(bad))
        with self.assertRaises(RelayProblem) as caught:
            await self.control.rules()
        self.assertIn("password of @a.test", str(caught.exception))
        self.assertNotIn("sesame", str(caught.exception))
        self.assertNotIn("sesame", repr(await self.records.load()))


class SQLiteRelayRulesTests(OnSQLite, RelayRulesContract, TestCase):
    """On SQLite."""


class PostgresRelayRulesTests(OnPostgres, RelayRulesContract, TestCase):
    """On PostgreSQL."""
