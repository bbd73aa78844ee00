"""Aliases on a whole server, by SMTP and by the API, with another server as relay host."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.config.transports import RelayHostSection
from mailrelay.control.aliases import AliasDetails
from mailrelay.control.directory import AccountDetails
from mailrelay.control.mailbox import MessageFilter
from mailrelay.control.queue import EntryFilter
from mailrelay.directory.aliases import OnDisabled
from mailrelay.net.tls import TLSLevel
from mailrelay.service.controls import Control
from mailrelay.testing.loopback import USER, Loopback
from mailrelay.testing.scripted_server import Answers, ScriptedServer, polite
from tests.integration.webapi.api import API
from tests.integration.webapi.v1.client import Client
from tests.integration.world import accepted, soon, start_world, until

LIST, OTHER = "list@example.org", "other@example.org"
STRANGER = "stranger@client.test"


@frozen
class Place:
    """A server with an alias, its operator, and the world outside."""

    server: Loopback
    control: Control
    outside: ScriptedServer

    async def alias(self, address: str, *members: str, **details: Any) -> None:
        """Make an alias that the server knows."""
        await self.control.aliases.add(address, members, AliasDetails(**details))
        localpart, _, domain = address.partition("@")
        key = (localpart, domain)
        await until(reactor, lambda: key in self.server.server.directory.aliases)

    async def change(self, address: str, **details: Any) -> None:
        """Change an alias, and wait until the server knows."""
        await self.control.aliases.set(address, AliasDetails(**details))
        wanted = await self.control.aliases.alias(address)
        await until(reactor, lambda: wanted in self.server.server.directory.aliases.values())

    async def post(self, *recipients: str, author: str = STRANGER) -> list[bytes]:
        """The replies to RCPT, and the last one, to a message From ``author``."""
        replies = await self.server.say(
            b"EHLO client.test",
            b"MAIL FROM:<%s>" % STRANGER.encode(),
            *(b"RCPT TO:<%s>" % one.encode() for one in recipients),
            b"DATA",
            b"From: %s\r\nSubject: hello\r\n\r\nhi\r\n." % author.encode(),
        )
        return [reply.rstrip() for reply in (*replies[3:-2], replies[-1])]

    async def kept(self, count: int) -> list[tuple[str, str, str]]:
        """Account, envelope recipient and subject of all that is in mailboxes, ``count`` at last.

        Nothing more may come: the queue is empty then.
        """
        found: Any = []
        while len(found) < count or await self.waits():
            found = await self.control.messages.find(MessageFilter())
            await soon(reactor, 0.02)
        found = await self.control.messages.find(MessageFilter())
        return sorted((account, one.recipient, one.subject) for account, one in found)

    async def waits(self) -> bool:
        """Whether anything is in the queue."""
        return bool(await self.control.queue.find(EntryFilter()))

    async def gone(self) -> list[str]:
        """The envelopes that went out, once the queue is empty."""
        while await self.waits():
            await soon(reactor, 0.02)
        lines = [line.decode() for line in self.outside.lines]
        return [line for line in lines if line.startswith(("MAIL", "RCPT"))]


class AliasTests(TestCase):
    """The rules, one by one."""

    timeout = 120

    async def place(self, **answers: Answers) -> Place:
        """Start it."""
        outside = await ScriptedServer.start(self, reactor, polite(**answers))
        server = await start_world(
            self,
            reactor,
            roles=("mx", "submission", "http"),
            relay_host=RelayHostSection("127.0.0.1", outside.port, tls=TLSLevel.NONE),
        )
        control = server.control()
        self.addCleanup(control.close)
        return Place(server, control, outside)

    async def test_one_copy_each(self) -> None:
        """Members get one, with the alias as recipient; an external one is sent for by the owner.

        A stranger needs no right to relay for that.
        """
        place = await self.place()
        await place.alias("inner@example.org", OTHER, "full@example.org")
        members = (USER, "inner@example.org", OTHER, "ann@example.net")
        await place.alias("list@example.org", *members, post_public=True, owner=USER)
        replies = await place.post("List+x@example.org")
        self.assertEqual([reply[:9] for reply in replies], [b"250 2.1.5", b"250 2.0.0"])
        expected = [(name, "List+x@example.org", "hello") for name in ("full", "other", "user")]
        self.assertEqual(await place.kept(3), expected)
        envelope = await place.gone()
        self.assertEqual(envelope[0].split()[1], f"FROM:<{USER}>")
        self.assertEqual(envelope[1].split()[1], "TO:<ann@example.net>")
        self.assertEqual(len(envelope), 2)
        [(_, one), *_] = await place.control.messages.find(MessageFilter())
        content = await place.control.messages.content(one.id)
        self.assertIn(b"Delivered-To: List+x@example.org\r\n", content)
        [sent] = place.outside.contents
        self.assertNotIn(b"List-", sent)

    async def test_no_owner(self) -> None:
        """Without an owner nobody is told of failures elsewhere."""
        place = await self.place(RCPT=b"550 5.1.1 no such user")
        await place.alias(LIST, "ann@example.net", USER, post_public=True)
        await place.post(LIST)
        self.assertEqual(await place.kept(1), [("user", LIST, "hello")])
        envelope = await place.gone()
        self.assertEqual(envelope[0].split()[1], "FROM:<>")
        self.assertEqual(len(envelope), 2)

    async def test_owner_gets_failures(self) -> None:
        """The owner is told who could not be reached; the sender is told nothing."""
        place = await self.place(RCPT=b"550 5.1.1 no such user")
        await place.alias(LIST, "ann@example.net", post_public=True, owner=OTHER)
        await place.post(LIST)
        [(account, recipient, subject)] = await place.kept(1)
        self.assertEqual((account, recipient), ("other", OTHER))
        self.assertIn("failed", subject.lower())
        [(_, one)] = await place.control.messages.find(MessageFilter())
        content = await place.control.messages.content(one.id)
        self.assertIn(b"ann@example.net", content)
        self.assertEqual(len(await place.gone()), 2)

    async def test_no_second_copy(self) -> None:
        """Who is named too, or wrote it, gets one or none."""
        place = await self.place()
        await place.alias(LIST, USER, OTHER, "full@example.org")
        await place.post(LIST, "user+x@example.org", author="Other+y@example.org")
        expected = [("full", LIST, "hello"), ("user", "user+x@example.org", "hello")]
        self.assertEqual(await place.kept(2), expected)

    async def test_author_alone(self) -> None:
        """An alias of nobody but the author takes the message, and gives it to nobody."""
        place = await self.place()
        await place.alias(LIST, OTHER)
        replies = await place.post(LIST, author=OTHER)
        self.assertEqual(replies[-1][:9], b"250 2.0.0")
        self.assertEqual(await place.kept(0), [])
        self.assertEqual(await place.gone(), [])

    async def test_who_may_post(self) -> None:
        """Strangers at the end of the content, when nobody else takes the message."""
        place = await self.place()
        await place.alias(LIST, USER)
        refused = b"550 5.7.2 not allowed to send to destination"
        self.assertEqual((await place.post(LIST))[-1], refused)
        self.assertEqual((await place.post(LIST, author=LIST))[-1], refused)
        self.assertEqual(accepted(place.server), 0)
        await place.change(LIST, posters=[STRANGER])
        self.assertEqual((await place.post(LIST))[-1][:3], b"250")
        self.assertEqual(await place.kept(1), [("user", LIST, "hello")])

    async def test_some_may_not_post(self) -> None:
        """What one recipient refuses is reported when another takes it."""
        place = await self.place()
        await place.alias(LIST, USER)
        self.assertEqual((await place.post(LIST, OTHER))[-1][:3], b"250")
        self.assertEqual(await place.kept(1), [("other", OTHER, "hello")])
        envelope = await place.gone()
        self.assertEqual(envelope[0].split()[1], "FROM:<>")
        self.assertEqual(envelope[1].split()[1], f"TO:<{STRANGER}>")
        [report] = place.outside.contents
        self.assertIn(b"5.7.2", report)
        self.assertIn(b"Final-Recipient: rfc822; list@example.org", report)
        self.assertNotIn(USER.encode(), report.partition(b"Final-Recipient")[2])

    async def test_disabled(self) -> None:
        """Each answer of a disabled alias."""
        place = await self.place()
        await place.alias(LIST, USER, post_public=True, disabled=True)
        self.assertEqual((await place.post(LIST, OTHER))[0][:9], b"550 5.2.1")
        await place.change(LIST, on_disabled=OnDisabled.DEFER)
        self.assertEqual((await place.post(LIST, OTHER))[0][:9], b"450 4.2.1")
        await place.change(LIST, on_disabled=OnDisabled.DROP)
        self.assertEqual([one[:3] for one in await place.post(LIST)], [b"250", b"250"])
        kept = await place.kept(2)
        self.assertEqual(kept, [("other", OTHER, "hello")] * 2)
        self.assertEqual(await place.gone(), [])

    async def test_any_member(self) -> None:
        """Taken when one member can take it, else the first one's verdict is the answer."""
        place = await self.place()
        await place.alias(LIST, "full@example.org", OTHER, post_public=True)
        await place.control.directory.remove_address("full@example.org")
        gone = ("full", "example.org")
        await until(reactor, lambda: gone not in place.server.server.directory.addresses)
        await place.post(LIST)
        self.assertEqual(await place.kept(1), [("other", LIST, "hello")])
        await place.control.directory.remove_address(OTHER)
        gone = ("other", "example.org")
        await until(reactor, lambda: gone not in place.server.server.directory.addresses)
        self.assertEqual((await place.post(LIST, USER))[0][:9], b"550 5.1.1")

    async def test_all_over_quota(self) -> None:
        """Refused for now when nobody has room; one who has is enough."""
        place = await self.place()
        for name, quota in (("user", 10), ("other", 20)):
            await place.control.directory.set_account(name, AccountDetails(quota_bytes=quota))
        await until(
            reactor,
            lambda: 20 in [a.quota_bytes for a in place.server.server.directory.accounts.values()],
        )
        await place.alias(LIST, USER, OTHER, post_public=True)
        full = b"452 4.2.2 no mailbox behind the alias has room"
        self.assertEqual((await place.post(LIST))[-1], full)
        self.assertEqual(accepted(place.server), 0)
        await place.control.aliases.add_members(LIST, ["full@example.org"])
        key = ("list", "example.org")
        await until(reactor, lambda: len(place.server.server.directory.aliases[key].members) == 3)
        self.assertEqual((await place.post(LIST))[-1][:3], b"250")

    async def test_send_as_the_alias(self) -> None:
        """Members may, in MAIL FROM and From, when the alias allows it."""
        place = await self.place()
        await place.alias(LIST, USER)
        client = Client(API(place.server))
        letter = {"from": {"address": LIST}, "to": [{"address": OTHER}], "text": "hi"}
        refused = await client.ask("POST", "/messages", letter)
        self.assertEqual(refused.status, 403, refused)
        await place.change(LIST, allow_from=True)
        taken = await client.ask("POST", "/messages", {**letter, "subject": "as the list"})
        self.assertEqual(taken.status, 202, taken)
        self.assertEqual(await place.kept(1), [("other", OTHER, "as the list")])
        [(_, one)] = await place.control.messages.find(MessageFilter())
        self.assertEqual(one.reverse_path, LIST)

    async def test_reports_to_the_alias(self) -> None:
        """A report of what was sent as the alias comes to its members."""
        place = await self.place(RCPT=b"550 5.1.1 no such user")
        await place.alias(LIST, USER, OTHER, allow_from=True)
        client = Client(API(place.server))
        letter = {"from": {"address": LIST}, "to": [{"address": "ann@example.net"}], "text": "hi"}
        self.assertEqual((await client.ask("POST", "/messages", letter)).status, 202)
        found = await place.kept(2)
        self.assertEqual([one[:2] for one in found], [("other", LIST), ("user", LIST)])

    async def test_sender_is_not_told_of_members(self) -> None:
        """Answer, history and events of an account's message have the alias in place of them."""
        place = await self.place(RCPT=b"550 5.1.1 no such user")
        await place.alias(LIST, OTHER, "full@example.org", "ann@example.net", post_public=True)
        client = Client(API(place.server))
        letter = {"from": {"address": USER}, "to": [{"address": LIST}], "text": "hi"}
        sent = await client.ask("POST", "/messages", letter)
        self.assertEqual([one["recipient"] for one in sent.json["entries"]], [LIST])
        await place.kept(2)
        id_ = sent.json["id"]
        message = await client.ask("GET", f"/messages/{id_}")
        self.assertEqual([one["recipient"] for one in message.json["entries"]], [LIST, LIST])
        for path in (f"/messages/{id_}/timeline", "/events", "/messages?recipient=ann@example.net"):
            answer = await client.ask("GET", path)
            self.assertEqual(answer.status, 200, answer)
            for member in ("ann@", "other@", "full@"):
                self.assertNotIn(member.encode(), answer.body, path)
        both = await client.http.send(To=[{"Address": LIST}, {"Address": OTHER}])
        self.assertEqual([one["Address"] for one in both["Submissions"]], [LIST, OTHER])
