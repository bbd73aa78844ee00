"""Where reports go: what records say, and whether others agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.resolver import LookupFailed
from mailrelay.reporting.destinations import MOST_DESTINATIONS, Destination, Wanted, destinations_in
from mailrelay.smtp.address import Address
from mailrelay.testing.fakes import FakeResolver


async def related(one: str, other: str) -> bool:
    """Whether both are below one example."""
    return one.split(".")[-2:] == other.split(".")[-2:]


class DestinationTests(SynchronousTestCase):
    """The value of rua."""

    def test_addresses(self) -> None:
        """Sizes, encoding, and what is around an address."""
        mega = 1024 * 1024
        for text, address, most in (
            ("mailto:a@b.example", "a@b.example", None),
            (" MAILTO:a@B.example!10m ", "a@b.example", 10 * mega),
            ("mailto:a@b.example!5", "a@b.example", 5),
            ("mailto:a@b.example!2K", "a@b.example", 2048),
            ("mailto:a%21x@b.example?subject=hello!1g", "a!x@b.example", 1024 * mega),
        ):
            [found] = destinations_in(text)
            self.assertEqual(found, Destination(Address.parse(address), most_bytes=most))
            self.assertEqual((str(found), found.domain), (address, "b.example"))

    def test_urls(self) -> None:
        """https alone."""
        [found] = destinations_in("https://b.example/v1/tlsrpt")
        self.assertEqual((str(found), found.domain), ("https://b.example/v1/tlsrpt", "b.example"))

    def test_none(self) -> None:
        """What leads nowhere is left out."""
        for text in (
            *(
                "",
                "a@b.example",
                "mailto:",
                "mailto:a",
                "mailto:a@b.example!x",
                "http://b.example/",
            ),
            *("https://", "ftp://b.example/", "mailto:%0d%0a@b.example", "mailto:é@b.example"),
            *(
                "mailto:a@b.example%0d%0aTo: c",
                "https://b.example:99999/",
                "mailto:a@b.example!9e9",
            ),
        ):
            self.assertEqual(destinations_in(text), [], text)

    def test_several(self) -> None:
        """Each once, and not many."""
        found = destinations_in("mailto:a@b.example,mailto:a@b.example, https://c.example/,x")
        self.assertEqual([str(one) for one in found], ["a@b.example", "https://c.example/"])
        many = ",".join(f"mailto:a{n}@b.example" for n in range(5000))
        self.assertEqual(len(destinations_in(many)), MOST_DESTINATIONS)

    @given(st.text(max_size=200))
    def test_anything(self, text: str) -> None:
        """Nothing raises, and no control character is in what is found."""
        for one in destinations_in(f"mailto:{text},https://{text}"):
            self.assertTrue(str(one).isprintable())


class WantedTests(SynchronousTestCase):
    """What DNS says."""

    def wanted(
        self, txt: Mapping[str, Sequence[bytes]], *suppressed: str, failing: str = ""
    ) -> Wanted:
        """Asks a DNS that has ``txt``."""
        resolver = FakeResolver(txt=txt, failing=frozenset({failing}))
        return Wanted(resolver.texts, related, frozenset(suppressed))

    def dmarc(self, wanted: Wanted, domain: str = "a.example") -> list[str]:
        """Where reports of mail go."""
        found = self.successResultOf(Deferred.fromCoroutine(wanted.dmarc(domain)))
        return [str(one) for one in found]

    def test_own(self) -> None:
        """An address within the organization needs nobody's consent; a URL is none for mail."""
        record = (
            b"v=DMARC1; p=none; rua=mailto:d@a.example,mailto:d@mail.a.example,https://a.example/"
        )
        wanted = self.wanted({"_dmarc.a.example": [record]})
        self.assertEqual(self.dmarc(wanted), ["d@a.example", "d@mail.a.example"])

    def test_others(self) -> None:
        """Another domain must agree, and may say where in it."""
        record = (
            b"v=DMARC1;p=reject;rua=mailto:d@x.test,mailto:d@y.test!1k,"
            b"mailto:d@z.test,mailto:d@w.test"
        )
        wanted = self.wanted(
            {
                "_dmarc.a.example": [b"v=spf1 -all", record],
                "a.example._report._dmarc.y.test": [b"v=DMARC1"],
                "a.example._report._dmarc.z.test": [b"v=DMARC1; rua=mailto:e@z.test"],
                "a.example._report._dmarc.w.test": [b"hello"],
            }
        )
        self.assertEqual(self.dmarc(wanted), ["d@y.test", "e@z.test"])
        elsewhere = {
            "_dmarc.a.example": [record],
            "a.example._report._dmarc.y.test": [b"v=DMARC1; rua=mailto:victim@v.test"],
        }
        self.assertEqual(self.dmarc(self.wanted(elsewhere)), ["d@y.test"])

    def test_written_with_spaces(self) -> None:
        """A record by which mail is judged is one that asks for reports, too."""
        record = b" v = DMARC1 ; p=none ; RUA = mailto:d@a.example"
        wanted = self.wanted({"_dmarc.a.example": [record]})
        self.assertEqual(self.dmarc(wanted), ["d@a.example"])

    def test_no_one_record(self) -> None:
        """None, two, or one of another version ask for nothing."""
        one = b"v=DMARC1; rua=mailto:d@a.example"
        for texts in (
            [],
            [one, one],
            [b"v=DMARC10; rua=mailto:d@a.example"],
            [b"rua=mailto:d@a.example"],
        ):
            self.assertEqual(self.dmarc(self.wanted({"_dmarc.a.example": texts})), [])
        self.assertEqual(self.dmarc(self.wanted({})), [])

    def test_suppressed(self) -> None:
        """Neither of a domain nor to one."""
        txt = {"_dmarc.a.example": [b"v=DMARC1; rua=mailto:d@a.example,mailto:d@mail.a.example"]}
        self.assertEqual(self.dmarc(self.wanted(txt, "a.example")), [])
        self.assertEqual(self.dmarc(self.wanted(txt, "mail.a.example")), ["d@a.example"])

    def test_dns_fails(self) -> None:
        """That is not as if nothing was wanted."""
        txt = {"_dmarc.a.example": [b"v=DMARC1; rua=mailto:d@b.test"]}
        for failing in ("_dmarc.a.example", "a.example._report._dmarc.b.test"):
            wanted = self.wanted(txt, failing=failing)
            self.failureResultOf(Deferred.fromCoroutine(wanted.dmarc("a.example")), LookupFailed)

    def test_tls(self) -> None:
        """Addresses and URLs, anywhere."""
        record = b"v=TLSRPTv1;rua=mailto:t@b.test,https://c.test/"
        wanted = self.wanted({"_smtp._tls.a.example": [record], "_smtp._tls.b.example": [b"x"]})
        found = self.successResultOf(Deferred.fromCoroutine(wanted.tls("a.example")))
        self.assertEqual([str(one) for one in found], ["t@b.test", "https://c.test/"])
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(wanted.tls("b.example"))), [])
