"""What is handed to peers, kept: on every database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from sqlalchemy import insert, select
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.peer_requests import Answered, KnownOfMessage, PeerRequest, Told
from mailrelay.observe.events import EventKind
from mailrelay.storage import tables
from mailrelay.storage.peer_requests import CONTACT_EVERY, DatabasePeerRequests
from tests.storage.calling import Calling
from tests.storage.databases import OnPostgres, OnSQLite

HUB = 7


class PeerRequestContract(Calling):
    """PeerRequests."""

    def setUp(self) -> None:
        """A peer of which nothing is known."""
        super().setUp()
        self.requests = DatabasePeerRequests(self.database, self.queue.new_id)

    def known(self, message_id: int) -> KnownOfMessage:
        """What is known of a message."""
        found: KnownOfMessage = self.successResultOf(self.requests.of_message(HUB, message_id))
        return found

    def state(self) -> Any:
        """How it stands with the peer."""
        state = tables.peer_state
        query = select(state.c.alarm, state.c.alarm_since, state.c.last_contact_at)
        read = self.database.read(lambda c: c.execute(query.where(state.c.peer_id == HUB)).all())
        return self.successResultOf(read)

    def together(self, work: Callable[[], list[Deferred[Any]]]) -> Deferred[list[Deferred[Any]]]:
        """What ``work`` asks for is asked while the writer is busy: the next commit has it all."""
        return self.database.write(lambda _: work())

    async def test_kept(self) -> None:
        """A request is read as it was added, with its answer once there is one."""
        self.assertEqual(self.known(5), KnownOfMessage([]))
        request = PeerRequest(HUB, "k1", 5, {1: "j@x.test", 2: "ü@x.test"}, b"{}\n", 10.0)
        await self.requests.add(request)
        await self.requests.add(evolve(request, key="k2", created_at=9.0))
        await self.requests.add(evolve(request, key="k3", message_id=6))
        await self.requests.add(evolve(request, key="k1", peer_id=HUB + 1))
        self.assertEqual([one.key for one in self.known(5).requests], ["k2", "k1"])
        results = {1: Told("queued"), 2: Told("rejected", 550, "5.1.1 no")}
        await self.requests.answered(Answered(HUB, "k1", 20.0, "q1", results))
        answered = evolve(request, answered_at=20.0, relay_id="q1", results=results)
        self.assertEqual(self.known(5).requests[1], answered)

    async def test_several(self) -> None:
        """Requests that are kept and answered in one transaction do not mix."""
        entries = [await self.entry(recipient=f"r{i}@example.net") for i in range(70)]
        requests = [
            PeerRequest(HUB, f"k{i}", one.message.id, {one.id: f"r{i}"}, b"{}\n", 10.0)
            for i, one in enumerate(entries)
        ]
        for adding in await self.together(lambda: [self.requests.add(one) for one in requests]):
            await adding
        await self.records.drop("op", [entries[3].id, entries[68].id], 100.0, 1000.0)
        answers = [
            Answered(HUB, f"k{i}", 20.0 + i / 10, f"q{i}", {one.id: Told("queued")})
            for i, one in enumerate(entries)
        ]
        gone = Answered(HUB, "unknown", 20.0, "q", {entries[3].id: Told("queued")})
        answering = await self.together(
            lambda: [self.requests.answered(one) for one in (gone, *answers)]
        )
        dropped = [await one for one in answering]
        self.assertEqual([i for i, one in enumerate(dropped) if one], [4, 69])
        self.assertEqual((dropped[4], dropped[69]), (["r3"], ["r68"]))
        for request, answered in zip(requests, answers, strict=True):
            [kept] = self.known(request.message_id).requests
            self.assertEqual((kept.relay_id, kept.answered_at), (answered.relay_id, answered.at))
            self.assertEqual((kept.key, kept.results), (request.key, answered.results))
        self.assertEqual(self.state(), [("", None, 20.0 + 69 / 10)])

    async def test_keys(self) -> None:
        """No key is given twice, and all are keys, however long the server's name."""
        keys = {self.requests.new_key("a" * 250, 1.7e9) for _ in range(3)}
        self.assertEqual(len(keys), 3)
        self.assertTrue(all(len(key) <= 128 for key in keys))

    async def test_dropped(self) -> None:
        """What somebody canceled here, and the peer took, is told."""
        entries = [await self.entry(recipient=f"r{i}@example.net") for i in range(3)]
        recipients = {one.id: str(one.recipient) for one in entries}
        request = PeerRequest(HUB, "k1", entries[0].message.id, recipients, b"{}\n", 10.0)
        await self.requests.add(request)
        await self.records.drop("op", [entries[0].id, entries[2].id], 100.0, 1000.0)
        results = {one.id: Told("queued") for one in entries[:2]}
        results[entries[2].id] = Told("suppressed")
        dropped = await self.requests.answered(Answered(HUB, "k1", 20.0, "q1", results))
        self.assertEqual(dropped, [recipients[entries[0].id]])

    async def test_handed_over(self) -> None:
        """Who ended by the peer's own word is not dropped."""
        entry = await self.entry()
        await self.ended(entry, EventKind.HANDED_OVER)
        request = PeerRequest(HUB, "k1", entry.message.id, {entry.id: "x"}, b"{}\n", 10.0)
        await self.requests.add(request)
        results = {entry.id: Told("queued")}
        self.assertEqual(await self.requests.answered(Answered(HUB, "k1", 20.0, "q1", results)), [])

    async def test_hops(self) -> None:
        """What came by a peer has the servers that it came through."""
        came = insert(tables.peer_message).values(
            message_id=5, peer_id=1, msg_id="m", hops='["a","b"]', extra="{}", created_at=1.0
        )
        await self.database.write(lambda c: c.execute(came) and None)
        self.assertEqual(self.known(5).hops, ("a", "b"))

    async def test_alarm(self) -> None:
        """It is known since when, and over with the next contact; contacts are written seldom."""
        await self.requests.alarm(HUB, "401", 100.0)
        await self.requests.alarm(HUB, "403", 200.0)
        self.assertEqual(self.state(), [("403", 100.0, None)])
        await self.requests.well(HUB, 300.0)
        self.assertEqual(self.state(), [("", None, 300.0)])
        await self.requests.well(HUB, 300.0 + CONTACT_EVERY)
        self.assertEqual(self.state(), [("", None, 300.0)])
        await self.requests.well(HUB, 301.0 + CONTACT_EVERY)
        self.assertEqual(self.state(), [("", None, 301.0 + CONTACT_EVERY)])


class SQLiteTests(PeerRequestContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(PeerRequestContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
