"""``mailrelay holdrule``, beside a running server and without one."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.cli.operated import Operated


class HoldRuleTests(TestCase):
    """Each command."""

    timeout = 60

    async def test_rules(self) -> None:
        """A rule holds what waits, is listed, and its removal leaves what it has held."""
        operated = await Operated.start(self, reactor)
        await operated.accept("a@slow.test", "b@other.test")
        await operated.waiting("a@slow.test")
        await operated.waiting("b@other.test")
        self.assertIn("Nothing", operated.run("holdrule", "list").stdout)
        made = operated.json("holdrule", "add", "--recipient", "Slow.test")
        [row] = operated.json("queue", "list", "--held")
        self.assertEqual((row["recipient"], [row["id"]]), ("a@slow.test", made["held"]))
        said = operated.run("holdrule", "add", "--null-sender", "--account", "user").stdout
        self.assertIn("0 entries are held", said)
        rows = operated.json("holdrule", "list")
        self.assertEqual(
            [(r["account"], r["sender"], r["recipient"]) for r in rows],
            [(None, None, "slow.test"), ("user", "", None)],
        )
        table = operated.run("holdrule", "list").stdout
        for word in ("any", "<>", "user", "slow.test"):
            self.assertIn(word, table)
        await operated.stop()
        operated.run("holdrule", "remove", str(made["id"]))
        self.assertEqual(len(operated.json("holdrule", "list")), 1)
        self.assertEqual(len(operated.json("queue", "list", "--held")), 1)

    async def test_refused(self) -> None:
        """What names nothing, or one thing twice, and what is not there."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        for given, said in (
            (("add",), "--all"),
            (("add", "--sender", "a.test", "--null-sender"), "choose one"),
            (("add", "--sender", ""), "--null-sender"),
            (("add", "--recipient", "a@b@c"), "neither a domain nor an address"),
            (("add", "--account", "nobody"), "no account nobody"),
            (("remove", "7"), "no hold rule 7"),
        ):
            self.assertIn(said, operated.run("holdrule", *given, code=1).stderr)
        operated.run("holdrule", "add", "--all")
        self.assertIn("says the same", operated.run("holdrule", "add", "--all", code=1).stderr)
