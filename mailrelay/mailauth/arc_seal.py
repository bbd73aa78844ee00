"""Sealing a message that is passed on: what we found of it, in an ARC set (RFC 8617 section 5.1).

Takes the arithmetic of two signatures: not for the reactor's thread.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from attrs import frozen

from mailrelay.mailauth.arc import MOST_SETS, ChainResult
from mailrelay.mailauth.arc_verify import ARCOutcome
from mailrelay.mailauth.canonical import relaxed_field
from mailrelay.mailauth.dkim import chosen_fields, field_name
from mailrelay.mailauth.dkim_sign import SigningKey, field_signed, folded_names, signed_names


@frozen
class Sealing:
    """What a seal tells: what was ``found`` of the chain, and all ``results``.

    Those are what an Authentication-Results field of ours says: our name and what was found, in
    lines that are folded already.
    """

    results: str
    found: ARCOutcome


def can_seal(found: ARCOutcome) -> bool:
    """Whether a chain may have another set: not when it is full, or known to be broken.

    Nor when it could not be judged, as others may find it right (RFC 8617 section 5.1).
    """
    is_over = found.chain.is_ended or found.chain.highest >= MOST_SETS
    return not is_over and not found.is_temporary


def seal(
    fields: Sequence[bytes], body_digest: bytes, sealing: Sealing, key: SigningKey, now: float
) -> bytes:
    """The set to put in front of ``fields``, which ``can_seal``.  The digest is that of BODY."""
    found = sealing.found
    number = found.chain.highest + 1
    own = f"i={number}; a={key.algorithm.value};"
    place = f"d={key.domain}; s={key.selector}; t={int(now)};"
    told = f"ARC-Authentication-Results: i={number}; {sealing.results}".encode()
    # RFC 8617 section 4.1.2; what was signed before stays signed.
    names = [*signed_names(fields), *(n for n in map(field_name, fields) if n == "dkim-signature")]
    message = field_signed(
        key,
        [
            f"ARC-Message-Signature: {own} c=relaxed/relaxed;",
            place,
            f"bh={b64encode(body_digest).decode()};",
            *folded_names(names),
        ],
        b"".join(map(relaxed_field, chosen_fields(fields, names))),
    )
    # RFC 8617 section 5.1.2: of a broken chain the seal covers its own set alone.
    is_broken = found.result is ChainResult.FAIL
    before = [] if is_broken else [raw for one in found.chain.sets for raw in one.fields]
    covered = [*before, told, message.removesuffix(b"\r\n")]
    sealed = field_signed(
        key,
        [f"ARC-Seal: {own} cv={found.result.value};", place],
        b"".join(map(relaxed_field, covered)),
    )
    return sealed + message + told + b"\r\n"
