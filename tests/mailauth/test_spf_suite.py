"""The test suite of RFC 7208, whole, with its zones as they are written there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dns.reversename
import yaml
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailauth.spf import DEFAULT_EXPLANATION, SPFOutcome, check_host
from mailrelay.net.resolver import LookupFailed, MXHost, NoSuchDomain

SUITE = Path(__file__).parent / "data" / "rfc7208-tests.yml"
NOW = 1396310400.0


class Zone:
    """What a scenario's zone data say: records by name, and TIMEOUT where there is no answer.

    A zone that has SPF and no TXT records means the former as the latter.
    """

    def __init__(self, data: Mapping[str, Sequence[Any]]) -> None:
        self._names = {name.lower(): list(map(_record, given)) for name, given in data.items()}

    def _found(self, name: str, type_: str) -> list[Any]:
        """Raises: NoSuchDomain, LookupFailed."""
        records = self._followed(name)
        if type_ == "TXT" and not any(kind == "TXT" for kind, _ in records):
            type_ = "SPF"
        found = [value for kind, value in records if kind == type_ and value != "NONE"]
        if "TIMEOUT" in found or (not found and ("TIMEOUT", None) in records):
            raise LookupFailed(name)
        return found

    def _followed(self, name: str) -> list[tuple[str, Any]]:
        """The records at the end of a chain of CNAMEs.  Raises: NoSuchDomain, LookupFailed."""
        for _ in range(10):
            records = self._names.get(name.lower().rstrip("."))
            if records is None:
                raise NoSuchDomain(name)
            aliases = [value for kind, value in records if kind == "CNAME"]
            if not aliases:
                return records
            name = aliases[0]
        raise LookupFailed(name)

    def _answer(self, name: str, type_: str) -> Deferred[Any]:
        try:
            return succeed(self._found(name, type_))
        except (NoSuchDomain, LookupFailed) as error:
            return fail(error)

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """See Resolver."""
        answer = self._answer(name, "TXT")
        return answer.addCallback(lambda found: ["".join(text).encode() for text in found])

    def mx_hosts(self, domain: str) -> Deferred[Sequence[MXHost]]:
        """See Resolver."""
        answer = self._answer(domain, "MX")
        return answer.addCallback(lambda found: [MXHost(n, host) for n, host in found])

    def addresses(self, host: str, *, ipv4: bool, ipv6: bool) -> Deferred[Sequence[str]]:
        """See Resolver."""
        return self._answer(host, "A" if ipv4 else "AAAA")

    def pointers(self, ip: str) -> Deferred[Sequence[str]]:
        """See Resolver."""
        name = dns.reversename.from_address(ip).to_text(omit_final_dot=True)
        return self._answer(name, "PTR")


def _record(given: Any) -> tuple[str, Any]:
    if given == "TIMEOUT":
        return "TIMEOUT", None
    [(kind, value)] = given.items()
    return kind, value


def evaluated(zone: Zone, test: Mapping[str, Any]) -> SPFOutcome:
    """What we find."""
    results: list[Any] = []
    Deferred.fromCoroutine(
        check_host(
            zone, test["host"], test["mailfrom"], test["helo"], now=lambda: NOW, receiver="unknown"
        )
    ).addBoth(results.append)
    [result] = results
    return result if isinstance(result, SPFOutcome) else result.raiseException()


class SuiteTests(SynchronousTestCase):
    """Every scenario."""

    def test_suite(self) -> None:
        """Each test has one of the results that it allows, and its explanation."""
        count = 0
        wrong = []
        for scenario in yaml.safe_load_all(SUITE.read_text()):
            zone = Zone(scenario["zonedata"])
            for name, test in scenario["tests"].items():
                count += 1
                allowed = test["result"]
                expected = allowed if isinstance(allowed, list) else [allowed]
                outcome = evaluated(zone, test)
                explanation = test.get("explanation")
                if explanation == "DEFAULT":
                    explanation = DEFAULT_EXPLANATION
                is_explained = explanation is None or outcome.explanation == explanation
                if outcome.result.value not in expected or not is_explained:
                    wrong.append((name, expected, explanation, outcome))
        self.assertEqual(wrong, [])
        self.assertGreater(count, 190)
