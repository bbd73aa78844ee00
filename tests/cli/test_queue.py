"""``mailrelay queue`` and ``retired``, beside a running server and without one."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.cli.operated import Operated

TRANSPORT = """
[[transport]]
name = "away"
fail = {smtp_code = 450, smtp_message = "not now"}
"""


class StoppedTests(TestCase):
    """Each command on the store of a server that is stopped."""

    timeout = 60

    async def stopped(self) -> Operated:
        """A store in which two entries wait, made by a server that has ended."""
        operated = await Operated.start(self, reactor)
        await operated.accept("a@slow.test", "b@other.test")
        await operated.waiting("a@slow.test")
        await operated.waiting("b@other.test")
        await operated.stop()
        return operated

    async def test_list_and_filters(self) -> None:
        """Every filter narrows the list to what fits it, and a negated one to nothing."""
        operated = await self.stopped()
        first, second = operated.json("queue", "list")
        self.assertEqual((first["recipient"], second["recipient"]), ("a@slow.test", "b@other.test"))
        self.assertEqual((first["sender"], first["attempts"]), ("sender@client.test", 1))
        for given, ids in (
            ((str(first["id"]),), [first["id"]]),
            (("--recipient", "b@"), [second["id"]]),
            (("--domain", "slow.test"), [first["id"]]),
            (("--sender", "client"), [first["id"], second["id"]]),
            (("--sender", ""), []),
            (("--account", "user"), []),
            (("--held",), []),
            (("--not-held",), [first["id"], second["id"]]),
            (("--older-than", "1h"), []),
            (("--newer-than", "1h"), [first["id"], second["id"]]),
            (("--limit", "1"), [first["id"]]),
            (("--after", str(first["id"])), [second["id"]]),
        ):
            self.assertEqual(
                [row["id"] for row in operated.json("queue", "list", *given)], ids, given
            )
        table = operated.run("queue", "list").stdout
        self.assertIn("a@slow.test", table)

    async def test_show(self) -> None:
        """An entry's history has its acceptance and its attempt, for programs and for people."""
        operated = await self.stopped()
        row = operated.json("queue", "list", "--domain", "slow.test")[0]
        history = operated.json("queue", "show", str(row["id"]))
        self.assertEqual(history["id"], row["id"])
        self.assertEqual(history["events"][0]["event"], "accepted")
        self.assertGreater(len(history["events"]), 1)
        self.assertIn("a@slow.test", operated.run("queue", "show", str(row["id"])).stdout)
        self.assertIn("no entry 99", operated.run("queue", "show", "99", code=1).stderr)

    async def test_hold_and_release(self) -> None:
        """Held entries are listed as held until they are released."""
        operated = await self.stopped()
        held = operated.json("queue", "hold", "--domain", "slow.test")["ids"]
        self.assertEqual([r["id"] for r in operated.json("queue", "list", "--held")], held)
        self.assertIn("1 entry released.", operated.run("queue", "release", "--all").stdout)
        self.assertEqual(operated.json("queue", "list", "--held"), [])

    async def test_retry(self) -> None:
        """What is to be retried is due now."""
        operated = await self.stopped()
        before = operated.json("queue", "list", "--domain", "slow.test")[0]["next_attempt"]
        operated.run("queue", "retry", "--domain", "slow.test")
        after = operated.json("queue", "list", "--domain", "slow.test")[0]["next_attempt"]
        self.assertLess(after, before)

    async def test_drop(self) -> None:
        """A dropped entry is retired, and its sender gets no DSN."""
        operated = await self.stopped()
        none = operated.run("queue", "drop", "--domain", "nowhere.test").stdout
        self.assertIn("0 entries dropped.\nNone fits", none)
        [id_] = operated.json("queue", "drop", "--domain", "slow.test")["ids"]
        self.assertEqual([r["recipient"] for r in operated.json("queue", "list")], ["b@other.test"])
        [row] = operated.json("retired", "list")
        self.assertEqual(row["id"], id_)
        self.assertIn("a@slow.test", operated.run("retired", "list").stdout)

    async def test_fail(self) -> None:
        """A failed entry is retired as failed, and a DSN to its sender waits in the queue."""
        operated = await self.stopped()
        [id_] = operated.json("queue", "fail", "--domain", "slow.test")["ids"]
        [row] = operated.json("retired", "list")
        self.assertEqual((row["id"], row["state"]), (id_, "failed"))
        self.assertEqual(operated.json("retired", "list", "--outcome", "failed"), [row])
        self.assertEqual(operated.json("retired", "list", "--outcome", "delivered"), [])
        [report] = operated.json("queue", "list", "--sender", "")
        self.assertEqual((report["sender"], report["recipient"]), ("<>", "sender@client.test"))

    async def test_destinations(self) -> None:
        """What waits, by domain, with what was said last."""
        operated = await self.stopped()
        operated.run("queue", "hold", "--domain", "slow.test")
        first, second = operated.json("queue", "destinations")
        self.assertEqual((first["domain"], first["waiting"], first["held"]), ("other.test", 1, 0))
        self.assertEqual((second["domain"], second["held"]), ("slow.test", 1))
        self.assertIsNone(second["next_attempt"])
        self.assertIn("451", first["said"])
        [row] = operated.json("queue", "destinations", "--limit", "1")
        self.assertEqual(row, first)
        self.assertIn("other.test", operated.run("queue", "destinations").stdout)

    async def test_works(self) -> None:
        """They are listed, shown and stopped beside a server, and without one."""
        operated = await self.stopped()
        self.assertEqual(operated.json("work", "list"), [])
        self.assertIn("no work 7", operated.run("work", "show", "7", code=1).stderr)
        self.assertIn("no work 7", operated.run("work", "stop", "7", code=1).stderr)

    async def test_transport(self) -> None:
        """An operator's choice is listed and shown, also when it is there no more."""
        operated = await self.stopped()
        before = operated.config.read_text()
        operated.config.write_text(before + TRANSPORT)
        for name, code in (("elsewhere", 1), ("away", 0)):
            result = operated.run(
                "queue", "set", "--transport", name, "--domain", "slow.test", code=code
            )
        self.assertEqual(result.stdout, "1 entry goes by away.\n")
        rows = operated.json("queue", "list")
        self.assertEqual([row["transport"] for row in rows], ["away", None])
        shown = str(rows[0]["id"])
        last = operated.json("queue", "show", shown)["events"][-1]
        self.assertEqual((last["event"], last["transport"]), ("rescheduled", "away"))
        missing = "not in the configuration any more"
        self.assertNotIn(missing, operated.run("queue", "show", shown).stdout)
        operated.config.write_text(before)
        self.assertIn(missing, operated.run("queue", "show", shown).stdout)
        ids = operated.json("queue", "set", "--transport", "default", "--all")["ids"]
        self.assertEqual(ids, [row["id"] for row in rows])
        self.assertIsNone(operated.json("explain", "--id", shown)["transport"])
        operated.run("queue", "set", "--transport", "default", code=1)

    async def test_nothing_named(self) -> None:
        """A change without ids and filters is refused: it would mean everything."""
        operated = await self.stopped()
        for command in ("hold", "release", "retry", "fail", "drop"):
            result = operated.run("queue", command, code=1)
            self.assertIn("--all", result.stderr)
        self.assertEqual(len(operated.json("queue", "list", "--not-held")), 2)


class RunningTests(TestCase):
    """A running server acts on what commands write, without being asked otherwise."""

    timeout = 60

    async def test_retry_and_release_are_attempted(self) -> None:
        """An entry is attempted again as soon as it is retried, or released from being held."""
        operated = await Operated.start(self, reactor)
        await operated.accept("a@slow.test")
        row = await operated.waiting("a@slow.test")
        id_ = str(row["id"])

        def attempts() -> int:
            return int(operated.json("queue", "list", id_)[0]["attempts"])

        operated.run("queue", "retry", id_)
        await operated.until(lambda: attempts() == 2)
        await operated.waiting("a@slow.test")
        operated.run("queue", "hold", id_)
        self.assertEqual(operated.json("queue", "list", id_)[0]["state"], "held")
        operated.run("queue", "release", id_)
        await operated.until(lambda: attempts() == 3)

    async def test_held_is_not_attempted(self) -> None:
        """While an entry is held others are attempted, and it is not, though it is due."""
        operated = await Operated.start(self, reactor)
        await operated.accept("a@slow.test", "b@other.test")
        held, other = await operated.waiting("a@"), await operated.waiting("b@")
        operated.run("queue", "retry", str(held["id"]))
        operated.run("queue", "hold", str(held["id"]))
        before = operated.json("queue", "list", str(held["id"]))[0]["attempts"]
        operated.run("queue", "retry", "--all")
        await operated.until(
            lambda: operated.json("queue", "list", str(other["id"]))[0]["attempts"] == 2
        )
        [row] = operated.json("queue", "list", str(held["id"]))
        self.assertEqual((row["state"], row["attempts"]), ("held", before))

    async def test_fail_sends_the_report(self) -> None:
        """The DSN of an entry that is failed by command is delivered by the running server."""
        operated = await Operated.start(self, reactor)
        replies = await operated.server.say(
            b"EHLO client.test",
            b"MAIL FROM:<user@example.org>",
            b"RCPT TO:<a@slow.test>",
            b"DATA",
            b"Subject: hello\r\n\r\nhi\r\n.",
        )
        self.assertEqual(replies[-1][:3], b"250")
        row = await operated.waiting("a@slow.test")
        operated.run("queue", "fail", str(row["id"]))
        [message] = await operated.until(lambda: operated.json("message", "list"))
        self.assertEqual((message["account"], message["from"]), ("user", "<>"))

    async def test_drop_leaves_the_others(self) -> None:
        """A dropped entry is attempted no more, while the rest goes on."""
        operated = await Operated.start(self, reactor)
        await operated.accept("a@slow.test", "b@other.test")
        dropped, other = await operated.waiting("a@"), await operated.waiting("b@")
        operated.run("queue", "drop", str(dropped["id"]))
        operated.run("queue", "retry", "--all")
        await operated.until(
            lambda: operated.json("queue", "list", str(other["id"]))[0]["attempts"] == 2
        )
        [row] = operated.json("retired", "list")
        self.assertEqual((row["id"], row["attempts"]), (dropped["id"], 1))
