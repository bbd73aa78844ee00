"""What the directory of peers must do on every database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from sqlalchemy import select
from twisted.trial.unittest import TestCase

from mailrelay.control.errors import AlreadyThere, InUse, NoSuch, Refusal
from mailrelay.control.peers import MOST_KEYS, PeerControl, PeerDetails
from mailrelay.directory.model import Directory
from mailrelay.directory.peers import FromPolicy, Peer, PeerProtocol
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import changes_after
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.peer_records import DatabasePeers
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

ACCOUNT: dict[str, object] = {"full_name": "", "login_disabled": False, "used_bytes": 0}
MAILRELAY, ZOTONIC = PeerProtocol.MAILRELAY, PeerProtocol.ZOTONIC
URL = "https://relay.example.net"
DAY = 86400.0


class PeerContract(Base):
    """Peers, their keys, and who they send as."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """An account to send as."""
        self.database: Database = database_on(self, self.make_engine())
        self.accounts = DatabaseDirectory(self.database, lambda: 1.0)
        self.successResultOf(self.accounts.add_account("op", "sister", ACCOUNT))
        self.now = 100.0
        numbers = count(1)
        self.control = PeerControl(
            DatabasePeers(self.database, lambda: self.now),
            lambda: next(numbers).to_bytes(16, "little"),
            lambda: self.now,
            "op",
        )

    async def loaded(self, name: str = "b") -> Peer:
        """A peer as the snapshot has it."""
        directory: Directory = await self.control.records.load()
        return directory.peers[name]

    async def refused(self, error: type[Exception], said: str, asked: Callable[[], Any]) -> None:
        """It is refused, in words that have ``said``, and changes nothing."""
        before = await self.control.peers()
        with self.assertRaises(error) as caught:
            await asked()
        self.assertIn(said, str(caught.exception))
        self.assertEqual(await self.control.peers(), before)

    async def test_as_stored(self) -> None:
        """All that is said of a peer is in the snapshot, then changed, then gone."""
        options: dict[str, object] = {
            "from_policy": FromPolicy.REWRITE,
            "from_address": "relay@example.org",
            "from_domains": ["Example.NET"],
            "fallback": "smtp",
            "fallback_after": 60.0,
            "trusted_ca": "/etc/ca.pem",
            "allowed_networks": ["10.0.0.0/8"],
            "shares_suppression": False,
            "concurrency": 2,
            "timeout": 5.0,
        }
        details = PeerDetails(f"{URL}/", f"{URL}/told", "sister", disabled=True, options=options)
        made = await self.control.add("b", MAILRELAY, details)
        peer = await self.loaded()
        self.assertEqual([key.key for key in made], list(reversed(peer.keys)))
        self.assertEqual(
            [(len(key.secret), key.is_ours) for key in peer.keys], [(32, False), (32, True)]
        )
        self.assertEqual((peer.url, peer.callback_url), (URL, f"{URL}/told"))
        self.assertEqual((peer.account_id, peer.disabled, peer.created_at), (1, True, 100.0))
        stored = {name: getattr(peer.options, name) for name in options}
        expected = {
            **options,
            "from_domains": ("example.net",),
            "allowed_networks": ("10.0.0.0/8",),
        }
        self.assertEqual(stored, expected)
        changed = {"from_policy": FromPolicy.KEEP, "from_address": ""}
        await self.control.set("b", PeerDetails(account="", disabled=False, options=changed))
        peer = await self.loaded()
        self.assertEqual(
            (peer.account_id, peer.disabled, peer.options.concurrency), (None, False, 2)
        )
        self.assertEqual(peer.keys, (await self.loaded()).keys)
        await self.control.remove("b")
        self.assertEqual(await self.control.peers(), [])
        with self.database.engine.connect() as connection:
            for table in (tables.peer, tables.peer_key, tables.peer_state):
                self.assertEqual(connection.execute(select(table)).all(), [], table.name)

    async def test_keys_of_the_other_side(self) -> None:
        """What one side makes and shows is what the other has, in the other direction."""
        [ours, theirs] = await self.control.add("b", MAILRELAY, PeerDetails(URL))
        none = await self.control.add("a", MAILRELAY, PeerDetails(URL), theirs.text, ours.text)
        self.assertEqual(none, [])
        b, a = await self.loaded("b"), await self.loaded("a")
        found = a.our_key(self.now)
        assert found is not None
        [expected] = b.their_keys(self.now)
        self.assertEqual((found.key_id, found.secret), (expected.key_id, expected.secret))
        self.assertEqual(ours.text.split(":")[1], next(a.their_keys(self.now)).secret.hex())

    async def test_zotonic(self) -> None:
        """A secret of Zotonic's is text, as it is typed there."""
        made = await self.control.add("z", ZOTONIC, PeerDetails(URL), their_key="correct-horse")
        self.assertEqual([len(one.text) for one in made], [64])
        [theirs] = (await self.loaded("z")).their_keys(self.now)
        self.assertEqual(theirs.secret, b"correct-horse")
        ours = (await self.loaded("z")).our_key(self.now)
        assert ours is not None
        self.assertEqual(ours.secret.decode(), made[0].text)

    async def test_rotation(self) -> None:
        """Old and new work at once, until the old one's time is over; then it is removed."""
        await self.control.add("b", MAILRELAY, PeerDetails(URL))
        [old] = (await self.loaded()).their_keys(100.0)
        made = await self.control.rotate("b", is_ours=False)
        assert made is not None
        peer = await self.loaded()
        self.assertEqual(
            [key.key_id for key in peer.their_keys(100.0)], [made.key.key_id, old.key_id]
        )
        self.assertEqual(
            [key.key_id for key in peer.their_keys(100.0 + 7 * DAY)], [made.key.key_id]
        )
        ours = peer.our_key(100.0)
        self.now += 8 * DAY
        again = await self.control.rotate("b", is_ours=False, kept_for=0.0)
        assert again is not None
        peer = await self.loaded()
        self.assertEqual([key.key_id for key in peer.their_keys(self.now)], [again.key.key_id])
        self.assertNotIn(old.key_id, [key.key_id for key in peer.keys])
        self.assertEqual(peer.our_key(self.now), ours)
        given = await self.control.rotate("b", "kx:" + "0F" * 32, is_ours=True)
        self.assertIsNone(given)
        self.assertEqual((await self.loaded()).our_key(self.now).key_id, "kx")  # type: ignore[union-attr]

    async def test_most_keys(self) -> None:
        """No more keys than that work at once."""
        await self.control.add("b", MAILRELAY, PeerDetails(URL))
        for _ in range(MOST_KEYS - 1):
            await self.control.rotate("b", is_ours=True)
        await self.refused(Refusal, "--overlap", lambda: self.control.rotate("b", is_ours=True))

    async def test_told_and_audited(self) -> None:
        """Each change tells others and is audited, without what is secret."""
        made = [*await self.control.add("b", MAILRELAY, PeerDetails(URL))]
        await self.control.set("b", PeerDetails(disabled=True))
        rotated = await self.control.rotate("b", is_ours=True)
        assert rotated is not None
        await self.control.remove("b")
        audit = tables.audit.c
        wanted = select(audit.actor, audit.action, audit.subject).order_by(audit.id)
        with self.database.engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(wanted)][1:]
            told = changes_after(connection, 1)
        self.assertEqual(
            rows,
            [
                ("op", "peer add", "b"),
                ("op", "peer set", "b"),
                ("op", "peer rotate", f"b ours {rotated.key.key_id}"),
                ("op", "peer remove", "b"),
            ],
        )
        self.assertEqual([kind for _, kind in told], ["directory"] * 4)
        for one in [*made, rotated]:
            self.assertNotIn(one.key.secret.hex(), f"{rows} {one} {await self.control.peers()}")

    async def test_refused(self) -> None:
        """What cannot be is told in words."""
        add, details = self.control.add, PeerDetails
        await add("b", MAILRELAY, details(URL, account="sister"))
        await add("c", MAILRELAY, details(options={"fallback": "peer:b"}))
        [theirs] = (await self.loaded()).their_keys(self.now)
        for error, said, asked in (
            (AlreadyThere, "peer b exists", lambda: add("b", MAILRELAY, details())),
            (Refusal, "no name", lambda: add("a b", MAILRELAY, details())),
            (Refusal, "no name", lambda: add("ä", MAILRELAY, details())),
            (NoSuch, "no account x", lambda: add("d", MAILRELAY, details(account="x"))),
            (Refusal, "https", lambda: add("d", MAILRELAY, details("http://relay.test"))),
            (Refusal, "neither a query", lambda: add("d", MAILRELAY, details(f"{URL}?s=1"))),
            (Refusal, "percent-encoded", lambda: add("d", MAILRELAY, details(f"{URL}/a b"))),
            (Refusal, "key-id:hex", lambda: add("d", MAILRELAY, details(), "nonsense")),
            (Refusal, "8 to 200", lambda: add("d", ZOTONIC, details(), "short")),
            (
                AlreadyThere,
                "there is a key",
                lambda: add("d", MAILRELAY, details(), None, f"{theirs.key_id}:{'00' * 32}"),
            ),
            (NoSuch, "no peer 'x'", lambda: self.control.set("x", details(disabled=True))),
            (Refusal, "nothing to change", lambda: self.control.set("b", details())),
            (NoSuch, "no peer 'x'", lambda: self.control.rotate("x", is_ours=True)),
            (Refusal, "days", lambda: self.control.rotate("b", is_ours=True, kept_for=1e9)),
            (NoSuch, "no peer 'x'", lambda: self.control.remove("x")),
            (InUse, "peer c falls back", lambda: self.control.remove("b")),
            (InUse, "of peer b", lambda: self.accounts.remove_account("op", "sister")),
        ):
            await self.refused(error, said, asked)
        options: tuple[tuple[dict[str, object], str], ...] = (
            ({"from_address": "x@example.org"}, "give both"),
            ({"from_policy": FromPolicy.REWRITE}, "give both"),
            ({"from_address": "x"}, "no address"),
            ({"from_domains": ["a b"]}, "--from-domain"),
            ({"allowed_networks": ["x"]}, "--allowed-network"),
            ({"fallback": "other"}, "--fallback"),
            ({"fallback": "peer:b"}, "of its own"),
            ({"fallback": "peer:x"}, "no peer 'x'"),
            ({"trusted_ca": "ca.pem"}, "from /"),
            ({"trusted_ca": "/a\nb"}, "no path"),
            ({"concurrency": 0}, "--concurrency"),
            ({"timeout": 1e9}, "--timeout"),
            ({"colour": 1}, "colour"),
        )
        for given, said in options:
            asked = partial(self.control.set, "b", details(options=given))
            await self.refused(Refusal, said, asked)


class SQLitePeerTests(OnSQLite, PeerContract, TestCase):
    """On SQLite."""


class PostgresPeerTests(OnPostgres, PeerContract, TestCase):
    """On PostgreSQL."""
