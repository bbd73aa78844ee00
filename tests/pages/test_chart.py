"""Pictures of numbers."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment, PackageLoader, StrictUndefined
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.pages.chart import (
    HEIGHT,
    STEPS,
    WIDTH,
    Category,
    Chart,
    Series,
    Tone,
    count_text,
    make_chart,
    round_steps,
    short_text,
)

HOSTILE = "<script>\"&'</script>"


def drawn(chart: Chart) -> str:
    """As a page has it."""
    environment = Environment(
        loader=PackageLoader("mailrelay.pages", "html"), autoescape=True, undefined=StrictUndefined
    )
    source = '{% from "chart.html" import chart %}{{ chart(c) }}'
    return environment.from_string(source).render(c=chart)


def hours(count: int) -> list[Category]:
    """Of a day."""
    return [Category(f"{hour:02}:00", f"2026-11-22 {hour:02}:00") for hour in range(count)]


class AxisTests(SynchronousTestCase):
    """Numbers beside a picture."""

    def test_round(self) -> None:
        """Ones, twos and fives, as far as is needed."""
        cases: dict[float, list[float]] = {
            0: [0, 1],
            1: [0, 1],
            3: [0, 1, 2, 3],
            7: [0, 2, 4, 6, 8],
            10: [0, 5, 10],
            99: [0, 50, 100],
            100: [0, 50, 100],
            101: [0, 50, 100, 150],
            1234: [0, 500, 1000, 1500],
        }
        for most, steps in cases.items():
            self.assertEqual(list(round_steps(most)), steps, most)
        self.assertEqual(list(round_steps(0.3, are_whole=False)), [0, 0.1, 0.2, 0.3])

    @given(st.floats(1e-6, 1e15))
    @settings(max_examples=200)
    def test_reach(self, most: float) -> None:
        """The last is not below what there is, and not far above."""
        steps = round_steps(most, are_whole=False)
        self.assertGreaterEqual(steps[-1], most * 0.999)
        self.assertLess(steps[-2], most)
        self.assertLessEqual(len(steps), STEPS + 2)

    def test_texts(self) -> None:
        """In full, and short."""
        self.assertEqual([count_text(one) for one in (0, 1234567, 0.5)], ["0", "1,234,567", "0.5"])
        shorts = [short_text(one) for one in (0, 5000, 20000, 1500000, 3e9, 0.2)]
        self.assertEqual(shorts, ["0", "5000", "20 k", "1.5 M", "3 G", "0.2"])


class ChartTests(SynchronousTestCase):
    """What is drawn."""

    def test_stacked(self) -> None:
        """Bars stand on each other and as high as their numbers; 0 has none."""
        chart = make_chart(
            "c",
            "Mail",
            hours(3),
            bars=[Series("ok", Tone.GOOD, [1, 0, 3]), Series("lost", Tone.BAD, [1, 2, 0])],
        )
        first, second, third, last = chart.bars
        self.assertEqual([one.tone for one in chart.bars], ["good", "bad", "bad", "good"])
        self.assertEqual(first.y + first.height, chart.floor)
        self.assertAlmostEqual(second.y + second.height, first.y)
        self.assertAlmostEqual(third.height, first.height * 2, delta=0.11)
        self.assertAlmostEqual(last.height, first.height * 3, delta=0.11)
        self.assertEqual([mark.text for mark in chart.levels], ["0", "1", "2", "3"])
        self.assertEqual(chart.areas[1].text, "2026-11-22 01:00: ok 0, lost 2")
        self.assertEqual(chart.rows[2].texts, ["3", "0"])
        self.assertIn("ok: 3 at the most, at 2026-11-22 02:00.", chart.description)

    def test_little_is_seen(self) -> None:
        """One failure beside a million has a bar."""
        chart = make_chart("c", "Mail", hours(2), bars=[Series("x", Tone.BAD, [1_000_000, 1])])
        self.assertGreaterEqual(chart.bars[1].height, 1)
        self.assertEqual(chart.bars[1].y + chart.bars[1].height, chart.floor)

    def test_line(self) -> None:
        """It is broken where nothing is known, and what stands alone is a dot."""
        values = [1.0, None, 2.0, 2.0, float("nan")]
        chart = make_chart("c", "Memory", hours(5), lines=[Series("rss", Tone.ACCENT, values)])
        (line,) = chart.lines
        self.assertEqual((line.path.count("M"), line.path.count("L")), (2, 1))
        self.assertEqual([row.texts[0] for row in chart.rows][:3], ["1", "-", "2"])

    def test_names_have_room(self) -> None:
        """Of many categories some are named, the last one among them."""
        for count in (1, 7, 24, 400):
            names = [Category(f"{i:05}") for i in range(count)]
            chart = make_chart("c", "x", names, bars=[Series("s", Tone.GOOD, [1.0] * count)])
            self.assertEqual(chart.marks[-1].text, f"{count - 1:05}")
            for one, other in pairwise(chart.marks):
                self.assertGreaterEqual(other.place - one.place, 40)
            self.assertTrue(all(bar.x + bar.width <= WIDTH for bar in chart.bars))

    def test_nothing(self) -> None:
        """No category, or no series."""
        self.assertIn("nothing to show", drawn(make_chart("c", "x", [])))
        self.assertEqual(make_chart("c", "x", hours(2)).bars, [])

    @given(
        st.lists(st.tuples(st.none() | st.floats(), st.floats(-5, 1e12)), min_size=1, max_size=60)
    )
    @settings(max_examples=100)
    def test_inside(self, pairs: list[tuple[float | None, float]]) -> None:
        """Whatever the numbers are, nothing is drawn outside."""
        chart = make_chart(
            "c",
            "x",
            [Category(str(i)) for i in range(len(pairs))],
            bars=[
                Series("a", Tone.GOOD, [a for a, _ in pairs]),
                Series("b", Tone.BAD, [b for _, b in pairs]),
            ],
        )
        for bar in chart.bars:
            self.assertGreaterEqual(bar.y, 0)
            self.assertLessEqual(bar.y + bar.height, HEIGHT)


class DrawingTests(SynchronousTestCase):
    """``chart.html``."""

    def test_text_is_escaped(self) -> None:
        """Names of strangers, wherever they stand; and it is well-formed without styles."""
        html = drawn(
            make_chart(
                "c",
                HOSTILE,
                [Category(HOSTILE, path=f"/sent?tag={HOSTILE}")],
                bars=[Series(HOSTILE, Tone.GOOD, [1])],
                lines=[Series("line", Tone.ACCENT, [2])],
                category_heading=HOSTILE,
            )
        )
        self.assertNotIn("<script", html)
        self.assertNotIn("style=", html)
        root = ElementTree.fromstring(html)
        image = root.find(".//svg[@role='img']")
        assert image is not None
        named = {one.get("id") for one in root.iter()}
        self.assertIn(image.get("aria-labelledby"), named)
        self.assertIn(image.get("aria-describedby"), named)
        self.assertEqual(len(root.findall(".//tbody/tr")), 1)
