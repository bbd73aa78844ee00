"""Records as a zone file has them (RFC 1035 section 5.1).  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.control.dns_records import Need, Record, Topic

TTL = 3600
LONGEST_STRING = 255


def zone_text(domain: str, records: Sequence[Record]) -> str:
    """Everything to publish; hints, and what is for another zone, are comments.

    Names are whole, so that the lines may be put into any zone.
    """
    host = [one for one in records if one.of_host and one.topic is not Topic.PTR]
    pointers = [one for one in records if one.topic is Topic.PTR]
    own = [one for one in records if not one.of_host]
    parts = [
        _part("The server, once for all its domains", host),
        _part(f"{domain}", own),
        _part("In the zone of your addresses, which is mostly your provider's", pointers, "; "),
    ]
    return "\n".join(part for part in parts if part)


def zone_line(record: Record) -> str:
    """One record."""
    return f"{record.name}. {TTL} IN {record.type} {presented(record)}"


def presented(record: Record) -> str:
    """The value as a zone file has it."""
    return quoted(record.value) if record.type == "TXT" else record.value


def quoted(text: str) -> str:
    """A text as strings of 255 bytes at the most."""
    data = text.encode("utf-8")
    cut = [data[i : i + LONGEST_STRING] for i in range(0, len(data), LONGEST_STRING)] or [b""]
    return " ".join(f'"{"".join(map(_escaped, piece))}"' for piece in cut)


def _escaped(byte: int) -> str:
    char = chr(byte)
    if char in '"\\':
        return f"\\{char}"
    return char if 0x20 <= byte < 0x7F else f"\\{byte:03d}"


def _part(title: str, records: Sequence[Record], mark: str = "") -> str:
    if not records:
        return ""
    lines = [f"; {title}"]
    why = ""
    for one in records:
        if one.why != why:
            lines.append(f"; {one.topic}: {one.why}")
            why = one.why
        lines.append(("; " if one.need is Need.HINT else mark) + zone_line(one))
    return "".join(f"{line}\n" for line in lines)
