"""What decides about TLS, as the settings have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.config.settings import DNSSection, Settings, SMTPOutSection
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.tls_policy import FoundPolicy
from mailrelay.queue.store import StoreUnavailable
from mailrelay.routing.ways import ByMX, ByRelayHost, RelayHost
from mailrelay.service.explaining import tls_words
from mailrelay.service.outbound_tls import OutboundTLS
from mailrelay.testing.fakes import FakeDNSSEC, FakeResolver

PLAIN = Settings("mx.example.org", Path("data"))
STS = evolve(PLAIN, smtp_out=SMTPOutSection(mta_sts=True))
VALIDATING = evolve(PLAIN, dns=DNSSection(("127.0.0.1",), validating=True))


class _NoStore:
    """A database of which nothing can be read."""

    def read(self, work: object) -> Deferred[Any]:
        """See Database."""
        return fail(StoreUnavailable("none"))

    write = read


class _Stores:
    database = _NoStore()


class OutboundTLSTests(SynchronousTestCase):
    """Which policies are asked for."""

    def made(self, settings: Settings, *, validating: bool = True) -> OutboundTLS:
        """What the ways out are given."""
        clock: Any = Clock()
        resolver = FakeResolver(failing=frozenset({"_mta-sts.a.test"}))
        surroundings = Surroundings(
            *(clock, clock, clock.seconds, None, resolver, None, None),  # type: ignore[arg-type]
            FakeDNSSEC() if validating else None,
        )
        stores: Any = _Stores()
        return OutboundTLS(surroundings, settings, stores, lambda result: None)

    def test_nothing_costs_nothing(self) -> None:
        """By default, and on a laptop, nothing is looked up and nothing told."""
        both = evolve(STS, dns=VALIDATING.dns)
        for settings in (PLAIN, evolve(both, localserve=True)):
            policies = self.made(settings).policies
            self.assertTrue(policies.is_idle)
            self.assertFalse(policies.discovers)
            self.assertIsNone(policies.told)

    def test_dane(self) -> None:
        """With a resolver that is named as validating, unless it is switched off."""
        self.assertIsNotNone(self.made(VALIDATING).policies.dane)
        self.assertIsNone(self.made(PLAIN).policies.dane)
        off = evolve(VALIDATING, smtp_out=SMTPOutSection(dane=False))
        self.assertIsNone(self.made(off).policies.dane)

    def test_mta_sts(self) -> None:
        """When it is set: looked up, and what cannot be is as if there were none."""
        made = self.made(STS, validating=False)
        ask = made.policies.mta_sts
        assert ask is not None

        async def found() -> FoundPolicy:
            return await ask("a.test")

        policy = self.successResultOf(Deferred.fromCoroutine(found()))
        self.assertTrue(policy.is_unknown)
        self.assertIn("looking up TXT of _mta-sts.a.test", policy.because)
        self.assertIsNotNone(made.policies.told)
        made.startService()
        self.successResultOf(made.stopService())

    def test_levels(self) -> None:
        """What is set for single domains counts without anything else."""
        levels = {"old.test": TLSLevel.NONE, ".bank.test": TLSLevel.VERIFY}
        settings = evolve(PLAIN, smtp_out=SMTPOutSection(tls=levels))
        policies = self.made(settings).policies
        self.assertFalse(policies.is_idle)
        policy = policies.set_for("www.bank.test", TLSLevel.MAY, "the setting")
        self.assertEqual((policy.level, policy.is_fixed), (TLSLevel.VERIFY, True))


class WordsTests(SynchronousTestCase):
    """What explain says of it."""

    def test_words(self) -> None:
        """The level, and what may ask for more."""
        levels = {"old.test": TLSLevel.NONE}
        outbound = SMTPOutSection(mta_sts=True, tls=levels)
        everything = evolve(VALIDATING, smtp_out=outbound)
        for settings, way, expected in (
            (PLAIN, ByMX("a.test"), "may"),
            (STS, ByMX("a.test"), "may, or as MTA-STS asks"),
            (everything, ByMX("a.test"), "may, or as DANE or MTA-STS asks"),
            (everything, ByMX("a.test", least_tls=TLSLevel.NONE), "none"),
            (everything, ByMX("old.test"), "none, set for the domain"),
            (evolve(everything, localserve=True), ByMX("a.test"), "may"),
            (everything, ByRelayHost(RelayHost("r.test", tls=TLSLevel.VERIFY)), "verify"),
        ):
            said = tls_words(settings)(way)
            self.assertEqual(said, expected)
            self.assertLessEqual(len(said), 40)
