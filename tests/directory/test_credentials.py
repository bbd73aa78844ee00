"""Passwords at rest."""

from __future__ import annotations

from scramp import ScramClient, ScramException, ScramMechanism
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.credentials import (
    SCRAM_ROUNDS,
    ScramVerifier,
    check_password,
    hash_password,
    pretended_verifier,
)


class PasswordTests(SynchronousTestCase):
    """argon2id hashes."""

    def test_right_and_wrong(self) -> None:
        """Only the password itself fits its hash; two hashes of it differ."""
        stored = hash_password("pencil ü")
        self.assertTrue(stored.startswith("$argon2id$"))
        self.assertTrue(check_password(stored, "pencil ü"))
        for wrong in ("pencil", "", "pencil ü ", "PENCIL Ü"):
            self.assertFalse(check_password(stored, wrong))
        self.assertNotEqual(hash_password("pencil ü"), stored)

    def test_no_hash(self) -> None:
        """Without a hash, or with a broken one, no password is right."""
        for stored in (None, "", "x", "$argon2id$broken"):
            for password in ("", "a password that nobody has"):
                self.assertFalse(check_password(stored, password))


class ScramVerifierTests(SynchronousTestCase):
    """SCRAM verifiers."""

    def exchange(self, verifier: ScramVerifier, password: str) -> None:
        """A whole exchange; raises when the password is wrong."""
        client = ScramClient(["SCRAM-SHA-256"], "u", password)
        keys = (verifier.salt, verifier.stored_key, verifier.server_key, verifier.rounds)
        server = ScramMechanism("SCRAM-SHA-256").make_server(lambda _: keys)
        server.set_client_first(client.get_client_first())
        client.set_server_first(server.get_server_first())
        server.set_client_final(client.get_client_final())
        client.set_server_final(server.get_server_final())

    def test_stored_and_used(self) -> None:
        """A verifier that was written and read proves the password, and no other."""
        verifier = ScramVerifier.parse(str(ScramVerifier.of("pencil", b"s" * 16)))
        self.exchange(verifier, "pencil")
        self.assertRaises(ScramException, self.exchange, verifier, "pen")
        self.assertGreaterEqual(verifier.rounds, 15_000)

    def test_secrets(self) -> None:
        """Its repr shows no key (threat 21)."""
        shown = repr(ScramVerifier(b"salt", b"stored", b"server"))
        self.assertNotIn("stored'", shown)
        self.assertNotIn("server'", shown)

    def test_pretended(self) -> None:
        """The unknown look like the known: the same salt each time, the usual rounds."""
        one = pretended_verifier(b"secret", "Nobody@example.org")
        self.assertEqual(one, pretended_verifier(b"secret", "nobody@example.org"))
        self.assertNotEqual(one.salt, pretended_verifier(b"secret", "other@example.org").salt)
        self.assertNotEqual(one.salt, pretended_verifier(b"other", "nobody@example.org").salt)
        self.assertEqual((len(one.salt), one.rounds), (16, SCRAM_ROUNDS))
        self.assertRaises(ScramException, self.exchange, one, "")
