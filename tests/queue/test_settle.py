"""Settling: each outcome, with each NOTIFY, at each age."""

from __future__ import annotations

from itertools import product
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.dsn import Action
from mailrelay.observe.events import EventKind
from mailrelay.queue.entry import LARGE_BYTES, Entry
from mailrelay.queue.outcome import (
    Deferral,
    Delivered,
    HandedOver,
    Outcome,
    PermanentFailure,
    Reach,
)
from mailrelay.queue.schedule import MOX, RetryProfile, gives_up_at, next_attempt_at
from mailrelay.queue.settle import AWAITED_FOR, Rules, Settlement, settle
from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.smtp.command import Notify
from mailrelay.smtp.reply import Reply, reply
from tests.queue.values import destination, entry, message

OK = reply(250, "2.0.0", "ok")
LATER = reply(451, "4.7.1", "later")
NO = reply(550, "5.1.1", "no")
PROFILE = RetryProfile()
RULES = Rules(PROFILE, retired_kept_for=1000.0)
OLD = 5 * 86400.0

NOTIFY = [
    frozenset(),
    frozenset({Notify.NEVER}),
    *(frozenset({one}) for one in (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY)),
    frozenset({Notify.SUCCESS, Notify.FAILURE, Notify.DELAY}),
]


def settled(
    one: Entry,
    outcome: Outcome,
    now: float,
    *,
    jitter: float = 0.0,
    rules: Rules = RULES,
    **attempt: Any,
) -> Settlement:
    """What one outcome of one entry comes to."""
    job = Job(destination(), one.message, [one])
    result = Result([outcome], Attempt(now - 1.0, now, **attempt), notes={"note": "x"})
    return settle(job, result, rules, now, jitter)


class EachCaseTests(SynchronousTestCase):
    """Outcome x NOTIFY x attempts."""

    def test_delivered(self) -> None:
        """Success is told only where SUCCESS was asked for and nobody else will tell it."""
        for notify, reach, attempts in product(NOTIFY, Reach, (0, 40)):
            with self.subTest(f"{notify} {reach} {attempts}"):
                done = settled(
                    entry(notify=notify, attempts=attempts), Delivered(OK, reach), 9000.0
                )
                actions = {Reach.MAILBOX: [Action.DELIVERED], Reach.RELAYED: [Action.RELAYED]}
                wanted = actions.get(reach, []) if Notify.SUCCESS in notify else []
                self.assertEqual([report.action for report in done.reports], wanted)
                self.assert_retired(done, EventKind.DELIVERED, 9000.0)

    def test_handed_over(self) -> None:
        """Nothing is told: the peer reports.  It is kept for what the peer has to tell."""
        for notify in NOTIFY:
            done = settled(entry(notify=notify), HandedOver(OK), 9000.0)
            [finished] = done.finished
            self.assertEqual((list(done.reports), done.list_reports), ([], []))
            self.assertEqual(finished.event.kind, EventKind.HANDED_OVER)
            self.assertEqual(finished.retired_until, 9000.0 + 1000.0 + AWAITED_FOR)

    def test_permanent(self) -> None:
        """Failure is told unless NOTIFY leaves it out."""
        for notify, attempts in product(NOTIFY, (0, 40)):
            with self.subTest(f"{notify} {attempts}"):
                done = settled(
                    entry(notify=notify, attempts=attempts), PermanentFailure(NO), 9000.0
                )
                wanted = [Action.FAILED] if not notify or Notify.FAILURE in notify else []
                self.assertEqual([report.action for report in done.reports], wanted)
                self.assert_retired(done, EventKind.FAILED, 9000.0)
                self.assertNotIn("expired", done.finished[0].event.data)

    def test_deferred(self) -> None:
        """Delay is told once, from two hours on, unless NOTIFY leaves it out."""
        for notify, now, told_before in product(NOTIFY, (60.0, 7200.0), (False, True)):
            with self.subTest(f"{notify} {now} {told_before}"):
                one = entry(notify=notify, delay_reported=told_before, attempts=3)
                done = settled(one, Deferral(LATER), now)
                wanted = not notify or Notify.DELAY in notify
                told = wanted and now >= 7200.0 and not told_before
                self.assertEqual(
                    [report.action for report in done.reports], [Action.DELAYED] if told else []
                )
                [finished] = done.finished
                self.assertEqual(finished.event.kind, EventKind.DELAYED)
                self.assertIsNone(finished.retired_until)
                self.assertEqual(finished.delay_reported, told or told_before)
                self.assertEqual(finished.next_attempt_at, now + 3600.0)
                self.assertEqual(done.next_attempt_at, now + 3600.0)
                self.assertEqual(finished.event.data["next_attempt_at"], now + 3600.0)

    def test_expired(self) -> None:
        """A deferral at the end of the life is a failure, with the host's last words."""
        for notify in NOTIFY:
            with self.subTest(str(notify)):
                done = settled(entry(notify=notify, attempts=33), Deferral(LATER), OLD)
                wanted = [Action.FAILED] if not notify or Notify.FAILURE in notify else []
                self.assertEqual([report.action for report in done.reports], wanted)
                self.assert_retired(done, EventKind.FAILED, OLD)
                self.assertIs(done.finished[0].event.data["expired"], True)
                self.assertEqual(done.finished[0].event.data["code"], 451)
                self.assertNotIn("next_attempt_at", done.finished[0].event.data)

    def test_old_but_hardly_tried(self) -> None:
        """A clock step alone expires nothing: eight attempts are made first."""
        for attempts, retired in ((0, False), (6, False), (7, True)):
            done = settled(entry(attempts=attempts), Deferral(LATER), OLD * 100)
            self.assertEqual(done.finished[0].retired_until is not None, retired)

    def test_eighth_attempt_of_mox(self) -> None:
        """With mox's profile the eighth attempt is the last, whatever the age."""
        rules = Rules(MOX, 1000.0)
        for attempts, retired in ((6, False), (7, True)):
            done = settled(entry(attempts=attempts), Deferral(LATER), 60.0, rules=rules)
            self.assertEqual(done.finished[0].retired_until is not None, retired)

    def test_kept_as_the_account_wants(self) -> None:
        """An account's own retention goes before the server's, also when it is none at all."""

        def own(account_id: int | None) -> float | None:
            return {1: 50.0, 2: 0.0}.get(account_id or 0)

        rules = Rules(PROFILE, 1000.0, own)
        for account_id, kept_for in ((1, 50.0), (2, 0.0), (3, 1000.0), (None, 1000.0)):
            one = entry(of=message(account_id=account_id))
            [finished] = settled(one, Delivered(OK, Reach.PASSED_ON), 9.0, rules=rules).finished
            self.assertEqual(finished.retired_until, 9.0 + kept_for)

    def test_content_of_what_failed(self) -> None:
        """It is kept for a while where an account may send it again, and not of what arrived."""
        rules = Rules(PROFILE, 1000.0, content_kept_for=40.0)
        of_account, of_nobody = (entry(of=message(account_id=id_)) for id_ in (1, None))
        for one, outcome, until in (
            (of_account, PermanentFailure(NO), 49.0),
            (of_nobody, PermanentFailure(NO), None),
            (of_account, Delivered(OK, Reach.PASSED_ON), None),
            (of_account, Deferral(LATER), None),
        ):
            [finished] = settled(one, outcome, 9.0, rules=rules).finished
            self.assertEqual(finished.content_kept_until, until)
        [finished] = settled(of_account, PermanentFailure(NO), 9.0).finished
        self.assertIsNone(finished.content_kept_until)

    def assert_retired(self, done: Settlement, kind: EventKind, now: float) -> None:
        """The entry is over and kept for a while."""
        [finished] = done.finished
        self.assertEqual(finished.event.kind, kind)
        self.assertEqual(finished.retired_until, now + 1000.0)
        self.assertIsNone(done.next_attempt_at)


class ReportTests(SynchronousTestCase):
    """What a report says."""

    def test_fields(self) -> None:
        """Recipient, reply, host and time of the attempt are those of this attempt."""
        done = settled(entry(orcpt="rfc822;o"), PermanentFailure(NO), 50.0, host="mx.example.net")
        [report] = done.reports
        self.assertEqual(report.recipient, entry().recipient)
        self.assertEqual((report.reply, report.orcpt), (NO, "rfc822;o"))
        self.assertEqual((report.remote_host, report.last_attempt_at), ("mx.example.net", 50.0))
        self.assertIsNone(report.will_retry_until)

    def test_retry_until_is_kept(self) -> None:
        """Will-Retry-Until is the time of the last attempt that is really made."""
        for profile in (PROFILE, MOX, RetryProfile(60.0, 600.0, 86400.0)):
            rules = Rules(profile, 1000.0)
            one, now, told = entry(), 0.0, None
            while True:
                done = settled(one, Deferral(LATER), now, rules=rules)
                told = done.reports[0].will_retry_until if done.reports and not told else told
                [finished] = done.finished
                if finished.retired_until is not None:
                    break
                now = finished.next_attempt_at
                one = entry(attempts=one.attempts + 1, delay_reported=finished.delay_reported)
            assert told is not None
            self.assertAlmostEqual(told, now, places=3)

    def test_retry_until_counts_the_jitter(self) -> None:
        """Where only one attempt is left, its jitter is part of the time that is told."""
        profile = RetryProfile(give_up_after=OLD, delay_dsn_after=0.0, most_attempts=2)
        done = settled(entry(), Deferral(LATER), 10.0, jitter=0.9, rules=Rules(profile, 1.0))
        due = next_attempt_at(profile, 0.0, 10.0, 1, 0.9)
        assert due is not None
        self.assertEqual(done.reports[0].will_retry_until, due)
        self.assertEqual(gives_up_at(profile, 0.0, due, 2), due)


class EventTests(SynchronousTestCase):
    """What the history keeps."""

    def test_data(self) -> None:
        """The event tells the attempt, the host and the reply."""
        attempt: dict[str, Any] = {
            "host": "mx",
            "ip": "192.0.2.1",
            "tls": "TLSv1.3 X",
            "transcript": ("C: QUIT",),
        }
        done = settled(entry(attempts=2), PermanentFailure(NO), 50.0, **attempt)
        event = done.finished[0].event
        self.assertEqual((event.at, event.message_id, event.entry_id), (50.0, 1, 11))
        self.assertEqual(
            dict(event.data),
            {
                "destination": "mx:example.net",
                "started_at": 49.0,
                "ended_at": 50.0,
                "host": "mx",
                "ip": "192.0.2.1",
                "tls": "TLSv1.3 X",
                "transcript": ["C: QUIT"],
                "note": "x",
                "recipient": "r11@example.net",
                "attempt": 3,
                "code": 550,
                "status": "5.1.1",
                "reply": "no",
            },
        )

    def test_little_is_known(self) -> None:
        """What did not happen is not told."""
        event = settled(entry(), Delivered(Reply(250, "ok")), 50.0).finished[0].event
        self.assertEqual(event.data["status"], "")
        self.assertTrue({"host", "ip", "tls", "transcript"}.isdisjoint(event.data))

    def test_mixed(self) -> None:
        """Each entry of a job has its own outcome; the earliest retry is the job's."""
        shared = message(size_bytes=LARGE_BYTES + 1)
        entries = [entry(11, shared), entry(12, shared, attempts=5), entry(13, shared, attempts=1)]
        outcomes: list[Outcome] = [PermanentFailure(NO), Deferral(LATER), Deferral(LATER)]
        result = Result(outcomes, Attempt(0.0, 1.0))
        job = Job(destination(), shared, entries)
        done = settle(job, result, RULES, 1.0, 0.0, unbegun=True)
        self.assertEqual([one.entry_id for one in done.finished], [11, 12, 13])
        self.assertEqual([one.retired_until is None for one in done.finished], [False, True, True])
        self.assertEqual(done.next_attempt_at, 901.0)
        self.assertTrue(all(one.unbegun and one.content_is_large for one in done.finished))

    def test_outcomes_must_match(self) -> None:
        """An outcome too few is a mistake of ours, not a loss in silence."""
        job = Job(destination(), message(), [entry()])
        self.assertRaises(ValueError, settle, job, Result([], Attempt(0, 0)), RULES, 0.0, 0.0)
