"""When certificates are ordered, on a clock, of an authority that a test plays."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, evolve, field
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.certificates.challenges import Challenge, Challenges
from mailrelay.certificates.held import Certificates, Place
from mailrelay.certificates.ordering import Account, ACMEFailed, Order, Suggestion
from mailrelay.certificates.pair import DAY
from mailrelay.certificates.renewal import FIRST_RETRY, LIMITED_RETRY, LONGEST_RETRY
from mailrelay.certificates.settings import HTTP_01, ACMESettings
from mailrelay.certificates.store import ACMEStore
from mailrelay.directory.model import Directory, Domain
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.threads import AtOnce
from mailrelay.service.acme import NAMES_EVERY, Names, Renewals
from mailrelay.testing.certificates import Authority as Issuer
from mailrelay.testing.fakes import FakeResolver

START = datetime.now(UTC).timestamp()
HOST = "mx.example.org"
LIFE = 90 * DAY


@define
class PlayedAuthority:
    """Does what it is told; ``orders`` are names with what they replace."""

    now: Any
    issuer: Issuer = field(factory=Issuer)
    orders: list[tuple[str, str | None]] = field(factory=list)
    requests: list[x509.CertificateSigningRequest] = field(factory=list)
    accounts: list[str | None] = field(factory=list)
    failure: ACMEFailed | None = None
    is_down: bool = False
    suggested: Suggestion | None = None
    asked: int = 0
    polls: int = 0
    names: Sequence[str] = ()
    life: float = LIFE

    def made(self, settings: ACMESettings, key: object, uri: str | None) -> PlayedAuthority:
        """As Authority's class is called."""
        self.accounts.append(uri)
        return self

    def account(self) -> Account:
        """See Authority."""
        if self.is_down:
            raise ACMEFailed("nobody answers")
        return Account("https://ca.test/account/1")

    def order(self, name: str, replaces: str | None) -> Order:
        """See Authority."""
        self.orders.append((name, replaces))
        if self.failure is not None:
            raise self.failure
        return Order(name, "finalize", ())

    def challenge(self, order: Order, name: str) -> Challenge | None:
        """See Authority."""
        return Challenge(HTTP_01, name, "url", f"token-{name}", "token.print")

    def answer(self, challenge: Challenge) -> None:
        """See Authority."""

    def is_proved(self, order: Order) -> bool:
        """See Authority."""
        self.polls -= 1
        return self.polls < 0

    def finalize(self, order: Order, request: x509.CertificateSigningRequest) -> None:
        """See Authority."""
        self.requests.append(request)

    def certificate(self, order: Order) -> bytes | None:
        """See Authority."""
        names = self.names or [order.url]
        start = datetime.fromtimestamp(self.now(), UTC)
        key: Any = self.requests[-1].public_key()
        made = self.issuer.signed(names, key, start, start + timedelta(seconds=self.life))
        return made.public_bytes(Encoding.PEM) + self.issuer.pem

    def suggestion(self, certificate: x509.Certificate) -> Suggestion | None:
        """See Authority."""
        self.asked += 1
        return self.suggested


class RenewalsTests(SynchronousTestCase):
    """Renewals.look, whenever the server would."""

    def setUp(self) -> None:
        """Nothing is ordered yet."""
        self.clock = Clock()
        self.folder = Path(self.mktemp()).absolute()
        self.authority = PlayedAuthority(self.now)
        self.addresses: dict[str, list[str]] = {}
        self.renewals = self.begun(ACMESettings(terms_agreed=True, names=(HOST,)))

    def now(self) -> float:
        """The time of day."""
        return START + self.clock.seconds()

    def begun(self, settings: ACMESettings, domains: Sequence[str] = ()) -> Renewals:
        """As at a start of the server."""
        store = ACMEStore(self.folder)
        store.prepare()
        surroundings = Surroundings(
            None,
            self.clock,
            self.now,
            Random(1),
            FakeResolver(hosts=self.addresses),
            AtOnce(),
            AtOnce(),
        )
        certificates = Certificates(HOST, Place(), Challenges(), self.now)
        certificates.ordered.update(store.pairs())
        certificates.choose()
        known = Directory(domains={name: Domain(1, name) for name in domains})
        return Renewals(
            surroundings,
            settings,
            store,
            certificates,
            Names(surroundings, settings, HOST, lambda: known),
            self.authority.made,
            store.standings(),
        )

    def look(self, seconds: float = 0.0) -> None:
        """Let time pass, and look."""
        self.clock.advance(seconds)
        looked = Deferred.fromCoroutine(self.renewals.look())
        for _ in range(200):
            if looked.called:
                break
            self.clock.advance(2.0)
        self.successResultOf(looked)

    def ordered(self) -> list[str]:
        """The names that were ordered since the last call."""
        names = [name for name, _ in self.authority.orders]
        self.authority.orders.clear()
        return names

    def test_first(self) -> None:
        """What is not there is ordered, shown and kept; then nothing happens."""
        self.authority.polls = 3
        self.look()
        self.assertEqual(self.ordered(), [HOST])
        held = self.renewals.certificates
        self.assertEqual(held.ordered[HOST].names, (HOST,))
        self.assertEqual(held.challenges._tokens, {})
        self.assertEqual(self.begun(self.renewals.settings).certificates.pairs[0].names, (HOST,))
        for _ in range(50):
            self.look(DAY)
        self.assertEqual(self.ordered(), [])

    def test_shown_while_it_is_looked_for(self) -> None:
        """The challenge's answer is there until the authority has seen it."""
        self.authority.polls = 2
        looked = Deferred.fromCoroutine(self.renewals.look())
        challenges = self.renewals.certificates.challenges
        self.assertEqual(challenges.answer(f"token-{HOST}"), b"token.print")
        self.assertIsNone(challenges.answer("token-another"))
        self.clock.pump([2.0, 2.0, 2.0])
        self.successResultOf(looked)
        self.assertIsNone(challenges.answer(f"token-{HOST}"))

    def test_stop(self) -> None:
        """An order that is given up leaves nothing behind."""
        self.authority.polls = 1000
        looked = Deferred.fromCoroutine(self.renewals.look())
        looked.cancel()
        self.failureResultOf(looked)
        self.assertEqual(self.renewals.certificates.challenges._tokens, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_patience(self) -> None:
        """An authority that never says fails the order."""
        self.authority.polls = 10_000
        self.look()
        self.assertIn("took longer", str(self.renewals.standings[HOST].error))

    def test_renewal(self) -> None:
        """At two thirds of its life or a little later, in place of the first, with its key."""
        self.look()
        first = self.renewals.certificates.ordered[HOST]
        self.ordered()
        self.look(LIFE * 0.66)
        self.assertEqual(self.ordered(), [])
        self.clock.advance(LIFE * 0.04)
        self.look()
        second = self.renewals.certificates.ordered[HOST]
        [(name, replaces)] = self.authority.orders
        self.assertEqual((name, second.tlsa), (HOST, first.tlsa))
        self.assertIsNot(second, first)
        self.assertIsNone(replaces)  # this issuer's certificates name no issuer key

    def test_another_key(self) -> None:
        """Where the key is not kept, each has its own."""
        self.renewals.settings = evolve(self.renewals.settings, key_is_kept=False)
        self.look()
        first = self.renewals.certificates.ordered[HOST].tlsa
        self.look(LIFE * 0.71)
        self.assertNotEqual(self.renewals.certificates.ordered[HOST].tlsa, first)

    def test_renewal_information(self) -> None:
        """The authority says when; when it changes its mind, that holds."""
        self.authority.suggested = Suggestion(START + 50 * DAY, START + 51 * DAY, 6 * 3600.0)
        self.look()
        self.ordered()
        self.look(40 * DAY)
        self.assertEqual(self.ordered(), [])
        self.look(11.5 * DAY)
        self.assertEqual(self.ordered(), [HOST])
        self.authority.suggested = Suggestion(START, START + DAY)  # revoked, for instance
        asked = self.authority.asked
        self.look(3600)
        self.assertEqual((self.ordered(), self.authority.asked), ([], asked))
        self.look(6 * 3600)
        self.assertEqual(self.ordered(), [HOST])

    def test_failures(self) -> None:
        """Tried again after five minutes, doubling to twelve hours; the old one stays."""
        self.look()
        first = self.renewals.certificates.ordered[HOST]
        self.ordered()
        self.authority.failure = ACMEFailed("no\r\nway\x1b[31m")
        self.look(LIFE * 0.71)
        self.assertEqual(self.ordered(), [HOST])
        wait = FIRST_RETRY
        for _ in range(10):
            self.look(wait * 0.9)
            self.assertEqual(self.ordered(), [])
            self.look(wait * 0.21)
            self.assertEqual(self.ordered(), [HOST])
            wait = min(wait * 2, LONGEST_RETRY)
        self.assertIs(self.renewals.certificates.ordered[HOST], first)
        standing = self.renewals.standings[HOST]
        self.assertEqual((standing.error, standing.failures), ("no  way [31m", 11))
        self.assertEqual(self.renewals.failing, 1)
        self.assertEqual(self.begun(self.renewals.settings).standings[HOST].failures, 11)
        self.authority.failure = None
        self.look(LONGEST_RETRY * 1.2)
        self.assertEqual((self.renewals.failing, self.renewals.standings[HOST].error), (0, None))

    def test_limited(self) -> None:
        """What the authority says of when to come back is done, within reason."""
        for told, least in ((None, LIMITED_RETRY), (5 * 3600.0, 5 * 3600.0), (1e9, 7 * DAY)):
            self.authority.failure = ACMEFailed("slowly", told, is_limited=True)
            self.look()
            self.assertEqual(self.ordered(), [HOST])
            self.look(least * 0.99)
            self.assertEqual(self.ordered(), [])
            self.look(least * 0.12)
            self.assertEqual(self.ordered(), [HOST])
            self.renewals.standings.clear()

    def test_down(self) -> None:
        """An authority that cannot be had is not asked for each name."""
        self.renewals = self.begun(ACMESettings(names=(HOST, "b.example.org")))
        self.authority.is_down = True
        self.look()
        self.look(60)
        self.assertEqual((len(self.authority.accounts), self.ordered()), (1, []))
        self.assertIn("nobody answers", str(self.renewals.standings[""].error))
        self.authority.is_down = False
        self.look(FIRST_RETRY)
        self.assertEqual(self.ordered(), [HOST, "b.example.org"])
        self.assertIsNone(self.renewals.standings[""].error)

    def test_account(self) -> None:
        """It is kept, and made anew when the authority forgot it."""
        self.look()
        self.renewals = self.begun(self.renewals.settings)
        self.authority.failure = ACMEFailed("who?", is_account_gone=True)
        self.look(LIFE * 0.71)
        self.look(DAY)
        self.assertEqual(self.authority.accounts[:2], [None, "https://ca.test/account/1"])
        self.assertIsNone(self.authority.accounts[-1])

    def test_what_came_is_no_good(self) -> None:
        """A certificate for another name, or an expired one, is not shown."""
        self.authority.names = ["other.example"]
        self.look()
        self.assertEqual(dict(self.renewals.certificates.ordered), {})
        self.assertIn("does not name the host", str(self.renewals.standings[HOST].error))

    def test_rate(self) -> None:
        """No more than so many orders in an hour; the rest come later."""
        names = [f"n{i}.example.org" for i in range(7)]
        self.renewals = self.begun(ACMESettings(names=names, orders_per_hour=3))
        self.look()
        self.assertEqual(self.ordered(), names[:3])
        self.look(1800)
        self.assertEqual(self.ordered(), [])
        self.look(1801)
        self.assertEqual(self.ordered(), names[3:6])

    def test_asked(self) -> None:
        """An operator has it renewed at once, whatever the schedule says, once."""
        self.look()
        self.ordered()
        self.renewals.store.ask(HOST)
        self.renewals.store.ask("other.example.org")
        self.look()
        self.assertEqual(self.ordered(), [HOST])
        self.look()
        self.assertEqual((self.ordered(), self.renewals.store.asked()), ([], frozenset()))

    def test_automatic_names(self) -> None:
        """hostname, and what resolves to its addresses alone, looked for every hour."""
        self.addresses.update(
            {
                HOST: ["192.0.2.1", "2001:db8::1"],
                "mta-sts.example.org": ["192.0.2.1"],
                "autoconfig.example.org": ["192.0.2.1", "192.0.2.9"],
                "autodiscover.example.net": ["2001:db8::1"],
                "mta-sts.elsewhere.example": ["192.0.2.7"],
            }
        )
        domains = ["example.org", "example.net", "elsewhere.example"]
        self.renewals = self.begun(ACMESettings(names=("auto", "www.example.org")), domains)
        self.look()
        wanted = [HOST, "www.example.org", "autodiscover.example.net", "mta-sts.example.org"]
        self.assertEqual(self.ordered(), wanted)
        self.addresses["mta-sts.elsewhere.example"] = ["192.0.2.1"]
        self.look(60)
        self.assertEqual(self.ordered(), [])
        self.look(NAMES_EVERY)
        self.assertEqual(self.ordered(), ["mta-sts.elsewhere.example"])

    def test_names_that_are_wanted_no_more(self) -> None:
        """They are shown to their end, without an alarm, and are not renewed."""
        self.addresses.update({HOST: ["192.0.2.1"], "mta-sts.example.org": ["192.0.2.1"]})
        self.renewals = self.begun(ACMESettings(), ["example.org"])
        self.look()
        self.assertEqual(self.ordered(), [HOST, "mta-sts.example.org"])
        del self.addresses["mta-sts.example.org"]
        held = self.renewals.certificates
        self.look(LIFE * 0.9)
        self.assertEqual(self.ordered(), [HOST])
        old = held.ordered["mta-sts.example.org"]
        self.assertEqual(self.renewals.unwanted(), [old])
        self.assertIs(held.of("mta-sts.example.org"), old)
        self.look(LIFE * 0.11)
        self.assertEqual(list(held.ordered), [HOST])
        self.assertIsNone(held.of("mta-sts.example.org"))
