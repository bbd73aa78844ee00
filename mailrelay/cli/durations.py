"""Durations as people write them, ``5s``, ``10m``, ``2h``, ``3d``, and as Go does, ``1h30m``."""

from __future__ import annotations

import re
from typing import Any

import click

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_duration(text: str) -> float:
    """Seconds.  Raises: ValueError."""
    terms = _TERM.findall(text)
    units = [unit for _, unit in terms]
    is_whole = "".join(number + unit for number, unit in terms) == text
    if not terms or not is_whole or (len(terms) > 1 and "" in units):
        raise ValueError(f"{text!r} is not a duration such as 5s, 10m, 2h, 3d or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in terms)


def duration_text(seconds: float) -> str:
    """The shortest way to write it: ``3d``, ``90m``, ``2.5s``."""
    for unit in ("d", "h", "m"):
        count, rest = divmod(seconds, _SECONDS[unit])
        if count and not rest:
            return f"{count:.0f}{unit}"
    return f"{seconds:g}s"


class Duration(click.ParamType[float]):
    """A click type for durations."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click.ParamType."""
        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()
_TERM = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|[smhdw]?)", re.ASCII)
