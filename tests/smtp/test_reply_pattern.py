"""Replies by what they begin with."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.reply import Reply, reply
from mailrelay.smtp.reply_pattern import MalformedPattern, ReplyPattern


class ReplyPatternTests(SynchronousTestCase):
    """ReplyPattern."""

    def test_fits(self) -> None:
        """All that is named must be as it is named."""
        policy = reply(550, "5.7.1", "blocked")
        bare = Reply(421, "busy")
        for text, fits_policy, fits_bare in (
            ("550", True, False),
            ("5.7.1", True, False),
            ("550 5.7.1", True, False),
            ("554 5.7.1", False, False),
            ("550 5.7.0", False, False),
            ("421", False, True),
            ("421 4.3.2", False, False),
        ):
            pattern = ReplyPattern.parse(text)
            self.assertEqual((pattern.fits(policy), pattern.fits(bare)), (fits_policy, fits_bare))
            self.assertEqual(str(pattern), text)

    def test_malformed(self) -> None:
        """What fits nothing, or what is no refusal, is none."""
        for text in ("", "42", "250", "2.0.0", "421 5.7.1", "4.7", "421 4.7.1 more", "٤٢١", "600"):
            self.assertRaises(MalformedPattern, ReplyPattern.parse, text)
