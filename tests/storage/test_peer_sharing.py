"""Which peers hear of a change of a suppression list: on every database."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from sqlalchemy import insert, update
from twisted.trial.unittest import TestCase

from mailrelay.control.peer_mail import SuppressionChange
from mailrelay.control.peer_sharing import SharedChange
from mailrelay.control.suppression import NewSuppression
from mailrelay.directory.peers import PeerOptions
from mailrelay.observe.events import EventKind
from mailrelay.policy.suppression import SERVER, Suppression
from mailrelay.smtp.address import Address
from mailrelay.storage import suppression, tables
from mailrelay.storage.peer_mail import DatabasePeerMail
from mailrelay.storage.peer_rows import stored_options
from mailrelay.storage.peer_sharing import DatabasePeerShares
from mailrelay.storage.suppression_records import DatabaseSuppressionRecords
from tests.storage.calling import Calling
from tests.storage.databases import OnPostgres, OnSQLite

HUB, OTHER = 7, 8
JOE = "joe@example.net"
LISTED = Suppression(0, 1, JOE, JOE, 50.0, True, "asked\r\nfor")


class PeerSharingContract(Calling):
    """PeerShares, and what writes for it."""

    def setUp(self) -> None:
        """Two peers, of which account 1 uses one, and two that share nothing."""
        super().setUp()
        self.shares = DatabasePeerShares(self.database)
        with self.database.engine.begin() as connection:
            for id_, name, url, options in (
                (HUB, "hub", "https://h.test", PeerOptions()),
                (OTHER, "other", "https://o.test", PeerOptions()),
                (9, "silent", "https://s.test", PeerOptions(shares_suppression=False)),
                (10, "caller", "", PeerOptions()),
            ):
                connection.execute(
                    insert(tables.peer).values(
                        id=id_,
                        name=name,
                        protocol="mailrelay/1",
                        url=url,
                        callback_url="",
                        account_id=1,
                        disabled=False,
                        created_at=0.0,
                        options=stored_options(options),
                    )
                )

    async def hand_over(self, peer: str = "hub") -> None:
        """A message of account 1 goes to a peer."""
        await self.ended(await self.entry(), EventKind.HANDED_OVER, {"peer": peer})

    def untold(self) -> Sequence[SharedChange]:
        """What is to be told."""
        found: Sequence[SharedChange] = self.successResultOf(self.shares.untold(10))
        return found

    async def add(self, one: Suppression = LISTED) -> None:
        """Somebody puts an address on a list."""
        await self.database.write(lambda c: suppression.add(c, one))

    async def remove(self, at: float = 60.0) -> None:
        """Somebody takes it off."""
        await self.database.write(lambda c: suppression.remove(c, 1, JOE, at))

    async def test_of_an_account(self) -> None:
        """The peers that have its mail hear of it, the newest change of an address only."""
        await self.add()
        self.assertEqual(self.untold(), [])
        await self.remove()
        await self.hand_over()
        await self.add()
        self.assertEqual(self.untold(), [SharedChange(HUB, JOE, True, "asked??for", 50.0)])
        await self.remove()
        [change] = self.untold()
        self.assertEqual((change.is_suppressed, change.changed_at), (False, 60.0))
        await self.shares.told(evolve(change, changed_at=50.0))
        self.assertEqual(self.untold(), [change])
        await self.shares.told(change)
        self.assertEqual(self.untold(), [])

    async def test_of_the_server(self) -> None:
        """All that share hear of its list."""
        await self.add(evolve(LISTED, account_id=SERVER))
        self.assertEqual({one.peer_id for one in self.untold()}, {HUB, OTHER})

    async def test_for_a_while(self) -> None:
        """What ends by itself is our own affair."""
        await self.add(evolve(LISTED, account_id=SERVER, expires_at=100.0))
        self.assertEqual(self.untold(), [])

    async def test_what_the_peer_told(self) -> None:
        """What comes of its attempts, or what it says, is not told to it, but to others."""
        await self.hand_over()
        await self.hand_over("other")
        refused: dict[str, object] = {"code": 550, "status": "5.1.1", "answered": True}
        entry = await self.entry(recipient=JOE)
        await self.ended(entry, EventKind.FAILED, {**refused, "peer": "hub"})
        self.assertEqual([one.peer_id for one in self.untold()], [OTHER])
        mail = DatabasePeerMail(self.database)
        for peer_id, at in ((HUB, 70.0), (OTHER, 90.0)):
            change = SuppressionChange("ann@x.test", "ann@x.test", True, "", at)
            await mail.suppress(peer_id, 1, change, 80.0)
        told = [one.peer_id for one in self.untold() if one.address == "ann@x.test"]
        self.assertEqual(told, [])

    async def test_sites(self) -> None:
        """Zotonic relays hear of single addresses that people block, and not their own again."""
        to_site = update(tables.peer).where(tables.peer.c.id == OTHER).values(protocol="zotonic")
        await self.database.write(lambda c: c.execute(to_site) and None)
        by_hand = evolve(LISTED, account_id=SERVER, manual=True)
        await self.add(evolve(by_hand, base_address="bounced@x.test", manual=False))
        await self.add(evolve(by_hand, base_address="*@x.test"))
        await self.add(by_hand)
        told = [(one.peer_id, one.address) for one in self.untold() if one.peer_id == OTHER]
        self.assertEqual(told, [(OTHER, JOE)])
        self.assertEqual(len([one for one in self.untold() if one.peer_id == HUB]), 3)
        records = DatabaseSuppressionRecords(self.database, lambda: 80.0)
        new = NewSuppression(Address.parse("ann@x.test"), 70.0)
        await records.add("peer:other", None, [new])
        self.assertEqual(
            [one.peer_id for one in self.untold() if one.address == "ann@x.test"], [HUB]
        )


class SQLiteTests(PeerSharingContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(PeerSharingContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
