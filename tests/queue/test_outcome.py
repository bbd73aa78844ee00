"""Outcomes: replies and errors, classified."""

from __future__ import annotations

from twisted.internet import error
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.resolver import LookupFailed, NoSuchDomain
from mailrelay.queue.outcome import (
    Deferral,
    Delivered,
    PermanentFailure,
    Postponed,
    Reach,
    Undeliverable,
    outcome_of_error,
    outcome_of_reply,
)
from mailrelay.smtp.reply import MalformedReply, Reply, reply


class ReplyTests(SynchronousTestCase):
    """outcome_of_reply."""

    def test_classes(self) -> None:
        """2yz is delivered, 5yz permanent, everything else is tried again."""
        self.assertEqual(outcome_of_reply(Reply(250, "")), Delivered(Reply(250, "")))
        relayed = outcome_of_reply(Reply(250, ""), Reach.RELAYED)
        self.assertEqual(relayed, Delivered(Reply(250, ""), Reach.RELAYED))
        self.assertEqual(outcome_of_reply(Reply(421, "")), Deferral(Reply(421, ""), True))
        self.assertEqual(outcome_of_reply(Reply(354, "")), Deferral(Reply(354, ""), True))
        refused = PermanentFailure(Reply(550, ""), is_answer=True)
        self.assertEqual(outcome_of_reply(Reply(550, "")), refused)


class ErrorTests(SynchronousTestCase):
    """outcome_of_error."""

    def test_each(self) -> None:
        """Each error has its class and status; only what is known to be final is."""
        for trouble, final, status in (
            (NoSuchDomain("x"), True, "5.1.2"),
            (LookupFailed("x"), False, "4.4.3"),
            (MalformedReply("x"), False, "4.5.0"),
            (error.ConnectionLost("x"), False, "4.4.2"),
            (error.ConnectionDone("x"), False, "4.4.2"),
            (error.ConnectionAborted("x"), False, "4.4.2"),
            (error.ConnectionRefusedError("x"), False, "4.4.1"),
            (error.TimeoutError("x"), False, "4.4.1"),
            (OSError("x"), False, "4.4.1"),
            (RuntimeError("a bug"), False, "4.3.0"),
        ):
            with self.subTest(repr(trouble)):
                outcome = outcome_of_error(trouble)
                self.assertIsInstance(outcome, PermanentFailure if final else Deferral)
                self.assertEqual(str(outcome.reply.status), status)

    def test_our_own(self) -> None:
        """What we stopped ourselves keeps the reply it was stopped with."""
        no, later = reply(550, "5.1.10", "null MX"), reply(451, "4.7.1", "later")
        self.assertEqual(outcome_of_error(Undeliverable(no)), PermanentFailure(no))
        self.assertEqual(outcome_of_error(Postponed(later)), Deferral(later))
        self.assertEqual((str(Undeliverable(no)), str(Postponed(later))), (str(no), str(later)))

    def test_a_bug_tells_nothing(self) -> None:
        """The text of an unknown error stays in the log."""
        self.assertNotIn("secret", outcome_of_error(KeyError("secret")).reply.text)
