"""What a list puts on top of its members' copies (RFC 2369, RFC 2919, RFC 8058).  Pure.

Invariant: a field that the author wrote is the only one of its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

from attrs import evolve, frozen

from mailrelay.acceptance.copies import Copy
from mailrelay.directory.aliases import Alias
from mailrelay.directory.expansion import Member
from mailrelay.message.edit import Edit
from mailrelay.message.header import Header
from mailrelay.smtp.address import Address

MAX_LINK_CHARACTERS = 950
"""RFC 5322 section 2.1.1: a line has 998 at most, and a link cannot be folded."""

_NOT_IN_LABEL = re.compile(r"[^A-Za-z0-9_-]+")


@frozen
class ListFields:
    """The fields of the copies of one message.  ``link`` takes a member off; None makes none."""

    header: Header
    link: Callable[[Alias, Address], str | None]

    def above(self, copy: Copy) -> Copy:
        """``copy`` with its fields in front."""
        fields = self(copy.member) if copy.member is not None else b""
        if not fields:
            return copy
        edit = copy.edit or Edit()
        return evolve(copy, edit=evolve(edit, front=edit.front + fields))

    def __call__(self, member: Member) -> bytes:
        """Those of ``member``'s copy, whole lines."""
        if member.of_list is None:
            return b""
        return b"".join(
            f"{name}: {body}\r\n".encode()
            for name, body in self._fields(member.of_list, member)
            if not self.header.count(name.lower())
        )

    def _fields(self, of: Alias, member: Member) -> Iterator[tuple[str, str]]:
        yield "List-Id", f"<{list_id(of)}>"
        yield "List-Post", f"<{_mailto(of.address)}>"
        yield from self._ways_out(of, member)
        if of.owner is not None:
            yield "List-Help", f"<{_mailto(of.owner, f'help {of.address}')}>"
            yield "List-Owner", f"<{_mailto(of.owner)}>"
        yield "Precedence", "list"

    def _ways_out(self, of: Alias, member: Member) -> Iterator[tuple[str, str]]:
        """A link only for who is in the list itself: what an alias in it lists is that alias's.

        RFC 8058 section 3.1: One-Click goes with a link, and with our own alone.
        """
        link = self.link(of, member.address) if member.place == of else None
        if link is not None and len(link) > MAX_LINK_CHARACTERS:
            link = None
        ways = [link] if link is not None else []
        if of.owner is not None:
            ways.append(_mailto(of.owner, f"unsubscribe {of.address}"))
        if not ways or self.header.count("list-unsubscribe"):
            return
        yield "List-Unsubscribe", ",\r\n ".join(f"<{way}>" for way in ways)
        if link is not None:
            yield "List-Unsubscribe-Post", "List-Unsubscribe=One-Click"


def list_id(of: Alias) -> str:
    """``team.example.org``: RFC 2919 section 2 wants labels with dots between them."""
    labels = (_NOT_IN_LABEL.sub("-", label) for label in of.localpart.split("."))
    return ".".join([*filter(None, labels), of.domain])


def _mailto(address: Address, subject: str = "") -> str:
    """RFC 6068."""
    uri = f"mailto:{quote(address.localpart, safe='')}@{address.domain}"
    return f"{uri}?subject={quote(subject, safe='@')}" if subject else uri
