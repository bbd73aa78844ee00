"""Templates: what is written with them, what they may not, and how much they may do."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.templates.language import MOST_NODES
from mailrelay.templates.model import MOST_SOURCE_CHARACTERS, BadTemplate, CannotRender, Source
from mailrelay.templates.rendering import MOST_OUTPUT, compiled, rendered

ORDER = {"name": "Ann", "lines": [{"title": "tea", "price": 2.5}, {"title": "<jam>", "price": 4}]}


def written(text: str, **variables: Any) -> str:
    """The text that a template of one part makes."""
    return rendered(compiled(Source(text=text)), variables).text


class WrittenTests(SynchronousTestCase):
    """What templates can."""

    def test_parts(self) -> None:
        """Each part is filled; only HTML is escaped."""
        source = Source("Hi {{ who }}", "Dear {{ who }}", "<p>{{ who }} {{ who|safe }}</p>")
        made = rendered(compiled(source), {"who": "<Ann>"})
        self.assertEqual(made.subject, "Hi <Ann>")
        self.assertEqual(made.text, "Dear <Ann>")
        self.assertEqual(made.html, "<p>&lt;Ann&gt; <Ann></p>")

    def test_text_of_html(self) -> None:
        """Without a text of its own the message has the HTML's."""
        made = rendered(compiled(Source(html="<p>Dear <b>{{ who }}</b></p>")), {"who": "A & B"})
        self.assertEqual((made.text, made.html), ("Dear A & B\n", "<p>Dear <b>A &amp; B</b></p>"))
        self.assertEqual(rendered(compiled(Source(text="{{ '' }}", html="x")), {}).text, "")

    def test_language(self) -> None:
        """Loops, conditions, filters, arithmetic; what jinja2's readers expect."""
        for source, expected in (
            (
                "{% for l in lines %}{{ loop.index }}. {{ l.title }}\n{% endfor %}",
                "1. tea\n2. <jam>\n",
            ),
            (
                "{% for k, v in lines[0]|items %}{{ k }}={{ v }} {% endfor %}",
                "title=tea price=2.5 ",
            ),
            ("{{ '%.2f'|format(lines|sum(attribute='price')) }}", "6.50"),
            ("{{ lines|join(', ', attribute='title') }}", "tea, <jam>"),
            ("{% if lines|length > 1 and name %}many{% else %}one{% endif %}", "many"),
            ("{% set total = lines[0].price * 2 %}{{ total }}", "5.0"),
            ("{{ nobody|default('you') }} {{ nobody is defined }}", "you False"),
            ("{{ name[:2] ~ '.' }} {{ name|upper|truncate(3) }}", "An. ANN"),
            ("{% for n in range(3) %}{{ n }}{% endfor %} {{ none }}", "012 "),
            ("{{ name if name in ['Ann', 'Bob'] else 'x' }}{# note #}", "Ann"),
            ("{% for l in lines if l.price > 3 %}{{ l.title }}{% else %}none{% endfor %}", "<jam>"),
        ):
            self.assertEqual(written(source, **ORDER), expected, source)

    def test_missing(self) -> None:
        """A variable that is missing is named, however it is used, with its line."""
        for use in (
            *("{{ x }}", "{{ x.y }}", "{{ x[0] }}", "{% if x %}{% endif %}", "{{ x ~ 1 }}"),
            *("{% for a in x %}{% endfor %}", "{{ x + 1 }}", "{{ 1 - x }}", "{{ x == 1 }}"),
            *("{{ x|upper }}", "{{ x|join }}", "{{ x|round }}", "{{ x|items }}", "{{ x|sum }}"),
        ):
            error = self.assertRaises(CannotRender, written, f"a\n\n{use}")
            self.assertEqual((error.variable, error.line, error.part), ("x", 3, "text"), use)
        error = self.assertRaises(CannotRender, written, "{{ d.y }}", d={"x": 1})
        self.assertEqual((error.variable, str(error)), ("", "text, line 1: an object has no 'y'"))

    def test_wrong_arguments(self) -> None:
        """What a filter cannot be asked for is a mistake of the template."""
        for use in (
            "'x'|truncate(9, true, '', -1)",
            "'x'|truncate(1)",
            "1|round(-1)",
            "'%q'|format",
        ):
            error = self.assertRaises(CannotRender, written, "{{ " + use + " }}")
            self.assertEqual((error.line, error.part), (1, "text"), use)

    def test_subject(self) -> None:
        """A subject is one line, whatever the variables are."""
        template = compiled(Source("Hi {{ who }}", "x"))
        for bad in ("a\nBcc: x@y.example", "a\r", "\x00", "\u2028", "\x85"):
            error = self.assertRaises(CannotRender, rendered, template, {"who": bad})
            self.assertEqual(error.part, "subject")


class RefusedTests(SynchronousTestCase):
    """What templates cannot, told when they are made."""

    def test_not_in_the_language(self) -> None:
        """What could reach beyond the template, or hide what it costs."""
        for source in (
            *("{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}"),
            *("{% extends 'x' %}", "{% block x %}{% endblock %}", "{{ x.upper() }}", "{{ x() }}"),
            *("{% macro x() %}{% endmacro %}", "{% call x() %}{% endcall %}", "{{ self }}"),
            *("{% filter upper %}{% endfilter %}", "{% set x %}{% endset %}", "{{ {'a': 1} }}"),
            *("{{ [x] }}", "{{ [[1]] }}", "{{ 2 ** 9 }}", "{{ x|attr('y') }}", "{{ x|map('e') }}"),
            *(
                "{{ x|center(9) }}",
                "{{ range(*x) }}",
                "{{ x is sameas y }}",
                "{{ 10000000000000000 }}",
            ),
            *("{% for x in y recursive %}{% endfor %}", "{% set a.b = 1 %}", "{{ super() }}"),
            *("{% with %}{% endwith %}", "{{ lipsum() }}", "{{ x(**y) }}"),
            *("{{ x|(paid) }}", "{% trans %}{% endtrans %}", "{% do x %}", "{{ _('x') }}"),
        ):
            error = self.assertRaises(BadTemplate, compiled, Source(text="a\n" + source))
            self.assertEqual((error.part, error.line), ("text", 2), source)

        error = self.assertRaises(
            BadTemplate, compiled, Source(html="{% autoescape false %}{% endautoescape %}")
        )
        self.assertIn("autoescape", str(error))

    def test_syntax(self) -> None:
        """The part and the line are told."""
        for part in ("subject", "text", "html"):
            good = {"text": "x"}
            source = Source(**{**good, part: "{{ 'a'" if part == "subject" else "a\n{% if %}"})
            error = self.assertRaises(BadTemplate, compiled, source)
            self.assertEqual((error.part, error.line), (part, 1 if part == "subject" else 2))

    def test_no_template(self) -> None:
        """Too long, nothing at all, control characters, subjects of more lines."""
        for source, part in (
            (Source("x"), "text"),
            (Source("x\ny", "x"), "subject"),
            (Source("x" * 3000, "x"), "subject"),
            (Source(text="x" * (MOST_SOURCE_CHARACTERS + 1)), "text"),
            (Source(html="x" * (MOST_SOURCE_CHARACTERS + 1)), "html"),
            (Source(html="a\n\x00"), "html"),
            (Source(text="\ud800"), "text"),
        ):
            error = self.assertRaises(BadTemplate, compiled, source)
            self.assertEqual(error.part, part)

    def test_nested(self) -> None:
        """Depth and number are bounded, before anything is compiled."""
        for source in (
            "{% if 1 %}" * 41 + "{% endif %}" * 41,
            "{% for a in x %}" * 9 + "{% endfor %}" * 9,
            *(
                "{{ " + "(" * 5000,
                "{{ " + "[" * 300,
                "{{ 1" + "+1" * 50 + " }}",
                "{{ a" + ".b" * 50 + "}}",
            ),
            *(
                "{{ " + "not " * 3000 + "1 }}",
                "{{ x ~ 1 }}" * (MOST_NODES // 5 + 1),
                "{{ 1" + "0" * 5000,
            ),
        ):
            self.assertRaises(BadTemplate, compiled, Source(text=source))
        self.assertEqual(written("{% if 1 %}" * 18 + "x" + "{% endif %}" * 18), "x")


class BudgetTests(SynchronousTestCase):
    """Templates that would never end, or fill the memory, are broken off."""

    def assert_broken_off(self, source: str, **variables: Any) -> None:
        """``source`` does too much."""
        error = self.assertRaises(CannotRender, written, source, **variables)
        self.assertRegex(str(error), "too much|too long|longer than|too large|at most", source)

    def test_loops(self) -> None:
        """Each round is paid for by what is in it."""
        many = list(range(3000))
        for inside in (
            "{% for b in l %}{% for c in l %}{% endfor %}{% endfor %}",
            *("{% for b in range(9999) %}{% endfor %}", "{% if l == l %}{% endif %}"),
            *("{{ l|sort|length }}", "{{ l|string|length }}", "{{ l[1:]|length }}"),
            *("{{ range(3000)|sum }}", "{{ range(3000)|sort|first }}"),
            *("{% if s in s %}{% endif %}", "{% set a = s|e|upper %}", "{% set a = s ~ s %}"),
            *("{{ s[1:]|length }}", "{% if s == s %}{% endif %}", "{{ '%s'|format(s)|length }}"),
        ):
            self.assert_broken_off(
                "{% for a in l %}" + inside + "{% endfor %}", l=many, s="x" * 9999
            )
        self.assert_broken_off("{% for a in range(10001) %}{% endfor %}")

    def test_growth(self) -> None:
        """Nothing doubles without end."""
        text, number = "{% set a = 'xxxxxxxx' %}", "{% set a = 9 %}"
        for source in (
            text + "{% set a = a ~ a %}" * 60,
            text + "{% set a = a + a %}" * 60,
            text + "{% set a = a|replace('x', a) %}" * 20,
            text + "{% set a = [1, 2]|join(a ~ a ~ a ~ a) %}" * 20,
            text + "{% set a = '%s%s%s%s'|format(a, a, a, a) %}" * 30,
            number + "{% set a = a * a %}" * 60,
            number + "{% set a = a + a %}" * 100,
        ):
            self.assert_broken_off(source)

    def test_at_once(self) -> None:
        """Nor does one filter make what was not paid for."""
        for source in (
            *("{{ s|replace('x', s) }}", "{{ s|replace('', s) }}", "{{ range(9999)|join(s) }}"),
            "{{ p|format(1) }}",
        ):
            self.assert_broken_off(source, s="x" * 9999, p="%99d" * 9999)
        for source in (
            *("{{ s * 9 }}", "{{ '%999d'|format(1) }}", "{{ '%*d'|format(9, 1) }}"),
            *("{{ 1.5|round(999) }}", "{{ '%.999f'|format(1) }}", "{{ s % 1 }}"),
        ):
            self.assertRaises(CannotRender, written, source, s="x")

    def test_output(self) -> None:
        """A message is bounded too."""
        source = "{% for a in range(300) %}" + "x" * 4000 + "{% endfor %}"
        self.assert_broken_off(source)
        self.assertLess(300 * 3000, MOST_OUTPUT["text"])
        self.assertEqual(len(written(source.replace("x" * 1000, "", 1))), 300 * 3000)
        error = self.assertRaises(CannotRender, written, "{% if s %}x{% endif %}", s="")
        self.assertIn("empty message", str(error))

    def test_variables(self) -> None:
        """So is what it is filled with."""
        self.assert_variables_too_large({"a": "x" * 66_000})
        self.assert_variables_too_large({"a": [0] * 9000})
        self.assert_variables_too_large({"a": {str(n): n for n in range(5000)}})

    def assert_variables_too_large(self, variables: dict[str, Any]) -> None:
        """They are not taken."""
        template = compiled(Source(text="x"))
        error = self.assertRaises(CannotRender, rendered, template, variables)
        self.assertIn("over 65536 characters", str(error))

    def test_ordinary(self) -> None:
        """A table of a thousand lines is no trouble."""
        row = "<tr>{% for c in line.cells %}<td>{{ c|upper }}</td>{% endfor %}</tr>\n"
        lines = [{"cells": ["a", "b"]}] * 1000
        made = rendered(
            compiled(Source(html="{% for line in lines %}" + row + "{% endfor %}")),
            {"lines": lines},
        )
        self.assertEqual(made.text.count("\n"), 1000)


class DataTests(SynchronousTestCase):
    """Variables are data: nothing of Python's shows through them."""

    def test_attributes(self) -> None:
        """What Python's objects have is not there."""
        for source in (
            *("{{ s.__class__ }}", "{{ s['upper'] }}", "{{ s.upper }}", "{{ d.items }}"),
            *("{{ l.append }}", "{{ n.real }}", "{{ range }}", "{{ range.__self__ }}"),
            *("{% for a in l %}{{ loop._iterable }}{% endfor %}", "{{ l }}", "{{ d }}"),
            *(
                "{% for a in l %}{{ loop.cycle }}{% endfor %}",
                "{% for a in l %}{{ loop }}{% endfor %}",
            ),
            *("{{ l|sort(attribute='__class__') }}", "{{ l|join(attribute='real') }}"),
        ):
            self.assertRaises(CannotRender, written, source, s="x", d={"a": 1}, l=[1], n=1)

    def test_names_of_ours(self) -> None:
        """Fields may be called as methods are."""
        self.assertEqual(written("{{ d.items }}{{ d.get }}", d={"items": 1, "get": 2}), "12")

    @given(st.text(alphabet="{}%#-|.,[]()'\" abxfori=~+*1inset\n", max_size=60))
    def test_anything(self, source: str) -> None:
        """Whatever is given is a template, or is refused; whatever is rendered ends so, too."""
        for text in (source, "{{ " + source + " }}", "{% " + source + " %}"):
            try:
                written(text, a="x", b=[1, 2], x={"a": 1})
            except (BadTemplate, CannotRender):
                continue
