"""``mailrelay peer``, without a server."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.cli.operated import Operated

URL = "https://relay.example.net"


class PeerTests(TestCase):
    """Each command."""

    timeout = 60

    async def test_life(self) -> None:
        """Added, listed without secrets, changed, given new keys, and removed."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        self.assertIn("No peers", operated.run("peer", "list").stdout)
        options = ("--url", URL, "--account", "user", "--from-domain", "example.net")
        made = operated.json("peer", "add", "sister", *options, "--timeout", "30s")
        self.assertEqual([key["direction"] for key in made["keys"]], ["ours", "theirs"])
        secrets = [key["key"].split(":")[1] for key in made["keys"]]
        [row] = operated.json("peer", "list")
        self.assertEqual((row["url"], row["account"], row["disabled"]), (URL, "user", False))
        self.assertEqual(row["options"]["from_domains"], ["example.net"])
        self.assertEqual(row["options"]["timeout"], 30.0)
        for printed in (
            str(row),
            operated.run("peer", "list").stdout,
            operated.run("export").stdout,
        ):
            for secret in secrets:
                self.assertNotIn(secret, printed)
        operated.run("peer", "set", "sister", "--disabled", "--no-from-domains", "--account", "")
        [row] = operated.json("peer", "list")
        self.assertEqual((row["account"], row["disabled"]), (None, True))
        self.assertEqual(row["options"]["from_domains"], [])
        rotated = operated.json("peer", "rotate", "sister", "--theirs", "--overlap", "1d")
        [row] = operated.json("peer", "list")
        of_theirs = [key for key in row["keys"] if key["direction"] == "theirs"]
        self.assertEqual(of_theirs[0]["id"], rotated["keys"][0]["id"])
        self.assertEqual([key["expires"] is None for key in of_theirs], [True, False])
        operated.run("peer", "remove", "sister")
        self.assertEqual(operated.json("peer", "list"), [])

    async def test_both_sides(self) -> None:
        """What is shown here is what the other side takes."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        printed = operated.run("peer", "add", "b", "--url", URL).stdout.splitlines()
        ours, theirs = printed[2], printed[4]
        folder = operated.config.parent
        (folder / "ours").write_text(f"{theirs}\n")
        files = ("--our-key-file", str(folder / "ours"), "--their-key-file", "-")
        operated.run("peer", "add", "a", *files, given=f"{ours}\n")
        [a, b] = operated.json("peer", "list")
        self.assertEqual({key["id"] for key in a["keys"]}, {key["id"] for key in b["keys"]})
        told = operated.run(
            "peer", "rotate", "a", "--ours", "--key-file", "-", given="kz:" + "00" * 32
        )
        self.assertEqual(told.stdout, "Peer a has a new key.\n")

    async def test_zotonic(self) -> None:
        """One secret for each direction, as it is; whoever sends through a site is warned."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        (operated.config.parent / "ours").write_text("its-receive-secret\n")
        url = "https://site.example/api/model/email_relay/post/relay"
        added = ("peer", "add", "site", "--protocol", "zotonic", "--callback-url", url[:-5] + "x")
        self.assertEqual(operated.run(*added).stderr, "")
        operated.run("peer", "remove", "site")
        keys = ("--our-key-file", str(operated.config.parent / "ours"))
        told = operated.run(*added, "--url", url, *keys)
        self.assertIn("From becomes", told.stderr)
        self.assertNotIn("its-receive-secret", told.stdout + told.stderr)

    async def test_refused(self) -> None:
        """What cannot be is said, and a key that is not well-formed is not repeated."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        told = operated.run("peer", "rotate", "b", code=64).stderr
        self.assertIn("--ours", told)
        for given, said in (
            (("add", "b", "--account", "nobody"), "no account nobody"),
            (("add", "b", "--url", "http://relay.example.net"), "https"),
            (("add", "b", "--our-key-file", "-"), "key-id:hex"),
            (("remove", "b"), "no peer 'b'"),
            (("ping", "b"), "no peer 'b'"),
        ):
            told = operated.run("peer", *given, code=1, given="planted-secret").stderr
            self.assertIn(said, told)
            self.assertNotIn("planted", told)
