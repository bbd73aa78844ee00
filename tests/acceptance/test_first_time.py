"""Senders whom an account does not know wait; those it knows do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance import first_time
from mailrelay.acceptance.first_time import (
    DAY,
    FirstTime,
    FirstTimeSettings,
    KnownSenders,
    sender_of,
)
from mailrelay.acceptance.judging import Arrived, Judgement
from mailrelay.acceptance.peer_judges import DomainRate
from mailrelay.message.verdict import Verdict
from mailrelay.policy.rates import Rates, SenderLimits
from mailrelay.queue.store import StoreUnavailable
from tests.acceptance.arrivals import arrived
from tests.inbound.sessions import DIRECTORY

SURE = Judgement(verdict=Verdict(is_from_valid=True))
PATH_IS_SURE = Judgement(verdict=Verdict(is_mail_from_valid=True))


@define
class FakeKnownSenders:
    """KnownSenderStore; ``broken`` fails, ``slow`` does not answer."""

    rows: dict[tuple[int, str], float] = field(factory=dict)
    broken: bool = False
    slow: bool = False
    asked: int = 0
    written: int = 0

    def known_to(self, accounts: Sequence[int], sender: str) -> Deferred[dict[int, float]]:
        """See KnownSenderStore."""
        self.asked += 1
        if self.slow:
            return Deferred()
        if self.broken:
            return fail(StoreUnavailable("broken"))
        rows = self.rows
        return succeed({one: rows[one, sender] for one in accounts if (one, sender) in rows})

    def met(self, accounts: Sequence[int], sender: str, at: float) -> Deferred[None]:
        """See KnownSenderStore."""
        self.written += 1
        if self.broken:
            return fail(StoreUnavailable("broken"))
        self.rows |= {(one, sender): at for one in accounts}
        return succeed(None)

    def sweep(self, before: float, limit: int) -> Deferred[int]:
        """See KnownSenderStore."""
        raise NotImplementedError


class FirstTimeTests(SynchronousTestCase):
    """Messages that wait, and that do not."""

    def setUp(self) -> None:
        """A judge that lets strangers wait for 15 seconds."""
        self.clock, self.store, self.now = Clock(), FakeKnownSenders(), 1_900_000_000.0
        self.make()

    def make(self, **settings: Any) -> None:
        """The judge anew, as after a restart."""
        made = FirstTimeSettings(15.0, **settings)
        known = KnownSenders(self.store, lambda: self.now, made.known_for)
        self.judge = FirstTime(made, known, lambda: DIRECTORY, self.clock)
        self.judge.startService()

    def begin(self, one: Arrived | None = None, found: Judgement = SURE) -> Deferred[Judgement]:
        """Ask the judge."""
        return Deferred.fromCoroutine(self.judge.judge(one or arrived(), found))

    def waits(self, one: Arrived | None = None, found: Judgement = SURE) -> bool:
        """Whether a message waits; it does not any more."""
        judging = self.begin(one, found)
        if judging.called:
            self.assertEqual(self.successResultOf(judging).verdict, found.verdict)
            return False
        self.clock.advance(14.9)
        self.assertNoResult(judging)
        self.clock.advance(0.1)
        [reason] = self.successResultOf(judging).verdict.reasons
        self.assertEqual(reason, "its sender is new here: it waited 15 seconds")
        return True

    def test_once(self) -> None:
        """The first message of a sender waits, those after it do not; nor after a restart."""
        self.assertEqual([self.waits(), self.waits()], [True, False])
        self.assertEqual(self.store.asked, 1)
        self.make()
        self.assertFalse(self.waits())
        self.assertEqual(list(self.store.rows), [(1, "a@far.test")])

    def test_each_account(self) -> None:
        """Each account knows its own; a message waits if one of them does not know its sender."""
        to_both = arrived(recipients=("user@example.org", "other@example.org"))
        self.assertTrue(self.waits())
        self.assertEqual([self.waits(to_both), self.waits(to_both)], [True, False])
        self.assertFalse(self.waits(arrived(recipients=("other@example.org",))))

    def test_who_it_is(self) -> None:
        """From if it is sure, else the reverse-path; who cannot be sure of waits each time."""
        one = arrived(b"From: Boss <Boss@Far.test>\r\n\r\n", "bounces@lists.test")
        for found, wanted in (
            (SURE, "boss@far.test"),
            (PATH_IS_SURE, "bounces@lists.test"),
            (Judgement(), ""),
        ):
            self.assertEqual(sender_of(one, found.verdict), wanted)
        two = arrived(b"From: a@far.test, b@far.test\r\n\r\n", None)
        self.assertEqual(sender_of(two, SURE.verdict), "")
        self.assertEqual([self.waits(found=Judgement()) for _ in range(2)], [True, True])
        self.assertEqual(self.store.rows, {})

    def test_not_for_these(self) -> None:
        """Reports, what goes to Junk, and what is for no account of ours do not wait."""
        self.assertFalse(self.waits(arrived(sender=None), Judgement()))
        self.assertFalse(self.waits(found=Judgement(verdict=Verdict(junk="it is"))))
        self.assertFalse(self.waits(arrived(recipients=("you@away.test",))))

    def test_known_for(self) -> None:
        """Who was not met for long is new again; that it is met is written once a day."""
        self.assertTrue(self.waits())
        for _ in range(3):
            self.now += 399 * DAY
            self.assertFalse(self.waits())
            self.assertFalse(self.waits())
        self.assertEqual(self.store.written, 4)
        self.now += 400 * DAY
        self.assertTrue(self.waits())

    def test_bounds(self) -> None:
        """So many wait at once, and so many are remembered."""
        self.make(most_waiting=2)
        waiting = [self.begin(arrived(sender=f"{n}@far.test"), PATH_IS_SURE) for n in range(3)]
        self.assertEqual(self.judge.waiting, 2)
        self.successResultOf(waiting[2])
        self.clock.advance(15)
        self.assertEqual([len(self.clock.getDelayedCalls()), self.judge.waiting], [0, 0])
        self.patch(first_time, "MOST_KEPT", 1)
        self.make()
        self.store.asked = 0
        for n in (0, 1, 0, 1):
            self.assertFalse(self.waits(arrived(sender=f"{n}@far.test"), PATH_IS_SURE))
        self.assertEqual(self.store.asked, 4)

    def test_store_fails(self) -> None:
        """A store that cannot be read lets nobody wait."""
        self.store.broken = True
        self.assertFalse(self.waits())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stop(self) -> None:
        """A server that stops lets everybody go, and nobody waits any more."""
        judging = self.begin()
        self.assertNoResult(judging)
        self.judge.stopService()
        self.successResultOf(judging)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(self.waits(arrived(sender="new@far.test"), PATH_IS_SURE))


class DomainRateTests(SynchronousTestCase):
    """Domains of which much comes."""

    def test_sure_ones(self) -> None:
        """Only what is surely of the domain counts: others cannot use its share up."""
        judge = DomainRate(Rates(SenderLimits(messages_per_domain=2), lambda: 0.0))

        def refused(found: Judgement) -> str:
            judging = Deferred.fromCoroutine(judge.judge(arrived(), found))
            judged = self.successResultOf(judging)
            return f"{judged.refused_by} {judged.refusal}" if judged.refusal else ""

        self.assertEqual([refused(Judgement()) for _ in range(5)], [""] * 5)
        said = "rate 451 4.7.1 too many messages of the domain, try again later"
        both = (SURE, PATH_IS_SURE, SURE)
        self.assertEqual([refused(one) for one in both], ["", "", said])
        other = evolve(SURE, verdict=Verdict())
        self.assertEqual(refused(other), "")
