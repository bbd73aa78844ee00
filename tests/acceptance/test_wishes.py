"""What a submission's header fields ask for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.extra import TWICE
from mailrelay.acceptance.wishes import BAD_PRIORITY, BAD_TAGS, NotUnderstood, Wishes, wishes_in
from mailrelay.message.header import parse_header

NOTHING = Wishes()


def wishes(text: str, given: Wishes = NOTHING) -> Wishes:
    """What is in a header section."""
    return wishes_in(parse_header(text.replace("\n", "\r\n").encode()), given)


class WishesTests(SynchronousTestCase):
    """wishes_in."""

    def test_all(self) -> None:
        """Tags stand with commas, in one field or several; data and priority have their own."""
        header = (
            "X-Mailrelay-Tags: welcome,\n eu / west\nX-Mailrelay-Extra-User: 7\n"
            "X-MAILRELAY-PRIORITY: High\nx-mailrelay-tags: a:b\n\n"
        )
        expected = Wishes({"User": "7"}, ("welcome", "eu / west", "a:b"), is_urgent=True)
        self.assertEqual(wishes(header), expected)
        self.assertEqual(wishes("X-Mailrelay-Priority: normal\n\n"), Wishes())

    def test_given(self) -> None:
        """Fields add to what the envelope says."""
        given = Wishes({"a": "1"}, ("x",), is_urgent=True)
        self.assertIs(wishes("Subject: x\n\n", given), given)
        self.assertEqual(wishes("X-Mailrelay-Tags: y\n\n", given).tags, ("x", "y"))
        self.assertFalse(wishes("X-Mailrelay-Priority: normal\n\n", given).is_urgent)

    def test_not_understood(self) -> None:
        """What cannot be done is refused, and the reply names the field."""
        many = ",".join(f"t{n}" for n in range(21))
        for text, reply in (
            ("X-Mailrelay-Tags:", BAD_TAGS),
            ("X-Mailrelay-Tags: a,,b", BAD_TAGS),
            ("X-Mailrelay-Tags: a, a", BAD_TAGS),
            ("X-Mailrelay-Tags: a\nX-Mailrelay-Tags: a", BAD_TAGS),
            (f"X-Mailrelay-Tags: {many}", BAD_TAGS),
            (f"X-Mailrelay-Tags: {'x' * 101}", BAD_TAGS),
            ("X-Mailrelay-Tags: \u00fc", BAD_TAGS),
            ("X-Mailrelay-Tags: a\x1bb", BAD_TAGS),
            ("X-Mailrelay-Priority: urgent", BAD_PRIORITY),
            ("X-Mailrelay-Priority: high\nX-Mailrelay-Priority: high", BAD_PRIORITY),
            ("X-Mailrelay-Extra-A: 1\nX-Mox-Extra-A: 1", TWICE),
        ):
            error = self.assertRaises(NotUnderstood, wishes, f"{text}\n\n")
            self.assertEqual(error.reply, reply, text)
