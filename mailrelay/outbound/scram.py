"""SCRAM-SHA-256 as a client (RFC 5802, RFC 7677), bound to the TLS connection where that is used.

The password is not sent, the server proves that it knows it, and with -PLUS both know that nobody
sits between them.  Our own, for the same reason as the server's: TLS 1.3 binds by tls-exporter.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

from scramp import ScramException
from scramp.utils import saslprep

PLUS, SCRAM = "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"

LEAST_ROUNDS, MOST_ROUNDS = 4096, 1_000_000
"""RFC 7677 section 4; what takes some tenths of a second, which everything else waits for."""


class ChallengeRefused(Exception):
    """The server's challenge does not prove that it knows the password, or is malformed."""


class ScramClientMechanism:
    """One exchange.  ``binding`` is (type, data) for -PLUS.

    ``could_bind`` when it could be had and the server does not offer it: the server is told, and
    refuses if it did (RFC 5802 section 6).
    """

    def __init__(
        self,
        username: str,
        password: str,
        nonce: str,
        *,
        binding: tuple[str, bytes] | None = None,
        could_bind: bool = False,
    ) -> None:
        self.name = SCRAM if binding is None else PLUS
        flag = f"p={binding[0]}" if binding else "y" if could_bind else "n"
        self._gs2 = f"{flag},,"
        self._bound = self._gs2.encode() + (binding[1] if binding else b"")
        self._password, self._nonce = _prepared(password), nonce
        escaped = _prepared(username).replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={escaped},r={nonce}"
        self._expected = b""  # the server's signature
        self._stage = 0

    @property
    def initial(self) -> bytes:
        """See ClientMechanism."""
        return f"{self._gs2}{self._bare}".encode()

    @property
    def is_complete(self) -> bool:
        """See ClientMechanism: not before the server's signature was right."""
        return self._stage == 2

    def respond(self, challenge: bytes) -> bytes:
        """See ClientMechanism."""
        if self._stage == 2:
            raise ChallengeRefused("SCRAM goes on after its end")
        try:
            text = challenge.decode("utf-8")
            answer = self._final(text) if self._stage == 0 else self._check(text)
        except (UnicodeDecodeError, Base64Error) as error:
            raise ChallengeRefused("the server's SCRAM message is malformed") from error
        self._stage += 1
        return answer

    def _final(self, server_first: str) -> bytes:
        match = _SERVER_FIRST.fullmatch(server_first)
        if match is None:
            raise ChallengeRefused("the server's SCRAM message is malformed")
        nonce, salt, rounds = match[1], b64decode(match[2], validate=True), int(match[3])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ChallengeRefused("the server's SCRAM nonce is not an answer to ours")
        if not LEAST_ROUNDS <= rounds <= MOST_ROUNDS:
            raise ChallengeRefused(
                f"the server asks for {rounds} rounds of SCRAM, not {LEAST_ROUNDS} to {MOST_ROUNDS}"
            )
        salted = hashlib.pbkdf2_hmac("sha256", self._password.encode(), salt, rounds)
        client_key = _hmac(salted, b"Client Key")
        without_proof = f"c={b64encode(self._bound).decode()},r={nonce}"
        signed = f"{self._bare},{server_first},{without_proof}".encode()
        signature = _hmac(hashlib.sha256(client_key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._expected = _hmac(_hmac(salted, b"Server Key"), signed)
        return f"{without_proof},p={b64encode(proof).decode()}".encode()

    def _check(self, server_final: str) -> bytes:
        match = _SERVER_FINAL.fullmatch(server_final)
        signature = b64decode(match[1], validate=True) if match is not None else b""
        if not hmac.compare_digest(signature, self._expected):
            raise ChallengeRefused("the server does not know the password")
        return b""


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, hashlib.sha256)


def _prepared(text: str) -> str:
    """As both sides compare it (RFC 5802 section 5.1).  What may not be in it stays as it is."""
    try:
        prepared: str = saslprep(text)
    except ScramException:
        return text
    return prepared


_SERVER_FIRST = re.compile(
    r"r=([!-+\--~]{1,400}),s=([A-Za-z0-9+/=]{1,400}),i=([1-9][0-9]{0,8})(?:,.{0,1000})?"
)
_SERVER_FINAL = re.compile(r"v=([A-Za-z0-9+/=]{1,88})(?:,.{0,1000})?")
