"""The xtext encoding of RFC 3461 section 4, which ENVID and ORCPT are written in."""

from __future__ import annotations

import re


class MalformedXtext(ValueError):
    """The text is not xtext."""


def decode_xtext(text: str) -> str:
    """What ``text`` stands for.

    Raises: MalformedXtext.
    """
    if not _XTEXT.fullmatch(text):
        raise MalformedXtext("not xtext")
    return _HEX.sub(lambda match: chr(int(match.group(1), 16)), text)


def encode_xtext(text: str) -> str:
    """``text`` as xtext; characters beyond ASCII must have been encoded before (RFC 6533)."""
    return "".join(c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" for c in text)


_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEX = re.compile(r"\+([0-9A-F]{2})")
