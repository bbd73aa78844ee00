"""DMARC: whether From's domain stands behind a message (RFC 7489, RFC 9989)."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class DMARC(StrEnum):
    """What is known (RFC 7489 section 11.2)."""

    NONE = "none"  # the domain has no policy, or there is no one domain
    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Disposition(StrEnum):
    """What a domain asks for mail that fails."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


@frozen
class DMARCOutcome:
    """A result, the reason for it, and what the domain asks for this very message."""

    result: DMARC = DMARC.NONE
    reason: str = ""
    asked: Disposition = Disposition.NONE
    is_spf_aligned: bool = False
    is_dkim_aligned: bool = False
