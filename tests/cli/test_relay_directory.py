"""``mailrelay relay`` with directory data: changed by command, and a running server goes by it."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.testing.ports import free_port
from mailrelay.testing.scripted_server import ScriptedServer, polite
from tests.cli.operated import CONFIG, Operated, soon

CHAIN = """\
[relaying]
dir = "relays"
[[relaying.chain]]
account = "user"
hop = [{ next_hop = "[c.example]:587", weight = 1, credentials = "main" }]
"""


class DirectoryTests(TestCase):
    """Commands on a server's store."""

    timeout = 60

    async def operated(self, config: str = CONFIG) -> Operated:
        """A server that is stopped."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        operated.config.write_text(config)
        return operated

    async def test_changes(self) -> None:
        """Each command, and what is listed and checked then; no password anywhere."""
        operated = await self.operated()
        run = operated.run
        run("relay", "add-domain", "--directory", "shop.test", "r.example", "587")
        run("relay", "add-auth", "--directory", "shop.test", "u", given="sesame\n")
        run("relay", "exclude-domain", "--directory", "other.test")
        run("relay", "add-route", "far.test", "[m.example]")
        chain = ("[a.example]:587 weight=3", "[b.example] tls=verify")
        run("relay", "add-chain", "joe@shop.test", *chain, "--move-on", "550 5.7.1")
        rows = operated.json("relay", "list")
        self.assertEqual(
            [(row["key"], row["kind"], row["username"], row["source"]) for row in rows],
            [
                ("@shop.test", "map", "u", "directory"),
                ("joe@shop.test", "chain", None, "directory"),
                ("@other.test", "exclude", None, "directory"),
                ("far.test", "route", None, "directory"),
            ],
        )
        self.assertEqual(rows[1]["chain"]["move_on"], ["550 5.7.1"])
        found = operated.json("relay", "check", "ann@shop.test", "x@remote.test")
        self.assertEqual(found["hops"][0]["auth"]["password"], "********")
        self.assertEqual(
            [one["source"] for one in found["considered"]],
            [None, None, "directory", None, "directory"],
        )
        said = run("relay", "check", "joe@shop.test", "x@remote.test").stdout
        self.assertIn("hop 1:  a.example port 587", said)
        self.assertIn("weight 3", said)
        self.assertIn("directory data", said)
        for shown in (str(rows), str(found), said):
            self.assertNotIn("sesame", shown)
        run("relay", "remove", "--directory", "joe@shop.test")
        run("relay", "remove", "--directory", "joe@shop.test", code=1)
        self.assertNotIn("joe@shop.test", run("relay", "list").stdout)

    async def test_beside_files_and_configuration(self) -> None:
        """The list has all of them; the account's chain lacks credentials until they are added."""
        operated = await self.operated(CONFIG + CHAIN)
        run = operated.run
        run("relay", "add-domain", "shop.test", "f.example")
        run("relay", "add-domain", "--directory", "shop.test", "d.example")
        sources = [row["source"] for row in operated.json("relay", "list")]
        self.assertEqual(sources, ["file", "configuration", "directory"])
        check = ("relay", "check", "ann@x.test", "y@remote.test", "--account", "user")
        waits = operated.json(*check)
        self.assertEqual((waits["route"], waits["hops"]), ("waits", []))
        run("relay", "add-host-auth", "--directory", "main", "u", given="pw\n")
        found = operated.json(*check)
        self.assertEqual(found["hops"][0]["auth"]["matched_by"], "chain")
        found = operated.json("relay", "check", "ann@shop.test", "y@remote.test")
        self.assertEqual(found["hops"][0]["host"], "f.example")

    async def test_chain_that_lacks_something(self) -> None:
        """Credentials that are not there are told of; what is no weight or setting is refused."""
        operated = await self.operated()
        said = operated.run("relay", "add-chain", "shop.test", "[a.example] credentials=main")
        self.assertIn("there are no credentials main", said.stderr)
        operated.run("relay", "add-host-auth", "--directory", "main", "u", given="pw\n")
        said = operated.run("relay", "add-chain", "shop.test", "[a.example] credentials=main")
        self.assertEqual(said.stderr, "")
        for setting, why in (("weight=x", "a number from 0"), ("wait=1", "wait is none of")):
            hop = f"[a.example] {setting}"
            refused = operated.run("relay", "add-chain", "shop.test", hop, code=1)
            self.assertIn(why, refused.stderr)

    async def test_import(self) -> None:
        """Files, recipient routes among them, become directory data."""
        operated = await self.operated()
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "postfix-relaymap.cf").write_text("@a.test [x.example]\n@b.test\n")
        routes = folder / "transport"
        routes.write_text("far.test smtp:[m.example]\n")
        command = ("relay", "import", "--directory", str(folder))
        said = operated.run(*command, "--recipient-routes", str(routes)).stdout
        self.assertIn("3 entries", said)
        self.assertIn("0 entries", operated.run(*command).stdout)
        keys = [row["key"] for row in operated.json("relay", "list")]
        self.assertEqual(keys, ["@a.test", "@b.test", "far.test"])
        wrong = ("relay", "import", str(folder), "--recipient-routes", str(routes))
        operated.config.write_text(CONFIG + '[relaying]\ndir = "relays"\n')
        self.assertIn("--directory only", operated.run(*wrong, code=64).stderr)

    async def test_running_server(self) -> None:
        """A rule that is added while it runs decides about the next message."""
        end = await ScriptedServer.start(self, reactor, polite())
        operated = await Operated.start(self, reactor)
        host = ("127.0.0.1", str(end.port))
        operated.run("relay", "add-domain", "--directory", "client.test", *host)
        server = operated.server.server
        while not server.directory.relay_rules:
            await soon(reactor)
        await operated.accept("bob@remote.test")
        while not end.contents:
            await soon(reactor)
        self.assertIn(b"Subject: hello", end.contents[0])

    async def test_status(self) -> None:
        """Hosts that a running server finds to be out, until it begins anew."""
        operated = await Operated.start(self, reactor)
        self.assertIn("No relay host is out", operated.run("relay", "status").stdout)
        hops = [f"[127.0.0.1]:{free_port()}" for _ in range(2)]
        operated.run("relay", "add-chain", "client.test", *hops)
        while not operated.server.server.directory.relay_rules:
            await soon(reactor)
        for number in range(2):
            await operated.accept(f"bob{number}@remote.test")
            await operated.waiting(f"bob{number}@remote.test")
        rows = await operated.until(lambda: operated.json("relay", "status"))
        host = hops[0].replace("[", "").replace("]", "")
        self.assertEqual(rows[0]["subject"], f"relay host {host}")
        self.assertIn("no answer from host", rows[0]["reason"])
        self.assertEqual(len(rows), 3)
        self.flushLoggedErrors()
