"""The judges of authentication: their time, what they follow, and what is recorded for reports."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.authenticating import WITHIN, Authenticating, authors_of
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.following import Follow, Following, FollowSettings
from mailrelay.acceptance.judging import Arrived, Judgement
from mailrelay.mailauth.authentication import Authentication
from mailrelay.mailauth.dmarc import DMARC, DMARCOutcome
from mailrelay.mailauth.dmarc_record import Disposition, Record
from mailrelay.mailauth.dmarc_result import DMARCResult, Override, SPFChecked
from mailrelay.mailauth.spf import SPFOutcome, SPFResult
from mailrelay.message.header import parse_header
from mailrelay.net.threads import AtOnce
from mailrelay.policy.relay import Submitter
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Mail, Rcpt
from mailrelay.testing.fakes import FakeResolver

IP = "192.0.2.7"
SOURCE = Source("mx", "ESMTP", Submitter(), peer_ip=IP, helo="client.test")


def arrived(content: bytes, sender: str | None = "a@good.test", source: Source = SOURCE) -> Arrived:
    """A message in memory."""
    path = Address.parse(sender) if sender else None
    envelope = Envelope(Mail(path), [Rcpt(Address.parse("user@Example.org"))])
    nowhere: Any = None
    size = len(content)
    return Arrived(source, envelope, parse_header(content), content, size, None, nowhere, 1000.0)


class AuthenticatingTests(SynchronousTestCase):
    """Authenticating."""

    def setUp(self) -> None:
        """A world that answers."""
        self.clock = Clock()
        self.executor: Any = AtOnce()
        self.resolver: Any = FakeResolver(
            ptr={IP: ["client.test"]},
            hosts={"client.test": [IP]},
            txt={"good.test": [b"v=spf1 a:client.test -all"], "_dmarc.good.test": [b"v=DMARC1"]},
        )

    def judging(self, mail: Arrived) -> Deferred[Judgement]:
        """Begin to judge ``mail``."""
        judge = Authenticating(
            "mx.example.org",
            self.resolver,
            self.executor,
            self.clock,
            lambda: 1000.0,
            lambda: 0.0,
            lambda name: "." not in name,
        )
        return Deferred.fromCoroutine(judge.judge(mail, Judgement()))

    def test_time(self) -> None:
        """What is not known in time is a transient error; what is known stays."""
        waiting: list[Deferred[Any]] = []
        answer = self.resolver.texts

        def texts(name: str) -> Deferred[Any]:
            if not name.startswith("_dmarc"):
                return answer(name)  # type: ignore[no-any-return]
            waiting.append(Deferred())
            return waiting[-1]

        object.__setattr__(self, "resolver", _Asking(self.resolver, texts))
        judging = self.judging(arrived(b"From: a@good.test\r\n\r\n"))
        self.clock.advance(WITHIN - 0.01)
        self.assertNoResult(judging)
        self.clock.advance(0.02)
        verdict = self.successResultOf(judging).verdict
        self.assertEqual((verdict.spf, verdict.dmarc), ("pass", "temperror"))
        self.assertTrue(verdict.is_mail_from_valid)
        waiting[0].callback([])  # too late, and no harm
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_answers(self) -> None:
        """The same when DNS is dead; each method says so."""
        object.__setattr__(self, "resolver", _Asking(self.resolver, lambda name: Deferred()))
        judging = self.judging(arrived(b"From: a@good.test\r\n\r\n"))
        self.clock.pump([WITHIN + 1, WITHIN])
        found = self.successResultOf(judging)
        told = [(one.method, one.result) for one in found.results]
        self.assertEqual(
            told,
            [
                ("iprev", "pass"),
                ("spf", "temperror"),
                ("spf", "temperror"),
                ("dkim", "none"),
                ("dmarc", "temperror"),
            ],
        )

    def test_slow_on_purpose(self) -> None:
        """Who forges a domain cannot hide its policy behind name servers that do not answer."""
        self.resolver.txt["_dmarc.bank.test"] = [b"v=DMARC1; p=reject"]
        answer = self.resolver.texts
        slow = ("good.test", "x._domainkey.slow.test", "_dmarc.slow.test")

        def texts(name: str) -> Deferred[Any]:
            return Deferred() if name in slow else answer(name)

        object.__setattr__(self, "resolver", _Asking(self.resolver, texts))
        digest = b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="  # of nothing
        signature = (
            b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=slow.test; s=x; h=from;"
            b" bh=" + digest + b"; b=eA==\r\n"
        )
        for head in (
            b"From: a@bank.test\r\n",
            signature + b"From: a@bank.test\r\n",
            b"From: x@slow.test, a@bank.test\r\n",
        ):
            judging = self.judging(arrived(head + b"\r\n"))
            self.clock.pump([WITHIN + 0.01, WITHIN])
            known = self.successResultOf(judging).authentication
            assert known is not None
            dmarc = known.dmarc
            self.assertEqual((dmarc.from_domain, dmarc.asked), ("bank.test", "reject"), head)
            self.assertIn(dmarc.result, (DMARC.FAIL, DMARC.TEMPERROR))

    def test_policy_unknown_in_time(self) -> None:
        """A policy that could not be had in time may be the strictest: the mail comes again."""
        object.__setattr__(self, "resolver", _Asking(self.resolver, lambda name: Deferred()))
        mail = arrived(b"From: a@bank.test\r\n\r\n")
        judging = self.judging(mail)
        self.clock.pump([WITHIN + 0.01, WITHIN])
        found = self.successResultOf(judging)
        following = Following(FollowSettings())
        judged = self.successResultOf(Deferred.fromCoroutine(following.judge(mail, found)))
        assert judged.refusal is not None
        self.assertTrue(judged.refusal.is_transient)

    def test_defect(self) -> None:
        """A fault of ours loses no mail."""

        def broken(name: str) -> Deferred[Any]:
            raise RuntimeError("broken")

        object.__setattr__(self, "resolver", _Asking(self.resolver, broken))
        found = self.successResultOf(self.judging(arrived(b"From: a@good.test\r\n\r\n")))
        self.assertEqual((found.verdict.spf, found.verdict.dmarc), ("temperror", "temperror"))
        self.assertTrue(self.flushLoggedErrors(RuntimeError))

    def test_without_address(self) -> None:
        """A peer without an address, a literal for a name: nothing is asked of SPF."""
        for source in (
            evolve(SOURCE, peer_ip=None, helo=None),
            evolve(SOURCE, peer_ip="unix", helo="[192.0.2.7]"),
        ):
            mail = arrived(b"From: a@good.test\r\n\r\n", None, source)
            found = self.successResultOf(self.judging(mail))
            told = [one.method for one in found.results]
            self.assertEqual((told[-2:], found.verdict.spf), (["dkim", "dmarc"], "none"))

    def test_large_section(self) -> None:
        """What takes long to read is read elsewhere: the reactor goes on meanwhile."""
        elsewhere: Deferred[Any] = Deferred()

        class Elsewhere:
            def run(self, work: Any, /, *args: Any, **kwargs: Any) -> Deferred[Any]:
                return elsewhere.addCallback(lambda _: work(*args, **kwargs))

        self.executor = Elsewhere()
        forged = b"Authentication-Results: mx.example.org; spf=pass\r\n"
        judging = self.judging(
            arrived(b"X: " + b"x" * 14_995 + b"\r\n" + forged + b"From: a@good.test\r\n\r\n")
        )
        self.assertNoResult(judging)
        elsewhere.callback(None)
        self.assertEqual(
            self.successResultOf(judging).hidden, ((15_000, 15_000 + len(forged), b""),)
        )

    def test_authors(self) -> None:
        """Of one From that all readers find alike."""
        for section, expected in (
            (b"From: A <a@One.test>, b@two.test\r\n", ["one.test", "two.test"]),
            (b'From: "x@y.test" <a@one.test>\r\n', ["one.test"]),
            (b"From : a@one.test\r\n", ["one.test"]),
            (b"from: a@one.test\r\nFROM: a@one.test\r\n", []),
            (b"To: a@one.test\r\n", []),
            (b"From: nobody\r\n", []),
            (b"From: a@one.test@two.test\r\n", []),
            (b"From: group:;\r\n", []),
            (b"junk\r\nFrom: a@one.test\r\n", []),
            (b"From: a@one.test\r\njunk\r\nFrom: b@two.test\r\n", []),
            (b"From: a@one.test\r\n\r\nFrom: b@two.test\r\n", ["one.test"]),
        ):
            head = section if b"\r\n\r\n" in section else section + b"\r\n"
            self.assertEqual(list(authors_of(parse_header(head), head)), expected, section)


class _Asking:
    """A resolver whose TXT records are somebody else's."""

    def __init__(self, resolver: Any, texts: Any) -> None:
        self.pointers, self.addresses = resolver.pointers, resolver.addresses
        self.mx_hosts, self.texts = resolver.mx_hosts, texts


FAILED = DMARCOutcome(
    DMARC.FAIL,
    "neither",
    "bank.test",
    Disposition.REJECT,
    found_at="bank.test",
    record=Record(p=Disposition.REJECT, rua=("mailto:d@bank.test",)),
)


class FollowingTests(SynchronousTestCase):
    """Following."""

    def setUp(self) -> None:
        """Nothing recorded yet."""
        self.recorded: list[tuple[str, float, DMARCResult]] = []

    def follow(
        self, dmarc: DMARCOutcome, found: Judgement | None = None, **settings: Follow
    ) -> Judgement:
        """What becomes of a message."""
        spf = SPFOutcome(SPFResult.FAIL, "-all")
        known = Authentication(IP, "client.test", "a@good.test", None, spf, dmarc=dmarc)
        following = Following(FollowSettings(**settings), lambda *told: self.recorded.append(told))
        judgement = evolve(found or Judgement(), authentication=known)
        mail = arrived(b"From: a@bank.test\r\n\r\n")
        return self.successResultOf(Deferred.fromCoroutine(following.judge(mail, judgement)))

    def test_dispositions(self) -> None:
        """What is asked, what is followed, what is done; and what reports tell of it."""
        asked, to = Disposition, Follow
        for wish, level, done, overrides in (
            (asked.REJECT, to.REJECT, "reject", ()),
            (asked.REJECT, to.QUARANTINE, "quarantine", (Override("local_policy"),)),
            (asked.REJECT, to.REPORT, "none", (Override("local_policy"),)),
            (asked.QUARANTINE, to.REJECT, "quarantine", ()),
            (asked.QUARANTINE, to.QUARANTINE, "quarantine", ()),
            (asked.QUARANTINE, to.REPORT, "none", (Override("local_policy"),)),
            (asked.NONE, to.REJECT, "none", ()),
        ):
            self.recorded.clear()
            found = self.follow(evolve(FAILED, asked=wish), on_dmarc_failure=level)
            self.assertIs(found.refusal is not None, done == "reject", (wish, level))
            self.assertIs(found.verdict.is_junk, done == "quarantine", (wish, level))
            [(domain, at, result)] = self.recorded
            self.assertEqual((domain, at, result.disposition), ("bank.test", 1000.0, done))
            self.assertEqual(result.overrides, overrides, (wish, level))

    def test_recorded(self) -> None:
        """All that a report tells; nothing where none is wanted, or nothing is known."""
        self.follow(FAILED)
        [(_, _, result)] = self.recorded
        self.assertEqual(
            (result.source_ip, result.header_from, result.envelope_from, result.envelope_to),
            (IP, "bank.test", "good.test", "example.org"),
        )
        self.assertEqual(result.spf, (SPFChecked("good.test", "mfrom", "fail", "-all"),))
        self.assertEqual((result.policy.p, result.policy.domain), ("reject", "bank.test"))
        self.recorded.clear()
        for outcome in (
            evolve(FAILED, record=Record()),
            evolve(FAILED, record=None),
            evolve(FAILED, result=DMARC.TEMPERROR),
            DMARCOutcome(),
        ):
            self.follow(outcome)
        self.assertEqual(self.recorded, [])

    def test_overrides(self) -> None:
        """Whoever vouches for a forwarder is heard, by SPF too; reports tell why."""
        trusted = Judgement(overrides=(Override("trusted_forwarder", "arc"),))
        found = self.follow(FAILED, trusted, on_spf_failure=Follow.REJECT)
        self.assertEqual((found.refusal, found.verdict.is_junk), (None, False))
        [(_, _, result)] = self.recorded
        self.assertEqual(result.disposition, "none")
        self.assertEqual(result.overrides, (Override("trusted_forwarder", "arc"),))

    def test_later(self) -> None:
        """Mail waits where refusing may have to follow; where Junk may, it goes there."""
        late = evolve(FAILED, result=DMARC.TEMPERROR)
        for outcome, level, waits, is_junk in (
            (late, Follow.REJECT, True, False),
            (late, Follow.QUARANTINE, False, True),
            (late, Follow.REPORT, False, False),
            (evolve(late, asked=Disposition.QUARANTINE), Follow.REJECT, False, True),
            (evolve(late, asked=Disposition.NONE), Follow.REJECT, False, False),
        ):
            found = self.follow(outcome, on_dmarc_failure=level)
            refusal = found.refusal
            self.assertIs(refusal is not None and refusal.is_transient, waits, (outcome, level))
            self.assertIs(found.verdict.is_junk, is_junk, (outcome, level))

    def test_nothing_known(self) -> None:
        """Without authentication there is nothing to follow."""
        following = Following(FollowSettings())
        asked = Deferred.fromCoroutine(following.judge(arrived(b"\r\n"), Judgement()))
        self.assertEqual(self.successResultOf(asked), Judgement())

    def test_reply(self) -> None:
        """What strangers write makes no line of its own."""
        found = self.follow(evolve(FAILED, from_domain="bank.test\r\n250 ok"))
        assert found.refusal is not None
        self.assertEqual(found.refusal.to_wire().count(b"\r\n"), 1)
