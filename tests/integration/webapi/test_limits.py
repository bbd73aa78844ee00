"""webapi.md sections 7 and 8: daily limits, extra fields and FromIDs, by whatever door."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

from twisted.internet import reactor as the_reactor

from mailrelay.config.settings import ListenerSection
from mailrelay.control.directory import AccountDetails
from mailrelay.control.queue import EntryFilter
from mailrelay.directory.model import Account
from mailrelay.queue.entry import Message
from mailrelay.testing.loopback import PASSWORD, USER
from tests.integration.webapi.api import API, LETTER, APICase
from tests.integration.world import OTHER_PASSWORD, soon

OTHER = "other@example.org"


class SubmissionCase(APICase):
    """A server to which mail is submitted by SMTP as well."""

    async def start_with(
        self, name: str, details: AccountDetails, is_set: Callable[[Account], object]
    ) -> API:
        """A server with an account of these details."""
        listeners = [
            ListenerSection(role, "tcp:0:interface=127.0.0.1", auth_without_tls=True, webapi=True)
            for role in ("mx", "submission", "http")
        ]
        api = await self.start(listener=listeners)
        await self.control(api).directory.set_account(name, details)
        accounts = api.server.server
        await self.until(lambda: any(map(is_set, accounts.directory.accounts.values())))
        return api

    async def submit(
        self, api: API, login: str, password: str, sender: str, *recipients: str, extra: str = ""
    ) -> list[bytes]:
        """The replies to a submission, from MAIL on."""
        credentials = b64encode(f"\0{login}\0{password}".encode())
        replies = await api.server.say(
            b"EHLO client.test",
            b"AUTH PLAIN " + credentials,
            f"MAIL FROM:<{sender}>".encode(),
            *(f"RCPT TO:<{one}>".encode() for one in recipients),
            b"DATA",
            f"From: {login}\r\n{extra}\r\nhello\r\n.".encode(),
            role="submission",
        )
        self.assertEqual(replies[2][:3], b"235", replies)
        return replies[3:]


class NewRecipientTests(SubmissionCase):
    """recipientLimitReached, and 451 4.7.1."""

    async def test_both_doors(self) -> None:
        """What is sent by HTTP counts for SMTP and the reverse; whom it knows is always served."""
        details = AccountDetails(new_recipients_per_day=3)
        api = await self.start_with("other", details, lambda a: a.new_recipients_per_day)
        other = api.logged_in(OTHER, OTHER_PASSWORD)
        known = [{"Address": "a@x.example"}, {"Address": "b@x.example"}]
        await other.send(To=known)
        replies = await self.submit(api, OTHER, OTHER_PASSWORD, OTHER, "A@X.example", "c@x.example")
        self.assertEqual(replies[-1][:3], b"250")
        four = await other.call("Send", {**LETTER, "To": [*known, {"Address": "d@x.example"}]})
        self.assertEqual(four.code, "recipientLimitReached")
        replies = await self.submit(api, OTHER, OTHER_PASSWORD, OTHER, "d@x.example")
        self.assertEqual(replies[-1][:9], b"451 4.7.1")
        await other.send(To=known, CC=[{"Address": "c@x.example"}])
        await api.send(To=[{"Address": "d@x.example"}])  # another account's limit is its own


class ExtraFieldTests(SubmissionCase):
    """X-Mox-Extra and X-Mailrelay-Extra."""

    async def messages(self, api: API) -> list[Message]:
        """The entries' messages, once one is retired: its outcome follows its delivery."""
        queue = self.control(api).queue
        for _ in range(3000):
            entries = await queue.find(EntryFilter(retired=True))
            if entries:
                return [view.entry.message for view in entries]
            await soon(the_reactor)
        raise AssertionError("no entry was retired")

    async def test_fields(self) -> None:
        """They are kept beside the message with canonical keys, and stay in it."""
        api = await self.start_with("user", AccountDetails(full_name="x"), lambda a: a.full_name)
        extra = "X-Mox-Extra-user-ID: 456\r\nx-mailrelay-extra-tag: b\r\n"
        await self.submit(api, USER, PASSWORD, USER, USER, extra=extra)
        [message] = await self.arrived(api)
        self.assertIn(extra.encode(), await self.raw(api, message.id))
        [kept] = await self.messages(api)
        self.assertEqual(kept.extra, {"User-Id": "456", "Tag": "b"})

    async def test_tags_and_priority(self) -> None:
        """So are these; what cannot be understood is refused."""
        api = await self.start_with("user", AccountDetails(full_name="x"), lambda a: a.full_name)
        extra = "X-Mailrelay-Tags: welcome, eu\r\nX-Mailrelay-Priority: high\r\n"
        await self.submit(api, USER, PASSWORD, USER, USER, extra=extra)
        [message] = await self.arrived(api)
        self.assertIn(extra.encode(), await self.raw(api, message.id))
        [kept] = await self.messages(api)
        self.assertEqual((kept.tags, kept.is_urgent), (("welcome", "eu"), True))
        for extra in ("X-Mailrelay-Tags: a,\r\n", "X-Mailrelay-Priority: soon\r\n"):
            replies = await self.submit(api, USER, PASSWORD, USER, USER, extra=extra)
            self.assertEqual(replies[-1][:9], b"554 5.6.0")

    async def test_twice(self) -> None:
        """One key twice is refused."""
        api = await self.start_with("user", AccountDetails(full_name="x"), lambda a: a.full_name)
        extra = "X-Mox-Extra-a: 1\r\nX-Mailrelay-Extra-A: 1\r\n"
        replies = await self.submit(api, USER, PASSWORD, USER, USER, extra=extra)
        self.assertEqual(replies[-1][:9], b"554 5.6.0")

    async def test_strangers(self) -> None:
        """A stranger's fields are nobody's data."""
        api = await self.start()
        await api.server.say(
            b"EHLO client.test",
            b"MAIL FROM:<a@client.test>",
            f"RCPT TO:<{USER}>".encode(),
            b"DATA",
            b"X-Mox-Extra-A: 1\r\nX-Mox-Extra-A: 2\r\n\r\nx\r\n.",
        )
        await self.arrived(api)
        [kept] = await self.messages(api)
        self.assertIsNone(kept.extra)


class OwnFromIDTests(SubmissionCase):
    """A FromID that the submitter chose."""

    async def test_once(self) -> None:
        """It serves once and one recipient; another account's choice is no different."""
        details = AccountDetails(from_id_logins=[USER])
        api = await self.start_with("user", details, lambda a: a.from_id_logins)
        table = [
            ("user+own@example.org", [USER], b"250"),
            ("user+own@example.org", [USER], b"554 5.1.7"),
            ("user+two@example.org", [USER, "b@x.example"], b"554 5.5.3"),
            ("user+two@example.org", [USER], b"250"),
            (USER, [USER], b"250"),
            (USER, [USER], b"250"),
        ]
        for sender, recipients, expected in table:
            replies = await self.submit(api, USER, PASSWORD, sender, *recipients)
            self.assertEqual(replies[-1][: len(expected)], expected, sender)
        paths = [message.reverse_path for message in await self.arrived(api, 4)]
        self.assertIn("user+own@example.org", paths)
        self.assertNotIn(USER, paths)
