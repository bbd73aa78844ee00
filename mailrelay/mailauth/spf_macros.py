"""Macros of SPF records, and what stands for them (RFC 7208 section 7).  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

_PIECE = re.compile(
    r"[^%]+|%(?:%|_|-|\{([slodiphcrtvSLODIPHCRTV])([0-9]{0,3})([rR]?)([.\-+,/_=]*)\})", re.DOTALL
)
_LITERALS = {"%%": "%", "%_": " ", "%-": "%20"}
_FOR_EXPLANATIONS = "crt"


class MalformedMacro(Exception):
    """The text has a percent sign that begins no macro."""


def check_macros(text: str) -> None:
    """Raises: MalformedMacro."""
    _pieces(text, _FOR_EXPLANATIONS)


def letters_in(text: str) -> frozenset[str]:
    """Which macros a well-formed text has, in lower case."""
    return frozenset(piece[1].lower() for piece in _pieces(text, "") if piece[1])


def expand(text: str, values: Mapping[str, str], *, explains: bool = False) -> str:
    """``text`` with what stands for its macros; c, r and t only where it ``explains``.

    Raises: MalformedMacro.
    """
    expanded = []
    for piece in _pieces(text, "" if explains else _FOR_EXPLANATIONS):
        if not piece[1]:
            expanded.append(_LITERALS.get(piece[0], piece[0]))
            continue
        value = _transformed(values[piece[1].lower()], piece[2], piece[3], piece[4])
        expanded.append(quote(value, safe="-._~") if piece[1].isupper() else value)
    return "".join(expanded)


def _pieces(text: str, not_here: str) -> list[re.Match[str]]:
    found, at = [], 0
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None:
            raise MalformedMacro(f"{text[at : at + 20]!r} is no macro")
        letter = (piece[1] or "").lower()
        if letter and letter in not_here:
            raise MalformedMacro(f"%{{{letter}}} is for explanations alone")
        if piece[2] and int(piece[2]) == 0:
            raise MalformedMacro(f"{piece[0]} asks for no labels")
        found.append(piece)
        at = piece.end()
    return found


def _transformed(value: str, digits: str, reverse: str, delimiters: str) -> str:
    """The last parts of ``value``, all without ``digits``, between dots."""
    if not (digits or reverse or delimiters):
        return value
    parts = re.split(f"[{re.escape(delimiters or '.')}]", value)
    if reverse:
        parts.reverse()
    return ".".join(parts[-int(digits) :] if digits else parts)
