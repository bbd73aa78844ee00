"""A message as webhooks and the webapi show it.  Pure; of large messages off the reactor thread."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from mailrelay.message.fields import Fields, read_fields
from mailrelay.message.header import Header, HeaderTooLarge, parse_header
from mailrelay.message.mailboxes import NamedAddress
from mailrelay.message.structure import Part, read_structure, text_and_html
from mailrelay.webhooks.types import NameAddress, Structure


@frozen
class ReadMessage:
    """What a message says."""

    header: Header
    fields: Fields
    part: Part
    text: str
    html: str

    @property
    def date(self) -> str | None:
        """The Date field as RFC 3339, with its offset."""
        date = self.fields.date
        return date.isoformat().replace("+00:00", "Z") if date is not None else None

    @property
    def structure(self) -> Structure:
        """The MIME structure, as it is told."""
        return _structure(self.part)


def read_message(content: bytes) -> ReadMessage:
    """What ``content`` says.  Never raises."""
    header = read_header(content)
    part = read_structure(content)
    text, html = text_and_html(content, part)
    return ReadMessage(header, read_fields(header), part, text, html)


def read_header(content: bytes) -> Header:
    """The header of ``content``; one that is too large is none."""
    try:
        return parse_header(content)
    except HeaderTooLarge:
        return Header((), 0)


def name_addresses(people: Iterable[NamedAddress]) -> list[NameAddress]:
    """Addresses, as they are told."""
    return [NameAddress(name=one.name, address=str(one.address)) for one in people]


def _structure(part: Part) -> Structure:
    return Structure(
        content_type=part.content_type,
        content_type_params=dict(part.params),
        content_id=part.content_id,
        content_disposition=part.disposition,
        filename=part.filename,
        decoded_size=part.decoded_size,
        parts=[_structure(one) for one in part.parts],
    )
