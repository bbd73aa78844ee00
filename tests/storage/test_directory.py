"""What the directory's store must do on every database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection, Table, insert, select
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.account import EndpointChange
from mailrelay.control.errors import AlreadyThere, InUse, NoSuch
from mailrelay.directory.model import Directory, DMARCPolicy, Domain, MTASTSMode
from mailrelay.policy.suppression import Suppression
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import changes_after, newest_change
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.suppression import add
from mailrelay.webhooks.call import Endpoint, EndpointKind
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

ACCOUNT: dict[str, object] = {"full_name": "A User", "login_disabled": False, "used_bytes": 0}


def add_own(connection: Connection, account_id: int) -> None:
    """A suppression and a hold rule of an account."""
    add(connection, Suppression(0, account_id, "", "a@example.net", 1.0))
    connection.execute(insert(tables.hold_rule).values(account_id=account_id))


def owners(connection: Connection, table: Table) -> list[int]:
    """Whose the rows are."""
    return list(connection.execute(select(table.c.account_id)).scalars())


class DirectoryContract(Base):
    """What DirectoryRecords must do on every database."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Make a directory with one domain, account and address."""
        self.database: Database = database_on(self, self.make_engine())
        self.records = DatabaseDirectory(self.database, lambda: 1234.0)
        self.done(self.records.add_domain("op", Domain(0, "example.org", separator="-")))
        self.account_id = self.done(self.records.add_account("op", "user", ACCOUNT))
        self.done(self.records.add_address("op", "user", "example.org", "user"))

    def done(self, asked: Deferred[Any]) -> Any:
        """The result."""
        return self.successResultOf(asked)

    def loaded(self) -> Directory:
        """The snapshot as another process would read it."""
        directory: Directory = self.done(self.records.load())
        return directory

    def refused(self, error: type[Exception], ask: Callable[[], Deferred[Any]]) -> None:
        """``ask`` is refused, and changes nothing: nobody is told, nothing is audited."""
        before = (self.loaded(), self.changes(), self.audit())
        self.failureResultOf(ask(), error)
        self.assertEqual((self.loaded(), self.changes(), self.audit()), before)

    def changes(self) -> list[tuple[int, str]]:
        """What running processes are told."""
        return self.done(self.database.read(lambda c: changes_after(c, 0)))  # type: ignore[no-any-return]

    def audit(self) -> list[tuple[Any, ...]]:
        """Who did what."""
        audit = tables.audit.c
        wanted = select(audit.at, audit.actor, audit.action, audit.subject).order_by(audit.id)
        read = self.database.read(lambda c: [tuple(row) for row in c.execute(wanted)])
        return self.done(read)  # type: ignore[no-any-return]

    def test_loaded_as_stored(self) -> None:
        """A snapshot resolves what was added."""
        directory = self.loaded()
        account = directory.resolve(Address("user-tag", "example.org"))
        self.assertEqual(account, directory.accounts[self.account_id])
        self.assertEqual(directory.accounts[self.account_id].full_name, "A User")

    def test_everything_is_told_and_audited(self) -> None:
        """Each change is in the change table and the audit, in its own transaction."""
        self.assertEqual([kind for _, kind in self.changes()], ["directory"] * 3)
        expected = [
            (1234.0, "op", "domain add", "example.org"),
            (1234.0, "op", "account add", "user"),
            (1234.0, "op", "address add", "user@example.org user"),
        ]
        self.assertEqual(self.audit(), expected)

    def test_changes_after(self) -> None:
        """A reader gets what is behind its position, and the newest position to start from."""
        newest = self.done(self.database.read(newest_change))
        self.done(self.records.set_setting("op", "name", "value"))
        behind = self.done(self.database.read(lambda c: changes_after(c, newest)))
        self.assertEqual([kind for _, kind in behind], ["directory"])

    def test_settings(self) -> None:
        """A setting is read as written, changed in place, and its value is not audited."""
        self.assertIsNone(self.done(self.records.setting("key")))
        for value in ("old", "secret"):
            self.done(self.records.set_setting("op", "key", value))
        self.assertEqual(self.done(self.records.setting("key")), "secret")
        self.assertNotIn("secret", str(self.audit()))

    def test_twice(self) -> None:
        """What is there already is refused."""
        add = self.records
        self.refused(AlreadyThere, lambda: add.add_domain("op", Domain(0, "example.org")))
        self.refused(AlreadyThere, lambda: add.add_account("op", "user", ACCOUNT))
        self.refused(AlreadyThere, lambda: add.add_address("op", "user", "example.org", "user"))

    def test_not_there(self) -> None:
        """What is not there can be neither changed, used nor removed."""
        r = self.records
        for ask in (
            lambda: r.set_domain("op", "x.example", {"disabled": True}),
            lambda: r.remove_domain("op", "x.example"),
            lambda: r.set_account("op", "nobody", {"full_name": "x"}),
            lambda: r.remove_account("op", "nobody"),
            lambda: r.add_address("op", "a", "x.example", "user"),
            lambda: r.add_address("op", "a", "example.org", "nobody"),
            lambda: r.remove_address("op", "nobody", "example.org"),
        ):
            self.refused(NoSuch, ask)

    def test_in_use(self) -> None:
        """Domains with addresses and accounts with addresses stay."""
        self.refused(InUse, lambda: self.records.remove_domain("op", "example.org"))
        self.refused(InUse, lambda: self.records.remove_account("op", "user"))

    def test_changed(self) -> None:
        """Columns are changed one by one."""
        self.done(self.records.set_domain("op", "example.org", {"disabled": True}))
        before = self.loaded().domains["example.org"]
        self.assertEqual((before.mta_sts, before.mta_sts_changed_at), (MTASTSMode.NONE, None))
        policy: dict[str, object] = {"dmarc": DMARCPolicy.REJECT, "mta_sts": MTASTSMode.ENFORCE}
        self.done(self.records.set_domain("op", "example.org", policy))
        self.done(self.records.set_account("op", "user", {"quota_bytes": 5}))
        directory = self.loaded()
        self.assertEqual(directory.domains["example.org"].separator, "-")
        self.assertTrue(directory.domains["example.org"].disabled)
        self.assertIs(directory.domains["example.org"].dmarc, DMARCPolicy.REJECT)
        self.assertIs(directory.domains["example.org"].mta_sts, MTASTSMode.ENFORCE)
        self.assertIsNotNone(directory.domains["example.org"].mta_sts_changed_at)
        account = directory.accounts[self.account_id]
        self.assertEqual((account.quota_bytes, account.full_name), (5, "A User"))

    def test_removed(self) -> None:
        """Address, account and domain can be removed in this order."""
        self.done(self.records.remove_address("op", "user", "example.org"))
        self.done(self.records.remove_account("op", "user"))
        self.done(self.records.remove_domain("op", "example.org"))
        self.assertEqual(self.loaded(), Directory())

    def set_webhooks(self, *changes: EndpointChange) -> None:
        """Change the user's webhooks."""
        self.done(self.records.set_account("op", "user", {}, changes))

    def test_webhooks(self) -> None:
        """A URL makes a webhook anew; what is given alone changes the one that there is."""
        out, come = EndpointKind.OUTGOING, EndpointKind.INCOMING
        self.set_webhooks(
            EndpointChange(out, "https://a.example/", "secret", ["failed"]),
            EndpointChange(come, "https://b.example/", "other"),
        )
        self.set_webhooks(EndpointChange(out, events=["delivered"]))
        self.assertEqual(
            self.done(self.records.endpoints("user")),
            [
                Endpoint(out, "https://a.example/", "secret", ("delivered",)),
                Endpoint(come, "https://b.example/", "other"),
            ],
        )
        self.assertTrue(self.loaded().accounts[self.account_id].is_called_for_incoming)
        self.set_webhooks(
            EndpointChange(out, "https://c.example/"), EndpointChange(come, is_removed=True)
        )
        found = self.done(self.records.endpoints("user"))
        self.assertEqual(found, [Endpoint(out, "https://c.example/")])
        self.assertNotIn("secret", str(self.audit()))

    def test_webhooks_that_are_not_there(self) -> None:
        """What there is none of can be neither changed nor removed; then nothing is changed."""
        for kind in EndpointKind:
            for change in (
                EndpointChange(kind, authorization="x"),
                EndpointChange(kind, events=[]),
                EndpointChange(kind, is_removed=True),
            ):
                self.refused(NoSuch, partial(self.change_and_name, change))
        self.failureResultOf(self.records.endpoints("nobody"), NoSuch)

    def change_and_name(self, change: EndpointChange) -> Deferred[Any]:
        """Change a webhook and the account's full name."""
        return self.records.set_account("op", "user", {"full_name": "Changed"}, [change])

    def test_removed_with_what_is_its_own(self) -> None:
        """Webhooks, suppressions and hold rules go with their account, and others' stay."""
        other = self.done(self.records.add_account("op", "other", ACCOUNT))
        change = EndpointChange(EndpointKind.OUTGOING, "https://a.example/")
        for id_, name in ((self.account_id, "user"), (other, "other")):
            self.done(self.records.set_account("op", name, {}, [change]))
            self.done(self.database.write(partial(add_own, account_id=id_)))
        self.done(self.records.remove_address("op", "user", "example.org"))
        before = len(self.changes())
        self.done(self.records.remove_account("op", "user"))
        for table in (tables.webhook_endpoint, tables.suppression, tables.hold_rule):
            left = self.done(self.database.read(partial(owners, table=table)))
            self.assertEqual(left, [other], table.name)
        told = {kind for _, kind in self.changes()[before:]}
        self.assertEqual(told, {"directory", "suppression", "holds"})

    def test_ids_are_not_given_again(self) -> None:
        """A new account is not taken for the one that was removed."""
        self.done(self.records.remove_address("op", "user", "example.org"))
        self.done(self.records.remove_account("op", "user"))
        again = self.done(self.records.add_account("op", "user", ACCOUNT))
        self.assertGreater(again, self.account_id)


class SQLiteTests(DirectoryContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(DirectoryContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
