"""What several groups of commands do with their options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

import click
from typing_extensions import override

C = TypeVar("C", bound=Callable[..., Any])
E = TypeVar("E", bound=Enum)


def with_options(*options: Callable[[C], C]) -> Callable[[C], C]:
    """Gives a command all of ``options``, shown in this order."""

    def with_all(command: C) -> C:
        for option in reversed(options):
            command = option(command)
        return command

    return with_all


class One(click.Choice[Any]):
    """A value of an enumeration, by its word."""

    def __init__(self, kind: type[E]) -> None:
        super().__init__([one.value for one in kind])
        self._kind = kind

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self._kind(super().convert(value, param, ctx))


def take_lists(values: dict[str, Any], cleared: Mapping[str, str]) -> None:
    """Make of each repeatable option, and of the flag that empties it, one value.

    None leaves a list as it is.  ``cleared`` has the flags' names.
    """
    for name, flag in cleared.items():
        none = () if values.pop(flag) else None
        values[name] = values[name] or none
