"""What domains publish about TLS, against servers that can do it, cannot, or pretend to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailauth.mta_sts import Mode, Policy
from mailrelay.net.dnssec import TLSA
from mailrelay.net.peer_tls import CertificateRefused
from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.hosts import Target
from mailrelay.outbound.pool import Access
from mailrelay.outbound.sessions import MOST_AGE_OF_POLICY
from mailrelay.outbound.tls_policy import FoundPolicy, TLSPolicies, level_for
from mailrelay.outbound.tls_result import ResultType, TLSResult
from mailrelay.outbound.transcript import Transcript
from mailrelay.queue.transport import Result
from mailrelay.smtp.address import Address
from mailrelay.testing.certificates import Authority
from mailrelay.testing.fakes import FakeDNSSEC, FakeResolver
from mailrelay.testing.scripted_server import Manners, Peer, ScriptedServer, polite
from tests.outbound.delivery import OutboundTestCase, mx_job, short

AUTHORITY, STRANGER = Authority(), Authority("somebody else")
DOMAIN, NAME = "peer.test", "mx.peer.test"
LATER = "deferral 454 4.7.5"


def shown(authority: Authority, name: str = NAME, **options: Any) -> tuple[CertificateOptions, Any]:
    """What a server starts TLS with, and its certificate."""
    certificate, key = authority.issue([name], **options)
    made = CertificateOptions(
        privateKey=key,  # type: ignore[arg-type]
        certificate=certificate,  # type: ignore[arg-type]
    )
    return made, certificate


def of(certificate: Any, usage: int = 3) -> TLSA:
    """The record of a certificate's key."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return TLSA(usage, 1, 1, sha256(key).digest())


RIGHT, RIGHT_CERTIFICATE = shown(AUTHORITY)
WRONG, _ = shown(AUTHORITY, "other.test")
EXPIRED, EXPIRED_CERTIFICATE = shown(AUTHORITY, valid_for=timedelta(days=-1))
STRANGE, STRANGE_CERTIFICATE = shown(STRANGER)
CERTIFICATES = {"right": RIGHT, "other name": WRONG, "expired": EXPIRED, "strange": STRANGE}


async def broken(peer: Peer) -> None:
    """Agree to TLS, then speak in clear: what somebody in between may do."""
    peer.say(b"220 go")
    await peer.take(1)
    peer.send(b"this is not TLS\r\n" * 10)
    await peer.be_silent()


STATES: Mapping[str, Manners] = {
    **{name: Manners(tls=tls) for name, tls in CERTIFICATES.items()},
    "no STARTTLS": Manners(),
    "refused": Manners([b"STARTTLS"], answers={"STARTTLS": b"454 4.7.0 not now"}),
    "broken": Manners([b"STARTTLS"], answers={"STARTTLS": broken}),
}
"""What a server does when it is asked for TLS."""


class PolicyTestCase(OutboundTestCase):
    """One message to peer.test, whose MX host is a scripted server."""

    trust_root = AUTHORITY.trust_root

    async def send(
        self,
        manners: Manners,
        *,
        found: FoundPolicy | None = None,
        dns: FakeDNSSEC | None = None,
        level: TLSLevel = TLSLevel.MAY,
        levels: Mapping[str, TLSLevel] | None = None,
        content: bytes | None = None,
        **fields: Any,
    ) -> str:
        """How it went: ``TLS``, ``plain``, or why it did not."""

        async def policy_of(domain: str) -> FoundPolicy:
            self.assertEqual(domain, DOMAIN)
            return found or FoundPolicy()

        self.told: list[TLSResult] = []
        server = self.server = await ScriptedServer.start(self, reactor, polite(manners))
        self.policies = TLSPolicies(
            levels or {}, policy_of if found is not None else None, dns, self.told.append
        )
        resolver = FakeResolver(mx={DOMAIN: [(1, NAME)]}, hosts={NAME: ["127.0.0.1"]})
        transport = self.transport(resolver, level, mx_port=server.port)
        if content is not None:
            self.content_bytes = content
        self.result = await transport.attempt(mx_job(DOMAIN, **fields))
        self.flushLoggedErrors()
        self.sender = transport
        if not server.contents:
            seen = {line[:8] for line in server.lines}
            self.assertLessEqual(seen, {b"EHLO us.", b"STARTTLS"}, "said in clear")
            how = short(self.result.outcomes[0])
            if how in (LATER, "failure 550 5.7.10"):  # within TLS nothing was said either
                self.assertLessEqual(server.lines.count(b"EHLO us.test"), 1)
            return how
        return "TLS" if self.result.attempt.tls else "plain"

    @property
    def told_as(self) -> list[str]:
        """What reports are told, in short."""
        return [
            f"{one.policy.type} {one.failure.result if one.failure else 'success'}"
            for one in self.told
        ]

    def dns(self, *records: TLSA, **given: Any) -> FakeDNSSEC:
        """A signed DNS in which the host has these TLSA records."""
        tlsa_of = {NAME: records, **given.pop("tlsa_of", {})}
        hosts = given.pop("hosts", {NAME: ["127.0.0.1"]})
        return FakeDNSSEC({DOMAIN: [(1, NAME)]}, hosts, tlsa_of, **given)


def sts(mode: str, *hosts: str) -> FoundPolicy:
    """A policy that is known."""
    return FoundPolicy(Policy(Mode(mode), hosts or (NAME,), 86400))


class MTASTSTests(PolicyTestCase):
    """MTA-STS against every state of a server."""

    async def test_enforced(self) -> None:
        """Only the right certificate will do, and nothing else is said to any other server."""
        for name, manners in STATES.items():
            with self.subTest(name):
                expected = "TLS" if name == "right" else LATER
                how = await self.send(manners, found=sts("enforce"))
                self.assertEqual(how, expected, self.result.attempt.transcript)
                self.assertEqual(self.result.attempt.tls_policy, "mta-sts")
                self.assertEqual(self.told_as, [f"sts {_RESULTS[name]}"])

    async def test_testing(self) -> None:
        """The mail goes as it would without, and what is wrong is told."""
        for name, manners in STATES.items():
            with self.subTest(name):
                expected = "TLS" if name in CERTIFICATES else "plain"
                how = await self.send(manners, found=sts("testing"))
                self.assertEqual(how, expected, self.result.attempt.transcript)
                self.assertEqual(self.result.attempt.tls_policy, "may")
                self.assertEqual(self.told_as, [f"sts {_RESULTS[name]}"])

    async def test_other_host(self) -> None:
        """A host that the policy does not name is not even connected to."""
        for pattern in ("*.other.test", "peer.test", "a.mx.peer.test"):
            how = await self.send(STATES["right"], found=sts("enforce", pattern))
            self.assertEqual(how, LATER)
            self.assertEqual(self.server.peers, [])
            self.assertEqual(self.told_as, ["sts validation-failure"])
            self.assertIn("does not fit", self.result.outcomes[0].reply.text)
        self.assertEqual(await self.send(STATES["right"], found=sts("testing", "x.test")), "TLS")

    async def test_none_and_unknown(self) -> None:
        """Without a policy it is as it was; that one cannot be had is told."""
        for found in (sts("none"), FoundPolicy()):
            self.assertEqual(await self.send(STATES["no STARTTLS"], found=found), "plain")
        trouble = FoundPolicy(None, ResultType.STS_POLICY_FETCH_ERROR, "no answer")
        self.assertEqual(await self.send(STATES["strange"], found=trouble), "TLS")
        self.assertEqual(self.told_as, ["no-policy-found success", "sts sts-policy-fetch-error"])
        self.assertIn("no answer", str(self.result.attempt.tls_because))

    async def test_level_is_not_lowered(self) -> None:
        """What is set for all is asked of hosts whose policy is in testing, too."""
        how = await self.send(STATES["strange"], found=sts("testing"), level=TLSLevel.VERIFY)
        self.assertEqual(how, LATER)
        how = await self.send(STATES["no STARTTLS"], found=sts("none"), level=TLSLevel.ENCRYPT)
        self.assertEqual(how, LATER)


_RESULTS = {
    "right": "success",
    "other name": "certificate-host-mismatch",
    "expired": "certificate-expired",
    "strange": "certificate-not-trusted",
    "no STARTTLS": "starttls-not-supported",
    "refused": "starttls-not-supported",
    "broken": "validation-failure",
}


class DANETests(PolicyTestCase):
    """DANE against every state of a server."""

    async def test_key(self) -> None:
        """The key that the record names, whoever vouches for it; nothing in clear."""
        for name, manners in STATES.items():
            with self.subTest(name):
                how = await self.send(manners, dns=self.dns(of(RIGHT_CERTIFICATE)))
                self.assertEqual(how, "TLS" if name == "right" else LATER)
                self.assertEqual(self.result.attempt.tls_policy, "dane")
        for certificate, name in (
            (EXPIRED_CERTIFICATE, "expired"),
            (STRANGE_CERTIFICATE, "strange"),
        ):
            self.assertEqual(await self.send(STATES[name], dns=self.dns(of(certificate))), "TLS")
            self.assertEqual(self.told_as, ["tlsa success"])

    async def test_trust_anchor(self) -> None:
        """An authority of its own must vouch for the host's name, or the domain's."""
        anchor = AUTHORITY.certificate
        for name, of_whom, expected in (
            (NAME, AUTHORITY, "TLS"),
            (DOMAIN, AUTHORITY, "TLS"),
            ("other.test", AUTHORITY, LATER),
            (NAME, STRANGER, LATER),
        ):
            certificate, key = of_whom.issue([name])
            options = CertificateOptions(
                privateKey=key,  # type: ignore[arg-type]
                certificate=certificate,  # type: ignore[arg-type]
                extraCertChain=[anchor],  # type: ignore[list-item]
            )
            how = await self.send(Manners(tls=options), dns=self.dns(of(anchor, 2)))
            self.assertEqual(how, expected, f"{name}: {self.result.attempt.transcript}")

    async def test_unusable(self) -> None:
        """Records of which none can be used ask for TLS, of whatever certificate."""
        unusable = [of(RIGHT_CERTIFICATE, 1), TLSA(3, 1, 1, b"short")]
        for name, manners in STATES.items():
            with self.subTest(name):
                how = await self.send(manners, dns=self.dns(*unusable))
                self.assertEqual(how, "TLS" if name in CERTIFICATES else LATER)
                self.assertIn("none of which", str(self.result.attempt.tls_because))

    async def test_lookup_failure(self) -> None:
        """A bogus or missing answer is no permission to go on without (RFC 7672 section 2.1.3)."""
        dns = self.dns(bogus=frozenset({f"{NAME}/TLSA"}))
        self.assertEqual(await self.send(STATES["right"], dns=dns), LATER)
        self.assertEqual(self.server.peers, [])
        self.assertEqual(self.told_as, ["tlsa dnssec-invalid"])
        for name in (DOMAIN, NAME):
            dns = self.dns(bogus=frozenset({name}))
            self.assertEqual(await self.send(STATES["right"], dns=dns), "deferral 451 4.4.3")

    async def test_insecure(self) -> None:
        """What is not signed does not count: MX, address or TLSA records."""
        record = of(RIGHT_CERTIFICATE)
        for insecure in (f"{DOMAIN}/MX", f"{NAME}/A", f"{NAME}/TLSA"):
            dns = self.dns(record, insecure=frozenset({insecure}))
            self.assertEqual(await self.send(STATES["no STARTTLS"], dns=dns), "plain", insecure)
            self.assertEqual(self.result.attempt.tls_policy, "may")
            asked = "TLSA" in insecure
            self.assertEqual([name for name in dns.asked if "TLSA" in name] != [], asked)

    async def test_alias(self) -> None:
        """Records where a signed CNAME leads come first, then those of the name itself."""
        record, other = of(RIGHT_CERTIFICATE), of(STRANGE_CERTIFICATE)
        led: dict[str, Any] = {
            "aliases": {NAME: "a.far.test"},
            "hosts": {"a.far.test": ["127.0.0.1"]},
        }
        dns = self.dns(other, tlsa_of={"a.far.test": [record]}, **led)
        self.assertEqual(await self.send(STATES["right"], dns=dns), "TLS")
        self.assertIn("a.far.test", str(self.result.attempt.tls_because))
        self.assertEqual(await self.send(STATES["right"], dns=self.dns(record, **led)), "TLS")
        insecure = frozenset({"a.far.test"})  # the CNAME is signed, what it leads to is not
        dns = self.dns(record, insecure=insecure, tlsa_of={"a.far.test": [other]}, **led)
        self.assertEqual(await self.send(STATES["right"], dns=dns), "TLS")
        self.assertNotIn("a.far.test/TLSA", dns.asked)

    async def test_before_mta_sts(self) -> None:
        """It decides where both are there, and its absence leaves MTA-STS as it is."""
        dns = self.dns(of(STRANGE_CERTIFICATE))
        self.assertEqual(await self.send(STATES["strange"], dns=dns, found=sts("enforce")), "TLS")
        self.assertEqual(await self.send(STATES["right"], dns=dns, found=sts("enforce")), LATER)
        self.assertEqual(
            await self.send(STATES["right"], dns=self.dns(), found=sts("enforce")), "TLS"
        )
        how = await self.send(STATES["strange"], dns=self.dns(), found=sts("enforce"))
        self.assertEqual(how, LATER)


class SetTests(PolicyTestCase):
    """What the operator sets, and what the message wants."""

    async def test_levels(self) -> None:
        """What is set for the domain goes before what it publishes."""
        bad = self.dns(of(STRANGE_CERTIFICATE))
        for level, name, expected in (
            ("none", "right", "plain"),
            ("may", "no STARTTLS", "plain"),
            ("may", "strange", "TLS"),
            ("encrypt", "expired", "TLS"),
            ("encrypt", "no STARTTLS", LATER),
            ("verify", "right", "TLS"),
            ("verify", "expired", LATER),
        ):
            with self.subTest(f"{level} {name}"):
                levels = {DOMAIN: TLSLevel(level)}
                how = await self.send(
                    STATES[name], levels=levels, dns=bad, found=sts("enforce", "x.test")
                )
                self.assertEqual(how, expected)
                self.assertEqual(self.result.attempt.tls_because, f"set for {DOMAIN}")

    async def test_none_for_all(self) -> None:
        """Who wants no TLS at all gets none."""
        found = sts("enforce")
        self.assertEqual(
            await self.send(STATES["right"], found=found, level=TLSLevel.NONE), "plain"
        )

    async def test_waived(self) -> None:
        """``TLS-Required: No`` has policies of the domain left aside, not those that are set."""
        for field, expected in (
            (b"TLS-Required: No", "TLS"),
            (b"tls-required :\tno ", "TLS"),
            (b"TLS-Required: Yes", LATER),
            (b"X: a\r\n TLS-Required: No", LATER),
            (b"Subject: x\r\n\r\nTLS-Required: No", LATER),
        ):
            content = b"From: a@us.test\r\n" + field + b"\r\n\r\nhello\r\n"
            for found, dns in ((sts("enforce"), None), (None, self.dns(of(RIGHT_CERTIFICATE)))):
                how = await self.send(STATES["strange"], content=content, found=found, dns=dns)
                self.assertEqual(how, expected, field)
                if expected == "TLS":
                    self.assertEqual(self.told, [])
        content = b"TLS-Required: No\r\n\r\nhello\r\n"
        how = await self.send(STATES["no STARTTLS"], content=content, found=sts("enforce"))
        self.assertEqual(how, "plain")
        levels = {DOMAIN: TLSLevel.VERIFY}
        self.assertEqual(await self.send(STATES["strange"], content=content, levels=levels), LATER)

    async def test_reports_are_not_told(self) -> None:
        """What nobody waits for an answer to is not counted."""
        await self.send(STATES["strange"], found=sts("enforce"), is_automatic=True)
        self.assertEqual(self.told, [])


class RequireTLSTests(PolicyTestCase):
    """REQUIRETLS by MX (RFC 8689 section 4.2.1)."""

    async def required(self, name: str, **given: Any) -> str:
        """What comes of a message that asks for it."""
        manners = STATES[name]
        if manners.tls is not None and given.pop("offered", True):
            manners = evolve(manners, extensions_in_tls=[b"REQUIRETLS"])
        how = await self.send(manners, require_tls=True, **given)
        if how == "TLS":
            self.assertIn(b"MAIL FROM:<a@us.test> REQUIRETLS", self.server.lines)
        return how

    async def test_nobody_vouches(self) -> None:
        """Hosts that only an unsigned record names are not asked."""
        insecure = self.dns(insecure=frozenset({f"{DOMAIN}/MX"}))
        for given in ({"found": FoundPolicy()}, {"dns": insecure}, {"found": sts("none")}, {}):
            self.assertEqual(await self.required("right", **given), "failure 550 5.7.30")
            self.assertEqual(self.server.peers, [])
        how = await self.required("right", found=sts("enforce", "other.test"))
        self.assertEqual(how, "failure 550 5.7.30")

    async def test_not_known_now(self) -> None:
        """That a policy cannot be looked up now is no reason to return it."""
        found = FoundPolicy(None, None, "no answer", is_unknown=True)
        self.assertEqual(await self.required("right", found=found), LATER)

    async def test_vouched_for(self) -> None:
        """By MTA-STS, or signed MX records: then the certificate must be right."""
        for given in (
            {"found": sts("enforce")},
            {"found": sts("testing")},
            {"dns": self.dns()},
            {"dns": self.dns(), "levels": {DOMAIN: TLSLevel.NONE}},
        ):
            for name in ("right", "strange", "expired", "other name", "no STARTTLS"):
                expected = "TLS" if name == "right" else "failure 550 5.7.10"
                self.assertEqual(await self.required(name, **given), expected, name)
            self.assertEqual(await self.required("refused", **given), LATER)

    async def test_by_dane(self) -> None:
        """Records decide, whoever vouches for the certificate; unusable ones say nothing."""
        strange = self.dns(of(STRANGE_CERTIFICATE))
        self.assertEqual(await self.required("strange", dns=strange), "TLS")
        self.assertEqual(await self.required("right", dns=strange), "failure 550 5.7.10")
        unusable = self.dns(of(STRANGE_CERTIFICATE, 1))
        self.assertEqual(await self.required("strange", dns=unusable), "failure 550 5.7.10")
        self.assertEqual(await self.required("right", dns=unusable), "TLS")

    async def test_not_offered(self) -> None:
        """A host that does not pass it on does not get the message."""
        tls = evolve(STATES["right"], extensions_in_tls=[])
        how = await self.send(tls, require_tls=True, found=sts("enforce"))
        self.assertEqual(how, "failure 550 5.7.30")

    async def test_waiver_does_not_count(self) -> None:
        """Who says both wants TLS (RFC 8689 section 4.1)."""
        content = b"TLS-Required: No\r\n\r\nhello\r\n"
        how = await self.required("strange", content=content, found=sts("enforce"))
        self.assertEqual(how, "failure 550 5.7.10")


class KeptConnectionTests(PolicyTestCase):
    """A connection that is kept is used under the policy that it was opened under."""

    async def again(self, found: FoundPolicy, **fields: Any) -> Result:
        """A second message over what the first one left."""

        async def policy_of(domain: str) -> FoundPolicy:
            return found

        policies = evolve(self.policies, mta_sts=policy_of)
        return await evolve(self.sender, policies=policies).attempt(mx_job(DOMAIN, **fields))

    async def test_same_policy(self) -> None:
        """Used again, with the same decision in its history."""
        await self.send(STATES["right"], found=sts("enforce"))
        result = await self.again(sts("enforce"))
        self.assertEqual(len(self.server.peers), 1)
        self.assertEqual(result.attempt.tls_policy, "mta-sts")
        self.assertEqual(result.attempt.certificate, self.result.attempt.certificate)
        self.assertIn(NAME, str(result.attempt.certificate))

    async def test_stronger_policy(self) -> None:
        """What was opened without a policy is not used once there is one."""
        for first in (FoundPolicy(), sts("none"), sts("testing"), sts("enforce", "*.peer.test")):
            await self.send(STATES["right"], found=first)
            result = await self.again(sts("enforce"))
            self.assertEqual(len(self.server.peers), 2)
            self.assertEqual(result.attempt.tls_policy, "mta-sts")

    async def test_too_old(self) -> None:
        """A policy that was looked up long ago stands for nothing: it is looked up again."""
        await self.send(STATES["right"], found=sts("enforce"))
        for connection in self.sender.pool._open:
            connection.opened_at -= MOST_AGE_OF_POLICY + 1
        await self.again(sts("enforce"))
        self.assertEqual(len(self.server.peers), 2)

    async def test_fallen_back(self) -> None:
        """In clear least of all."""
        self.assertEqual(await self.send(STATES["no STARTTLS"], found=FoundPolicy()), "plain")
        result = await self.again(sts("enforce"))
        self.assertEqual(short(result.outcomes[0]), LATER)
        self.assertEqual(len(self.server.contents), 1)


class CheckTests(PolicyTestCase):
    """A check of certificates that fails in any way believes none."""

    async def test_defect(self) -> None:
        """Not even when what goes wrong is ours."""

        def broken(chain: object) -> object:
            raise ValueError("a defect")

        server = await ScriptedServer.start(self, reactor, polite(STATES["right"]))
        transport = self.transport(FakeResolver())
        target = Target(NAME, "127.0.0.1", server.port)
        access = Access(TLSLevel.VERIFY, check=broken)
        connecting = Deferred.fromCoroutine(transport.pool.connect(target, access, Transcript()))
        error = await self.assertFailure(connecting, CertificateRefused)
        self.assertIn("ValueError", str(error))
        self.assertEqual(server.lines, [b"EHLO us.test", b"STARTTLS"])


class LevelTests(SynchronousTestCase):
    """Which pattern fits a domain."""

    def test_patterns(self) -> None:
        """Its own name first, then the longest that it is below."""
        levels = {
            "a.test": TLSLevel.NONE,
            ".a.test": TLSLevel.ENCRYPT,
            ".b.a.test": TLSLevel.VERIFY,
        }
        for domain, pattern in (
            ("a.test", "a.test"),
            ("x.a.test", ".a.test"),
            ("b.a.test", ".a.test"),
            ("x.b.a.test", ".b.a.test"),
            ("xa.test", None),
            ("test", None),
            (str(Address.parse("x@[192.0.2.1]").domain), None),
        ):
            found = level_for(domain, levels)
            self.assertEqual(found[0] if found else None, pattern, domain)
