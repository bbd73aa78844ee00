"""``mailrelay domain``, ``account`` and ``address``."""

from __future__ import annotations

import base64
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.testing.loopback import PASSWORD
from tests.cli.operated import Operated, soon


class DirectoryTests(TestCase):
    """Without a server, and beside one."""

    timeout = 60

    def password_file(self, password: str) -> str:
        """A file whose first line is ``password``."""
        path = Path(self.mktemp())
        path.write_text(f"{password}\nsomething else\n")
        return str(path)

    async def stopped(self) -> Operated:
        """The store of a server that has ended."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        return operated

    async def test_domains(self) -> None:
        """A domain is added, changed and removed; what makes no sense is refused."""
        operated = await self.stopped()
        operated.run("domain", "add", "Bücher.example", "--separator", "-")
        operated.run("domain", "add", "bücher.example", code=1)
        rows = {row["shown"]: row for row in operated.json("domain", "list")}
        self.assertEqual(set(rows), {"example.org", "bücher.example"})
        self.assertEqual(rows["bücher.example"]["separator"], "-")
        self.assertEqual(rows["example.org"]["addresses"], 1)
        operated.run("address", "add", "a_b@bücher.example", "user")
        refused = operated.run("domain", "set", "bücher.example", "--separator", "_", code=1)
        self.assertIn("a_b@xn--bcher-kva.example has '_' in it", refused.stderr)
        operated.run("address", "remove", "a_b@bücher.example")
        operated.run("domain", "set", "bücher.example", "--disabled", "--separator", "")
        operated.run("domain", "set", "bücher.example", "--dmarc", "quarantine")
        operated.run("domain", "set", "bücher.example", "--mta-sts", "testing")
        [row] = [r for r in operated.json("domain", "list") if r["name"] != "example.org"]
        self.assertEqual((row["disabled"], row["separator"]), (True, ""))
        self.assertEqual((row["dmarc"], row["mta_sts"]), ("quarantine", "testing"))
        operated.run("domain", "set", "bücher.example", code=1)
        operated.run("domain", "remove", "bücher.example")
        operated.run("domain", "remove", "bücher.example", code=1)
        in_use = operated.run("domain", "remove", "example.org", code=1)
        self.assertIn("1 addresses", in_use.stderr)

    async def test_accounts(self) -> None:
        """An account is added with its limits, changed, and removed once nothing is its own."""
        operated = await self.stopped()
        file = self.password_file("long enough")
        limits = ("--quota", "1000", "--messages-per-day", "5")
        operated.run("account", "add", "alice", "--password-file", file, *limits)
        operated.run("address", "add", "alice@example.org", "alice")
        [row] = [r for r in operated.json("account", "list") if r["name"] == "alice"]
        self.assertEqual((row["quota"], row["messages_per_day"], row["scram"]), (1000, 5, True))
        self.assertEqual(row["addresses"], ["alice@example.org"])
        operated.run("account", "set", "alice", "--quota", "0", "--login-disabled", "--no-scram")
        [row] = [r for r in operated.json("account", "list") if r["name"] == "alice"]
        self.assertEqual((row["quota"], row["login"], row["scram"]), (None, "disabled", False))
        operated.run("account", "remove", "alice", code=1)
        operated.run("address", "remove", "alice@example.org")
        operated.run("account", "remove", "alice")
        self.assertEqual([r["name"] for r in operated.json("account", "list")], ["user"])

    async def test_change_of_limits_keeps_the_verifier(self) -> None:
        """Changing a quota alone leaves password and SCRAM verifier as they are."""
        operated = await self.stopped()
        operated.run("account", "set", "user", "--quota", "5000")
        [row] = operated.json("account", "list")
        self.assertEqual((row["quota"], row["scram"]), (5000, True))

    async def test_passwords_are_not_taken_from_nowhere(self) -> None:
        """Without a terminal a password comes from a file; short and empty ones do not."""
        operated = await self.stopped()
        operated.run("account", "add", "alice", code=1)
        for password in ("", "short"):
            file = self.password_file(password)
            operated.run("account", "add", "alice", "--password-file", file, code=1)
        operated.run("account", "add", "alice", "--password-file", "-", given="from a pipe\n")
        self.assertEqual(len(operated.json("account", "list")), 2)

    async def test_addresses(self) -> None:
        """Addresses are normalised as they will be matched; what is no address is refused."""
        operated = await self.stopped()
        operated.run("address", "add", "Info@Example.ORG", "user")
        operated.run("address", "add", "@example.org", "user")
        rows = [r["address"] for r in operated.json("address", "list", "--account", "user")]
        self.assertEqual(rows, ["@example.org", "info@example.org", "user@example.org"])
        for wrong in ("nonsense", "a@unknown.example", "info+x@example.org", "info@example.org"):
            operated.run("address", "add", wrong, "user", code=1)
        operated.run("address", "add", "new@example.org", "nobody", code=1)
        operated.run("address", "remove", "info@example.org")
        operated.run("address", "remove", "info@example.org", code=1)

    async def test_running_server_takes_mail_for_a_new_domain(self) -> None:
        """A domain and an address that are added are known to the running server soon."""
        operated = await Operated.start(self, reactor)
        operated.run("domain", "add", "new.example")
        operated.run("address", "add", "a@new.example", "user")
        await operated.until(lambda: "new.example" in operated.server.server.directory.domains)
        await operated.accept("a@new.example")
        [message] = await operated.until(lambda: operated.json("message", "list"))
        self.assertEqual((message["account"], message["to"]), ("user", "a@new.example"))

    async def test_running_server_takes_a_new_password(self) -> None:
        """After a change only the new password logs in, though the old one was checked before."""
        operated = await Operated.start(self, reactor)
        self.assertEqual(await self.login(operated, PASSWORD), b"235")
        operated.run(
            "account", "set", "user", "--password-file", self.password_file("a new password")
        )
        while await self.login(operated, "a new password") != b"235":
            await soon(reactor)
        self.assertEqual(await self.login(operated, PASSWORD), b"535")

    async def login(self, operated: Operated, password: str) -> bytes:
        """The code that AUTH PLAIN is answered with, over TLS."""
        client = await operated.server.connect("submission")
        await client.reply()
        await client.ask(b"EHLO client.test")
        self.assertEqual((await client.ask(b"STARTTLS"))[:3], b"220")
        client.start_tls()
        await client.ask(b"EHLO client.test")
        plain = base64.b64encode(f"\0user@example.org\0{password}".encode())
        return (await client.ask(b"AUTH PLAIN " + plain))[:3]
