"""Messages handed to a peer: what is posted, and what each answer means (A.6.3 to A.6.5)."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.peering.meta import DOOR
from mailrelay.peering.standing import PROBE_EVERY
from mailrelay.queue.entry import Content
from mailrelay.queue.outcome import Deferral, HandedOver, Outcome, PermanentFailure, Refrained
from mailrelay.queue.transport import Result
from mailrelay.smtp.command import Notify
from tests.peering.asked import (
    BODY,
    HUB,
    MESSAGE,
    NOW,
    FakePeer,
    Handing,
    RememberedRequests,
    Said,
    entry_to,
    job_of,
    taking,
)


def taking_with(status: int, said: Said) -> tuple[int, bytes]:
    """As ``taking``, with another status."""
    return status, taking(said)[1]


JOE = entry_to(1, "joe")
ANN = entry_to(2, "ann")


class Attempting(SynchronousTestCase):
    """Attempts at a peer of mailrelay/1."""

    def attempted(self, handing: Handing, *entries: Any) -> Result:
        """What came of one attempt."""
        job = job_of(*handing.begun(*entries))
        result: Result = self.successResultOf(handing.transport.attempt(job))
        self.assertEqual(len(result.outcomes), len(entries))
        self.flushLoggedErrors()
        return result

    def outcome_of(self, status: int, body: bytes = b"", **given: Any) -> tuple[Outcome, Handing]:
        """What one answer means for one recipient."""
        handing = Handing(FakePeer(lambda said: (status, body), **given))
        return self.attempted(handing, JOE).outcomes[0], handing


class SubmissionTests(Attempting):
    """What is posted, and what the answers mean."""

    def test_posted(self) -> None:
        """The meta, then the message as it is; what the sender wished is passed on."""
        message = evolve(MESSAGE, envid="e1", ret="HDRS", require_tls=True, is_urgent=True)
        entry = evolve(JOE, message=message, notify=frozenset({Notify.SUCCESS, Notify.FAILURE}))
        handing = Handing(FakePeer(taking))
        result = self.attempted(handing, entry)
        [said] = handing.peer.said
        meta, _, body = said.body.partition(b"\n")
        self.assertEqual((said.method, said.path), ("POST", "/relay/v1/messages"))
        self.assertEqual(body, b"Received: here\r\n" + BODY)
        self.assertEqual(
            json.loads(meta),
            {
                "v": 1,
                "msg_id": said.headers["Idempotency-Key"],
                "mail_from": "me@example.org",
                "rcpt_to": ["joe@remote.test"],
                "envid": "e1",
                "ret": "HDRS",
                "notify": ["FAILURE", "SUCCESS"],
                "require_tls": True,
                "priority": "urgent",
                "hops": ["us.test"],
                "expires_at": NOW + 5 * 86400.0,
            },
        )
        self.assertIsInstance(result.outcomes[0], HandedOver)
        self.assertIn("q1", str(result.outcomes[0].reply))

    def test_life(self) -> None:
        """The peer is told until when the mail lives; an hour at the least is the peer's."""
        for age, left in ((0.0, 5 * 86400.0), (86400.0, 4 * 86400.0), (9 * 86400.0, 3600.0)):
            handing = Handing(FakePeer(taking))
            self.attempted(handing, evolve(JOE, queued_at=NOW - age), entry_to(2, "ann"))
            [said] = handing.peer.said
            self.assertEqual(said.meta["expires_at"], NOW + left)

    def test_null_reverse_path(self) -> None:
        """A DSN goes out with an empty mail_from."""
        handing = Handing(FakePeer(taking))
        self.attempted(handing, evolve(JOE, message=evolve(MESSAGE, reverse_path=None)))
        self.assertEqual(handing.peer.said[0].meta["mail_from"], "")

    def test_large_content(self) -> None:
        """It is streamed, with the digest that it has; the digest is made once."""
        spool = bytes(range(256)) * 3000
        content = Content(b"Received: x\r\n", None, "name", len(spool))
        answers = [(503, b""), (202, b"")]

        def answering(said: Said) -> tuple[int, bytes]:
            status, _ = answers.pop(0)
            return taking(said) if status == 202 else (status, b"")

        handing = Handing(FakePeer(answering), content=content, spool=spool)
        self.attempted(handing, JOE)
        self.attempted(handing, JOE)
        first, second = handing.peer.said
        self.assertEqual(first.body.partition(b"\n")[2], content.prefix + spool)
        self.assertEqual(first.body, second.body)

    def test_results(self) -> None:
        """Each recipient has its own."""
        states = {
            "ann": ("suppressed", 0, ""),
            "bob": ("rejected", 550, "5.1.1 no\r\nsuch user"),
            "eve": ("rejected", 452, "too many"),
            "sam": ("strange", 0, ""),
        }
        handing = Handing(FakePeer(lambda said: taking(said, **states)))
        entries = [JOE, ANN, *(entry_to(i, n) for i, n in enumerate(("bob", "eve", "sam"), 3))]
        kinds = [type(one) for one in self.attempted(handing, *entries).outcomes]
        self.assertEqual(kinds, [HandedOver, Refrained, PermanentFailure, Deferral, Deferral])

    def test_statuses(self) -> None:
        """Every row of A.6.4, and what is in none of them."""
        permanent = {400, 405, 406, 411, 413, 415, 422, 426, 508}
        configuration = {401, 403, 404, 410}
        for status in range(200, 600):
            outcome, handing = self.outcome_of(status, b'{"text": "why"}')
            wanted = PermanentFailure if status in permanent else Deferral
            self.assertIsInstance(outcome, wanted, status)
            alarms = handing.requests.alarms
            self.assertEqual(len(alarms), int(status in configuration), status)
            answered = [one.answered_at is not None for one in handing.requests.known.values()]
            self.assertEqual(answered, [status in permanent], status)
        for status, text in ((413, "552 5.3.4"), (508, "554 5.4.6"), (422, "554 5.3.0")):
            outcome, _ = self.outcome_of(status, b'{"text": "w\\u0000hy"}')
            self.assertTrue(str(outcome.reply).startswith(text), outcome)
            self.assertTrue(str(outcome.reply).isprintable())

    def test_unsigned(self) -> None:
        """A 2xx that the peer did not sign is not its own: nothing is handed over."""
        for status in (200, 202):
            handing = Handing(FakePeer(partial(taking_with, status), signs=False))
            [outcome] = self.attempted(handing, JOE).outcomes
            self.assertIsInstance(outcome, Deferral)
            self.assertIn("signature", str(outcome.reply))
            [request] = handing.requests.known.values()
            self.assertIsNone(request.answered_at)

    def test_taken_before(self) -> None:
        """A 200 is the answer that was given before."""
        handing = Handing(FakePeer(partial(taking_with, 200)))
        self.assertIsInstance(self.attempted(handing, JOE).outcomes[0], HandedOver)

    def test_first(self) -> None:
        """Nothing can be known of a message at its first attempt, unless a peer brought it."""
        handing = Handing(FakePeer(lambda said: (0, b"")))
        self.attempted(handing, JOE)
        self.assertEqual(handing.requests.read, [])
        self.attempted(handing, ANN)
        self.assertEqual(handing.requests.read, [])
        self.attempted(handing, JOE, entry_to(9, "new"))
        self.assertEqual(handing.requests.read, [MESSAGE.id])

    def test_repeated(self) -> None:
        """Until it is answered, a request is repeated byte for byte; what is new goes apart."""
        handing = Handing(FakePeer(lambda said: (0, b"")))
        self.attempted(handing, JOE, ANN)
        handing.peer.answering = taking
        bob = entry_to(3, "bob")
        result = self.attempted(handing, JOE, ANN, bob)
        self.assertEqual([type(one) for one in result.outcomes], [HandedOver] * 3)
        first, again, new = handing.peer.said
        self.assertEqual(first.body, again.body)
        self.assertEqual(first.headers["Idempotency-Key"], again.headers["Idempotency-Key"])
        self.assertNotEqual(first.headers["Idempotency-Key"], new.headers["Idempotency-Key"])
        self.assertEqual(new.meta["rcpt_to"], ["bob@remote.test"])

    def test_answered_before(self) -> None:
        """Whose answer is kept is not asked for again: its outcome could not be recorded."""
        handing = Handing(FakePeer(taking))
        self.attempted(handing, JOE, ANN)
        [outcome] = self.attempted(handing, ANN).outcomes
        self.assertIsInstance(outcome, HandedOver)
        self.assertEqual(len(handing.peer.said), 1)

    def test_rejected_for_now(self) -> None:
        """What was rejected with 4yz is asked again, under another key."""
        handing = Handing(FakePeer(lambda said: taking(said, joe=("rejected", 451, "later"))))
        self.assertIsInstance(self.attempted(handing, JOE).outcomes[0], Deferral)
        handing.peer.answering = taking
        self.assertIsInstance(self.attempted(handing, JOE).outcomes[0], HandedOver)
        keys = {said.headers["Idempotency-Key"] for said in handing.peer.said}
        self.assertEqual(len(keys), 2)

    def test_dropped_meanwhile(self) -> None:
        """What the peer took though it was dropped here is canceled there."""
        handing = Handing(FakePeer(taking), RememberedRequests(dropped=["ann@remote.test"]))
        self.attempted(handing, JOE, ANN)
        [_, said] = handing.peer.said
        self.assertEqual((said.method, said.path), ("DELETE", "/relay/v1/messages/q1"))
        self.assertEqual(said.query, "rcpt=ann%40remote.test")

    def test_each_as_it_wishes(self) -> None:
        """NOTIFY and ORCPT are each recipient's own."""
        handing = Handing(FakePeer(taking))
        ann = evolve(ANN, notify=frozenset({Notify.NEVER}), orcpt="rfc822;a@x.test")
        self.attempted(handing, JOE, ann)
        [said] = handing.peer.said
        self.assertEqual(said.meta["notify"], {"ann@remote.test": ["NEVER"]})
        self.assertEqual(said.meta["orcpt"], {"ann@remote.test": "rfc822;a@x.test"})

    def test_loops(self) -> None:
        """What came through us, or through too many, goes nowhere."""
        relayed = evolve(JOE, message=evolve(MESSAGE, door=DOOR))
        for hops in (("us.test",), ("us.test", "b"), tuple(f"h{i}" for i in range(8))):
            handing = Handing(FakePeer(taking), RememberedRequests(hops=hops))
            [outcome] = self.attempted(handing, relayed).outcomes
            self.assertIsInstance(outcome, PermanentFailure)
            self.assertIn("5.4.6", str(outcome.reply))
            self.assertEqual(handing.peer.said, [])
        handing = Handing(FakePeer(taking), RememberedRequests(hops=("a", "b")))
        self.attempted(handing, relayed)
        self.assertEqual(handing.peer.said[0].meta["hops"], ["a", "b", "us.test"])


class StandingTests(Attempting):
    """How the peer is found, and what becomes of its other mail."""

    def test_alarm(self) -> None:
        """A wrong key pauses the peer, is told once, and over when mail is taken."""
        handing = Handing(FakePeer(lambda said: (401, b"")))
        for _ in range(3):
            self.assertTrue(self.attempted(handing, JOE).host_failed)
        self.assertEqual(len(handing.peer.said), 1)
        self.assertEqual(list(handing.standing.alarms), [HUB.id])
        handing.seconds = PROBE_EVERY
        self.attempted(handing, JOE)
        self.assertEqual((len(handing.peer.said), len(handing.requests.alarms)), (2, 1))
        handing.seconds, handing.peer.answering = 2 * PROBE_EVERY, taking
        self.assertFalse(self.attempted(handing, JOE).host_failed)
        self.assertEqual(handing.requests.alarms[1:], [""])
        self.assertEqual(handing.standing.alarms, {})

    def test_alarm_not_stored(self) -> None:
        """What the store did not take is given to it at the next attempt, and no failure."""
        handing = Handing(FakePeer(lambda said: (401, b"")))
        for is_unavailable, alarms in ((True, 0), (True, 0), (False, 1), (False, 1)):
            handing.requests.is_unavailable = is_unavailable
            self.attempted(handing, JOE)
            self.assertEqual(len(handing.requests.alarms), alarms)
            handing.seconds += PROBE_EVERY
        handing.peer.answering = taking
        for is_unavailable, said in ((True, []), (False, [""]), (False, [""])):
            handing.requests.is_unavailable = is_unavailable
            self.attempted(handing, JOE)
            self.assertEqual(handing.requests.alarms[1:], said)
            handing.requests.known.clear()  # it is another message
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_retry_after(self) -> None:
        """It is honoured, for an hour at the most."""
        for given, waited in (("30", 30.0), ("86400", 3600.0)):
            peer = FakePeer(lambda said: (429, b""), headers={"retry-after": given})
            handing = Handing(peer)
            self.attempted(handing, JOE)
            handing.seconds = waited - 1
            self.assertTrue(self.attempted(handing, JOE).host_failed)
            self.assertEqual(len(peer.said), 1)
            handing.seconds = waited
            self.attempted(handing, JOE)
            self.assertEqual(len(peer.said), 2)

    def test_not_asked(self) -> None:
        """A peer that is gone, switched off, or cannot be asked keeps its mail waiting."""
        for hub, text in (
            (evolve(HUB, name="other"), ""),
            (evolve(HUB, disabled=True), "switched off"),
            (evolve(HUB, url=""), "no URL"),
            (evolve(HUB, keys=[]), "no key of ours"),
        ):
            handing = Handing(FakePeer(taking), hub=hub)
            if hub.name == "other":
                handing.transport = evolve(handing.transport, peers=dict)
            result = self.attempted(handing, JOE)
            self.assertIsInstance(result.outcomes[0], Deferral)
            self.assertIn(text, str(result.outcomes[0].reply))
            self.assertTrue(result.host_failed)
            self.assertEqual(handing.peer.said, [])

    def test_away(self) -> None:
        """While it cannot be reached, what has waited long enough may go another way."""
        handing = Handing(FakePeer(lambda said: (0, b"")))
        old = evolve(JOE, queued_at=NOW - HUB.options.fallback_after)
        self.assertFalse(handing.standing.is_away(HUB, old))
        self.attempted(handing, JOE)
        self.assertTrue(handing.standing.is_away(HUB, old))
        self.assertFalse(handing.standing.is_away(HUB, JOE))
        handing.standing.reached(HUB)
        self.assertFalse(handing.standing.is_away(HUB, old))
        handing.peer.answering = lambda said: (401, b"")
        self.attempted(handing, JOE)
        handing.standing.reached(HUB)
        self.assertTrue(handing.standing.is_away(HUB, old))
        handing.seconds, handing.peer.answering = PROBE_EVERY, taking
        self.attempted(handing, JOE)
        self.assertFalse(handing.standing.is_away(HUB, old))
