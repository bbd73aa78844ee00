"""DMARC policy records (RFC 9989 section 4.7, RFC 7489 section 6.3), read as leniently as asked.

Pure.  Nothing raises: what is wrong in a record is left out, and what is left decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from attrs import frozen

MAX_URIS = 10
MAX_URI = 500

_VERSION = re.compile(rb"[ \t]*v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_SIZE = re.compile(r"![0-9]{1,12}[kmgt]?", re.IGNORECASE)
_PERCENT = re.compile(r"[0-9]{1,3}")
_MAILTO = re.compile(r"mailto:[^@\s]+@[^@\s]+", re.IGNORECASE)


class Disposition(StrEnum):
    """What a domain asks for mail that fails."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"

    @property
    def lowered(self) -> Disposition:
        """One step less severe."""
        return Disposition.QUARANTINE if self is Disposition.REJECT else Disposition.NONE


class PSD(StrEnum):
    """Whether a domain is one below which others register theirs."""

    YES = "y"
    NO = "n"
    UNKNOWN = "u"


@frozen
class Record:
    """What is published.  ``sp`` and ``np`` are None where the tag is not there.

    ``problem`` says why nothing is asked by it: then DMARC does not apply.
    """

    p: Disposition = Disposition.NONE
    sp: Disposition | None = None
    np: Disposition | None = None
    is_dkim_strict: bool = False
    is_spf_strict: bool = False
    psd: PSD = PSD.UNKNOWN
    is_testing: bool = False
    percent: int = 100
    failure_options: str = "0"
    rua: tuple[str, ...] = ()
    ruf: tuple[str, ...] = ()
    problem: str = ""


def is_record(text: bytes) -> bool:
    """Whether a TXT record is one of DMARC: the version is its first tag."""
    return _VERSION.match(text) is not None


def parse_record(text: bytes) -> Record:
    """What a record says."""
    tags = tags_of(text)
    wrong = [name for name in ("p", "sp", "np") if name in tags and _policy(tags, name) is None]
    rua = _uris(tags.get("rua", ""))
    record = Record(
        p=_policy(tags, "p") or Disposition.NONE,
        sp=_policy(tags, "sp"),
        np=_policy(tags, "np"),
        is_dkim_strict=tags.get("adkim", "").lower() == "s",
        is_spf_strict=tags.get("aspf", "").lower() == "s",
        psd=_psd(tags.get("psd", "")),
        is_testing=tags.get("t", "").lower() == "y",
        percent=_percent(tags.get("pct", "")),
        failure_options=tags.get("fo", "0")[:20],
        rua=rua,
        ruf=_uris(tags.get("ruf", "")),
    )
    if not wrong:
        return record
    # RFC 9989 section 4.10.1: such a record asks for reports at the most.
    problem = "" if rua else f"{wrong[0]}= is none of none, quarantine and reject"
    return Record(psd=record.psd, failure_options=record.failure_options, rua=rua, problem=problem)


def tags_of(text: bytes) -> Mapping[str, str]:
    """Values by name in lower case; the first of a name counts."""
    tags: dict[str, str] = {}
    for piece in text.decode("utf-8", "replace").split(";"):
        name, equals, value = piece.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip())
    return tags


def _policy(tags: Mapping[str, str], name: str) -> Disposition | None:
    try:
        return Disposition(tags.get(name, "").lower())
    except ValueError:
        return None


def _psd(value: str) -> PSD:
    try:
        return PSD(value.lower())
    except ValueError:
        return PSD.UNKNOWN


def _percent(value: str) -> int:
    return min(100, int(value)) if _PERCENT.fullmatch(value) else 100


def _uris(value: str) -> tuple[str, ...]:
    """Addresses that reports go to, without the sizes behind them; what is no mailto is left."""
    found: Sequence[str] = [one.strip() for one in value.split(",")]
    uris = (_SIZE.sub("", one) if _SIZE.search(one) else one for one in found)
    return tuple(one for one in uris if len(one) <= MAX_URI and _MAILTO.fullmatch(one))[:MAX_URIS]
