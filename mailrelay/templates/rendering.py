"""Messages made of templates: parsed and checked once, rendered within a budget.

It takes milliseconds, and for hostile templates tenths of a second: not in the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any

import jinja2
from attrs import frozen
from jinja2 import TemplateError, TemplateSyntaxError, Undefined, UndefinedError, pass_context
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from mailrelay.message.plain import plain_text
from mailrelay.message.words import CONTROLS
from mailrelay.templates.budget import Budget, TooMuch
from mailrelay.templates.filters import FILTERS_OF_TEMPLATES, TESTS_OF_TEMPLATES, bounded_range
from mailrelay.templates.language import PAID, PAID_ROUNDS, check, counted
from mailrelay.templates.model import PARTS, BadTemplate, CannotRender, Source, Written
from mailrelay.templates.variables import MOST_SIZE, size_of

MOST_OUTPUT = {"subject": 10_000, "text": 1024 * 1024, "html": 1024 * 1024}
"""Characters of each part."""

LARGEST_RESULT = 10**18

_BUDGET = "(budget)"
"""A variable that no template can name."""


class MissingVariable(UndefinedError):
    """``variable`` was not given; empty when it is a field of something."""

    def __init__(self, variable: str, message: str) -> None:
        super().__init__(message)
        self.variable = variable


class _Strict(jinja2.StrictUndefined):
    """Tells which variable it stands for."""

    __slots__ = ()

    def __init__(self, hint: str | None = None, obj: Any = missing, name: Any = None) -> None:
        error: Any = partial(MissingVariable, name if obj is missing and name else "")
        super().__init__(hint, obj, name, error)


class _Language(ImmutableSandboxedEnvironment):
    """Where templates run: plain data, no attributes of Python's, everything counted."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%"})

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(
            autoescape=autoescape,
            undefined=_Strict,
            finalize=_shown,
            optimized=False,
            cache_size=0,
            loader=None,
        )
        tests = {name: self.tests[name] for name in TESTS_OF_TEMPLATES}
        self.filters = {**FILTERS_OF_TEMPLATES, PAID: _paid, PAID_ROUNDS: _paid_rounds}
        self.tests = tests
        self.globals = {"range": bounded_range}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A field of an object, or what a loop tells of itself."""
        if isinstance(obj, LoopContext) and attribute in _OF_LOOPS:
            return getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A field of an object, or an element of a list."""
        if isinstance(obj, Undefined):
            str(obj)  # which raises
        try:
            if isinstance(obj, dict | list | tuple | str | range):
                return obj[argument]
        except (LookupError, TypeError):
            pass
        return self.undefined(hint=f"{_kind(obj)} has no {str(argument)[:100]!r}", obj=obj)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic of numbers, and ``+`` of strings."""
        for one in (left, right):
            if isinstance(one, Undefined):
                str(one)  # which raises
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            _paid(context, left)
            _paid(context, right)
        elif not isinstance(left, int | float) or not isinstance(right, int | float):
            raise TypeError(f"{operator} is for numbers: not {_kind(left)} and {_kind(right)}")
        made = super().call_binop(context, operator, left, right)
        if isinstance(made, int) and abs(made) > LARGEST_RESULT:
            raise OverflowError(f"{operator} makes too large a number")
        return made


_OF_LOOPS = frozenset(
    {"index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem"}
)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple | range):
        return "a list"
    if isinstance(value, str):
        return "a string"
    return "a number" if isinstance(value, int | float) else "this"


@pass_context
def _shown(context: Context, value: Any) -> Any:
    """What stands for ``value`` in the message: nothing for null."""
    if value is None:
        return ""
    if isinstance(value, str | int | float | Undefined):
        _paid(context, value)
        return value
    raise TypeError(f"{_kind(value)} cannot stand in a text: name one of its fields, or join it")


@pass_context
def _paid(context: Context, value: Any) -> Any:
    context[_BUDGET].spend_on(value)
    return value


@pass_context
def _paid_rounds(context: Context, value: Any, nodes: int) -> Any:
    if isinstance(value, Undefined):
        return value  # which raises when it is gone over
    if not isinstance(value, dict | list | tuple | range):
        raise TypeError(f"{_kind(value)} cannot be gone over: only a list, or an object")
    context[_BUDGET].spend(1 + nodes * len(value))
    return value


_PLAIN = _Language(autoescape=False)
_HTML = _Language(autoescape=True)


@frozen
class Compiled:
    """A template ready to be filled: its parts by name, without those that are not there."""

    parts: Mapping[str, jinja2.Template]


def compiled(source: Source) -> Compiled:
    """``source`` checked and ready.  Raises: BadTemplate."""
    source.check()
    given = {part: getattr(source, part) for part in PARTS}
    return Compiled({part: _compiled(part, text) for part, text in given.items() if text})


def _compiled(part: str, source: str) -> jinja2.Template:
    language = _HTML if part == "html" else _PLAIN
    try:
        tree = language.parse(source)
        check(part, tree)
        code = language.compile(counted(tree))
        return jinja2.Template.from_code(language, code, language.globals)
    except TemplateSyntaxError as error:
        raise BadTemplate(part, error.lineno, _told(error)) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise BadTemplate(part, 0, "is nested too deep") from None
    except (ValueError, OverflowError) as error:  # a literal of thousands of digits
        raise BadTemplate(part, 0, _told(error)) from None


def rendered(
    template: Compiled, variables: Mapping[str, Any], budget: Budget | None = None
) -> Written:
    """A message.  The text is made of the HTML where the template has none.

    Raises: CannotRender.
    """
    if size_of(variables) > MOST_SIZE:
        raise CannotRender("", 0, f"the variables are over {MOST_SIZE} characters")
    given = {**variables, _BUDGET: budget or Budget()}
    written = {part: _filled(part, one, given) for part, one in template.parts.items()}
    subject, html = written.get("subject", ""), written.get("html", "")
    found = CONTROLS.search(subject)
    if found is not None:
        said = f"has the control character U+{ord(found.group()):04X}"
        raise CannotRender("subject", 0, said)
    text = written["text"] if "text" in template.parts else plain_text(html)
    if not text and not html:
        raise CannotRender("", 0, "the template makes an empty message of these variables")
    return Written(subject, text, html)


def _filled(part: str, template: jinja2.Template, variables: Mapping[str, Any]) -> str:
    pieces: list[str] = []
    left = MOST_OUTPUT[part]
    context = template.new_context(dict(variables))
    try:
        for piece in template.root_render_func(context):
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                raise TooMuch(f"is longer than {MOST_OUTPUT[part]} characters")
    except MissingVariable as error:
        line = _line(error.__traceback__, template)
        raise CannotRender(part, line, _told(error), error.variable) from None
    except _FAILURES as error:
        raise CannotRender(part, _line(error.__traceback__, template), _told(error)) from None
    return "".join(pieces)


_FAILURES = (
    *(TemplateError, TooMuch, TypeError, ValueError, ArithmeticError, LookupError),
    *(RecursionError, AttributeError),
)
"""What wrong variables and wrong templates raise: adding a string to a number, a sum over 0."""


def _told(error: Exception) -> str:
    """What is said of ``error``: one line, which what it cites does not make long."""
    text = error.message if isinstance(error, TemplateSyntaxError) else str(error)
    return CONTROLS.sub("?", text or type(error).__name__)[:500]


def _line(trace: TracebackType | None, template: jinja2.Template) -> int:
    """Where in the template it was."""
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return line
