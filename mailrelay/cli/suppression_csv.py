"""Suppression lists as CSV files of commands."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from mailrelay.cli.output import fail
from mailrelay.control.suppression import ListedSuppression, NewSuppression
from mailrelay.control.suppression_lists import NotAList, csv_head, csv_lines
from mailrelay.control.suppression_lists import read_csv as read_lines


def write_csv(file: IO[str], found: Iterable[ListedSuppression]) -> None:
    """A list, by base address."""
    file.write(csv_head())
    file.write(csv_lines(sorted(found, key=lambda one: one.suppression.base_address)))


def read_csv(file: Path) -> Iterator[NewSuppression]:
    """What a file says; the command ends when that cannot be read."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            for read in read_lines(lines, time.time()):
                if read.new is None:
                    fail(f"{file} line {read.number}: {read.problem}")
                yield read.new
    except NotAList as error:
        fail(f"{file}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fail(f"{file} cannot be read as CSV: {error}")
