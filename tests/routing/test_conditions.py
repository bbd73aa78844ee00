"""Which route takes an entry: conditions, order, attempts; and where its transport leads."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Account, Directory, Domain
from mailrelay.net.tls import TLSLevel
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Entry, Message
from mailrelay.routing.route import Route, RoutingSettings, names_domain
from mailrelay.routing.router import Because, Router
from mailrelay.routing.transports import Direct, NamedTransport
from mailrelay.routing.ways import ByMX, ByRelayHost, Fail, RelayHost, SocksProxy
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import reply

HOST = RelayHost("relay.test", 587, TLSLevel.VERIFY, username="me", password="secret")
REFUSAL = Fail(reply(554, "5.7.0", "not by this way"))
CLOSED = NamedTransport("closed", REFUSAL)
DIRECTORY = Directory(
    domains={"us.test": Domain(1, "us.test")},
    accounts={1: Account(1, "me"), 2: Account(2, "you")},
    addresses={("me", "us.test"): 1},
)


def entry(recipient: str = "a@peer.test", sender: str = "me@us.test", **fields: Any) -> Entry:
    """An entry of the account "me" unless ``account_id`` is given; an empty sender is null."""
    reverse_path = Address.parse(sender) if sender else None
    account_id, door = fields.pop("account_id", 1), fields.pop("door", "submission")
    message = Message(1, account_id, reverse_path, 0.0, 10, door)
    return Entry(1, message, Address.parse(recipient), 0.0, 0.0, **fields)


class DomainListTests(SynchronousTestCase):
    """Lists of domains, as mox reads them."""

    def test_names_domain(self) -> None:
        """Itself, with a dot also below it, a dot alone for none, and empty for any."""
        for wanted, named, others in (
            ((), ("peer.test", "", "[192.0.2.1]"), ()),
            (("peer.test",), ("peer.test",), ("x.peer.test", "notpeer.test", "", "[192.0.2.1]")),
            ((".peer.test",), ("peer.test", "a.b.peer.test"), ("notpeer.test", "test", "")),
            ((".",), ("", "[192.0.2.1]", "[IPv6:2001:db8::1]"), ("peer.test",)),
            (("a.test", ".b.test"), ("a.test", "b.test", "x.b.test"), ("x.a.test",)),
        ):
            for domain in named:
                self.assertTrue(names_domain(wanted, domain), (wanted, domain))
            for domain in others:
                self.assertFalse(names_domain(wanted, domain), (wanted, domain))


class ConditionTests(SynchronousTestCase):
    """One route, and who fits it."""

    def check(self, route: Route, fitting: list[Entry], others: list[Entry]) -> None:
        """Those that fit go by the route, the others as if it were not there."""
        router = Router(lambda: RoutingSettings([route]), lambda: DIRECTORY)
        for each in fitting:
            self.assertIs(router.decide(each).route, route, each)
        for each in others:
            self.assertIs(router.decide(each).because, Because.MX, each)

    def test_recipient(self) -> None:
        """By the recipient's domain; a literal has none."""
        route = Route(to_domain=[".peer.test", "."], mx=True)
        fitting = [entry(), entry("a@x.peer.test"), entry("a@[192.0.2.1]")]
        self.check(route, fitting, [entry("a@else.test")])

    def test_sender(self) -> None:
        """By the reverse-path's domain, whatever its localpart is made to."""
        fitting = [entry(), entry(own_reverse_path=Address.parse("me+id@us.test"))]
        self.check(Route(from_domain=["us.test"], mx=True), fitting, [entry(sender="")])
        self.check(Route(from_domain=["."], mx=True), [entry(sender="")], fitting)

    def test_account(self) -> None:
        """By the account that submitted it; what came from elsewhere has none."""
        others = [entry(account_id=2), entry(account_id=None), entry(account_id=99)]
        self.check(Route(account="me", mx=True), [entry()], others)

    def test_attempts(self) -> None:
        """From so many attempts on."""
        fitting = [entry(attempts=2), entry(attempts=3)]
        self.check(Route(minimum_attempts=2, mx=True), fitting, [entry(), entry(attempts=1)])

    def test_all(self) -> None:
        """All that a route names must fit."""
        route = Route(
            to_domain=["peer.test"], from_domain=["us.test"], minimum_attempts=1, account="me"
        )
        right = entry(attempts=1)
        others = [
            entry(),
            evolve(right, recipient=Address.parse("a@else.test")),
            entry(sender="me@else.test", attempts=1),
            entry(account_id=2, attempts=1),
        ]
        self.check(evolve(route, mx=True), [right], others)


class OrderTests(SynchronousTestCase):
    """Several routes."""

    def test_account_sender_all(self) -> None:
        """An account's routes come before a sender's domain's, these before the rest."""
        for_all = Route(mx=True, number=1)
        for_sender = Route(from_domain=["us.test"], mx=True, number=2)
        for_me = Route(account="me", mx=True, number=3)
        second_for_me = Route(account="me", discard=True, number=4)
        settings = RoutingSettings([for_all, for_sender, for_me, second_for_me])
        router = Router(lambda: settings, lambda: DIRECTORY)
        self.assertIs(router.decide(entry()).route, for_me)
        self.assertIs(router.decide(entry(account_id=2)).route, for_sender)
        self.assertIs(router.decide(entry(sender="", account_id=2)).route, for_all)

    def test_each_attempt_anew(self) -> None:
        """An entry that is attempted again may go another way."""
        fallback = NamedTransport("fallback", HOST)
        settings = RoutingSettings([Route(minimum_attempts=1, transport=fallback)])
        router = Router(lambda: settings, lambda: DIRECTORY)
        self.assertEqual(router(entry()).key, "mx:peer.test")
        again = router(entry(attempts=1))
        self.assertEqual(again.key, "transport:fallback:relay:me@relay.test:587:verify")

    def test_ours_first(self) -> None:
        """Our own recipients have their mailboxes, whatever the routes say."""
        settings = RoutingSettings([Route(transport=CLOSED)])
        router = Router(lambda: settings, lambda: DIRECTORY)
        self.assertIs(router.decide(entry("me@us.test")).because, Because.MAILBOX)
        self.assertIs(router.decide(entry()).because, Because.ROUTE)

    def test_localserve_fails(self) -> None:
        """A route to ``fail`` applies in localserve, to its own recipients too, but not to DSNs."""
        closed = Route(to_domain=["peer.test", "us.test"], transport=CLOSED)
        routes = [closed, Route(to_domain=["else.test"], mx=True)]
        settings = RoutingSettings(routes, local_only=True, simulate=True)
        directory = evolve(DIRECTORY, everything_to=1)
        router = Router(lambda: settings, lambda: directory)
        for recipient in ("a@peer.test", "me@us.test", "550@peer.test"):
            self.assertEqual(router(entry(recipient)).way, REFUSAL)
        for other in (entry("a@else.test"), entry("a@peer.test", door="dsn")):
            self.assertIs(router.decide(other).because, Because.MAILBOX)
        suppressed = evolve(router, is_suppressed=lambda account_id, recipient: True)
        self.assertIs(suppressed.decide(entry()).because, Because.SUPPRESSED)


class TransportTests(SynchronousTestCase):
    """Where a transport leads."""

    def test_ways(self) -> None:
        """Each kind has its way, and a key with the transport's name."""
        proxy = SocksProxy("proxy.test", 1080, "out.test")
        for kind, expected in (
            (
                HOST,
                Destination(
                    "transport:t:relay:me@relay.test:587:verify",
                    ByRelayHost(HOST, tls_is_fixed=True),
                ),
            ),
            (
                Direct(ipv6=False),
                Destination("transport:t:mx:peer.test", ByMX("peer.test", ipv6=False)),
            ),
            (
                Direct(socks=proxy),
                Destination("transport:t:mx:peer.test", ByMX("peer.test", socks=proxy)),
            ),
            (REFUSAL, Destination("transport:t", REFUSAL)),
        ):
            made = NamedTransport("t", kind).destination("peer.test")
            self.assertEqual((made.key, made.way), (expected.key, expected.way))
            self.assertNotIn("secret", made.key)

    def test_names_keep_apart(self) -> None:
        """Two transports are two destinations, though all but the password is the same."""
        other = evolve(HOST, password="another")
        keys = {NamedTransport(*each).destination("d").key for each in (("a", HOST), ("b", other))}
        self.assertEqual(len(keys), 2)
