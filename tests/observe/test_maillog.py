"""The mail log: one line per event, whatever the event holds (threat 11)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.threads import AtOnce
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.observe.maillog import (
    FIELDS,
    FLUSH_AFTER,
    MOST_FIELD_CHARACTERS,
    MOST_WAITING,
    MailLog,
    NotTaken,
    append_text,
    human_line,
    json_line,
    safe,
)


def event(**data: object) -> NewEvent:
    """An event with ``data``."""
    return NewEvent(EventKind.DELIVERED, 0.5, 12, 13, 14, data)


hostile = st.text(
    st.sampled_from('ab ="\\\r\n\0\x1b\x7f\x85\u2028\u2029\u202e\u2066\ud800é\U0001f4e7'),
    max_size=600,
)


class LineTests(SynchronousTestCase):
    """human_line, json_line and safe."""

    def test_human(self) -> None:
        """Fields stand in their order, quoted where needed; what is empty is left out."""
        self.assertEqual(
            human_line(
                event(reply='say "hi"', recipient="a@b.example", size_bytes=7, tls="", code=None)
            ),
            "1970-01-01T00:00:00.500Z delivered message=12 entry=13 recipient=a@b.example"
            ' size_bytes=7 reply="say \\"hi\\""',
        )
        short = human_line(NewEvent(EventKind.ACCEPTED, 0.0, 1, data={"next_attempt_at": 1.5}))
        self.assertEqual(
            short,
            "1970-01-01T00:00:00.000Z accepted message=1 next_attempt_at=1970-01-01T00:00:01.500Z",
        )

    def test_json(self) -> None:
        """The same as an object."""
        self.assertEqual(
            json.loads(
                json_line(
                    event(
                        recipient="a@b.example", code=250, next_attempt_at=1.5, transcript=["C: x"]
                    )
                )
            ),
            {
                "time": "1970-01-01T00:00:00.500Z",
                "event": "delivered",
                "message": 12,
                "entry": 13,
                "account": 14,
                "recipient": "a@b.example",
                "code": 250,
                "next_attempt_at": "1970-01-01T00:00:01.500Z",
            },
        )

    @given(hostile, st.sampled_from(FIELDS))
    def test_one_line(self, text: str, name: str) -> None:
        """Whatever a field holds, it is one printable line that reads back as one event."""
        for line in (human_line(event(**{name: text})), json_line(event(**{name: text}))):
            self.assertTrue(line.isprintable())
            self.assertEqual(len(line.splitlines()), 1)
            self.assertLess(len(line), 12 * MOST_FIELD_CHARACTERS)
            line.encode("utf-8")
        self.assertEqual(json.loads(json_line(event(**{name: text})))["message"], 12)

    @given(hostile)
    def test_no_forged_field(self, text: str) -> None:
        """A field's text cannot look like a field of its own."""
        line = human_line(event(reply=text + " code=250", code=550))
        outside = "".join(line.replace("\\\\", "").replace('\\"', "").split('"')[::2])
        self.assertNotIn("code=250", outside)

    def test_escapes(self) -> None:
        """C0, C1, separators, bidirectional marks and surrogates are escaped, the rest stays."""
        self.assertEqual(
            safe("a\r\n\x1b\x85\u2028\u202e\ud800ü"), r"a\r\n\x1b\x85\u2028\u202e\ud800ü"
        )
        self.assertEqual(len(safe("x" * 100_000)), MOST_FIELD_CHARACTERS)

    def test_what_is_not_logged(self) -> None:
        """Transcripts and what is not listed stay in the history."""
        line = human_line(event(transcript=["C: s3cret"], password="s3cret", destination="s3cret"))
        self.assertNotIn("s3cret", line)


class Slowly:
    """An executor whose work waits for a Deferred."""

    def __init__(self, until: Deferred[None]) -> None:
        self._until = until

    def run(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """See Executor."""
        done: Deferred[Any] = Deferred()
        self._until.addCallback(lambda _: done.callback(work(*args, **kwargs)))
        return done


class MailLogTests(SynchronousTestCase):
    """MailLog on a Clock."""

    def setUp(self) -> None:
        """A log that writes into a list."""
        self.clock = Clock()
        self.written: list[str] = []
        self.fails = False

    def log(self, path: str = "log", format_: str = "human") -> MailLog:
        """A running log."""

        def write(_: str, text: str) -> None:
            if self.fails:
                raise OSError(28, "full")
            self.written.append(text)

        log = MailLog(path, format_, self.clock, AtOnce(), write)
        log.startService()
        return log

    def test_collects(self) -> None:
        """Events of a quarter second are written together, in order, a line each."""
        log = self.log()
        log.record([event(code=1), event(code=2)])
        log.record([event(code=3)])
        self.assertEqual(self.written, [])
        self.clock.advance(FLUSH_AFTER)
        [text] = self.written
        self.assertEqual([line[-6:] for line in text.splitlines()], ["code=1", "code=2", "code=3"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_writes_the_rest(self) -> None:
        """Nothing is lost at a stop, and no timer is left."""
        log = self.log(format_="json")
        log.record([event()])
        self.successResultOf(log.stopService())
        self.assertEqual(json.loads(self.written[0])["message"], 12)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        log.record([event()])  # of what was still under way
        self.assertEqual((len(self.written), self.clock.getDelayedCalls()), (2, []))

    def test_not_taken(self) -> None:
        """A refusal has a line of its own, with no message."""
        refusal = NotTaken(0.0, {"peer_ip": "192.0.2.1", "code": 550, "reason": "dnsbl"})
        said = "1970-01-01T00:00:00.000Z refused peer_ip=192.0.2.1 code=550 reason=dnsbl"
        self.assertEqual(human_line(refusal), said)
        told = json.loads(json_line(refusal))
        self.assertEqual((told["event"], told["code"], "message" in told), ("refused", 550, False))

    def test_trouble(self) -> None:
        """A log that cannot be written loses lines, counted and told, and goes on."""
        log = self.log()
        self.fails = True
        log.record([event(), event()])
        self.clock.advance(FLUSH_AFTER)
        self.assertEqual(log.left_out, 2)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.fails = False
        log.record([event()])
        self.clock.advance(FLUSH_AFTER)
        self.assertEqual(len(self.written), 1)

    def test_while_writing(self) -> None:
        """What comes while a slow disk writes is written after it, never at the same time."""
        slow: Deferred[None] = Deferred()
        log = MailLog(
            "log", "human", self.clock, Slowly(slow), lambda _, text: self.written.append(text)
        )
        log.startService()
        log.record([event(code=1)])
        self.clock.advance(FLUSH_AFTER)
        log.record([event(code=2)])
        self.clock.advance(10 * FLUSH_AFTER)
        self.assertEqual(self.written, [])
        slow.callback(None)
        self.clock.advance(FLUSH_AFTER)
        self.assertEqual([text[-7:] for text in self.written], ["code=1\n", "code=2\n"])

    def test_bounded(self) -> None:
        """When the disk does not take them, lines are left out before memory grows."""
        log = self.log()
        log.record([event()] * (MOST_WAITING + 1))
        log.record([event()] * 5)
        self.assertEqual(log.left_out, 5)

    def test_switched_off(self) -> None:
        """Without a path nothing is kept."""
        log = self.log(path="")
        log.record([event()])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(log.stopService())
        self.assertEqual(self.written, [])

    def test_rotation(self) -> None:
        """The file is opened anew, so that a renamed one is not written to."""
        path: Any = self.mktemp()
        append_text(path, "a\n")
        os.rename(path, path + ".1")
        append_text(path, "ü\n")
        self.assertEqual(Path(path).read_text(encoding="utf-8"), "ü\n")
