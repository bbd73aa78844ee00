"""The reader: the same bytes cut anywhere, and only CRLF.CRLF for an end."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.content import DotStuffer
from mailrelay.smtp.reader import (
    CommandLine,
    ContentData,
    ContentEnd,
    LineTooLong,
    Reader,
    has_bare,
)
from tests.smtp.strategies import content, cut

Seen = list[tuple[str, bytes, bool]]


def drained(reader: Reader, seen: Seen) -> None:
    """Take every event; content that follows content is put together.

    After a line ``DATA`` content is expected; after ``BDAT n`` a chunk of n bytes.
    """
    while (event := reader.next_event()) is not None:
        match event:
            case CommandLine(line, bare):
                first = not any(before.startswith(b"BDAT") for _, before, _ in seen)
                seen.append(("line", line, bare))
                if line == b"DATA":
                    reader.expect_data()
                elif line.startswith(b"BDAT ") and line[5:].isdigit():
                    reader.expect_chunk(int(line[5:]), first=first)
            case LineTooLong():
                seen.append(("too long", b"", False))
            case ContentData(data, bare):
                if seen and seen[-1][0] == "content":
                    _, before, was = seen.pop()
                    seen.append(("content", before + data, was or bare))
                else:
                    seen.append(("content", data, bare))
            case ContentEnd(bare):
                seen.append(("end", b"", bare))


def events(pieces: list[bytes], max_line_bytes: int = 40) -> Seen:
    """What the reader makes of ``pieces``."""
    reader, seen = Reader(max_line_bytes), Seen()
    for piece in pieces:
        reader.feed(piece)
        drained(reader, seen)
    return seen


streams = st.lists(
    st.sampled_from(
        [
            b"DATA\r\n",
            b"BDAT 0\r\n",
            b"BDAT 3\r\n",
            b"BDAT 10\r\n",
            b"NOOP\r\n",
            b"\r\n.\r\n",
            b".\r\n",
            b"\n.\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r",
            b"\n",
            b".",
            b"text",
            b"x" * 39,
            b"x" * 41,
        ]
    ),
    max_size=16,
).map(b"".join)


class CutAnywhereTests(SynchronousTestCase):
    """The same bytes give the same events."""

    @given(st.data())
    def test_any_cut(self, data: st.DataObject) -> None:
        """However a dialogue is cut, lines, content and ends are the same."""
        stream = data.draw(streams)
        self.assertEqual(events(data.draw(cut(stream))), events([stream]))

    @given(streams)
    def test_byte_by_byte(self, stream: bytes) -> None:
        """One byte at a time gives what one delivery gives."""
        self.assertEqual(events([bytes([b]) for b in stream]), events([stream]))


class DataTests(SynchronousTestCase):
    """Content after DATA."""

    def read(self, stream: bytes) -> Seen:
        """The events after DATA."""
        return events([b"DATA\r\n" + stream])[1:]

    @given(content)
    def test_the_only_end(self, stream: bytes) -> None:
        """Content ends at the first CRLF.CRLF, a dot alone on the first line included."""
        whole = b"\r\n" + stream
        end = whole.find(b"\r\n.\r\n")
        kinds = [kind for kind, _, _ in self.read(stream)]
        if end < 0:
            self.assertNotIn("end", kinds)
            self.assertNotIn("line", kinds)
        else:
            body = re.sub(rb"\r\n\.", b"\r\n", whole[: end + 2])[2:]
            seen = self.read(stream)
            if body:
                self.assertEqual(seen[0], ("content", body, has_bare(body)))
            self.assertEqual(seen[1 if body else 0][0], "end")

    def test_smuggling(self) -> None:
        """None of the known look-alikes ends content or becomes a command (CVE-2023-51764)."""
        for ending in (
            b"\n.\n",
            b"\r.\r",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r\n.\r",
            b"\r.\r\n",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n. \r\n",
            b"\n\n.\r\n",
            b"\r\r\n.\r\r\n",
            b"\r\n.\r\r\n",
        ):
            with self.subTest(ending):
                seen = self.read(b"body" + ending + b"MAIL FROM:<a@b>\r\n")
                self.assertEqual([kind for kind, _, _ in seen], ["content"])

    def test_bare_is_reported(self) -> None:
        """A CR or an LF that stands alone is reported, a CRLF is not."""
        for stream, bare in {
            b"a\r\nb\r\n.\r\n": False,
            b"a\nb\r\n.\r\n": True,
            b"a\rb\r\n.\r\n": True,
            b"a\r\r\n.\r\n": True,
            b"a\n\r\n.\r\n": True,
            b"\n\r\n.\r\n": True,
        }.items():
            with self.subTest(stream):
                self.assertEqual(
                    [seen[2] for seen in self.read(stream) if seen[0] == "content"], [bare]
                )

    def test_dots(self) -> None:
        """The first dot of a line goes, only that one, the first line's too."""
        self.assertEqual(
            self.read(b"..a\r\n..b\r\n.c\r\n...\r\nd.\r\n.\r\n"),
            [("content", b".a\r\n.b\r\nc\r\n..\r\nd.\r\n", False), ("end", b"", False)],
        )

    def test_empty(self) -> None:
        """A dot on the first line is the end of nothing."""
        self.assertEqual(
            self.read(b".\r\nQUIT\r\n"), [("end", b"", False), ("line", b"QUIT", False)]
        )

    def test_long_line(self) -> None:
        """A line of 100 kB in content stays content (a stock server read commands from it)."""
        seen = self.read(b"x" * 100_000 + b"\r\nRSET\r\n.\r\nNOOP\r\n")
        self.assertEqual(seen[0][1][-8:], b"\r\nRSET\r\n")
        self.assertEqual(seen[1:], [("end", b"", False), ("line", b"NOOP", False)])

    @given(st.data())
    def test_inverse_of_the_stuffer(self, data: st.DataObject) -> None:
        """What DotStuffer writes, the reader reads, for any chunks of either."""
        lines = data.draw(
            st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a", b"a."]), max_size=9)
        )
        body = b"".join(line + b"\r\n" for line in lines)
        stuffer = DotStuffer()
        sent = b"".join(stuffer.chunk(piece) for piece in data.draw(cut(body))) + stuffer.end()
        seen = events([b"DATA\r\n", *data.draw(cut(sent)), b"QUIT\r\n"])[1:]
        expected = [("content", body, False)] if body else []
        self.assertEqual(seen, [*expected, ("end", b"", False), ("line", b"QUIT", False)])


class ChunkTests(SynchronousTestCase):
    """BDAT: exactly as many bytes, whatever they are."""

    def test_counted(self) -> None:
        """A chunk holds dots, ends and commands as bytes."""
        self.assertEqual(
            events([b"BDAT 10\r\n\r\n.\r\nQUIT\rNOOP\r\n"])[1:],
            [("content", b"\r\n.\r\nQUIT\r", False), ("end", b"", True), ("line", b"NOOP", False)],
        )

    def test_empty_chunk(self) -> None:
        """A chunk of nothing ends at once."""
        self.assertEqual(events([b"BDAT 0\r\n"])[1:], [("end", b"", False)])

    def test_line_end_cut_by_chunks(self) -> None:
        """A CRLF cut by two chunks is whole; a CR at the very end is bare."""
        reader = Reader()
        seen = Seen()
        reader.feed(b"BDAT 2\r\na\rBDAT 2\r\n\nbBDAT 2\r\n\n\r")
        drained(reader, seen)
        self.assertEqual(
            [(data, bare) for kind, data, bare in seen if kind != "line"],
            [
                (b"a\r", False),
                (b"", True),  # only the last chunk's counts
                (b"\nb", False),
                (b"", False),
                (b"\n\r", True),
                (b"", True),
            ],
        )

    def test_a_new_message_forgets(self) -> None:
        """A CR at the end of one message does not pair with the next one's LF."""
        reader = Reader()
        reader.feed(b"\r")
        reader.expect_chunk(1, first=True)
        reader.next_event(), reader.next_event()
        reader.feed(b"\n")
        reader.expect_chunk(1, first=True)
        self.assertEqual(reader.next_event(), ContentData(b"\n", bare=True))


class LineTests(SynchronousTestCase):
    """Command lines."""

    def test_bare(self) -> None:
        """A line that ends in LF alone, or holds a CR, is reported."""
        self.assertEqual(
            events([b"A\nB\rC\r\nD\r\r\nE\r\n"]),
            [
                ("line", b"A", True),
                ("line", b"B\rC", True),
                ("line", b"D\r", True),
                ("line", b"E", False),
            ],
        )

    def test_too_long(self) -> None:
        """A line over the limit is one event, and the next line is read as ever."""
        for size in (40, 41, 1000):
            stream = b"x" * size + b"\r\nNOOP\r\n"
            for pieces in ([stream], [bytes([b]) for b in stream]):
                seen = events(pieces)
                self.assertEqual(seen, [("too long", b"", False), ("line", b"NOOP", False)])
        self.assertEqual(events([b"x" * 39 + b"\r\n"])[0][0], "line")

    def test_endless_line_is_not_kept(self) -> None:
        """A line that never ends takes no memory."""
        reader = Reader(100)
        for _ in range(1000):
            reader.feed(b"x" * 1000)
            self.assertIsNone(reader.next_event())
        self.assertLessEqual(reader.waiting_bytes, 100)

    def test_discard(self) -> None:
        """What came before TLS is gone (RFC 3207 section 4.2)."""
        reader = Reader()
        reader.feed(b"MAIL FROM:<a@b>\r\n")
        self.assertEqual(reader.waiting_bytes, 17)
        reader.discard()
        self.assertIsNone(reader.next_event())
        self.assertEqual(reader.waiting_bytes, 0)

    def test_in_content(self) -> None:
        """The reader knows what it reads."""
        reader = Reader()
        self.assertFalse(reader.in_content)
        reader.expect_data()
        self.assertTrue(reader.in_content)
        reader.feed(b".\r\n")
        reader.next_event()
        self.assertFalse(reader.in_content)
        reader.expect_chunk(1, first=True)
        self.assertTrue(reader.in_content)

    def test_little_is_held_of_content(self) -> None:
        """Content is passed on as it comes; no more than an end's beginning is held."""
        reader = Reader()
        reader.expect_data()
        for piece in (b"x" * 100_000, b"\r\n.\r", b"y" * 100_000, b"\r\n"):
            reader.feed(piece)
            while reader.next_event() is not None:
                pass
            self.assertLessEqual(reader.waiting_bytes, 4)
