"""The commands of README.md and docs/*.md do what the pages show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mailrelay
from mailrelay.testing.documents import Page, command_blocks, fits

ROOT = Path(mailrelay.__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def links(path: Path) -> Sequence[str]:
    """Where a page leads within the repository, and what it shows."""
    text = path.read_text(encoding="utf-8")
    pattern = r"\]\(([^)#:\s]+)(?:#[^)]*)?\)|src(?:set)?=\"([^\":]+)\""
    return [link or picture for link, picture in re.findall(pattern, text)]


class FitsTests(SynchronousTestCase):
    """What counts as the same output."""

    def test_numbers_and_times_may_differ(self) -> None:
        """Ids, times and column widths are not compared."""
        self.assertTrue(
            fits("id  at\n1  2026-01-01T00:00:00Z\n", "id at\n23 2027-02-03T04:05:06.7Z\n")
        )

    def test_words_may_not(self) -> None:
        """A word that the page does not show, or a line more, is found."""
        self.assertFalse(fits("delivered\n", "delayed\n"))
        self.assertFalse(fits("one\n", "one\ntwo\n"))
        self.assertFalse(fits("one\ntwo\n", "one\n"))

    def test_dots_stand_for_lines(self) -> None:
        """A line of three dots is any number of lines, none too."""
        self.assertTrue(fits("one\n...\nfour\n", "one\ntwo\nthree\nfour\n"))
        self.assertTrue(fits("one\n...\n", "one\n"))


class BlockTests(SynchronousTestCase):
    """Finding the blocks of a page."""

    def test_block_with_output(self) -> None:
        """A text block right after a command block is its output, one further on is not."""
        page = "a\n\n```sh\ntrue\n```\n\n```text\nout\n```\n\nb\n\n```sh\nls\n```\n"
        page += "c\n```text\nx\n```\n"
        found = list(command_blocks(page))
        self.assertEqual(
            [(b.commands, b.output) for b in found], [("true\n", "out\n"), ("ls\n", None)]
        )

    def test_marker(self) -> None:
        """A marker above a block says why it is not run."""
        page = "\n<!-- not run: needs root -->\n```sh\nreboot\n```\n"
        self.assertEqual(next(command_blocks(page)).not_run, "needs root")


class DocumentTests(SynchronousTestCase):
    """The pages themselves."""

    def test_commands(self) -> None:
        """Every command block runs and prints what the page shows, or says why it is not run."""
        wrong = []
        for path in PAGES:
            folder = Path(self.mktemp())
            folder.mkdir(parents=True)
            page = Page(folder.absolute())
            self.addCleanup(page.stop)
            for block in command_blocks(path.read_text(encoding="utf-8")):
                if block.not_run is not None:
                    self.assertGreater(len(block.not_run.split()), 2, block.commands)
                    continue
                problem = page.run(block)
                if problem is not None:
                    wrong.append(f"{path.name}: {problem}")
            page.stop()
        self.assertEqual(wrong, [])

    def test_readme_is_run(self) -> None:
        """README's own commands are found: a changed fence does not hide them."""
        blocks = list(command_blocks((ROOT / "README.md").read_text(encoding="utf-8")))
        self.assertGreaterEqual(len([b for b in blocks if b.not_run is None]), 4)

    def test_links(self) -> None:
        """Links between the pages lead somewhere."""
        for path in PAGES:
            for target in links(path):
                self.assertTrue((path.parent / target).exists(), f"{path.name}: {target}")

    def test_pictures(self) -> None:
        """Those that are kept are shown, and small."""
        shown = {(path.parent / target).resolve() for path in PAGES for target in links(path)}
        kept = {path.resolve() for path in (ROOT / "docs" / "pictures").iterdir()}
        self.assertEqual(kept - shown, set())
        sizes = [path.stat().st_size for path in kept]
        self.assertLess(max(sizes), 60_000)
        self.assertLess(sum(sizes), 1_500_000)
