"""Endpoints that take mail, their tokens and relay host, in the file and in the environment."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.config.convert import handoff_relays
from mailrelay.config.load import BadConfiguration, parse_settings
from mailrelay.config.settings import Settings
from mailrelay.handoff.endpoints import Compat, HandOffInSettings, HandOffMode, Policy
from mailrelay.net.tls import TLSLevel
from tests.config.test_load import GOOD, read

ENDPOINT = '[[handoff_in]]\nname = "a"\n'


class EndpointTests(SynchronousTestCase):
    """``[[handoff_in]]``."""

    def test_words(self) -> None:
        """Everything has its default; words are checked."""
        [plain] = read(ENDPOINT).handoff_in
        self.assertEqual((plain.path, plain.handoff), ("/v1/email", HandOffMode.QUEUE))
        self.assertEqual((plain.compat, plain.unknown), (Compat.NATIVE, None))
        text = f'{ENDPOINT}compat = "mailx"\nhandoff = "sync"\nunknown = "defer"\n'
        [other] = read(text).handoff_in
        self.assertEqual((other.compat, other.unknown), (Compat.MAILX, Policy.DEFER))

    def test_tokens(self) -> None:
        """Those of the file and of its files' first lines; an empty one is none."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "one").write_text("of-a-file\nnot this\n")
        (folder / "two").write_text("\n")
        text = f'{GOOD}{ENDPOINT}tokens = ["t", ""]\ntoken_files = ["one", "two"]\n'
        [endpoint] = parse_settings(text, {}, file="f.toml", base=folder).handoff_in
        self.assertEqual(endpoint.tokens, ("t", "of-a-file"))
        self.assertNotIn("of-a-file", repr(endpoint))
        self.assertTrue(endpoint.knows("t") and endpoint.knows("of-a-file"))
        self.assertFalse(HandOffInSettings("a", tokens=("",)).knows(""))
        self.assertFalse(endpoint.knows("") or endpoint.knows("tt") or endpoint.knows("ü\udc80"))

    def problems(self, text: str) -> list[str]:
        """The places of what is wrong."""
        with self.assertRaises(BadConfiguration) as caught:
            read(text)
        return [problem.place for problem in caught.exception.problems]

    def test_problems(self) -> None:
        """Each with its place."""
        for text, place in (
            ('path = "v1"', "path"),
            ('path = "/v1/{id}"', "path"),
            ('path = "/v1/domain/check"', "path"),
            ('tokens = ["a b"]', "tokens[1]"),
            ('token_files = ["/nowhere/at/all"]', "token_file"),
            ('networks = ["10.0.0.0/33"]', "networks[1]"),
            ('domains = ["a b"]', "domains[1]"),
            ('compat = "postfix"', "compat"),
            ("sync_timeout = 0", "sync_timeout"),
        ):
            self.assertEqual(self.problems(f"{ENDPOINT}{text}\n"), [f"handoff_in[1].{place}"], text)
        twice = ENDPOINT + 'tokens = ["t"]\n' + ENDPOINT + 'tokens = ["t"]\n'
        self.assertEqual(self.problems(twice), ["handoff_in[2].name", "handoff_in[2].tokens"])


class EnvironmentTests(SynchronousTestCase):
    """PSK, DOMAIN and SMTP_CLIENT_..."""

    def test_psk(self) -> None:
        """An endpoint of its own, or a token of the first one."""
        [endpoint] = read(PSK="key", DOMAIN="a.example, b.example").handoff_in
        self.assertEqual((endpoint.tokens, endpoint.path), (("key",), "/v1/email"))
        self.assertEqual(endpoint.domains, ("a.example", "b.example"))
        [endpoint] = read(f'{ENDPOINT}tokens = ["t"]\n', PSK="key").handoff_in
        self.assertEqual(endpoint.tokens, ("t", "key"))

    def test_nothing_is_opened(self) -> None:
        """An empty PSK makes no endpoint, and DOMAIN without one says nothing."""
        self.assertEqual(read(PSK="", DOMAIN="a.example").handoff_in, ())
        [endpoint] = read(ENDPOINT, DOMAIN="a.example").handoff_in
        self.assertEqual((endpoint.tokens, endpoint.domains), ((), ()))

    def relay(self, **environment: str) -> Settings:
        """The settings with these variables, named without their prefix."""
        given = {f"SMTP_CLIENT_{name}": value for name, value in environment.items()}
        return read("", **given)

    def test_relay_host(self) -> None:
        """587 is STARTTLS, 465 TLS from the first byte; with a login the certificate is checked."""
        cases: tuple[tuple[dict[str, str], TLSLevel, bool], ...] = (
            ({}, TLSLevel.MAY, False),
            ({"PORT": "587"}, TLSLevel.ENCRYPT, False),
            ({"PORT": "465"}, TLSLevel.ENCRYPT, True),
            ({"PORT": "587", "USER": "u", "PASSWORD": "p"}, TLSLevel.VERIFY, False),
        )
        for given, level, implicit in cases:
            [host] = handoff_relays(self.relay(HOST="relay.example", **given))
            self.assertEqual((host.tls, host.implicit_tls), (level, implicit), given)
            self.assertEqual(host.port, int(given.get("PORT", "25")))
            self.assertEqual(host.password, given.get("PASSWORD"))
        self.assertEqual(handoff_relays(self.relay(PORT="587")), ())

    def test_several(self) -> None:
        """Hosts with commas between them are tried in their order."""
        hosts = handoff_relays(self.relay(HOST="a.example, b.example"))
        self.assertEqual([host.host for host in hosts], ["a.example", "b.example"])

    def test_relay_problems(self) -> None:
        """What cannot be used is told."""
        for given in ({"PORT": "x"}, {"PORT": "0"}, {"PORT": "9" * 30}, {"USER": "u"}):
            with self.assertRaises(BadConfiguration, msg=given):
                self.relay(HOST="relay.example", **given)
        with self.assertRaises(BadConfiguration):
            self.relay(HOST="a.example,,")

    def test_the_file_may_say_more(self) -> None:
        """Its TLS level stays; a host of unverified_hosts needs no right certificate."""
        text = '[handoff_relay]\nhost = "x"\ntls = "none"\nauth_without_tls = true\n'
        variables = {"USER": "u", "PASSWORD": "p", "HOST": "relay.example"}
        given = {f"SMTP_CLIENT_{name}": value for name, value in variables.items()}
        [host] = handoff_relays(read(text, **given))
        self.assertEqual((host.host, host.tls), ("relay.example", TLSLevel.NONE))
        text = '[relaying]\nunverified_hosts = ["Relay.example"]\n'
        [host] = handoff_relays(read(text, **given))
        self.assertIs(host.tls, TLSLevel.ENCRYPT)
