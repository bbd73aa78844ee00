"""Lists of addresses: what is asked, what it means, and what a list that fails does not do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.resolver import LookupFailed, NoSuchDomain
from mailrelay.policy.blocklists import (
    KEPT_FOR,
    LOOKUPS_AT_ONCE,
    MOST_ASKED_ABOUT,
    RESTS_FOR,
    Blocklists,
    DNSBLSettings,
    Findings,
    ListAction,
    ZoneSettings,
)

PEER = "192.0.2.9"
SOUND = {"2.0.0.127": ["127.0.0.2"]}
LISTED = {**SOUND, "9.2.0.192": ["127.0.0.4"]}


@define
class Zones:
    """A DNS of lists: names below each; ``held`` ones do not answer before they are told to."""

    names: Mapping[str, Mapping[str, Sequence[str]]]
    failing: set[str] = field(factory=set)
    held: set[str] = field(factory=set)
    asked: list[str] = field(factory=list)
    waiting: list[tuple[Deferred[Any], str]] = field(factory=list)

    def addresses(self, host: str, *, ipv4: bool, ipv6: bool) -> Deferred[Sequence[str]]:
        """See ListResolver."""
        self.asked.append(host)
        if any(host.endswith(zone) for zone in self.held):
            self.waiting.append((Deferred(), host))
            return self.waiting[-1][0]
        return self._answer(host)

    def _answer(self, host: str) -> Deferred[Any]:
        for zone, names in self.names.items():
            name = host.removesuffix(f".{zone}")
            if zone in self.failing and name != host:
                return fail(LookupFailed(f"{host}: Timeout"))
            if name in names:
                return succeed(names[name])
        return fail(NoSuchDomain(host))

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """See ListResolver."""
        return succeed([b"see https://a.test/\x1b[1m"])

    def let_go(self) -> None:
        """Answer what waits."""
        waiting, self.waiting = self.waiting, []
        for answer, host in waiting:
            self._answer(host).chainDeferred(answer)


def zones(*names: str, **settings: Any) -> tuple[ZoneSettings, ...]:
    """Lists that are all set alike."""
    return tuple(ZoneSettings(name, **settings) for name in names)


class BlocklistTests(SynchronousTestCase):
    """Peers and lists."""

    def setUp(self) -> None:
        """A clock."""
        self.clock = Clock()

    def make(self, dns: Zones, *lists: ZoneSettings, **settings: Any) -> Blocklists:
        """Lists over a DNS."""
        return Blocklists(DNSBLSettings(lists, **settings), dns, self.clock)

    def test_listed(self) -> None:
        """Who is listed is refused with the list's name and words; who is not, is not."""
        lists = self.make(Zones({"a.test": LISTED}), *zones("a.test"))
        found = self.successResultOf(lists.findings(PEER))
        refusal = lists.refusal(PEER, found)
        assert refusal is not None
        said = "550 5.7.1 192.0.2.9 is listed by a.test (see https://a.test/?[1m)"
        self.assertEqual(str(refusal), said)
        greeting = lists.refusal(PEER, found, greeting=True)
        assert greeting is not None
        self.assertEqual(str(greeting), said.replace("550", "554"))
        other = self.successResultOf(lists.findings("192.0.2.10"))
        self.assertEqual((other, lists.refusal(PEER, other)), (Findings(), None))

    def test_actions(self) -> None:
        """Each list has its action, and weights add up."""
        dns = Zones({"a.test": LISTED, "b.test": LISTED})
        for action, weights, wanted in (
            (ListAction.REJECT, (0.0, 0.0), "550"),
            (ListAction.DEFER, (0.0, 0.0), "451"),
            (ListAction.JUNK, (0.0, 0.0), "junk"),
            (ListAction.WEIGH, (0.0, 0.0), ""),
            (ListAction.WEIGH, (3.0, 3.0), "550"),
            (ListAction.WEIGH, (3.1, 3.0), "junk"),
            (ListAction.WEIGH, (3.1, 3.1), ""),
        ):
            both = zones("a.test", "b.test", action=action, weight=1.5)
            lists = self.make(dns, *both, reject_weight=weights[0], junk_weight=weights[1])
            found = self.successResultOf(lists.findings(PEER))
            refusal = lists.refusal(PEER, found)
            verdict = str(refusal)[:3] if refusal else lists.junk(found) and "junk"
            self.assertEqual(verdict, wanted, (action, weights))
            at_greeting = lists.refusal(PEER, found, greeting=True)  # who is put off is greeted
            self.assertEqual(at_greeting is not None, wanted == "550", (action, weights))

    def test_answers_that_count(self) -> None:
        """A list may say several things, of which some matter."""
        for answers, is_listed in (
            (("127.0.0.4",), True),
            (("127.0.0.2", "127.0.0.4/30"), True),
            (("127.0.0.10/31",), False),
        ):
            lists = self.make(Zones({"a.test": LISTED}), *zones("a.test", answers=answers))
            found = self.successResultOf(lists.findings(PEER))
            self.assertEqual(bool(found.listings), is_listed, answers)

    def test_lists_that_fail(self) -> None:
        """One that does not answer, refuses to, invents answers or lists all refuses nobody."""
        for names, failing in (
            (LISTED, {"a.test"}),
            ({**SOUND, "9.2.0.192": ["127.255.255.254"]}, set()),
            ({**SOUND, "9.2.0.192": ["203.0.113.7"]}, set()),
            ({**LISTED, "1.0.0.127": ["127.0.0.2"]}, set()),
            ({"9.2.0.192": ["127.0.0.2"]}, set()),
        ):
            dns = Zones({"a.test": names}, failing)
            lists = self.make(dns, *zones("a.test"), reject_weight=1.0, junk_weight=1.0)
            found = self.successResultOf(lists.findings(PEER))
            self.assertEqual((found.listings, found.is_complete), ((), False), names)
            self.assertEqual((lists.refusal(PEER, found), lists.junk(found)), (None, ""))

    def test_rest(self) -> None:
        """A list that failed three times is not asked for a minute; others are."""
        dns = Zones({"a.test": LISTED, "b.test": LISTED}, failing={"a.test"})
        lists = self.make(dns, *zones("a.test", "b.test"))
        for number in range(5):
            found = self.successResultOf(lists.findings(f"192.0.2.{number}"))
            self.assertFalse(found.is_complete)
        self.assertEqual(
            (len([n for n in dns.asked if n.endswith("a.test")]), lists.resting), (3, 1)
        )
        dns.failing.clear()
        self.clock.advance(RESTS_FOR)
        found = self.successResultOf(lists.findings(PEER))
        self.assertEqual(
            (found.zones, found.is_complete, lists.resting), ("a.test, b.test", True, 0)
        )
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_asked_once(self) -> None:
        """Answers are kept, and those who come meanwhile wait for the same ones."""
        dns = Zones({"a.test": LISTED}, held={"a.test"})
        lists = self.make(dns, *zones("a.test"))
        lists.begin(PEER)
        both = [lists.findings(PEER), lists.findings(PEER)]
        self.assertEqual(len(dns.asked), 1)
        dns.held.clear()
        dns.let_go()
        first, second = (self.successResultOf(one) for one in both)
        self.assertEqual((first.zones, second), ("a.test", first))
        count = len(dns.asked)
        lists.begin(PEER)
        self.assertEqual(self.successResultOf(lists.findings(PEER)), first)
        self.assertEqual(len(dns.asked), count)
        self.clock.advance(KEPT_FOR)
        self.successResultOf(lists.findings(PEER))
        self.assertGreater(len(dns.asked), count)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_time_is_over(self) -> None:
        """A list that is late does not hold anybody up; what the others said counts."""
        dns = Zones({"a.test": LISTED, "b.test": LISTED}, held={"a.test"})
        lists = self.make(dns, *zones("a.test", "b.test"), timeout=4.0)
        waiting = lists.findings(PEER)
        self.assertNoResult(waiting)
        self.clock.advance(4.0)
        found = self.successResultOf(waiting)
        self.assertEqual((found.zones, found.is_complete), ("b.test", False))
        dns.let_go()  # too late, and harmless

    def test_bounds(self) -> None:
        """So many peers are asked about at once, and so many questions under way."""
        dns = Zones({"a.test": LISTED}, held={"a.test"})
        lists = self.make(dns, *zones("a.test"))
        peers = [f"198.51.{n // 250}.{n % 250}" for n in range(MOST_ASKED_ABOUT)]
        waiting = [lists.findings(peer) for peer in peers]
        self.assertEqual(len(dns.asked), LOOKUPS_AT_ONCE)
        beyond = self.successResultOf(lists.findings(PEER))
        self.assertEqual((beyond.listings, beyond.is_complete), ((), False))
        self.clock.advance(5.0)
        for one in waiting:
            self.successResultOf(one)
        dns.let_go()
        self.assertEqual(len(dns.asked), LOOKUPS_AT_ONCE)  # for those that nobody waits for

    def test_not_asked(self) -> None:
        """Networks that are skipped, and Unix sockets."""
        dns = Zones({"a.test": LISTED})
        lists = self.make(dns, *zones("a.test"), skip_networks=("192.0.2.0/24",))
        for ip in (PEER, "local", ""):
            self.assertEqual(self.successResultOf(lists.findings(ip)).listings, ())
        self.assertEqual(dns.asked, [])

    def test_ipv6(self) -> None:
        """Each of its digits is a label."""
        name = "9.0.0.0" + ".0" * 20 + ".8.b.d.0.1.0.0.2"
        dns = Zones({"a.test": {**SOUND, name: ["127.0.0.2"]}})
        lists = self.make(dns, *zones("a.test"))
        self.assertEqual(self.successResultOf(lists.findings("2001:db8::9")).zones, "a.test")
