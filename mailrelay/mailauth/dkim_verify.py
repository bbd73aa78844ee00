"""Checking the DKIM signatures of a message, while its body goes by (RFC 6376 section 6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum
from functools import partial

from attrs import define, field, frozen

from mailrelay.mailauth.dkim import (
    Algorithm,
    BodyDigest,
    BodyHash,
    Key,
    MalformedKey,
    MalformedSignature,
    Signature,
    field_name,
    parse_key,
    parse_signature,
)
from mailrelay.net.resolver import LookupFailed, NoSuchDomain

MOST_SIGNATURES = 10
"""Of one message, that are looked at: the topmost ones."""

MOST_SKEW = 3600
"""Seconds that a signature may be from the future."""

Texts = Callable[[str], Awaitable[Sequence[bytes]]]
"""The TXT records of a name, as DNSResolver.texts."""


class DKIMResult(StrEnum):
    """What is known of a signature (RFC 8601 section 2.7.1)."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    POLICY = "policy"  # it is right, and of too little to be believed
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@frozen
class DKIMOutcome:
    """One signature's; ``domain`` is the one that signed, "" where the field does not say."""

    result: DKIMResult
    reason: str = ""
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    is_testing: bool = False


@define
class Verifier:
    """Of one message: made of its header's ``fields``, given the body in pieces, then asked."""

    fields: Sequence[bytes]
    _malformed: list[DKIMOutcome] = field(factory=list, init=False)
    _signatures: list[Signature] = field(factory=list, init=False)
    _bodies: dict[BodyHash, BodyDigest] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        own = [raw for raw in self.fields if field_name(raw) == "dkim-signature"]
        for raw in own[:MOST_SIGNATURES]:
            try:
                signature = parse_signature(raw)
            except MalformedSignature as error:
                self._malformed.append(DKIMOutcome(DKIMResult.PERMERROR, str(error)))
                continue
            self._signatures.append(signature)
            self._bodies.setdefault(signature.body, BodyDigest(signature.body))

    @property
    def has_signatures(self) -> bool:
        """Whether the body need be read."""
        return bool(self._signatures)

    def update(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        for body in self._bodies.values():
            body.update(piece)

    async def outcomes(
        self,
        texts: Texts,
        now: float,
        compute: Callable[[Callable[[], bool]], Awaitable[bool]],
    ) -> Sequence[DKIMOutcome]:
        """Each signature's, the topmost first; ``compute`` calls what takes long, elsewhere."""
        digests = {of: body.finish() for of, body in self._bodies.items()}
        checked = [
            await self._checked(signature, digests[signature.body], texts, now, compute)
            for signature in self._signatures
        ]
        return [*checked, *self._malformed]

    async def _checked(
        self,
        signature: Signature,
        digest: bytes,
        texts: Texts,
        now: float,
        compute: Callable[[Callable[[], bool]], Awaitable[bool]],
    ) -> DKIMOutcome:
        def outcome(result: DKIMResult, reason: str = "", *, testing: bool = False) -> DKIMOutcome:
            return DKIMOutcome(
                result,
                reason,
                signature.domain,
                signature.selector,
                signature.identity,
                signature.algorithm.value,
                testing,
            )

        late = out_of_time(signature, now)
        if late is not None:
            return outcome(DKIMResult.FAIL, late)
        if digest != signature.body_digest:
            return outcome(DKIMResult.FAIL, "the body is not the one that was signed")
        try:
            name = signature.key_name
            key = key_among(await texts(name), signature.algorithm, name)
        except NoSuchDomain:
            return outcome(DKIMResult.PERMERROR, f"no key at {signature.key_name}")
        except LookupFailed as error:
            return outcome(DKIMResult.TEMPERROR, str(error))
        except MalformedKey as error:
            return outcome(DKIMResult.PERMERROR, str(error))
        if key.is_strict and signature.identity.rpartition("@")[2].lower() != signature.domain:
            reason = "the key is not for identities below its domain"
            return outcome(DKIMResult.PERMERROR, reason)
        if not await compute(partial(_is_right, key, signature, self.fields)):
            return outcome(DKIMResult.FAIL, "the header is not the one that was signed")
        if not self._bodies[signature.body].is_whole:
            reason = "l= leaves a part of the body unsigned"
            return outcome(DKIMResult.POLICY, reason, testing=key.is_testing)
        return outcome(DKIMResult.PASS, testing=key.is_testing)


def out_of_time(signature: Signature, now: float) -> str | None:
    """Why a signature is of another time than ``now``."""
    if signature.expires_at is not None and signature.expires_at < now:
        return "it has expired"
    if signature.signed_at is not None and signature.signed_at > now + MOST_SKEW:
        return "it is from the future"
    return None


def key_among(records: Iterable[bytes], algorithm: Algorithm, name: str) -> Key:
    """The first of the records at ``name`` that is a key.  Raises: MalformedKey."""
    problem = MalformedKey(f"no key at {name}")
    for record in records:
        try:
            return parse_key(record, algorithm)
        except MalformedKey as error:
            problem = error
    raise problem


def _is_right(key: Key, signature: Signature, fields: Sequence[bytes]) -> bool:
    return key.verifies(signature.value, signature.signed_bytes(fields))
