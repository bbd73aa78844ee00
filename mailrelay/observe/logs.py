"""Structured logging with levels per part, to standard error."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TextIO

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    jsonFileLogObserver,
)

from mailrelay.observe.maillog import safe


def log_observer(
    level: str, levels: Mapping[str, str], format_: str, out: TextIO | None = None
) -> ILogObserver:
    """An observer that lets through ``level`` and worse, or what ``levels`` says of a namespace."""
    stream = out or sys.stderr
    if format_ == "json":
        inner: ILogObserver = jsonFileLogObserver(stream, "")
    else:
        inner = FileLogObserver(stream, _line)
    predicate = LogLevelFilterPredicate(LogLevel.levelWithName(level))
    # Twisted tells of every port and factory at info: that is not for operators.
    predicate.setLogLevelForNamespace("twisted", LogLevel.warn)
    predicate.setLogLevelForNamespace("log_legacy", LogLevel.warn)
    for part, wanted in levels.items():
        predicate.setLogLevelForNamespace(part, LogLevel.levelWithName(wanted))
    return FilteringLogObserver(inner, [predicate])


def _line(event: object) -> str:
    """One line per event; a traceback's lines follow it, each indented."""
    text = eventAsText(event, includeTraceback=True)  # type: ignore[arg-type]
    first, *rest = text.split("\n")
    lines = [_bounded(first), *(f"    {_bounded(line)}" for line in rest if line.strip())]
    return "\n".join(lines) + "\n"


def _bounded(line: str) -> str:
    return safe(line) if not line.isprintable() else line[:2000]
