"""SASL mechanisms, step by step."""

from __future__ import annotations

from scramp import ScramClient
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.credentials import ScramVerifier
from mailrelay.inbound.sasl import (
    Challenge,
    Login,
    MalformedResponse,
    NotAuthorized,
    PasswordGiven,
    Plain,
    Scram,
    ScramFinished,
    Verify,
)

IP = "192.0.2.1"
VERIFIER = ScramVerifier.of("pencil", b"s" * 16)


class PlainTests(SynchronousTestCase):
    """PLAIN (RFC 4616)."""

    def test_good(self) -> None:
        """Identity and password are taken as they are; an empty challenge asks for them."""
        given = PasswordGiven("u", "p ü", IP)
        plain = Plain(IP)
        self.assertEqual(plain.step(None), Challenge(b""))
        self.assertEqual(plain.step("\0u\0p ü".encode()), Verify(given))
        self.assertEqual(plain.step("u\0u\0p ü".encode()), Verify(given))

    def test_bad(self) -> None:
        """Missing parts and what is no UTF-8 are refused."""
        for response in (
            b"",
            b"u",
            b"\0u",
            b"\0\0p",
            b"\0u\0",
            b"\0u\0p\0",
            b"\0u\0\xff",
        ):
            with self.subTest(response):
                self.assertRaises(MalformedResponse, Plain(IP).step, response)

    def test_others_identity(self) -> None:
        """Well formed, but nobody acts as another."""
        self.assertRaises(NotAuthorized, Plain(IP).step, b"x\0u\0p")

    def test_secrets(self) -> None:
        """Credentials can be logged: no password shows (threat 21)."""
        self.assertNotIn("s3cret", repr(Plain(IP).step(b"\0u\0s3cret")))


class LoginTests(SynchronousTestCase):
    """LOGIN."""

    def test_both_ways(self) -> None:
        """With and without an initial response: name, then password."""
        for first in ([None], []):
            login = Login(IP)
            for response in first:
                self.assertEqual(login.step(response), Challenge(b"Username:"))
            self.assertEqual(login.step(b"u"), Challenge(b"Password:"))
            self.assertEqual(login.step(b"p"), Verify(PasswordGiven("u", "p", IP)))

    def test_bad(self) -> None:
        """What is no UTF-8 is refused."""
        self.assertRaises(MalformedResponse, Login(IP).step, b"\xff")


class ScramTests(SynchronousTestCase):
    """SCRAM-SHA-256 and its -PLUS."""

    def server(self, binding: tuple[str, bytes] | None = None) -> Scram:
        """The server's side; -PLUS where there is a binding."""
        return Scram(
            IP, lambda _: [VERIFIER], binding=binding, may_bind=binding is not None, nonce="server"
        )

    def exchange(
        self, password: str, ours: tuple[str, bytes] | None, theirs: tuple[str, bytes] | None
    ) -> Verify:
        """A whole exchange; the client checks the server's last word."""
        name = "SCRAM-SHA-256" + ("-PLUS" if theirs else "")
        client = ScramClient([name], "u", password, channel_binding=theirs)
        server = self.server(ours)
        self.assertEqual(server.step(None), Challenge(b""))
        first = server.step(client.get_client_first().encode())
        assert isinstance(first, Challenge)
        client.set_server_first(first.data.decode())
        end = server.step(client.get_client_final().encode())
        assert isinstance(end, Verify)
        if end.last_word is not None:
            client.set_server_final(end.last_word.decode())
        return end

    def test_right(self) -> None:
        """The right password is proven, and the server proves itself."""
        for binding in (None, ("tls-unique", b"x" * 12)):
            end = self.exchange("pencil", binding, binding)
            proven = ScramFinished("u", IP, True, str(VERIFIER))
            self.assertEqual(end.credentials, proven)
            self.assertIsNotNone(end.last_word)

    def test_wrong(self) -> None:
        """The wrong password, and another connection's binding, are not proven."""
        end = self.exchange("pen", None, None)
        self.assertEqual(end, Verify(ScramFinished("u", IP, proven=False)))
        end = self.exchange("pencil", ("tls-unique", b"x" * 12), ("tls-unique", b"y" * 12))
        self.assertEqual(end.credentials, ScramFinished("u", IP, proven=False))

    def test_malformed(self) -> None:
        """What follows no grammar is malformed, at either step."""
        for first in (
            b"",
            b"x",
            b"n,,n=u",
            b"\xff",
            b"n,,r=a",
            b"y" * 100_000,
            b"n,," + b"," * 100_000,
        ):
            with self.subTest(first[:20]):
                self.assertRaises(MalformedResponse, self.server().step, first)
        for final in (b"", b"x", b"c=biws,r=a", b"\xff", b",p=!", b"p" * 100_000):
            with self.subTest(final[:20]):
                server = self.server()
                server.step(b"n,,n=u,r=client")
                self.assertRaises(MalformedResponse, server.step, final)

    def test_wrong_nonce(self) -> None:
        """A proof with another exchange's nonce proves nothing."""
        server = self.server()
        server.step(b"n,,n=u,r=client")
        end = server.step(b"c=biws,r=other,p=" + b"A" * 43 + b"=")
        self.assertEqual(end, Verify(ScramFinished("u", IP, proven=False)))
