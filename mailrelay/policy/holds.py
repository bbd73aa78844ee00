"""Hold rules: new mail that fits one is accepted and kept from being attempted.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from mailrelay.smtp.address import Address


@frozen
class HoldRule:
    """What is to be held.  None is any; what is given must all fit.

    ``sender`` and ``recipient`` are a domain or an address; a sender of ``""`` is the null
    reverse-path, which is something else than any.
    """

    id: int
    account_id: int | None = None
    sender: str | None = None
    recipient: str | None = None

    def fits(self, account_id: int | None, sender: Address | None, recipient: Address) -> bool:
        """Whether an entry is to be held."""
        if self.account_id is not None and self.account_id != account_id:
            return False
        if self.sender is not None and not _fits(self.sender, sender):
            return False
        return self.recipient is None or _fits(self.recipient, recipient)


def _fits(wanted: str, address: Address | None) -> bool:
    if address is None or not wanted:
        return address is None and not wanted
    return wanted == (str(address) if "@" in wanted else address.domain)


def is_held(
    rules: Iterable[HoldRule], account_id: int | None, sender: Address | None, recipient: Address
) -> bool:
    """Whether any rule holds an entry."""
    return any(rule.fits(account_id, sender, recipient) for rule in rules)


@frozen
class HoldRules:
    """All rules, so that those of other accounts cost an account's mail nothing."""

    rules: Sequence[HoldRule]
    _of: Mapping[int | None, Sequence[HoldRule]] = field(init=False, repr=False)

    @_of.default
    def _by_account(self) -> Mapping[int | None, Sequence[HoldRule]]:
        found: dict[int | None, list[HoldRule]] = {}
        for rule in self.rules:
            found.setdefault(rule.account_id, []).append(rule)
        return found

    def holds(self, account_id: int | None, sender: Address | None, recipient: Address) -> bool:
        """Whether any rule holds an entry."""
        own = self._of.get(account_id, ()) if account_id is not None else ()
        common = self._of.get(None, ())
        return is_held((*common, *own), account_id, sender, recipient)
