"""When a certificate is renewed, and when it is tried again.  Pure: chances are from 0 to 1."""

from __future__ import annotations

from mailrelay.certificates.ordering import ACMEFailed, Suggestion
from mailrelay.certificates.pair import DAY, Pair

FIRST_RETRY, LONGEST_RETRY = 300.0, 12 * 3600.0
"""Seconds.  Doubling from the first, an hour sees four tries: Let's Encrypt takes five failures."""

LIMITED_RETRY = 3600.0
"""Seconds after an authority said that we ask too much, when it does not say how long."""

LONGEST_TOLD = 7 * DAY
"""Of an authority's Retry-After."""

ASK_AGAIN = (60.0, DAY)
"""The least and the most seconds between two looks at renewal information (RFC 9773, 4.3.2)."""

ASK_AGAIN_USUALLY = 6 * 3600.0


def planned(pair: Pair, chance: float) -> float:
    """When to renew what its authority says nothing of: from two thirds of its life on."""
    life = pair.ends - pair.begins
    return pair.begins + life * (2 / 3 + chance / 30)


def settled_for(pair: Pair) -> float:
    """Seconds for which a new certificate stays, whatever its authority says of renewing it."""
    return min(ASK_AGAIN_USUALLY, (pair.ends - pair.begins) / 10)


def within(suggestion: Suggestion, chance: float) -> float:
    """A time in the window (RFC 9773 section 4.2)."""
    return suggestion.start + (suggestion.end - suggestion.start) * chance


def asked_again_after(suggestion: Suggestion) -> float:
    """Seconds until renewal information is looked at again."""
    least, most = ASK_AGAIN
    told = suggestion.retry_after
    return ASK_AGAIN_USUALLY if told is None else min(max(told, least), most)


def retried_after(failures: int, failed: ACMEFailed, chance: float) -> float:
    """Seconds until the next try, after ``failures`` in a row."""
    wait: float = min(FIRST_RETRY * 2.0 ** min(failures - 1, 20), LONGEST_RETRY)
    if failed.is_limited:
        wait = max(wait, LIMITED_RETRY)
    if failed.retry_after is not None:
        wait = max(wait, min(failed.retry_after, LONGEST_TOLD))
    return wait * (1 + chance / 10)


def is_ending(pair: Pair, now: float, warn_days: float) -> bool:
    """Whether somebody should look after it; of a short life, in its last quarter."""
    return pair.ends - now < min(warn_days * DAY, (pair.ends - pair.begins) / 4)
