"""mailrelay key."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.cli.operated import Operated


class KeyTests(TestCase):
    """Keys by command."""

    timeout = 120

    async def test_life(self) -> None:
        """A key is made, shown once, listed and revoked."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        options = ("--scope", "send", "--sender", "example.org", "--network", "192.0.2.0/24")
        made = operated.json("key", "add", "user", "--name", "app", *options, "--expires-in", "9d")
        self.assertRegex(made["key"], "^mrk_")
        self.assertEqual((made["scopes"], made["senders"]), (["send"], ["example.org"]))
        [listed] = operated.json("key", "list", "--account", "user")
        self.assertEqual({**listed, "key": made["key"]}, made)
        self.assertNotIn(made["key"], operated.run("key", "list").stdout)
        operated.run("key", "remove", str(made["id"]))
        self.assertEqual(operated.json("key", "list"), [])

    async def test_refused(self) -> None:
        """What cannot be is said."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        for given, said in (
            (("add", "nobody", "--name", "x"), "no account nobody"),
            (("add", "user", "--name", "x", "--network", "x"), "no network"),
            (("add", "user", "--name", "x", "--sender", "a b"), "neither an address nor a domain"),
            (("remove", "7"), "no key 7"),
        ):
            self.assertIn(said, operated.run("key", *given, code=1).stderr, given)
