"""The mail log: one line per event, written off the reactor thread, safe against its content."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.net.threads import Executor
from mailrelay.observe.events import NewEvent

FLUSH_AFTER = 0.25
MOST_WAITING = 100_000
MOST_FIELD_CHARACTERS = 500

FIELDS = (
    "door",
    "recipient",
    "reverse_path",
    "recipient_count",
    "size_bytes",
    "message_id",
    "peer_ip",
    "spf",
    "dmarc",
    "junk",
    "attempt",
    "host",
    "ip",
    "tls",
    "code",
    "status",
    "reply",
    "next_attempt_at",
    "expired",
    "answered",
    "suppressing",
    "dsn",
    "action",
    "queue_id",
    "by",
    "feedback_type",
    "user_agent",
    "list",
    "reason",
)
"""What of an event's data is logged, in this order; transcripts are in the history only."""


@frozen
class NotTaken:
    """Mail that was refused while it came: a line of the log and no event, for no message is ours.

    ``data`` is like an event's.
    """

    at: float
    data: Mapping[str, object]


NOT_TAKEN = "refused"
"""What the line begins with."""


class MailLog(Service):
    """Collects events and appends them to a file four times a second at the most.

    The file is opened anew each time, so that log rotation needs no signal.
    """

    _log = Logger()

    def __init__(
        self,
        path: str,
        format_: str,
        clock: IReactorTime,
        executor: Executor,
        write: Callable[[str, str], None] | None = None,
    ) -> None:
        self._clock, self._executor = clock, executor
        self.configure(path, format_)
        self._write = write or append_text
        self._waiting: list[NewEvent | NotTaken] = []
        self._timer: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self.left_out = 0

    def configure(self, path: str, format_: str) -> None:
        """From now on log to ``path``."""
        self._path = path
        self._line = json_line if format_ == "json" else human_line

    def record(self, events: Sequence[NewEvent | NotTaken]) -> None:
        """Log what was just committed, or refused."""
        if not self._path:
            return
        if len(self._waiting) > MOST_WAITING:  # the disk does not take them: lines go, mail stays
            self.left_out += len(events)
            return
        self._waiting.extend(events)
        if self._timer is None and self._writing is None:
            self._flush_soon()

    def _flush_soon(self) -> None:
        """In a while, so that lines are written together; a log that was stopped writes at once."""
        if self.running:
            self._timer = self._clock.callLater(FLUSH_AFTER, self._flush)
        else:
            self._flush()

    def _flush(self) -> Deferred[None]:
        self._timer = None
        events, self._waiting = self._waiting, []
        if not events:
            return succeed(None)
        writing = self._executor.run(self._write_lines, events)
        self._writing = writing

        def failed(failure: Failure) -> None:
            self.left_out += len(events)
            self._log.failure("the mail log cannot be written", failure)

        def ended(_: None) -> None:
            self._writing = None
            if self._waiting:
                self._flush_soon()

        return writing.addErrback(failed).addCallback(ended)

    def _write_lines(self, events: Sequence[NewEvent | NotTaken]) -> None:
        self._write(self._path, "".join(self._line(event) + "\n" for event in events))

    def stopService(self) -> Deferred[None]:
        """Fires when everything is written."""
        super().stopService()
        if self._timer is not None:
            self._timer.cancel()
        before: Deferred[None] = self._writing or succeed(None)
        return before.addCallback(lambda _: self._flush())


def append_text(
    path: str, text: str, standard_output: Callable[[str], object] | None = None
) -> None:
    """Append to ``path``; ``-`` is standard output, or what is in its place."""
    if path == "-" and standard_output is not None:
        standard_output(text)
        return
    if path == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(text)


def human_line(event: NewEvent | NotTaken) -> str:
    """``2026-11-21T12:00:00.000Z delivered message=12 entry=13 recipient=a@b.example ...``."""
    if isinstance(event, NotTaken):
        words = [utc(event.at), NOT_TAKEN]
    else:
        words = [utc(event.at), event.kind.value, f"message={event.message_id}"]
        if event.entry_id is not None:
            words.append(f"entry={event.entry_id}")
    data = event.data
    for name in FIELDS:
        value = _logged(name, data.get(name))
        if value is not None and value != "":
            words.append(f"{name}={_shown(value)}")
    return " ".join(words)


def json_line(event: NewEvent | NotTaken) -> str:
    """The same as a JSON object."""
    line: dict[str, object] = {"time": utc(event.at)}
    if isinstance(event, NotTaken):
        line["event"] = NOT_TAKEN
    else:
        line["event"] = event.kind.value
        line["message"] = event.message_id
        line["entry"] = event.entry_id
        line["account"] = event.account_id
    for name in FIELDS:
        value = _logged(name, event.data.get(name))
        if value is not None and value != "":
            line[name] = safe(value) if isinstance(value, str) else value
    return msgspec.json.encode(line).decode()


def _logged(name: str, value: object) -> object:
    """Times as they are at the line's beginning, everything else as it is."""
    return utc(value) if name.endswith("_at") and isinstance(value, int | float) else value


_NEEDS_QUOTES = re.compile(r'[ "=]')


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = safe(str(value))
    if text and _NEEDS_QUOTES.search(text) is None:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def safe(text: str) -> str:
    """``text`` within a bound, with everything that is not printable as ``\\x..`` or ``\\u....``.

    That is C0, C1 and DEL, line and paragraph separators, bidirectional marks, lone surrogates.
    """
    if len(text) > MOST_FIELD_CHARACTERS:
        text = text[: MOST_FIELD_CHARACTERS - 3] + "..."
    return printable(text)


def printable(text: str) -> str:
    """``text`` as ``safe`` makes it, however long."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def utc(at: float) -> str:
    """Seconds since the epoch as RFC 3339 section 5.6 has it, in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
