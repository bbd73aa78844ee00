"""What all commands have in common: tables, JSON, help."""

from __future__ import annotations

from collections.abc import Iterator

import click
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.cli.main import main
from mailrelay.cli.output import shown
from tests.cli.operated import run

WITHOUT_JSON = {
    "localserve": "runs until it is stopped",
    "sendmail": "prints nothing",
    "message export": "prints an mbox",
    "suppression export": "prints CSV",
    "export": "prints TOML",
    "holdrule remove": "changes one thing, and says so",
    "peer set": "changes one thing, and says so",
    "dkim remove": "changes one thing, and says so",
    "account logout": "changes one thing, and says so",
    "admin set": "changes one thing, and says so",
    "peer remove": "changes one thing, and says so",
    "key remove": "changes one thing, and says so",
    "template remove": "changes one thing, and says so",
    "webhook endpoint remove": "changes one thing, and says so",
    **{
        f"relay {verb}": "changes one thing, and says so"
        for verb in (
            "add-chain",
            "add-route",
            "add-domain",
            "exclude-domain",
            "add-auth",
            "add-host-auth",
            "remove",
        )
    },
    "relay import": "says how many entries it took",
    **{
        f"{noun} {verb}": "changes one thing, and says so"
        for noun in ("domain", "account", "address", "alias")
        for verb in ("add", "set", "remove")
    },
}


def commands(group: click.Group = main, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands with their whole names."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


class CommandTests(SynchronousTestCase):
    """Each of them."""

    def test_json(self) -> None:
        """Whatever prints data takes --json."""
        lacking = {
            name
            for name, command in commands()
            if not any("--json" in option.opts for option in command.params)
        }
        self.assertEqual(lacking - set(WITHOUT_JSON), set())

    def test_short_help(self) -> None:
        """The list of commands says of each what it does, in whole words."""
        lines = run(self, "--help").stdout.partition("Commands:\n")[2].splitlines()
        cut = {line.split()[0] for line in lines if line.endswith("...")}
        self.assertEqual(cut - {"sendmail"}, set())

    def test_help(self) -> None:
        """Each explains itself."""
        for name, _ in commands():
            if name != "sendmail":
                self.assertIn("Usage:", run(self, *name.split(), "--help").stdout)


class ShownTests(SynchronousTestCase):
    """Values in tables and histories."""

    def test_values(self) -> None:
        """Nothing of Python's own spelling is left."""
        for value, text in (
            (None, ""),
            (True, "yes"),
            (False, "no"),
            (0, "0"),
            ([], ""),
            (["a@b", "c"], "a@b, c"),
        ):
            self.assertEqual(shown(value), text)
