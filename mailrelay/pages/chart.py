"""Pictures of numbers: stacked bars and lines over categories, as shapes for a template.  Pure.

``chart.html`` has the macro that draws a Chart, with its legend and a table of the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from math import ceil, floor, isfinite, log10

from attrs import field, frozen

WIDTH, HEIGHT = 720, 240
"""Of the drawing; a page shows it in whatever size it has room for."""

TOP, RIGHT, BOTTOM = 10, 12, 26
"""Margins.  The left one is as wide as the numbers there."""

DIGIT = 7
"""How wide a character of an axis is, at the most."""

GAP = 0.2
"""Between bars, in parts of a category's width."""

STEPS = 4
"""About as many numbers has the upright axis, besides 0."""

LEAST_MARK_WIDTH = 58
"""Categories' names stand this far from each other, at the least."""

LEAST, MOST = 1e-9, 1e18
"""What is smaller is drawn as nothing, what is larger as the latter."""

DASHES = 4
"""Kinds of lines, so that not colour alone tells them apart."""


class Tone(StrEnum):
    """A colour by what it says; style.css has one for light and one for dark."""

    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    ACCENT = "accent"
    SOFT = "soft"


@frozen
class Category:
    """A place on the level axis.  ``full`` names it in the table, ``path`` is what is behind it."""

    name: str
    full: str = ""
    path: str = ""

    @property
    def told_as(self) -> str:
        """Its name where there is room."""
        return self.full or self.name


def _finite(values: Sequence[float | None]) -> Sequence[float | None]:
    return [one if one is not None and isfinite(one) else None for one in values]


@frozen
class Series:
    """Numbers of one kind, one for each category; None where there is none."""

    name: str
    tone: Tone
    values: Sequence[float | None] = field(converter=_finite)

    def at(self, place: int) -> float:
        """How high a category is drawn: nothing is below 0."""
        return min(MOST, max(0.0, self.values[place] or 0.0))


@frozen
class Bar:
    """A part of a bar, in drawing units."""

    tone: Tone
    x: float
    y: float
    width: float
    height: float


@frozen
class Line:
    """A line.  ``path`` is what SVG calls ``d``; it is broken where a number is missing."""

    tone: Tone
    dash: int
    path: str


@frozen
class Mark:
    """A text beside an axis, at ``place`` along it."""

    place: float
    text: str


@frozen
class Area:
    """What tells a category's numbers when it is pointed at."""

    x: float
    width: float
    text: str


@frozen
class Key:
    """A line of the legend.  ``dash`` is None for bars."""

    tone: Tone
    name: str
    dash: int | None


@frozen
class Row:
    """A category in the table, with a text for each series."""

    category: Category
    texts: Sequence[str]


@frozen
class Chart:
    """What is drawn and said.  ``id_`` is unique on its page."""

    id_: str
    title: str
    description: str
    category_heading: str
    left: float
    bars: Sequence[Bar]
    lines: Sequence[Line]
    levels: Sequence[Mark]
    marks: Sequence[Mark]
    areas: Sequence[Area]
    legend: Sequence[Key]
    rows: Sequence[Row]
    width: int = WIDTH
    height: int = HEIGHT
    right: int = WIDTH - RIGHT
    floor: int = HEIGHT - BOTTOM


def count_text(number: float) -> str:
    """A number in full, its thousands apart."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.6g}"


def short_text(number: float) -> str:
    """A round number of an axis."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):g} {unit}"
    return f"{number:g}"


def make_chart(
    id_: str,
    title: str,
    categories: Sequence[Category],
    bars: Sequence[Series] = (),
    lines: Sequence[Series] = (),
    *,
    category_heading: str = "Time",
    number: Callable[[float], str] = count_text,
    level: Callable[[float], str] = short_text,
) -> Chart:
    """A picture of ``bars``, one on the other, behind ``lines``.

    ``number`` writes numbers in the table, ``level`` those of the axis.  A series has a value for
    each category.
    """
    series = [*bars, *lines]
    places = range(len(categories))
    tops = [sum(one.at(place) for one in bars) for place in places]
    tops += [one.at(place) for one in lines for place in places]
    steps = round_steps(max(tops, default=0.0), are_whole=_are_whole(series))
    levels = [(value, level(value)) for value in steps]
    plot = _Plot(DIGIT * max(len(text) for _, text in levels) + 10, len(categories), steps[-1])
    texts = [
        ["-" if (value := one.values[place]) is None else number(value) for one in series]
        for place in places
    ]
    return Chart(
        id_,
        title,
        _description(categories, series, number),
        category_heading,
        plot.left,
        plot.bars(bars),
        [Line(one.tone, i % DASHES, plot.path(one)) for i, one in enumerate(lines)],
        [Mark(plot.y(value), text) for value, text in levels],
        plot.marks(categories),
        plot.areas(categories, series, texts),
        [Key(one.tone, one.name, None) for one in bars]
        + [Key(one.tone, one.name, i % DASHES) for i, one in enumerate(lines)],
        [Row(one, text) for one, text in zip(categories, texts, strict=True)],
    )


def round_steps(most: float, *, are_whole: bool = True) -> Sequence[float]:
    """Round numbers from 0 to ``most`` or the next above, about STEPS of them."""
    if most < LEAST:
        return [0.0, 1.0]
    rough = most / STEPS
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * one for one in (1, 2, 5, 10) if unit * one >= rough * 0.999)
    if are_whole:
        step = max(1.0, step)
    count = ceil(most / step * 0.999999)
    return [round(step * i, 12) for i in range(count + 1)]


def _are_whole(series: Sequence[Series]) -> bool:
    return all(one.at(i) == int(one.at(i)) for one in series for i in range(len(one.values)))


def _description(
    categories: Sequence[Category], series: Sequence[Series], number: Callable[[float], str]
) -> str:
    """What the picture says, for who does not see it."""
    if not categories:
        return "There is nothing to show."
    said = []
    for one in series:
        highest = max(range(len(categories)), key=one.at)
        where = f", at {categories[highest].told_as}" if one.at(highest) else ""
        said.append(f"{one.name}: {number(one.at(highest))} at the most{where}.")
    return " ".join([f"From {categories[0].told_as} to {categories[-1].told_as}.", *said])


@frozen
class _Plot:
    """Where what goes."""

    left: float
    count: int
    most: float
    step: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "step", (WIDTH - RIGHT - self.left) / max(1, self.count))

    def y(self, value: float) -> float:
        """How far down a number is."""
        height = HEIGHT - TOP - BOTTOM
        return round(HEIGHT - BOTTOM - height * (value / self.most), 1)

    def x(self, place: float) -> float:
        """How far right a category begins."""
        return round(self.left + self.step * place, 1)

    def bars(self, series: Sequence[Series]) -> Sequence[Bar]:
        """One on the other; what is 0 has none."""
        width = round(self.step * (1 - GAP), 1)
        found = []
        for place in range(self.count):
            below = 0.0
            for one in series:
                value = one.at(place)
                low, high = self.y(below), self.y(below + value)
                below += value
                if value:
                    # However little there was, it is seen.
                    height = max(1.0, round(low - high, 1))
                    x = self.x(place + GAP / 2)
                    found.append(Bar(one.tone, x, round(low - height, 1), width, height))
        return found

    def path(self, series: Series) -> str:
        """Through the middle of its categories; a number that stands alone is a dot."""
        words, is_open = [], False
        for place in range(self.count):
            is_there = series.values[place] is not None
            if is_there:
                point = f"{self.x(place + 0.5)} {self.y(series.at(place))}"
                words.append(f"L{point}" if is_open else f"M{point}h0")
            is_open = is_there
        return "".join(words)

    def marks(self, categories: Sequence[Category]) -> Sequence[Mark]:
        """As many names as there is room for, the last category's among them."""
        longest = max((len(one.name) for one in categories), default=0)
        apart = max(LEAST_MARK_WIDTH, DIGIT * longest + 6)
        every = max(1, ceil(apart / self.step))
        last = self.count - 1
        return [
            Mark(self.x(place + 0.5), one.name)
            for place, one in enumerate(categories)
            if (last - place) % every == 0
        ]

    def areas(
        self,
        categories: Sequence[Category],
        series: Sequence[Series],
        texts: Sequence[Sequence[str]],
    ) -> Sequence[Area]:
        """One for each category."""
        return [
            Area(
                self.x(place),
                round(self.step, 1),
                f"{one.told_as}: "
                + ", ".join(
                    f"{kind.name} {text}" for kind, text in zip(series, texts[place], strict=True)
                ),
            )
            for place, one in enumerate(categories)
        ]
