"""``mailrelay export`` and ``apply``."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.storage.snapshot import SQLiteSnapshots
from tests.cli.operated import Operated

SECRETS = ("argon2id", "the-authorization", "15000$", "key_hash")

FILE = """\
[[domain]]
name = "example.org"

[[domain]]
name = "example.com"
separator = "-"

[[account]]
name = "user"
addresses = ["user@example.org"]

[[account]]
name = "anna"
full_name = "Anna"
addresses = ["Anna@example.com", "@example.com"]
password_file = "password"
quota_bytes = 1000
retired_kept_for = 86400

[account.outgoing_webhook]
url = "https://app.example/hook"
events = ["failed", "delivered"]
authorization = "the-authorization"

[[hold_rule]]
sender = ""
"""

LESS = """\
[[domain]]
name = "example.org"

[[account]]
name = "user"
addresses = ["user@example.org"]
"""

WRONG = """\
postmaster = "nobody"
everything = 1

[[domain]]
name = "example.org"
separator = "x"

[[domain]]
name = "EXAMPLE.org"

[[account]]
name = "anna"
quota_bytes = 99999999999999999999
"""

REFUSED = """\
postmaster = "nobody"

[[domain]]
name = "example.org"
separator = "x"

[[domain]]
name = "EXAMPLE.org"

[[account]]
name = "anna"
addresses = ["a@nowhere.example", "a"]
password_hash = "plain-text"
from_id_logins = ["bert@example.org"]

[account.incoming_webhook]
url = "ftp://x"

[[account]]
name = "bert"
password_file = "short"
scram_verifier = "x"

[[key]]
account = "carl"
name = "shop"
scopes = ["send"]
expires = 2026-01-01T00:00:00
key_hash = "00"

[[key]]
account = "anna"
name = "shop"
scopes = []

[[hold_rule]]

[[hold_rule]]
recipient = "@"
"""


class ApplyTests(TestCase):
    """The directory as a file."""

    timeout = 120

    def written(self, text: str) -> Path:
        """A file with ``text``, beside the passwords that it may name."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "password").write_text("long enough\n")
        (folder / "short").write_text("short\n")
        file = folder / "directory.toml"
        file.write_text(text)
        return file

    async def test_export(self) -> None:
        """It has secrets only when they are asked for, and is nobody else's to read."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        file = str(self.written(FILE))
        operated.run("apply", file)
        operated.run("key", "add", "anna", "--name", "shop")
        shown = operated.run("export").stdout
        for secret in SECRETS:
            self.assertNotIn(secret, shown)
        target = Path(self.mktemp())
        for exists in (False, True):
            if exists:
                target.chmod(0o644)
                target.write_text("x" * 100_000)
            result = operated.run("export", "--secrets", "--output", str(target))
            self.assertEqual(result.stdout, "")
            self.assertEqual(stat.S_IMODE(target.stat().st_mode), 0o600)
            self.assertEqual(target.read_text(), operated.run("export", "--secrets").stdout)
        for secret in SECRETS:
            self.assertIn(secret, target.read_text())
        for text in (shown, target.read_text()):
            result = operated.run("apply", str(self.written(text)), "--prune")
            self.assertEqual(result.stdout, "There is nothing to do.\n")

    async def test_running(self) -> None:
        """A server that runs takes mail for what was applied."""
        operated = await Operated.start(self, reactor)
        file = str(self.written(FILE))
        result = operated.run("apply", file)
        self.assertNotIn("no login", result.stdout)
        await operated.until(lambda: "example.com" in operated.server.server.directory.domains)
        await operated.accept("Anna-tag@example.com", "somebody@example.com")
        found = ("message", "list", "--account", "anna")
        await operated.until(lambda: len(operated.json(*found)) == 2)
        more = FILE + '[[account]]\nname = "bert"\n'
        noted = operated.run("apply", str(self.written(more)))
        self.assertIn("account bert gets no login", noted.stdout)

    async def test_shown(self) -> None:
        """What would change is shown, secrets masked; then it does, and then nothing is left."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        file = str(self.written(FILE))
        before = operated.run("export", "--secrets").stdout
        dry = operated.run("apply", file, "--dry-run")
        self.assertEqual(operated.run("export", "--secrets").stdout, before)
        planned = json.loads(operated.run("apply", file, "--dry-run", "--json").stdout)
        self.assertIs(planned["applied"], False)
        for secret in ("argon2id", "the-authorization", "long enough", "15000$"):
            self.assertNotIn(secret, dry.stdout + json.dumps(planned))
        self.assertIn("authorization: set", dry.stdout)
        done = json.loads(operated.run("apply", file, "--json").stdout)
        self.assertEqual([one["kind"] for one in done["changes"]].count("address"), 2)
        self.assertEqual(operated.run("apply", file).stdout, "There is nothing to do.\n")
        change = FILE.replace('full_name = "Anna"\n', "").replace("the-auth", "another")
        change = change.replace('"Anna@example.com", ', "").replace(
            '"user@', '"Anna@example.com", "user@'
        )
        shown = operated.run("apply", str(self.written(change))).stdout
        self.assertIn("full_name: Anna -> none", shown)
        self.assertIn("authorization: set -> another", shown)
        self.assertIn("account: anna -> user", shown)
        rows = operated.json("address", "list")
        self.assertEqual({r["address"]: r["account"] for r in rows}["anna@example.com"], "user")

    async def test_prune(self) -> None:
        """What is not in the file goes only when that is asked for, accounts not unasked."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        operated.run("apply", str(self.written(FILE)))
        file = str(self.written(LESS))
        kept = operated.run("apply", file).stdout
        self.assertIn("There is nothing to do.\n\nNot in the file; --prune removes:\n", kept)
        for what in ("domain   ", "account  ", "@example.com", "hold rule"):
            self.assertIn(what, kept)
        asked = operated.run("apply", file, "--prune", code=1)
        self.assertIn("accounts would be removed: anna: say --yes", asked.stderr)
        self.assertIn("anna", operated.run("account", "list").stdout)
        operated.run("apply", file, "--prune", "--yes")
        self.assertNotIn("anna", operated.run("account", "list").stdout)
        self.assertEqual([r["name"] for r in operated.json("domain", "list")], ["example.org"])
        self.assertEqual(operated.json("holdrule", "list"), [])
        database = operated.config.parent / "mailrelay.db"
        self.assertEqual(SQLiteSnapshots().findings(database, Path()), [])

    async def test_messages_stay(self) -> None:
        """An account with messages is not pruned, nor one that is the postmaster."""
        operated = await Operated.start(self, reactor)
        await operated.accept("user@example.org")
        await operated.until(lambda: operated.json("message", "list", "--account", "user"))
        await operated.stop()
        result = operated.run("apply", str(self.written("")), "--prune", "--yes", code=65)
        self.assertIn("account user would be removed and has messages", result.stderr)

    async def test_problems(self) -> None:
        """Everything that is wrong is told at once, with its line, and nothing is changed."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        before = operated.run("export", "--secrets").stdout
        for text, problems in (
            (WRONG, [(2, "everything", "unknown setting"), (13, "quota_bytes", "from 0 on")]),
            (
                REFUSED,
                [
                    (1, "postmaster", "no account nobody"),
                    (5, "domain[1].separator", "is no separator"),
                    (8, "domain[2].name", "is that of domain[1], too"),
                    (12, "addresses[1]", "no domain nowhere.example"),
                    (12, "addresses[2]", "is no address"),
                    (13, "password_hash", "is no argon2id hash"),
                    (16, "incoming_webhook", "no URL"),
                    (21, "password_file", "at least 8 characters"),
                    (22, "scram_verifier", "goes with password_hash"),
                    (25, "key[1].account", "no account carl"),
                    (28, "expires", "no zone"),
                    (29, "key_hash", "goes with scram_verifier"),
                    (34, "scopes", "at least one scope"),
                    (36, "hold_rule[1]", "everything = true"),
                    (39, "hold_rule[2].recipient", "neither a domain nor an address"),
                ],
            ),
            ("a = 1\nb = \n", [(2, "", "is not TOML")]),
        ):
            file = self.written(text)
            said = operated.run("apply", str(file), code=65).stderr
            for line, place, what in problems:
                pattern = rf"(?m)^{file}: line {line}: .*{re.escape(place)}.*{re.escape(what)}"
                self.assertRegex(said, pattern)
            self.assertNotIn("plain-text", said)
        self.assertEqual(operated.run("export", "--secrets").stdout, before)
        operated.run("apply", str(file.parent / "missing.toml"), code=65)
