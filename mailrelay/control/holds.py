"""Hold rules as operators, and accounts their own, see and change them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.queue import EntryFilter, EntryView, QueueRecords
from mailrelay.directory.model import Account
from mailrelay.policy.holds import HoldRule
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain

NULL_SENDER = ""
_PAGE = 1000

MOST_RULES = 100
"""Of one account: each is compared with all that it sends."""

MOST_COUNTED = 1000
"""Held entries of an account that its rules are compared with when they are listed."""


class MalformedPart(Refusal):
    """``field`` of a rule is neither a domain nor an address."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


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
        """Add a rule, unless there is one that says the same; at most MOST_RULES of an account."""

    def remove(
        self, actor: str, rule_id: int, account_id: int | None = None
    ) -> Deferred[HoldRule | None]:
        """Remove a rule, of that account when one is named; None when it is not there."""


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
        sender = sender if sender in (None, NULL_SENDER) else _part("sender", sender)
        recipient = None if recipient is None else _part("recipient", recipient)
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
            fitting = [view.entry.id for view in found if _fits(rule, view)]
            held += await self.queue.hold(self.actor, fitting, self.now())
        return held

    async def remove(self, rule_id: int) -> None:
        """Hold no more; what is held stays so.  Raises: NoSuch."""
        if await self.records.remove(self.actor, rule_id) is None:
            raise NoSuch(f"no hold rule {rule_id}: mailrelay holdrule list")


@frozen
class OwnRule:
    """A rule of an account, and how many of its held entries fit it.

    ``is_more`` when some were not compared, since there are more than MOST_COUNTED.
    """

    rule: HoldRule
    held: int
    is_more: bool


@frozen
class AccountHolds:
    """What an account may ask: of its own rules, and for its own entries."""

    control: HoldControl
    account: Account

    async def rules(self) -> Sequence[OwnRule]:
        """The account's rules, by id."""
        control = self.control
        found = [one.rule for one in await control.records.rules()]
        own = [rule for rule in found if rule.account_id == self.account.id]
        if not own:
            return []
        wanted = EntryFilter(account=self.account.name, held=True, limit=MOST_COUNTED)
        views = await control.queue.find(wanted, control.now())
        is_more = len(views) == MOST_COUNTED
        return [OwnRule(rule, sum(_fits(rule, one) for one in views), is_more) for rule in own]

    async def add(self, sender: str | None, recipient: str | None) -> tuple[HoldRule, int]:
        """See HoldControl.add; the rule, and how many entries are held now.  Raises: Refusal."""
        rule, held = await self.control.add(self.account.name, sender, recipient)
        return rule, len(held)

    async def remove(self, rule_id: int, *, releases: bool = False) -> int:
        """Hold no more by a rule.  Raises: NoSuch.

        With ``releases`` what fits it, and no rule that is left, is attempted again; how many.
        """
        control = self.control
        gone = await control.records.remove(control.actor, rule_id, self.account.id)
        if gone is None:
            raise NoSuch(f"there is no hold rule {rule_id}")
        return await self._release(gone) if releases else 0

    async def _release(self, gone: HoldRule) -> int:
        control = self.control
        left = [one.rule for one in await control.records.rules()]
        page = EntryFilter(
            account=self.account.name,
            sender=gone.sender,
            recipient=gone.recipient,
            held=True,
            limit=_PAGE,
        )
        released = 0
        while views := await control.queue.find(page, control.now()):
            page = evolve(page, after_id=views[-1].entry.id)
            fitting = [
                one.entry.id
                for one in views
                if _fits(gone, one) and not any(_fits(rule, one) for rule in left)
            ]
            released += len(await control.queue.release(control.actor, fitting, control.now()))
        return released


def _fits(rule: HoldRule, view: EntryView) -> bool:
    entry = view.entry
    return rule.fits(entry.account_id, entry.message.reverse_path, entry.recipient)


def normal_part(text: str) -> str:
    """A domain or an address as they are compared.  Raises: Refusal."""
    try:
        return str(Address.parse(text)) if "@" in text else normal_domain(text)
    except MalformedAddress as error:
        raise Refusal(f"{text!r} is neither a domain nor an address: {error}") from None


def _part(field: str, text: str) -> str:
    """Raises: MalformedPart."""
    try:
        return normal_part(text)
    except Refusal as refusal:
        raise MalformedPart(field, f"the {field} {refusal}") from None
