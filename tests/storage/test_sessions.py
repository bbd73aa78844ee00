"""SessionRecords and the sessions above them, on every database."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from mailrelay.control.sessions import SEEN_EVERY, Sessions, SessionSettings, Visitor
from mailrelay.directory.model import Account, Directory
from mailrelay.storage.sessions import DatabaseSessions
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

SETTINGS = SessionSettings(idle_for=1000.0, life=5000.0)
JOE = Account(7, "joe", password_hash="of joe")


class SessionContract(Base):
    """SessionRecords, under what asks them."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Nobody is logged in."""
        records = DatabaseSessions(database_on(self, self.make_engine()))
        self.records, self.at, self.count = records, 100.0, 0
        self.accounts = {JOE.id: JOE}
        self.admin = "of the admin"
        self.sessions = Sessions(
            records,
            lambda: Directory(accounts=self.accounts),
            lambda: succeed(self.admin),
            SETTINGS,
            lambda: self.at,
            self.random,
        )

    def random(self, size: int) -> bytes:
        """Never the same."""
        self.count += 1
        return self.count.to_bytes(size, "big")

    def opened(self, account: Account | None = JOE) -> Visitor:
        """A new session."""
        credential = self.admin if account is None else account.password_hash or ""
        opening = self.sessions.open(account, credential, "192.0.2.1", "a browser")
        visitor: Visitor = self.result(opening)
        return visitor

    def result(self, coroutine):
        """What a coroutine gives."""
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def found(self, visitor: Visitor):
        """As the next request finds it."""
        return self.result(self.sessions.find(visitor.token))

    def test_found(self) -> None:
        """By its token, whoever it is of; no other."""
        joe, admin = self.opened(), self.opened(None)
        self.assertEqual(self.found(joe), joe)
        self.assertIsNone(self.found(admin).account)
        for token in ("", "00" * 32, joe.token[:-1], joe.session.token_hash.hex(), "é" * 64):
            self.assertIsNone(self.result(self.sessions.find(token)), token)

    def test_ends_when_idle(self) -> None:
        """Use keeps it, for as long as it lives."""
        joe = self.opened()
        for _ in range(4):
            self.at += 999
            self.assertIsNotNone(self.found(joe))
        self.at += 1001
        self.assertIsNone(self.found(joe))
        self.at -= 1000
        self.assertIsNone(self.found(joe), "it is removed, not only passed over")

    def test_ends_with_its_life(self) -> None:
        """However much it is used."""
        joe = self.opened()
        while self.at < 4000:
            self.at += 900
            last = self.found(joe)
        self.at = 100 + SETTINGS.life + 1
        self.assertIsNotNone(last)
        self.assertIsNone(self.found(joe))

    def test_ends_with_the_password(self) -> None:
        """And with the account's login, and the account."""
        for change in ({"password_hash": "new"}, {"login_disabled": True}):
            joe = self.opened()
            self.accounts = {JOE.id: evolve(JOE, **change)}
            self.assertIsNone(self.found(joe), change)
            self.accounts = {JOE.id: JOE}
        joe = self.opened()
        self.accounts = {}
        self.assertIsNone(self.found(joe))
        admin = self.opened(None)
        self.admin = "another"
        self.assertIsNone(self.found(admin))

    def test_end(self) -> None:
        """One, or all others of the same."""
        first, second, third, admin = self.opened(), self.opened(), self.opened(), self.opened(None)
        self.result(self.sessions.end(first))
        self.assertIsNone(self.found(first))
        self.assertEqual(self.result(self.sessions.end_others(second)), 1)
        self.assertIsNone(self.found(third))
        self.assertIsNotNone(self.found(second))
        self.assertIsNotNone(self.found(admin))

    def test_seen_now_and_then(self) -> None:
        """A write every few minutes, not with every request."""
        joe = self.opened()
        self.at += SEEN_EVERY - 1
        self.assertEqual(self.found(joe).session.seen_at, 100.0)
        self.at += 2
        self.assertEqual(self.found(joe).session.seen_at, self.at)
        listed = self.successResultOf(self.records.of(JOE.id))
        self.assertEqual([one.seen_at for one in listed], [self.at])

    def test_old_ones_are_removed(self) -> None:
        """By the next login."""
        self.opened()
        self.at += SETTINGS.life + 1
        self.opened(None)
        self.assertEqual(self.successResultOf(self.records.of(JOE.id)), [])

    def test_form_token(self) -> None:
        """Each session has its own."""
        joe, other = self.opened(), self.opened()
        self.assertTrue(joe.sent_form(joe.form_token))
        for token in (None, "", other.form_token, joe.form_token.upper(), "é"):
            self.assertFalse(joe.sent_form(token), token)


class SQLiteTests(OnSQLite, SessionContract, TestCase):
    """On SQLite."""


class PostgresTests(OnPostgres, SessionContract, TestCase):
    """On PostgreSQL."""
