"""Which servers' word is taken for who wrote a message, and what their word is."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailauth.arc import ChainResult
from mailrelay.mailauth.arc_trust import MOST_BYTES, results_in, vouched_by
from tests.mailauth.test_arc import chain, validated


def results(text: str) -> dict[str, dict[str, str]]:
    """What passed."""
    field = f"ARC-Authentication-Results: i=1; {text}".encode()
    return {method: dict(values) for method, values in results_in(field)}


class ResultsTests(SynchronousTestCase):
    """What an ARC-Authentication-Results field says."""

    def test_usual(self) -> None:
        """Methods that passed, with their properties."""
        found = results(
            "mx.test;\r\n dkim=pass header.d=a.test header.s=s;\r\n\tspf=fail smtp.mailfrom=b.test;"
            " DMARC/1=Pass (p=none) Header.From=A.test;"
        )
        self.assertEqual(
            found,
            {
                "dkim": {"header.d": "a.test", "header.s": "s"},
                "dmarc": {"header.from": "A.test"},
            },
        )

    def test_hidden(self) -> None:
        """What stands in quotes or comments is no result, whatever it looks like."""
        for text in (
            'mx.test; spf=fail reason="; dmarc=pass header.from=a.test;"',
            "mx.test; spf=fail (; dmarc=pass header.from=a.test;)",
            "mx.test; spf=fail ((x) ; dmarc=pass header.from=a.test;)",
            r'mx.test; spf=fail reason="\"; dmarc=pass header.from=a.test',
            r"mx.test; spf=fail (\); dmarc=pass header.from=a.test",
            "mx.test; spf=fail " + "x" * MOST_BYTES + "; dmarc=pass",
            "mx.test; dmarc=passed; dmarc; =pass x; pass",
        ):
            self.assertNotIn("dmarc", results(text), text)


class TrustTests(SynchronousTestCase):
    """Chains of s1.test and s2.test in turn, which found SPF alone to pass."""

    def test_who(self) -> None:
        """Each after the one that is believed must be believed, too."""
        said = b"dmarc=pass header.from=bank.test"
        outcome = validated(chain(3))
        first = evolve(
            outcome.chain.sets[0], results=b"ARC-Authentication-Results: i=1; x; " + said
        )
        told = evolve(outcome, chain=evolve(outcome.chain, sets=[first, *outcome.chain.sets[1:]]))
        both = frozenset({"s1.test", "s2.test"})
        self.assertEqual(vouched_by(told, both, "bank.test"), "s1.test")
        self.assertEqual(vouched_by(told, frozenset({"s1.test"}), "bank.test"), "")
        self.assertEqual(vouched_by(told, both, "other.test"), "")
        self.assertEqual(vouched_by(told, both, ""), "")
        self.assertEqual(vouched_by(outcome, both, "bank.test"), "")
        broken = evolve(told, result=ChainResult.FAIL)
        self.assertEqual(vouched_by(broken, both, "bank.test"), "")
