"""Next hops in Postfix's writing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.routing.next_hop import MalformedNextHop, NextHop, parse_next_hops


class NextHopTests(SynchronousTestCase):
    """What can be written, and what cannot."""

    def test_forms(self) -> None:
        """Host, port, and whether MX records are looked up."""
        for text, host, port, mx_lookup in (
            ("Relay.Example.net", "relay.example.net", 25, True),
            ("relay.example.net:587", "relay.example.net", 587, True),
            ("[relay.example.net]", "relay.example.net", 25, False),
            ("[relay.example.net]:submission", "relay.example.net", 587, False),
            ("relay.example.net:SMTPS", "relay.example.net", 465, True),
            ("[192.0.2.10]:2525", "192.0.2.10", 2525, False),
            ("[2001:DB8::1]:25", "2001:db8::1", 25, False),
            ("[IPv6:2001:db8::1]", "2001:db8::1", 25, False),
            ("bücher.example", "xn--bcher-kva.example", 25, True),
        ):
            self.assertEqual(parse_next_hops(text), [NextHop(host, port, mx_lookup, text)])

    def test_list(self) -> None:
        """Commas and blanks stand between; DUNNO is none at all."""
        hops = parse_next_hops(" [a.example]:587,b.example\t[c.example] , d.example ")
        self.assertEqual([hop.host[0] for hop in hops], ["a", "b", "c", "d"])
        self.assertEqual(list(parse_next_hops("dunno")), [])

    def test_tls_from_the_first_byte(self) -> None:
        """By its port alone."""
        ports = ("465", "submissions", "587")
        found = [parse_next_hops(f"[a.example]:{port}")[0].implies_tls for port in ports]
        self.assertEqual(found, [True, True, False])

    def test_malformed(self) -> None:
        """The message says what is wrong."""
        for text, said in (
            ("", "no next hop"),
            ("[relay.example:587", "write host"),
            ("relay.example]:587", "write host"),
            ("[relay.example]:99999", "port '99999'"),
            ("[relay.example]:0", "port '0'"),
            ("[relay.example]:", "port ''"),
            ("relay.example:http", "port 'http'"),
            ("[]:25", "host is missing"),
            (":25", "host is missing"),
            ("192.0.2.10", "write [192.0.2.10]"),
            ("2001:db8::1", "write host"),
            ("# no relay please", "'#' is neither"),
            ("a..example", "neither a host name"),
            ("a.example:٣", "port"),
        ):
            error = self.assertRaises(MalformedNextHop, parse_next_hops, text)
            self.assertIn(said, str(error), text)

    @given(st.text(max_size=80))
    def test_any_text(self, text: str) -> None:
        """It is a list of hops, or malformed; nothing else is raised."""
        try:
            hops = parse_next_hops(text)
        except MalformedNextHop:
            return
        for hop in hops:
            self.assertTrue(1 <= hop.port <= 65535 and hop.host)
