"""The server's log: levels, lines that are whole (threat 11), and places."""

from __future__ import annotations

import json
import os
import stat
import syslog
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, eventAsText
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.observe.logs import (
    CannotLog,
    LogFile,
    ServerLog,
    StandardStream,
    Syslog,
    human_log_line,
    json_log_line,
)

IS_ROOT = os.geteuid() == 0


class Kept:
    """A place that keeps what is written."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str, level: Any = LogLevel.info) -> None:
        """See Place."""
        self.lines.append(text)

    def reopen(self) -> None:
        """See Place."""


class LevelTests(SynchronousTestCase):
    """What passes."""

    def told(self, level: str, **levels: str) -> list[str]:
        """What is logged of an event of each level, by two parts of ours and by Twisted."""
        place = Kept()
        log = ServerLog(place)
        log.configure(level, {k.replace("_", "."): v for k, v in levels.items()}, "human")
        for part in ("mailrelay.queue", "mailrelay.inbound", "twisted.web", "twisted.scripts.x"):
            logger = Logger(part, observer=log)
            for name in ("debug", "info", "warn", "error"):
                logger.emit(LogLevel.levelWithName(name), f"{part} {name}")
        return [line.split(": ", 1)[1].strip() for line in place.lines]

    def test_general(self) -> None:
        """The level is the least that passes; of Twisted only warnings do, start and stop apart."""
        self.assertEqual(
            self.told("info"),
            [
                *(f"mailrelay.queue {name}" for name in ("info", "warn", "error")),
                *(f"mailrelay.inbound {name}" for name in ("info", "warn", "error")),
                *(f"twisted.web {name}" for name in ("warn", "error")),
                *(f"twisted.scripts.x {name}" for name in ("info", "warn", "error")),
            ],
        )

    def test_general_above_warnings(self) -> None:
        """A level above warnings is Twisted's, too."""
        self.assertEqual(len(self.told("error")), 4)
        self.assertNotIn("twisted.web warn", self.told("error"))

    def test_of_a_part(self) -> None:
        """What is said of a part is for it alone."""
        told = self.told("error", mailrelay_queue="debug", twisted="info")
        self.assertIn("mailrelay.queue debug", told)
        self.assertNotIn("mailrelay.inbound warn", told)
        self.assertIn("twisted.web info", told)


class LineTests(SynchronousTestCase):
    """An event is one line, or one with indented ones after it."""

    def event(self, text: str, **more: Any) -> dict[str, Any]:
        """An event that says ``text``."""
        event = {"log_time": 0.5, "log_level": LogLevel.warn, "log_namespace": "mailrelay.queue"}
        return {**event, "log_format": "{text}", "text": text, **more}

    def test_human(self) -> None:
        """Time in UTC, level, part and text."""
        line = human_log_line(self.event("hello"))
        self.assertEqual(line, "1970-01-01T00:00:00.500Z warn mailrelay.queue: hello\n")

    def test_json(self) -> None:
        """The same as an object."""
        self.assertEqual(
            json.loads(json_log_line(self.event("hello"))),
            {
                "time": "1970-01-01T00:00:00.500Z",
                "level": "warn",
                "part": "mailrelay.queue",
                "text": "hello",
            },
        )

    @given(st.text(st.sampled_from("ab\n\r\0\x1b\x7f\x85\u2028\u202e\ud800é\U0001f4e7")))
    def test_hostile(self, text: str) -> None:
        """Whatever an event says, each line is printable, and only the first is at the margin."""
        first, *rest = human_log_line(self.event(text)).removesuffix("\n").split("\n")
        for line in (first, *rest):
            self.assertTrue(line.isprintable())
        for line in rest:
            self.assertTrue(line.startswith("    "))
        encoded = json_log_line(self.event(text))
        self.assertEqual(len(encoded.splitlines()), 1)
        encoded.encode("utf-8")
        json.loads(encoded)

    def test_formats(self) -> None:
        """However an event is formatted, the line has what Twisted makes of it."""

        class Stubborn:
            def __format__(self, _: str) -> str:
                raise ValueError("no")

            __repr__ = __str__ = lambda self: "stubborn"

        for format_ in (
            *("{text}", "{n} {text}", "a {{b}} {text}", "{text!r} {n:03d}", "{when()}", "{text.x}"),
            *("{stubborn}", "{missing}", "{", "}", "{}", "{0}", "{N}", "", b"{text}", None),
        ):
            event = {**self.event("hello"), "log_format": format_, "n": 7}
            event |= {"when": lambda: "now", "stubborn": Stubborn()}
            wanted = eventAsText(event, includeTimestamp=False, includeSystem=False)
            text = json.loads(json_log_line(event))["text"]
            self.assertEqual(text.split("\n")[0][:60], wanted.split("\n")[0][:60], format_)

    def test_traceback(self) -> None:
        """A traceback follows its event's line, and stands in its object."""
        try:
            raise ValueError("of mine")
        except ValueError:
            event = self.event("it broke", log_failure=Failure())
        self.assertIn("\n    builtins.ValueError: of mine\n", human_log_line(event))
        self.assertIn("ValueError: of mine", json.loads(json_log_line(event))["text"])


class LogFileTests(SynchronousTestCase):
    """A file that somebody rotates."""

    def setUp(self) -> None:
        """Where it is."""
        self.path = Path(self.mktemp())

    def test_appends(self) -> None:
        """What is there stays."""
        self.path.write_text("before\n")
        LogFile(self.path).write("after\n")
        self.assertEqual(self.path.read_text(), "before\nafter\n")

    def test_rotation(self) -> None:
        """Renamed, it is written to until it is opened anew; no line is lost."""
        log = LogFile(self.path)
        log.write("one\n")
        rotated = self.path.rename(self.path.with_suffix(".1"))
        log.write("two\n")
        log.reopen()
        log.write("three\n")
        self.assertEqual((rotated.read_text(), self.path.read_text()), ("one\ntwo\n", "three\n"))

    def test_rotation_that_fails(self) -> None:
        """When the new file cannot be opened, the old one is written to still, and it is said."""
        folder = Path(self.mktemp())
        folder.mkdir()
        log = LogFile(folder / "log")
        gone = folder.rename(folder.with_suffix(".gone"))
        error = self.assertRaises(CannotLog, log.reopen)
        self.assertIn(str(folder / "log"), str(error))
        log.write("still\n")
        self.assertEqual((gone / "log").read_text(), "still\n")

    def test_link(self) -> None:
        """Root follows no link: who can put one there is not given the file it leads to."""
        self.path.symlink_to(Path(self.mktemp()).absolute())
        if not IS_ROOT:
            LogFile(self.path).write("mine")
            return
        self.assertRaises(CannotLog, LogFile, self.path)

    def test_owner(self) -> None:
        """A new file is its later writer's; one that has lines is left alone."""
        owner = (12345, 12346) if IS_ROOT else (os.geteuid(), os.getegid())
        log = LogFile(self.path, owner)
        status = self.path.stat()
        self.assertEqual((status.st_uid, status.st_gid), owner)
        self.assertFalse(stat.S_IMODE(status.st_mode) & 0o007)
        log.write("x\n")
        os.chown(self.path, os.geteuid(), os.getegid())
        LogFile(self.path, owner)
        self.assertEqual(self.path.stat().st_uid, os.geteuid())


class OtherPlaceTests(SynchronousTestCase):
    """The system's log and standard streams."""

    def test_syslog(self) -> None:
        """Each line is a message of its event's priority."""
        sent: list[tuple[int, str]] = []
        place = Syslog("mailrelay", lambda priority, text: sent.append((priority, text)))
        place.write("one\n    two\n", LogLevel.error)
        place.write("three\n")
        self.assertEqual(
            sent,
            [(syslog.LOG_ERR, "one"), (syslog.LOG_ERR, "    two"), (syslog.LOG_INFO, "three")],
        )

    def test_stream(self) -> None:
        """It is written to the descriptor itself, and there is nothing to rotate."""
        reading, writing = os.pipe()
        place = StandardStream(writing)
        place.write("one\n")
        place.reopen()
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            self.assertEqual(file.read(), b"one\n")
