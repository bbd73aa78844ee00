"""Suppression lists as CSV, for people's spreadsheets and for other servers.

A cell that a spreadsheet would take for a formula is written behind a ', which is taken off when
it is read: what was exported is imported as it was.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from mailrelay.cli.output import fail, moment, printable
from mailrelay.control.errors import Refusal
from mailrelay.control.suppression import (
    MAX_REASON_CHARACTERS,
    ListedSuppression,
    NewSuppression,
    checked_evidence,
    checked_reason,
)
from mailrelay.policy.suppression import Cause, is_whole_domain
from mailrelay.smtp.address import Address, MalformedAddress

COLUMNS = (
    *("base_address", "original_address", "reason", "manual", "date"),
    *("cause", "evidence", "expires"),
)
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": True}
_CAUSES = {cause.value: cause for cause in Cause}
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def guarded(cell: str) -> str:
    """``cell``, so that no spreadsheet reckons with it."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The reverse of ``guarded``."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def write_csv(file: IO[str], found: Iterable[ListedSuppression]) -> None:
    """A list, by base address."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in sorted((one.suppression for one in found), key=lambda one: one.base_address):
        # An application may have given one that is longer, or has lines.
        reason = printable(one.reason)[:MAX_REASON_CHARACTERS]
        cells = (
            *(one.base_address, one.original_address, reason),
            *("true" if one.manual else "false", moment(one.added_at) or ""),
            *(one.cause, printable(one.evidence), moment(one.expires_at) or ""),
        )
        writer.writerow(guarded(cell) for cell in cells)


def read_csv(file: Path) -> Iterator[NewSuppression]:
    """What a file says; the command ends when that cannot be read."""
    now = datetime.now(UTC).timestamp()
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, strict=True)
            _check_columns(file, rows.fieldnames or ())
            for row in rows:
                yield _suppression_of(f"{file} line {rows.line_num}", row, now)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fail(f"{file} cannot be read as CSV: {error}")


def _check_columns(file: Path, names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or not {"base_address", "original_address"} & set(names):
        fail(
            f"{file}: its first line must name columns of {', '.join(COLUMNS)},"
            " original_address or base_address among them"
        )


def _suppression_of(place: str, row: dict[str, str], now: float) -> NewSuppression:
    if None in row or None in row.values():
        fail(f"{place}: it has not as many fields as the first line")
    cells = {name: unguarded(cell) for name, cell in row.items()}
    base = cells.get("base_address", "").strip()
    text = cells.get("original_address", "").strip() or base
    manual = _TRUTH.get(cells.get("manual", "").strip().lower())
    if manual is None:
        fail(f"{place}: manual must be true or false")
    try:
        return NewSuppression(
            Address.parse(text),
            _seconds(place, "date", cells) or now,
            manual,
            checked_reason(cells.get("reason", "")),
            _cause(place, cells, manual=manual),
            checked_evidence(cells.get("evidence", "")),
            _seconds(place, "expires", cells),
            is_whole_domain(base or text),
        )
    except MalformedAddress as error:
        fail(f"{place}: {text!r} is no address: {error}")
    except Refusal as error:
        fail(f"{place}: {error}")


def _cause(place: str, cells: dict[str, str], *, manual: bool) -> Cause:
    text = cells.get("cause", "").strip().lower()
    if text and text not in _CAUSES:
        fail(f"{place}: the cause must be one of {', '.join(_CAUSES)}")
    return _CAUSES.get(text, Cause.MANUAL if manual else Cause.BOUNCE)


def _seconds(place: str, column: str, cells: dict[str, str]) -> float | None:
    text = cells.get(column, "").strip()
    try:
        return seconds_of(text) if text else None
    except (ValueError, OverflowError):
        fail(f"{place}: the {column} must be as in 2026-11-21T09:06:34Z")


def seconds_of(text: str) -> float:
    """A time as ISO 8601, in UTC where it says nothing else.  Raises: ValueError, OverflowError."""
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
