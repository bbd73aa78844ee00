"""To whom a message is sent again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.errors import Refusal
from mailrelay.control.resend import MOST_RECIPIENT_CHARACTERS, read_recipients
from mailrelay.smtp.address import Address


class RecipientsTests(SynchronousTestCase):
    """``read_recipients``."""

    def test_marks_between(self) -> None:
        """Commas, semicolons, blanks and new lines."""
        found = read_recipients(" a@x.test,b@x.test;\nc@x.test\r\n d@x.test")
        self.assertEqual(found, [Address.parse(f"{one}@x.test") for one in "abcd"])
        self.assertEqual(read_recipients(" \n"), [])

    def test_no_address(self) -> None:
        """It is named."""
        with self.assertRaisesRegex(Refusal, "'nobody' is no address"):
            read_recipients("a@x.test nobody")

    def test_too_many(self) -> None:
        """They are refused: an address that was cut would be another one."""
        address = "ann@example.community"
        text = " " * (MOST_RECIPIENT_CHARACTERS - len(address)) + address
        self.assertEqual(read_recipients(text), [Address.parse(address)])
        with self.assertRaisesRegex(Refusal, "more than"):
            read_recipients(" " * 6 + text)
