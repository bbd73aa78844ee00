"""``mailrelay webhook endpoint``."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.webhooks.signature import key_of
from tests.cli.operated import Operated

URL = "https://app.example.org/hook"


class EndpointTests(TestCase):
    """Each command."""

    timeout = 60

    async def stopped(self) -> Operated:
        """A store, and no server."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        return operated

    async def test_life(self) -> None:
        """An endpoint is made, listed, shown, changed and removed."""
        operated = await self.stopped()
        command = ("webhook", "endpoint")
        events = ("--event", "failed", "--event", "incoming")
        given = ("--name", "app", "--url", URL, "--tag", "a", *events)
        made = operated.json(*command, "add", "user", *given)
        id_ = str(made["id"])
        self.assertEqual(len(key_of(made["secret"])), 32)
        [listed] = operated.json(*command, "list", "--account", "user")
        self.assertEqual({**listed, "secret": made["secret"]}, made)
        self.assertEqual((listed["events"], listed["tags"]), (["failed", "incoming"], ["a"]))
        self.assertNotIn(made["secret"], operated.run(*command, "list").stdout)
        self.assertIn(URL, operated.run(*command, "list").stdout)
        self.assertIn(made["secret"], operated.run(*command, "show", id_).stdout)
        changed = operated.json(*command, "set", id_, "--most-together", "9", "--all-events")
        self.assertEqual(
            (changed["most_together"], changed["events"], changed["tags"]), (9, [], ["a"])
        )
        said = operated.run(*command, "set", id_, "--name", "b", "--all-tags").stdout
        self.assertEqual(said, f"Endpoint {id_} is changed.\n")
        self.assertIn("removed", operated.run(*command, "remove", id_).stdout)
        self.assertEqual(operated.run(*command, "list").stdout, "No endpoints.\n")

    async def test_secrets(self) -> None:
        """A secret is replaced; the one before is shown with its end."""
        operated = await self.stopped()
        command = ("webhook", "endpoint")
        said = operated.run(*command, "add", "user", "--name", "a", "--url", URL).stdout
        [id_] = [str(one["id"]) for one in operated.json(*command, "list")]
        first = said.splitlines()[1]
        second = operated.json(*command, "rotate", id_)["secret"]
        shown = operated.json(*command, "show", id_)["secrets"]
        self.assertEqual([one["secret"] for one in shown], [second, first])
        self.assertEqual([one["signs_until"] is None for one in shown], [True, False])
        self.assertIn(" until 2", operated.run(*command, "show", id_).stdout)
        third = operated.run(*command, "rotate", id_, "--keep", "0s").stdout.splitlines()[1]
        shown = operated.json(*command, "show", id_)["secrets"]
        self.assertEqual([one["secret"] for one in shown], [third])
        operated.run(*command, "rotate", id_, "--keep", "31d", code=1)

    async def test_example(self) -> None:
        """An example is queued, and shown as calls are."""
        operated = await self.stopped()
        command = ("webhook", "endpoint")
        made = operated.json(*command, "add", "user", "--name", "a", "--url", URL)
        id_ = str(made["id"])
        tested = operated.json(*command, "test", id_, "--event", "failed")
        self.assertEqual(tested["payload"]["type"], "message.failed")
        self.assertIn("is queued", operated.run(*command, "test", id_).stdout)
        shown = operated.json("webhook", "show", str(tested["id"]))
        self.assertEqual((shown["payload"], shown["url"]), (tested["payload"], URL))
        self.assertEqual(operated.json(*command, "enable", id_)["disabled"], None)
        self.assertIn("enabled", operated.run(*command, "enable", id_).stdout)

    async def test_mistakes(self) -> None:
        """What is wrong is said, and what to do."""
        operated = await self.stopped()
        command = ("webhook", "endpoint")
        for given in (
            ("add", "user", "--name", "a"),
            ("add", "user", "--name", "a", "--url", "ftp://x/"),
            ("add", "user", "--name", "a", "--url", URL, "--most-at-once", "0"),
            ("add", "nobody", "--name", "a", "--url", URL),
            *((verb, "999") for verb in ("show", "set", "remove", "rotate", "enable", "test")),
        ):
            result = operated.run(*command, *given, code=1)
            self.assertTrue(result.stderr.startswith("mailrelay: "), given)
