"""What aliases must do on every database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import evolve
from sqlalchemy import select, update
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.aliases import AliasControl, AliasDetails, AliasQuery
from mailrelay.control.errors import AlreadyThere, InUse, NoSuch, Refusal
from mailrelay.directory.aliases import Alias, OnDisabled, Rewrite
from mailrelay.directory.model import Domain
from mailrelay.queue.entry import NULL_PATH
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.alias_records import DatabaseAliases
from mailrelay.storage.database import Database
from mailrelay.storage.directory import changes_after
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import new_message

ACCOUNT: dict[str, object] = {"full_name": "", "login_disabled": False, "used_bytes": 0}
ANNA = "anna@example.org"
LIST, OTHER = "list@example.org", "other@example.org"


class AliasContract(Base):
    """Aliases beside accounts."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A domain and an account with an address."""
        self.database: Database = database_on(self, self.make_engine())
        self.directory = DatabaseDirectory(self.database, lambda: 1.0)
        self.successResultOf(self.directory.add_domain("op", Domain(0, "example.org")))
        self.successResultOf(self.directory.add_account("op", "anna", ACCOUNT))
        self.successResultOf(self.directory.add_address("op", "anna", "example.org", "anna"))
        self.control = AliasControl(DatabaseAliases(self.database, lambda: 7.0), "op")

    async def refused(self, error: type[Exception], said: str, *asked: Callable[[], Any]) -> None:
        """Each is refused, in words that have ``said``, and changes nothing."""
        for ask in asked:
            before = await self.control.aliases()
            with self.assertRaises(error) as caught:
                await ask()
            self.assertIn(said, str(caught.exception))
            self.assertEqual(await self.control.aliases(), before)

    async def test_listed(self) -> None:
        """A page after the other, by domain and localpart; by any address that is in one."""
        for name in ("b", "a", ""):
            details = AliasDetails(owner="own@else.test") if name == "a" else AliasDetails()
            await self.control.add(f"{name}@example.org", ["anna@example.org"], details)
        every = await self.control.aliases()
        self.assertEqual([one.localpart for one in every], ["", "a", "b"])
        first = await self.control.listed(AliasQuery(limit=2))
        rest = await self.control.listed(AliasQuery(after="a@example.org"))
        self.assertEqual([*first, *rest], [*every])
        for text, found in {"A@EX": 3, "@else": 1, "b@": 1, "x": 3, "z": 0}.items():
            self.assertEqual(len(await self.control.listed(AliasQuery(text))), found, text)

    async def test_failing_members(self) -> None:
        """Members are told with their failures, of either kind."""
        await self.control.add("a@example.org", ["anna@example.org", "x@else.test"], AliasDetails())
        failed = {"failures": 2, "failed_at": 3.0, "late_failures": 1, "late_failed_at": 5.0}
        row = tables.alias_member
        await self.database.write(
            lambda c: c.execute(update(row).where(row.c.address == "x@else.test").values(failed))
        )
        anna, other = await self.control.members("A@example.org")
        self.assertEqual((str(anna.address), anna.failures, anna.failed_at), (ANNA, 0, None))
        self.assertEqual((other.failures, other.failed_at), (3, 5.0))
        with self.assertRaises(NoSuch):
            await self.control.members("b@example.org")

    async def test_as_stored(self) -> None:
        """All that is said of an alias is in the snapshot, then changed, then gone."""
        details = AliasDetails(
            post_public=True,
            list_members=True,
            allow_from=True,
            disabled=True,
            on_disabled=OnDisabled.DROP,
            owner="Boss@example.net",
            posters=["p@example.net"],
            is_list=True,
            removes_after=3,
            rewrite=Rewrite.SRS,
            dmarc_fallback=True,
            requires_dkim=True,
        )
        await self.control.add("LIST@example.org", ["Anna@example.org", "x@Example.NET"], details)
        [alias] = await self.control.aliases()
        expected = Alias(
            alias.id,
            "list",
            "example.org",
            (Address("anna", "example.org"), Address("x", "example.net")),
            post_public=True,
            list_members=True,
            allow_from=True,
            disabled=True,
            on_disabled=OnDisabled.DROP,
            owner=Address("Boss", "example.net"),
            posters=frozenset({Address("p", "example.net")}),
            is_list=True,
            removes_after=3,
            rewrite=Rewrite.SRS,
            dmarc_fallback=True,
            requires_dkim=True,
        )
        self.assertEqual(alias, expected)
        await self.control.set(LIST, AliasDetails(disabled=False, owner="", posters=()))
        plain = evolve(expected, disabled=False, owner=None, posters=frozenset())
        self.assertEqual(await self.control.alias(LIST), plain)
        await self.control.remove(LIST)
        self.assertEqual(await self.control.aliases(), [])

    async def test_members(self) -> None:
        """Added and removed together or not at all; one stays."""
        await self.control.add(LIST, ["anna@example.org"], AliasDetails())
        await self.control.add_members(LIST, ["a@example.net", "b@example.net"])
        add, remove = self.control.add_members, self.control.remove_members
        await self.refused(
            Refusal,
            "member already",
            lambda: add(LIST, ["c@example.net", "A@example.net"]),
            lambda: add(LIST, ["c@example.net", "C@example.net"]),
        )
        await self.refused(NoSuch, "no member", lambda: remove(LIST, ["a@example.net", "c@x.test"]))
        all_of_them = ["a@example.net", "b@example.net", "anna@example.org"]
        await self.refused(Refusal, "one member at least", lambda: remove(LIST, all_of_them))
        await remove(LIST, all_of_them[:2])
        self.assertEqual(
            (await self.control.alias(LIST)).members, (Address("anna", "example.org"),)
        )

    async def test_checked(self) -> None:
        """Wrong members, owners and addresses are refused, and say what to do."""
        await self.control.add(OTHER, ["anna@example.org"], AliasDetails())
        for members, said in (
            (["nobody@example.org"], "address add"),
            ([LIST], "the alias itself"),
            (["anna+x@example.org"], "separator"),
            (["a b@example.net"], "no address"),
            (["ü@example.net"], "ASCII"),
            ([], "one member"),
        ):
            await self.refused(
                Refusal, said, partial(self.control.add, LIST, members, AliasDetails())
            )
        for details, said in (
            (AliasDetails(owner=OTHER), "is an alias"),
            (AliasDetails(owner="nobody@example.org"), "gets no mail"),
            (AliasDetails(posters=["x"]), "no address"),
            (AliasDetails(), "nothing to change"),
        ):
            await self.refused(Refusal, said, partial(self.control.set, OTHER, details))
        await self.refused(
            Refusal,
            "separator",
            lambda: self.control.add("l+x@example.org", ["anna@example.org"], AliasDetails()),
        )

    async def test_loops(self) -> None:
        """An alias is in another, never in itself."""
        await self.control.add(OTHER, ["anna@example.org"], AliasDetails())
        await self.control.add(LIST, [OTHER], AliasDetails())
        await self.refused(Refusal, "leads back", lambda: self.control.add_members(OTHER, [LIST]))

    async def test_either_address_or_alias(self) -> None:
        """Neither can be made where the other is; a domain with an alias stays."""
        await self.control.add(LIST, ["anna@example.org"], AliasDetails())
        add = self.control.add
        await self.refused(
            AlreadyThere,
            "exists",
            lambda: add(LIST, ["a@example.net"], AliasDetails()),
            lambda: add("anna@example.org", ["a@example.net"], AliasDetails()),
        )
        await self.refused(
            AlreadyThere,
            "is an alias",
            lambda: self.directory.add_address("op", "list", "example.org", "anna"),
        )
        await self.directory.remove_address("op", "anna", "example.org")
        await self.refused(
            InUse, "alias remove", lambda: self.directory.remove_domain("op", "example.org")
        )
        await self.refused(NoSuch, "alias list", lambda: self.control.remove(OTHER))

    async def test_catch_all(self) -> None:
        """Of an account or of an alias, never of both; it is removed as it is written."""
        add, address = self.control.add, self.directory.add_address
        await add("@example.org", ["anna@example.org"], AliasDetails())
        [alias] = await self.control.aliases()
        self.assertEqual((alias.localpart, str(alias)), ("", "@example.org"))
        await self.refused(
            AlreadyThere, "is an alias", lambda: address("op", "", "example.org", "anna")
        )
        await self.refused(
            Refusal, "leads back", lambda: self.control.add_members("@example.org", [OTHER])
        )
        await self.control.remove("@example.org")
        await address("op", "", "example.org", "anna")
        await self.refused(
            AlreadyThere, "exists", lambda: add("@example.org", ["a@x.test"], AliasDetails())
        )

    async def test_told_and_audited(self) -> None:
        """Each change."""
        newest = len(await self.database.read(lambda c: changes_after(c, 0)))
        await self.control.add(LIST, ["anna@example.org"], AliasDetails())
        await self.control.add_members(LIST, ["x@example.net"])
        await self.control.remove_members(LIST, ["x@example.net"])
        await self.control.set(LIST, AliasDetails(post_public=True))
        await self.control.remove(LIST)
        changes = await self.database.read(lambda c: changes_after(c, 0))
        self.assertEqual([kind for _, kind in changes[newest:]], ["directory"] * 5)
        audit = tables.audit.c
        wanted = select(audit.actor, audit.action, audit.subject).order_by(audit.id)
        rows = await self.database.read(lambda c: [tuple(row) for row in c.execute(wanted)])
        self.assertEqual(
            rows[-5:],
            [
                ("op", "alias add", f"{LIST} anna@example.org"),
                ("op", "alias members add", f"{LIST} x@example.net"),
                ("op", "alias members remove", f"{LIST} x@example.net"),
                ("op", "alias set", LIST),
                ("op", "alias remove", LIST),
            ],
        )

    async def test_entries(self) -> None:
        """An entry is stored with what it came by, and a null reverse-path of its own."""
        with self.database.engine.begin() as connection:
            node = register(connection, "main")
        spool = RowSpool(self.database, lambda: "0" * 32)
        queue = DatabaseQueueStore(self.database, ids_of(self.database), node, spool)
        by = Address("list", "example.org")
        for path in (NULL_PATH, Address("boss", "example.net"), None):
            new = new_message(queue, message={"account_id": 1}, alias=by, own_reverse_path=path)
            stored: Deferred[None] = queue.add(new)
            await stored
            [entry] = [e for e in await queue.claim_due(1e9, 10, []) if e.alias]
            self.assertEqual((entry.alias, entry.own_reverse_path), (by, path))
            self.assertEqual(entry.account_id, 1 if path is None else None)


class SQLiteAliasTests(OnSQLite, AliasContract, TestCase):
    """On SQLite."""


class PostgresAliasTests(OnPostgres, AliasContract, TestCase):
    """On PostgreSQL."""
