"""Which hosts are tried for a domain, and in which order (RFC 5321 section 5, RFC 7505)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.resolver import LookupFailed, NoSuchDomain
from mailrelay.outbound.hosts import MOST_LOOKUPS, HostFinder, Target
from mailrelay.outbound.settings import OutboundSettings
from mailrelay.queue.outcome import Postponed, Undeliverable
from mailrelay.testing.fakes import FakeResolver

MX = Mapping[str, Sequence[tuple[int, str]]]


class HostTests(SynchronousTestCase):
    """A whole DNS in one literal, and what is made of it."""

    settings = OutboundSettings()

    def finder(
        self,
        mx: MX | None = None,
        hosts: Mapping[str, Sequence[str]] | None = None,
        failing: Sequence[str] = (),
        *,
        own: Sequence[str] = (),
        seed: int = 1,
        **settings: Any,
    ) -> HostFinder:
        """A finder with this DNS; it is us.test, and listens at ``own``."""
        return HostFinder(
            FakeResolver(mx or {}, hosts or {}, frozenset(failing)),
            evolve(self.settings, **settings),
            Random(seed),
            frozenset({"us.test"}),
            frozenset(own),
        )

    def found(self, finder: HostFinder, domain: str = "peer.test") -> list[str]:
        """The addresses, in order."""
        return [target.ip for target in self.targets(finder, domain)]

    def targets(self, finder: HostFinder, domain: str = "peer.test") -> Sequence[Target]:
        """The targets, in order."""
        return self.successResultOf(Deferred.fromCoroutine(finder.for_domain(domain)))

    def trouble(self, finder: HostFinder, kind: type[Exception], domain: str = "peer.test") -> str:
        """The status of the reply that says why there is no host."""
        failed = self.failureResultOf(Deferred.fromCoroutine(finder.for_domain(domain)), kind)
        return str(getattr(failed.value, "reply", ""))[:10].rstrip()

    def test_preference(self) -> None:
        """The lowest preference first; the host's name is what its certificate must have."""
        mx = {"peer.test": [(20, "b.test"), (5, "a.test"), (100, "c.test")]}
        hosts = {"a.test": ["192.0.2.1"], "b.test": ["192.0.2.2"], "c.test": ["192.0.2.3"]}
        self.assertEqual(
            self.targets(self.finder(mx, hosts)),
            [
                Target("a.test", "192.0.2.1", 25),
                Target("b.test", "192.0.2.2", 25),
                Target("c.test", "192.0.2.3", 25),
            ],
        )

    def test_equals_take_turns(self) -> None:
        """Hosts of equal preference are tried in random order, before all that are worse."""
        names = ["a.test", "b.test", "c.test"]
        mx = {"peer.test": [(50, "last.test"), *((10, name) for name in names)]}
        hosts = {name: [f"192.0.2.{number}"] for number, name in enumerate([*names, "last.test"])}
        orders = {tuple(self.found(self.finder(mx, hosts, seed=seed))) for seed in range(60)}
        self.assertEqual(len(orders), 6)
        self.assertEqual({order[-1] for order in orders}, {"192.0.2.3"})

    def test_null_mx(self) -> None:
        """A null MX says never; among others it is no host (RFC 7505)."""
        self.assertEqual(
            self.trouble(self.finder({"peer.test": [(0, "")]}), Undeliverable), "556 5.1.10"
        )
        twice = self.finder({"peer.test": [(0, ""), (10, "")]})
        self.assertEqual(self.trouble(twice, Undeliverable), "556 5.1.10")
        mx = {"peer.test": [(0, ""), (10, "a.test")]}
        self.assertEqual(self.found(self.finder(mx, {"a.test": ["192.0.2.1"]})), ["192.0.2.1"])

    def test_no_mx(self) -> None:
        """Without MX records the domain is its own host, by AAAA and A."""
        finder = self.finder(hosts={"peer.test": ["192.0.2.1", "2001:db8::1"]})
        self.assertEqual(self.found(finder), ["2001:db8::1", "192.0.2.1"])
        self.assertEqual(self.targets(finder)[0].host, "peer.test")

    def test_no_address_at_all(self) -> None:
        """A domain with neither can never be reached."""
        finder = self.finder({"peer.test": []}, {"peer.test": []})
        self.assertEqual(self.trouble(finder, Undeliverable), "550 5.4.4")

    def test_no_such_domain(self) -> None:
        """NXDOMAIN is no host either."""
        self.trouble(self.finder(), NoSuchDomain)

    def test_dns_fails(self) -> None:
        """A name server that does not answer says nothing about the domain."""
        self.trouble(self.finder(failing=["peer.test"]), LookupFailed)

    def test_some_hosts_cannot_be_found(self) -> None:
        """What fails or does not exist is passed over."""
        mx = {"peer.test": [(1, "gone.test"), (2, "mute.test"), (3, "a.test")]}
        finder = self.finder(mx, {"a.test": ["192.0.2.1"]}, ["mute.test"])
        self.assertEqual(self.found(finder), ["192.0.2.1"])

    def test_no_host_can_be_found(self) -> None:
        """For now as long as a name server failed, and mail waits for that."""
        for order in ((1, 2), (2, 1)):
            mx = {"peer.test": list(zip(order, ("gone.test", "mute.test"), strict=True))}
            self.trouble(self.finder(mx, failing=["mute.test"]), LookupFailed)

    def test_no_host_exists(self) -> None:
        """When DNS says so of each, for ever: no name, or none of our families' addresses."""
        mx = {"peer.test": [(1, "gone.test"), (2, "void.test"), (3, "away.test")]}
        finder = self.finder(mx, {"void.test": [], "peer.test": ["192.0.2.1"]})
        self.assertEqual(self.trouble(finder, Undeliverable), "550 5.4.4")
        one = self.finder({"peer.test": [(1, "six.test")]}, {"six.test": ["2001:db8::1"]})
        self.assertEqual(self.found(one), ["2001:db8::1"])
        one = evolve(one, settings=evolve(self.settings, ipv6=False))
        self.assertEqual(self.trouble(one, Undeliverable), "550 5.4.4")

    def test_hosts_that_do_not_exist_cost_no_place(self) -> None:
        """A host behind many dead names is found; nothing is said for ever of what is unasked."""
        dead = [(number, f"{number}.test") for number in range(MOST_LOOKUPS - 1)]
        hosts = {"a.test": ["192.0.2.1"], "0.test": []}
        found = self.finder({"peer.test": [*dead, (99, "a.test")]}, hosts, most_hosts=1)
        self.assertEqual(self.found(found), ["192.0.2.1"])
        beyond = self.finder({"peer.test": [*dead, (98, "gone.test"), (99, "a.test")]}, hosts)
        self.assertEqual(self.trouble(beyond, Postponed), "451 4.4.3")

    def test_our_name_in_the_list(self) -> None:
        """We and what is no better than us are left out; when we are best, mail loops."""
        hosts = {name: [f"192.0.2.{n}"] for n, name in enumerate(["a.test", "b.test", "us.test"])}
        mx = {"peer.test": [(5, "a.test"), (10, "US.test"), (10, "b.test")]}
        for seed in range(8):
            self.assertEqual(self.found(self.finder(mx, hosts, seed=seed)), ["192.0.2.0"])
        best = {"peer.test": [(10, "us.test"), (10, "b.test"), (20, "a.test")]}
        self.assertEqual(self.trouble(self.finder(best, hosts), Undeliverable), "554 5.4.6")

    def test_our_address_in_the_list(self) -> None:
        """Under another name we are still ourselves, whatever the order among equals."""
        hosts = {"a.test": ["192.0.2.1"], "b.test": ["192.0.2.2"], "alias.test": ["192.0.2.9"]}
        mx = {"peer.test": [(5, "a.test"), (10, "alias.test"), (10, "b.test"), (20, "b.test")]}
        for seed in range(8):
            finder = self.finder(mx, hosts, own=["192.0.2.9"], seed=seed)
            self.assertEqual(self.found(finder), ["192.0.2.1"])
        best = {"peer.test": [(10, "alias.test"), (10, "b.test"), (20, "a.test")]}
        for seed in range(8):
            finder = self.finder(best, hosts, own=["192.0.2.9"], seed=seed)
            self.assertEqual(self.trouble(finder, Undeliverable), "554 5.4.6")

    def test_better_host_is_away_and_then_us(self) -> None:
        """A better host that cannot be looked up now may come back: no loop, a deferral."""
        mx = {"peer.test": [(5, "mute.test"), (10, "us2.test")]}
        finder = self.finder(mx, {"us2.test": ["192.0.2.9"]}, ["mute.test"], own=["192.0.2.9"])
        self.trouble(finder, LookupFailed)

    def test_own_address_without_mx(self) -> None:
        """A domain whose only address is ours would loop."""
        finder = self.finder(hosts={"peer.test": ["192.0.2.9"]}, own=["192.0.2.9"])
        self.assertEqual(self.trouble(finder, Undeliverable), "554 5.4.6")
        two = self.finder(hosts={"peer.test": ["192.0.2.9", "192.0.2.1"]}, own=["192.0.2.9"])
        self.assertEqual(self.found(two), ["192.0.2.1"])

    def test_address_literals(self) -> None:
        """A literal is its own host, ours excepted, and DNS is not asked."""
        self.assertEqual(self.found(self.finder(), "[192.0.2.7]"), ["192.0.2.7"])
        self.assertEqual(self.found(self.finder(), "[IPv6:2001:db8::7]"), ["2001:db8::7"])
        finder = self.finder(own=["192.0.2.7"])
        self.assertEqual(self.trouble(finder, Undeliverable, "[192.0.2.7]"), "554 5.4.6")

    def test_families(self) -> None:
        """IPv6 first, IPv4 first, or one of them only."""
        hosts = {"peer.test": ["192.0.2.1", "2001:db8::1", "192.0.2.2"]}
        expected: list[tuple[dict[str, Any], list[str]]] = [
            ({}, ["2001:db8::1", "192.0.2.1", "192.0.2.2"]),
            ({"prefer_ipv4": True}, ["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
            ({"ipv6": False}, ["192.0.2.1", "192.0.2.2"]),
            ({"ipv4": False}, ["2001:db8::1"]),
        ]
        for settings, ips in expected:
            self.assertEqual(self.found(self.finder(hosts=hosts, **settings)), ips)

    def test_hosts_are_bounded(self) -> None:
        """A domain with very many hosts costs no more than a few."""
        mx = {"peer.test": [(number, f"{number}.test") for number in range(50)]}
        hosts = {f"{number}.test": [f"192.0.2.{number}"] * 9 for number in range(50)}
        found = self.found(self.finder(mx, hosts, most_hosts=3))
        self.assertEqual((len(found), set(found)), (6, {"192.0.2.0"}))

    def test_overrides(self) -> None:
        """A test names host and port for a domain, or for an MX host, which keeps its name."""
        overrides = {"peer.test": "127.0.0.1:2525", "mx.other.test": "[::1]:2526"}
        finder = self.finder({"other.test": [(1, "mx.other.test")]}, host_overrides=overrides)
        self.assertEqual(self.targets(finder), [Target("127.0.0.1", "127.0.0.1", 2525)])
        self.assertEqual(self.targets(finder, "other.test"), [Target("mx.other.test", "::1", 2526)])

    def test_mx_port(self) -> None:
        """The port is a setting, for tests."""
        finder = self.finder(hosts={"peer.test": ["192.0.2.1"]}, mx_port=2525)
        self.assertEqual(self.targets(finder)[0].port, 2525)
