"""``mailrelay dkim``, without a server."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.mailauth.dkim import Algorithm, parse_key
from tests.cli.operated import Operated


class DKIMTests(TestCase):
    """Each command."""

    timeout = 60

    async def test_life(self) -> None:
        """Made, shown as records to publish, used, rotated, removed; never shown themselves."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        self.assertIn("No keys", operated.run("dkim", "list").stdout)
        operated.run("dkim", "rotate", "example.org", code=1)
        said = operated.run("dkim", "add", "example.org").stdout
        self.assertIn('._domainkey.example.org. TXT "v=DKIM1; k=rsa; p=', said)
        rows = operated.json("dkim", "list", "example.org")
        self.assertEqual([row["state"] for row in rows], ["next", "next"])
        for row in rows:
            parse_key(row["record"].encode(), Algorithm(row["algorithm"]))
            self.assertNotIn("PRIVATE", str(row))
        operated.run("dkim", "add", "example.org", code=1)
        operated.run("dkim", "activate", "example.org")
        operated.run("dkim", "activate", "example.org", code=1)
        made = operated.json("dkim", "rotate", "example.org")
        self.assertEqual(len(made), 2)
        operated.run("dkim", "activate", "example.org")
        states = [row["state"] for row in operated.json("dkim", "list")]
        self.assertEqual(states, ["retired", "retired", "active", "active"])
        self.assertIn("k=ed25519", operated.run("dkim", "list", "--records").stdout)
        operated.run("dkim", "remove", "example.org", made[0]["selector"])
        self.assertEqual(len(operated.json("dkim", "list")), 3)
