"""SCRAM as a client: what is said, what is believed, and what ties it to the connection."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor, ssl
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.credentials import ScramVerifier
from mailrelay.inbound.authentication import channel_binding
from mailrelay.inbound.scram import MalformedMessage, ScramServer
from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.auth import Login, choose_mechanism
from mailrelay.outbound.scram import ChallengeRefused, ScramClientMechanism
from mailrelay.routing.ways import MECHANISMS
from mailrelay.testing.certificates import Authority
from mailrelay.testing.scripted_server import Answer, Manners, Peer, ScriptedServer, polite
from tests.outbound.delivery import OutboundTestCase, short

AUTHORITY = Authority()
USER, PASSWORD = "me,=you@us.test", "päss word"
BINDING = ("tls-exporter", bytes(range(32)))
NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = f"r={SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"


class ExchangeTests(SynchronousTestCase):
    """One side of an exchange."""

    def test_example(self) -> None:
        """The example of RFC 7677 section 3."""
        client = ScramClientMechanism("user", "pencil", NONCE)
        self.assertEqual(client.name, "SCRAM-SHA-256")
        self.assertEqual(client.initial, f"n,,n=user,r={NONCE}".encode())
        self.assertEqual(
            client.respond(FIRST.encode()),
            f"c=biws,r={SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode(),
        )
        self.assertFalse(client.is_complete)
        self.assertEqual(client.respond(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), b"")
        self.assertTrue(client.is_complete)
        self.assertRaises(ChallengeRefused, client.respond, b"")

    def test_malformed(self) -> None:
        """What is no server-first-message, or asks for too little or too much, ends it."""
        for first in (
            "",
            "m=x," + FIRST,
            FIRST.replace("4096", "4095"),
            FIRST.replace("4096", "1000001"),
            FIRST.replace("4096", "-4096"),
            FIRST.replace("4096", "9" * 5000),
            FIRST.replace("W22Z", "W22"),
            FIRST.replace("r=rO", "r=RO"),
            FIRST.replace(SERVER_NONCE, NONCE),
            "e=other-error",
        ):
            client = ScramClientMechanism("user", "pencil", NONCE)
            self.assertRaises(ChallengeRefused, client.respond, first.encode())
        for final in ("", "v=", "v=AAAA", "e=invalid-proof", "v=6rriTRBi23WpRR/wtup+mMhUZUn"):
            client = ScramClientMechanism("user", "pencil", NONCE)
            client.respond(FIRST.encode())
            self.assertRaises(ChallengeRefused, client.respond, final.encode())

    @settings(deadline=None)
    @given(st.binary(max_size=120) | st.from_regex(r"r=[a-z]{0,4},s=[A-Z=]{0,9},i=[0-9]{0,4}"))
    def test_whatever_it_says(self, said: bytes | str) -> None:
        """Nothing but ChallengeRefused leaves."""
        client = ScramClientMechanism("user", "pencil", NONCE)
        challenge = said if isinstance(said, bytes) else said.encode()
        self.assertRaises(ChallengeRefused, client.respond, challenge)
        client.respond(FIRST.encode())
        self.assertRaises(ChallengeRefused, client.respond, challenge)

    def test_names_and_passwords(self) -> None:
        """Any characters of either, as the server reads them."""
        client = ScramClientMechanism(USER, PASSWORD, NONCE)
        server = made_server(None)
        first = server.first(client.initial.decode())
        final = server.final(client.respond(first.encode()).decode())
        assert final is not None
        client.respond(final.encode())
        self.assertEqual((server.identity, client.is_complete), (USER, True))

    def test_mechanism_taken_away(self) -> None:
        """Who takes -PLUS out of the offer is found out by a server that had offered it."""
        login = Login(USER, PASSWORD, NONCE, BINDING)
        client = choose_mechanism({"SCRAM-SHA-256"}, MECHANISMS, login)
        assert client is not None and client.initial is not None
        self.assertRaises(MalformedMessage, made_server(None).first, client.initial.decode())

    def test_choice(self) -> None:
        """The strongest that both have and the configuration allows."""
        every = frozenset({*MECHANISMS, "GSSAPI"})
        login = Login(USER, PASSWORD, NONCE, BINDING)
        unbound = evolve(login, binding=None)
        for offered, allowed, who, expected in (
            (every, MECHANISMS, login, "SCRAM-SHA-256-PLUS"),
            (every, MECHANISMS, unbound, "SCRAM-SHA-256"),
            (every, MECHANISMS[1:], login, "SCRAM-SHA-256"),
            (every, ("LOGIN", "PLAIN"), login, "PLAIN"),
            (every, ("LOGIN",), login, "LOGIN"),
            ({"SCRAM-SHA-256-PLUS"}, MECHANISMS, unbound, None),
            ({"PLAIN"}, ("SCRAM-SHA-256",), login, None),
            ({"GSSAPI"}, ("GSSAPI",), login, None),
        ):
            chosen = choose_mechanism(offered, allowed, who)
            self.assertEqual(chosen.name if chosen else None, expected)
        # Who does not use -PLUS by configuration does not claim that the server lacks it.
        plain = choose_mechanism(every, MECHANISMS[1:], login)
        assert plain is not None and plain.initial is not None
        self.assertTrue(plain.initial.startswith(b"n,,"))


def verifier() -> ScramVerifier:
    """What a server keeps of PASSWORD."""
    return ScramVerifier.of(PASSWORD, b"0123456789abcdef")


def made_server(binding: tuple[str, bytes] | None) -> ScramServer:
    """The server's side, which offers -PLUS."""
    return ScramServer(lambda _: [verifier()], nonce="theirs", binding=binding, may_bind=True)


def bound(wrong: bool = False) -> Answer:
    """SCRAM-SHA-256-PLUS by a server, at the other end of another connection if ``wrong``."""

    async def exchange(peer: Peer) -> None:
        binding = channel_binding(peer.transport)
        assert binding is not None
        server = made_server((binding[0], bytes(32)) if wrong else binding)
        first = server.first(b64decode(peer.lines[-1].split(b" ")[2]).decode())
        peer.say(b"334 " + b64encode(first.encode()))
        final = server.final(b64decode(await peer.line()).decode())
        if final is None:
            peer.say(b"535 5.7.8 no")
            return
        peer.say(b"334 " + b64encode(final.encode()))
        await peer.expect(b"")
        peer.say(b"235 2.7.0 welcome")

    return exchange


class BoundTests(OutboundTestCase):
    """SCRAM-SHA-256-PLUS on the wire."""

    trust_root = AUTHORITY.trust_root

    async def login(self, highest: ssl.TLSVersion, answer: Answer) -> str:
        """What an attempt comes to at a server that offers -PLUS over this version of TLS."""
        tls = AUTHORITY.options(["127.0.0.1"], highest=highest)
        offers = [b"AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN"]
        server = await ScriptedServer.start(
            self, reactor, polite(Manners([], offers, tls=tls, answers={"AUTH": answer}))
        )
        relay: dict[str, Any] = {"mechanisms": MECHANISMS}
        result = await self.attempt(
            server.port, login=(USER, PASSWORD), tls=TLSLevel.VERIFY, relay=relay
        )
        self.assertTrue(any(line.startswith(b"AUTH SCRAM-SHA-256-PLUS ") for line in server.lines))
        self.flushLoggedErrors()
        return short(result.outcomes[0])

    async def test_bound(self) -> None:
        """Over TLS 1.3 by tls-exporter, over 1.2 by tls-unique."""
        for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
            self.assertEqual(await self.login(version, bound()), "delivered 250 2.0.0")

    async def test_somebody_between(self) -> None:
        """A server whose connection is another one does not let us in."""
        outcome = await self.login(ssl.TLSVersion.TLSv1_3, bound(wrong=True))
        self.assertEqual(outcome, "deferral 454 4.7.8")
