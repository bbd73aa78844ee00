"""Members that leave a list, by a link that we signed, or are taken off after failures.

Invariant: a member goes in the transaction that has the owner's mail about it.  An alias has one
member at least: when the last wants no more, it is switched off; when the last one's mail fails,
it stays, and the owner is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.directory.aliases import Alias
from mailrelay.directory.model import Directory
from mailrelay.message.member_path import MembersCopy
from mailrelay.policy.links import Links
from mailrelay.queue.entry import Entry, NewMessage
from mailrelay.queue.report import Notices
from mailrelay.smtp.address import Address

PURPOSE = "list"
VALID_FOR = 400 * 86400.0
"""How long after its message a link can be used, in seconds."""

PATH = "/leave/"


class Left(Enum):
    """What became of a member."""

    TAKEN_OFF = "taken off"
    LAST = "the last one"
    NOT_THERE = "not there"  # or, of failures, not failing any more


class Reason(Enum):
    """Why a member is taken off; the audit has it as who did it."""

    LINK = "unsubscribe link"
    FAILURES = "failures"


@frozen
class Leaving:
    """A member that is to go.  ``notices`` has what the owner is told, by what became of it."""

    alias: tuple[str, str]  # as the directory keys it
    member: Address
    reason: Reason
    notices: Mapping[Left, NewMessage]


@frozen
class Membership:
    """A member of a list, by the list's address."""

    alias: Address
    member: Address


@frozen
class LeaveLinks:
    """Makes and reads links below ``public_url``, which is empty where there are none."""

    links: Links
    public_url: str

    def url(self, alias: Alias, member: Address, sent_at: float) -> str | None:
        """A link for a message that is sent then, in seconds since the epoch."""
        if not self.public_url:
            return None
        fields = (alias.localpart, alias.domain, str(member))
        token = self.links.token(fields, sent_at + VALID_FOR)
        return f"{self.public_url.rstrip('/')}{PATH}{token}"

    def read(self, token: str, now: float) -> Membership | None:
        """What a link of ours is for; None for what is none, or has ended."""
        fields = self.links.read(token, now)
        if fields is None:
            return None
        localpart, domain, member = fields
        return Membership(Address(localpart, domain), Address.parse(member))


class MemberRecords(Protocol):
    """Members' rows.  Methods may fail with StoreUnavailable."""

    def leave(self, leaving: Leaving) -> Deferred[Left]:
        """Take a member off, tell running processes and audit it, and store the notice of it.

        After failures only who still has as many as the alias allows.
        """

    def reported(self, of: MembersCopy) -> Deferred[Address | None]:
        """Count a failure that a report told of; the member when it failed often enough."""


@frozen
class MemberControl:
    """Takes members off, and has their owners told."""

    records: MemberRecords
    directory: Callable[[], Directory]
    notices: Notices
    links: LeaveLinks
    now: Callable[[], float]
    admit: Callable[[Entry], Entry]
    enqueue: Callable[[Sequence[Entry]], None]

    def read(self, token: str) -> Membership | None:
        """What a link is for; None when it is for nothing, or its list is gone."""
        of = self.links.read(token, self.now())
        return of if of is not None and self._alias(of) is not None else None

    async def leave(self, of: Membership) -> Left:
        """A member wants no more.  Raises: StoreUnavailable."""
        alias = self._alias(of)
        if alias is None:
            return Left.NOT_THERE
        texts = {
            Left.TAKEN_OFF: f"{of.member} has left {alias}, by the link in a message.",
            Left.LAST: f"{of.member}, the last member of {alias}, has left it by the link in a"
            " message.\r\nAn alias has one member at least: it is switched off now.",
        }
        return await self._left(alias, of.member, Reason.LINK, texts)

    async def failed(self, alias_id: int, member: Address) -> Left:
        """Mail for a member failed again.  Raises: StoreUnavailable."""
        aliases = self.directory().aliases.values()
        alias = next((one for one in aliases if one.id == alias_id), None)
        if alias is None or alias.removes_after is None:
            return Left.NOT_THERE
        times = f"{alias.removes_after} times or more"
        texts = {
            Left.TAKEN_OFF: f"{member} is no member of {alias} any more: mail from there failed for"
            f" good,\r\n{times}.",
            Left.LAST: f"{member} is the last member of {alias}, and stays; but mail from there"
            f" failed for good,\r\n{times}.",
        }
        return await self._left(alias, member, Reason.FAILURES, texts)

    async def failed_late(self, of: MembersCopy) -> None:
        """A report says that a member's copy failed.  Raises: StoreUnavailable."""
        member = await self.records.reported(of)
        if member is not None:
            await self.failed(of.alias_id, member)

    def _alias(self, of: Membership) -> Alias | None:
        return self.directory().aliases.get((of.alias.localpart, of.alias.domain))

    async def _left(
        self, alias: Alias, member: Address, reason: Reason, texts: Mapping[Left, str]
    ) -> Left:
        key = (alias.localpart, alias.domain)
        notices = {} if alias.owner is None else await self._made(alias.owner, texts)
        left = await self.records.leave(Leaving(key, member, reason, notices))
        if left in notices:
            self.enqueue(notices[left].entries)
        return left

    async def _made(self, owner: Address, texts: Mapping[Left, str]) -> Mapping[Left, NewMessage]:
        return {
            left: await self.notices.message(owner, "A member of your list", text, self.admit)
            for left, text in texts.items()
        }
