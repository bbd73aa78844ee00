"""Lists on a whole server: what copies say, how members leave, and how they are taken off."""

from __future__ import annotations

from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message
from urllib.parse import urlsplit

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.config.transports import RelayHostSection
from mailrelay.control.mailbox import MessageFilter
from mailrelay.control.queue import EntryFilter, EntryView
from mailrelay.mailbox.model import MailboxMessage
from mailrelay.net.tls import TLSLevel
from mailrelay.policy.suppression import SERVER
from mailrelay.queue.entry import EntryState
from mailrelay.smtp.address import Address
from mailrelay.testing.loopback import USER
from mailrelay.testing.scripted_server import Answers, ScriptedServer, polite
from mailrelay.web.settings import HTTPSettings
from tests.integration.test_aliases import LIST, OTHER, Place
from tests.integration.test_forwarding import report
from tests.integration.webapi.api import API, FORM, Answered
from tests.integration.webapi.v1.client import Client
from tests.integration.world import soon, start_world, until

ANN, BOB = "ann@example.net", "bob@example.net"
ONE_CLICK = b"List-Unsubscribe=One-Click"


def link_in(message: Message) -> str:
    """The path of the link that takes a member off."""
    first = str(message["List-Unsubscribe"]).split(",")[0]
    return urlsplit(first.strip("<>")).path


class ListTests(TestCase):
    """Members and the owner."""

    timeout = 60

    async def place(self, url: str = "https://mail.example.org", **answers: Answers) -> Place:
        """A server that sends through one that gives ``answers``."""
        outside = await ScriptedServer.start(self, reactor, polite(**answers))
        server = await start_world(
            self,
            reactor,
            roles=("mx", "submission", "http"),
            relay_host=RelayHostSection("127.0.0.1", outside.port, tls=TLSLevel.NONE),
            http=HTTPSettings(public_url=url),
        )
        control = server.control()
        self.addCleanup(control.close)
        return Place(server, control, outside)

    async def click(self, place: Place, path: str, body: bytes = ONE_CLICK) -> Answered:
        """What a mailbox provider does."""
        http = Client(API(place.server)).http
        return await http.ask("POST", path, body, {"Content-Type": FORM})

    async def members(self, place: Place, count: int) -> list[str]:
        """Who is in the list once there are so many, as the server knows it."""
        key = (LIST.partition("@")[0], "example.org")
        await until(
            reactor, lambda: len(place.server.server.directory.aliases[key].members) == count
        )
        return sorted(map(str, place.server.server.directory.aliases[key].members))

    async def told(self, place: Place, count: int) -> list[str]:
        """The texts of the mails that other@example.org got about its list."""
        found: list[MailboxMessage] = []
        while len(found) < count:
            await soon(reactor, 0.02)
            listed = [one for _, one in await place.control.messages.find(MessageFilter())]
            found = [one for one in listed if one.subject == "A member of your list"]
        contents = [await place.control.messages.content(one.id) for one in found]
        return [str(message_from_bytes(one).get_payload()) for one in contents]

    async def test_fields(self) -> None:
        """Each copy has its own link; what the author wrote is the only one of its name."""
        place = await self.place()
        await place.alias(LIST, ANN, BOB, USER, post_public=True, is_list=True, owner=OTHER)
        await place.post(LIST)
        await place.kept(1)
        self.assertEqual(len(await place.gone()), 4)
        [(_, kept)] = await place.control.messages.find(MessageFilter())
        inside = await place.control.messages.content(kept.id)
        assert inside is not None
        copies = [message_from_bytes(one) for one in [*place.outside.contents, inside]]
        self.assertEqual(len({link_in(one) for one in copies}), 3)
        for one in copies:
            self.assertEqual(one["List-Id"], "<list.example.org>")
            self.assertEqual(one["List-Post"], "<mailto:list@example.org>")
            self.assertRegex(
                str(one["List-Unsubscribe"]).replace("\r\n", ""),
                r"^<https://mail\.example\.org/leave/[\w.-]+>,"
                r" <mailto:other@example\.org\?subject=unsubscribe%20list@example\.org>$",
            )
            self.assertEqual(one["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click")
            self.assertEqual(one["Precedence"], "list")
            self.assertEqual(one["Subject"], "hello")
        for content in place.outside.contents:
            self.assertEqual(content.count(b"\r\nReceived:"), 1)

    async def test_no_links(self) -> None:
        """Without public_url all copies elsewhere are one transaction, and name the owner."""
        place = await self.place(url="")
        await place.alias(LIST, ANN, BOB, post_public=True, is_list=True, owner=OTHER)
        await place.post(LIST)
        self.assertEqual(len(await place.gone()), 3)
        [copy] = [message_from_bytes(one) for one in place.outside.contents]
        self.assertTrue(copy["List-Unsubscribe"].startswith("<mailto:other@example.org?"))
        self.assertIsNone(copy["List-Unsubscribe-Post"])

    async def test_leaving(self) -> None:
        """A GET asks, a POST takes the member off once, and the owner is told."""
        place = await self.place()
        await place.alias(LIST, ANN, BOB, post_public=True, is_list=True, owner=OTHER)
        await place.post(LIST)
        await place.gone()
        paths = {
            line.split()[1]: link_in(message_from_bytes(content))
            for line, content in zip(
                [one for one in await place.gone() if one.startswith("RCPT")],
                place.outside.contents,
                strict=True,
            )
        }
        path = paths[f"TO:<{ANN}>"]
        http = Client(API(place.server)).http
        page = await http.ask("GET", path)
        self.assertEqual(page.status, 200)
        self.assertIn(b"<strong>ann@example.net</strong> on the list list@example.org", page.body)
        self.assertEqual((await self.click(place, path, b"x=y")).status, 400)
        self.assertEqual((await self.click(place, path[:-1] + "!")).status, 404)
        self.assertEqual(len(await self.members(place, 2)), 2)
        for _ in range(2):
            self.assertEqual((await self.click(place, path)).status, 200)
        self.assertEqual(await self.members(place, 1), [BOB])
        [text] = await self.told(place, 1)
        self.assertIn(f"{ANN} has left {LIST}", text)
        # The last one: nobody gets mail that wants none.
        self.assertEqual((await self.click(place, paths[f"TO:<{BOB}>"])).status, 200)
        self.assertEqual(await self.members(place, 1), [BOB])
        alias = await place.control.aliases.alias(LIST)
        self.assertTrue(alias.disabled)
        self.assertIn("switched off", "".join(await self.told(place, 2)))

    async def test_nested(self) -> None:
        """The innermost list is told of; who is in another alias leaves that by no link."""
        place = await self.place()
        await place.alias("inner@example.org", BOB)
        members = (ANN, "inner@example.org")
        await place.alias(LIST, *members, post_public=True, is_list=True, owner=OTHER)
        await place.post(LIST)
        await place.gone()
        copies = [message_from_bytes(one) for one in place.outside.contents]
        self.assertEqual([one["List-Id"] for one in copies], ["<list.example.org>"] * 2)
        links = sorted(str(one["List-Unsubscribe"]).count("https") for one in copies)
        self.assertEqual(links, [0, 1])

    async def test_failures(self) -> None:
        """So many in a row take a member off; a success between them counts from none again."""
        refused, taken = b"550 5.1.1 no such user", b"250 ok"
        answers = [refused, taken, refused, refused, refused, refused]
        place = await self.place(RCPT=answers)
        await place.alias(LIST, ANN, USER, post_public=True, removes_after=2, owner=OTHER)
        for count in (1, 2, 3):
            await place.post(LIST)
            await place.gone()
            self.assertEqual(len(await self.members(place, 2)), 2, count)
        await place.post(LIST)
        self.assertEqual(await self.members(place, 1), [USER])
        [text] = await self.told(place, 1)
        self.assertIn(f"{ANN} is no member of {LIST} any more", text)

    async def back(self, place: Place, path: str, content: bytes, sender: bytes = b"") -> bytes:
        """The first refusal, or the last reply, to what comes back to ``path``."""
        replies = await place.server.say(
            b"EHLO client.test",
            b"MAIL FROM:<%s>" % sender,
            b"RCPT TO:<%s>" % path.encode(),
            b"DATA",
            content + b".",
        )
        return next((one for one in replies[3:] if one[:1] == b"5"), replies[-1])

    async def test_late_failures(self) -> None:
        """A member's server takes mail and reports later: the owner gets that, and it counts."""
        place = await self.place()
        await place.alias(LIST, ANN, USER, post_public=True, removes_after=1, owner=OTHER)
        await place.post(LIST)
        path = (await place.gone())[0].partition("<")[2].partition(">")[0]
        self.assertRegex(path, r"^LIST0=[A-Z2-7]{16}=\d+=\d+=example\.net=ann@example\.org$")
        delayed = report(path).replace(b"failed", b"delayed").replace(b" 5", b" 4")
        vacation = b"From: ann@example.net\r\nSubject: away\r\n\r\nbeach\r\n"
        for content in (delayed, vacation):
            self.assertEqual((await self.back(place, path, content))[:3], b"250")
        self.assertEqual((await self.back(place, path, vacation, b"ann@example.net"))[:3], b"550")
        forged = path.replace("=ann@", "=user@")
        self.assertEqual((await self.back(place, forged, report(path)))[:9], b"550 5.1.1")
        self.assertEqual(len(await place.kept(3)), 3)
        self.assertEqual(len(await self.members(place, 2)), 2)
        self.assertEqual((await self.back(place, path.lower(), report(path)))[:3], b"250")
        self.assertEqual(await self.members(place, 1), [USER])
        [text] = await self.told(place, 1)
        self.assertIn(f"{ANN} is no member of {LIST} any more", text)
        owners = [one for one in await place.kept(5) if one[0] == "other"]
        self.assertEqual([one[1] for one in owners], [OTHER] * 4)

    async def test_own_failures(self) -> None:
        """What fails in the session is the owner's, who is named in the report, not a path."""
        place = await self.place(RCPT=b"550 5.1.1 no such user")
        await place.alias(LIST, ANN, USER, post_public=True, removes_after=3, owner=OTHER)
        await place.post(LIST)
        self.assertEqual((await place.kept(2))[0], ("other", OTHER, "Mail delivery failed"))
        listed = await place.control.messages.find(MessageFilter())
        [id_] = [one.id for account, one in listed if account == "other"]
        content = await place.control.messages.content(id_)
        assert content is not None
        self.assertIn(f"\r\nTo: <{OTHER}>\r\n".encode(), content)
        self.assertNotIn(b"LIST0=", content)

    async def test_suppressed_and_held(self) -> None:
        """What goes on to other servers obeys the server's list and rules, no account's."""
        place = await self.place()
        await place.control.holds.add(None, None, "example.com")
        await place.control.suppression.add(None, ANN)
        await place.control.suppression.add("user", BOB)
        known = place.server.server._known
        await until(reactor, lambda: known.suppressed(SERVER, Address.parse(ANN)))
        await place.alias(LIST, ANN, BOB, "carl@example.com", allow_from=True, owner=OTHER)
        await place.control.aliases.add_members(LIST, [USER])
        await self.members(place, 4)
        await place.post(LIST, author=USER)
        found: Sequence[EntryView] = ()
        while len(found) != 1 or found[0].entry.state is not EntryState.HELD:
            await soon(reactor, 0.02)
            found = await place.control.queue.find(EntryFilter())
        self.assertEqual(str(found[0].entry.recipient), "carl@example.com")
        sent = [line for line in place.outside.lines if line.startswith(b"RCPT")]
        self.assertEqual([line.split()[1] for line in sent], [b"TO:<bob@example.net>"])
        [(account, report)] = await place.control.messages.find(MessageFilter())
        self.assertEqual((account, report.subject), ("other", "Mail delivery failed"))

    async def test_last_one_stays(self) -> None:
        """Who is the last stays, and the owner is told each time that it is enough."""
        place = await self.place(RCPT=b"550 5.1.1 no such user")
        await place.alias(LIST, ANN, post_public=True, removes_after=1, owner=OTHER)
        await place.post(LIST)
        [text] = await self.told(place, 1)
        self.assertIn("the last member", text)
        self.assertEqual(await self.members(place, 1), [ANN])
        found = place.server.server.directory.alias(Address.parse(LIST))
        assert found is not None
        self.assertFalse(found.disabled)
