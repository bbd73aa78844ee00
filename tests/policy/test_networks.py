"""Networks that may relay without login."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.policy.networks import TrustedNetworks


class TrustedNetworksTests(SynchronousTestCase):
    """TrustedNetworks."""

    def test_empty(self) -> None:
        """By default nobody is trusted, loopback neither."""
        for ip in ("127.0.0.1", "::1", "192.0.2.1", ""):
            self.assertFalse(TrustedNetworks()(ip))

    def test_contains(self) -> None:
        """Addresses in a listed network are trusted, in every form; nothing else is."""
        trusted = TrustedNetworks.of(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"])
        for ip, expected in {
            "10.1.2.3": True,
            "::ffff:10.1.2.3": True,
            "2001:db8::1": True,
            "192.0.2.7": True,
            "192.0.2.8": False,
            "11.0.0.1": False,
            "2001:db9::1": False,
            "/run/socket": False,
            "": False,
        }.items():
            for _ in range(2):  # the second answer is remembered
                self.assertEqual(trusted(ip), expected, ip)

    def test_memory_is_bounded(self) -> None:
        """A flood of addresses is forgotten, and the answers stay right."""
        trusted = TrustedNetworks.of(["10.0.0.0/16"])
        for number in range(10_100):
            trusted(f"10.0.{number // 256}.{number % 256}")
        self.assertLess(len(trusted._known), 10_002)
        self.assertTrue(trusted("10.0.0.1"))

    def test_malformed(self) -> None:
        """What is no network is refused, host bits included."""
        for text in ("10.0.0.1/8", "x", "10.0.0.0/33", ""):
            self.assertRaises(ValueError, TrustedNetworks.of, [text])
