"""Logging in to a relay host (RFC 4954): SCRAM-SHA-256, then PLAIN, then LOGIN, as offered."""

from __future__ import annotations

from base64 import b64encode
from typing import Protocol

from attrs import define, field
from scramp import ScramClient, ScramException


class ChallengeRefused(Exception):
    """The server's challenge does not prove that it knows the password, or is malformed."""


class ClientMechanism(Protocol):
    """One exchange as a client."""

    @property
    def name(self) -> str:
        """The mechanism's name."""

    @property
    def initial(self) -> bytes | None:
        """The initial response, None when there is none."""

    def respond(self, challenge: bytes) -> bytes:
        """The response to a challenge.  Raises: ChallengeRefused."""

    @property
    def is_complete(self) -> bool:
        """Whether the server may say now that we are logged in."""


@define
class PlainClient:
    """PLAIN (RFC 4616)."""

    username: str
    password: str = field(repr=False)
    name: str = "PLAIN"
    is_complete: bool = True
    _asked: int = 0

    @property
    def initial(self) -> bytes:
        """Everything at once."""
        return f"\0{self.username}\0{self.password}".encode()

    def respond(self, challenge: bytes) -> bytes:
        """See ClientMechanism; some servers ask although it was said."""
        self._asked += 1
        if self._asked > 1:
            raise ChallengeRefused("PLAIN asks a second time")
        return self.initial


@define
class LoginClient:
    """LOGIN: the name, then the password, whatever the challenges say."""

    username: str
    password: str = field(repr=False)
    name: str = "LOGIN"
    initial: bytes | None = None
    is_complete: bool = True
    _asked: int = 0

    def respond(self, challenge: bytes) -> bytes:
        """See ClientMechanism."""
        self._asked += 1
        if self._asked > 2:
            raise ChallengeRefused("LOGIN asks a third time")
        return (self.username if self._asked == 1 else self.password).encode()


class ScramClientMechanism:
    """SCRAM-SHA-256 (RFC 7677): the password is not sent, and the server proves itself."""

    name = "SCRAM-SHA-256"

    def __init__(self, username: str, password: str, nonce: str) -> None:
        self._client = ScramClient([self.name], username, password, c_nonce=nonce)
        self._stage = 0
        self.initial: bytes | None = self._client.get_client_first().encode()

    @property
    def is_complete(self) -> bool:
        """See ClientMechanism: not before the server's signature was right."""
        return self._stage == 2

    def respond(self, challenge: bytes) -> bytes:
        """See ClientMechanism."""
        if self._stage == 2:
            raise ChallengeRefused("SCRAM goes on after its end")
        self._stage += 1
        try:
            text = challenge.decode("utf-8")
            if self._stage == 1:
                self._client.set_server_first(text)
                return str(self._client.get_client_final()).encode()
            self._client.set_server_final(text)
        except (ScramException, ValueError, KeyError, IndexError) as error:
            raise ChallengeRefused("the server does not know the password") from error
        return b""


def choose_mechanism(
    offered: frozenset[str], username: str, password: str, nonce: str
) -> ClientMechanism | None:
    """The strongest mechanism that both sides know, None when there is none."""
    if "SCRAM-SHA-256" in offered:
        return ScramClientMechanism(username, password, nonce)
    if "PLAIN" in offered:
        return PlainClient(username, password)
    return LoginClient(username, password) if "LOGIN" in offered else None


def base64_text(data: bytes) -> bytes:
    """As sent in an AUTH line; an empty response is ``=`` there (RFC 4954 section 4)."""
    return b64encode(data)
