"""Field bodies of a value and parameters: Content-Type, Content-Disposition (RFC 2045 section 5.1).

Read leniently, in linear time, and never raising: what senders write wrongly has a meaning too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from urllib.parse import unquote_to_bytes

from attrs import frozen

from mailrelay.message.charsets import text_of
from mailrelay.message.words import CONTROLS, shown_text

_Sections = dict[int, tuple[str, bool]]
"""RFC 2231 section 3: the parts of a value by number, and whether each is encoded."""


@frozen
class Parameters:
    """``value`` in lower case, parameters by their names in lower case.

    Of parameters of one name the first is taken, but one as RFC 2231 has it before any other:
    those are in ``extended``, and mean exactly what they say.
    """

    value: str
    params: Mapping[str, str]
    extended: Set[str] = frozenset()

    def text(self, name: str) -> str:
        """A parameter for people, in which senders write encoded words; empty if absent."""
        found = self.params.get(name, "")
        return CONTROLS.sub(" ", found) if name in self.extended else shown_text(found)


def parse_parameters(text: str) -> Parameters:
    """What ``text``, an unfolded body, says."""
    value, _, rest = text.partition(";")
    plain: dict[str, str] = {}
    sections: dict[str, _Sections] = {}
    position = 0
    while (position := _begin(rest, position)) < len(rest):
        match = _NAME.match(rest, position)
        if match is None:
            position = _next(rest, position)
            continue
        written, position = _value(rest, match.end())
        name, number, star = _parts_of(match.group(1).lower())
        if number is None and not star:
            plain.setdefault(name, written)
        else:
            sections.setdefault(name, {}).setdefault(number or 0, (written, star))
    extended = {name: _joined(found) for name, found in sections.items() if 0 in found}
    type_ = value.partition("(")[0].strip().lower()
    return Parameters(type_, plain | extended, extended.keys())


def _begin(text: str, position: int) -> int:
    """Past what stands between parameters."""
    match = _SEPARATORS.match(text, position)
    return match.end() if match else position


def _next(text: str, position: int) -> int:
    """Past the next semicolon."""
    end = text.find(";", position)
    return len(text) if end < 0 else end + 1


def _value(text: str, position: int) -> tuple[str, int]:
    """The value at ``position``, and where the next parameter begins."""
    quoted = _QUOTED.match(text, position)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted.group(1)), _next(text, quoted.end())
    end = _next(text, position)
    token = text[position:end].removesuffix(";").strip()
    if token.endswith(")") and " (" in token:
        token = token[: token.index(" (")].rstrip()
    return token.strip('"'), end


def _parts_of(name: str) -> tuple[str, int | None, bool]:
    """The name, the section's number, and whether its value is encoded."""
    match = _SECTION.fullmatch(name)
    if match is None:
        return name, None, False
    number = match.group(2)
    return match.group(1), int(number) if number else None, match.group(3) is not None


def _joined(sections: _Sections) -> str:
    charset = "utf-8"
    pieces = []
    for number in range(len(sections)):
        if number not in sections:
            break
        written, is_encoded = sections[number]
        if number == 0 and is_encoded and written.count("'") >= 2:
            charset, _, written = written.split("'", 2)
        data = written.encode("utf-8", "replace")
        pieces.append(unquote_to_bytes(data) if is_encoded else data)
    return text_of(b"".join(pieces), charset or "utf-8")


_SEPARATORS = re.compile(r"[\s;]*")
_NAME = re.compile(r"([^\s;=\"]+)\s*=\s*")
_QUOTED = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)(?:"|\\?\Z)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SECTION = re.compile(r"([^*]+)(?:\*([0-9]{1,3}))?(\*)?")
