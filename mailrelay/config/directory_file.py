"""The directory as TOML: written for version control, and read with the line of every problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
import tomli_w
from attrs import frozen

from mailrelay.config.load import BadConfiguration, parse_toml, read_text
from mailrelay.config.read import Reader
from mailrelay.control.declared import Declaration, Declared

HEAD = """\
# The directory of a mailrelay server: `mailrelay export` wrote it, `mailrelay apply` reads it.
# What a table leaves out is at its default; docs/export.md tells of everything.
"""
KINDS = (
    *("domain", "account", "alias", "key", "hold_rule"),
    *("webhook_endpoint", "template", "suppression"),
)
PUBLIC = """\
# It has no secrets: passwords, webhooks' authorizations and keys stay as they are on the server.
"""
SECRET = """\
# It has password hashes, webhooks' authorizations and keys' hashes: keep it as you keep those.
"""


@frozen
class DirectoryFile:
    """What a file declares, and who tells of its problems."""

    file: str
    declaration: Declaration
    reader: Reader

    def problem(self, place: str, text: str) -> None:
        """Note a problem."""
        self.reader.problem(place, text)

    def bad(self) -> BadConfiguration:
        """The problems, from the first line on."""
        problems = sorted(self.reader.problems, key=lambda one: one.line)
        return BadConfiguration(self.file, problems)


def read_directory(path: Path) -> DirectoryFile:
    """What ``path`` declares, passwords read from their files.  Raises: BadConfiguration."""
    text = read_text(path)
    reader = Reader(text)
    declared: Declared | None = reader.read(Declared, parse_toml(text, str(path)))
    read = DirectoryFile(str(path), Declaration(declared or Declared()), reader)
    if declared is None:
        raise read.bad()
    passwords = dict(_passwords(declared, path.parent, read.problem))
    return attrs.evolve(read, declaration=Declaration(declared, passwords))


def _passwords(
    declared: Declared, base: Path, problem: Callable[[str, str], None]
) -> Iterator[tuple[str, str]]:
    """The first line of each password file, by account."""
    for i, account in enumerate(declared.account, 1):
        if account.password_file is None:
            continue
        place = f"account[{i}].password_file"
        try:
            text = (base / account.password_file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            problem(place, f"cannot be read: {getattr(error, 'strerror', None) or error}")
            continue
        password = text.split("\n", 1)[0].rstrip("\r")
        if password:
            yield account.name, password
        else:
            problem(place, "has no password in its first line")


def directory_text(declared: Declared, *, secrets: bool) -> str:
    """``declared`` as TOML: the same text for the same directory."""
    parts = [HEAD + (SECRET if secrets else PUBLIC)]
    duties = {name: getattr(declared, name) for name in ("postmaster", "everything_to")}
    parts.append(tomli_w.dumps({name: one for name, one in duties.items() if one is not None}))
    for kind in KINDS:
        parts += [f"[[{kind}]]\n{_table(kind, one)}" for one in getattr(declared, kind)]
    return "\n".join(part for part in parts if part)


def _table(kind: str, one: Any) -> str:
    """The settings of ``one`` that are not at their defaults, and the tables within it."""
    values, tables = {}, []
    for attribute in attrs.fields(type(one)):
        value = getattr(one, attribute.name)
        if value == attribute.default and attribute.name not in _ALWAYS:
            continue
        if attrs.has(type(value)):
            name = f"{kind}.{attribute.name}"
            tables.append(f"\n[{name}]\n{_table(name, value)}")
        else:
            values[attribute.name] = _plain(value)
    # The lines of a template are lines of the file; but a CR would be lost between them.
    is_long = kind == "template" and not any("\r" in str(one) for one in values.values())
    return tomli_w.dumps(values, multiline_strings=is_long) + "".join(tables)


def _plain(value: object) -> object:
    """A value as TOML has it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [str(one) for one in value]
    return value


_ALWAYS = frozenset({"separator"})
"""Said though they are at their defaults."""
