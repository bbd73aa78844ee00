"""``mailrelay alias``, without a server."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.cli.operated import Operated

LIST = "list@example.org"


class AliasTests(TestCase):
    """Each command."""

    timeout = 60

    async def test_aliases(self) -> None:
        """Added, listed, changed, its members too, and removed."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        self.assertIn("No aliases", operated.run("alias", "list").stdout)
        operated.run(
            *("alias", "add", LIST, "user@example.org", "ann@example.net", "--post-public"),
            *("--owner", "user@example.org", "--poster", "p@example.net"),
            *("--on-disabled", "drop"),
        )
        expected: dict[str, object] = {
            "address": LIST,
            "members": ["ann@example.net", "user@example.org"],
            "post_public": True,
            "list_members": False,
            "allow_from": False,
            "disabled": False,
            "on_disabled": "drop",
            "owner": "user@example.org",
            "posters": ["p@example.net"],
            "is_list": False,
            "removes_after": None,
            "rewrite": "none",
            "dmarc_fallback": False,
            "requires_dkim": False,
        }
        self.assertEqual(operated.json("alias", "list"), [expected])
        operated.run(
            *("alias", "set", LIST, "--post-members", "--no-posters", "--owner", ""),
            *("--allow-from", "--list-members", "--disabled", "--list", "--removes-after", "3"),
            *("--rewrite", "alias", "--dmarc-fallback", "--require-dkim"),
        )
        [row] = operated.json("alias", "list")
        changed: dict[str, object] = {
            "post_public": False,
            "allow_from": True,
            "list_members": True,
            "is_list": True,
            "removes_after": 3,
            "rewrite": "alias",
            "dmarc_fallback": True,
            "requires_dkim": True,
        }
        changed |= {"disabled": True, "posters": [], "owner": None}
        self.assertEqual(row, expected | changed)
        given = ("--add", "bob@example.net", "--remove", "ann@example.net")
        rows = operated.json("alias", "members", LIST, *given)
        self.assertEqual([one["address"] for one in rows], ["bob@example.net", "user@example.org"])
        refused = operated.run("domain", "set", "example.org", "--separator", "-").stdout
        self.assertIn("changed", refused)
        operated.run("alias", "remove", LIST)
        self.assertEqual(operated.json("alias", "list"), [])

    async def test_refused(self) -> None:
        """What cannot be is told in words."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        operated.run("domain", "add", "flat.example", "--separator", "")
        operated.run("alias", "add", "l_x@example.org", "user@example.org")
        for given, said in (
            (("alias", "add", LIST, "nobody@example.org"), "no nobody@example.org"),
            (("alias", "add", "user@example.org", "a@example.net"), "exists"),
            (("address", "add", "l_x@example.org", "user"), "is an alias"),
            (("alias", "set", LIST, "--disabled"), "no alias"),
            (("alias", "add", "l@flat.example", "u@x.example", "--rewrite", "alias"), "has none"),
            (("alias", "set", LIST, "--removes-after", "1001"), "at most 1000"),
            (("alias", "add", "@example.org", "user@example.org", "--list"), "no list"),
            (("alias", "add", "@nowhere.test", "user@example.org"), "domain add nowhere.test"),
            (("domain", "set", "example.org", "--separator", "_"), "alias remove l_x@example.org"),
        ):
            self.assertIn(said, operated.run(*given, code=1).stderr)
