"""The server's log: everything but mail events, one line each, with levels per part.

A line is a whole: it is written in one piece, whatever it holds is printable, and a traceback's
lines follow theirs indented (human) or stand in it (JSON).
"""

from __future__ import annotations

import os
import re
import stat
import sys
import syslog
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec
from attrs import define, field
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
    eventAsText,
)
from zope.interface import implementer

from mailrelay.observe.maillog import printable, utc

MOST_LINE_CHARACTERS = 2000

# Twisted tells of every port and factory at info: that is not for operators.
_CHATTY = ("twisted", "log_legacy")
_START_AND_STOP = "twisted.scripts"

_NAMES_ALONE = re.compile(r"[^{}]*(?:\{[a-z_]+\}[^{}]*)*")


class CannotLog(Exception):
    """The log's file cannot be written; the message says what to do."""


class Place(Protocol):
    """Where lines go."""

    def write(self, text: str, level: Any = LogLevel.info) -> None:
        """Write whole lines; threads may do so at once."""

    def reopen(self) -> None:
        """Let go of what was rotated.  Raises: CannotLog; then all stays as it was."""


class StandardStream:
    """Standard output or error as the process had it, whatever is redirected since."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, text: str, level: Any = LogLevel.info) -> None:
        """See Place."""
        write_all(self._descriptor, text)

    def reopen(self) -> None:
        """See Place: it is not ours to rotate."""


class Syslog:
    """The system's log, as ``name`` and of the facility mail."""

    _priorities: ClassVar = {
        LogLevel.debug: syslog.LOG_DEBUG,
        LogLevel.info: syslog.LOG_INFO,
        LogLevel.warn: syslog.LOG_WARNING,
        LogLevel.error: syslog.LOG_ERR,
        LogLevel.critical: syslog.LOG_CRIT,
    }

    def __init__(self, name: str, send: Callable[[int, str], object] = syslog.syslog) -> None:
        syslog.openlog(name, syslog.LOG_PID, syslog.LOG_MAIL)
        self._send = send

    def write(self, text: str, level: Any = LogLevel.info) -> None:
        """See Place."""
        for line in text.splitlines():
            self._send(self._priorities[level], line)

    def reopen(self) -> None:
        """See Place: it is not ours to rotate."""


class LogFile:
    """A file that is appended to, and opened anew at SIGHUP for whoever rotates it.

    Raises: CannotLog.
    """

    def __init__(self, path: Path, owner: tuple[int, int] | None = None) -> None:
        self._path = path
        self._descriptor = _opened(path, owner)

    def write(self, text: str, level: Any = LogLevel.info) -> None:
        """See Place."""
        write_all(self._descriptor, text)

    def reopen(self) -> None:
        """See Place: write to what has the name now."""
        descriptor = _opened(self._path, None)
        # In place, since another thread may be writing.
        os.dup2(descriptor, self._descriptor, inheritable=False)
        os.close(descriptor)


def _opened(path: Path, owner: tuple[int, int] | None) -> int:
    """A descriptor to append to ``path``, which is made ``owner``'s if it is new."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
    if os.geteuid() == 0:
        flags |= os.O_NOFOLLOW  # the server's user may be able to put a link here
    try:
        descriptor = os.open(path, flags, 0o640)
    except OSError as error:
        remedy = "let the server's user write it (with logrotate: create 0640 USER GROUP)"
        raise CannotLog(f"the log {path} cannot be opened: {error.strerror}: {remedy}") from error
    status = os.fstat(descriptor)
    is_new = status.st_size == 0 and status.st_nlink == 1 and stat.S_ISREG(status.st_mode)
    if owner is not None and is_new and status.st_uid != owner[0]:
        os.fchown(descriptor, *owner)
    return descriptor


def write_all(descriptor: int, text: str) -> None:
    """Write all of ``text``; to a file, in one piece as long as the disk takes it."""
    rest = text.encode("utf-8", "backslashreplace")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@implementer(ILogObserver)
@define
class ServerLog:
    """A log observer: what passes the levels goes to ``place``.  May be configured again."""

    place: Place
    _line: Callable[[LogEvent], str] = field(init=False)
    _levels: LogLevelFilterPredicate = field(init=False)

    def __attrs_post_init__(self) -> None:
        """As without settings."""
        self.configure("info", {}, "human")

    def configure(self, level: str, levels: Mapping[str, str], format_: str) -> None:
        """Let through ``level`` and worse, or what ``levels`` says of a namespace."""
        general = LogLevel.levelWithName(level)
        predicate = LogLevelFilterPredicate(general)
        for part in _CHATTY:
            predicate.setLogLevelForNamespace(part, max(general, LogLevel.warn))
        predicate.setLogLevelForNamespace(_START_AND_STOP, general)
        for part, wanted in levels.items():
            predicate.setLogLevelForNamespace(part, LogLevel.levelWithName(wanted))
        self._line = json_log_line if format_ == "json" else human_log_line
        self._levels = predicate

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        if self._levels(event) is not PredicateResult.no:
            self.place.write(self._line(event), event.get("log_level") or LogLevel.info)


def log_to_standard_error() -> ServerLog:
    """A log as localserve has it."""
    return ServerLog(StandardStream(sys.__stderr__.fileno() if sys.__stderr__ else 2))


def human_log_line(event: LogEvent) -> str:
    """``2026-11-21T12:00:00.000Z warn mailrelay.queue.scheduler: text``."""
    first, *rest = _text(event).split("\n")
    head = f"{utc(event['log_time'])} {_level(event)} {printable(str(event['log_namespace']))}:"
    lines = [f"{head} {_bounded(first)}", *(f"    {_bounded(one)}" for one in rest if one.strip())]
    return "\n".join(lines) + "\n"


def json_log_line(event: LogEvent) -> str:
    """The same as an object; ``text`` has a traceback's lines, too."""
    lines = [_bounded(one) for one in _text(event).split("\n") if one.strip()]
    line = {
        "time": utc(event["log_time"]),
        "level": _level(event),
        "part": printable(str(event["log_namespace"])),
        "text": "\n".join(lines),
    }
    return msgspec.json.encode(line).decode() + "\n"


def _text(event: LogEvent) -> str:
    """What an event says.  Nearly all say it with names alone, which ``str`` formats by itself."""
    format_ = event.get("log_format")
    if isinstance(format_, str) and "log_failure" not in event and _has_names_alone(format_):
        with suppress(Exception):  # Twisted says of an event what is wrong with it
            return format_.format_map(event)
    return eventAsText(event, includeTimestamp=False, includeSystem=False)


@lru_cache(maxsize=1024)
def _has_names_alone(format_: str) -> bool:
    return _NAMES_ALONE.fullmatch(format_) is not None


def _level(event: LogEvent) -> str:
    level: Any = event.get("log_level")
    return str(level.name) if level is not None else "info"


def _bounded(line: str) -> str:
    return printable(line[:MOST_LINE_CHARACTERS])
