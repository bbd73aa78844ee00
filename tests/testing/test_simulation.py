"""The simulation: seeds that keep every promise, and planted bugs that it must find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.accept import Acceptance, Accepted
from mailrelay.acceptance.envelope import Envelope
from mailrelay.acceptance.judging import NOTHING_JUDGED, Judged
from mailrelay.control.peer_requests import KnownOfMessage
from mailrelay.handoff import hand_in, transport
from mailrelay.handoff.memory import asked
from mailrelay.outbound import transport as outbound
from mailrelay.peering import door, zotonic_blocks
from mailrelay.peering.pushed import Pushed
from mailrelay.peering.told import read_page
from mailrelay.peering.zotonic_status import ZotonicStatusDoor
from mailrelay.peering.zotonic_submission import ZotonicSubmitter
from mailrelay.queue import settle
from mailrelay.queue.entry import Begun, Entry
from mailrelay.queue.report import Reporter
from mailrelay.queue.schedule import RetryProfile, next_attempt_at
from mailrelay.storage import nodes, queue, stores
from mailrelay.storage.peer_feed import DatabasePeerFeed
from mailrelay.storage.peer_requests import DatabasePeerRequests
from mailrelay.testing.simulated import http_hops, zotonic_site
from mailrelay.testing.simulated.node import CRASHES, SimulatedServer
from mailrelay.testing.simulated.peers import CHAIN
from mailrelay.testing.simulation import CRASHES_PER_SEED, MAILS, simulate
from mailrelay.web.request import Response
from tests.testing.seeds import SEEDS, run_seeds

FAULTS = (
    *("dropped connection", "4xx", "5xx", "slow peer", "lying peer", "clock step", "full disk"),
    *("next hop down", "HTTP repeat", "HTTP recipient 450", "HTTP recipient 550"),
    *(f"HTTP {fault}" for fault in http_hops.FAULTS),
    *(f"HTTP {fault}" for fault in zotonic_site.SITE_FAULTS),
    *(f"relayed by {host}" for host in CHAIN),
    *(f"peer tells {told}" for told in ("deferred", "relayed", "bounced")),
    *(f"site reports {told}" for told in zotonic_site.SAID),
    *("pushed", "not taken when pushed", "report not heard", "caller hung up"),
    *("fallback", "handed in", "handed in again", "suppression told"),
)

SEEDS_TO_FIND = 40
"""Within how many seeds a planted bug must be found."""


class SeedTests(SynchronousTestCase):
    """Even seeds."""

    def test_promises_are_kept(self) -> None:
        """Mail answered 250 arrives or is reported, whichever step a crash or fault comes at."""
        seeds = range(0, SEEDS, 2)
        counts = run_seeds(self, seeds)
        self.assertGreaterEqual(MAILS, 20)
        self.assertGreaterEqual(counts["crash"], CRASHES_PER_SEED * len(seeds))
        self.assertEqual([], [fault for fault in FAULTS if not counts[fault]])
        names = [f"crash {when} {step}" for step, when in CRASHES]
        self.assertEqual([], [name for name in names if not counts[name]])


class PlantedBugTests(SynchronousTestCase):
    """Each bug is planted into every life of the node; the simulation must see it."""

    def _find(self, plant: Callable[[Any], None], *symptoms: str, first: int = 0) -> None:
        """Some seed breaks a promise, in one of the ways that this bug can show.

        ``first`` is a seed that does, or did: it is tried first.
        """

        class PlantedServer(SimulatedServer):
            def _wire(self) -> None:
                super()._wire()
                plant(self)

        for seed in range(first, first + SEEDS_TO_FIND):
            violations = simulate(seed, PlantedServer).violations
            if violations:
                found = violations[0]
                self.assertTrue(any(symptom in found for symptom in symptoms), found)
                return
        self.fail(f"not found in {SEEDS_TO_FIND} seeds")

    def test_250_before_the_commit(self) -> None:
        """An answer that does not wait for the commit loses mail at a crash."""

        def plant(server: Any) -> None:
            fields = [field.name for field in attrs.fields(Acceptance)]
            given = {name: getattr(server._acceptance, name) for name in fields}
            server._acceptance = HastyAcceptance(**given)

        self._find(plant, "was answered 250 and is lost")

    def test_event_outside_the_transaction(self) -> None:
        """Events that are written by themselves are not there after a crash."""
        running: list[Any] = []
        insert_events = queue.insert_events

        def insert_later(connection: Any, events: Any) -> None:
            database = running[-1].stores.database
            database.write(lambda c: insert_events(c, events)).addErrback(lambda _: None)

        self.patch(queue, "insert_events", insert_later)
        self._find(running.append, "event", "events")

    def test_attempt_not_recorded_first(self) -> None:
        """An attempt that the store does not know of would be made again and again."""

        def plant(server: Any) -> None:
            server.stores.queue.begin_attempts = lambda begun: succeed([True] * len(begun))

        self._find(plant, "is not recorded first")

    def test_lost_claim_ignored(self) -> None:
        """What was held while it waited in memory must not be attempted."""

        def plant(server: Any) -> None:
            begin = server.stores.queue.begin_attempts

            def begin_anyway(begun: Sequence[Begun]) -> Deferred[Sequence[bool]]:
                answered: Deferred[Sequence[bool]] = begin(begun)
                return answered.addCallback(lambda allowed: [True] * len(allowed))

            server.stores.queue.begin_attempts = begin_anyway

        self._find(plant, "though it is held", "is not recorded first")

    def test_sender_told_twice(self) -> None:
        """A failure is told of in one DSN."""

        def plant(server: Any) -> None:
            recorder = server.scheduler._recorder
            recorder.reporter = TellTwice(*attrs.astuple(recorder.reporter, recurse=False))

        self._find(plant, "DSNs tell that")

    def test_outcome_dropped_when_the_store_fails(self) -> None:
        """An outcome that cannot be recorded is not forgotten."""

        def plant(server: Any) -> None:
            server.scheduler._recorder.is_running = lambda: False

        self._find(plant, "nobody moves it", "delivered twice without need", " s early")

    def test_retried_at_once(self) -> None:
        """Nothing is attempted before its time."""
        self.patch(settle, "next_attempt_at", lambda profile, queued_at, now, number, jitter: now)
        self._find(lambda server: None, "is followed after")

    def test_claims_of_an_earlier_life_kept(self) -> None:
        """What a dead life had claimed is taken up by the next one."""

        begin_life = nodes.register

        def register(connection: Any, name: str) -> nodes.Node:
            ask = connection.exec_driver_sql
            claimed = ask("SELECT node_id, epoch, id FROM entry WHERE node_id <> 0").fetchall()
            node = begin_life(connection, name)
            for row in claimed:
                ask("UPDATE entry SET node_id = ?, epoch = ? WHERE id = ?", tuple(row))
            return node

        self.patch(stores, "register", register)
        self._find(lambda server: None, "nobody moves it")

    def test_future_release_ignored(self) -> None:
        """What is to be held until a time is not attempted before."""
        self.patch(Envelope, "due_at", lambda envelope, now: now)
        self._find(lambda server: None, "before its release")

    def test_claimed_before_they_are_due(self) -> None:
        """Retries are not claimed ahead of their time."""

        def plant(server: Any) -> None:
            claim_due = server.stores.queue.claim_due
            server.stores.queue.claim_due = lambda now, *rest: claim_due(now + 15.0, *rest)

        self._find(plant, " s early")

    def test_retries_that_do_not_slow_down(self) -> None:
        """Each retry waits as long as its number says."""

        def always_first(
            profile: RetryProfile, queued_at: float, now: float, number: int, jitter: float
        ) -> float | None:
            return next_attempt_at(profile, queued_at, now, 1 if number < 6 else number, jitter)

        self.patch(settle, "next_attempt_at", always_first)
        self._find(lambda server: None, "is followed after")

    def test_failure_that_nobody_is_told_of(self) -> None:
        """A failure is told of unless it is not to be."""

        def plant(server: Any) -> None:
            server.scheduler._recorder.reporter = Silent(
                *attrs.astuple(server.scheduler._recorder.reporter, recurse=False)
            )

        self._find(plant, "0 DSNs tell that")

    def test_key_of_each_attempt(self) -> None:
        """An application that is asked again must know what it has."""

        def key(hostname: str, entry: Entry) -> str:
            return f"{hostname}.{entry.id}.{entry.attempts}"

        self.patch(transport, "idempotency_key", key)
        self._find(lambda server: None, "was taken twice, by different keys")

    def test_requests_to_a_peer_forgotten(self) -> None:
        """What may have reached a peer is repeated as it was, under its key."""
        of_message = DatabasePeerRequests.of_message

        def forget(known: KnownOfMessage) -> KnownOfMessage:
            of_sites = [request for request in known.requests if not request.meta]
            return KnownOfMessage(of_sites, known.hops)

        def forgetful(requests: Any, *of: int) -> Deferred[KnownOfMessage]:
            return of_message(requests, *of).addCallback(forget)

        self.patch(DatabasePeerRequests, "of_message", forgetful)
        self._find(lambda server: None, "by different keys", "state and events differ")

    def test_events_of_a_peer_skipped(self) -> None:
        """What a peer tells is recorded before it is asked for what comes later."""
        record = DatabasePeerFeed.record

        def skip(store: Any, peer_id: int, news: Any, *rest: Any) -> Deferred[Any]:
            return record(store, peer_id, news[1:], *rest)

        self.patch(DatabasePeerFeed, "record", skip)
        self._find(lambda server: None, "and that is not known here", "is lost")

    def test_number_of_each_attempt(self) -> None:
        """A site must know what it has, however often it is asked."""
        submit = ZotonicSubmitter._submit
        numbers = count(1)

        def with_number(submitter: Any, peer: Any, job: Any) -> Any:
            name = f"n{next(numbers)}.example.org"
            return submit(attrs.evolve(submitter, hostname=name), peer, job)

        self.patch(ZotonicSubmitter, "_submit", with_number)
        self._find(lambda server: None, "was taken twice, by different keys", first=6)

    def test_report_answered_before_it_is_recorded(self) -> None:
        """A site does not repeat what was answered 200."""
        record = ZotonicStatusDoor._record

        async def begin(door: Any, peer: Any, report: Any) -> None:
            Deferred.fromCoroutine(record(door, peer, report)).addErrback(lambda _: None)

        self.patch(ZotonicStatusDoor, "_record", begin)
        self._find(lambda server: None, "here, and", "that is not known here")

    def test_block_counts_as_told(self) -> None:
        """A site that did not say ok does not know that an address is blocked."""
        self.patch(zotonic_blocks, "_is_ok", lambda answer: True)
        self._find(lambda server: None, "site.example knows", first=14)

    def test_page_taken_before_it_is_recorded(self) -> None:
        """A peer that pushes goes on from where it was told to."""

        async def post(pushed: Any, claim: Any) -> Response:
            pieces: list[bytes] = []
            verified = await pushed.door.verified(claim, 10**6, pieces.append)
            page = read_page(b"".join(pieces))
            assert page is not None
            taking: Deferred[int] = Deferred.fromCoroutine(pushed.take(verified.peer, page))
            taking.addErrback(lambda _: None)
            return door.answer(200, {"cursor": page.position})

        self.patch(Pushed, "post", post)
        self._find(lambda server: None, "here, and", "that is not known here")

    def test_handed_in_forgotten(self) -> None:
        """What is handed in again, and was answered by nobody, is known."""
        numbers = count(1)

        def other(name: str, key: str | None, *rest: Any) -> Any:
            return asked(name, f"{key}.{next(numbers)}", *rest)

        self.patch(hand_in, "asked", other)
        self._find(lambda server: None, "was handed in once", "by different keys", first=7)

    def test_next_relay_host_asked_too(self) -> None:
        """What one of a chain took is nobody else's."""

        def everybody(said: Any, patterns: object, *, is_gone: bool) -> Sequence[int]:
            return range(len(said.replies))

        self.patch(outbound, "to_ask_next", everybody)
        self._find(lambda server: None, "was delivered twice without need")

    def test_window_ignored(self) -> None:
        """No more is claimed than there is room for."""

        def plant(server: Any) -> None:
            claim_due = server.stores.queue.claim_due
            server.stores.queue.claim_due = lambda now, *rest: claim_due(now, 500, [])

        self._find(plant, "entries in memory")


class HastyAcceptance(Acceptance):
    """Answers before the commit."""

    def _store(
        self, body: Any, source: Any, envelope: Any, incoming: Any, judged: Judged = NOTHING_JUDGED
    ) -> Deferred[Accepted]:
        new = self.making.message(body, source, envelope, incoming, judged)
        stored = self.store.add(new).addCallback(lambda _: self.enqueue(new.entries))
        stored.addErrback(lambda _: None)
        return succeed(Accepted(new.message, new.entries))


class TellTwice(Reporter):
    """Makes every DSN two times."""

    async def reports(self, *arguments: Any) -> Any:
        """See Reporter."""
        return [*await super().reports(*arguments), *await super().reports(*arguments)]


class Silent(Reporter):
    """Forgets every third time."""

    made: ClassVar[int] = 0

    async def reports(self, *arguments: Any) -> Any:
        """See Reporter."""
        Silent.made += 1
        return await super().reports(*arguments) if Silent.made % 3 else []
