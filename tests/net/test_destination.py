"""Threat 7: what may be called."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.destination import Destination, UnusableURL, is_permitted, parse_url


class URLTests(SynchronousTestCase):
    """One way of reading a URL."""

    def test_read(self) -> None:
        """Scheme, host, port and path; defaults; the fragment is not sent."""
        for url, wanted in {
            "http://a.example/b?c#d": Destination("http", "a.example", 80, "/b?c"),
            "HTTPS://A.Example.:8443": Destination("https", "a.example", 8443, "/"),
            "https://a.example?b": Destination("https", "a.example", 443, "/?b"),
            "http://192.0.2.1:81/": Destination("http", "192.0.2.1", 81, "/"),
            "http://[2001:DB8::1]:81/": Destination("http", "2001:db8::1", 81, "/"),
            "http://a_b.example/@c:d": Destination("http", "a_b.example", 80, "/@c:d"),
            "http://a.example/http://b@c": Destination("http", "a.example", 80, "/http://b@c"),
        }.items():
            self.assertEqual(parse_url(url), wanted)

    def test_authority(self) -> None:
        """The Host field has brackets, and the port unless it goes without saying."""
        for url in ("http://a:81", "https://[2001:db8::1]", "http://[::1]:443", "https://a"):
            self.assertEqual(parse_url(url).authority, url.partition("//")[2])
        self.assertEqual(parse_url("http://a:80").authority, "a")

    def test_refused(self) -> None:
        """Other schemes, user names, numbers in disguise, white space, and what is cut off."""
        for url in (
            *("", "a", "//a", "ftp://a/", "file:///etc/passwd", "gopher://a", "http:a", "http:/a"),
            *("http://", "http:///a", "http://:80", "http://a:", "http://a:0", "http://a:65536"),
            *("http://a:8x", "http://a:+8", "http://a:1:2", "http://a:000080"),
            *("http://u@a", "http://u:p@a", "http://a@b@c", "http://a%40b", "http://127.0.0.1@a"),
            *("http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/"),
            *("http://0x7f.0.0.1", "http://127.0.0.0x1", "http://a.1", "http://1", "http://0x"),
            *("http://127.0.0.1.5", "http://127.0.0.256", "http://127.0.0.01", "http://1.2.3.4.."),
            *("http://[::1", "http://::1", "http://[::1%25lo]", "http://[fe80::1%eth0]"),
            *("http://[127.0.0.1]", "http://[::1]a", "http://[]", "http://[v1.a]"),
            *("http://a b", "http://a\r\nb", "http://a/\tb", "http://a/\x00", " http://a"),
            *("http://a\\b", "http://a\\@b", "http://-a", "http://a..b", "http://.a", "http://.."),
            *(
                "http://\u24db",
                "http://\uff11\uff12\uff17.0.0.1",
                "http://a\u3002b",
                "http://a/\xe9",
            ),
            *("http://" + "a" * 64, "http://" + "a." * 127 + "aa"),
        ):
            with self.assertRaises(UnusableURL, msg=url):
                parse_url(url)


class AddressTests(SynchronousTestCase):
    """Global addresses."""

    def test_global(self) -> None:
        """What is on the internet may be called."""
        for text in (
            *("8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450::1"),
            *("::ffff:8.8.8.8", "64:ff9b::808:808"),
        ):
            self.assertTrue(is_permitted(text), text)

    def test_not_global(self) -> None:
        """Nothing else, in no form."""
        for text in (
            *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1"),
            *("192.168.0.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1"),
            *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
            *("255.255.255.255", "192.88.99.1"),
            *("::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1"),
            *("2001:db8::1", "2001::1", "2001:0:7f00:1::", "3fff::1", "100::1", "5f00::1"),
            *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:7f00:1", "::127.0.0.1", "::8.8.8.8"),
            *("64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::808:808"),
            *("2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "2001:0:808:808::"),
            *("fe80::1%eth0", "2606:4700::1%1", "", "a", "2130706433", "127.1", "::1%"),
        ):
            self.assertFalse(is_permitted(text), text)

    def test_allowed(self) -> None:
        """The operator's networks, whatever way the address is written."""
        allowed = [ip_network("127.0.0.0/8"), ip_network("fd00::/8")]
        for text in ("127.0.0.1", "::ffff:127.0.0.1", "fd00::1"):
            self.assertTrue(is_permitted(text, allowed), text)
        for text in ("10.0.0.1", "::1", "fd00::1%eth0", "64:ff9b::7f00:1"):
            self.assertFalse(is_permitted(text, allowed), text)
