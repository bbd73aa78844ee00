"""What forwarding of accounts leaves in the store, on every database."""

from __future__ import annotations

from sqlalchemy import select
from twisted.trial.unittest import TestCase

from mailrelay.control.aliases import AliasControl, AliasDetails
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.forwarding import PURPOSE, Confirming, ForwardControl, ForwardLinks
from mailrelay.directory.model import Account, Domain
from mailrelay.policy.links import Links
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.alias_records import DatabaseAliases
from mailrelay.storage.database import Database
from mailrelay.storage.directory import changes_after
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.forwards import DatabaseForwards
from mailrelay.storage.nodes import register
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of

ACCOUNT: dict[str, object] = {"full_name": "", "login_disabled": False, "used_bytes": 0}
THERE = Address("anna", "example.net")


class ForwardContract(Base):
    """ForwardRecords, under the control that asks it."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two accounts, and an alias of the first."""
        self.database: Database = database_on(self, self.make_engine())
        directory = DatabaseDirectory(self.database, lambda: 1.0)
        self.successResultOf(directory.add_domain("op", Domain(0, "example.org")))
        for name in ("anna", "bert"):
            self.successResultOf(directory.add_account("op", name, ACCOUNT))
            self.successResultOf(directory.add_address("op", name, "example.org", name))
        with self.database.engine.begin() as connection:
            node = register(connection, "one")
        self.at = 1000.0
        records = DatabaseForwards(self.database, ids_of(self.database), node, lambda: self.at)
        self.links = ForwardLinks(Links(b"secret", PURPOSE), "https://mail.example.org")
        self.control = ForwardControl(records, self.links, "mx.example.org", lambda: self.at, "op")
        self.confirming = Confirming(self.links, records, lambda: self.at)
        self.aliases = AliasControl(DatabaseAliases(self.database, lambda: 1.0), "op")

    async def account(self, name: str = "anna") -> Account:
        """As the directory has it now."""
        accounts = (await self.control.records.load()).accounts.values()
        [found] = [one for one in accounts if one.name == name]
        return found

    def token(self) -> str:
        """That of the last letter."""
        wanted = select(tables.content.c.body).order_by(tables.content.c.message_id.desc()).limit(1)
        body = self.successResultOf(self.database.read(lambda c: c.execute(wanted).scalar_one()))
        return bytes(body).partition(b"/forward/")[2].split()[0].decode()

    async def test_confirmed(self) -> None:
        """Mail goes nowhere before; who runs is told of both changes."""
        await self.control.ask("anna", str(THERE), keeps_copy=True)
        asked = await self.account()
        self.assertEqual((asked.forward_to, asked.forward_asked), (None, THERE))
        of = self.confirming.read(self.token())
        assert of is not None
        self.assertTrue(await self.confirming.confirm(of))
        confirmed = await self.account()
        self.assertEqual((confirmed.forward_to, confirmed.forward_asked), (THERE, None))
        self.assertTrue(confirmed.forward_keeps_copy)
        changes = await self.database.read(lambda c: changes_after(c, 0))
        self.assertLessEqual({"directory", "queue"}, {kind for _, kind in changes})
        await self.control.end("anna")
        ended = await self.account()
        self.assertEqual((ended.forward_to, ended.forward_asked), (None, None))
        self.assertFalse(ended.forward_keeps_copy)

    async def test_asked_again(self) -> None:
        """A link confirms what it was mailed for: what is asked for anew waits again."""
        await self.control.ask("anna", str(THERE), keeps_copy=False)
        of = self.confirming.read(self.token())
        assert of is not None
        await self.control.ask("anna", "other@example.net", keeps_copy=False)
        self.assertFalse(await self.confirming.confirm(of))
        self.assertIsNone((await self.account()).forward_to)
        self.at += 8 * 86400.0
        self.assertIsNone(self.confirming.read(self.token()))

    async def test_refused(self) -> None:
        """What would go round, what is nobody's, and what could not be confirmed."""
        await self.aliases.add("team@example.org", ["anna@example.org"], AliasDetails())
        await self.control.ask("bert", "team@example.org", keeps_copy=False)
        of = self.confirming.read(self.token())
        assert of is not None
        await self.confirming.confirm(of)
        for address, said in (
            ("Anna+x@example.org", "go round"),
            ("team@example.org", "go round"),
            ("bert@example.org", "go round"),
            ("nobody@example.org", "gets no mail"),
            ("nonsense", "no address"),
        ):
            with self.assertRaises(Refusal) as caught:
                await self.control.ask("anna", address, keeps_copy=True)
            self.assertIn(said, str(caught.exception))
        with self.assertRaises(NoSuch):
            await self.control.ask("carl", str(THERE), keeps_copy=False)
        nowhere = ForwardLinks(self.links.links, "")
        control = ForwardControl(self.control.records, nowhere, "mx", lambda: 1.0, "op")
        with self.assertRaises(Refusal) as caught:
            await control.ask("anna", str(THERE), keeps_copy=False)
        self.assertIn("public_url", str(caught.exception))
        self.assertIsNone((await self.account()).forward_asked)


class SQLiteForwardTests(OnSQLite, ForwardContract, TestCase):
    """On SQLite."""


class PostgresForwardTests(OnPostgres, ForwardContract, TestCase):
    """On PostgreSQL."""
