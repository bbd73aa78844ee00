"""The documents say what the code is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mailrelay
from mailrelay.config.reference import MARK, renewed
from mailrelay.observe.events import EventKind
from mailrelay.observe.maillog import FIELDS
from mailrelay.testing.rfcs import page, references
from tests.test_layers import ROWS, modules

DOCS = Path(mailrelay.__file__).parent.parent / "docs"


def text(name: str) -> str:
    """A page of docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def calls(names: set[str], *packages: str) -> Iterator[ast.Call]:
    """The calls of functions or methods called ``names`` in ``packages``, in all when none."""
    root = Path(mailrelay.__file__).parent
    for path in modules():
        place = path.relative_to(root).as_posix()
        if place.startswith("testing/") or not place.startswith(packages or ("",)):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else None
                if (called.id if isinstance(called, ast.Name) else name) in names:
                    yield node


def literal(node: ast.expr) -> str | None:
    """A text, with ``...`` where it has a value filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [str(p.value) if isinstance(p, ast.Constant) else "..." for p in node.values]
        return "".join(parts)
    return None


class GeneratedTests(SynchronousTestCase):
    """Pages that are made from the code are as it is now."""

    def test_configuration(self) -> None:
        """Every setting is in the reference: `python -m mailrelay.config.reference` was run."""
        self.assertEqual(text("configuration.md"), renewed(text("configuration.md")))

    def test_reference_needs_its_mark(self) -> None:
        """A page without the mark is not overwritten."""
        self.assertRaises(ValueError, renewed, "# Mine\n")
        self.assertEqual(renewed(f"a\n{MARK}b\n").split(MARK)[0], "a\n")

    def test_rfcs(self) -> None:
        """Every reference is in the table: `python -m mailrelay.testing.rfcs` was run."""
        self.assertIn(5321, references())
        self.assertEqual(text("rfcs.md"), page())


class ArchitectureTests(SynchronousTestCase):
    """The house."""

    def test_drawing(self) -> None:
        """The drawing has the rows that the layer test holds."""
        block = re.search(r"```\n(.*?)```", text("architecture.md"), re.DOTALL)
        assert block is not None
        self.assertEqual([set(line.split()) for line in block[1].splitlines()], ROWS)

    def test_paragraphs(self) -> None:
        """Every package that there is has its paragraph."""
        root = Path(mailrelay.__file__).parent
        for package in {path.relative_to(root).parts[0].removesuffix(".py") for path in modules()}:
            self.assertIn(f"**{package}**", text("architecture.md"))

    def test_flow_is_one_page(self) -> None:
        """The flow stays short."""
        self.assertLessEqual(len(text("flow.md").splitlines()), 80)


class OperatingTests(SynchronousTestCase):
    """Everything an operator may see is explained."""

    def test_events_and_fields(self) -> None:
        """Every word of the mail log is in its table."""
        for word in (*(kind.value for kind in EventKind), *FIELDS):
            self.assertIn(f"| `{word}` |", text("operating.md"))

    def test_metrics(self) -> None:
        """The metrics of the code and those of the page are the same."""
        made = {
            name
            for call in calls({"gauge", "Gauge", "Counter", "_buckets"}, "observe/", "service")
            if call.args and (name := literal(call.args[0])) and name.startswith("mailrelay_")
        }
        told = set(re.findall(r"^\| `(mailrelay_\w+)", text("operating.md"), re.MULTILINE))
        self.assertEqual(told, made)

    def test_log(self) -> None:
        """Every line that the server logs is in the table, with dots for what is filled in."""
        page, methods = text("operating.md"), {"debug", "info", "warn", "error", "failure"}
        lines = {
            re.sub(r"\{\w+\}", "...", said)
            for call in calls(methods)
            if isinstance(call.func, ast.Attribute) and "_log" in ast.unparse(call.func.value)
            if call.args and (said := literal(call.args[0]))
        }
        self.assertGreater(len(lines), 20)
        told = set(re.findall(r"^\| (.*?) \|", page.partition("| line |")[2], re.MULTILINE))
        self.assertEqual(lines - told, set())

    def test_replies(self) -> None:
        """Every reply of ours is in the table with its code and its text."""
        missing = []
        for call in calls({"reply"}):
            if len(call.args) != 3 or (said := literal(call.args[2])) is None:
                continue
            codes = f"{ast.unparse(call.args[0])} {literal(call.args[1]) or '...'}"
            row = f"| {codes} | {said.splitlines()[0]} |"
            if row not in text("operating.md"):
                missing.append(row)
        self.assertEqual(sorted(missing), [])
