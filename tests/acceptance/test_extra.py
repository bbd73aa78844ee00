"""Extra data in header fields."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.extra import TwiceTheSame, extra_in
from mailrelay.message.header import parse_header


def extra(text: str) -> dict[str, str]:
    """What is in a header section."""
    return extra_in(parse_header(text.replace("\n", "\r\n").encode()))


class ExtraTests(SynchronousTestCase):
    """extra_in."""

    def test_keys(self) -> None:
        """Keys are written as Go writes names, in both spellings of the prefix, unfolded values."""
        self.assertEqual(
            extra("x-mox-extra-user-ID: 456\nX-MAILRELAY-Extra-TAG: a\n b\nX-Other: c\n\nx"),
            {"User-Id": "456", "Tag": "a b"},
        )

    def test_none(self) -> None:
        """A header without them has none."""
        self.assertEqual(extra("Subject: x\nX-Mox-Extra: y\n\n"), {})

    def test_twice(self) -> None:
        """One key twice is refused, in any case and by any of the two names."""
        for text in (
            "X-Mox-Extra-A: 1\nX-Mox-Extra-a: 1\n\n",
            "X-Mox-Extra-A: 1\nX-Mailrelay-Extra-A: 2\n\n",
        ):
            self.assertRaises(TwiceTheSame, extra, text)

    def test_hostile_values(self) -> None:
        """Values are bounded and have no control characters."""
        found = extra(f"X-Mox-Extra-A: {'x' * 5000}\nX-Mox-Extra-B: a\x1bb\n\n")
        self.assertEqual((len(found["A"]), found["B"]), (1000, "a?b"))
