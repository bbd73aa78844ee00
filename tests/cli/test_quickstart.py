"""``mailrelay quickstart`` and ``check-config``."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.cli import checks
from mailrelay.cli.quickstart_file import TEMPLATE
from mailrelay.config.load import load_settings, parse_settings
from mailrelay.config.settings import Settings
from mailrelay.net.certificates import make_self_signed
from tests.cli.operated import run


class QuickstartTests(SynchronousTestCase):
    """What it makes, and what it refuses."""

    def setUp(self) -> None:
        """A place for it; as root the server needs a user, and here it is one that can be had."""
        self.directory = Path(os.path.abspath(self.mktemp()))
        if os.geteuid() == 0:  # that user could not read a test's directory: be one's own
            self.patch(os, "geteuid", lambda: 1)

    def quickstart(self, *more: str, code: int = 0, given: str = "") -> Any:
        """Run it for me@example.org."""
        where = ("--dir", str(self.directory))
        return run(self, "quickstart", "example.org", "me", *where, *more, code=code, given=given)

    def test_what_it_makes_can_be_used(self) -> None:
        """The file passes check-config, and account, address and certificate are there."""
        output = self.quickstart("--yes").stdout
        config = self.directory / "mailrelay.toml"
        checked = run(self, "check-config", str(config)).stdout
        self.assertIn("can be used", checked)
        [row] = json.loads(run(self, "address", "list", "--json", "--config", str(config)).stdout)
        self.assertEqual(row, {"address": "me@example.org", "account": "me"})
        settings = load_settings(config, {})
        roles = [(one.role, one.endpoint) for one in settings.listener]
        self.assertEqual(
            roles,
            [
                ("mx", "tcp:25"),
                ("submission", "tcp:587"),
                ("submissions", "tcp:465"),
                ("http", "tcp:8080:interface=127.0.0.1"),
                ("https", "tcp:443"),
            ],
        )
        with_webapi = [one.role for one in settings.listener if one.webapi]
        self.assertEqual(with_webapi, ["http", "https"])
        self.assertNotIn("webapi", checked)
        [account] = json.loads(
            run(self, "account", "list", "--json", "--config", str(config)).stdout
        )
        shown = run(self, "account", "show", "me", "--json", "--config", str(config)).stdout
        limits = account["messages_per_day"], json.loads(shown)["new_recipients_per_day"]
        self.assertEqual(limits, (1000, 200))
        self.assertEqual(settings.hostname, "mail.example.org")
        self.assertEqual((self.directory / "data").stat().st_mode & 0o777, 0o700)
        for step in ("MX 10", "check-config", "-n mailrelay --config"):
            self.assertIn(step, output)

    def test_passwords_that_it_makes(self) -> None:
        """Account and admin get passwords of their own, printed and written to no file."""
        output = self.quickstart("--yes").stdout
        made = re.findall(r"password +(\S{16})", output)
        self.assertEqual(len(set(made)), 2, output)
        for path in self.directory.rglob("*"):
            if path.is_file():
                for password in made:
                    self.assertNotIn(password.encode(), path.read_bytes())

    def test_json(self) -> None:
        """For programs: what was made and with which passwords, if they were made, too."""
        made = json.loads(self.quickstart("--yes", "--json").stdout)
        self.assertEqual((made["account"], made["address"]), ("me", "me@example.org"))
        self.assertTrue(Path(made["config"]).exists())
        self.assertGreaterEqual(len(made["password"]), 16)
        self.assertNotEqual(made["password"], made["admin_password"])

    def test_password_that_is_given(self) -> None:
        """A given password is not shown; one that is too short is refused before anything is."""
        self.quickstart("--yes", "--password-file", "-", given="short\n", code=1)
        self.assertFalse(self.directory.exists())
        output = self.quickstart("--yes", "--password-file", "-", given="correct horse\n").stdout
        self.assertNotIn("correct horse", output)

    def test_nothing_is_overwritten(self) -> None:
        """A second run, or one where a file of that name is, changes nothing."""
        self.quickstart("--yes")
        before = {p: p.read_bytes() for p in self.directory.rglob("*") if p.is_file()}
        self.assertIn("exists", self.quickstart("--yes", code=1).stderr)
        after = {p: p.read_bytes() for p in self.directory.rglob("*") if p.is_file()}
        self.assertEqual(after, before)

    def test_what_makes_no_address(self) -> None:
        """A bad domain, localpart or host name is refused before anything is made."""
        where = ("--dir", str(self.directory), "--yes")
        for words in (
            ("not a domain", "me"),
            ("example.org", "a b@c"),
            ("example.org", "me", "--hostname", "a b"),
            ("example.org", "me", "--hostname", "example.org"),
        ):
            run(self, "quickstart", *words, *where, code=64)
        self.assertFalse(self.directory.exists())

    def test_unknown_user(self) -> None:
        """A user that does not exist is named with the command that makes it."""
        result = self.quickstart("--yes", "--run-as", "no-such-user", code=67)
        self.assertIn("useradd --system no-such-user", result.stderr)

    def test_acme(self) -> None:
        """Whoever agrees to the terms has certificates ordered."""
        made = json.loads(self.quickstart("--yes", "--json", "--acme").stdout)
        acme = load_settings(Path(made["config"]), {}).acme
        assert acme is not None
        self.assertEqual((acme.terms_agreed, acme.contact), (True, "me@example.org"))

    def test_defaults_in_comments_are_the_defaults(self) -> None:
        """What the file says in comments is what is used without them."""
        names = {"domain": "d.example", "file": "f", "data": "data", "run_as": ""}
        names |= {"hostname": "mail.d.example", "certificate": "c", "private_key": "k"}
        names |= {"address": "me@d.example", "addresses": "# addresses = []", "acme": "# "}
        text = TEMPLATE.format(**names)
        plain = parse_settings(text, {}, file="f", base=Path("/"))
        example = re.compile(r"^# (\[relay_host\]|\[acme\]|\[\[route\]\])\n(# .*\n)+", re.MULTILINE)
        said = re.sub(r"^# ([a-z_]+ = )", r"\1", example.sub("", text), flags=re.MULTILINE)
        uncommented = parse_settings(said, {}, file="f", base=Path("/"))
        for attribute in fields(Settings):
            name = attribute.name
            if name in ("queue", "listener"):
                continue
            self.assertEqual(getattr(uncommented, name), getattr(plain, name), name)
        self.assertGreater(said.count("\n"), 60)


class CheckConfigTests(SynchronousTestCase):
    """Everything at once, with place and remedy."""

    GOOD = """\
hostname = "mx.example.org"
data_dir = "data"
allow_root = true

[[listener]]
role = "mx"
endpoint = "tcp:2525"
"""

    def setUp(self) -> None:
        """A folder for the file."""
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        self.file = self.folder / "mailrelay.toml"

    def check(self, text: str, code: int = 78) -> dict[str, Any]:
        """What is said about ``text``."""
        self.file.write_text(text)
        result: dict[str, Any]
        result = json.loads(run(self, "check-config", str(self.file), "--json", code=code).stdout)
        self.assertEqual(result["usable"], code == 0)
        return result

    def places(self, found: list[dict[str, Any]]) -> list[tuple[int, str]]:
        """Line and setting of each."""
        return [(one["line"], one["place"]) for one in found]

    def test_good(self) -> None:
        """A good file has neither problems nor lines to mend."""
        result = self.check(self.GOOD, code=0)
        self.assertEqual(result["problems"], [])
        self.file.write_text(self.GOOD)
        self.assertIn("can be used", run(self, "check-config", str(self.file)).stdout)

    def test_all_problems_at_once(self) -> None:
        """Problems of different parts are said together, each with the line to mend."""
        result = self.check(
            self.GOOD.replace("mx.example.org", "no name")
            + '\n[[listener]]\nrole = "smtp"\nendpoint = "udp:25"\n'
            + '[[listener]]\nrole = "mx"\nendpoint = "tcp:many"\n'
            + 'trusted = 1\n[queue]\nretry_profile = "never"\n'
        )
        # An unknown setting is found before meanings are looked at.
        self.assertEqual(self.places(result["problems"]), [(15, "listener[3].trusted")])
        result = self.check(
            self.GOOD.replace("mx.example.org", "no name")
            + '\n[[listener]]\nrole = "smtp"\nendpoint = "udp:25"\n'
            + '[[listener]]\nrole = "mx"\nendpoint = "tcp:many"\n'
            + '[queue]\nretry_profile = "never"\n'
        )
        self.assertEqual(
            self.places(result["problems"]),
            [
                (1, "hostname"),
                (10, "listener[2].role"),
                (11, "listener[2].endpoint"),
                (14, "listener[3].endpoint"),
                (16, "queue.retry_profile"),
            ],
        )
        shown = run(self, "check-config", str(self.file), code=78).stdout
        self.assertIn(f"{self.file}:11: listener[2].endpoint: must begin with", shown)

    def test_not_toml(self) -> None:
        """What is no TOML is told with its line, and a file that is not there by its name."""
        result = self.check(self.GOOD + "\nhost name = 1\n")
        self.assertEqual(result["problems"][0]["line"], 9)
        missing = run(self, "check-config", str(self.folder / "none.toml"), code=78)
        self.assertIn("none.toml", missing.stdout)
        run(self, "check-config", code=64)

    def with_tls(self, names: list[str], made_at: float) -> str:
        """A configuration with a certificate."""
        certificate, key = self.folder / "tls.pem", self.folder / "key.pem"
        make_self_signed(certificate, key, names, made_at)
        return self.GOOD + '[tls]\ncertificate = "tls.pem"\nprivate_key = "key.pem"\n'

    def test_certificate(self) -> None:
        """A missing file, an open key and a key of another certificate are problems."""
        text = self.with_tls(["mx.example.org"], time.time())
        self.assertEqual(self.check(text, code=0)["warnings"][:-1], [])
        (self.folder / "key.pem").chmod(0o644)
        self.assertIn("chmod 600", self.check(text)["problems"][0]["text"])
        (self.folder / "key.pem").unlink()
        self.assertEqual(self.places(self.check(text)["problems"]), [(9, "tls.certificate")])
        make_self_signed(self.folder / "x", self.folder / "key.pem", ["x"], time.time())
        self.assertIn("belong together", self.check(text)["problems"][0]["text"])

    def test_certificate_that_is_not_believed(self) -> None:
        """An expired one, and one for another name, are warned of."""
        old = self.check(self.with_tls(["mx.example.org"], time.time() - 4e8), code=0)
        self.assertIn("renew it", old["warnings"][0]["text"])
        other = self.check(self.with_tls(["other.example"], time.time()), code=0)
        self.assertIn("does not name mx.example.org", other["warnings"][0]["text"])
        wild = self.check(self.with_tls(["*.example.org"], time.time()), code=0)
        self.assertNotIn("does not name", str(wild["warnings"]))

    def test_warnings(self) -> None:
        """What will not work as meant is said, and is no reason not to start."""
        text = (
            self.GOOD
            + '[[listener]]\nrole = "submission"\nendpoint = "tcp:2587"\nauth_without_tls = true\n'
            + '[[listener]]\nrole = "submission"\nendpoint = "tcp:2588"\n'
            + '[relay_host]\nhost = "relay.example"\nusername = "me"\n'
        )
        result = self.check(text, code=0)
        self.assertEqual(
            [place for _, place in self.places(result["warnings"])][:3],
            ["listener[3].role", "listener[2].auth_without_tls", "data_dir"],
        )
        self.assertEqual(result["warnings"][3]["place"], "relay_host")

    def test_low_ports(self) -> None:
        """A port below 1024 is warned of unless root starts the server."""
        text = self.GOOD.replace("tcp:2525", "tcp:7")
        self.patch(checks, "first_free_port", lambda: 1024)
        self.patch(os, "geteuid", lambda: 1)
        self.assertIn("port 7 needs", self.check(text, code=0)["warnings"][0]["text"])
        self.patch(os, "geteuid", lambda: 0)
        self.assertNotIn("port 7", str(self.check(text, code=0)["warnings"]))

    def test_users(self) -> None:
        """Root without a user to become, and a user that does not exist, are problems."""
        self.patch(os, "geteuid", lambda: 0)
        root = self.check(self.GOOD.replace("allow_root = true\n", ""))
        self.assertEqual([place for _, place in self.places(root["problems"])], ["run_as"])
        unknown = self.check(self.GOOD.replace("allow_root = true", 'run_as = "no-such-user"'))
        self.assertEqual(self.places(unknown["problems"]), [(3, "run_as")])

    def test_same_port_twice(self) -> None:
        """Two listeners cannot have one port."""
        twice = self.GOOD + '[[listener]]\nrole = "submission"\nendpoint = "tcp:2525"\n'
        self.assertIn((10, "listener[2].endpoint"), self.places(self.check(twice)["problems"]))
