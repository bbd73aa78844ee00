"""Forwarding on a whole server: what leaves it, what comes back, and what goes round."""

from __future__ import annotations

import base64
import re
from functools import partial
from typing import Any

from attrs import evolve, frozen
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.acceptance.passing import ForwardingSettings
from mailrelay.config.settings import ListenerSection, QueueSection
from mailrelay.config.transports import RelayHostSection
from mailrelay.control.aliases import AliasDetails
from mailrelay.control.mailbox import MessageFilter
from mailrelay.control.queue import EntryFilter
from mailrelay.directory.aliases import Alias, Rewrite
from mailrelay.mailauth.dkim import Algorithm
from mailrelay.net.tls import TLSLevel
from mailrelay.service.controls import Control
from mailrelay.testing.loopback import PASSWORD, USER, Loopback
from mailrelay.testing.scripted_server import Answers, ScriptedServer, polite
from mailrelay.web.settings import HTTPSettings
from tests.integration.webapi.api import API
from tests.integration.world import soon, start_world, until

LIST, OTHER = "list@example.org", "other@example.org"
MEMBER, AUTHOR = "secret@example.net", "ann@client.test"
SRS0 = r"^SRS0=[A-Z2-7]{16}=[A-Z2-7]{2}=client\.test=ann@example\.org$"
CONTENT = (
    b"Received: from far\r\nFrom: =?utf-8?q?Ann_M=C3=BCller?= <ann@client.test>\r\n"
    b"Reply-To: ann@home.test\r\nSubject: hello\r\nMessage-ID: <1@client.test>\r\n"
    b"DKIM-Signature: v=1\r\n\r\nhi\r\n\r\n"
)


@frozen
class Place:
    """A server with aliases, its operator, and the world outside."""

    server: Loopback
    control: Control
    outside: ScriptedServer

    async def alias(self, address: str, *members: str, **values: Any) -> None:
        """Make an alias, open to everybody, that the server knows."""
        await self.control.aliases.add(address, members, AliasDetails(post_public=True))
        localpart, _, domain = address.partition("@")
        key = (localpart, domain)
        await self.control.aliases.records.set("test", key, values or {"disabled": False})
        wanted = await self.control.aliases.alias(address)
        await until(reactor, lambda: wanted in self.server.server.directory.aliases.values())

    async def post(
        self, recipient: str, content: bytes = CONTENT, sender: str = AUTHOR
    ) -> list[bytes]:
        """The replies to RCPT and to the content of a stranger's message."""
        replies = await self.server.say(
            b"EHLO client.test",
            b"MAIL FROM:<%s>" % sender.encode(),
            b"RCPT TO:<%s>" % recipient.encode(),
            b"DATA",
            content + b".",
        )
        return [replies[3].rstrip(), replies[-1].rstrip()]

    async def submit(self, recipient: str, content: bytes) -> bytes:
        """The last reply to a message of ``user``, who logged in."""
        plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
        replies = await self.server.say(
            b"EHLO client.test",
            b"AUTH PLAIN " + plain,
            b"MAIL FROM:<%s>" % USER.encode(),
            b"RCPT TO:<%s>" % recipient.encode(),
            b"DATA",
            content + b".",
            role="submission",
        )
        return replies[-1].rstrip()

    async def gone(self, count: int = 1) -> list[tuple[str, str]]:
        """MAIL and RCPT of what went out, once the queue is empty."""
        while len(self.outside.contents) < count or await self.control.queue.find(EntryFilter()):
            await soon(reactor, 0.02)
        paths = [_path(line) for line in self.outside.lines if line[:4] in (b"MAIL", b"RCPT")]
        return list(zip(paths[::2], paths[1::2], strict=True))

    async def kept(self, count: int) -> list[tuple[str, bytes]]:
        """Account and content of what is in mailboxes."""
        found: Any = []
        while len(found) < count or await self.control.queue.find(EntryFilter()):
            await soon(reactor, 0.02)
            found = await self.control.messages.find(MessageFilter())
        messages = self.control.messages
        return [(account, await messages.content(one.id)) for account, one in found]


def _path(line: bytes) -> str:
    return line.partition(b"<")[2].partition(b">")[0].decode()


def report(recipient: str, *, delivered_to: str = LIST, more: bytes = b"") -> bytes:
    """A DSN as a member's server makes it, with everything that it knows."""
    return (
        b"From: mailer-daemon@example.net\r\nTo: <%s>\r\nSubject: failed\r\n"
        b"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        b"--b\r\n\r\n<%s>: mailbox of secret is full\r\n"
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        b"Reporting-MTA: dns; mx.example.net\r\n\r\n"
        b"Final-Recipient: rfc822; %s\r\nAction: failed\r\nStatus: 5.2.2\r\n"
        b"Diagnostic-Code: smtp; 552 5.2.2 <%s> is full\r\n\r\n"
        b"--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        b"Delivered-To: %s\r\nSubject: hello\r\nMessage-ID: <1@client.test>\r\n\r\n--b--\r\n%s"
    ) % (
        recipient.encode(),
        *(MEMBER.encode(),) * 3,
        delivered_to.encode(),
        more,
    )


async def start(
    case: TestCase,
    forwarding: Any = None,
    queue: Any = None,
    **answers: Answers,
) -> Place:
    """A server whose mail for others goes to one that answers so."""
    outside = await ScriptedServer.start(case, reactor, polite(**answers))
    server = await start_world(
        case,
        reactor,
        listener=[
            ListenerSection("mx", "tcp:0:interface=127.0.0.1"),
            ListenerSection("submission", "tcp:0:interface=127.0.0.1", auth_without_tls=True),
            ListenerSection("http", "tcp:0:interface=127.0.0.1", webapi=True),
        ],
        relay_host=RelayHostSection("127.0.0.1", outside.port, tls=TLSLevel.NONE),
        forwarding=forwarding or ForwardingSettings(),
        queue=queue or QueueSection(),
        http=HTTPSettings(public_url="https://mail.example.org"),
        hostname="mail.example.org",
    )
    control = server.control()
    case.addCleanup(control.close)
    return Place(server, control, outside)


class SRSTests(TestCase):
    """Aliases that rewrite the reverse-path."""

    timeout = 120

    async def test_there_and_back(self) -> None:
        """What leaves returns to the author, who does not learn where it went."""
        place = await start(self)
        await place.alias(LIST, MEMBER, rewrite=Rewrite.SRS)
        self.assertEqual((await place.post("List+tag@example.org"))[1][:3], b"250")
        [(path, recipient)] = await place.gone()
        self.assertRegex(path, SRS0)
        self.assertEqual(recipient, MEMBER)
        [sent] = place.outside.contents
        self.assertTrue(sent.startswith(b"Delivered-To: list@example.org\r\nReceived: "), sent)
        self.assertTrue(sent.endswith(CONTENT), sent)
        replies = await place.post(path.lower(), report(path), sender="")
        self.assertEqual(replies[1][:3], b"250", replies)
        self.assertEqual((await place.gone(2))[1], ("", AUTHOR))
        told = place.outside.contents[1]
        self.assertNotIn(b"secret", told)
        self.assertNotIn(b"example.net", told)
        self.assertIn(b"Final-Recipient: rfc822; list@example.org\r\n", told)
        self.assertIn(b"Status: 5.2.2\r\n", told)
        self.assertIn(b"References: <1@client.test>\r\n", told)

    async def test_too_many_reports(self) -> None:
        """A domain is told of so much an hour at once; then reports wait, in the end out there."""
        place = await start(self, queue=QueueSection(reports_per_hour=1))
        await place.alias(LIST, MEMBER, rewrite=Rewrite.SRS)
        await place.post(LIST)
        [(path, _)] = await place.gone()
        last = b""
        for _ in range(80):
            last = (await place.post(path, report(path), sender=""))[1]
            if last[:3] != b"250":
                break
        self.assertEqual(last[:9], b"451 4.7.1")
        waiting = await place.control.queue.find(EntryFilter())
        self.assertGreater(len(waiting), 50)
        now = place.server.server._s.now()
        dues = sorted(one.entry.next_attempt_at - now for one in waiting)
        self.assertGreater(dues[0], 3000.0)
        self.assertLess(dues[-1], 73 * 3600.0)

    async def test_refused_there(self) -> None:
        """A member's server that refuses at once: the author is told of the alias alone."""
        place = await start(self, RCPT=b"550 5.1.1 <secret@example.net> is unknown here")
        await place.alias(LIST, MEMBER, rewrite=Rewrite.SRS)
        account = USER  # one of ours, so that what is told stays here
        self.assertEqual((await place.post(LIST, sender=account))[1][:3], b"250")
        [(name, told)] = await place.kept(1)
        self.assertEqual(name, "user")
        self.assertIn(b"Final-Recipient: rfc822; list@example.org\r\n", told)
        self.assertIn(b"Status: 5.1.1\r\n", told)
        self.assertNotIn(b"secret", told)
        self.assertNotIn(b"Remote-MTA", told)

    async def test_owner(self) -> None:
        """With an owner it returns to the owner, who knows the members."""
        place = await start(self)
        await place.alias(LIST, MEMBER, rewrite=Rewrite.SRS)
        await place.control.aliases.set(LIST, AliasDetails(owner=OTHER))
        wanted = await place.control.aliases.alias(LIST)
        await until(reactor, lambda: wanted in place.server.server.directory.aliases.values())
        await place.post(LIST)
        self.assertEqual(await place.gone(), [(OTHER, MEMBER)])

    async def test_null(self) -> None:
        """The null reverse-path stays null, and a path that has no room in another becomes it."""
        place = await start(self)
        await place.alias(LIST, MEMBER, rewrite=Rewrite.SRS)
        await place.post(LIST, sender="")
        await place.post(LIST, sender="a" * 50 + "@" + "client." * 25 + "test")
        self.assertEqual(await place.gone(2), [("", MEMBER)] * 2)

    async def test_no_relay(self) -> None:
        """A rewritten address takes reports of failures, alone and from the null path."""
        place = await start(self)
        await place.alias(LIST, MEMBER, rewrite=Rewrite.SRS)
        await place.post(LIST)
        [(path, _)] = await place.gone()
        self.assertEqual((await place.post(path))[0][:9], b"550 5.7.1")
        forged = path.replace("ann@", "bob@")
        self.assertEqual((await place.post(forged, sender=""))[0], b"550 5.1.1 no such user")
        vacation = b"From: secret@example.net\r\nAuto-Submitted: auto-replied\r\n\r\nbeach\r\n"
        self.assertEqual((await place.post(path, vacation, ""))[1][:9], b"550 5.7.1")
        both = await place.server.say(
            b"EHLO client.test",
            b"MAIL FROM:<>",
            b"RCPT TO:<%s>" % path.encode(),
            b"RCPT TO:<%s>" % USER.encode(),
            b"RSET",
            b"MAIL FROM:<>",
            b"RCPT TO:<%s>" % USER.encode(),
            b"RCPT TO:<%s>" % path.encode(),
        )
        self.assertEqual([both[n][:3] for n in (3, 4, 7, 8)], [b"250", b"452", b"250", b"452"])
        self.assertEqual(len(await place.gone()), 1)

    async def test_no_report(self) -> None:
        """What an old server writes in words is told without its words; lies find nobody."""
        place = await start(self)
        await place.alias(LIST, MEMBER, rewrite=Rewrite.SRS)
        await place.post(LIST)
        [(path, _)] = await place.gone()
        await place.post(path, b"From: <>\r\n\r\nno mailbox secret\r\n", "")
        await place.post(path, report(path, delivered_to=USER), "")
        await place.gone(3)
        for told in place.outside.contents[1:]:
            self.assertIn(f"Final-Recipient: rfc822; {path}\r\n".encode(), told)
            self.assertNotIn(b"secret", told)

    async def test_large(self) -> None:
        """A large body is streamed as it is, and its report is told without being read."""
        place = await start(self)
        await place.alias(LIST, MEMBER, rewrite=Rewrite.ALIAS)
        body = b"x" * 70 + b"\r\n"
        await place.post(LIST, CONTENT + body * 5000)
        [(path, _)] = await place.gone()
        [sent] = place.outside.contents
        self.assertTrue(sent.endswith(CONTENT.partition(b"DKIM")[2] + body * 5000))
        self.assertIn(b"<list+ann=client.test@example.org>\r\nX-Original-From: =?utf-8", sent)
        self.assertEqual(
            (await place.post(path, report(path, more=body * 5000), ""))[1][:3], b"250"
        )
        self.assertEqual((await place.gone(2))[1], ("", AUTHOR))
        self.assertLess(len(place.outside.contents[1]), 3000)

    async def test_domain(self) -> None:
        """All of it may be in one domain, which need not be otherwise ours."""
        place = await start(self, ForwardingSettings(srs_domain="srs.example"))
        await place.alias(LIST, MEMBER, rewrite=Rewrite.SRS)
        await place.post(LIST)
        [(path, _)] = await place.gone()
        self.assertTrue(path.endswith("=ann@srs.example"), path)
        self.assertEqual((await place.post(path, report(path), ""))[1][:3], b"250")
        self.assertEqual((await place.gone(2))[1], ("", AUTHOR))
        self.assertEqual((await place.post("x@srs.example"))[0][:9], b"550 5.7.1")

    async def test_goes_round(self) -> None:
        """What it passed on before it refuses."""
        place = await start(self)
        await place.alias(LIST, MEMBER, OTHER)
        looped = b"Delivered-To: LIST+x@example.org\r\n" + CONTENT
        replies = await place.post(LIST, looped)
        self.assertEqual(replies[1][:9], b"554 5.4.6")
        self.assertEqual((await place.post(LIST))[1][:3], b"250")


class RewrittenFromTests(TestCase):
    """Aliases that stand in for their members, and for those who write to them."""

    timeout = 120

    async def place(self, **given: Any) -> Place:
        """A server with an alias of ``user`` and somebody elsewhere."""
        place = await start(self, **given)
        await place.alias(LIST, USER, MEMBER, rewrite=Rewrite.ALIAS)
        return place

    async def test_from(self) -> None:
        """From is the alias's with the author in it; all else stays, and the body."""
        place = await self.place()
        await place.post(LIST)
        [(path, _)] = await place.gone()
        self.assertRegex(path, SRS0)
        [sent] = place.outside.contents
        expected = CONTENT.replace(
            b"<ann@client.test>\r\nReply-To: ann@home.test\r\n",
            b"<list+ann=client.test@example.org>\r\n"
            b"X-Original-From: =?utf-8?q?Ann_M=C3=BCller?= <ann@client.test>\r\n",
        )
        self.assertTrue(sent.endswith(expected), sent)

    async def test_answer(self) -> None:
        """A member who logged in answers as the alias; nothing tells who that was."""
        place = await self.place()
        answer = (
            b"From: Cleo <user@example.org>\r\nReply-To: user@example.org\r\n"
            b"Sender: user@example.org\r\nSubject: Re: hello\r\n\r\nhi Ann\r\n"
        )
        reply = await place.submit("list+ann=client.test@example.org", answer)
        self.assertEqual(reply[:3], b"250", reply)
        self.assertEqual(await place.gone(), [(LIST, AUTHOR)])
        [sent] = place.outside.contents
        self.assertNotIn(USER.encode(), sent)
        self.assertIn(b'From: "Cleo" <list@example.org>\r\nSubject: Re: hello\r\n', sent)
        self.assertTrue(sent.endswith(b"\r\n\r\nhi Ann\r\n"))

    async def test_answer_to_one_of_ours(self) -> None:
        """A mailbox here would show the member: that is refused."""
        place = await self.place()
        answer = b"From: Cleo <user@example.org>\r\n\r\nhi\r\n"
        await place.alias("inner@example.org", OTHER)
        for person in ("other", "inner"):
            reply = await place.submit(f"list+{person}=example.org@example.org", answer)
            self.assertEqual(reply[:9], b"550 5.7.2", person)

    async def test_answer_of_other_domain(self) -> None:
        """Neither a signature of the member's domain tells who that was, nor where it came from."""
        place = await start(self)
        await place.alias(LIST, "user@dash.example", MEMBER, rewrite=Rewrite.ALIAS)
        keys = await place.control.dkim.add("dash.example", [Algorithm.ED25519])
        await place.control.dkim.activate(keys)
        known = place.server.server
        await until(reactor, lambda: "dash.example" in known.directory.dkim_keys)
        answer = b"From: user@dash.example\r\nMessage-ID: <2@x.test>\r\n\r\nhi Ann\r\n"
        for recipient in ("list+ann=client.test@example.org", AUTHOR):
            reply = await place.submit(recipient, answer)
            self.assertEqual(reply[:3], b"250", reply)
            await place.gone(len(place.outside.contents) + 1)
        as_alias, own = place.outside.contents
        for told in (b"dash.example", b"DKIM-Signature", b"client.test (", b"127.0.0.1"):
            self.assertNotIn(told, as_alias)
        self.assertIn(b"d=dash.example", own)

    async def test_forged_answer(self) -> None:
        """A From alone makes nobody a member: not even of an alias that all may write to."""
        place = await self.place()
        forged = b"From: user@example.org\r\n\r\nbuy\r\n"
        replies = await place.post("list+victim=client.test@example.org", forged)
        self.assertEqual(replies[1][:9], b"550 5.7.2")

    async def test_not_a_member(self) -> None:
        """For everybody else it is the alias with a suffix."""
        place = await self.place()
        self.assertEqual((await place.post("list+ann=client.test@example.org"))[1][:3], b"250")
        self.assertEqual([one[1] for one in await place.gone()], [MEMBER])

    async def test_trusted_from(self) -> None:
        """The setting lets a From do."""
        place = await self.place(forwarding=ForwardingSettings(trust_from=True))
        answer = b"Received: from home\r\nFrom: secret@example.net\r\n\r\nhi\r\n"
        await place.post("list+ann=client.test@example.org", answer, MEMBER)
        self.assertEqual(await place.gone(), [(LIST, AUTHOR)])
        [sent] = place.outside.contents
        self.assertNotIn(b"secret", sent)

    async def test_no_room(self) -> None:
        """An author whose address does not fit is in the name."""
        place = await self.place()
        long = b"ann." + b"x" * 50 + b"@client.test"
        await place.post(LIST, CONTENT.replace(b"ann@client.test", long))
        await place.gone()
        [sent] = place.outside.contents
        self.assertIn(b"\r\nFrom: =?utf-8?q?", sent)
        self.assertIn(b"<list@example.org>\r\nX-Original-From:", sent)


class AccountTests(TestCase):
    """Accounts whose mail goes elsewhere."""

    timeout = 120

    async def forwarded(self, place: Place, to: str, *, keeps_copy: bool = False) -> None:
        """Ask for it, follow the link, and press the button."""
        await place.control.forwarding.ask("user", to, keeps_copy=keeps_copy)
        if to.endswith("@example.org"):
            [(_, letter)] = await place.kept(1)
        else:
            await place.gone(1)
            [letter] = place.outside.contents
        path = re.findall(r"https://mail.example.org(/forward/\S+)", letter.decode())[0]
        http = API(place.server)
        for _ in range(2):
            page = await http.ask("GET", path)
            self.assertEqual(page.status, 200, page)
            self.assertIn(b"Mail of account user is forwarded to <strong>", page.body)
        self.assertFalse(place.server.server.directory.forwards)
        self.assertEqual((await http.ask("POST", f"{path}x")).status, 404)
        self.assertEqual((await http.ask("POST", path)).status, 200)
        await until(reactor, lambda: place.server.server.directory.forwards)

    async def test_elsewhere(self) -> None:
        """Confirmed, it goes on, whatever the suffix; failures come back to the author."""
        place = await start(self)
        await self.forwarded(place, MEMBER)
        replies = await place.post("User+tag@example.org")
        self.assertEqual(replies[1][:3], b"250", replies)
        path, recipient = (await place.gone(2))[1]
        self.assertRegex(path, SRS0)
        self.assertEqual(recipient, MEMBER)
        sent = place.outside.contents[1]
        self.assertTrue(sent.startswith(b"Delivered-To: user@example.org\r\n"), sent)
        self.assertTrue(sent.endswith(CONTENT))
        await place.post(path, report(path, delivered_to=USER), "")
        self.assertEqual((await place.gone(3))[2], ("", AUTHOR))
        told = place.outside.contents[2]
        self.assertIn(b"Final-Recipient: rfc822; user@example.org\r\n", told)
        self.assertNotIn(b"secret", told)
        await place.post(USER, sender="")
        self.assertEqual((await place.gone(4))[3], ("", MEMBER))
        self.assertEqual((await place.post(USER, sent))[1][:9], b"554 5.4.6")
        self.assertEqual(await place.kept(0), [])

    async def test_copy(self) -> None:
        """A copy may stay; the one here and the one elsewhere have fates of their own."""
        place = await start(self)
        await self.forwarded(place, MEMBER, keeps_copy=True)
        await place.post(USER)
        self.assertEqual([name for name, _ in await place.kept(1)], ["user"])
        self.assertEqual([to for _, to in await place.gone(2)], [MEMBER] * 2)

    async def test_here(self) -> None:
        """To another account, as that of the address that was written to."""
        place = await start(self)
        await self.forwarded(place, OTHER)
        await place.post(USER)
        [*_, (account, content)] = await place.kept(2)
        self.assertEqual(account, "other")
        self.assertIn(b"Delivered-To: user@example.org\r\n", content)

    async def test_member_of_an_alias(self) -> None:
        """An alias leads through an account to where its mail goes."""
        place = await start(self)
        await self.forwarded(place, MEMBER)
        await place.alias(LIST, USER, OTHER)
        await place.post(LIST)
        self.assertEqual([name for name, _ in await place.kept(1)], ["other"])
        self.assertEqual((await place.gone(2))[1][1], MEMBER)

    async def test_reports_follow(self) -> None:
        """A report to an account goes where its mail goes."""
        answers = [b"250 2.1.5 ok", b"550 5.1.1 no such user", b"250 2.1.5 ok"]
        place = await start(self, RCPT=answers)
        await self.forwarded(place, MEMBER)
        content = b"From: user@example.org\r\n\r\nhi\r\n"
        self.assertEqual((await place.submit("gone@example.net", content))[:3], b"250")
        while await place.control.queue.find(EntryFilter()):
            await soon(reactor, 0.02)
        paths = [_path(line) for line in place.outside.lines if line.startswith(b"RCPT")]
        self.assertEqual(paths, [MEMBER, "gone@example.net", MEMBER])
        self.assertEqual(await place.kept(0), [])


class RoundTests(TestCase):
    """Two servers."""

    timeout = 120

    async def test_two_servers(self) -> None:
        """They forward to each other: it ends, and the author is told once."""
        first = await start_world(self, reactor, roles=("mx",))
        second = await start_world(self, reactor, roles=("mx",), relay_host=_relay(first))
        first.server.reload(evolve(first.settings, relay_host=_relay(second)))
        controls = {}
        for server, domain, to in ((first, "one", "two"), (second, "two", "one")):
            control = controls[domain] = server.control()
            self.addCleanup(control.close)
            await control.directory.add_domain(f"{domain}.example")
            address, member = f"list@{domain}.example", f"list@{to}.example"
            await control.aliases.add(address, [member], AliasDetails(post_public=True))
            key = ("list", f"{domain}.example")
            await control.aliases.records.set("test", key, {"rewrite": Rewrite.SRS})
            wanted = await control.aliases.alias(address)
            await until(reactor, partial(_knows, server, wanted))
        outside: Any = None
        place = Place(first, controls["one"], outside)
        self.assertEqual((await place.post("list@one.example", sender=USER))[1][:3], b"250")
        [(account, told)] = await place.kept(1)
        self.assertEqual(account, "user")
        self.assertIn(b"Final-Recipient: rfc822; list@one.example\r\n", told)
        self.assertIn(b"Status: 5.4.6\r\n", told)
        self.assertNotIn(b"two.example", told)
        second_place = Place(second, controls["two"], outside)
        self.assertEqual(await second_place.kept(0), [])


def _relay(server: Loopback) -> RelayHostSection:
    return RelayHostSection("127.0.0.1", server.port("mx"), tls=TLSLevel.NONE)


def _knows(server: Loopback, alias: Alias) -> bool:
    return alias in server.server.directory.aliases.values()
