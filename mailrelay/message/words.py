"""Text in header fields: encoded words (RFC 2047), and folding (RFC 5322 section 2.2.3).

What is written here is read back as the same text: spaces between encoded words stand inside one
of them, for a reader drops those between two (RFC 2047 section 6.2).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from itertools import groupby

from attrs import define, field

from mailrelay.message.charsets import is_known, text_of

MAX_LINE = 76
"""RFC 2047 section 2: of a line with encoded words; other lines are folded there too."""

MAX_UNFOLDED = 900
"""A word of more bytes than this is encoded: no line is over 998 (RFC 5322 section 2.1.1)."""

CONTROLS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
"""What ends or breaks a line for some reader, and what UTF-8 cannot write."""

_PREFIX, _SUFFIX = "=?utf-8?q?", "?="
_LONGEST_WORD = 75  # RFC 2047 section 2


@define
class Folding:
    """A field that is being written: ``text`` so far, ``column`` in bytes on its last line."""

    text: str
    column: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.column = len(self.text)

    def add(self, gap: str, atom: str, *, may_fold: bool = True) -> None:
        """Append what must not be broken, after ``gap``: on a new line where it does not fit."""
        size = len(gap) + len(atom.encode())
        if may_fold and self.column + size > MAX_LINE:
            self.text += "\r\n"
            self.column = 0
        self.text += gap + atom
        self.column += size

    def add_encoded(self, gap: str, text: str) -> None:
        """Append ``text`` in encoded words, the first as long as this line has room for."""
        for word in _encoded_words(text, MAX_LINE - self.column - len(gap)):
            self.add(gap, word)
            gap = " "


def text_field(name: str, text: str, *, utf8: bool) -> str:
    """An unstructured field that means ``text``, whatever it looks like; without the last CRLF.

    With ``utf8`` characters beyond ASCII stand for themselves (RFC 6532 section 3.2).
    """
    return _unstructured(name, text, utf8=utf8, as_given=False)


def given_field(name: str, value: str, *, utf8: bool) -> str:
    """A field with a body that the caller wrote: folded; encoded only where it must be."""
    return _unstructured(name, value.strip(" "), utf8=utf8, as_given=value.isascii())


def _unstructured(name: str, text: str, *, utf8: bool, as_given: bool) -> str:
    folding = Folding(f"{name}:")
    tokens = _TOKEN.findall(text)
    written = [
        _needs_encoding(token, utf8=utf8, as_given=as_given)
        or (number == 0 and token != token.lstrip())
        or (number == len(tokens) - 1 and token != token.rstrip())
        for number, token in enumerate(tokens)
    ]
    for encode, run in groupby(range(len(tokens)), key=written.__getitem__):
        numbers = list(run)
        if encode:
            joined = "".join(tokens[number] for number in numbers)
            folding.add_encoded(" ", joined[1:] if numbers[0] else joined)
            continue
        for number in numbers:
            gap, word = _split_gap(tokens[number]) if number else (" ", tokens[number])
            folding.add(gap, word, may_fold=number > 0)
    return folding.text if tokens else folding.text + " "


def _split_gap(token: str) -> tuple[str, str]:
    word = token.lstrip(" ")
    return token[: len(token) - len(word)], word


def _needs_encoding(token: str, *, utf8: bool, as_given: bool) -> bool:
    if len(token.encode()) > MAX_UNFOLDED:
        return True
    return not as_given and ("=?" in token or not (utf8 or token.isascii()))


def add_phrase(folding: Folding, gap: str, name: str, *, utf8: bool) -> None:
    """Append a display name: a quoted string if it is short and simple, else encoded words."""
    simple = " ".join(name.split()) == name and len(name.encode()) <= MAX_LINE
    if simple and "=?" not in name and (utf8 or name.isascii()):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        folding.add(gap, f'"{escaped}"')
    else:
        folding.add_encoded(gap, name)


def _encoded_words(text: str, room: int) -> Iterator[str]:
    """``text`` as encoded words, the first of at most ``room`` bytes where one fits.

    No character is cut in two (RFC 2047 section 5).
    """
    overhead = len(_PREFIX) + len(_SUFFIX)
    current = ""
    for character in text:
        piece = _q(character)
        if len(current) + len(piece) + overhead > min(room, _LONGEST_WORD):
            if current:
                yield _PREFIX + current + _SUFFIX
            current, room = "", _LONGEST_WORD
        current += piece
    if current:
        yield _PREFIX + current + _SUFFIX


def _q(character: str) -> str:
    """RFC 2047 section 5 (3): what may stand in a phrase is right everywhere else."""
    if character == " ":
        return "_"
    if _Q_SAFE.fullmatch(character):
        return character
    return "".join(f"={byte:02X}" for byte in character.encode())


def decoded_words(text: str) -> str:
    """``text`` with its encoded words decoded, as far as they can be.  In linear time."""
    if "=?" not in text:
        return text
    out: list[str] = []
    pending: tuple[bytes, str] | None = None  # of the last word: neighbours may share a character
    position = 0
    for start, end, charset, data in _words_in(text):
        between = text[position:start]
        if pending is not None and not between.strip(" \t\r\n"):
            if pending[1] == charset:
                pending = (pending[0] + data, charset)
                position = end
                continue
            between = ""
        out += [text_of(*pending) if pending else "", between]
        pending, position = (data, charset), end
    out += [text_of(*pending) if pending else "", text[position:]]
    return "".join(out)


def shown_text(text: str) -> str:
    """``text`` for people: its encoded words decoded, on one line."""
    return CONTROLS.sub(" ", decoded_words(text))


def _words_in(text: str) -> Iterator[tuple[int, int, str, bytes]]:
    """Start, end, charset and bytes of each encoded word."""
    at = text.find("=?")
    while at >= 0:
        opened = _OPENING.match(text, at)
        # Question marks within are not allowed, and met.
        end = text.find("?=", opened.end()) if opened else -1
        if opened is None:
            at = text.find("=?", at + 2)
            continue
        if end < 0:
            return
        charset = opened.group(1).partition("*")[0].lower()  # RFC 2231 section 5: a language
        data = _word_bytes(opened.group(2), text[opened.end() : end])
        if data is not None and is_known(charset):
            yield at, end + 2, charset, data
        at = text.find("=?", end + 2)


def _word_bytes(encoding: str, encoded: str) -> bytes | None:
    if not encoded.isascii():
        return None
    if encoding in "qQ":
        return binascii.a2b_qp(encoded.encode(), header=True)
    try:
        return binascii.a2b_base64(encoded.rstrip("=") + "==")
    except binascii.Error:
        return None


_TOKEN = re.compile(" *[^ ]+(?: +$)?| +")
_Q_SAFE = re.compile(r"[A-Za-z0-9!*+/\-]")
_OPENING = re.compile(r"=\?([^? ]{1,60})\?([bBqQ])\?")
