"""Where the fields of a header section stand, for changing some and leaving all other bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mailrelay.message.edit import Stretch
from mailrelay.message.header import Header, header_end
from mailrelay.message.mailboxes import NamedAddress
from mailrelay.message.words import Folding, add_phrase
from mailrelay.smtp.reply import printable

MAX_NAME_CHARACTERS = 200


def places(header: Header, content: bytes) -> Iterator[tuple[str, int, int]]:
    """Each field's name, and where it begins and ends, its line end included.

    ``header`` is what was read of ``content``.
    """
    at = 0
    ends = _field_ends(content[: header.size_bytes])
    for (name, _), end in zip(header.fields, ends, strict=False):
        yield name, at, end
        at = end


def _field_ends(section: bytes) -> Iterator[int]:
    at = 0
    while (end := section.find(b"\r\n", at)) >= 0:
        at = end + 2
        if section[at : at + 1] not in (b" ", b"\t"):
            yield at
    if at < len(section):
        yield len(section)


def any_fields(head: bytes) -> Iterator[tuple[str, int, int]]:
    """As ``places``, as the most lenient of readers finds them.

    What is no field does not end the section; it has no name.
    """
    at, limit = 0, header_end(head)
    while at < limit and not head.startswith(b"\r\n", at):
        end = _line_end(head, at)
        while end < limit and head[end : end + 1] in (b" ", b"\t"):
            end = _line_end(head, end)
        name, colon, _ = head[at:end].partition(b":")
        yield name.strip(b" \t").lower().decode("ascii", "replace") if colon else "", at, end
        at = end


def _line_end(head: bytes, at: int) -> int:
    end = head.find(b"\r\n", at)
    return len(head) if end < 0 else end + 2


def address_field(name: str, person: NamedAddress) -> bytes:
    """The field ``name`` with one address, its display name encoded where it must be."""
    folding = Folding(f"{name}:")
    if person.name:
        add_phrase(folding, " ", printable(person.name, MAX_NAME_CHARACTERS), utf8=False)
    folding.add(" ", f"<{person.address}>")
    return f"{folding.text}\r\n".encode()


def renamed(
    header: Header,
    content: bytes,
    author: NamedAddress,
    left_out: Sequence[str],
    *,
    told_as: str = "",
) -> tuple[Stretch, ...]:
    """Stretches that make ``content`` be From ``author``, without the fields ``left_out``.

    With ``told_as`` the old From is kept in a field of that name.  Content without From gets none.
    """
    made: list[Stretch] = []
    is_first = True
    for name, at, end in places(header, content):
        if name == "from":
            new = address_field("From", author) if is_first else b""
            if is_first and told_as:
                _, _, body = content[at:end].partition(b":")
                new += told_as.encode() + b":" + body.removesuffix(b"\r\n") + b"\r\n"
            is_first = False
            made.append((at, end, new))
        elif name in left_out:
            made.append((at, end, b""))
    return tuple(made)
