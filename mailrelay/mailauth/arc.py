"""ARC: what each server that passed a message on found of it, and sealed (RFC 8617).  Pure.

Invariant: a chain is whole, with sets from 1 on and one field of each kind in each, or has a
``problem`` and no sets that anything may be read from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum

from attrs import frozen

from mailrelay.mailauth.canonical import relaxed_field
from mailrelay.mailauth.dkim import (
    Algorithm,
    MalformedSignature,
    Signature,
    Tags,
    algorithm_of,
    base64_of,
    field_name,
    key_place,
    signature_of,
    tags_of,
    without_value,
)

MOST_SETS = 50
"""RFC 8617 section 4.2.1."""

RESULTS = "arc-authentication-results"
SIGNATURE = "arc-message-signature"
SEAL = "arc-seal"
KINDS = (RESULTS, SIGNATURE, SEAL)
"""The fields of a set, in the order in which they are sealed (RFC 8617 section 5.1.1)."""

_INSTANCE = re.compile(r"0?[1-9]|[1-4][0-9]|50")


class ChainResult(StrEnum):
    """What is known of a chain (RFC 8617 section 4.4)."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"


@frozen
class Seal:
    """An ARC-Seal; ``found`` is the state in which its server found the chain."""

    raw: bytes
    algorithm: Algorithm
    domain: str
    selector: str
    found: ChainResult
    value: bytes

    @property
    def key_name(self) -> str:
        """Where its key is in DNS."""
        return f"{self.selector}._domainkey.{self.domain}"


@frozen
class ARCSet:
    """What one server added.  ``results`` is its ARC-Authentication-Results, whole."""

    results: bytes
    signature: Signature
    seal: Seal

    @property
    def fields(self) -> tuple[bytes, bytes, bytes]:
        """As they are sealed."""
        return self.results, self.signature.raw, self.seal.raw


@frozen
class Chain:
    """The sets of a message, the first one first; with a ``problem``, none.

    ``highest`` is the number of the newest set, also where there is a problem; ``is_ended`` when
    its seal says that the chain was broken already.
    """

    sets: Sequence[ARCSet] = ()
    problem: str = ""
    highest: int = 0
    is_ended: bool = False

    def sealed_bytes(self, number: int) -> bytes:
        """What the seal of a set covers: all before it, and its own (RFC 8617 section 5.1.1)."""
        before = [raw for one in self.sets[: number - 1] for raw in one.fields]
        own = self.sets[number - 1]
        fields = [*before, own.results, own.signature.raw]
        sealed = b"".join(map(relaxed_field, fields))
        return sealed + relaxed_field(without_value(own.seal.raw)).removesuffix(b"\r\n")


def chain_of(fields: Sequence[bytes]) -> Chain:
    """The chain in a header, whose fields are whole."""
    own = [raw for raw in fields if field_name(raw) in KINDS]
    if not own:
        return Chain()
    numbers = [number for number in map(_instance, own) if number is not None]
    highest = max(numbers, default=0)
    is_ended = any(_says_failed(raw) for raw in own if _instance(raw) == highest)
    try:
        return Chain(_sets(own), highest=highest)
    except MalformedSignature as error:
        return Chain((), str(error), highest, is_ended)


def _says_failed(raw: bytes) -> bool:
    if field_name(raw) != SEAL:
        return False
    try:
        return tags_of(raw).get("cv", "").lower() == ChainResult.FAIL
    except MalformedSignature:
        return False


def _sets(own: Sequence[bytes]) -> Sequence[ARCSet]:
    """Raises: MalformedSignature."""
    by_place: dict[tuple[int, str], bytes] = {}
    for raw in own:
        number, kind = _instance(raw), field_name(raw)
        if number is None:
            raise MalformedSignature(f"a field {kind} is of no set from 1 to {MOST_SETS}")
        if (number, kind) in by_place:
            raise MalformedSignature(f"set {number} has two fields {kind}")
        by_place[number, kind] = raw
    count = max(number for number, _ in by_place)
    return [_set(number, _fields_of(by_place, number)) for number in range(1, count + 1)]


def _fields_of(by_place: dict[tuple[int, str], bytes], number: int) -> Iterator[bytes]:
    for kind in KINDS:
        if (number, kind) not in by_place:
            raise MalformedSignature(f"set {number} has no field {kind}")
        yield by_place[number, kind]


def _set(number: int, fields: Iterator[bytes]) -> ARCSet:
    """Raises: MalformedSignature."""
    results, message, sealing = fields
    seal = _seal(sealing)
    expected = ChainResult.NONE if number == 1 else ChainResult.PASS
    if seal.found is not expected:
        raise MalformedSignature(f"the seal of set {number} says cv={seal.found.value}")
    return ARCSet(results, _signature(message), seal)


def _signature(raw: bytes) -> Signature:
    """As a DKIM-Signature, but for v= and i= (RFC 8617 section 4.1.2)."""
    tags = tags_of(raw)
    without_identity = Tags((name, value) for name, value in tags.items() if name != "i")
    signature = signature_of(raw, without_identity)
    if SEAL in signature.names:
        raise MalformedSignature("h= signs ARC-Seal")
    return signature


def _seal(raw: bytes) -> Seal:
    tags = tags_of(raw)
    if "h" in tags:
        raise MalformedSignature("a seal has h=")  # RFC 8617 section 4.1.3
    try:
        found = ChainResult(tags["cv"].lower())
    except ValueError:
        raise MalformedSignature(f"cv={tags['cv'][:20]} is no state of a chain") from None
    domain, selector = key_place(tags)
    return Seal(raw, algorithm_of(tags), domain, selector, found, base64_of(tags, "b"))


def _instance(raw: bytes) -> int | None:
    """The number of the set that a field is of; None where it says none that there can be."""
    if field_name(raw) != RESULTS:
        try:
            text = tags_of(raw).get("i", "")
        except MalformedSignature:
            return None
    else:
        # RFC 8617 section 4.1.1: it comes first, and what follows is no list of tags.
        first = raw.partition(b":")[2].partition(b";")[0].decode("ascii", "replace")
        name, _, text = first.partition("=")
        if name.strip().lower() != "i":
            return None
    return int(text) if _INSTANCE.fullmatch(text.strip()) else None
