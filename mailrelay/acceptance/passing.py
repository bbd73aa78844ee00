"""What a copy that an alias or an account passes on to another server is changed in.  Pure.

Invariant: a null reverse-path stays null where it is rewritten.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, field, frozen

from mailrelay.acceptance.copies import Copy, delivered_to
from mailrelay.directory.aliases import Rewrite
from mailrelay.directory.expansion import Member
from mailrelay.directory.model import Directory
from mailrelay.directory.through import through
from mailrelay.message.edit import Edit, Stretch
from mailrelay.message.header import Header, addresses_in
from mailrelay.message.mailboxes import NamedAddress, mailboxes_in
from mailrelay.message.member_path import MemberPaths
from mailrelay.message.places import renamed
from mailrelay.message.srs import SRS
from mailrelay.queue.entry import NULL_PATH
from mailrelay.smtp.address import Address

ORIGINAL_FROM = "X-Original-From"
DELIVERED_TO = "delivered-to"

_TELLS_OF_MEMBER = (
    *("reply-to", "sender", "return-path", "received", DELIVERED_TO, "x-original-from"),
    *("dkim-signature", "authentication-results", "disposition-notification-to"),
    *("arc-seal", "arc-message-signature", "arc-authentication-results"),
)
"""Fields that a member's answer goes out without."""


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class ForwardingSettings:
    """``[forwarding]`` of the configuration."""

    srs_domain: str = field(
        default="",
        metadata=_doc("rewritten reverse-paths are in this domain of ours; empty: in the alias's"),
    )
    trust_from: bool = field(
        default=False,
        metadata=_doc(
            "members answer through an alias without login, by From alone, which can be forged:"
            " only where nobody but a filter of yours that checks it can reach the listener"
        ),
    )
    trusted_sealers: Sequence[str] = field(
        default=(),
        metadata=_doc(
            "domains whose ARC seals are believed: what they found to be its author's is not failed"
            " by DMARC here"
        ),
    )
    seal: bool = field(
        default=True,
        metadata=_doc(
            "what came from outside, was judged and is passed on is sealed (ARC) with the DKIM key"
            " of the alias's domain, or of this host's"
        ),
    )


@frozen
class Original:
    """What came: its reverse-path, its header, and its first bytes.

    It ``fails_elsewhere`` when who gets it from us finds it to fail its author's DMARC.
    """

    path: Address | None
    header: Header
    head: bytes
    fails_elsewhere: bool = False


@frozen
class PassingOn:
    """Changes copies."""

    srs: SRS
    settings: ForwardingSettings = ForwardingSettings()

    def copy(self, directory: Directory, copy: Copy, original: Original, now: float) -> Copy:
        """``copy`` as it goes out."""
        if copy.answers is not None:
            return evolve(copy, own_path=copy.answers, edit=_answer(copy.answers, original))
        member = copy.passed_to
        if member is None or copy.alias is None:
            return copy
        alias = directory.compared(copy.alias)
        front = delivered_to(alias)
        own = self._members_path(copy, member, original.path, now)
        stands_in = member.dmarc_fallback and original.fails_elsewhere
        rewrite = Rewrite.ALIAS if stands_in else member.rewrite
        if rewrite is Rewrite.NONE:
            return evolve(copy, own_path=own or copy.own_path, edit=Edit(front))
        path = own or self._path(alias, member.owner, original.path, now)
        stretches: tuple[Stretch, ...] = ()
        if rewrite is Rewrite.ALIAS:
            stretches = _as_the_alias(directory, alias, original)
        return evolve(copy, own_path=path, edit=Edit(front, stretches))

    def _members_path(
        self, copy: Copy, member: Member, path: Address | None, now: float
    ) -> Address | None:
        """Of an alias that counts failures and has an owner: later ones come back to it."""
        place = member.place
        if place is None or copy.member_of is None or place.owner is None or path is None:
            return None
        domain = self.settings.srs_domain or place.domain
        return MemberPaths(self.srs.secret).path(place.id, member.address, domain, now)

    def _path(
        self, alias: Address, owner: Address | None, path: Address | None, now: float
    ) -> Address:
        if path is None or owner is not None:
            return NULL_PATH if path is None else owner or NULL_PATH
        return self.srs.rewritten(path, self.settings.srs_domain or alias.domain, now) or NULL_PATH


def is_going_round(directory: Directory, header: Header, address: Address) -> bool:
    """Whether a message was passed on by ``address`` before (RFC 5321 section 6.3)."""
    own = directory.compared(address)
    seen = (one for text in header.all(DELIVERED_TO) for one in addresses_in(text))
    return any(directory.compared(one) == own for one in seen)


def _as_the_alias(
    directory: Directory, address: Address, original: Original
) -> tuple[Stretch, ...]:
    """From is an address by which members answer the author; nothing else leads to him."""
    authors = mailboxes_in(original.header.first("from") or "")
    if not authors:
        return ()
    person = authors[0]
    answered = through(directory, address, person.address)
    # Where that has no room, the name tells who wrote it.
    name = person.name if answered else f"{person.name} ({person.address})".strip()
    author = NamedAddress(name, answered or address)
    return renamed(original.header, original.head, author, ["reply-to"], told_as=ORIGINAL_FROM)


def _answer(alias: Address, original: Original) -> Edit:
    """A member's answer is from the alias, and does not tell the member's address."""
    authors = mailboxes_in(original.header.first("from") or "")
    name = authors[0].name if authors and "@" not in authors[0].name else ""
    author = NamedAddress(name, alias)
    return Edit(b"", renamed(original.header, original.head, author, _TELLS_OF_MEMBER))
