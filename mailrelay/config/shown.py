"""Settings as they are shown: every one with its value, but secrets.  Pure.

Invariant: what says that it is secret, what the classes keep out of their repr, and what a URL has
that lets somebody in, is never shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import attrs

from mailrelay.config.environment import ENVIRONMENT_PREFIX
from mailrelay.config.settings import Settings
from mailrelay.config.transports import DOCKER_VARIABLES
from mailrelay.control.configuration import Configuration, Section, Setting

MASKED, NOT_SET = "set, not shown", '""'

_SECRET_WORDS = re.compile(r"(?:^|_)(?:passwords?|secrets?|psks?|keys?|tokens?)(?:_|$)")
_LOGIN = re.compile(r"(?<=://).*@", re.DOTALL)

_PSK, _SMTP_CLIENT = "PSK", "SMTP_CLIENT_HOST"
"""Variables of Zotonic's servers: see handoffs.py."""


def shown_configuration(
    settings: Settings,
    fixed: Collection[str] = (),
    file: str = "",
    variables: Collection[str] = (),
) -> Configuration:
    """What ``settings`` are, which ``file`` and the variables of these names gave.

    Those below ``fixed`` names need a restart.
    """
    sections = _sections(settings, "", "", fixed, frozenset(variables))
    return Configuration(file, [one for one in sections if one.settings])


def is_secret(field: Any) -> bool:
    """Whether what is set there lets somebody in."""
    if not field.repr:
        return True
    is_file = field.name.endswith(("_file", "_files")) or field.name == "private_key"
    is_text = field.type in ("str", "str | None", "Sequence[str]", str)
    return bool(is_text and not is_file and _SECRET_WORDS.search(field.name))


def _sections(
    value: Any, title: str, name: str, fixed: Collection[str], given: frozenset[str]
) -> Iterator[Section]:
    """``value`` as a section, then those within it."""
    rows, inner = [], []
    for field in attrs.fields(type(value)):
        own = getattr(value, field.name)
        place = f"{name}.{field.name}" if name else field.name
        items = own if isinstance(own, (list, tuple)) else [own]
        if items and all(attrs.has(type(one)) for one in items):
            is_list = own is items
            inner += [(one, f"[[{place}]]" if is_list else f"[{place}]", place) for one in items]
        elif field.init:
            needs_restart = place.split(".")[0] in fixed or place == "log.file"
            is_given = bool(_variables(place) & given)
            rows.append(_setting(field, own, needs_restart=needs_restart, is_given=is_given))
    yield Section(title, rows)
    for one, heading, place in inner:
        yield from _sections(one, heading, place, fixed, given)


def _setting(field: Any, value: Any, *, needs_restart: bool, is_given: bool) -> Setting:
    default = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory()
    must_be_given = default is attrs.NOTHING
    return Setting(
        field.name,
        _shown(field, value),
        "" if must_be_given else _toml(default),
        not must_be_given and _plain(value) == _plain(default),
        field.metadata.get("doc", ""),
        needs_restart,
        is_given,
    )


def _shown(field: Any, value: Any) -> str:
    if not is_secret(field):
        return _toml(value)
    return MASKED if value else NOT_SET


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _toml(value: Any) -> str:
    """As a file would have it; None is what no file can say."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return _text(str(value.value))
    if isinstance(value, (str, Path)):
        return _text(str(value))
    if isinstance(value, Mapping):
        pairs = (f"{_text(str(key))} = {_toml(one)}" for key, one in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)


def _text(text: str) -> str:
    """A string; of a URL without who logs in, and without its query."""
    if "://" in text:
        whole, mark, _ = _LOGIN.sub("...@", text).partition("?")
        text = f"{whole}?..." if mark else whole
    return json.dumps(text, ensure_ascii=False)


def _variables(place: str) -> set[str]:
    """The names of variables that give the setting at ``place``."""
    docker = {
        variable for variable, name in DOCKER_VARIABLES.items() if f"relaying.{name}" == place
    }
    if place == "handoff_in.tokens":
        docker.add(_PSK)
    if place.startswith("handoff_relay."):
        docker.add(_SMTP_CLIENT)
    return {ENVIRONMENT_PREFIX + place.replace(".", "_").upper(), *docker}
