"""What hypothesis draws for messages: names, texts, files, drafts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from hypothesis import strategies as st

from mailrelay.message.compose import Draft, File, NamedAddress
from mailrelay.message.words import CONTROLS
from tests.smtp.strategies import addresses, cut

_WORDS = (
    " ",
    "  ",
    "a",
    "word",
    "ü",
    "日本語",
    "\U0001f600",
    "\xa0",
    "x" * 80,
    "y" * 950,
    "é" * 60,
)
_MARKS = ("=?utf-8?q?x?=", "=?", "?=", '"', "\\", "_", "=41", ",", "<a@b>", "(c)")
_ENDS = ("\n", "\r\n", "\r", "\0", "=", "=\n", "--", "--=_b0", "From ", ".", " ", "\t", "\u2028")
_LINES = ("a", "ü", "x" * 76, "y" * 77, "é" * 60)
_anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)

# Half of what is drawn is what writing is about: spaces, quotes, what looks encoded, long words.
line_texts = (
    _anything | st.lists(st.sampled_from((*_WORDS, *_MARKS)), max_size=12).map("".join)
).map(lambda text: CONTROLS.sub("", text))

body_texts = _anything | st.lists(st.sampled_from((*_ENDS, *_LINES)), max_size=20).map("".join)


@st.composite
def named_addresses(draw: st.DrawFn, *, ascii_only: bool) -> NamedAddress:
    """An address with a name or without."""
    address = draw(addresses.filter(lambda a: a.is_ascii or not ascii_only))
    return NamedAddress(draw(line_texts), address)


def pieces_of(pieces: list[bytes]) -> Callable[[], Iterator[bytes]]:
    """What reads a file that is in memory."""
    return lambda: iter(pieces)


@st.composite
def files(draw: st.DrawFn) -> File:
    """A file in pieces, its content mostly longer than a line."""
    data = draw(st.binary(max_size=300))
    return File(
        name=draw(line_texts),
        content_type=draw(st.sampled_from(["", "image/png", "text/plain; charset=utf-8"])),
        content_id=draw(st.sampled_from(["", "<a@b>", "c@d"])),
        read=pieces_of(draw(cut(data))),
        size_bytes=len(data),
    )


def boundaries() -> Callable[[], str]:
    """The tokens b0, b1 and so on, which texts are drawn to contain."""
    numbers = count()
    return lambda: f"b{next(numbers)}"


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    """A draft that can be written."""
    utf8 = draw(st.booleans())
    people = st.lists(named_addresses(ascii_only=not utf8), max_size=3)
    some = st.lists(files(), max_size=2)
    return Draft(
        from_=[draw(named_addresses(ascii_only=not utf8))],
        reply_to=draw(people),
        to=draw(people),
        cc=draw(people),
        subject=draw(line_texts),
        date="Sat, 21 Nov 2026 09:08:18 +0000",
        message_id="<1@example.org>",
        references=draw(st.lists(st.sampled_from(["<r1@x>", "<r2@y>", "<r3@z>"]), max_size=3)),
        headers=[("X-Text", draw(line_texts)), ("X-Text", "plain")],
        user_agent="test",
        text=draw(body_texts),
        html=draw(body_texts),
        alternative_files=draw(some),
        inline_files=draw(some),
        attached_files=draw(some),
        smtputf8=utf8,
        boundary=boundaries(),
    )
