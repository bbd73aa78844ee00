"""mailrelay template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.cli import template
from mailrelay.cli.target import opened
from mailrelay.config.settings import Settings
from tests.cli.operated import Operated

OF = ("--account", "user")


class TemplateTests(TestCase):
    """Templates by command."""

    timeout = 120

    async def started(self) -> Operated:
        """A server that has stopped, and a folder of files."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        self.folder = operated.config.parent
        return operated

    def file(self, name: str, content: bytes) -> str:
        """A file's path."""
        path = Path(self.folder / name)
        path.write_bytes(content)
        return str(path)

    async def test_life(self) -> None:
        """Added from files, listed, shown, changed in a part, previewed, removed."""
        operated = await self.started()
        html = self.file("a.html", "\ufeff<p>Dear {{ who }}</p>\r\n".encode())
        options = ("--subject", "Hi {{ who }}", "--html", html)
        made = operated.json("template", "add", "hello", *OF, *options)
        self.assertEqual((made["version"], made["html"]), (1, "<p>Dear {{ who }}</p>\n"))
        text = self.file("a.txt", b"Bye {{ who }}")
        said = operated.run("template", "set", "hello", *OF, "--text", text, "--rename", "bye")
        self.assertEqual(said.stdout, "Template bye is of version 2 now.\n")
        shown = operated.json("template", "show", "bye", *OF)
        self.assertEqual((shown["text"], shown["html"]), ("Bye {{ who }}", made["html"]))
        self.assertEqual((shown["subject"], shown["versions"]), ("Hi {{ who }}", [2, 1]))
        self.assertEqual(
            operated.json("template", "show", "bye", *OF, "--version", "1")["text"], ""
        )
        self.assertIn(
            "--- text\nBye {{ who }}\n", operated.run("template", "show", "bye", *OF).stdout
        )
        [row] = operated.json("template", "list", *OF)
        self.assertEqual(row, {name: shown[name] for name in row})
        variables = self.file("v.json", b'{"who": "<Ann>\\u001b"}')
        preview = ("template", "preview", "bye", *OF, "--variables", variables)
        self.assert_fails(operated, "subject: has the control character U+001B", *preview)
        self.file("v.json", b'{"who": "<Ann>"}')
        made = operated.json(*preview)
        html = "<p>Dear &lt;Ann&gt;</p>\n"
        self.assertEqual(made, {"subject": "Hi <Ann>", "text": "Bye <Ann>", "html": html.strip()})
        operated.run("template", "remove", "bye", *OF)
        self.assertEqual(operated.json("template", "list", *OF), [])

    def assert_fails(self, operated: Operated, said: str, *command: Any) -> None:
        """``command`` fails and says so."""
        self.assertIn(said, operated.run(*command, code=1).stderr, command)

    async def test_files_are_of_who_calls(self) -> None:
        """Files are read before the command acts as somebody who may not read them."""
        operated = await self.started()
        text = self.file("a.txt", b"first")
        operated.run("template", "add", "hello", *OF, "--text", text)
        self.file("a.txt", b"second")

        def opened_by_another(settings: Settings) -> Any:
            Path(text).unlink()
            return opened(settings)

        self.patch(template, "opened", opened_by_another)
        made = operated.json("template", "set", "hello", *OF, "--text", text)
        self.assertEqual(made["text"], "second")

    async def test_refused(self) -> None:
        """What is wrong is told with its file and line."""
        operated = await self.started()
        bad = self.file("bad.html", b"a\n{% include 'x' %}")
        good = self.file("good.txt", b"{{ who }}")
        latin = self.file("latin.txt", b"\xe9")
        wrong = self.file("wrong.json", b'{"a b": 1}')
        operated.run("template", "add", "there", *OF, "--text", good)
        add = ("template", "add", "hello")
        for said, command in (
            (f"{bad}: line 2: include is not part of", (*add, *OF, "--html", bad)),
            (f"{latin} is not UTF-8", (*add, *OF, "--text", latin)),
            ("at least one of text and html", (*add, *OF, "--subject", "x")),
            ("no account nobody", (*add, "--account", "nobody", "--text", good)),
            ("has a template there", ("template", "add", "there", *OF, "--text", good)),
            ("no template hello", ("template", "set", "hello", *OF, "--text", good)),
            ("no template hello", ("template", "remove", "hello", *OF)),
            (
                "no template there of version 2",
                ("template", "show", "there", *OF, "--version", "2"),
            ),
            ("'who' is undefined", ("template", "preview", "there", *OF)),
            (f"{wrong}: Expected", ("template", "preview", "there", *OF, "--variables", wrong)),
        ):
            self.assert_fails(operated, said, *command)
