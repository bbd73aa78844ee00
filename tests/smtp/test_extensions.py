"""What a server's EHLO answer means."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.extensions import NO_EXTENSIONS, Extensions
from mailrelay.smtp.reply import Reply


class ExtensionsTests(SynchronousTestCase):
    """Extensions."""

    def test_answer(self) -> None:
        """The first line greets; keywords are read whatever their case, arguments kept."""
        offered = Extensions.parse(
            Reply(250, "PIPELINING greets you\nsize 1000\n8BITMIME\n\nX-Y a b")
        )
        self.assertNotIn("PIPELINING", offered)
        self.assertIn("SIZE", offered)
        self.assertIn("8BITMIME", offered)
        self.assertEqual(offered.offered["X-Y"], ("a", "b"))

    def test_size(self) -> None:
        """A limit is a number; 0, none and nonsense are no limit (RFC 1870 section 4)."""
        for line, limit in {
            "SIZE 1000": 1000,
            "SIZE 0": None,
            "SIZE": None,
            "SIZE ten": None,
            "SIZE -1": None,
            "SIZE \u0661": None,
            "SIZE " + "9" * 100: None,
        }.items():
            self.assertEqual(Extensions.of([line]).size_bytes, limit, line)
        self.assertIsNone(NO_EXTENSIONS.size_bytes)

    def test_auth(self) -> None:
        """Mechanisms of both spellings are put together."""
        offered = Extensions.of(["AUTH plain", "AUTH=LOGIN PLAIN"])
        self.assertEqual(offered.auth_mechanisms, {"PLAIN", "LOGIN"})
        self.assertEqual(NO_EXTENSIONS.auth_mechanisms, frozenset())

    def test_limits(self) -> None:
        """RCPTMAX is found among the limits (RFC 9422 section 4)."""
        for line, most in {
            "LIMITS MAILMAX=5 RCPTMAX=20": 20,
            "limits rcptmax=20": 20,
            "LIMITS RCPTMAX=0": None,
            "LIMITS RCPTMAX=": None,
            "LIMITS RCPTMAX=x": None,
            "LIMITS MAILMAX=5": None,
            "LIMITS": None,
        }.items():
            self.assertEqual(Extensions.of([line]).max_recipients, most, line)
