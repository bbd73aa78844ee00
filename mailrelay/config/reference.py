"""``python -m mailrelay.config.reference`` writes the table part of docs/configuration.md.

The text of the page above ``MARK`` is kept by hand; below it everything comes from the settings
classes: names, types, defaults and the ``doc`` of each field's metadata.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import attrs

from mailrelay.config.read import without_none
from mailrelay.config.settings import Settings

MARK = "<!-- Below: python -m mailrelay.config.reference docs/configuration.md -->\n"

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}


def reference() -> str:
    """Every section with a table of its settings, as Markdown."""
    return "\n".join(section for section in _sections(Settings, "", {}))


def _sections(cls: type[Any], title: str, seen: dict[type[Any], str]) -> Iterator[str]:
    """``cls`` as a section, then those that its fields are, once a class: ``seen`` says where."""
    hints = typing.get_type_hints(cls)
    rows, inner = [], []
    for field in attrs.fields(cls):
        wanted, is_list = _inner(hints[field.name])
        if attrs.has(wanted):
            name = f"{title.strip('[]')}.{field.name}" if title else field.name
            if wanted not in seen:
                inner.append((wanted, name, is_list))
                seen[wanted] = name
            if title:
                rows.append(_row(field, f"as `[{seen[wanted]}]`"))
        else:
            rows.append(_row(field, _type(hints[field.name])))
    yield _section(title, rows)
    for wanted, name, is_list in inner:
        yield from _sections(wanted, f"[{name}]" if is_list else name, seen)


def _section(title: str, rows: Sequence[str]) -> str:
    heading = f"## `[{title}]`" if title else "## At the top of the file"
    head = "| setting | type | default | meaning |\n| --- | --- | --- | --- |"
    return "\n".join([heading, "", head, *rows, ""])


def _row(field: Any, kind: str) -> str:
    meaning = field.metadata.get("doc", "")
    cells = (f"`{field.name}`", kind, _default(field), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _inner(wanted: Any) -> tuple[Any, bool]:
    """The type without ``| None`` and ``Sequence``; whether there was a Sequence."""
    wanted = without_none(wanted)
    if typing.get_origin(wanted) is Sequence:
        return typing.get_args(wanted)[0], True
    return wanted, False


def _type(wanted: Any) -> str:
    inner, is_list = _inner(wanted)
    if is_list:
        return f"list of {_type(inner)}"
    if typing.get_origin(inner) is dict:
        return f"table of {_type(typing.get_args(inner)[1])}"
    if isinstance(inner, type) and issubclass(inner, Enum):
        return " or ".join(f'`"{one.value}"`' for one in inner)
    return _WORDS[inner]


def _default(field: Any) -> str:
    default = field.default
    if default is attrs.NOTHING:
        return "must be given"
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory()
    if default is None or attrs.has(type(default)):
        return "none"
    return f"`{_toml(default)}`"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return f'"{value.value}"'
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        return "{}"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, tuple) else str(value)


def renewed(page: str) -> str:
    """``page`` with everything below the mark written anew.  Raises: ValueError without one."""
    above, mark, _ = page.partition(MARK)
    if not mark:
        raise ValueError(f"the page has no line {MARK.strip()}")
    return f"{above}{mark}\n{reference()}"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(renewed(file.read_text(encoding="utf-8")), encoding="utf-8")
