"""The configuration that a server runs with, as it is shown: no secret is in it."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen


@frozen
class Setting:
    """One setting.  ``value`` is as TOML has it, or says that there is a secret."""

    name: str
    value: str
    default: str
    is_default: bool
    doc: str
    needs_restart: bool  # a reload does not change it
    from_environment: bool


@frozen
class Section:
    """A table of the file; the first one, without a title, is its top."""

    title: str  # such as [limits], or [[listener]]
    settings: Sequence[Setting]


@frozen
class Configuration:
    """All of it.  ``file`` is empty where there is none: a localserve."""

    file: str
    sections: Sequence[Section]
