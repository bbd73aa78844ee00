"""The filters of templates: jinja2's that are bounded by what they read, and some made so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import Undefined, pass_environment, pass_eval_context
from jinja2.environment import Environment
from jinja2.filters import (
    FILTERS,
    do_join,
    do_replace,
    do_reverse,
    do_round,
    do_truncate,
    make_attrgetter,
)
from jinja2.nodes import EvalContext
from markupsafe import soft_str

from mailrelay.templates.budget import TooMuch

MOST_CHARACTERS = 256 * 1024
"""That a filter may make at once."""

MOST_RANGE = 10_000
_MOST_DIGITS = 15

_AS_THEY_ARE = (
    *("abs", "capitalize", "count", "d", "default", "e", "escape", "first", "float"),
    *("int", "last", "length", "lower", "max", "min", "safe", "sort", "string", "title"),
    *("trim", "upper", "urlencode"),
)


@pass_eval_context
def _replace(context: EvalContext, value: Any, old: Any, new: Any, count: int | None = None) -> Any:
    times = str(value).count(str(old))
    if times * len(str(new)) > MOST_CHARACTERS:
        raise TooMuch("replace makes too long a text")
    return do_replace(context, value, old, new, count)


@pass_eval_context
def _join(context: EvalContext, value: Any, d: Any = "", attribute: str | int | None = None) -> Any:
    items = list(value)
    if len(items) * len(str(d)) > MOST_CHARACTERS:
        raise TooMuch("join makes too long a text")
    if attribute is not None:
        items = [make_attrgetter(context.environment, attribute)(one) for one in items]
    if sum(len(soft_str(one)) for one in items) > MOST_CHARACTERS:
        raise TooMuch("join makes too long a text")
    return do_join(context, items, d)


@pass_environment
def _truncate(
    environment: Environment,
    value: Any,
    length: int = 255,
    killwords: bool = False,
    end: str = "...",
    leeway: int | None = None,
) -> str:
    if length < len(end):
        raise ValueError(f"truncate needs a length of at least {len(end)}")
    if leeway is not None and leeway < 0:
        raise ValueError("truncate needs a leeway of at least 0")
    return do_truncate(environment, soft_str(value), length, killwords, end, leeway)


def _format(pattern: Any, *values: Any) -> Any:
    """``%`` formatting, where no width or precision is over 99."""
    pattern = soft_str(pattern)
    if pattern.count("%") * _WIDEST > MOST_CHARACTERS:
        raise TooMuch("format makes too long a text")
    if _PLACE.sub("", pattern).count("%"):
        raise ValueError("format knows %s, %d and %f, with widths up to 99, and %%")
    return pattern % tuple(_plain(value) for value in values)


_WIDEST = 99 + 1 + 99
_PLACE = re.compile(r"%(?:%|[-+ 0]?\d{0,2}(?:\.\d{1,2})?[sdf])")


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float) else soft_str(value)


def _round(value: Any, precision: int = 0, method: Any = "common") -> float:
    if not 0 <= precision <= _MOST_DIGITS:
        raise ValueError(f"round goes to 0 to {_MOST_DIGITS} digits")
    return do_round(_number(value), precision, method)


@pass_environment
def _sum(environment: Environment, value: Any, attribute: str | int | None = None) -> Any:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    return sum(_number(one) for one in value)


def _number(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)  # which raises what is said of a missing variable
    if not isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} is no number")
    return value


def _items(value: Any) -> Sequence[tuple[Any, Any]]:
    if isinstance(value, Undefined):
        str(value)  # which raises what is said of a missing variable
    if not isinstance(value, Mapping):
        raise TypeError("items is of an object")
    return list(value.items())


def _reverse(value: Any) -> Any:
    return value[::-1] if isinstance(value, str) else list(do_reverse(value))


FILTERS_OF_TEMPLATES: dict[str, Callable[..., Any]] = {
    **{name: FILTERS[name] for name in _AS_THEY_ARE},
    "format": _format,
    "items": _items,
    "join": _join,
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "sum": _sum,
    "truncate": _truncate,
}

TESTS_OF_TEMPLATES = (
    *("boolean", "defined", "divisibleby", "even", "false", "float", "integer", "mapping"),
    *("none", "number", "odd", "sequence", "string", "true", "undefined"),
)


def bounded_range(*bounds: int) -> range:
    """``range``, of at most 10,000 numbers."""
    made = range(*bounds)
    if len(made) > MOST_RANGE:
        raise ValueError(f"a range has at most {MOST_RANGE} numbers")
    return made
