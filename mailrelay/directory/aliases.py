"""Aliases: an address whose mail goes to several others."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from mailrelay.smtp.address import Address


class OnDisabled(StrEnum):
    """What a disabled alias answers."""

    REJECT = "reject"
    DROP = "drop"  # it is taken, and thrown away
    DEFER = "defer"


class Rewrite(StrEnum):
    """Whose address what an alias passes on to other servers is from."""

    NONE = "none"
    SRS = "srs"  # the envelope's is rewritten, and read again when it comes back
    ALIAS = "alias"  # header and envelope are the alias's


@frozen
class Alias:
    """An address for its members.  ``members`` and ``posters`` are written as they were given.

    Without a localpart it is its domain's catch-all.
    Failures of what goes to other servers are the ``owner``'s: without one, nobody is told.
    """

    id: int
    localpart: str
    domain: str
    members: tuple[Address, ...] = ()
    post_public: bool = False  # everybody may post, not members alone
    list_members: bool = False  # members may see who the others are
    allow_from: bool = False  # members may send as it
    disabled: bool = False
    on_disabled: OnDisabled = OnDisabled.REJECT
    owner: Address | None = None
    posters: frozenset[Address] = frozenset()  # beside the members
    rewrite: Rewrite = Rewrite.NONE
    dmarc_fallback: bool = False  # Rewrite.ALIAS for what would fail its author's DMARC
    is_list: bool = False  # it adds List-* fields
    removes_after: int | None = None  # failures in a row that take a member off
    requires_dkim: bool = False  # what goes elsewhere has a signature of its author's domain

    @property
    def address(self) -> Address:
        """What it is written to."""
        return Address(self.localpart, self.domain)

    def __str__(self) -> str:
        return str(self.address) if self.localpart else f"@{self.domain}"
