"""SPF beyond its suite: limits, what was looked up, and the addresses of a real resolver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.mailauth.spf import SPFOutcome, SPFResult, check_host
from mailrelay.mailauth.spf_record import MalformedRecord, parse_record
from mailrelay.net.resolver import DNSResolver
from mailrelay.net.threads import ThreadExecutor
from mailrelay.testing.dns_server import DNSServer
from tests.mailauth.test_spf_suite import Zone

IP = "192.0.2.7"
reactor: Any = global_reactor


def evaluated(records: Mapping[str, Sequence[Any]], sender: str = "a@d.test") -> SPFOutcome:
    """What is found for a host of IP."""
    results: list[Any] = []
    checking = check_host(Zone(records), IP, sender, "helo.test")
    Deferred.fromCoroutine(checking).addBoth(results.append)
    [result] = results
    return result if isinstance(result, SPFOutcome) else result.raiseException()


class LimitTests(SynchronousTestCase):
    """What one message may have us ask."""

    def test_lookups(self) -> None:
        """Ten terms that need DNS are evaluated, an eleventh is an error, also across includes."""
        hosts = {f"h{number}.test": [{"A": "192.0.2.99"}] for number in range(12)}
        for count, expected in ((10, SPFResult.FAIL), (11, SPFResult.PERMERROR)):
            terms = " ".join(f"a:h{number}.test" for number in range(count))
            outcome = evaluated({"d.test": [{"TXT": f"v=spf1 {terms} -all"}], **hosts})
            self.assertIs(outcome.result, expected, outcome)
        ring = {"d.test": [{"TXT": "v=spf1 include:d.test -all"}]}
        self.assertIn("look-ups", evaluated(ring).reason)

    def test_names(self) -> None:
        """Ten MX hosts are looked at, an eleventh is an error."""
        for count, expected in ((10, SPFResult.PASS), (11, SPFResult.PERMERROR)):
            hosts = [{"MX": [n, f"m{n}.test"]} for n in range(count)]
            zone: dict[str, list[Any]] = {"d.test": [{"TXT": "v=spf1 mx -all"}, *hosts]}
            zone |= {f"m{n}.test": [{"A": "192.0.2.99"}] for n in range(count)}
            zone["m9.test"] = [{"A": IP}]
            self.assertIs(evaluated(zone).result, expected)

    def test_large_record(self) -> None:
        """A record of 64 kB is read in no time, whatever it says."""
        for piece in ("a ", "%{", "a/", "x" * 50 + "=", "%{d1r." + "." * 50):
            text = b"v=spf1 " + (piece * (64_000 // len(piece))).encode()
            try:
                parse_record(text)
            except MalformedRecord as error:
                self.assertTrue(str(error))


class SenderTests(SynchronousTestCase):
    """Whom a record is asked of."""

    def test_null_sender(self) -> None:
        """Of a null sender the name in EHLO is asked."""
        zone = {"helo.test": [{"TXT": "v=spf1 ip4:192.0.2.0/24 -all"}]}
        self.assertIs(evaluated(zone, "").result, SPFResult.PASS)

    def test_reason(self) -> None:
        """The reason names the mechanism and the domain, an explanation is the domain's own."""
        outcome = evaluated(
            {
                "d.test": [{"TXT": "v=spf1 -all exp=why.d.test"}],
                "why.d.test": [{"TXT": "%{i} is not %{o}'s"}],
            }
        )
        self.assertEqual(outcome.reason, "all of d.test matches")
        self.assertEqual(outcome.explanation, f"{IP} is not d.test's")


class RealResolverTests(TestCase):
    """By dnspython, from a server on loopback."""

    async def test_pass(self) -> None:
        """TXT records in several strings, and pointers, are found."""
        records = {
            "d.test": {"TXT": ['"v=spf1 exists:%{i}.%{v}.ok" ".d.test ptr:host.test -all"']},
            "7.2.0.192.in-addr.arpa": {"PTR": ["a.host.test."]},
            "a.host.test": {"A": [IP]},
        }
        server = await DNSServer(records).start(self, reactor)
        executor = ThreadExecutor(reactor, 2, "dns")
        self.addCleanup(executor.stop)
        resolver = DNSResolver(executor, [f"127.0.0.1:{server.port}"])
        outcome = await check_host(resolver, IP, "a@d.test", "helo.test")
        self.assertEqual(outcome.reason, "ptr of d.test matches")
        self.assertIn("192.0.2.7.in-addr.ok.d.test/A", server.asked)


class SeedTests(SynchronousTestCase):
    """Records of chance against zones of chance."""

    def test_ends(self) -> None:
        """Every evaluation ends, with one of the results."""
        random = Random(1)
        names = [f"n{n}.test" for n in range(6)]
        for _ in range(300):
            zone = {}
            for name in names:
                other, third = random.choices(names, k=2)
                terms = [f"include:{other}", f"a:{third}", f"redirect={other}", "mx", "ptr", "?all"]
                text = " ".join(random.sample(terms, 3))
                zone[name] = [{"TXT": f"v=spf1 {text}"}, {"A": IP}]
            self.assertIn(evaluated(zone, f"a@{names[0]}").result, SPFResult)
