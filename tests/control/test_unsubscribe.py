"""Unsubscribe links, and the fields that a message gets for them."""

from __future__ import annotations

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.unsubscribe import PURPOSE, VALID_FOR, Subscription, UnsubscribeLinks
from mailrelay.message.compose import compose
from mailrelay.message.draft import Draft
from mailrelay.message.mailboxes import NamedAddress
from mailrelay.policy.links import Links
from mailrelay.smtp.address import Address
from mailrelay.webapi.v1.one_click import NO_PUBLIC_URL, OneClick, Unsubscribe
from mailrelay.webapi.v1.problems import INVALID_FIELD, Problem

LINKS = UnsubscribeLinks(Links(b"secret", PURPOSE), "https://mail.example.org/")
JOE = Address.parse("joe@example.net")
LONGEST = 2**53 - 1


class LinkTests(SynchronousTestCase):
    """UnsubscribeLinks."""

    def test_read(self) -> None:
        """A link says whose mail, which entry, to whom and of what list; for 400 days."""
        of = Subscription(1, 2, 3, Address.parse('"j oe"@bücher.example'), "The news")
        base, _, token = LINKS.url(of, 1000.0).rpartition("/")
        self.assertEqual(base, "https://mail.example.org/unsubscribe")
        self.assertEqual(LINKS.read(token, 1000.0 + VALID_FOR - 1), of)
        self.assertIsNone(LINKS.read(token, 1000.0 + VALID_FOR))

    def test_other_tokens(self) -> None:
        """A token for anything else, or of another server, is none."""
        for links in (Links(b"secret", "file"), Links(b"other", PURPOSE)):
            token = links.token(("1", "2", "3", "joe@example.net", ""), 1e9)
            self.assertIsNone(LINKS.read(token, 0.0))


class OneClickTests(SynchronousTestCase):
    """OneClick."""

    def setUp(self) -> None:
        """Ids from 70 on."""
        self.ids = count(70)
        self.one_click = OneClick(LINKS, lambda: next(self.ids))

    def test_fields(self) -> None:
        """Those of RFC 8058, and the ids that the link names."""
        made = self.one_click.fields(True, 1, [JOE], ["X-A"], 5.0)
        (name, url), post = made.headers
        self.assertEqual((name, made.ids), ("List-Unsubscribe", (70, 71)))
        self.assertEqual(post, ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
        token = url.removeprefix("<https://mail.example.org/unsubscribe/").removesuffix(">")
        self.assertEqual(LINKS.read(token, 5.0 + VALID_FOR - 1), Subscription(1, 70, 71, JOE))

    def test_not_wanted(self) -> None:
        """Nothing is made, and no id used."""
        made = self.one_click.fields(False, 1, [], ["List-Unsubscribe"], 5.0)
        self.assertEqual((made.headers, made.ids, next(self.ids)), ((), (), 70))

    def test_refused(self) -> None:
        """Several recipients or none, own fields of these names, a server without a URL."""
        silent = OneClick(UnsubscribeLinks(LINKS.links, ""), lambda: 1)
        for one_click, recipients, headers, kind, field in (
            (self.one_click, [JOE, JOE], [], INVALID_FIELD, "unsubscribe"),
            (self.one_click, [], [], INVALID_FIELD, "unsubscribe"),
            (
                self.one_click,
                [JOE],
                ["X-A", "LIST-unsubscribe"],
                INVALID_FIELD,
                "headers[1].name",
            ),
            (self.one_click, [JOE], ["List-Unsubscribe-Post"], INVALID_FIELD, "headers[0].name"),
            (silent, [JOE], [], NO_PUBLIC_URL, "unsubscribe"),
        ):
            with self.assertRaises(Problem) as caught:
                one_click.fields(True, 1, recipients, headers, 5.0, "items[3].")
            problem = caught.exception
            self.assertEqual((problem.kind, problem.field), (kind, f"items[3].{field}"))
        self.assertIn("public_url in [http]", problem.detail)

    def test_longest(self) -> None:
        """The longest of everything still makes a line that SMTP takes."""
        domain = ".".join(["x" * 63] * 3)
        links = UnsubscribeLinks(LINKS.links, f"https://{domain}.{'y' * 60}:65535")
        recipient = Address.parse(f"{'l' * 60}@{domain}")
        one_click = OneClick(links, lambda: LONGEST)
        made = one_click.fields(Unsubscribe(list="n" * 100), LONGEST, [recipient], [], 1e10)
        draft = Draft(
            from_=[NamedAddress("", JOE)],
            to=[NamedAddress("", recipient)],
            date="x",
            message_id="<x@x>",
            text="x",
            headers=made.headers,
            boundary=lambda: "b",
        )
        lines = b"".join(compose(draft)).split(b"\r\n")
        self.assertIn(f"List-Unsubscribe: {made.headers[0][1]}".encode(), lines)
        self.assertLess(max(map(len, lines)), 998)
