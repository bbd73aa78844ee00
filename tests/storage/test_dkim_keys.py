"""What the directory of DKIM keys must do on every database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import TestCase

from mailrelay.control.dkim import RETIRED_FOR, DKIMControl
from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.directory.model import Domain
from mailrelay.mailauth.dkim import Algorithm
from mailrelay.net.resolver import LookupFailed, NoSuchDomain
from mailrelay.net.threads import AtOnce
from mailrelay.storage import tables
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.dkim_keys import DatabaseDKIMKeys
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

BOTH = (Algorithm.RSA, Algorithm.ED25519)
ED25519 = (Algorithm.ED25519,)
DAY = 86400.0


class DKIMKeyContract(Base):
    """Keys on their way from being made to being removed."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A domain of ours."""
        self.database = database_on(self, self.make_engine())
        self.now = 20 * 365.25 * DAY
        domains = DatabaseDirectory(self.database, lambda: self.now)
        self.successResultOf(domains.add_domain("op", Domain(0, "d.test")))
        self.domains = domains
        records = DatabaseDKIMKeys(self.database, lambda: self.now)
        self.control = DKIMControl(records, AtOnce(), lambda: self.now, "op")
        self.published: dict[str, list[bytes]] = {}

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """What DNS has."""
        if name.startswith("slow"):
            return fail(LookupFailed(name))
        found = self.published.get(name)
        return succeed(found) if found is not None else fail(NoSuchDomain(name))

    def publish(self, *keys: StoredKey) -> None:
        """Have DNS say the keys' records."""
        self.published |= {key.name: [key.record.encode()] for key in keys}

    async def states(self) -> dict[str, str]:
        """The state of each key, by selector."""
        return {key.selector: key.state.value for key in await self.control.keys("D.test")}

    async def test_life(self) -> None:
        """Made, seen, used; replaced when the next are seen; forgotten a week later."""
        first = await self.control.add("d.test", BOTH)
        self.assertEqual([key.algorithm for key in first], ["rsa-sha256", "ed25519-sha256"])
        self.assertEqual(await self.states(), {"r19900101": "next", "e19900101": "next"})
        self.assertEqual(await self.control.go_on(self.texts), [])
        self.publish(first[0])
        await self.control.go_on(self.texts)
        self.assertEqual(await self.states(), {"r19900101": "active", "e19900101": "next"})
        self.publish(first[1])
        await self.control.go_on(self.texts)
        second = await self.control.add("d.test", BOTH)
        self.assertEqual([key.selector for key in second], ["r19900101a", "e19900101a"])
        self.publish(*second)
        await self.control.go_on(self.texts)
        states = await self.states()
        self.assertEqual(list(states.values()), ["retired", "retired", "active", "active"])
        self.now += RETIRED_FOR - 1
        self.assertEqual(await self.control.go_on(self.texts), [])
        self.assertEqual(len(await self.states()), 4)
        self.now += 2
        await self.control.go_on(self.texts)
        self.assertEqual(await self.states(), {"r19900101a": "active", "e19900101a": "active"})

    async def test_what_is_published(self) -> None:
        """Another key, two records, or an answer that cannot be had: it waits."""
        [key] = await self.control.add("d.test", ED25519, "slow")
        await self.control.go_on(self.texts)
        await self.control.remove("d.test", "slow")
        [key] = await self.control.add("d.test", ED25519, "s1")
        wrong = key.record.replace("p=", "p=A")
        for records in ([wrong], [key.record, key.record], [], ["v=DKIM1; p="]):
            self.published[key.name] = [record.encode() for record in records]
            await self.control.go_on(self.texts)
            self.assertEqual(await self.states(), {"s1": "next"}, records)
        self.published[key.name] = [key.record.replace("; ", ";").encode()]
        await self.control.go_on(self.texts)
        self.assertEqual(await self.states(), {"s1": "active"})

    async def test_refused(self) -> None:
        """Foreign domains, selectors that are none, twice the same, more while some wait."""
        for error, arguments in (
            (NoSuch, ("far.test", BOTH)),
            (Refusal, ("a b", BOTH)),
            (Refusal, ("d.test", BOTH, "s1")),
            (Refusal, ("d.test", ED25519, "a.b")),
            (Refusal, ("d.test", ED25519, "")),
        ):
            with self.assertRaises(error):
                await self.control.add(*arguments)
        await self.control.activate(await self.control.add("d.test", ED25519, "s1"))
        with self.assertRaises(AlreadyThere):
            await self.control.add("d.test", ED25519, "s1")
        await self.control.add("d.test", ED25519)
        with self.assertRaises(AlreadyThere):
            await self.control.add("d.test", ED25519)
        with self.assertRaises(NoSuch):
            await self.control.remove("d.test", "s9")

    async def test_told(self) -> None:
        """Changes are told and audited, without the key; a domain takes its keys with it."""
        [key] = await self.control.add("d.test", ED25519)
        self.assertNotIn("PRIVATE", repr(key))

        def seen(connection: Any) -> tuple[list[str], int]:
            audit = connection.execute(select(tables.audit.c.action, tables.audit.c.subject))
            kinds = connection.execute(select(tables.change.c.kind)).scalars().all()
            return [f"{row.action} {row.subject}" for row in audit], len(kinds)

        said, count = await self.database.read(seen)
        self.assertIn(f"dkim add {key.name} next", said)
        self.assertGreater(count, 1)
        await self.domains.remove_domain("op", "d.test")
        await self.domains.add_domain("op", Domain(0, "d.test"))
        self.assertEqual(await self.control.keys(), [])
        self.assertIs(key.state, KeyState.NEXT)


class SQLiteDKIMKeyTests(OnSQLite, DKIMKeyContract, TestCase):
    """On SQLite."""


class PostgresDKIMKeyTests(OnPostgres, DKIMKeyContract, TestCase):
    """On PostgreSQL."""
