"""``mailrelay webhook``, beside a running server and without one."""

from __future__ import annotations

from click import BadParameter
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.cli.webhook import RelativeTime
from mailrelay.control.calls import Relative
from tests.cli.operated import Operated


class WebhookTests(TestCase):
    """Each command."""

    timeout = 60

    async def stopped(self) -> Operated:
        """A store with one call of each kind of webhook, made by commands."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        operated.run(
            *("account", "set", "user", "--outgoing-webhook", "https://app.example.org/out"),
            *("--incoming-webhook", "https://app.example.org/in"),
        )
        operated.run("webhook", "test", "user", "outgoing", "--event", "failed")
        operated.run("webhook", "test", "user", "incoming")
        return operated

    async def test_list_and_filters(self) -> None:
        """Every filter narrows the list; pages follow each other."""
        operated = await self.stopped()
        first, second = operated.json("webhook", "list")
        self.assertEqual((first["event"], second["event"]), ("failed", "incoming"))
        self.assertEqual((first["state"], first["account"]), ("ready", "user"))
        both = [first["id"], second["id"]]
        for given, ids in (
            ((str(second["id"]),), both[1:]),
            (("--account", "user"), both),
            (("--account", "nobody"), []),
            (("--event", "incoming"), both[1:]),
            (("--submitted", ">-1h"), both),
            (("--submitted", "<-1h"), []),
            (("--next-attempt", "<now"), both),
            (("--next-attempt", ">now"), []),
            (("--retired",), []),
            (("--limit", "1"), both[:1]),
            (("--after", str(first["id"])), both[1:]),
        ):
            rows = operated.json("webhook", "list", *given)
            self.assertEqual([row["id"] for row in rows], ids, given)
        self.assertIn("https://app.example.org/out", operated.run("webhook", "list").stdout)
        operated.run("webhook", "list", "--submitted", "1h", code=2)

    async def test_show(self) -> None:
        """A call is shown with what it says and how its attempts went."""
        operated = await self.stopped()
        id_ = str(operated.json("webhook", "list", "--event", "failed")[0]["id"])
        operated.run("webhook", "cancel", id_)
        shown = operated.json("webhook", "show", id_)
        self.assertEqual((shown["payload"]["Event"], shown["state"]), ("failed", "canceled"))
        [attempt] = shown["tries"]
        self.assertEqual((attempt["code"], attempt["error"]), (0, "canceled by admin"))
        text = operated.run("webhook", "show", id_).stdout
        for part in ('"QueueMsgID": 123', "no answer", "canceled by admin"):
            self.assertIn(part, text)
        self.assertIn("no call 999", operated.run("webhook", "show", "999", code=1).stderr)

    async def test_changes(self) -> None:
        """Calls are scheduled, made sooner and canceled; a change names what it is for."""
        operated = await self.stopped()
        first, second = (str(row["id"]) for row in operated.json("webhook", "list"))
        said = operated.run("webhook", "schedule", "set", "2h", first).stdout
        self.assertIn("1 call scheduled", said)
        later = ("webhook", "list", "--next-attempt", ">1h")
        self.assertEqual([str(r["id"]) for r in operated.json(*later)], [first])
        self.assertEqual(len(operated.json("webhook", "schedule", "add", "90m", "--all")["ids"]), 2)
        self.assertEqual(len(operated.json(*later)), 2)
        self.assertEqual(len(operated.json("webhook", "retry", "--account", "user")["ids"]), 2)
        self.assertEqual(operated.json(*later), [])
        self.assertIn("1 call canceled", operated.run("webhook", "cancel", second).stdout)
        [row] = operated.json("webhook", "list", "--retired")
        self.assertEqual(str(row["id"]), second)
        self.assertIn(second, operated.run("webhook", "list", "--retired").stdout)
        for command in (("retry",), ("cancel",), ("schedule", "set", "1h")):
            self.assertIn("--all", operated.run("webhook", *command, code=1).stderr)
        operated.run("webhook", "schedule", "set", "9999d", first, code=1)

    async def test_test(self) -> None:
        """What is queued is printed; it needs a webhook and an event that there are."""
        operated = await self.stopped()
        told = operated.run("webhook", "test", "user", "outgoing").stdout
        self.assertIn('"Event":"delivered"', told)
        self.assertIn("mailrelay webhook show", told)
        made = operated.json("webhook", "test", "user", "incoming")
        self.assertEqual(made["payload"]["Meta"]["RemoteIP"], "192.0.2.1")
        operated.run("webhook", "test", "user", "outgoing", "--event", "sent", code=1)
        operated.run("account", "set", "user", "--no-incoming-webhook")
        self.assertIn(
            "--incoming-webhook", operated.run("webhook", "test", "user", "incoming", code=1).stderr
        )

    async def test_events_make_calls(self) -> None:
        """A running server learns of a webhook, and what becomes of mail makes a call."""
        operated = await Operated.start(self, reactor)
        operated.run("account", "set", "user", "--outgoing-webhook", "https://app.test/out")
        await operated.submit("a@slow.test")
        [row] = await operated.until(lambda: operated.json("webhook", "list", "--event", "delayed"))
        self.assertEqual(row["url"], "https://app.test/out")
        await operated.waiting("a@slow.test")
        operated.run("queue", "drop", "--recipient", "a@slow.test")
        [row] = operated.json("webhook", "list")
        self.assertEqual(row["event"], "canceled")
        [old] = operated.json("webhook", "list", "--retired")
        self.assertEqual((old["state"], old["superseded_by"]), ("superseded", row["id"]))


class RelativeTimeTests(SynchronousTestCase):
    """Times before and after now."""

    def test_read(self) -> None:
        """Before or after so long from now, or ago."""
        for text, expected in (
            ("<1h", Relative(True, 3600.0)),
            (">-30m", Relative(False, -1800.0)),
            ("<now", Relative(True, 0.0)),
            ("> 1h30m", Relative(False, 5400.0)),
        ):
            self.assertEqual(RelativeTime().convert(text, None, None), expected)
        for text in ("1h", "", "<", "<soon", ">--1h", "=1h"):
            self.assertRaises(BadParameter, RelativeTime().convert, text, None, None)
