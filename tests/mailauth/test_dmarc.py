"""DMARC: records, the tree walk of RFC 9989, alignment, and what is asked for a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailauth.dkim_verify import DKIMOutcome, DKIMResult
from mailrelay.mailauth.dmarc import (
    DMARC,
    NO_AUTHOR,
    Checked,
    DMARCOutcome,
    DMARCWorld,
    dmarc_of,
    walked,
)
from mailrelay.mailauth.dmarc_record import PSD, Disposition, Record, is_record, parse_record
from mailrelay.mailauth.dmarc_result import Override
from mailrelay.mailauth.public_suffixes import is_public_suffix
from mailrelay.mailauth.spf import SPFResult
from mailrelay.net.resolver import LookupFailed, NoSuchDomain

NONE, QUARANTINE, REJECT = Disposition.NONE, Disposition.QUARANTINE, Disposition.REJECT


@define
class World:
    """DMARC records by the name above them; ``failing`` names get no answer."""

    records: Mapping[str, str | Sequence[str]]
    failing: Sequence[str] = ()
    missing: Sequence[str] = ()  # what has neither addresses nor MX records
    chance: float = 0.0
    asked: list[str] = field(factory=list)

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """See Resolver."""
        domain = name.removeprefix("_dmarc.")
        self.asked.append(domain)
        if domain in self.failing:
            return fail(LookupFailed(f"looking up TXT of {name}: Timeout"))
        found = self.records.get(domain)
        if found is None:
            return fail(NoSuchDomain(name))
        return succeed([text.encode() for text in ([found] if isinstance(found, str) else found)])

    async def exists(self, domain: str) -> bool:
        """Whether it has addresses."""
        return domain not in self.missing


def judged(
    world: World | Mapping[str, Any],
    *authors: str,
    spf: str = "",
    dkim: Sequence[str] = (),
    spf_result: SPFResult = SPFResult.PASS,
    dkim_result: DKIMResult = DKIMResult.PASS,
) -> DMARCOutcome:
    """What is found of a message of ``authors``; SPF and DKIM found something of these domains."""
    if not isinstance(world, World):
        world = World(world)
    chance = world.chance
    asked = DMARCWorld(world.texts, world.exists, is_public_suffix, lambda: chance)
    signatures = [DKIMOutcome(dkim_result, domain=domain) for domain in dkim]
    checked = Checked(spf, spf_result if spf else SPFResult.NONE, signatures)
    results: list[Any] = []
    Deferred.fromCoroutine(dmarc_of(asked, authors, checked)).addBoth(results.append)
    [result] = results
    return result if isinstance(result, DMARCOutcome) else result.raiseException()


class RecordTests(SynchronousTestCase):
    """parse_record."""

    def test_is_record(self) -> None:
        """The version comes first, and is written so."""
        for text, is_so in (
            ("v=DMARC1", True),
            ("v=DMARC1;p=none", True),
            (" v = DMARC1 ; p=none", True),
            ("v=DMARC1 p=none", False),
            ("v=dmarc1; p=none", False),
            ("v=DMARC12; p=none", False),
            ("p=none; v=DMARC1", False),
            ("v=spf1 -all", False),
            ("", False),
        ):
            self.assertIs(is_record(text.encode()), is_so, text)

    def test_everything(self) -> None:
        """Every tag that is heeded, in any case, with space anywhere; others are not."""
        text = (
            "v=DMARC1 ;P=Reject; sp = QUARANTINE;np=none; adkim=S;aspf=s; psd=Y; t=y; pct=5;"
            "fo=1:d; rf=afrf; ri=86400; rua=mailto:a@x.example!10m , mailto:b@x.example,"
            "https://x.example/; ruf=mailto:c@x.example; unknown=1; p=none; broken; ;"
        )
        self.assertEqual(
            parse_record(text.encode()),
            Record(
                p=REJECT,
                sp=QUARANTINE,
                np=NONE,
                is_dkim_strict=True,
                is_spf_strict=True,
                psd=PSD.YES,
                is_testing=True,
                percent=5,
                failure_options="1:d",
                rua=("mailto:a@x.example", "mailto:b@x.example"),
                ruf=("mailto:c@x.example",),
            ),
        )

    def test_wrong_values(self) -> None:
        """What is wrong is as if it was not there; of a wrong policy only reports are left."""
        text = b"v=DMARC1; p=reject; adkim=x; aspf=; psd=maybe; t=1; pct=9999999999; rua=x@y"
        self.assertEqual(parse_record(text), Record(p=REJECT))
        for wrong in ("p=rejct", "p=none; sp=all", "p=reject; np=1"):
            record = parse_record(f"v=DMARC1; {wrong}; rua=mailto:a@x.example".encode())
            self.assertEqual((record.p, record.sp, record.problem), (NONE, None, ""), wrong)
            self.assertIn("is none of", parse_record(f"v=DMARC1; {wrong}".encode()).problem)

    @given(st.binary(max_size=300))
    def test_anything(self, text: bytes) -> None:
        """Nothing raises, and what is kept is bounded."""
        record = parse_record(b"v=DMARC1;" + text)
        self.assertLessEqual(record.percent, 100)
        self.assertLessEqual(len(record.rua), 10)


class WalkTests(SynchronousTestCase):
    """RFC 9989 section 4.10, with the examples of its appendix B."""

    def test_names(self) -> None:
        """Eight at the most: the domain, then seven labels and fewer."""
        self.assertEqual(
            list(walked("a.mail.example.com")),
            [
                "a.mail.example.com",
                "mail.example.com",
                "example.com",
                "com",
            ],
        )
        deep = ".".join("abcdefghij") + ".example.com"
        names = list(walked(deep))
        self.assertEqual((len(names), names[0], names[1]), (8, deep, "f.g.h.i.j.example.com"))
        self.assertEqual(names[-1], "com")

    def test_asked_once(self) -> None:
        """Whatever is compared, a name is asked for once."""
        world = World({"example.com": "v=DMARC1; p=reject"}, failing=["d.example.com"])
        signers = ["a.example.com", "b.example.com", "c.d.example.com", "x.d.example.com"]
        judged(world, "m.example.com", spf="y.example.com", dkim=signers)
        self.assertEqual(sorted(set(world.asked)), sorted(world.asked))

    def test_failing_signatures(self) -> None:
        """Nobody has us ask for domains that nothing passed for."""
        world = World({"example.com": "v=DMARC1; p=reject"})
        names = [f"s{n}.example.com" for n in range(10)]
        judged(world, "example.com", dkim=names, dkim_result=DKIMResult.FAIL)
        self.assertEqual(world.asked, ["example.com", "com"])

    def test_policy(self) -> None:
        """The author's record, else the organization's, else the public suffix's."""
        zone = {
            "mail.example.com": "v=DMARC1; p=none",
            "example.com": "v=DMARC1; p=reject; sp=quarantine",
            "bank": "v=DMARC1; p=reject; sp=quarantine; np=reject; psd=y",
        }
        for author, found_at, asked in (
            ("mail.example.com", "mail.example.com", NONE),
            ("example.com", "example.com", REJECT),
            ("other.example.com", "example.com", QUARANTINE),
            ("a.b.c.example.com", "example.com", QUARANTINE),
            ("x.mail.example.com", "example.com", QUARANTINE),
            ("new.bank", "bank", QUARANTINE),
            ("bank.test", "", NONE),
        ):
            outcome = judged(zone, author)
            self.assertEqual((outcome.found_at, outcome.asked), (found_at, asked), author)
        missing = World(zone, missing=["gone.bank", "gone.example.com"])
        self.assertIs(judged(missing, "gone.bank").asked, REJECT)
        self.assertIs(judged(missing, "gone.example.com").asked, QUARANTINE)

    def test_organization(self) -> None:
        """psd=n begins one, psd=y ends one, else it is as high as there are records."""
        zone = {
            "example.com": "v=DMARC1; p=reject",
            "unit.example.com": "v=DMARC1; p=reject; psd=n",
            "reg.example": "v=DMARC1; p=none; psd=y",
            "a.reg.example": "v=DMARC1; p=reject",
            "b.reg.example": "v=DMARC1; p=reject",
        }
        for author, signer, is_aligned in (
            ("example.com", "signing.example.com", True),
            ("mail.example.com", "example.com", True),
            ("mail.example.com", "other.example.com", True),
            ("x.unit.example.com", "y.unit.example.com", True),
            ("unit.example.com", "example.com", False),
            ("example.com", "x.unit.example.com", False),
            ("x.a.reg.example", "y.a.reg.example", True),
            ("a.reg.example", "b.reg.example", False),
            ("a.reg.example", "reg.example", False),
            ("example.com", "example.com.evil.test", False),
            ("example.com", "notexample.com", False),
        ):
            outcome = judged(zone, author, dkim=[signer])
            found = DMARC.PASS if is_aligned else DMARC.FAIL
            self.assertIs(outcome.result, found, (author, signer))
            self.assertIs(judged(zone, author, spf=signer).result, found, (author, signer))

    def test_public_suffix(self) -> None:
        """A registry whose record does not say psd stands for nobody below it."""
        zone = {"gov.uk": "v=DMARC1; p=reject; sp=reject", "a.gov.uk": "v=DMARC1; p=reject"}
        for author in ("a.gov.uk", "mail.a.gov.uk", "b.gov.uk"):
            self.assertIs(judged(zone, author, dkim=["evil.gov.uk"]).result, DMARC.FAIL, author)
        self.assertIs(judged(zone, "mail.a.gov.uk", dkim=["x.a.gov.uk"]).result, DMARC.PASS)
        self.assertEqual(judged(zone, "b.gov.uk").found_at, "gov.uk")
        said = {**zone, "gov.uk": "v=DMARC1; p=reject; psd=n"}
        self.assertIs(judged(said, "b.gov.uk", dkim=["x.gov.uk"]).result, DMARC.PASS)

    def test_several_records(self) -> None:
        """None of them counts; other texts do not disturb."""
        two = ["v=DMARC1; p=reject", "v=DMARC1; p=none"]
        self.assertIs(judged({"example.com": two}, "example.com").result, DMARC.NONE)
        mixed = ["google-site-verification=x", "v=DMARC1; p=reject"]
        self.assertIs(judged({"example.com": mixed}, "example.com").result, DMARC.FAIL)


class OutcomeTests(SynchronousTestCase):
    """What is found of a message."""

    def test_strict(self) -> None:
        """The very domain, each method by its own tag."""
        zone = {"example.com": "v=DMARC1; p=reject; adkim=s"}
        self.assertIs(judged(zone, "example.com", dkim=["m.example.com"]).result, DMARC.FAIL)
        self.assertIs(judged(zone, "example.com", spf="m.example.com").result, DMARC.PASS)
        self.assertIs(judged(zone, "example.com", dkim=["EXAMPLE.com"]).result, DMARC.PASS)

    def test_results(self) -> None:
        """Only a pass stands for a domain; an error of DNS may be a pass later."""
        zone = {"example.com": "v=DMARC1; p=reject"}
        for result in SPFResult:
            expected = {"pass": DMARC.PASS, "temperror": DMARC.TEMPERROR}.get(result, DMARC.FAIL)
            found = judged(zone, "example.com", spf="example.com", spf_result=result)
            self.assertIs(found.result, expected, result)
            found = judged(zone, "example.com", spf="other.test", spf_result=result)
            self.assertIs(found.result, DMARC.FAIL, result)
        for kind in DKIMResult:
            expected = {"pass": DMARC.PASS, "temperror": DMARC.TEMPERROR}.get(kind, DMARC.FAIL)
            found = judged(zone, "example.com", dkim=["example.com"], dkim_result=kind)
            self.assertIs(found.result, expected, kind)

    def test_dns_fails(self) -> None:
        """Where nothing is known it is an error; a record below is enough."""
        for failing, expected in (
            (["mail.example.com"], DMARC.TEMPERROR),
            (["example.com"], DMARC.TEMPERROR),
            (["com"], DMARC.FAIL),
        ):
            world = World({"example.com": "v=DMARC1; p=reject"}, failing)
            self.assertIs(judged(world, "mail.example.com").result, expected, failing)

    def test_testing_and_sampled(self) -> None:
        """t=y and what pct leaves out ask for one step less, and say why."""
        for tags, chance, asked, overrides in (
            ("p=reject; t=y", 0.0, QUARANTINE, (Override("policy_test_mode"),)),
            ("p=quarantine; t=y", 0.0, NONE, (Override("policy_test_mode"),)),
            ("p=reject; pct=30", 0.29, REJECT, ()),
            ("p=reject; pct=30", 0.31, QUARANTINE, (Override("sampled_out", "pct=30"),)),
            ("p=quarantine; pct=0", 0.0, NONE, (Override("sampled_out", "pct=0"),)),
            ("p=none; t=y; pct=0", 0.0, NONE, ()),
        ):
            world = World({"example.com": f"v=DMARC1; {tags}"}, chance=chance)
            outcome = judged(world, "example.com")
            self.assertEqual((outcome.asked, outcome.overrides), (asked, overrides), tags)

    def test_authors(self) -> None:
        """Nobody, or a crowd, is nobody; of several the worst is told."""
        self.assertEqual(judged({}), NO_AUTHOR)
        self.assertEqual(judged({}, *(f"d{n}.test" for n in range(5))), NO_AUTHOR)
        zone = {"a.test": "v=DMARC1; p=quarantine", "b.test": "v=DMARC1; p=reject"}
        for authors in (("a.test", "b.test"), ("b.test", "a.test"), ("b.test", "c.test", "B.test")):
            outcome = judged(zone, *authors, dkim=["a.test"])
            self.assertEqual((outcome.from_domain, outcome.asked), ("b.test", REJECT), authors)
        self.assertIs(
            judged(zone, "a.test", "b.test", dkim=["a.test", "b.test"]).result, DMARC.PASS
        )

    def test_author_without_policy(self) -> None:
        """One for whom nothing stands is told before one that signed, wherever it is written."""
        for authors in (("a.test", "b.test"), ("b.test", "a.test")):
            outcome = judged({}, *authors, dkim=["a.test"])
            self.assertEqual((outcome.from_domain, outcome.is_dkim_aligned), ("b.test", False))

    def test_signatures_too_late(self) -> None:
        """What nobody could look at in time may have been the author's."""
        zone = {"example.com": "v=DMARC1; p=reject"}
        found = judged(zone, "example.com", dkim=[""], dkim_result=DKIMResult.TEMPERROR)
        self.assertEqual((found.result, found.asked), (DMARC.TEMPERROR, REJECT))

    def test_no_policy(self) -> None:
        """None, which is no pass; what would stand for the domain is told all the same."""
        outcome = judged({}, "example.com", dkim=["example.com"])
        self.assertEqual((outcome.result, outcome.is_dkim_aligned), (DMARC.NONE, True))
        outcome = judged({}, "example.com", spf="mail.example.com")
        self.assertEqual((outcome.result, outcome.is_spf_aligned), (DMARC.NONE, True))
        for author, other in (("a.co.uk", "co.uk"), ("example.com", "evil.test"), ("com", "com")):
            outcome = judged({}, author, spf=other)
            self.assertFalse(outcome.is_spf_aligned, author)
        for author in ("localhost", "[192.0.2.1]"):
            self.assertIs(judged({}, author).result, DMARC.NONE)

    def test_useless_record(self) -> None:
        """A record of which nothing is left is an error, and asks for nothing."""
        outcome = judged({"example.com": "v=DMARC1; p=rejct"}, "example.com")
        self.assertEqual((outcome.result, outcome.asked), (DMARC.PERMERROR, NONE))
        self.assertIn("p= is none of", outcome.reason)
