"""The fields of suppressions, and what must hold of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from mailrelay.control.errors import Refusal
from mailrelay.control.suppression import MAX_REASON_CHARACTERS, check_end
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.webapi.v1.problems import INVALID_FIELD, Problem
from mailrelay.webapi.v1.times import time_at

Mailbox: TypeAlias = Annotated[str, Meta(min_length=3, max_length=512)]
Reason: TypeAlias = Annotated[
    str, Meta(max_length=MAX_REASON_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]*(?!\n)$")
]
Told: TypeAlias = Annotated[str, Meta(max_length=2000)]
CauseName: TypeAlias = Literal["bounce", "complaint", "unsubscribe", "manual"]


def checked_address(place: str, text: str) -> Address:
    """``text`` as an address.  Raises: Problem."""
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        raise Problem(INVALID_FIELD, f"is no address: {error}", place) from None


def seconds_of(place: str, time: datetime | None) -> float | None:
    """Since the epoch.  Raises: Problem."""
    if time is None:
        return None
    try:
        seconds = time.timestamp()
        time_at(seconds)
        return seconds
    except (OverflowError, ValueError):
        raise Problem(INVALID_FIELD, "is no time that can be kept", place) from None


def checked_end(place: str, expires_at: float | None, now: float) -> None:
    """Raises: Problem, when a suppression cannot end then."""
    try:
        check_end(expires_at, now)
    except Refusal as refusal:
        raise Problem(INVALID_FIELD, str(refusal), place) from None
