"""Room within SQLite's file that goes back to the file system, a little at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine

from mailrelay.storage.database import BUSY_TIMEOUT

STEP_PAGES = 128
"""Given back at once: 1 MiB, which takes the writer some milliseconds."""

KEPT_BYTES = 64 * 1024 * 1024
KEPT_SHARE = 8
"""So many bytes, and one in so many pages, stay: the next mail would take them anew."""


def spare_pages(cursor: Any) -> int:
    """How many pages of the file are free beyond what is kept."""

    def pragma(name: str) -> int:
        return int(cursor.execute(f"PRAGMA {name}").fetchone()[0])

    kept = max(KEPT_BYTES // pragma("page_size"), pragma("page_count") // KEPT_SHARE)
    return max(0, pragma("freelist_count") - kept)


def give_back(engine: Engine, pages: int) -> None:
    """Give up to ``pages`` back, and no more than STEP_PAGES.  Runs in the writer's thread."""
    with impatient_cursor(engine) as cursor:
        # It answers a row without columns for each page, at which execute() would stop.
        cursor.executescript(f"PRAGMA incremental_vacuum({min(pages, STEP_PAGES)})")


@contextmanager
def impatient_cursor(engine: Engine) -> Iterator[Any]:
    """A cursor that waits for nobody: mail waits for us, and what we do can be done later."""
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA busy_timeout = 20")
        yield raw.cursor()
    finally:
        raw.cursor().execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
        raw.close()
