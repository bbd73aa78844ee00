"""Hold rules as operators see and change them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.queue import EntryFilter, QueueRecords
from mailrelay.policy.holds import HoldRule
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain

NULL_SENDER = ""
_PAGE = 1000


@frozen
class ListedRule:
    """A hold rule and the name of its account."""

    rule: HoldRule
    account: str | None


class HoldRecords(Protocol):
    """The rules' rows.  Every change tells running processes, and is audited as ``actor``'s.

    Methods fail with Refusal's kinds, and with StoreUnavailable.
    """

    def rules(self) -> Deferred[Sequence[ListedRule]]:
        """All rules, by id."""

    def add(
        self, actor: str, account: str | None, sender: str | None, recipient: str | None
    ) -> Deferred[HoldRule]:
        """Add a rule, unless there is one that says the same."""

    def remove(self, actor: str, rule_id: int) -> Deferred[bool]:
        """Remove a rule; False when it is not there."""


@frozen
class HoldControl:
    """What may be asked of hold rules, and by whom it was."""

    records: HoldRecords
    queue: QueueRecords
    now: Callable[[], float]
    actor: str

    async def rules(self) -> Sequence[ListedRule]:
        """All rules."""
        return await self.records.rules()

    async def add(
        self, account: str | None, sender: str | None, recipient: str | None
    ) -> tuple[HoldRule, Sequence[int]]:
        """Hold what fits from now on, and what is ready; the rule, and the entries held.

        None is any; a ``sender`` of NULL_SENDER is the null one.  The rule is stored first: what
        running servers accept once they have read it, within a second, is held by it.

        Raises: Refusal.
        """
        sender = sender if sender in (None, NULL_SENDER) else normal_part(sender)
        recipient = None if recipient is None else normal_part(recipient)
        rule = await self.records.add(self.actor, account, sender, recipient)
        page = EntryFilter(
            account=account, sender=sender, recipient=recipient, held=False, limit=_PAGE
        )
        return rule, await self._hold(rule, page)

    async def _hold(self, rule: HoldRule, page: EntryFilter) -> Sequence[int]:
        held: list[int] = []
        after = 0
        while found := await self.queue.find(evolve(page, after_id=after), self.now()):
            after = found[-1].entry.id
            entries = [view.entry for view in found]
            fitting = [
                entry.id
                for entry in entries
                if rule.fits(entry.account_id, entry.message.reverse_path, entry.recipient)
            ]
            held += await self.queue.hold(self.actor, fitting, self.now())
        return held

    async def remove(self, rule_id: int) -> None:
        """Hold no more; what is held stays so.  Raises: NoSuch."""
        if not await self.records.remove(self.actor, rule_id):
            raise NoSuch(f"no hold rule {rule_id}: mailrelay holdrule list")


def normal_part(text: str) -> str:
    """A domain or an address as they are compared.  Raises: Refusal."""
    try:
        return str(Address.parse(text)) if "@" in text else normal_domain(text)
    except MalformedAddress as error:
        raise Refusal(f"{text!r} is neither a domain nor an address: {error}") from None
