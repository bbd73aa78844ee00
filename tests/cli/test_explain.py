"""``mailrelay explain``: what it says is what the server does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import text
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.handoff.settings import HandOffSettings
from tests.cli.operated import CONFIG, Operated
from tests.cli.test_route import ROUTES

HAND_OFF = """
[[handoff]]
name = "tickets"
url = "https://tickets.test/in"
domains = ["tickets.test"]
synchronous = true
[[handoff]]
name = "queued"
url = "https://tickets.test/in"
domains = ["queued.test"]
"""
FROM_OUTSIDE = ("explain", "--from", "joe@client.test")
FROM_USER = ("explain", "--from", "user@example.org", "--account", "user")


class WouldBeTests(TestCase):
    """What would happen, by a store and a file."""

    timeout = 60

    async def operated(self, more: str = "") -> Operated:
        """Commands beside a server that is gone."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        operated.config.write_text('trusted_networks = ["192.0.2.0/24"]\n' + CONFIG + more)
        return operated

    async def test_refused(self) -> None:
        """The command that is refused, and its reply: the session's own."""
        operated = await self.operated()
        own = ("--from", "user@example.org", "--account", "user")
        forged = Path(self.mktemp())
        forged.write_text("From: boss@elsewhere.test\n\nhello\n")
        for given, expected in (
            (("--from", "joe@client.test", "--to", "a@far.test"), ("mx", "RCPT", "550 5.7.1")),
            (("--to", "nobody@example.org"), ("mx", "RCPT", "550 5.1.1")),
            (
                ("--from", "joe@client.test", "--account", "user", "--to", "a@far.test"),
                ("submission", "MAIL", "550 5.7.1"),
            ),
            (
                (*own, "--to", "a@far.test", "--message", str(forged)),
                ("submission", "DATA", "550 5.7.1"),
            ),
        ):
            found = operated.json("explain", *given)
            said = (found["door"], found["refused_at"], found["reply"][:9])
            self.assertEqual(said, expected, given)
            self.assertEqual((found["accepted"], found["copies"]), (False, []))

    async def test_trusted(self) -> None:
        """Whose network is trusted may send elsewhere."""
        operated = await self.operated()
        asked = (*FROM_OUTSIDE, "--to", "a@far.test", "--client")
        self.assertTrue(operated.json(*asked, "192.0.2.7")["accepted"])
        self.assertFalse(operated.json(*asked, "198.51.100.7")["accepted"])

    async def test_ways(self) -> None:
        """The route that is taken, those that are passed over, TLS, and who is logged in as."""
        operated = await self.operated(ROUTES + HAND_OFF)
        for to, because, tls, at_once in (
            ("a@far.test", "route", "may", False),
            ("user@example.org", "mailbox", None, False),
            ("a@tickets.test", "handed_off", "verify, as https", True),
            ("a@queued.test", "handed_off", "verify, as https", False),
        ):
            [copy] = operated.json(*FROM_USER, "--to", to)["copies"]
            self.assertEqual(
                (copy["because"], copy["tls"], copy["answers_at_once"]), (because, tls, at_once), to
            )
        operated.config.write_text(
            CONFIG
            + '[relay_host]\nhost = "relay.test"\nport = 587\ntls = "verify"\n'
            + 'username = "me"\npassword = "sesame"\n'
        )
        said = operated.run(*FROM_USER, "--to", "a@far.test").stdout
        self.assertIn("logging in as me", said)
        self.assertNotIn("sesame", said)
        self.assertIn("Not known: how the destination is doing", said)

    async def test_what_keeps_it(self) -> None:
        """Hold rules and suppression, and what is left of limits."""
        operated = await self.operated()
        operated.run("holdrule", "add", "--recipient", "kept.test")
        operated.run("suppression", "add", "gone@far.test", "--account", "user")
        operated.run("account", "set", "user", "--messages-per-day", "2")
        operated.run("account", "set", "user", "--new-recipients-per-day", "1")
        [copy] = operated.json(*FROM_USER, "--to", "a@kept.test")["copies"]
        self.assertEqual((copy["held_by"], copy["because"]), ([1], "mx"))
        found = operated.json(*FROM_USER, "--to", "gone@far.test")
        self.assertEqual(found["copies"][0]["because"], "suppressed")
        limits = [(one["name"], one["most"], one["left"]) for one in found["limits"]]
        self.assertEqual(limits, [("messages_per_day", 2, 2), ("new_recipients_per_day", 1, 1)])

    async def test_spent_limits(self) -> None:
        """What was sent counts; what is asked does not."""
        operated = await Operated.start(self, reactor)
        operated.run("account", "set", "user", "--new-recipients-per-day", "1")
        known = operated.server.server._known
        await operated.until(lambda: known.directory.accounts[1].new_recipients_per_day is not None)
        for _ in range(2):
            self.assertTrue(operated.json(*FROM_USER, "--to", "a@slow.test")["accepted"])
        await operated.submit("a@slow.test")
        found = operated.json(*FROM_USER, "--to", "b@slow.test")
        self.assertEqual((found["refused_at"], found["reply"][:9]), ("DATA", "451 4.7.1"))
        self.assertEqual(found["limits"][0]["left"], 0)
        self.assertTrue(operated.json(*FROM_USER, "--to", "a@slow.test")["accepted"])

    async def test_alias(self) -> None:
        """Each member's copy, by its own way; who may not write to it is told so."""
        operated = await self.operated()
        operated.run("alias", "add", "team@example.org", "user@example.org", "eve@far.test")
        found = operated.json(*FROM_USER, "--to", "team@example.org")
        self.assertEqual(found["alias"], "team@example.org")
        self.assertEqual([copy["recipient"] for copy in found["copies"]], ["eve@far.test"])
        operated.run("alias", "set", "team@example.org", "--post-public")
        found = operated.json(*FROM_OUTSIDE, "--to", "team@example.org")
        told = {
            (copy["alias"], copy["alias_is"], copy["member"] == copy["recipient"])
            for copy in found["copies"]
        }
        self.assertEqual(told, {("team@example.org", "alias", True)})
        ways = {copy["recipient"]: copy["because"] for copy in found["copies"]}
        self.assertEqual(ways, {"user@example.org": "mailbox", "eve@far.test": "mx"})
        operated.run("alias", "set", "team@example.org", "--post-members")
        found = operated.json(*FROM_OUTSIDE, "--to", "team@example.org")
        self.assertEqual((found["refused_at"], found["reply"][:9]), ("DATA", "550 5.7.2"))

    async def test_what_comes_back(self) -> None:
        """A rewritten reverse-path is the server's own, and takes what the server's would."""
        operated = await self.operated()
        team = "team@example.org"
        operated.run("alias", "add", team, "eve@far.test", "--post-public")
        control = operated.server.control()
        with control.database.engine.begin() as connection:
            connection.execute(text("UPDATE alias SET rewrite = 'srs'"))
        control.close()
        [copy] = operated.json(*FROM_OUTSIDE, "--to", team)["copies"]
        path = copy["reverse_path"]
        self.assertTrue(path.startswith("SRS0="), copy)
        for to, reply in ((path, "550 5.7"), (path.replace("=client", "=other"), "550 5.1.1")):
            found = operated.json(*FROM_OUTSIDE, "--to", to)
            self.assertEqual(found["refused_at"], "RCPT")
            self.assertTrue(found["reply"].startswith(reply), found["reply"])
        [report] = operated.json("explain", "--to", path)["copies"]
        self.assertEqual((report["recipient"], report["reverse_path"]), ("joe@client.test", ""))

    async def test_message(self) -> None:
        """A large one is judged whole, and kept nowhere."""
        operated = await self.operated("[limits]\nmessage_bytes = 200000\n")
        file = Path(self.mktemp())
        for size, accepted in ((150_000, True), (250_000, False)):
            file.write_bytes(b"From: user@example.org\n\n" + b"x\n" * (size // 3))
            found = operated.json(*FROM_USER, "--to", "a@far.test", "--message", str(file))
            self.assertEqual(found["accepted"], accepted, found)
        self.assertEqual(operated.json("queue", "list"), [])
        spool = operated.server.settings.data_dir / "spool"
        self.assertEqual(list(spool.iterdir()) if spool.exists() else [], [])

    async def test_wrong(self) -> None:
        """Wrong questions."""
        operated = await self.operated()
        for given, code, said in (
            (("--from", "a@b.test"), 64, "--to"),
            (("--to", "a@b.test", "--id", "1"), 64, "--to"),
            (("--to", "nothing"), 1, "the recipient 'nothing' is no address"),
            (("--from", "no", "--to", "a@b.test"), 1, "the sender 'no' is no address"),
            (("--to", "a@b.test", "--account", "ghost"), 1, "no account ghost"),
            (("--to", "a@b.test", "--client", "zz"), 1, "the client 'zz' is no IP address"),
            (("--id", "999999"), 1, "no entry 999999"),
        ):
            self.assertIn(said, operated.run("explain", *given, code=code).stderr)


class CameByTests(TestCase):
    """By which alias something came, in what all commands say of it."""

    timeout = 60

    async def operated(self) -> Operated:
        """A list whose copy waits, beside another recipient's; the server is gone."""
        operated = await Operated.start(self, reactor)
        members = ("eve@slow.test", "user@example.org")
        operated.run("alias", "add", "team@example.org", *members, "--post-public", "--list")
        known = operated.server.server
        await operated.until(lambda: ("team", "example.org") in known.directory.aliases)
        post = b"From: joe@client.test\r\nSubject: hello\r\n\r\nhi"
        await operated.accept("team+x@example.org", "bob@other.test", body=post)
        await operated.waiting("eve@slow.test")
        await operated.waiting("bob@other.test")
        await operated.stop()
        return operated

    async def test_list(self) -> None:
        """The alias as it was written to, that it is a list, and the member."""
        operated = await self.operated()
        by_list = ("team+x@example.org", "list", "eve@slow.test")
        rows = {
            row["recipient"]: (row["alias"], row["alias_is"], row["member"])
            for row in operated.json("queue", "list")
        }
        self.assertEqual(rows, {"eve@slow.test": by_list, "bob@other.test": (None, None, None)})
        table = operated.run("queue", "list").stdout
        self.assertRegex(table, r"alias +alias_is\n")
        self.assertRegex(table, r"eve@slow\.test .* team\+x@example\.org +list\n")
        table = operated.run("queue", "list", "--domain", "other.test").stdout
        self.assertNotIn("alias", table)
        [row] = operated.json("queue", "list", "--domain", "slow.test")
        for command in (("queue", "show"), ("explain", "--id")):
            found = operated.json(*command, str(row["id"]))
            self.assertEqual((found["alias"], found["alias_is"], found["member"]), by_list)
            said = operated.run(*command, str(row["id"])).stdout
            self.assertRegex(said, r"(?m)^alias: +team\+x@example\.org, a list$")
            self.assertRegex(said, r"(?m)^member: +eve@slow\.test$")
        [kept] = operated.json("retired", "list")
        self.assertEqual((kept["alias_is"], kept["member"]), ("list", "user@example.org"))
        operated.run("alias", "remove", "team@example.org")
        said = operated.run("queue", "show", str(row["id"])).stdout
        self.assertIn("team+x@example.org, which passes nothing on any more", said)
        said = operated.run("queue", "show", str(kept["id"])).stdout
        self.assertIn("team+x@example.org", said)

    async def test_before(self) -> None:
        """What would come by it, whole and by its route alone."""
        operated = await self.operated()
        said = operated.run(*FROM_OUTSIDE, "--to", "team@example.org").stdout
        self.assertEqual(said.count("team@example.org, a list\n"), 2, said)
        for member in ("eve@slow.test", "user@example.org"):
            self.assertRegex(said, rf"(?m)^member: +{member}$")
        found = operated.json("route", "explain", "team@example.org")
        ways = [(one["recipient"], one["because"]) for one in found["members"]]
        self.assertEqual(ways, [("eve@slow.test", "mx"), ("user@example.org", "mailbox")])
        self.assertEqual(found["alias_is"], "list")
        said = operated.run("route", "explain", "team@example.org").stdout
        self.assertIn("team@example.org, a list\n", said)
        self.assertRegex(said, r"(?m)^member: +eve@slow\.test$")
        self.assertNotIn("members", operated.json("route", "explain", "user@example.org"))


class DecidedTests(TestCase):
    """What was decided."""

    timeout = 60

    async def start(self, **settings: Any) -> None:
        """A server."""
        self.operated = await Operated.start(self, reactor, **settings)

    async def test_attempts(self) -> None:
        """Each attempt with why it went that way, as it was then."""
        await self.start()
        await self.operated.accept("a@slow.test")
        row = await self.operated.waiting("a@slow.test")
        found = self.operated.json("explain", "--id", str(row["id"]))
        self.assertEqual((found["state"], found["accepted"]["door"]), ("waiting", "mx"))
        [attempt] = found["attempts"]
        self.assertEqual(
            (attempt["event"], attempt["because"], attempt["destination"], attempt["code"]),
            ("delayed", "mx", "mx:slow.test", 451),
        )
        self.operated.run("queue", "hold", str(row["id"]))
        found = self.operated.json("explain", "--id", str(row["id"]))
        self.assertEqual([kept["event"] for kept in found["kept"]], ["held"])
        said = self.operated.run("explain", "--id", str(row["id"])).stdout
        self.assertIn("mx:slow.test", said)

    async def test_after_a_claim(self) -> None:
        """An attempt of what was claimed from the store says why, too."""
        await self.start()
        await self.operated.accept("a@slow.test")
        row = await self.operated.waiting("a@slow.test")
        self.operated.run("queue", "retry", str(row["id"]))

        def attempts() -> Any:
            found = self.operated.json("explain", "--id", str(row["id"]))["attempts"]
            return found if len(found) > 1 else None

        found = await self.operated.until(attempts)
        self.assertEqual([attempt["because"] for attempt in found], ["mx", "mx"])

    async def test_handed_off(self) -> None:
        """An application that answers at once."""
        endpoint = HandOffSettings("app", "http://127.0.0.1:1/", domains=["app.test"])
        await self.start(handoff=[endpoint])
        await self.operated.accept("a@app.test", "user@example.org")
        row = await self.operated.waiting("a@app.test")
        [attempt] = self.operated.json("explain", "--id", str(row["id"]))["attempts"]
        self.assertEqual(
            (attempt["because"], attempt["destination"]), ("handed_off", "handoff:app")
        )
