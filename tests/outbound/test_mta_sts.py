"""Policies of other domains: fetched, kept, refreshed, and what is used when that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailauth.mta_sts import Mode, Policy
from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.net.resolver import LookupFailed, NoSuchDomain
from mailrelay.outbound.mta_sts import (
    AT_ONCE,
    FAILED_FOR,
    MTASTS,
    RECORD_EVERY,
    REFRESHED_AFTER,
    WAITED_FOR,
    StoredPolicy,
)
from mailrelay.outbound.tls_policy import FoundPolicy
from mailrelay.outbound.tls_result import ResultType
from mailrelay.queue.store import StoreUnavailable

DOMAIN = "peer.test"
WEEK = 7 * 86400


def policy(mode: str = "enforce", max_age: int = WEEK) -> Policy:
    """A policy of peer.test."""
    return Policy(Mode(mode), ("mx.peer.test",), max_age)


def answer(body: bytes, status: int = 200, type_: str = "text/plain", whole: bool = True) -> Any:
    """What a web server says."""
    return HTTPAnswer(status, {"content-type": type_}, body, whole)


@define
class FakeRecords:
    """MTASTSRecords in memory."""

    kept: dict[str, StoredPolicy] = field(factory=dict)
    is_away: bool = False

    def get(self, domain: str) -> Deferred[StoredPolicy | None]:
        """See MTASTSRecords."""
        return self._done(self.kept.get(domain))

    def put(self, policy: StoredPolicy) -> Deferred[None]:
        """See MTASTSRecords."""
        if not self.is_away:
            self.kept[policy.domain] = policy
        return self._done(None)

    def forget_expired(self, now: float) -> Deferred[int]:
        """See MTASTSRecords."""
        gone = [name for name, one in self.kept.items() if one.expires_at <= now]
        for name in gone:
            del self.kept[name]
        return self._done(len(gone))

    def _done(self, result: Any) -> Deferred[Any]:
        return fail(StoreUnavailable("no store")) if self.is_away else succeed(result)


class MTASTSTests(SynchronousTestCase):
    """A domain that changes its mind."""

    def setUp(self) -> None:
        """It has a record and a policy."""
        self.clock = Clock()
        self.records = FakeRecords()
        self.record: Any = [b"v=STSv1; id=1;"]
        self.served: Any = answer(str(policy()).encode())
        self.asked: list[str] = []
        self.restart()

    def restart(self) -> None:
        """The same store, nothing in memory."""
        self.sts = MTASTS(self._texts, self._get, self.records, self.clock, self.clock.seconds)

    def _texts(self, name: str) -> Deferred[Sequence[bytes]]:
        self.asked.append(name)
        return _given(self.record)

    def _get(self, url: str, timeout: float) -> Deferred[HTTPAnswer]:
        self.asked.append(url)
        return _given(self.served)

    def begin(self, domain: str = DOMAIN) -> Deferred[FoundPolicy]:
        """Ask."""
        return Deferred.fromCoroutine(self.sts.policy_of(domain))

    def found(self) -> FoundPolicy:
        """What is answered at once."""
        return self.successResultOf(self.begin())

    def test_fetched_once(self) -> None:
        """The record, then the policy; then memory answers."""
        self.assertEqual(self.found(), FoundPolicy(policy()))
        self.assertEqual(self.found(), FoundPolicy(policy()))
        self.assertEqual(
            self.asked,
            ["_mta-sts.peer.test", "https://mta-sts.peer.test/.well-known/mta-sts.txt"],
        )
        self.assertEqual(self.records.kept[DOMAIN], StoredPolicy(DOMAIN, "1", policy(), 0.0))

    def test_no_record(self) -> None:
        """Most domains have none; that is remembered for a while."""
        for record in (NoSuchDomain("no"), [], [b"v=spf1 -all"]):
            self.setUp()
            self.record = record
            for _ in range(3):
                self.assertEqual(self.found(), FoundPolicy())
            self.assertEqual(self.asked, ["_mta-sts.peer.test"])
            self.clock.advance(RECORD_EVERY + 1)
            self.record = [b"v=STSv1; id=1;"]
            self.assertEqual(self.found().policy, policy())

    def test_literal(self) -> None:
        """An address has no policy, and is not asked about."""
        self.assertEqual(self.successResultOf(self.begin("[192.0.2.1]")), FoundPolicy())
        self.assertEqual(self.asked, [])

    def test_trouble(self) -> None:
        """What cannot be had is told, and tried again after a while only."""
        fetch, invalid = ResultType.STS_POLICY_FETCH_ERROR, ResultType.STS_POLICY_INVALID
        good = str(policy()).encode()
        for record, served, result in (
            (LookupFailed("no answer"), None, None),
            ([b"v=STSv1; id=;"], None, invalid),
            (None, CallFailed("no answer within 60 seconds"), fetch),
            (None, CallFailed("certificate verify failed"), ResultType.STS_WEBPKI_INVALID),
            (None, answer(good, 301), fetch),
            (None, answer(good, 404), fetch),
            (None, answer(good, type_="text/html"), invalid),
            (None, answer(good, type_=""), invalid),
            (None, answer(good, whole=False), invalid),
            (None, answer(b"version: STSv2"), invalid),
        ):
            self.setUp()
            self.record = record or self.record
            self.served = served or self.served
            found = self.found()
            self.assertEqual((found.policy, found.trouble), (None, result), found)
            self.assertTrue(found.is_unknown)
            asked = len(self.asked)
            self.assertEqual(self.found(), found)
            self.assertEqual(len(self.asked), asked)
            self.record, self.served = [b"v=STSv1; id=1;"], answer(good, type_="text/plain; a=b")
            self.clock.advance(FAILED_FOR + 1)
            self.assertEqual(self.found(), FoundPolicy(policy()))

    def test_valid_policy_outlives_trouble(self) -> None:
        """Nobody who blocks DNS or the web server takes a policy away before it expires."""
        troubles: list[tuple[Any, Any]] = [
            (LookupFailed("no answer"), None),
            (NoSuchDomain("gone"), None),
            ([], None),
            ([b"v=STSv1; id=2"], CallFailed("refused")),
            ([b"v=STSv1; id=2"], answer(b"", 404)),
            ([b"v=STSv1; id=2", b"v=STSv1; id=3"], None),
        ]
        for record, served in troubles:
            for restarted in (False, True):
                self.setUp()
                self.found()
                self.record, self.served = record, served or self.served
                if restarted:
                    self.restart()
                for _ in range(5):
                    self.clock.advance(RECORD_EVERY + 1)
                    self.assertEqual(self.found(), FoundPolicy(policy()))
                self.clock.advance(WEEK)
                self.assertIsNone(self.found().policy)

    def test_changed(self) -> None:
        """A new id has the policy fetched, while the old one is used; the same id does not."""
        self.found()
        self.served = answer(str(policy("testing")).encode())
        self.clock.advance(RECORD_EVERY + 1)
        self.assertEqual(self.found().policy, policy())
        self.assertEqual(len([url for url in self.asked if "https" in url]), 1)
        self.record = [b"v=STSv1; id=2"]
        self.clock.advance(RECORD_EVERY + 1)
        pending: Deferred[HTTPAnswer] = Deferred()
        self.served = pending
        self.assertEqual(self.found().policy, policy())
        self.assertEqual(self.found().policy, policy())
        pending.callback(answer(str(policy("testing")).encode()))
        self.assertEqual(self.found().policy, policy("testing"))

    def test_not_met(self) -> None:
        """When no host meets a policy, the record is looked at before its time."""
        self.found()
        self.record, self.served = [b"v=STSv1; id=2"], answer(str(policy("none")).encode())
        self.sts.failed(DOMAIN)
        self.found()
        self.assertEqual(self.found().policy, policy("none"))

    def test_refreshed_daily(self) -> None:
        """Though nobody asks, and whatever the id is; so it does not expire."""
        self.found()
        self.clock.advance(REFRESHED_AFTER + 1)
        self.successResultOf(Deferred.fromCoroutine(self.sts.refresh()))
        self.assertEqual(self.records.kept[DOMAIN].fetched_at, REFRESHED_AFTER + 1)
        self.clock.advance(60 * 86400)  # nobody has asked for long
        self.successResultOf(Deferred.fromCoroutine(self.sts.refresh()))
        self.assertEqual(self.records.kept, {})

    def test_restarted(self) -> None:
        """What is stored is used at once, while its record is looked at."""
        self.found()
        self.restart()
        self.record = Deferred()
        self.assertEqual(self.found(), FoundPolicy(policy()))

    def test_store_is_away(self) -> None:
        """Policies are obeyed all the same."""
        self.records.is_away = True
        self.assertEqual(self.found(), FoundPolicy(policy()))
        self.assertEqual(self.records.kept, {})
        self.successResultOf(Deferred.fromCoroutine(self.sts.refresh()))

    def test_first_waits(self) -> None:
        """All who ask for an unknown domain wait for one look; none for longer than a while."""
        self.served = Deferred()
        waiting = [self.begin() for _ in range(3)]
        for one in waiting:
            self.assertNoResult(one)
        self.assertEqual(len(self.asked), 2)
        self.clock.advance(WAITED_FOR)
        for one in waiting:
            found = self.successResultOf(one)
            self.assertTrue(found.is_unknown)
        late = self.begin()
        self.served.callback(answer(str(policy()).encode()))
        self.assertEqual(self.successResultOf(late), FoundPolicy(policy()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_few_at_once(self) -> None:
        """Domains that do not answer do not hold up others for longer than they wait."""
        self.record = Deferred()
        for number in range(AT_ONCE + 5):
            self.begin(f"slow{number}.test")
        self.assertEqual(len(self.asked), AT_ONCE)
        self.records.kept[DOMAIN] = StoredPolicy(DOMAIN, "1", policy(), 0.0)
        self.assertEqual(self.found(), FoundPolicy(policy()))  # a stored one waits for nobody

    def test_no_age(self) -> None:
        """A policy of no duration is none."""
        self.served = answer(str(policy(max_age=0)).encode())
        self.assertIsNone(self.found().policy)

    def test_stopped(self) -> None:
        """Who waits goes on, and nothing is begun any more."""
        self.served = Deferred(lambda one: one.errback(CancelledError()))
        waiting = self.begin()
        self.sts.stop()
        self.assertTrue(self.successResultOf(waiting).is_unknown)
        asked = len(self.asked)
        self.assertTrue(self.successResultOf(self.begin("other.test")).is_unknown)
        self.assertEqual(len(self.asked), asked)


def _given(value: Any) -> Deferred[Any]:
    if isinstance(value, Deferred):
        return value
    return fail(value) if isinstance(value, Exception) else succeed(value)
