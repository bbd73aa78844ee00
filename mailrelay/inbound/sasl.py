"""SASL mechanisms as a server (RFC 4954, 4616, 5802, 7677), sans I/O.

A mechanism is fed the client's responses and answers a challenge, or what is to be verified.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from attrs import field, frozen
from twisted.cred.credentials import ICredentials
from zope.interface import implementer

from mailrelay.directory.credentials import ScramVerifier
from mailrelay.inbound.scram import MalformedMessage, ScramServer


class ISASLCredentials(ICredentials):
    """What a SASL exchange came to, for the portal to judge."""


class MalformedResponse(Exception):
    """The client's response does not follow the mechanism."""


class NotAuthorized(Exception):
    """The client asks to act as somebody whom it may not act as."""


@implementer(ISASLCredentials)
@frozen
class PasswordGiven:
    """An identity and the password that came with it."""

    identity: str
    password: str = field(repr=False)
    ip: str


@implementer(ISASLCredentials)
@frozen
class ScramFinished:
    """A SCRAM exchange that came to its end: ``proven`` when the client knows the password."""

    identity: str
    ip: str
    proven: bool
    verifier: str | None = field(default=None, repr=False)  # the one that proved it


@frozen
class Challenge:
    """Bytes for the client, before base64."""

    data: bytes


@frozen
class Verify:
    """Credentials for the portal; ``last_word`` is sent as a challenge when they are right."""

    credentials: PasswordGiven | ScramFinished
    last_word: bytes | None = None


Step: TypeAlias = Challenge | Verify


class Mechanism(Protocol):
    """One authentication exchange."""

    def step(self, response: bytes | None) -> Step:
        """What follows ``response``; None when AUTH came without an initial one.

        Raises: MalformedResponse, NotAuthorized.
        """


@frozen
class Plain:
    """PLAIN (RFC 4616): authorization identity, identity, password, separated by NUL."""

    ip: str

    def step(self, response: bytes | None) -> Step:
        """See Mechanism."""
        if response is None:
            return Challenge(b"")
        parts = _text(response).split("\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise MalformedResponse("PLAIN is [authzid] NUL authcid NUL password")
        authorization, identity, password = parts
        if authorization not in ("", identity):
            raise NotAuthorized("acting as somebody else is not supported")
        return Verify(PasswordGiven(identity, password, self.ip))


class Login:
    """LOGIN, which has no RFC but many clients: name, then password."""

    def __init__(self, ip: str) -> None:
        self._ip = ip
        self._identity: str | None = None
        self._asked = False

    def step(self, response: bytes | None) -> Step:
        """See Mechanism."""
        if response is None:
            self._asked = True
            return Challenge(b"Username:")
        if self._identity is None:
            self._identity = _text(response)
            return Challenge(b"Password:")
        return Verify(PasswordGiven(self._identity, _text(response), self._ip))


class Scram:
    """SCRAM-SHA-256, with channel binding when ``binding`` is (type, data)."""

    def __init__(
        self,
        ip: str,
        verifiers: Callable[[str], Sequence[ScramVerifier]],
        *,
        binding: tuple[str, bytes] | None,
        may_bind: bool,
        nonce: str,
    ) -> None:
        self._ip = ip
        self._server = ScramServer(verifiers, nonce=nonce, binding=binding, may_bind=may_bind)
        self._begun = False

    def step(self, response: bytes | None) -> Step:
        """See Mechanism."""
        if response is None:
            return Challenge(b"")
        text = _text(response)
        try:
            if not self._begun:
                self._begun = True
                return Challenge(self._server.first(text).encode())
            last_word = self._server.final(text)
        except MalformedMessage as error:
            raise MalformedResponse(str(error)) from error
        proven = self._server.proven_by
        return Verify(
            ScramFinished(
                self._server.identity,
                self._ip,
                proven is not None,
                str(proven) if proven is not None else None,
            ),
            last_word=last_word.encode() if last_word is not None else None,
        )


def _text(response: bytes) -> str:
    try:
        return response.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedResponse("response is not UTF-8") from error
