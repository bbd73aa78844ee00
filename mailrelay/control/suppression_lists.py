"""Suppression lists as text, for people's spreadsheets and for other servers: CSV, JSON, addresses.

A cell of CSV that a spreadsheet would take for a formula is written behind a ', which is taken off
when it is read: what was exported is imported as it was.  What is wrong in one line keeps no other
from being read, unless nothing can be told apart behind it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import msgspec
from attrs import frozen

from mailrelay.control.errors import Refusal
from mailrelay.control.suppression import (
    MAX_REASON_CHARACTERS,
    ListedSuppression,
    NewSuppression,
    checked_evidence,
    checked_reason,
)
from mailrelay.policy.suppression import Cause, Suppression, is_whole_domain
from mailrelay.smtp.address import Address, MalformedAddress

COLUMNS = (
    *("base_address", "original_address", "reason", "manual", "date"),
    *("cause", "evidence", "expires"),
)
MOST_SHOWN = 200
"""Characters of what is wrong."""

MOST_COMMAS = 600_000
"""Of a JSON document: before each may be a value, and each value takes memory."""

_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": True}
_CAUSES = {cause.value: cause for cause in Cause}
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


class NotAList(Refusal):
    """Nothing can be read; the message says why."""


@frozen
class Read:
    """What a line says, of CSV, or an element of JSON; or why it says nothing: ``problem``.

    ``number`` counts from 1.  Behind one that ``is_last`` nothing can be read.
    """

    number: int
    new: NewSuppression | None
    problem: str = ""
    is_last: bool = False


def guarded(cell: str) -> str:
    """``cell``, so that no spreadsheet reckons with it."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The reverse of ``guarded``."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def csv_head() -> str:
    """The first line."""
    return ",".join(COLUMNS) + "\n"


def csv_lines(found: Iterable[ListedSuppression]) -> str:
    """Lines of suppressions, behind the head."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for one in (one.suppression for one in found):
        cells = (
            *(one.base_address, one.original_address, _reason(one)),
            *("true" if one.manual else "false", _time_text(one.added_at) or ""),
            *(one.cause, _line(one.evidence), _time_text(one.expires_at) or ""),
        )
        writer.writerow(guarded(cell) for cell in cells)
    return out.getvalue()


def json_element(one: Suppression) -> bytes:
    """As ``/api/v1/suppressions/import`` takes it."""
    return msgspec.json.encode(
        {
            "address": one.base_address
            if is_whole_domain(one.base_address)
            else one.original_address,
            "reason": _reason(one),
            "cause": one.cause or (Cause.MANUAL if one.manual else Cause.BOUNCE).value,
            "evidence": _line(one.evidence),
            "added_at": _time_text(one.added_at),
            "expires_at": _time_text(one.expires_at),
        }
    )


def _reason(one: Suppression) -> str:
    # An application may have given one that is longer, or has lines.
    return _line(one.reason)[:MAX_REASON_CHARACTERS]


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _time_text(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def read_csv(lines: Iterable[str], now: float) -> Iterator[Read]:
    """What the lines of a CSV file say; it may end in UnicodeDecodeError and csv.Error.

    Raises: NotAList, unless the first names columns.
    """
    rows = iter(lines)
    names = next(csv.reader([next(rows, "")]), [])
    _check_columns(names)
    read = csv.DictReader(rows, names, strict=True)
    for row in read:
        yield _read(read.line_num + 1, _suppression_of, row, now)


def _read_addresses(lines: Iterable[str], now: float) -> Iterator[Read]:
    """An address in each line, and perhaps a reason behind a comma."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _read(number, _suppression_on, line.strip(), now)


def read_json(text: bytes, now: float) -> Iterator[Read]:
    """What a JSON document says: ``{"suppressions": [...]}``, or the array alone.

    Raises: NotAList.
    """
    if text.count(b",") > MOST_COMMAS:
        raise NotAList(f"the JSON has more than {MOST_COMMAS} commas: divide it into parts")
    try:
        document = msgspec.json.decode(text, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
        elements = document
        if isinstance(document, dict):
            elements = msgspec.json.decode(
                document.get("suppressions", b"null"), type=list[msgspec.Raw]
            )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text_of = 'JSON is {"suppressions": [{"address": "joe@example.org"}, ...]}'
        raise NotAList(f"{text_of}: {error}") from None
    for number, element in enumerate(elements, 1):
        yield _read(number, _suppression_in, element, now)


def read_text(lines: Iterable[str], now: float) -> Iterator[Read]:
    """What somebody has: JSON, CSV, or an address in each line.

    What is read ends with one that ``is_last`` where it must.  Raises: NotAList.
    """
    return _told(_read_some(iter(lines), now))


def _read_some(rows: Iterator[str], now: float) -> Iterator[Read]:
    first = next(rows, "").lstrip("\ufeff")
    while first and not first.strip():
        first = next(rows, "")
    everything = chain([first], rows)
    if first.lstrip()[:1] in ("{", "["):
        yield from read_json("".join(everything).encode(), now)
    elif set(next(csv.reader([first]), [])) & set(COLUMNS):
        yield from read_csv(everything, now)
    else:
        yield from _read_addresses(everything, now)


def _told(read: Iterator[Read]) -> Iterator[Read]:
    """What was read, and where it had to end."""
    number = 0
    try:
        for one in read:
            number = one.number
            yield one
    except UnicodeDecodeError:
        yield Read(number + 1, None, "it is not UTF-8; nothing behind it is read", is_last=True)
    except csv.Error as error:
        problem = f"it cannot be read as CSV: {error}; nothing behind it is read"
        yield Read(number + 1, None, problem, is_last=True)


def _read(
    number: int, suppression_of: Callable[[Any, float], NewSuppression], row: Any, now: float
) -> Read:
    try:
        return Read(number, suppression_of(row, now))
    except Refusal as refusal:
        return Read(number, None, str(refusal))


def _check_columns(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or not {"base_address", "original_address"} & set(names):
        raise NotAList(
            f"its first line must name columns of {', '.join(COLUMNS)},"
            " original_address or base_address among them"
        )


def _suppression_of(row: Mapping[str, str], now: float) -> NewSuppression:
    """A row of CSV.  Raises: Refusal."""
    if None in row or None in row.values():
        raise Refusal("it has not as many fields as the first line")
    cells = {name: unguarded(cell) for name, cell in row.items()}
    base = cells.get("base_address", "").strip()
    text = cells.get("original_address", "").strip() or base
    manual = _TRUTH.get(cells.get("manual", "").strip().lower())
    if manual is None:
        raise Refusal("manual must be true or false")
    return NewSuppression(
        _address(text),
        _seconds("date", cells.get("date", "")) or now,
        manual,
        checked_reason(cells.get("reason", "")),
        _cause(cells.get("cause", ""), manual=manual),
        checked_evidence(cells.get("evidence", "")),
        _seconds("expires", cells.get("expires", "")),
        is_whole_domain(base or text),
    )


def _suppression_on(line: str, now: float) -> NewSuppression:
    """A line of addresses.  Raises: Refusal."""
    try:
        return NewSuppression(Address.parse(line), now, is_domain=is_whole_domain(line))
    except MalformedAddress:
        text, _, reason = line.partition(",")
    address = _address(text.strip())
    reason = checked_reason(reason.strip())
    return NewSuppression(address, now, reason=reason, is_domain=is_whole_domain(text.strip()))


class _Element(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One suppression, as the API takes it."""

    address: str
    reason: str = ""
    cause: str = "manual"
    evidence: str = ""
    added_at: str | None = None
    expires_at: str | None = None


def _suppression_in(element: msgspec.Raw, now: float) -> NewSuppression:
    """An element of JSON.  Raises: Refusal."""
    try:
        given = msgspec.json.decode(element, type=_Element | str)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refusal(str(error)[:MOST_SHOWN]) from None
    one = _Element(given) if isinstance(given, str) else given
    cause = _cause(one.cause, manual=True)
    return NewSuppression(
        _address(one.address),
        _seconds("added_at", one.added_at or "") or now,
        cause is Cause.MANUAL,
        checked_reason(one.reason),
        cause,
        checked_evidence(one.evidence),
        _seconds("expires_at", one.expires_at or ""),
        is_whole_domain(one.address),
    )


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        raise Refusal(f"{text[:MOST_SHOWN]!r} is no address: {error}") from None


def _cause(text: str, *, manual: bool) -> Cause:
    named = text.strip().lower()
    if named and named not in _CAUSES:
        raise Refusal(f"the cause must be one of {', '.join(_CAUSES)}")
    return _CAUSES.get(named, Cause.MANUAL if manual else Cause.BOUNCE)


def _seconds(column: str, text: str) -> float | None:
    """A time as ISO 8601, in UTC where it says nothing else.  Raises: Refusal."""
    if not text.strip():
        return None
    try:
        read = datetime.fromisoformat(text.strip())
        seconds = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError):
        raise Refusal(f"the {column} must be as in 2026-11-21T09:06:34Z") from None
    return seconds
