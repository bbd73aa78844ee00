"""Passwords at rest: argon2id, and a SCRAM verifier (RFC 5802, RFC 7677)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from attrs import field, frozen
from scramp import ScramException, ScramMechanism

SCRAM_ROUNDS = 15_000
"""RFC 7677 section 4 asks for at least 4096; OWASP and mox use more."""

_hasher = PasswordHasher()
_DUMMY_HASH = _hasher.hash("a password that nobody has")


class UnusablePassword(Exception):
    """SCRAM has no way to compare it: it has characters that are forbidden there."""


@frozen
class ScramVerifier:
    """What a server keeps for SCRAM-SHA-256: none of it gives the password away."""

    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    rounds: int = SCRAM_ROUNDS

    @classmethod
    def of(cls, password: str, salt: bytes) -> ScramVerifier:
        """The verifier of ``password``; slow.  Raises: UnusablePassword."""
        mechanism = ScramMechanism("SCRAM-SHA-256")
        try:
            made = mechanism.make_auth_info(password, iteration_count=SCRAM_ROUNDS, salt=salt)
        except ScramException as error:
            raise UnusablePassword(str(error).partition(":")[0]) from None
        salt, stored_key, server_key, rounds = made
        return cls(salt, stored_key, server_key, rounds)

    @classmethod
    def parse(cls, text: str) -> ScramVerifier:
        """The verifier that ``str`` wrote."""
        rounds, salt, stored_key, server_key = text.split("$")
        return cls(b64decode(salt), b64decode(stored_key), b64decode(server_key), int(rounds))

    def __str__(self) -> str:
        keys = (self.salt, self.stored_key, self.server_key)
        return "$".join([str(self.rounds), *(b64encode(key).decode() for key in keys)])


def hash_password(password: str) -> str:
    """The argon2id hash of ``password``; about 50 ms, never on the reactor thread."""
    return _hasher.hash(password)


def check_password(password_hash: str | None, password: str) -> bool:
    """Whether ``password`` is the one; takes as long when there is no hash at all."""
    try:
        _hasher.verify(password_hash or _DUMMY_HASH, password)
    except (VerificationError, InvalidHashError):
        return False
    return bool(password_hash)  # an empty one was not compared


def pretended_verifier(secret: bytes, identity: str) -> ScramVerifier:
    """A verifier nobody's password fits, the same for the same unknown ``identity``."""
    key = hmac.digest(secret, identity.lower().encode("utf-8", "replace"), hashlib.sha256)
    return ScramVerifier(key[:16], key, hashlib.sha256(key).digest())
