"""The configuration as it is shown: everything of it, and no secret."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.config.load import parse_settings
from mailrelay.config.read import without_none
from mailrelay.config.settings import Settings
from mailrelay.config.shown import MASKED, is_secret, shown_configuration
from mailrelay.control.configuration import Setting

LOOKS_SECRET = re.compile("pass(word)?s?(_|$)|secret|psk|token|key")
NO_SECRETS = {
    **dict.fromkeys(("password_file", "token_file", "sign_key_file", "eab_key_file"), "a file"),
    **dict.fromkeys(("token_files", "private_key"), "files"),
    "key_is_kept": "yes or no",
    "pass_for": "a time",
}
"""What looks like a secret by its name, and is none."""

PLANTED = "pl4nted-s3cret"

CONFIG = f"""
hostname = "mx.example.org"
data_dir = "/var/lib/mailrelay"
trusted_networks = ["192.0.2.0/24"]
[storage]
url = "postgresql+psycopg://relay:{PLANTED}/@db.example.org/relay?password={PLANTED}"
[[listener]]
role = "mx"
endpoint = "tcp:25"
[[listener]]
role = "submission"
endpoint = "tcp:587"
[listener.limits]
recipients = 7
[relaying]
default_host = "relay.example.org"
username = "me"
password = "{PLANTED}"
[smtp_out.tls]
"example.net" = "encrypt"
[rspamd]
url = "http://127.0.0.1:11333"
password = "{PLANTED}"
[[handoff]]
name = "app"
url = "https://app.example.org/in?key={PLANTED}"
addresses = ["a@example.org"]
token = "{PLANTED}"
[[handoff_in]]
name = "in"
tokens = ["{PLANTED}"]
"""


def fields(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    """Every setting that there is, with its place."""
    for field in attrs.fields(cls):
        wanted = without_none(typing.get_type_hints(cls)[field.name])
        if typing.get_origin(wanted) in (Sequence, Mapping, dict):
            wanted = typing.get_args(wanted)[-1]
        if attrs.has(wanted):
            for place, one in fields(wanted):
                yield f"{field.name}.{place}", one
        else:
            yield field.name, field


class ShownTests(SynchronousTestCase):
    """What is in a configuration."""

    def shown(self, text: str = CONFIG, **environment: str) -> dict[str, Setting]:
        """Its settings, by section and name."""
        settings = parse_settings(text, environment, file="f", base=Path("/"))
        fixed, names = ("hostname", "storage", "listener"), frozenset(environment)
        found = shown_configuration(settings, fixed, "/etc/f", names)
        self.assertEqual(found.file, "/etc/f")
        return {f"{s.title}{one.name}": one for s in found.sections for one in s.settings}

    def test_secrets(self) -> None:
        """Whatever sounds like a secret, or is kept out of a repr, is masked."""
        for place, field in fields(Settings):
            name = field.name
            if not field.repr or (LOOKS_SECRET.search(name) and name not in NO_SECRETS):
                self.assertTrue(is_secret(field), place)
            else:
                self.assertFalse(is_secret(field), place)

    def test_planted(self) -> None:
        """None is anywhere in what is shown, wherever it was set."""
        shown = self.shown()
        self.assertNotIn(PLANTED, str(shown))
        for name in (
            *("[relaying]password", "[rspamd]password", "[[handoff]]token"),
            "[[handoff_in]]tokens",
        ):
            self.assertEqual(shown[name].value, MASKED, name)
        self.assertEqual(shown["[[handoff]]sign_key"].value, '""')
        url = '"postgresql+psycopg://...@db.example.org/relay?..."'
        self.assertEqual(shown["[storage]url"].value, url)
        self.assertEqual(shown["[[handoff]]url"].value, '"https://app.example.org/in?..."')

    def test_values(self) -> None:
        """As a file has them; whether they are the default's, and need a restart."""
        shown = self.shown()
        for name, value in {
            "trusted_networks": '["192.0.2.0/24"]',
            "localserve": "false",
            "data_dir": '"/var/lib/mailrelay"',
            "[smtp_out]tls": '{ "example.net" = "encrypt" }',
            "[smtp_out]mx_tls": '"may"',
            "[queue]first_retry_after": "not set",
            "[listener.limits]recipients": "7",
            "[dns]timeout": "10.0",
        }.items():
            self.assertEqual(shown[name].value, value, name)
        self.assertTrue(shown["[dns]timeout"].is_default)
        self.assertIn("look-up", shown["[dns]timeout"].doc)
        self.assertFalse(shown["trusted_networks"].is_default or shown["hostname"].is_default)
        restarted = {name for name, one in shown.items() if one.needs_restart}
        for name in ("hostname", "[storage]url", "[[listener]]role", "[log]file"):
            self.assertIn(name, restarted)
        self.assertNotIn("[dns]timeout", restarted)

    def test_everything(self) -> None:
        """Each setting of each section that there is is shown once."""
        shown = self.shown()
        for section in ("limits", "queue", "login", "log", "reports", "pages"):
            cls = type(getattr(parse_settings(CONFIG, {}, file="f", base=Path("/")), section))
            for field in attrs.fields(cls):
                if field.init and not attrs.has(type(getattr(cls(), field.name))):
                    self.assertIn(f"[{section}]{field.name}", shown)

    def test_environment(self) -> None:
        """What a variable gave says so."""
        shown = self.shown(
            MAILRELAY_DNS_TIMEOUT="3", MAILRELAY_NODE="b", RELAY_PASSWORD=PLANTED, PSK=PLANTED
        )
        given = {name for name, one in shown.items() if one.from_environment}
        self.assertEqual(
            given,
            {"[dns]timeout", "node", "[relaying]password", "[[handoff_in]]tokens"},
        )
        self.assertEqual(shown["[dns]timeout"].value, "3.0")
        self.assertNotIn(PLANTED, str(shown))
