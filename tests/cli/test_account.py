"""``mailrelay account``: what an account is set to beside its login."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.cli.durations import duration_text, parse_duration
from mailrelay.cli.localserve import KEPT_FOR, Ports, local_settings, prepare
from mailrelay.control.directory import ADMIN_PASSWORD_HASH
from mailrelay.directory.credentials import check_password
from mailrelay.testing.factors import code_at
from tests.cli.operated import Operated, run

SECRET = "Bearer not-for-everybody"


class SettingsTests(TestCase):
    """Without a server, and beside one."""

    timeout = 60

    def secret_file(self, secret: str = SECRET) -> str:
        """A file whose first line is ``secret``."""
        path = Path(self.mktemp())
        path.write_text(f"{secret}\n")
        return str(path)

    async def stopped(self) -> Operated:
        """The store of a server that has ended."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        return operated

    async def test_everything(self) -> None:
        """What is set is shown, for programs and people; a secret is not."""
        operated = await self.stopped()
        operated.run(
            *("account", "set", "user", "--full-name", "A User", "--login-disabled"),
            *("--outgoing-webhook", "https://app.example.org/out"),
            *("--outgoing-authorization-file", self.secret_file()),
            *("--outgoing-events", "failed, delivered", "--outgoing-every-event"),
            *("--incoming-webhook", "http://127.0.0.1:8025/in"),
            *("--from-id-login", "user@example.org", "--from-id-login", "user+api@example.org"),
            *("--retired-kept-for", "72h", "--calls-kept-for", "1h30m"),
        )
        shown = operated.json("account", "show", "user")
        self.assertEqual(
            shown,
            {
                "name": "user",
                "full_name": "A User",
                "addresses": ["user@example.org"],
                "login": "disabled",
                "scram": True,
                "totp": False,
                "quota": None,
                "messages_per_day": None,
                "new_recipients_per_day": None,
                "from_id_logins": ["user+api@example.org", "user@example.org"],
                "retired_kept_for": 259200.0,
                "calls_kept_for": 5400.0,
                "forward": None,
                "used": 0,
                "sent_today": 0,
                "outgoing_webhook": {
                    "url": "https://app.example.org/out",
                    "authorization": True,
                    "events": ["delivered", "failed"],
                    "every_event": True,
                },
                "incoming_webhook": {"url": "http://127.0.0.1:8025/in", "authorization": False},
            },
        )
        text = operated.run("account", "show", "user").stdout
        for line in ("3d", "90m", "set, not shown", "delivered, failed", "A User", "every event"):
            self.assertIn(line, text)
        self.assertNotIn("not-for-everybody", text + str(shown))
        operated.run(
            *("account", "set", "user", "--no-from-id-logins", "--no-outgoing-webhook"),
            *("--retired-kept-for", "default", "--calls-kept-for", "0"),
        )
        shown = operated.json("account", "show", "user")
        kept = shown["retired_kept_for"], shown["calls_kept_for"]
        self.assertEqual(kept, (None, 0.0))
        self.assertEqual((shown["from_id_logins"], shown["outgoing_webhook"]), ([], None))
        self.assertIn("as the server's", operated.run("account", "show", "user").stdout)

    async def test_refused(self) -> None:
        """What cannot be is refused with its reason, and nothing is changed."""
        operated = await self.stopped()
        before = operated.json("account", "show", "user")
        for given, said in (
            (("--outgoing-webhook", "gopher://x/"), "http"),
            (("--outgoing-webhook", "https://x.example/", "--outgoing-events", "sent"), "sent"),
            (("--outgoing-events", "failed"), "no outgoing webhook"),
            (("--no-incoming-webhook",), "no incoming webhook"),
            (("--from-id-login", "other@example.org"), "no address of user"),
            (("--from-id-login", "user@example.org", "--no-from-id-logins"), "choose one"),
            (("--no-outgoing-webhook", "--outgoing-events", ""), "no other option"),
            (("--retired-kept-for", "9999d"), "3650 days"),
        ):
            result = operated.run("account", "set", "user", "--full-name", "X", *given, code=1)
            self.assertIn(said, result.stderr)
        operated.run("account", "set", "user", "--calls-kept-for", "soon", code=2)
        self.assertEqual(operated.json("account", "show", "user"), before)
        self.assertIn("no account", operated.run("account", "show", "nobody", code=1).stderr)

    async def test_lost_codes(self) -> None:
        """An operator has the pages ask for no code; that is audited, the secret nowhere told."""
        operated = await self.stopped()
        control = operated.server.control()
        self.addCleanup(control.close)
        account = (await control.directory.account("user")).account
        for whose in (account.id, None):
            proposal = control.second_factors.proposal(whose, "user")
            code = code_at(proposal.secret, time.time())
            await control.second_factors.turn_on(whose, proposal, code)
        self.assertTrue(operated.json("account", "show", "user")["totp"])
        said = operated.run("account", "show", "user").stdout + operated.run("export").stdout
        self.assertNotIn(proposal.secret, said)
        operated.run("account", "set", "user", "--no-totp")
        self.assertFalse(operated.json("account", "show", "user")["totp"])
        operated.run("admin", "set", "--no-totp")
        for whose in (account.id, None):
            self.assertIsNone(await control.second_factors.find(whose))
        for command in (("account", "set", "user"), ("admin", "set")):
            self.assertIn("no codes", operated.run(*command, "--no-totp", code=1).stderr)
        rows = operated.json("audit", "list", "--action", "second factor off")
        self.assertEqual([row["subject"] for row in rows], ["administrator", "user"])

    async def test_password_of_the_administrator(self) -> None:
        """Read from a file, and not too short."""
        operated = await self.stopped()
        control = operated.server.control()
        self.addCleanup(control.close)
        before = await control.directory.records.setting(ADMIN_PASSWORD_HASH)
        operated.run("admin", "set", "--password-file", self.secret_file("short"), code=1)
        self.assertIn("--no-totp", operated.run("admin", "set", code=1).stderr)
        self.assertEqual(await control.directory.records.setting(ADMIN_PASSWORD_HASH), before)
        operated.run("admin", "set", "--password-file", self.secret_file("a long password"))
        after = await control.directory.records.setting(ADMIN_PASSWORD_HASH)
        self.assertTrue(check_password(after, "a long password"))

    async def test_separator_that_is_needed(self) -> None:
        """A domain keeps its separator while FromIDs stand behind it."""
        operated = await self.stopped()
        operated.run("account", "set", "user", "--from-id-login", "user@example.org")
        change = ("domain", "set", "example.org", "--separator")
        self.assertIn("--no-from-id-logins", operated.run(*change, "", code=1).stderr)
        operated.run(*change, "-")
        operated.run("account", "set", "user", "--no-from-id-logins")
        operated.run(*change, "")

    async def test_running_server_keeps_as_long(self) -> None:
        """Retention that is set is the running server's, and that of what is dropped by command."""
        operated = await Operated.start(self, reactor)
        operated.run("account", "set", "user", "--retired-kept-for", "1000d")
        await operated.until(
            lambda: (
                [a.retired_kept_for for a in operated.server.server.directory.accounts.values()]
                == [86400000.0]
            )
        )
        await operated.submit("user@example.org", "a@slow.test")
        await operated.waiting("a@slow.test")
        operated.run("queue", "drop", "--recipient", "a@slow.test")
        rows = await operated.until(
            lambda: rows if len(rows := operated.json("retired", "list")) == 2 else None
        )
        for row in rows:
            kept = datetime.fromisoformat(row["kept_until"]) - datetime.fromisoformat(row["queued"])
            self.assertEqual(kept.days, 1000, row)

    def test_localserve(self) -> None:
        """Its account keeps messages and calls for three days."""
        data_dir = Path(self.mktemp())
        prepare(local_settings(data_dir.absolute(), ["127.0.0.1"], Ports()), None, None)
        shown = run(self, "account", "show", "mailrelay", "--dir", str(data_dir)).stdout
        self.assertEqual(KEPT_FOR, 259200.0)
        self.assertRegex(shown, r"retired_kept_for: +3d\ncalls_kept_for: +3d\n")


class DurationTests(SynchronousTestCase):
    """Durations, ours and Go's."""

    def test_read(self) -> None:
        """Units follow each other; a bare number is seconds."""
        for text, seconds in (
            ("72h", 259200.0),
            ("1h30m", 5400.0),
            ("1h0m0.5s", 3600.5),
            ("250ms", 0.25),
            ("2w", 1209600.0),
            ("15", 15.0),
            ("0", 0.0),
        ):
            self.assertEqual(parse_duration(text), seconds)
        for text in ("", "h", "1h30", "1 h", "-1h", "1e3s", "1h!", "٣h", "soon", "9" * 10):
            self.assertRaises(ValueError, parse_duration, text)

    def test_written(self) -> None:
        """What is written is read as the same, and is short."""
        for seconds, text in ((259200.0, "3d"), (5400.0, "90m"), (7200.0, "2h"), (2.5, "2.5s")):
            self.assertEqual(duration_text(seconds), text)
            self.assertEqual(parse_duration(text), seconds)
