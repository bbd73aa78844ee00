"""A second factor of logins at the pages: codes by time (RFC 6238), and recovery codes.

Invariants:

- A code is taken once: the store moves on from the time step that it was of, or loses the recovery
  code, only if nobody did so before.
- Nothing is asked for before a code has shown that the secret was read.
- What is stored of a recovery code is its hash; the secret is stored as it is, as what is compared
  with must be.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import quote, urlencode

import msgspec
from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from twisted.internet.defer import Deferred

from mailrelay.control.errors import Refusal
from mailrelay.policy.links import Links

DIGITS = 6
STEP = 30
"""Seconds: RFC 6238 section 5.2."""

DRIFT = 1
"""Steps before and after now whose codes are taken, for clocks and fingers that are slow."""

SECRET_BYTES = 20
RECOVERY_CODES = 8
RECOVERY_BYTES = 10
_GROUP = 4

FIRST_STEP, PROPOSED = "second factor", "second factor proposed"
"""What tokens are for."""

VALID_FOR = 300.0
"""Seconds between password and code."""

PROPOSED_FOR = 1800.0
"""Seconds in which a proposed secret can be confirmed."""


class WrongCode(Refusal):
    """It is no code of this time, or was taken before."""

    def __init__(self) -> None:
        super().__init__("the code is wrong, or was used before: wait for the next one")


@frozen
class Factor:
    """What codes are compared with; ``used_step`` is the last one whose code was taken."""

    secret: str = field(repr=False)  # base32
    used_step: int = 0
    recovery: tuple[str, ...] = field(default=(), repr=False)  # hashes

    @property
    def text(self) -> str:
        """As a row holds it."""
        return msgspec.json.encode([self.secret, self.used_step, self.recovery]).decode()

    @classmethod
    def of(cls, text: str) -> Factor:
        """What ``text`` wrote."""
        secret, used_step, recovery = msgspec.json.decode(text)
        return cls(secret, used_step, tuple(recovery))

    def after(self, code: str, now: float) -> Factor | None:
        """What is left when ``code`` was taken; None when it is wrong."""
        plain = normal(code)
        if not is_recovery(plain):
            step = _step_of(self.secret, plain, now)
            return None if step is None or step <= self.used_step else evolve(self, used_step=step)
        hashed = _hash(plain)
        left = tuple(one for one in self.recovery if not hmac.compare_digest(one, hashed))
        return evolve(self, recovery=left) if len(left) < len(self.recovery) else None


class FactorRecords(Protocol):
    """Where factors are; account None is the administrator.  Methods fail with StoreUnavailable.

    What somebody turns on or off is audited as ``actor``'s.
    """

    def find(self, account_id: int | None) -> Deferred[Factor | None]:
        """What is asked for at a login."""

    def use(self, account_id: int | None, before: Factor, after: Factor) -> Deferred[bool]:
        """Put ``after`` in place of ``before``; False when that is not what is there."""

    def turn_on(self, actor: str, account_id: int | None, factor: Factor) -> Deferred[bool]:
        """Ask for it from now on; False when there is one."""

    def turn_off(self, actor: str, account_id: int | None) -> Deferred[bool]:
        """Ask no more; False when nothing was asked for."""


@frozen
class Proposal:
    """A secret that is to be read into an application; ``uri`` is what its QR code says.

    ``token`` proves that we made it.
    """

    secret: str = field(repr=False)
    uri: str = field(repr=False)
    token: str = field(repr=False)


@frozen
class SecondFactors:
    """What may be asked of second factors, and by whom it was.  ``random`` gives fresh bytes."""

    records: FactorRecords
    now: Callable[[], float]
    random: Callable[[int], bytes]
    links: Links
    issuer: str
    actor: str

    async def find(self, account_id: int | None) -> Factor | None:
        """What is asked for at a login."""
        return await self.records.find(account_id)

    async def take(self, account_id: int | None, code: str) -> None:
        """Take a code.  Raises: WrongCode."""
        factor = await self.records.find(account_id)
        after = None if factor is None else factor.after(code, self.now())
        if factor is None or after is None or not await self.records.use(account_id, factor, after):
            raise WrongCode

    def proposal(self, account_id: int | None, name: str) -> Proposal:
        """A fresh secret for the login called ``name``."""
        secret = base64.b32encode(self.random(SECRET_BYTES)).decode()
        fields = (str(account_id or 0), secret)
        token = self.links.token(fields, self.now() + PROPOSED_FOR)
        return self._proposal(name, secret, token)

    def proposed(self, account_id: int | None, name: str, token: str) -> Proposal:
        """That of a token.  Raises: Refusal."""
        fields = self.links.read(token, self.now())
        if fields is None or fields[0] != str(account_id or 0):
            raise Refusal("that took too long: load the page again, and read the new secret")
        return self._proposal(name, fields[1], token)

    def _proposal(self, name: str, secret: str, token: str) -> Proposal:
        query = urlencode({"secret": secret, "issuer": self.issuer})
        label = quote(f"{self.issuer}:{name}", safe="")
        return Proposal(secret, f"otpauth://totp/{label}?{query}", token)

    async def turn_on(self, account_id: int | None, proposal: Proposal, code: str) -> Sequence[str]:
        """Ask for codes from now on; the recovery codes, which nobody is told again.

        Raises: WrongCode, Refusal.
        """
        secret = proposal.secret
        step = _step_of(secret, normal(code), self.now())
        if step is None:
            raise WrongCode
        codes = [_written(self.random(RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]
        factor = Factor(secret, step, tuple(_hash(normal(one)) for one in codes))
        if not await self.records.turn_on(self.actor, account_id, factor):
            raise Refusal("codes are asked for already: turn that off first")
        return codes

    async def turn_off(self, account_id: int | None, code: str) -> None:
        """Ask for no more codes, by who has one.  Raises: WrongCode."""
        await self.take(account_id, code)
        await self.records.turn_off(self.actor, account_id)

    async def remove(self, account_id: int | None) -> None:
        """Ask for no more codes, by an operator: they were lost.  Raises: Refusal."""
        if not await self.records.turn_off(self.actor, account_id):
            raise Refusal("no codes are asked for at that login")


@frozen
class FirstSteps:
    """Tokens of those who proved a password, and are asked for a code.

    Each ends with that password, and after VALID_FOR.
    """

    links: Links
    now: Callable[[], float]

    def token(self, account_id: int | None, credential: str) -> str:
        """For an account, or the administrator, whose password's hash is ``credential``."""
        return self.links.token(_fields(account_id, credential), self.now() + VALID_FOR)

    def account_id(self, token: str) -> int | None:
        """Whose a token is; None for the administrator's, and for what is none."""
        fields = self.links.read(token, self.now())
        return int(fields[0]) or None if fields is not None else None

    def is_of(self, token: str, account_id: int | None, credential: str) -> bool:
        """Whether ``token`` holds, and was made for these."""
        fields = self.links.read(token, self.now())
        return fields is not None and tuple(fields) == _fields(account_id, credential)


def _fields(account_id: int | None, credential: str) -> tuple[str, str]:
    return str(account_id or 0), _hash(credential)


def normal(code: str) -> str:
    """A code without what people write between its characters."""
    return "".join(one for one in code.upper() if one not in " -\t")


def is_recovery(plain: str) -> bool:
    """Whether a code, without what is between, looks like one for when the secret is lost."""
    return len(plain) == len(base64.b32encode(bytes(RECOVERY_BYTES)))


def _step_of(secret: str, plain: str, now: float) -> int | None:
    """The step near ``now`` whose code ``plain`` is.  Every one is compared, whichever fits."""
    if len(plain) != DIGITS or not (plain.isascii() and plain.isdecimal()):
        return None
    totp = TOTP(base64.b32decode(secret), DIGITS, SHA1(), STEP)
    current, found = int(now // STEP), None
    for step in range(max(0, current - DRIFT), current + DRIFT + 1):
        if hmac.compare_digest(totp.generate(step * STEP), plain.encode()):
            found = step
    return found


def _written(data: bytes) -> str:
    text = base64.b32encode(data).decode()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
