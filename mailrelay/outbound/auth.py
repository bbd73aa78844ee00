"""Logging in to a relay host (RFC 4954): SCRAM-SHA-256, then PLAIN, then LOGIN, as offered.

SCRAM-SHA-256-PLUS comes before all, where it is allowed.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection
from typing import Protocol

from attrs import define, field, frozen

from mailrelay.outbound.scram import PLUS, SCRAM, ChallengeRefused, ScramClientMechanism


@frozen
class Login:
    """Who logs in.  ``binding`` is what ties SCRAM to the connection, None when nothing does."""

    username: str
    password: str = field(repr=False)
    nonce: str
    binding: tuple[str, bytes] | None = field(default=None, repr=False)


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


def choose_mechanism(
    offered: Collection[str], allowed: Collection[str], login: Login
) -> ClientMechanism | None:
    """The strongest mechanism that is offered and allowed, None when there is none."""
    usable = {name for name in allowed if name in offered}
    username, password, nonce, binding = login.username, login.password, login.nonce, login.binding
    if PLUS in usable and binding is not None:
        return ScramClientMechanism(username, password, nonce, binding=binding)
    if SCRAM in usable:
        could_bind = binding is not None and PLUS in allowed and PLUS not in offered
        return ScramClientMechanism(username, password, nonce, could_bind=could_bind)
    if "PLAIN" in usable:
        return PlainClient(username, password)
    return LoginClient(username, password) if "LOGIN" in usable else None


def base64_text(data: bytes) -> bytes:
    """As sent in an AUTH line; an empty response is ``=`` there (RFC 4954 section 4)."""
    return b64encode(data)
