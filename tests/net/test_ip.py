"""IP addresses as they count."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.ip import unmapped


class UnmappedTests(SynchronousTestCase):
    """unmapped."""

    def test_mapped(self) -> None:
        """An IPv4 peer of an IPv6 socket is the same peer; other addresses stay what they are."""
        for text, expected in (
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:0:192.0.2.1", "::ffff:0:c000:201"),
        ):
            self.assertEqual(str(unmapped(text)), expected, text)

    def test_none(self) -> None:
        """What is no address is not made one."""
        for text in ("", "/run/mail.sock", "192.0.2", "::ffff:192.0.2.256"):
            self.assertRaises(ValueError, unmapped, text)
