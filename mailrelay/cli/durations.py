"""Durations as people write them: ``5s``, ``10m``, ``2h``, ``3d``."""

from __future__ import annotations

import re
from typing import Any

import click

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_duration(text: str) -> float:
    """Seconds.  Raises: ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 5s, 10m, 2h or 3d")
    return float(match.group(1)) * _SECONDS[match.group(2)]


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
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhdw]?)")
