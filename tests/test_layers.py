"""The house of docs/architecture.md, held by walking the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mailrelay

ROOT = Path(mailrelay.__file__).parent

# From the top floor down; imports go down only, packages of one row do not know each other.
ROWS = [
    {"testing"},
    {"cli", "tap"},
    {"service"},
    {"config"},
    {"inbound", "webapi", "handoff", "peering", "pages", "storage"},
    {"web"},
    {"control", "acceptance", "outbound"},
    {"routing", "mailbox", "webhooks", "reporting"},
    {"policy", "queue", "mailauth", "templates", "certificates"},
    {"directory", "observe", "message"},
    {"smtp", "net"},
]
FLOOR = {name: number for number, row in enumerate(ROWS) for name in row}
MAY_IMPORT_REACTOR = {"tap", "cli"}
MAY_IMPORT_STORAGE = {"config", "service", "storage", "testing"}
# smtp's values are what net's resolver and certificates speak of; web's Request and Response are
# what webapi answers.
SAME_ROW = {("net", "smtp"), ("webapi", "web")}


def imports(path: Path) -> Iterator[str]:
    """The modules that ``path`` imports, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(path: Path) -> str:
    """The package, or top module, that ``path`` belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    """Every module of the package but the root's own."""
    return [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]


class LayerTests(SynchronousTestCase):
    """Rules 1 to 5 of the house."""

    def test_imports_go_down(self) -> None:
        """No package imports one of its own row or above it."""
        wrong = []
        for path in modules():
            here = package_of(path)
            for name in imports(path):
                parts = name.split(".")
                if parts[0] != "mailrelay" or len(parts) < 2 or parts[1] not in FLOOR:
                    continue
                there = parts[1]
                if there != here and FLOOR[there] <= FLOOR[here] and (here, there) not in SAME_ROW:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
        self.assertEqual(wrong, [])

    def test_every_package_has_a_floor(self) -> None:
        """A new package is given its row here and in the documents."""
        packages = {package_of(path) for path in modules()}
        self.assertEqual(packages - set(FLOOR), set())

    def test_grammar_does_no_io(self) -> None:
        """Nothing under smtp/ and message/ imports Twisted: the rules stay I/O-free."""
        for package in ("smtp", "message"):
            for path in (ROOT / package).rglob("*.py"):
                names = [n for n in imports(path) if n.split(".")[0] in ("twisted", "socket")]
                self.assertEqual(names, [], path)

    def test_only_the_composition_root_knows_storage(self) -> None:
        """SQL stays behind Protocols."""
        for path in modules():
            if package_of(path) not in MAY_IMPORT_STORAGE:
                names = [n for n in imports(path) if n.startswith("mailrelay.storage")]
                self.assertEqual(names, [], path)

    def test_no_global_reactor(self) -> None:
        """The reactor is imported by the entry points alone."""
        for path in modules():
            if package_of(path) not in MAY_IMPORT_REACTOR:
                names = [n for n in imports(path) if n == "twisted.internet.reactor"]
                self.assertEqual(names, [], path)

    def test_no_clock_or_chance_of_its_own(self) -> None:
        """Time and randomness are arguments: only the entry points ask the system for them."""
        # The second waits in the writer's thread for PostgreSQL to be back and say what it kept.
        allowed = {ROOT / "net" / "surroundings.py", ROOT / "storage" / "group_commit.py"}
        banned = {"time.time", "time.sleep", "random", "secrets", "uuid"}
        for path in modules():
            if package_of(path) in {*MAY_IMPORT_REACTOR, "testing"} or path in allowed:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names = {alias.name for alias in node.names}
                    self.assertFalse(names & banned, path)
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    self.assertNotIn(f"{node.value.id}.{node.attr}", banned, path)
