"""Connection counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.policy.limits import TOO_MANY_CONNECTIONS, ConnectionCount, Limits


class ConnectionCountTests(SynchronousTestCase):
    """ConnectionCount."""

    def test_per_address(self) -> None:
        """One over the limit of an address is refused; another address is not."""
        count, limits = ConnectionCount(), Limits(connections_per_address=2)
        opened = [count.opened("192.0.2.1", limits) for _ in range(3)]
        self.assertEqual(opened, [None, None, TOO_MANY_CONNECTIONS])
        self.assertIsNone(count.opened("192.0.2.2", limits))
        count.closed("192.0.2.1")
        count.closed("192.0.2.1")
        self.assertIsNone(count.opened("192.0.2.1", limits))

    def test_networks(self) -> None:
        """IPv6 counts by /64, IPv4-mapped addresses as IPv4 (threat 18)."""
        count, limits = ConnectionCount(), Limits(connections_per_address=1)
        self.assertIsNone(count.opened("2001:db8::1", limits))
        self.assertIsNotNone(count.opened("2001:db8::ffff:2", limits))
        self.assertIsNone(count.opened("2001:db8:0:1::1", limits))
        self.assertIsNone(count.opened("192.0.2.1", limits))
        self.assertIsNotNone(count.opened("::ffff:192.0.2.1", limits))

    def test_total(self) -> None:
        """All together are limited too."""
        count, limits = ConnectionCount(), Limits(connections=2)
        opened = [count.opened(f"192.0.2.{n}", limits) for n in range(3)]
        self.assertEqual(opened, [None, None, TOO_MANY_CONNECTIONS])

    @given(st.lists(st.sampled_from(["192.0.2.1", "::1", "/run/socket"])))
    def test_nothing_is_left(self, peers: list[str]) -> None:
        """When all are closed, refused or not, nothing is counted or kept."""
        count, limits = ConnectionCount(), Limits(connections=3, connections_per_address=2)
        for ip in peers:
            count.opened(ip, limits)
        for ip in reversed(peers):
            count.closed(ip)
        self.assertEqual(count, ConnectionCount())
