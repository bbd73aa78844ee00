"""Who gets a copy of a message: its recipients, with aliases expanded.  Pure.

Invariant: each recipient of the envelope has a copy, so that its fate is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, evolve, field, frozen

from mailrelay.acceptance.envelope import Fates
from mailrelay.directory.aliases import Alias, Rewrite
from mailrelay.directory.expansion import (
    Member,
    are_members,
    expand,
    forwarded,
    may_post,
    recipient_key,
)
from mailrelay.directory.model import Account, Directory
from mailrelay.directory.through import person_behind
from mailrelay.message.dsn import Action
from mailrelay.message.edit import Edit
from mailrelay.policy.relay import NOT_ALLOWED
from mailrelay.queue.entry import NULL_PATH, Entry, Message
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify, Rcpt
from mailrelay.smtp.reply import Reply, reply

GOES_ROUND = reply(554, "5.4.6", "this address passed the message on before: it loops")
NOT_SIGNED = reply(
    550, "5.7.22", "this address passes on what the domain of its author has signed with DKIM alone"
)
"""RFC 7372 section 3.1."""


@frozen
class Copy:
    """One recipient's.  ``number`` is of what it came by in the envelope."""

    number: int
    recipient: Rcpt
    alias: Address | None = None
    own_path: Address | None = None  # of what is passed on to other servers
    passed_to: Member | None = None  # who is there
    answers: Address | None = None  # the alias as which a member answers
    edit: Edit | None = None
    member: Member | None = None  # of an alias, here or there

    @property
    def member_of(self) -> int | None:
        """The alias that takes it off after failures, which only another server can tell of."""
        place = None if self.passed_to is None else self.passed_to.place
        return place.id if place is not None and place.removes_after is not None else None


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


@frozen
class Writer:
    """Who a message is From.  With ``is_sure`` it is not forged.

    It ``is_signed`` when the author's domain has signed it, or is ours.
    """

    authors: Sequence[Address]
    is_sure: bool = False
    is_signed: bool = False


@frozen
class Copies:
    """The copies of a message, and why some recipients have none but their own, unexpanded one."""

    copies: Sequence[Copy]
    refused: int = 0  # recipients to whom the writer must not write
    looping: int = 0  # ... that passed the message on before
    unsigned: int = 0  # ... that pass on what the author's domain has signed, and nothing else
    taken: Sequence[Taken] = ()  # what the sender is told of success, before any copy arrives

    @property
    def refusal(self) -> Reply | None:
        """What is answered where nobody gets a copy."""
        if self.refused + self.looping + self.unsigned < len(self.copies):
            return None
        if self.refused:
            return NOT_ALLOWED
        return NOT_SIGNED if self.unsigned else GOES_ROUND


@frozen
class Taken:
    """An alias whose sender asked for SUCCESS, and has it: its members' copies tell of none."""

    recipient: Rcpt
    action: Action


def copies_of(
    directory: Directory,
    recipients: Sequence[Rcpt],
    writer: Writer,
    is_going_round: Callable[[Address], bool] = lambda address: False,
) -> Copies:
    """The copies of a message.

    Who is named in the envelope gets no other copy, nor who wrote it one by an alias.  An alias
    that is not expanded stays as it is: routing says what that means.
    """
    making = _Making(directory, writer, is_going_round)
    plain = [one for one in recipients if not directory.passes_on(one.forward_path)]
    making.given.update(recipient_key(directory, one.forward_path) for one in plain)
    for number, recipient in enumerate(recipients):
        making.add(number, recipient)
    refused, looping, unsigned = making.refused, making.looping, making.unsigned
    return Copies(making.copies, refused, looping, unsigned, making.taken)


@define
class _Making:
    """``given`` has the keys of those who have a copy."""

    directory: Directory
    writer: Writer
    is_going_round: Callable[[Address], bool]
    given: set[object] = field(factory=set)
    copies: list[Copy] = field(factory=list)
    refused: int = 0
    looping: int = 0
    unsigned: int = 0
    taken: list[Taken] = field(factory=list)

    def add(self, number: int, recipient: Rcpt) -> None:
        """The copies of one recipient."""
        address = recipient.forward_path
        alias, account = self.directory.alias(address), self.directory.forwarding(address)
        if alias is not None:
            self.copies += self._of_alias(number, recipient, alias)
        elif account is not None:
            self.copies += self._of_account(number, recipient, account)
        else:
            self.copies.append(Copy(number, recipient))

    def _of_alias(self, number: int, recipient: Rcpt, alias: Alias) -> Sequence[Copy]:
        directory, authors = self.directory, self.writer.authors
        if alias.disabled:
            return [_dropped(number, recipient)]
        expansion = expand(directory, alias)
        person = person_behind(directory, recipient.forward_path)
        stands_in = alias.rewrite is Rewrite.ALIAS or alias.dmarc_fallback
        is_answer = person is not None and stands_in
        if is_answer and are_members(directory, alias, expansion, authors):
            # A mailbox here keeps what came, in which the member is named.
            is_here = person is not None and isinstance(directory.resolve(person), Account | Alias)
            if person is not None and self.writer.is_sure and not is_here:
                return [
                    Copy(number, Rcpt(person), answers=directory.compared(recipient.forward_path))
                ]
            return self._not_expanded(number, recipient)
        if not may_post(directory, alias, expansion, authors):
            return self._not_expanded(number, recipient)
        if self._loops(expansion.members, recipient):
            return self._not_expanded(number, recipient, is_loop=True)
        if not self.writer.is_signed and any(one.requires_dkim for one in expansion.members):
            self.unsigned += 1
            return [Copy(number, recipient)]
        keys = {recipient_key(directory, author) for author in authors}
        fresh = [m for m in expansion.members if m.key not in self.given | keys]
        recipient = self._as_taken(recipient, alias, expansion.members)
        return self._to(number, recipient, fresh) or [
            _without_members(number, recipient, expansion.members)
        ]

    def _of_account(self, number: int, recipient: Rcpt, account: Account) -> Sequence[Copy]:
        """Its mail goes on, whoever wrote it; what went round stays."""
        expansion = forwarded(self.directory, account, recipient.forward_path)
        if self._loops(expansion.members, recipient):
            return self._not_expanded(number, recipient, is_loop=True)
        fresh = [m for m in expansion.members if m.key not in self.given]
        made = self._to(number, recipient, [m for m in fresh if m.key != account.id])
        if account.id in {member.key for member in fresh}:
            self.given.add(account.id)
            made = [Copy(number, recipient), *made]
        return made or [_dropped(number, recipient)]

    def _as_taken(self, recipient: Rcpt, alias: Alias, members: Sequence[Member]) -> Rcpt:
        """``recipient``, for its members without what is told already (RFC 3461 section 5.2.7).

        A list is the end of the sender's mail, and so is one address elsewhere whose failures he
        never hears of; other aliases are not: failures of members here are told as well.  An alias
        for one mailbox passes all on.
        """
        is_end = alias.is_list or (len(members) == 1 and _ends_elsewhere(members[0]))
        is_several = len(members) > 1
        if Notify.SUCCESS not in recipient.notify or not (is_several or (members and is_end)):
            return recipient
        action = Action.DELIVERED if is_end else Action.EXPANDED
        self.taken.append(Taken(recipient, action))
        left = frozenset() if is_end else recipient.notify - {Notify.SUCCESS}
        return evolve(recipient, notify=left or frozenset({Notify.NEVER}))

    def _loops(self, members: Sequence[Member], recipient: Rcpt) -> bool:
        goes_out = any(member.is_external for member in members)
        return goes_out and self.is_going_round(recipient.forward_path)

    def _to(self, number: int, recipient: Rcpt, members: Sequence[Member]) -> list[Copy]:
        self.given.update(member.key for member in members)
        return [_copy(number, recipient, member) for member in members]

    def _not_expanded(
        self, number: int, recipient: Rcpt, *, is_loop: bool = False
    ) -> Sequence[Copy]:
        self.looping += is_loop
        self.refused += not is_loop
        return [Copy(number, recipient)]


def _ends_elsewhere(member: Member) -> bool:
    """Whether it is confidential (RFC 3461 section 5.2.7.4): nothing comes back to the sender."""
    return member.is_external and (member.owner is not None or member.rewrite is Rewrite.NONE)


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
        path = member.owner or NULL_PATH
        return Copy(number, own, alias, own_path=path, passed_to=member, member=member)
    return Copy(number, evolve(recipient, forward_path=member.address), alias, member=member)


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
        edit=copy.edit,
        member_of=copy.member_of,
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
    """A report's entry, or those of whom mail for its recipient goes to."""
    recipient = entry.recipient
    alias, account = directory.alias(recipient), directory.forwarding(recipient)
    if alias is not None:
        members = expand(directory, alias).members
    else:
        members = forwarded(directory, account, recipient).members if account is not None else ()
    return [_report_copy(directory, evolve(entry, id=new_id()), one) for one in members] or [entry]


def _report_copy(directory: Directory, entry: Entry, member: Member) -> Entry:
    if member.address == entry.recipient:
        return entry
    passed_on = evolve(entry, recipient=member.address, alias=entry.recipient)
    if not member.is_external:
        return passed_on
    edit = Edit(delivered_to(directory.compared(entry.recipient)))
    return evolve(passed_on, own_reverse_path=NULL_PATH, edit=edit)


def delivered_to(address: Address) -> bytes:
    """The field by which a message that comes round again is known."""
    return f"Delivered-To: {address}\r\n".encode()
