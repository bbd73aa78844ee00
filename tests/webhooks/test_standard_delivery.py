"""Calls to standard endpoints over virtual time: together, in parallel, and what answers do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import formatdate
from random import Random
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.http import HTTPAnswer
from mailrelay.queue.store import StoreUnavailable
from mailrelay.webhooks.call import Call
from mailrelay.webhooks.delivery import TIMEOUT, CallScheduler, CallSurroundings
from mailrelay.webhooks.endpoint import Secret, StandardEndpoint
from mailrelay.webhooks.signature import signature
from tests.webhooks.test_delivery import KeptCalls, Receiver, answered

URL = "https://app.example/hook"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DAY = 86400.0


@define
class KnownEndpoints:
    """Endpoints in memory; ``stored`` is what reading again finds."""

    known: dict[int, StandardEndpoint] = field(factory=dict)
    stored: dict[int, StandardEndpoint] = field(factory=dict)
    is_broken: bool = False

    def get(self, endpoint_id: int, account_id: int) -> StandardEndpoint | None:
        """See Endpoints."""
        endpoint = self.known.get(endpoint_id)
        return endpoint if endpoint is not None and endpoint.account_id == account_id else None

    def read_again(self) -> Deferred[object]:
        """See Endpoints."""
        self.known = dict(self.stored)
        return succeed(None)

    def disable(self, endpoint: StandardEndpoint, because: str) -> Deferred[object]:
        """See Endpoints."""
        if self.is_broken:
            return fail(StoreUnavailable("broken"))
        disabled = evolve(endpoint, disabled_at=1.0, disabled_because=because)
        self.stored[endpoint.id] = disabled
        return self.read_again()

    def put(self, endpoint: StandardEndpoint) -> None:
        """Have one that everybody knows."""
        self.known[endpoint.id] = self.stored[endpoint.id] = endpoint


class StandardCallTests(SynchronousTestCase):
    """CallScheduler, for endpoints of our own API."""

    def setUp(self) -> None:
        """A scheduler that runs, with nothing to do, and one endpoint."""
        self.clock, self.store, self.endpoints = Clock(), KeptCalls(), KnownEndpoints()
        self.clock.advance(1_800_000_000.0)
        self.receiver = Receiver(self.clock)
        self.scheduler = CallScheduler(
            CallSurroundings(
                clock=self.clock,
                now=self.clock.seconds,
                random=Random(1),
                store=self.store,
                poster=self.receiver,
                kept_for=lambda account_id: 1000.0,
                user_agent="mailrelay/1 (webhook)",
                endpoints=self.endpoints,
            )
        )
        self.scheduler.startService()
        self.clock.advance(0)
        self.endpoint()

    def endpoint(self, id_: int = 5, **values: Any) -> StandardEndpoint:
        """An endpoint of account 1."""
        fields: dict[str, Any] = {"name": "app", "url": URL, "secrets": (Secret(SECRET),)}
        made = StandardEndpoint(id=id_, account_id=1, **{**fields, **values})
        self.endpoints.put(made)
        return made

    def add(self, *ids: int, endpoint_id: int = 5, account_id: int = 1) -> None:
        """Queue calls, as somebody's commit does."""
        now = self.clock.seconds()
        for id_ in ids:
            body = b'{"type":"message.delivered","n":%d}' % id_
            call = Call(
                id_,
                account_id,
                "https://old.example/",
                "",
                "delivered",
                body,
                now,
                now,
                endpoint_id=endpoint_id,
            )
            self.store.waiting.append(call)
        self.scheduler.wake()
        self.clock.advance(0)

    def run_for(self, seconds: float, step: float = 10.0) -> None:
        """Let time pass."""
        self.clock.pump([step] * int(seconds // step + 1))

    @property
    def headers(self) -> list[Mapping[str, str]]:
        """Of the requests so far."""
        return [headers for _, _, headers, _ in self.receiver.made]

    @property
    def bodies(self) -> list[Any]:
        """Of the requests so far."""
        return [json.loads(body) for _, _, _, body in self.receiver.made]

    def ended(self) -> dict[int, tuple[bool, int, str]]:
        """How the calls that are retired ended."""
        return {
            one.call.id: (one.attempt.is_success, one.attempt.code, one.attempt.error)
            for one in self.store.finished
            if one.next_attempt_at is None
        }

    # One call

    def test_taken(self) -> None:
        """A call goes to where its endpoint is now, signed, and any 2xx takes it."""
        self.receiver.answers[URL] = answered(204)
        self.add(7)
        [(at, url, headers, body)] = self.receiver.made
        signed = signature(SECRET, "call_7", int(at), body)
        self.assertEqual(url, URL)
        self.assertEqual(
            headers,
            {
                "Content-Type": "application/json; charset=utf-8",
                "User-Agent": "mailrelay/1 (webhook)",
                "webhook-id": "call_7",
                "webhook-timestamp": str(int(at)),
                "webhook-signature": signed,
            },
        )
        self.assertEqual(self.ended(), {7: (True, 204, "")})
        self.assertEqual(self.scheduler.in_memory, 0)

    def test_not_taken(self) -> None:
        """A redirect is a failure, as 4xx and 5xx are; the next attempt has the same id."""
        for id_, status in enumerate((301, 302, 307, 400, 404, 500), 1):
            self.receiver.answers[URL] = HTTPAnswer(status, {"location": URL}, b"", True)
            self.add(id_)
            self.assertEqual(self.store.finished[-1].attempt.error, f"answered {status}, not 2xx")
        self.receiver.answers[URL] = answered(200)
        before = len(self.headers)
        self.run_for(70)
        ids = [headers["webhook-id"] for headers in self.headers]
        self.assertEqual(sorted(ids[:before]), sorted(ids[before:]))
        stamps = {headers["webhook-timestamp"] for headers in self.headers}
        self.assertGreater(len(stamps), 1)

    def test_hangs(self) -> None:
        """No answer in time is a failure; the call is made again."""
        self.receiver.answers[URL] = None
        self.add(1)
        self.run_for(TIMEOUT)
        [done] = self.store.finished
        self.assertEqual((done.attempt.code, done.attempt.error), (0, "no answer in time"))
        self.assertIsNotNone(done.next_attempt_at)

    def test_schedule(self) -> None:
        """Twelve attempts, then it is retired as failed."""
        self.receiver.answers[URL] = answered(500)
        self.add(1)
        self.run_for(33 * 3600, 30.0)
        self.assertEqual(len(self.receiver.made), 12)
        self.assertEqual(self.ended(), {1: (False, 500, "answered 500, not 2xx")})

    def test_replaced_secret(self) -> None:
        """A secret signs as long as it is said to."""
        now = self.clock.seconds()
        other = "whsec_" + "B" * 32
        self.endpoint(secrets=(Secret(other), Secret(SECRET, now + 50)))
        self.add(1)
        self.run_for(60)
        self.add(2)
        counts = [len(headers["webhook-signature"].split()) for headers in self.headers]
        self.assertEqual(counts, [2, 1])

    # Several

    def test_in_parallel(self) -> None:
        """As many calls are under way as the endpoint takes, each endpoint for itself."""
        self.endpoint(most_at_once=3)
        other = "https://other.example/"
        self.endpoint(6, url=other, most_at_once=1)
        self.receiver.answers[URL] = self.receiver.answers[other] = None
        self.add(*range(1, 11))
        self.add(11, 12, endpoint_id=6)
        urls = [url for _, url, _, _ in self.receiver.made]
        self.assertEqual((urls.count(URL), urls.count(other)), (3, 1))
        self.receiver.hanging[0].callback(answered(200))
        self.assertEqual(len(self.receiver.made), 5)

    def test_together(self) -> None:
        """What waits together goes in one request; each event has its id and its outcome."""
        self.endpoint(most_together=3)
        self.add(*range(1, 8))
        sizes = [len(body["data"]) if body["type"] == "batch" else 1 for body in self.bodies]
        self.assertEqual(sizes, [3, 3, 1])
        first = self.bodies[0]["data"]
        self.assertEqual(first[0], {"id": "call_1", "type": "message.delivered", "n": 1})
        self.assertEqual(self.headers[-1]["webhook-id"], "call_7")
        self.assertRegex(self.headers[0]["webhook-id"], "^batch_[0-9a-f]{32}$")
        self.assertEqual(set(self.ended()), set(range(1, 8)))
        at, _, headers, body = self.receiver.made[0]
        signed = signature(SECRET, headers["webhook-id"], int(at), body)
        self.assertEqual(headers["webhook-signature"], signed)

    def test_together_again(self) -> None:
        """The same events together have the same id; what fails three times goes alone."""
        self.endpoint(most_together=10)
        self.receiver.answers[URL] = answered(500)
        self.add(1, 2)
        self.run_for(130)
        self.run_for(300)
        self.run_for(460)
        ids = [headers["webhook-id"] for headers in self.headers]
        self.assertEqual(len(set(ids[:3])), 1)
        self.assertEqual(sorted(ids[3:5]), ["call_1", "call_2"])

    def test_large_alone(self) -> None:
        """What says much is read when it is told, and told alone."""
        self.endpoint(most_together=10)
        now = self.clock.seconds()
        for id_ in range(5, 10):
            is_large = id_ == 7
            body = b"" if is_large else b'{"type":"small"}'
            call = Call(id_, 1, URL, "", "incoming", body, now, now, endpoint_id=5)
            self.store.waiting.append(evolve(call, is_large=is_large))
        self.scheduler.wake()
        self.clock.advance(0)
        sizes = [len(b["data"]) if b["type"] == "batch" else 1 for b in self.bodies]
        self.assertEqual(sizes, [2, 1, 2])
        self.assertEqual(self.bodies[1], {"type": "large"})

    def test_fresh_apart_from_failed(self) -> None:
        """What has failed does not take new events with it."""
        self.endpoint(most_together=10, most_at_once=1)
        self.receiver.answers[URL] = answered(500)
        self.add(1)
        self.run_for(30)
        self.receiver.answers[URL] = None
        self.add(2)
        self.run_for(20)  # 1 is due and waits
        self.add(3)
        self.receiver.answers[URL] = answered(200)
        self.receiver.hanging[0].callback(answered(200))
        self.clock.advance(0)
        ids = [headers["webhook-id"] for headers in self.headers]
        self.assertEqual(ids[:4], ["call_1", "call_2", "call_1", "call_3"])

    # What answers ask for

    def test_retry_after(self) -> None:
        """429 and 503 with Retry-After: nothing goes there before, by seconds or by date."""
        self.endpoint(most_at_once=1)
        start = self.clock.seconds()
        for status, text in ((429, "600"), (503, formatdate(start + 1300, usegmt=True))):
            self.receiver.answers[URL] = HTTPAnswer(status, {"retry-after": text}, b"", True)
            before = len(self.receiver.made)
            self.add(status, status + 1)
            self.assertEqual(len(self.receiver.made), before + 1)
            self.receiver.answers[URL] = answered(200)
            self.run_for(500)
            self.assertEqual(len(self.receiver.made), before + 1)
            self.run_for(200)
            self.assertEqual(len(self.receiver.made), before + 3)
        self.assertEqual(len(self.ended()), 4)
        [first, *_] = self.store.finished
        self.assertEqual(first.next_attempt_at, start + 600)

    def test_retry_after_counts_no_attempt(self) -> None:
        """What waits for another's Retry-After was not tried."""
        self.endpoint(most_at_once=1)
        self.receiver.answers[URL] = HTTPAnswer(429, {"retry-after": "600"}, b"", True)
        self.add(1, 2)
        self.assertEqual({c.id: c.attempts for c in self.store.waiting}, {1: 1, 2: 0})

    def test_retry_after_is_bounded(self) -> None:
        """A day at the most, and never sooner than without; what is no time is none."""
        start = self.clock.seconds()
        later = {"99999999": DAY, "1": 61, "0": 61, "soon": 61, "-5": 61, "9" * 400: 61, "": 61}
        for id_, (text, most) in enumerate(later.items(), 1):
            url = f"https://app.example/{id_}"
            self.endpoint(100 + id_, url=url)
            self.receiver.answers[url] = HTTPAnswer(429, {"retry-after": text}, b"", True)
            self.add(id_, endpoint_id=100 + id_)
            due = self.store.finished[-1].next_attempt_at
            assert due is not None
            self.assertTrue(59 <= due - start <= most, (text, due - start))

    def test_retry_after_of_another_status(self) -> None:
        """With any other status it says nothing."""
        self.receiver.answers[URL] = HTTPAnswer(500, {"retry-after": "600"}, b"", True)
        self.add(1)
        due = self.store.finished[-1].next_attempt_at
        assert due is not None
        self.assertLess(due - self.clock.seconds(), 61)

    def test_gone(self) -> None:
        """410 disables the endpoint: what waits is retired, and nothing goes there any more."""
        self.endpoint(most_at_once=1)
        self.receiver.answers[URL] = answered(410)
        self.add(1, 2, 3)
        self.add(4)
        error = "the endpoint is disabled: it answered 410"
        self.assertEqual(
            self.ended(),
            {1: (False, 410, "answered 410, not 2xx"), **{n: (False, 0, error) for n in (2, 3, 4)}},
        )
        self.assertEqual((len(self.receiver.made), self.scheduler.in_memory), (1, 0))
        enabled = evolve(self.endpoints.stored[5], disabled_at=None)
        self.endpoints.stored[5] = enabled  # by another process: this one finds out
        self.receiver.answers[URL] = answered(200)
        self.add(5)
        self.assertEqual(self.ended()[5], (True, 200, ""))

    def test_gone_while_the_store_fails(self) -> None:
        """What cannot be recorded is asked again."""
        self.endpoints.is_broken = True
        self.receiver.answers[URL] = answered(410)
        self.add(1)
        self.assertEqual(self.ended(), {})
        self.endpoints.is_broken = False
        self.run_for(70)
        self.assertEqual(self.ended(), {1: (False, 410, "answered 410, not 2xx")})

    # Endpoints that change

    def test_removed(self) -> None:
        """Calls of an endpoint that is not there, or is another account's, are never made."""
        self.add(1, 2, endpoint_id=9)
        self.add(3, account_id=2)
        error = (False, 0, "the endpoint was removed")
        self.assertEqual(self.ended(), {1: error, 2: error, 3: error})
        self.assertEqual(self.receiver.made, [])

    def test_new(self) -> None:
        """An endpoint that this process has not heard of yet is called."""
        self.endpoints.stored[9] = evolve(self.endpoints.stored[5], id=9)
        self.add(1, endpoint_id=9)
        self.assertEqual(self.ended(), {1: (True, 200, "")})

    def test_moved(self) -> None:
        """A call that waits goes to where the endpoint is then."""
        self.receiver.answers[URL] = answered(500)
        self.add(1)
        self.endpoint(url="https://new.example/")
        self.run_for(70)
        self.assertEqual(
            [url for _, url, _, _ in self.receiver.made], [URL, "https://new.example/"]
        )

    # Trouble

    def test_store_trouble(self) -> None:
        """A batch is not sent before all of it is recorded, and nothing is forgotten."""
        self.endpoint(most_together=10)
        self.store.is_broken = True
        self.add(1, 2)
        self.assertEqual(self.receiver.made, [])
        self.store.is_broken = False
        self.run_for(60, 1.0)
        self.assertEqual(set(self.ended()), {1, 2})

    def test_large_and_store_trouble(self) -> None:
        """What cannot be read is not sent, and waits."""
        now = self.clock.seconds()
        call = Call(1, 1, URL, "", "incoming", b"", now, now, endpoint_id=5, is_large=True)
        self.store.is_broken = True
        self.store.claimed[1] = call
        self.scheduler.pump(self.scheduler.push(call))
        self.assertEqual(self.receiver.made, [])
        self.store.is_broken = False
        self.scheduler.wake()
        self.run_for(60, 1.0)
        self.assertEqual(self.bodies, [{"type": "large"}])

    def test_stop(self) -> None:
        """A stop waits for the batch under way, and gives back what waits behind it."""
        self.endpoint(most_together=2, most_at_once=1)
        self.receiver.answers[URL] = None
        self.add(1, 2, 3)
        stopping = self.scheduler.stopService()
        self.assertNoResult(stopping)
        self.receiver.hanging[0].callback(answered(200))
        self.successResultOf(stopping)
        self.assertEqual((self.store.released, set(self.ended())), ([3], {1, 2}))
        self.assertEqual(self.clock.getDelayedCalls(), [])
