"""Tables of TOML into attrs classes, by the classes' own types; every problem is collected."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import attrs
from attrs import define, field, frozen


@frozen
class Problem:
    """What is wrong, where, and what to do.  ``line`` is 0 when there is none."""

    place: str
    text: str
    line: int = 0

    def __str__(self) -> str:
        at = f"line {self.line}: " if self.line else ""
        return f"{at}{self.place}: {self.text}" if self.place else f"{at}{self.text}"


@define
class Reader:
    """Reads tables of one file's ``text``; ``problems`` grows."""

    text: str
    problems: list[Problem] = field(factory=list)

    def problem(self, place: str, text: str) -> None:
        """Note a problem at ``place``, such as ``listener[2].role``."""
        self.problems.append(Problem(place, text, line_of(self.text, place)))

    def read(self, cls: type[Any], table: Mapping[str, Any], place: str = "") -> Any | None:
        """A ``cls`` from ``table``; None when it cannot be made."""
        types_ = typing.get_type_hints(cls)
        known = {f.name: f for f in attrs.fields(cls) if f.init}
        for key in table:
            if key not in known:
                near = _nearest(key, known)
                self.problem(_join(place, key), f"unknown setting{near}")
        values = {}
        before = len(self.problems)
        for name, attribute in known.items():
            where = _join(place, name)
            if name in table:
                values[name] = self._value(types_[name], table[name], where)
            elif attribute.default is attrs.NOTHING:
                self.problem(where, "is needed")
        if len(self.problems) > before:
            return None
        try:
            return cls(**values)
        except (ValueError, TypeError) as error:
            self.problem(place, str(error))
            return None

    def _value(self, wanted: Any, given: Any, where: str) -> Any:
        wanted = without_none(wanted)
        origin = typing.get_origin(wanted)
        if origin is Sequence:
            return self._list(typing.get_args(wanted)[0], given, where)
        if origin is dict or origin is Mapping:
            return self._map(typing.get_args(wanted)[1], given, where)
        if attrs.has(wanted):
            if not isinstance(given, Mapping):
                return self.problem(where, "must be a table")
            return self.read(wanted, given, where)
        return self._scalar(wanted, given, where)

    def _list(self, wanted: Any, given: Any, where: str) -> Any:
        if not isinstance(given, list):
            return self.problem(where, "must be a list")
        return tuple(self._value(wanted, one, f"{where}[{i + 1}]") for i, one in enumerate(given))

    def _map(self, wanted: Any, given: Any, where: str) -> Any:
        if not isinstance(given, Mapping):
            return self.problem(where, "must be a table")
        return {key: self._value(wanted, one, f"{where}.{key}") for key, one in given.items()}

    def _scalar(self, wanted: Any, given: Any, where: str) -> Any:
        if isinstance(wanted, type) and issubclass(wanted, Enum):
            try:
                return wanted(given)
            except ValueError:
                words = ", ".join(str(one.value) for one in wanted)
                return self.problem(where, f"must be one of {words}, not {given!r}")
        if wanted is Path and isinstance(given, str):
            return Path(given)
        if wanted in (int, float) and _is_number(given) and not 0 <= given < 2**63:
            return self.problem(where, f"must be a number from 0 on, not {str(given)[:40]}")
        if wanted is float and isinstance(given, int) and not isinstance(given, bool):
            return float(given)
        if isinstance(given, wanted) and not (wanted is int and isinstance(given, bool)):
            return given
        return self.problem(where, f"must be {_NAMES[wanted]}, not {given!r}")


_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "true or false",
    datetime: "a time such as 2026-01-31T12:00:00Z",
}


def without_none(wanted: Any) -> Any:
    """The type that a setting of type ``wanted`` has when it is given."""
    if typing.get_origin(wanted) not in (typing.Union, types.UnionType):
        return wanted
    return next(one for one in typing.get_args(wanted) if one is not type(None))


def sections_of(cls: type[Any]) -> Sequence[str]:
    """The settings of ``cls`` that are tables with settings of their own."""
    hints = typing.get_type_hints(cls)
    names = [f.name for f in attrs.fields(cls) if f.init]
    return [name for name in names if attrs.has(without_none(hints[name]))]


def _is_number(given: object) -> bool:
    return isinstance(given, (int, float)) and not isinstance(given, bool)


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _nearest(key: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key, known, n=1)
    return f": did you mean {near[0]}?" if near else ""


def from_file(given: str, file: str, reader: Reader, base: Path, place: str) -> str:
    """A secret, read from its file if it has one.  ``place`` is its own."""
    if not file:
        return given
    if given:
        name = place.rpartition(".")[2]
        reader.problem(f"{place}_file", f"{name} is set too: keep one of them")
        return given
    try:
        return (base / file).read_text(encoding="utf-8").split("\n", 1)[0]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        reader.problem(f"{place}_file", f"cannot be read: {reason}")
        return ""


def check_addresses(place: str, addresses: Sequence[str], reader: Reader) -> None:
    """Note the problems of a list of IP addresses."""
    for i, address in enumerate(addresses, 1):
        try:
            ip_address(address)
        except ValueError as error:
            reader.problem(f"{place}[{i}]", str(error))


def check_networks(place: str, networks: Sequence[str], reader: Reader) -> None:
    """Note the problems of a list of networks."""
    for i, network in enumerate(networks, 1):
        try:
            ip_network(network)
        except ValueError as error:
            reader.problem(f"{place}[{i}]", str(error))


def line_of(text: str, place: str) -> int:
    """The line of ``text`` where the setting at ``place`` stands, or its table; 0 if nowhere."""
    *tables, key = place.split(".")
    counts: dict[str, int] = {}
    current, found_table = "", 0
    wanted = ".".join(tables)
    inside = ""  # the quotes of a string of several lines, which may look like anything
    for number, line in enumerate(text.split("\n"), 1):
        if inside:
            inside = "" if inside in line else inside
            continue
        opened = _LONG_STRING.match(line)
        inside = opened.group(1) if opened and opened.group(1) not in opened.group(2) else ""
        header = _HEADER.match(line)
        if header is not None:
            name = header.group(2).strip()
            if header.group(1) == "[[":
                counts[name] = counts.get(name, 0) + 1
                name = f"{name}[{counts[name]}]"
            elif (parent := name.partition(".")[0]) in counts:  # [listener.limits]
                name = name.replace(parent, f"{parent}[{counts[parent]}]", 1)
            current = name
            found_table = number if current in (wanted, place) else found_table
        elif current == wanted and re.match(rf"\s*\"?{re.escape(key.split('[')[0])}\"?\s*=", line):
            return number
    if found_table or not tables:
        return found_table
    return line_of(text, wanted)  # an inline table: the setting that it is


_LONG_STRING = re.compile(r"""\s*[\w."-]+\s*=\s*(\"{3}|'{3})(.*)""")
_HEADER = re.compile(r"\s*(\[\[?)([^\]#]+)\]")
