"""SCRAM-SHA-256 as a server (RFC 5802, RFC 7677), with tls-exporter (RFC 9266) and tls-unique.

Our own, because the library that makes the verifiers knows no tls-exporter, and TLS 1.3 no other.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence

from mailrelay.directory.credentials import ScramVerifier


class MalformedMessage(Exception):
    """The client's message does not follow RFC 5802 section 7, or binds as it must not."""


class ScramServer:
    """One exchange: ``first``, then ``final``.  ``binding`` is (type, data), None without PLUS."""

    def __init__(
        self,
        verifiers: Callable[[str], Sequence[ScramVerifier]],
        *,
        nonce: str,
        binding: tuple[str, bytes] | None,
        may_bind: bool,
    ) -> None:
        self._verifiers_of, self._nonce = verifiers, nonce
        self._binding, self._may_bind = binding, may_bind
        self.identity = ""
        self._gs2 = ""
        self._messages: list[str] = []
        self._verifiers: Sequence[ScramVerifier] = ()
        self.proven_by: ScramVerifier | None = None

    def first(self, message: str) -> str:
        """The server's first message.  Raises: MalformedMessage."""
        match = _CLIENT_FIRST.fullmatch(message)
        if match is None:
            raise MalformedMessage("malformed client-first-message")
        self._gs2, flag, bare, name, client_nonce = match.group(1, 2, 3, 4, 5)
        self._check_flag(flag)
        self.identity = name.replace("=2C", ",").replace("=3D", "=")
        self._nonce = client_nonce + self._nonce
        self._verifiers = self._verifiers_of(self.identity)
        salt = b64encode(self._verifiers[0].salt).decode()
        answer = f"r={self._nonce},s={salt},i={self._verifiers[0].rounds}"
        self._messages = [bare, answer]
        return answer

    def _check_flag(self, flag: str) -> None:
        """Whether the client binds as this mechanism must (RFC 5802 section 6)."""
        if self._binding is not None:
            if flag != f"p={self._binding[0]}":
                raise MalformedMessage(f"channel binding must be {self._binding[0]}")
        elif flag.startswith("p="):
            raise MalformedMessage("channel binding needs the -PLUS mechanism")
        elif flag == "y" and self._may_bind:
            # The client could bind and believes that we cannot: somebody took -PLUS away.
            raise MalformedMessage("the server does offer channel binding")

    def final(self, message: str) -> str | None:
        """The server's last message, None when the proof, the channel or the nonce is wrong.

        Raises: MalformedMessage.
        """
        match = _CLIENT_FINAL.fullmatch(message)
        if match is None or not self._verifiers:
            raise MalformedMessage("malformed client-final-message")
        without_proof, channel, nonce = match.group(1, 2, 3)
        expected = self._gs2.encode() + (self._binding[1] if self._binding else b"")
        proof = _decoded(match.group(4))
        fits = hmac.compare_digest(_decoded(channel), expected)
        fits &= hmac.compare_digest(nonce.encode(), self._nonce.encode())
        signed = ",".join([*self._messages, without_proof]).encode()
        proving = [one for one in self._verifiers if _proves(proof, one, signed)]
        if not proving or not fits:
            return None
        self.proven_by = proving[0]
        server = hmac.digest(proving[0].server_key, signed, hashlib.sha256)
        return f"v={b64encode(server).decode()}"


def _proves(proof: bytes, verifier: ScramVerifier, signed: bytes) -> bool:
    """Whether whoever made ``proof`` knows what ``verifier`` is of (RFC 5802 section 3)."""
    signature = hmac.digest(verifier.stored_key, signed, hashlib.sha256)
    key = bytes(a ^ b for a, b in zip(signature, proof, strict=False))
    right = hmac.compare_digest(hashlib.sha256(key).digest(), verifier.stored_key)
    return right and len(proof) == len(signature)


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except Base64Error as error:
        raise MalformedMessage("not base64") from error


# saslname without "=" other than in "=2C" and "=3D"; an authorization identity must be absent.
_CLIENT_FIRST = re.compile(
    r"((n|y|p=[A-Za-z0-9.\-]{1,40}),,)(n=((?:[^\0,=]|=2C|=3D){1,320}),r=([!-+\--~]{1,256})(?:,.{0,256})?)"
)
_CLIENT_FINAL = re.compile(
    r"(c=([A-Za-z0-9+/=]{1,512}),r=([!-+\--~]{1,400})),p=([A-Za-z0-9+/=]{1,88})"
)
