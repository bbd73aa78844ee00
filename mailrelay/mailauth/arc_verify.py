"""Validating the ARC chain of a message, while its body goes by (RFC 8617 section 5.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import define, field, frozen

from mailrelay.mailauth.arc import Chain, ChainResult, Seal, chain_of
from mailrelay.mailauth.dkim import BodyDigest, Key, MalformedKey, Signature
from mailrelay.mailauth.dkim_verify import Texts, key_among, out_of_time
from mailrelay.net.resolver import LookupFailed, NoSuchDomain

Compute = Callable[[Callable[[], bool]], Awaitable[bool]]
"""Calls what takes long, elsewhere."""


@frozen
class ARCOutcome:
    """What a chain is worth.  ``sealers`` are the domains that sealed it, the first one first."""

    result: ChainResult
    reason: str = ""
    chain: Chain = Chain()
    is_temporary: bool = False  # a key could not be asked for; another time it may be right

    @property
    def sealers(self) -> Sequence[str]:
        """Of a chain that is right; each vouches for those before it."""
        is_right = self.result is ChainResult.PASS
        return [one.seal.domain for one in self.chain.sets] if is_right else []


class _Broken(Exception):
    """The chain ends here."""


@define
class ChainVerifier:
    """Of one message: made of its header's ``fields``, given the body in pieces, then asked."""

    fields: Sequence[bytes]
    chain: Chain = field(init=False)
    _body: BodyDigest | None = field(default=None, init=False)
    _keys: dict[str, Sequence[bytes]] = field(factory=dict, init=False)  # records that were found

    def __attrs_post_init__(self) -> None:
        self.chain = chain_of(self.fields)
        if self.chain.sets:
            self._body = BodyDigest(self.chain.sets[-1].signature.body)

    @property
    def has_chain(self) -> bool:
        """Whether the body need be read."""
        return self._body is not None

    def update(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        if self._body is not None:
            self._body.update(piece)

    async def outcome(self, texts: Texts, now: float, compute: Compute) -> ARCOutcome:
        """The chain's: the newest signature of the message, and every seal, must be right."""
        chain = self.chain
        if chain.problem:
            return ARCOutcome(ChainResult.FAIL, chain.problem, chain)
        if self._body is None:
            return ARCOutcome(ChainResult.NONE)
        try:
            await self._check_signature(self._body, texts, now, compute)
            for number in range(len(chain.sets), 0, -1):
                await self._check_seal(number, texts, compute)
        except _Broken as error:
            return ARCOutcome(ChainResult.FAIL, str(error), chain)
        except LookupFailed as error:
            return ARCOutcome(ChainResult.FAIL, str(error), chain, is_temporary=True)
        return ARCOutcome(ChainResult.PASS, chain=chain)

    async def _check_signature(
        self, body: BodyDigest, texts: Texts, now: float, compute: Compute
    ) -> None:
        """Raises: _Broken, LookupFailed."""
        number, signature = len(self.chain.sets), self.chain.sets[-1].signature
        late = out_of_time(signature, now)
        if late is not None:
            raise _Broken(f"the signature of set {number}: {late}")
        if body.finish() != signature.body_digest or not body.is_whole:
            raise _Broken(f"the body is not the one that was signed in set {number}")
        key = await self._key(signature, texts)
        signed = signature.signed_bytes(self.fields)
        if not await compute(lambda: key.verifies(signature.value, signed)):
            raise _Broken(f"the header is not the one that was signed in set {number}")

    async def _check_seal(self, number: int, texts: Texts, compute: Compute) -> None:
        """Raises: _Broken, LookupFailed."""
        seal = self.chain.sets[number - 1].seal
        key, sealed = await self._key(seal, texts), self.chain.sealed_bytes(number)
        if not await compute(lambda: key.verifies(seal.value, sealed)):
            raise _Broken(f"the seal of set {number} is not right")

    async def _key(self, signed: Signature | Seal, texts: Texts) -> Key:
        """Raises: _Broken, LookupFailed."""
        name = signed.key_name
        try:
            if name not in self._keys:
                self._keys[name] = await texts(name)
            return key_among(self._keys[name], signed.algorithm, name)
        except NoSuchDomain:
            raise _Broken(f"no key at {name}") from None
        except MalformedKey as error:
            raise _Broken(f"{name}: {error}") from None
