"""``mailrelay relay``: the cases of the specification by the command itself, and what it prints."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.cli.main import main
from mailrelay.control.relays import RelayFolder
from mailrelay.routing.relay_files import RelayFile, read_lines
from tests.cli.operated import CONFIG, Operated

_ALL = json.loads((Path(__file__).parents[1] / "routing" / "cases" / "relayhosts.json").read_text())
CASES, CLI_CASES = _ALL["cases"], _ALL["cli_cases"]
NO_VARIABLES = {
    name: None
    for name in ("DEFAULT_RELAY_HOST", "RELAY_HOST", "RELAY_PORT", "RELAY_USER", "RELAY_PASSWORD")
}


def relay(
    folder: Path,
    *arguments: str,
    env: Mapping[str, str | None] = NO_VARIABLES,
    stdin: str | None = None,
) -> Result:
    """Run ``mailrelay relay`` with files in ``folder``."""
    command = ["relay", arguments[0], "--relay-dir", str(folder), *arguments[1:]]
    return CliRunner().invoke(main, command, env={**NO_VARIABLES, **env}, input=stdin)


def agrees(found: Any, expected: Any) -> bool:
    """Whether ``found`` says all that ``expected`` does; it may say more."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            key in found and agrees(found[key], value) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(agrees, found, expected))
    return bool(found == expected)


class NoFolderTests(SynchronousTestCase):
    """A folder that is not there."""

    def test_named(self) -> None:
        """Nothing is decided by files that nobody finds."""
        for arguments in (("check", "a@b.test"), ("list",)):
            result = relay(Path("/nosuch"), *arguments)
            self.assertEqual(result.exit_code, 2)
            self.assertIn("/nosuch", result.output + result.stderr)


class FolderTestCase(SynchronousTestCase):
    """A folder of its own."""

    def setUp(self) -> None:
        """Make it."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def put(self, file: RelayFile, text: str | None) -> None:
        """Have a file say ``text``."""
        if text is not None:
            (self.folder / file.file_name).write_bytes(text.encode())

    def text(self, file: RelayFile) -> str:
        """What a file says."""
        return RelayFolder(self.folder).read(file) or ""


class CheckTests(FolderTestCase):
    """``relay check``."""

    def test_cases(self) -> None:
        """Each case's files, variables and domains; the object says all that is expected."""
        self.assertGreater(len(CASES), 30)
        for case in CASES:
            folder = self.folder / case["id"]
            folder.mkdir()
            self.folder, before = folder, self.folder
            self.put(RelayFile.RELAY_MAP, case["relaymap"])
            self.put(RelayFile.CREDENTIALS, case["sasl_password"])
            arguments = ["check", case["sender"], case["recipient"], "--json"]
            for domain in case["managed_domains"]:
                arguments += ["--managed-domain", domain]
            if case["recipient_routes"] is not None:
                routes = folder / "routes"
                routes.write_text(case["recipient_routes"])
                arguments += ["--recipient-routes", str(routes)]
            result = relay(folder, *arguments, env=case["env"])
            expected = case["expect"]
            is_error = expected["route"] == "config-error"
            self.assertEqual(result.exit_code, 78 if is_error else 0, case["id"])
            found = json.loads(result.stdout)
            self.assertTrue(agrees(found, expected), f"{case['id']}: {found}")
            self.assertEqual(bool(found.get("warnings")), case["warns"], case["id"])
            self.folder = before

    def test_for_people(self) -> None:
        """The hops, every rule that was considered, and what is hardly meant."""
        self.put(RelayFile.RELAY_MAP, "@ours.test [r.example]:587\n")
        self.put(RelayFile.CREDENTIALS, "@ours.test u:sesame\n[r.example]:25 x:y\n")
        result = relay(self.folder, "check", "joe@ours.test", "bob@remote.test")
        for said in (
            "route:     relay",
            "r.example port 587, TLS encrypt, certificate verified, as u (by sender-domain)",
            "rule 1:    sender joe@ours.test: no entry",
            "sender @ours.test: [r.example]:587",
            "credentials @ours.test: found",
            "[r.example]:25 is no relay host of the map",
        ):
            self.assertIn(said, result.stdout)
        self.assertNotIn("sesame", result.stdout)

    def test_what_cannot_be_used(self) -> None:
        """Folder, file and line on standard error; addresses that are none."""
        self.put(RelayFile.RELAY_MAP, "\n@ours.test [r.example]:0\n")
        result = relay(self.folder, "check", "joe@ours.test")
        self.assertEqual((result.exit_code, result.stdout), (78, ""))
        self.assertIn("postfix-relaymap.cf, line 2: port '0'", result.stderr)
        for arguments in (
            ("joe",),
            ("joe@ours.test", "bob"),
            ("a@b.test", "--managed-domain", "-"),
        ):
            result = relay(self.folder, "check", *arguments)
            self.assertEqual(result.exit_code, 1)
            self.assertIn("is no ", result.stderr)


class ChangeTests(FolderTestCase):
    """What edits the files."""

    def entries(self, file: RelayFile) -> dict[str, str]:
        """A file's keys and values."""
        return {line.key: line.value for line in read_lines(file, self.text(file))[0]}

    def test_cases(self) -> None:
        """Each case's commands, what stands in the files then, and how the last one ended."""
        base = self.folder
        for case in CLI_CASES:
            self.folder = base / case["id"]
            self.folder.mkdir()
            self.put(RelayFile.RELAY_MAP, case.get("initial_relaymap"))
            for number, command in enumerate(case["commands"], 1):
                is_last = number == len(case["commands"])
                result = relay(
                    self.folder, *command.split(" "), stdin=case.get("stdin") if is_last else None
                )
            code = result.exit_code
            self.assertEqual(
                "nonzero" if code else 0, case["exit"], f"{case['id']}: {result.output}"
            )
            for file in (RelayFile.RELAY_MAP, RelayFile.CREDENTIALS):
                self.assertEqual(self.entries(file), case.get(file.value, {}), case["id"])

    def test_files(self) -> None:
        """Comments stay, the line ends, nobody else reads it, nothing is left beside it."""
        self.put(RelayFile.RELAY_MAP, "# heading\r\n@a.test [x.example]:25")
        relay(self.folder, "add-domain", "b.test", "y.example", "submission")
        self.assertEqual(
            self.text(RelayFile.RELAY_MAP),
            "# heading\r\n@a.test [x.example]:25\n@b.test [y.example]:submission\n",
        )
        mode = stat.S_IMODE((self.folder / "postfix-relaymap.cf").stat().st_mode)
        self.assertEqual((mode, os.listdir(self.folder)), (0o600, ["postfix-relaymap.cf"]))

    def test_the_same_again_writes_nothing(self) -> None:
        """Not even the same file."""
        relay(self.folder, "add-domain", "b.test", "y.example")
        before = (self.folder / "postfix-relaymap.cf").stat().st_ino
        again = relay(self.folder, "add-domain", "@B.test", "[Y.example]", "25")
        self.assertEqual(again.exit_code, 0)
        self.assertEqual((self.folder / "postfix-relaymap.cf").stat().st_ino, before)

    def test_refused(self) -> None:
        """What no file may say; it is as it was, and the message says what is wrong."""
        self.put(RelayFile.RELAY_MAP, "@a.test [x.example]:25\n")
        for arguments, said in (
            (("add-domain", "a b", "r.test"), "neither a domain nor an address"),
            (("add-auth", "#joe@a.test", "u", "p"), "would be a comment"),
            (("add-domain", "a.test", "r_:1"), "no relay host"),
            (("add-domain", "a.test", "r.test", "0"), "port '0'"),
            (("add-domain", "a.test", "r.test, s.test"), "no relay host"),
            (("exclude-domain", "joe@a.test"), "only whole domains"),
            (("add-auth", "a.test", "u:v", "p"), "have a colon"),
            (("add-auth", "a.test", "u", "p\nx"), "printable"),
            (("add-auth", "a.test", "u", "p "), "end with a blank"),
            (("add-host-auth", "[r.test", "u", "p"), "write host"),
            (("add-host-auth", "r.test s.test", "u", "p"), "not one next hop"),
            (("remove", "b.test"), "no relay host or login of b.test"),
        ):
            result = relay(self.folder, *arguments)
            self.assertEqual(result.exit_code, 1, arguments)
            self.assertIn(said, result.stderr)
        self.assertEqual(self.text(RelayFile.RELAY_MAP), "@a.test [x.example]:25\n")
        self.assertEqual(self.text(RelayFile.CREDENTIALS), "")

    def test_broken_file(self) -> None:
        """Nothing is written behind what cannot be used; its own line can be mended."""
        self.put(RelayFile.RELAY_MAP, "@a.test [x.example\n")
        result = relay(self.folder, "add-domain", "b.test", "y.example")
        self.assertIn("line 1: '[x.example' is none", result.stderr)
        self.assertEqual(self.text(RelayFile.RELAY_MAP), "@a.test [x.example\n")
        self.assertEqual(relay(self.folder, "add-domain", "a.test", "y.example").exit_code, 0)

    def test_passwords(self) -> None:
        """From standard input or a file; none is listed."""
        secret = self.folder / "secret"
        secret.write_text("from:file\nmore\n")
        relay(self.folder, "add-auth", "a.test", "u", stdin="from stdin\n")
        relay(self.folder, "add-host-auth", "[R.example]:587", "u", "--password-file", str(secret))
        self.assertEqual(
            self.entries(RelayFile.CREDENTIALS),
            {"@a.test": "u:from stdin", "[r.example]:587": "u:from:file"},
        )
        for arguments in ((), ("--json",)):
            self.assertNotIn("from", relay(self.folder, "list", *arguments).stdout)

    def test_list_and_remove(self) -> None:
        """Both files in one table; a key is removed from both."""
        relay(self.folder, "add-domain", "a.test", "x.example")
        relay(self.folder, "add-auth", "a.test", "u", "p")
        relay(self.folder, "exclude-domain", "b.test")
        listed = json.loads(relay(self.folder, "list", "--json").stdout)
        self.assertEqual(
            [(e["key"], e["next_hop"], e["excluded"], e["username"]) for e in listed],
            [("@a.test", "[x.example]:25", False, "u"), ("@b.test", None, True, None)],
        )
        said = relay(self.folder, "remove", "A.test").stdout
        self.assertIn("postfix-relaymap.cf and postfix-sasl-password.cf", said)
        self.assertEqual(self.text(RelayFile.CREDENTIALS), "")
        self.assertIn("@b.test", relay(self.folder, "list").stdout)

    def test_import(self) -> None:
        """Another folder's entries; what contradicts is named, and taken only when asked for."""
        other = self.folder / "other"
        other.mkdir()
        (other / "postfix-relaymap.cf").write_text("# theirs\n@a.test [x.example]:1\n@c.test\n")
        (other / "postfix-sasl-password.cf").write_text("@a.test u:p\n")
        relay(self.folder, "add-domain", "a.test", "mine.example")
        refused = relay(self.folder, "import", str(other))
        self.assertIn("line 2: @a.test has another value here", refused.stderr)
        self.assertEqual(self.entries(RelayFile.CREDENTIALS), {})
        self.assertIn("3 entries", relay(self.folder, "import", str(other), "--replace").stdout)
        self.assertIn("0 entries", relay(self.folder, "import", str(other)).stdout)
        self.assertEqual(
            self.entries(RelayFile.RELAY_MAP), {"@a.test": "[x.example]:1", "@c.test": ""}
        )
        (other / "postfix-relaymap.cf").write_text("@a.test [\n")
        self.assertEqual(relay(self.folder, "import", str(other)).exit_code, 78)


class ConfiguredTests(TestCase):
    """The folder that a server's configuration names."""

    timeout = 60

    async def test_configured(self) -> None:
        """Without --relay-dir; the domains are the server's, and passwords are masked."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        operated.config.write_text(CONFIG + '[relaying]\ndir = "relays"\nhost = "all.example"\n')
        for arguments in (
            ("add-domain", "other.test", "x.example", "587"),
            ("add-auth", "other.test", "u", "sesame"),
        ):
            self.assertEqual(operated.run("relay", *arguments).exit_code, 0)
        found = operated.json("relay", "check", "joe@other.test")
        self.assertEqual(found["hops"][0]["auth"]["password"], "********")
        ours = operated.json("relay", "check", "user@example.org")
        self.assertEqual((ours["route"], ours["hops"][0]["host"]), ("relay", "all.example"))
        local = operated.json("relay", "check", "joe@other.test", "user@example.org")
        self.assertEqual(local["route"], "local")
