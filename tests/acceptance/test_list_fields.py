"""What a list puts on top of copies."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.list_fields import MAX_LINK_CHARACTERS, ListFields, list_id
from mailrelay.directory.aliases import Alias
from mailrelay.directory.expansion import Member
from mailrelay.message.header import parse_header
from mailrelay.smtp.address import Address
from tests.directory.test_expansion import ANN, OWNER, alias

LIST = alias(1, "list", "ann@example.net", is_list=True, owner=OWNER)
LINK = "https://mail.example.org/leave/x"


def fields(
    header: bytes = b"", of: Alias = LIST, link: str | None = LINK, **changes: object
) -> str:
    """The fields of ann's copy of a message with this header."""
    place = changes.get("place", of)
    assert isinstance(place, Alias)
    member = Member(ANN, ANN, place=place, of_list=of)
    return ListFields(parse_header(header + b"\r\n"), lambda a, m: link)(member).decode()


def names(text: str) -> list[str]:
    """Which fields are there."""
    lines = [line for line in text.split("\r\n") if line and not line.startswith(" ")]
    return [line.partition(":")[0] for line in lines]


class ListFieldsTests(SynchronousTestCase):
    """RFC 2369, RFC 2919, RFC 8058."""

    def test_whole(self) -> None:
        """All of them, each a line or folded."""
        self.assertEqual(
            fields(),
            "List-Id: <list.example.org>\r\n"
            "List-Post: <mailto:list@example.org>\r\n"
            f"List-Unsubscribe: <{LINK}>,\r\n"
            " <mailto:owner@example.net?subject=unsubscribe%20list@example.org>\r\n"
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
            "List-Help: <mailto:owner@example.net?subject=help%20list@example.org>\r\n"
            "List-Owner: <mailto:owner@example.net>\r\n"
            "Precedence: list\r\n",
        )

    def test_authors_stay(self) -> None:
        """A field that is there is not added; One-Click is never for another's link."""
        theirs = b"list-id: <x.test>\r\nList-Unsubscribe: <https://x.test>\r\nPRECEDENCE: bulk\r\n"
        self.assertEqual(names(fields(theirs)), ["List-Post", "List-Help", "List-Owner"])

    def test_no_owner(self) -> None:
        """Without owner and link there is no way to leave, and none is told of."""
        alone = alias(1, "list", is_list=True)
        expected = ["List-Id", "List-Post", "Precedence"]
        self.assertEqual(names(fields(of=alone, link=None)), expected)
        long = "x" * (MAX_LINK_CHARACTERS + 1)
        self.assertEqual(names(fields(of=alone, link=long)), expected)

    def test_listed_elsewhere(self) -> None:
        """Who is in the list by another alias has the owner's address, and no link."""
        text = fields(place=alias(2, "inner"))
        self.assertNotIn(LINK, text)
        self.assertNotIn("List-Unsubscribe-Post", text)
        self.assertIn("List-Unsubscribe: <mailto:owner@", text)

    def test_no_list(self) -> None:
        """An alias that is none adds nothing."""
        member = Member(ANN, ANN, place=LIST)
        self.assertEqual(ListFields(parse_header(b"\r\n"), lambda a, m: LINK)(member), b"")

    def test_odd_names(self) -> None:
        """Whatever a localpart has, the fields stay what they are."""
        odd = Alias(1, 'a b.<x>"é', "example.org", is_list=True, owner=Address("o?&,>", "x.test"))
        self.assertEqual(list_id(odd), "a-b.-x-.example.org")
        text = fields(of=odd)
        self.assertTrue(text.isascii())
        self.assertIn("<mailto:o%3F%26%2C%3E@x.test>", text)
        for line in text.split("\r\n"):
            self.assertEqual(line.count("<"), line.count(">"))
