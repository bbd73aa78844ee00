"""Second factors in tests: what an application shows, and a store in memory."""

from __future__ import annotations

import base64
import hmac

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from mailrelay.control.second_factor import DIGITS, STEP, Factor


def code_at(secret: str, now: float) -> str:
    """RFC 6238 over RFC 4226 section 5.3, written down once more."""
    counter = int(now // STEP).to_bytes(8, "big")
    digest = hmac.digest(base64.b32decode(secret), counter, "sha1")
    at = digest[-1] & 15
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


@define
class MemoryFactors:
    """FactorRecords."""

    factors: dict[int | None, Factor] = field(factory=dict)
    seen: dict[int | None, Factor] = field(factory=dict)

    def as_of(self, account_id: int | None, seen: Factor) -> MemoryFactors:
        """The same rows, for somebody who read one before it was changed."""
        return MemoryFactors(self.factors, {account_id: seen})

    def find(self, account_id: int | None) -> Deferred[Factor | None]:
        """See FactorRecords."""
        return succeed(self.seen.get(account_id) or self.factors.get(account_id))

    def use(self, account_id: int | None, before: Factor, after: Factor) -> Deferred[bool]:
        """See FactorRecords."""
        if self.factors.get(account_id) != before:
            return succeed(False)
        self.factors[account_id] = after
        return succeed(True)

    def turn_on(self, actor: str, account_id: int | None, factor: Factor) -> Deferred[bool]:
        """See FactorRecords."""
        if account_id in self.factors:
            return succeed(False)
        self.factors[account_id] = factor
        return succeed(True)

    def turn_off(self, actor: str, account_id: int | None) -> Deferred[bool]:
        """See FactorRecords."""
        return succeed(self.factors.pop(account_id, None) is not None)
