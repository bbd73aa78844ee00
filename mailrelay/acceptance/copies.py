"""Who gets a copy of a message: its recipients, with aliases expanded.  Pure.

Invariant: each recipient of the envelope has a copy, so that its fate is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve, frozen

from mailrelay.acceptance.envelope import Fates
from mailrelay.directory.expansion import Member, expand, may_post, recipient_key
from mailrelay.directory.model import Directory
from mailrelay.queue.entry import NULL_PATH, Entry, Message
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Rcpt


@frozen
class Copy:
    """One recipient's.  ``number`` is of what it came by in the envelope."""

    number: int
    recipient: Rcpt
    alias: Address | None = None
    own_path: Address | None = None  # of what is passed on to other servers


def fated(copies: Sequence[Copy], recipients: Sequence[Rcpt], fates: Fates) -> list[Copy]:
    """``copies`` of ``recipients`` as the door has judged them."""
    left: dict[int, list[Copy]] = {}
    for copy in copies:
        if copy.recipient.forward_path not in fates.served:
            left.setdefault(copy.number, []).append(copy)
    judged = []
    for number, recipient in enumerate(recipients):
        path = recipient.forward_path
        if path in fates.refused:
            judged.append(Copy(number, recipient))
        elif path in fates.dropped or number not in left:
            judged.append(_dropped(number, recipient))
        else:
            judged += left[number]
    return judged


def plain_copies(recipients: Sequence[Rcpt]) -> list[Copy]:
    """One for each recipient."""
    return [Copy(number, recipient) for number, recipient in enumerate(recipients)]


def copies_of(
    directory: Directory, recipients: Sequence[Rcpt], authors: Sequence[Address]
) -> tuple[list[Copy], int]:
    """The copies of a message From ``authors``, and how many recipients they must not write to.

    Who is named in the envelope, and who wrote it, gets no other copy.  An alias that is not
    expanded stays as it is: routing says what that means.
    """
    found = [directory.alias(recipient.forward_path) for recipient in recipients]
    named = [r.forward_path for r, alias in zip(recipients, found, strict=True) if alias is None]
    seen = {recipient_key(directory, address) for address in (*named, *authors)}
    copies, refused = [], 0
    for number, (recipient, alias) in enumerate(zip(recipients, found, strict=True)):
        if alias is None:
            copies.append(Copy(number, recipient))
            continue
        expansion = expand(directory, alias)
        if alias.disabled:
            copies.append(_dropped(number, recipient))
        elif not may_post(directory, alias, expansion, authors):
            refused += 1
            copies.append(Copy(number, recipient))
        else:
            fresh = [member for member in expansion.members if member.key not in seen]
            seen.update(member.key for member in fresh)
            made = [_copy(number, recipient, member) for member in fresh]
            copies += made or [_without_members(number, recipient, expansion.members)]
    return copies, refused


def _dropped(number: int, recipient: Rcpt) -> Copy:
    return Copy(number, recipient, alias=recipient.forward_path)


def _without_members(number: int, recipient: Rcpt, members: Sequence[Member]) -> Copy:
    """What is left of an alias: nobody who lacks the message, or nobody who could take it."""
    return _dropped(number, recipient) if members else Copy(number, recipient)


def _copy(number: int, recipient: Rcpt, member: Member) -> Copy:
    """A member's.  What goes to another server is a new envelope (RFC 3461 section 5.2.7.3)."""
    alias = recipient.forward_path
    if member.is_external:
        own = Rcpt(member.address)
        return Copy(number, own, alias, own_path=member.owner or NULL_PATH)
    return Copy(number, evolve(recipient, forward_path=member.address), alias)


def entry_for(
    copy: Copy,
    id_: int,
    message: Message,
    times: tuple[float, float],
    own: tuple[str | None, Address | None],
) -> Entry:
    """The entry of ``copy``; ``times`` are when its life began, and when it is due.

    ``own`` has its recipient's FromID and the reverse-path with it.
    """
    from_id, own_path = own if copy.own_path is None else (None, copy.own_path)
    recipient = copy.recipient
    return Entry(
        id_,
        message,
        recipient.forward_path,
        *times,
        notify=recipient.notify,
        orcpt=recipient.orcpt,
        from_id=from_id,
        own_reverse_path=own_path,
        alias=copy.alias,
    )


def told_as(entries: Sequence[Entry]) -> list[str]:
    """The recipients for whoever sent the message: an alias once, its members not at all."""
    if all(entry.alias is None for entry in entries):
        return [str(entry.recipient) for entry in entries]
    return list(dict.fromkeys(str(entry.told_as) for entry in entries))


def first_of_each(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Entries as the sender knows them: the first of those that came by one alias."""
    if all(entry.alias is None for entry in entries):
        return entries
    first = {entry.alias: entry.id for entry in reversed(entries)}
    return [one for one in entries if one.alias is None or first[one.alias] == one.id]


def entry_of_each(recipients: Sequence[Address], entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entry of each recipient, as the sender knows it."""
    if all(entry.alias is None for entry in entries):
        return entries
    found = {entry.told_as: entry for entry in reversed(entries)}
    return [found[recipient] for recipient in recipients]


def report_copies(directory: Directory, new_id: Callable[[], int], entry: Entry) -> Sequence[Entry]:
    """A report's entry, or those of the members when an alias had sent what it is about."""
    alias = directory.alias(entry.recipient)
    members = expand(directory, alias).members if alias is not None else ()
    if not members:
        return [entry]
    return [
        evolve(
            entry,
            id=new_id(),
            recipient=member.address,
            alias=entry.recipient,
            own_reverse_path=NULL_PATH if member.is_external else None,
        )
        for member in members
    ]
