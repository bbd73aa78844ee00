"""``mailrelay statistics``."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.cli.operated import Operated


class StatisticsTests(TestCase):
    """The numbers, as an operator sees them."""

    timeout = 120

    async def test_statistics(self) -> None:
        """A table for people, JSON for programs; with and without a server."""
        operated = await Operated.start(self, reactor)
        self.assertIn("Nothing was counted.", operated.run("statistics").stdout)
        await operated.submit("a@slow.test", "b@slow.test", "c@other.test")
        await operated.waiting("c@other.test")
        [day] = operated.json("statistics", "--account", "user")["groups"]
        self.assertEqual((day["accepted"], day["delivered_rate"]), (3, 0.0))
        await operated.stop()
        found = operated.json("statistics", "--by", "domain", "--by", "account", "--since", "1h")
        rows = [(g["account"], g["domain"], g["accepted"]) for g in found["groups"]]
        self.assertEqual(rows, [("user", "other.test", 1), ("user", "slow.test", 2)])
        table = operated.run("statistics", "--by", "domain", "--domain", "SLOW.test").stdout
        self.assertRegex(table, r"domain +accepted +delivered +delayed +failed")
        self.assertRegex(table, r"slow\.test +2 +0 +")
        self.assertNotIn("other.test", table)
        none = operated.json("statistics", "--since", "2020-01-01", "--until", "2020-02-01")
        self.assertEqual((none["since"], none["groups"]), ("2020-01-01T00:00:00Z", []))
        for arguments, said, code in (
            (("--account", "nobody"), "no account nobody", 1),
            (("--by", "hour", "--by", "day"), "not both", 1),
            (("--domain", "a b"), "--domain a b", 1),
            (("--since", "2000-01-01"), "400 days", 1),
            (("--since", "yesterday"), "neither a date", 2),
        ):
            self.assertIn(said, operated.run("statistics", *arguments, code=code).output)
