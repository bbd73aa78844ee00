"""A message as the viewer shows it.  Pure; large ones are read off the reactor thread.

Nothing raises, whatever the bytes are.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from mailrelay.message.fields import read_fields
from mailrelay.message.header import Header, unfolded
from mailrelay.message.mailboxes import NamedAddress
from mailrelay.message.sniff import sniffed_type
from mailrelay.message.structure import (
    Part,
    decoded,
    front_of_text,
    part_at,
    read_structure,
    shown_parts,
    walk,
)
from mailrelay.message.words import shown_text
from mailrelay.pages.html_mail import SHOWN_IMAGES, SafeHTML, data_url, safe_html
from mailrelay.policy.file_links import path_of, path_text
from mailrelay.webhooks.reading import read_header

MOST_TEXT_BYTES = 512 * 1024
MOST_HTML_BYTES = 1024 * 1024
MOST_HEADERS = 500
MOST_PARTS = 500
MOST_SOURCE_BYTES = 256 * 1024
WHOLE = "whole"
MOST_IMAGE_BYTES = 4 * 1024 * 1024
"""Of a message's own images together, that its HTML shows."""


@frozen
class ShownPart:
    """A MIME part as it is listed; ``depth`` is how many parts it is in."""

    path: str
    depth: int
    content_type: str
    charset: str
    encoding: str
    disposition: str
    filename: str
    size_bytes: int
    is_attached: bool

    @property
    def is_picture(self) -> bool:
        """Whether its page may show it."""
        return _is_picture(self.content_type, self.size_bytes)

    @property
    def place(self) -> str:
        """The path as a page's address has it; a message without parts is one itself."""
        return self.path or WHOLE


def path_at(place: str) -> Sequence[int]:
    """The path that ``place`` stands for.  Raises: MalformedPath."""
    return () if place == WHOLE else path_of(place)


@frozen
class ShownPerson:
    """An address as people read it, and the name that stands before it, which may be empty."""

    name: str
    address: str


@frozen
class Shown:
    """What people see of a message without its HTML."""

    subject: str
    from_: Sequence[ShownPerson]
    to: Sequence[ShownPerson]
    cc: Sequence[ShownPerson]
    reply_to: Sequence[ShownPerson]
    date: float | None
    text: str
    is_cut: bool
    has_html: bool
    headers: Sequence[tuple[str, str]]
    parts: Sequence[ShownPart]

    @property
    def attachments(self) -> Sequence[ShownPart]:
        """What is neither text nor HTML."""
        return [part for part in self.parts if part.is_attached]


def shown_message(content: bytes) -> Shown:
    """What ``content`` says."""
    header, root = read_header(content), read_structure(content)
    fields, (text, html) = read_fields(header), shown_parts(root)
    shown, is_cut = front_of_text(content, text, MOST_TEXT_BYTES)
    parts = list(walk(root))[:MOST_PARTS]
    return Shown(
        subject=fields.subject,
        from_=_shown_people(fields.from_),
        to=_shown_people(fields.to),
        cc=_shown_people(fields.cc),
        reply_to=_shown_people(fields.reply_to),
        date=None if fields.date is None else fields.date.timestamp(),
        text=shown,
        is_cut=is_cut,
        has_html=html is not None,
        headers=_shown_fields(content, header),
        parts=[
            _shown_part(path, part, is_attached=not part.parts and part not in (text, html))
            for path, part in parts
        ],
    )


def _shown_people(people: Sequence[NamedAddress]) -> Sequence[ShownPerson]:
    return [ShownPerson(one.name, one.address.unicode) for one in people]


def _shown_fields(content: bytes, header: Header) -> Sequence[tuple[str, str]]:
    """Fields in their order, with their names as they are written."""
    lines = content[: header.size_bytes].split(b"\r\n")
    starts = [line for line in lines if line and line[:1] not in b" \t"]
    names = [line.partition(b":")[0].rstrip(b" \t").decode("ascii") for line in starts]
    bodies = [body for _, body in header.fields[:MOST_HEADERS]]
    return [(name, shown_text(unfolded(body))) for name, body in zip(names, bodies, strict=False)]


def shown_source(content: bytes) -> str:
    """The bytes of a message as text, as far as they are shown."""
    return content[:MOST_SOURCE_BYTES].decode("utf-8", "replace").replace("\r\n", "\n")


@frozen
class Image:
    """A picture that a browser may show."""

    content_type: str
    data: bytes


def shown_image(content: bytes, path: Sequence[int]) -> Image | None:
    """The part at ``path`` when it is a picture, by its first bytes; else None.

    Raises: NoSuchPart.
    """
    part = part_at(read_structure(content), path)
    if not _is_picture(part.content_type, part.decoded_size):
        return None
    data = decoded(content, part)
    content_type = sniffed_type(data)
    return Image(content_type, data) if content_type in SHOWN_IMAGES else None


def _is_picture(content_type: str, size_bytes: int) -> bool:
    return content_type in SHOWN_IMAGES and 0 < size_bytes <= MOST_IMAGE_BYTES


def _shown_part(path: Sequence[int], part: Part, *, is_attached: bool) -> ShownPart:
    return ShownPart(
        path_text(path),
        len(path),
        part.content_type if part.content_type != "/" else "text/plain",
        part.params.get("charset", ""),
        part.encoding,
        part.disposition,
        part.filename,
        part.decoded_size,
        is_attached,
    )


def shown_html(content: bytes, *, shows_remote: bool) -> SafeHTML:
    """The message's HTML, made safe, with its own images in it."""
    root = read_structure(content)
    html, _ = front_of_text(content, shown_parts(root)[1], MOST_HTML_BYTES)
    return safe_html(html, _own_images(content, root, html), shows_remote=shows_remote)


def _own_images(content: bytes, root: Part, html: str) -> dict[str, str]:
    """Those that ``html`` speaks of, as URLs by their content id."""
    found: dict[str, str] = {}
    left = MOST_IMAGE_BYTES
    for _, part in walk(root):
        id_ = part.content_id.strip("<>")
        if part.content_type not in SHOWN_IMAGES or not id_ or f"cid:{id_}" not in html:
            continue
        left -= part.decoded_size
        if left < 0:
            break
        found[id_] = data_url(part.content_type, decoded(content, part))
    return found
