"""``mailrelay check-config --show``."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.operated import run

PLANTED = "pl4nted-s3cret"

CONFIG = f"""
hostname = "mx.example.org"
data_dir = "data"
allow_root = true
[[listener]]
role = "mx"
endpoint = "tcp:0:interface=127.0.0.1"
[queue]
window = 777
[rspamd]
password = "{PLANTED}"
"""


class ShowTests(SynchronousTestCase):
    """Of a file."""

    def file(self, text: str = CONFIG) -> str:
        """A configuration."""
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        return str(path)

    def test_people(self) -> None:
        """A line a setting, with what is to be known of it; no secret."""
        lines = run(self, "check-config", self.file(), "--show").stdout.splitlines()
        for line in (
            *("window = 777", "[rspamd]", "password = set, not shown  # needs a restart"),
            'hostname = "mx.example.org"  # needs a restart',
            'retry_profile = "default"  # default',
        ):
            self.assertIn(line, lines)
        self.assertNotIn(PLANTED, str(lines))

    def test_programs(self) -> None:
        """The same as JSON."""
        file = self.file()
        shown = json.loads(run(self, "check-config", file, "--show", "--json").stdout)
        self.assertEqual(shown["file"], file)
        [queue] = [one for one in shown["sections"] if one["title"] == "[queue]"]
        [window] = [one for one in queue["settings"] if one["name"] == "window"]
        self.assertEqual((window["value"], window["is_default"]), ("777", False))
        self.assertNotIn(PLANTED, str(shown))

    def test_unusable(self) -> None:
        """What cannot be used is said, with its line."""
        result = run(self, "check-config", self.file("hostnam = 1"), "--show", code=78)
        self.assertIn("did you mean hostname", result.stderr)
