"""The configuration file: defaults, overrides, and every problem at once with its place."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.config.load import BadConfiguration, load_settings, parse_settings
from mailrelay.config.settings import Settings
from mailrelay.net.tls import TLSLevel

GOOD = """\
hostname = "mx.example.org"
data_dir = "data"
[[listener]]
role = "mx"
endpoint = "tcp:25"
"""


def read(text: str = "", base: str = GOOD, **environment: str) -> Settings:
    """The settings of ``base`` and ``text``, which stands in front unless it begins a table."""
    whole = base + text if text.startswith("[") else f"{text}\n{base}"
    return parse_settings(whole, environment, file="f.toml", base=Path("/etc/mailrelay"))


class GoodTests(SynchronousTestCase):
    """What is read."""

    def test_least(self) -> None:
        """Hostname, folder and a listener are enough; paths are below the file's."""
        settings = read()
        self.assertEqual(settings.data_dir, Path("/etc/mailrelay/data"))
        self.assertEqual(settings.trusted_networks, ())
        self.assertEqual(settings.limits.recipients, 1000)
        self.assertIsNone(settings.relay_host)

    def test_sections(self) -> None:
        """Tables, lists of tables, words and numbers become values."""
        settings = read(
            "[[listener]]\nrole = 'mx'\nendpoint = 'tcp:26'\nlimits = {recipients = 7}\n"
            '[relay_host]\nhost = "r"\ntls = "verify"\n'
            '[[route]]\ndomain = ".example.net"\nmx = true\n[smtp_out]\ncommand_timeout = 5\n'
            '[smtp_out.host_overrides]\n"a.example" = "127.0.0.1:2525"\n'
            '[log.levels]\n"mailrelay.outbound" = "debug"\n'
            '[tls]\ncertificate="c"\nprivate_key="/k"\n'
        )
        assert settings.relay_host is not None
        self.assertEqual(settings.listener[1].limits.recipients, 7)
        self.assertIs(settings.relay_host.tls, TLSLevel.VERIFY)
        self.assertEqual(settings.smtp_out.command_timeout, 5.0)
        self.assertEqual(settings.smtp_out.host_overrides, {"a.example": "127.0.0.1:2525"})
        self.assertEqual(settings.tls.certificate, "/etc/mailrelay/c")
        self.assertEqual(settings.tls.private_key, "/k")

    def test_logs(self) -> None:
        """Their files are below the configuration's folder, too; the two words are none."""
        settings = read('[log]\nfile = "log/mailrelay.log"\nmail_log = "/var/log/mail"\n')
        self.assertEqual(settings.log.file, "/etc/mailrelay/log/mailrelay.log")
        self.assertEqual(settings.log.mail_log, "/var/log/mail")
        self.assertEqual((read().log.file, read().log.mail_log), ("", "-"))

    def test_environment(self) -> None:
        """Variables win over the file; those of others and for the tools are left alone."""
        settings = read(
            "[queue]\nwindow = 5\n",
            MAILRELAY_HOSTNAME="other.example",
            MAILRELAY_QUEUE_WINDOW="7",
            MAILRELAY_RELAY_HOST_HOST="relay.example",
            MAILRELAY_RELAY_HOST_PASSWORD="a # b",
            MAILRELAY_CONFIG="x",
            MAILRELAY_TEST_LONG="1",
            OTHER="x",
        )
        assert settings.relay_host is not None
        self.assertEqual((settings.hostname, settings.queue.window), ("other.example", 7))
        self.assertEqual(settings.relay_host.password, "a # b")

    def test_every_section_in_the_environment(self) -> None:
        """A variable reaches each, whatever it is called."""
        networks = '["192.0.2.0/24"]'
        settings = read(MAILRELAY_PAGES_LIFE="60", MAILRELAY_WEBHOOKS_ALLOWED_NETWORKS=networks)
        self.assertEqual(settings.pages.life, 60.0)
        self.assertEqual(settings.webhooks.allowed_networks, ("192.0.2.0/24",))

    def test_port_465(self) -> None:
        """465 implies TLS from the first byte, and that implies encryption (RFC 8314 section 3)."""
        for text, implicit, level in (
            ("port = 465", True, TLSLevel.ENCRYPT),
            ('port = 465\ntls = "verify"', True, TLSLevel.VERIFY),
            ("port = 587", False, TLSLevel.MAY),
            ('implicit_tls = true\ntls = "none"', True, TLSLevel.ENCRYPT),
        ):
            host = read(f'[relay_host]\nhost = "r"\n{text}\n').relay_host
            assert host is not None
            self.assertEqual((host.implicit_tls, host.tls), (implicit, level), text)

    def test_password_file(self) -> None:
        """A password comes from its file's first line, and shows in no repr (threat 21)."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "secret").write_text("s3cret-ü\nrest\n", encoding="utf-8")
        (folder / "f.toml").write_text(
            GOOD + '[[route]]\ndomain = "*"\n'
            'relay_host = {host = "r", username = "u", password_file = "secret"}\n',
            encoding="utf-8",
        )
        settings = load_settings(folder / "f.toml", {})
        host = settings.route[0].relay_host
        assert host is not None
        self.assertEqual(host.password, "s3cret-ü")
        self.assertNotIn("s3cret", repr(settings))


class BadTests(SynchronousTestCase):
    """What is refused."""

    def problems(self, text: str, **environment: str) -> str:
        """What is wrong with ``text``."""
        return str(self.assertRaises(BadConfiguration, read, text, **environment))

    def test_each(self) -> None:
        """Each mistake is named by its place and what would be right."""
        for text, said in {
            "[queue]\nwindo = 1": "line 7: queue.windo: unknown setting: did you mean window?",
            "[xyzzy]": "xyzzy: unknown setting",
            '[queue]\nwindow = "1"': "line 7: queue.window: must be a whole number",
            "[queue]\nwindow = true": "queue.window: must be a whole number",
            "[queue]\nwindow = 0": "queue.window: must be at least 1",
            "[queue]\nwindow = -1": "queue.window: must be a number from 0",
            "[queue]\nwindow = 1.5": "queue.window: must be a whole number",
            "[queue]\ngive_up_after = nan": "queue.give_up_after: must be a number",
            "[queue]\ngive_up_after = inf": "queue.give_up_after: must be a number",
            "[queue]\nfirst_retry_after = 0": "queue.first_retry_after: must be more than 0",
            "[http]\nlarge_bodies = 0": "http.large_bodies: must be more than 0",
            "[http]\npublic_url = 'mail.example.org'": "'mail.example.org' is not as",
            "[http]\npublic_url = 'https://a.example/b'": "is not as https://mail.example.org",
            "[http]\nrequests_per_minute = -1": "http.requests_per_minute: must be a number from 0",
            "[queue]\nretry_profile = 'x'": "queue.retry_profile: must be one of default, mox",
            f"[queue]\nwindow = {'9' * 30}": "queue.window: must be a number",
            f"[queue]\nwindow = {'9' * 5000}": "is not TOML",
            "[limits]\nidle_after = 'x'": "limits.idle_after: must be a number",
            "[login]\nfailures_per_day = []": "login.failures_per_day: must be a whole number",
            "localserve = 1": "localserve: must be true or false",
            "limits = 1": "limits: must be a table",
            "[relay_host]\nport = 1": "relay_host.host: is needed",
            "[relay_host]\nhost = 'r'\nport = 0": "relay_host.port: must be a port",
            "[relay_host]\nhost = 'r'\nport = 65536": "relay_host.port: must be a port",
            "[relay_host]\nhost = 'r'\ntls = 'maybe'": "must be one of none, may, encrypt, verify",
            "[relay_host]\nhost = 'r'\npassword = 'a'\npassword_file = 'b'": "keep one of them",
            "[relay_host]\nhost = 'r'\npassword_file = 'gone'": "password_file: cannot be read",
            '[relay_host]\nhost = "r"\npassword_file = "\\u0000"': "password_file: cannot be read",
            "[[route]]\ndomain = '*'": "route[1]: needs exactly one of",
            "[[route]]\ndomain = '*'\nmx = true\ndiscard = true": "route[1]: needs exactly one of",
            "[[route]]\ndomain = 'a b'\nmx = true": "route[1].domain: 'a b' is no domain",
            "[dns]\nvalidating = true": "dns.validating: needs nameservers",
            "[smtp_out.tls]\n'A.test' = 'none'": "smtp_out.tls.A.test: write it as a.test",
            "[smtp_out.tls]\n'*.a.test' = 'none'": "'*.a.test' is neither a domain nor .domain",
            "[smtp_out.tls]\n'.a.test' = 'dane'": "must be one of none, may, encrypt, verify",
            "[smtp_out.host_overrides]\na = 'b:c'": "host_overrides.a: 'b:c' has no port",
            "[smtp_out]\nhost_overrides = 1": "smtp_out.host_overrides: must be a table",
            "[smtp_out]\nmx_port = 0": "smtp_out.mx_port: must be a port",
            "[tls]\ncertificate = 'c'": "tls: certificate and private_key go together",
            "[[listener]]\nrole = 'mx'\nendpoint = 'tcp:1'\n[listener.limits]\nrecipient = 1": (
                "line 10: listener[2].limits.recipient: unknown setting: did you mean recipients?"
            ),
            "[[listener]]\nrole = 'mx'\nendpoint = 'tcp:1'\nlimits = {received_fields = 1}": (
                "line 9: listener[2].limits.received_fields: unknown setting"
            ),
            "[log]\nformat = 'xml'": "log.format: must be human or json",
            "[log]\nlevel = 'loud'": "log.level: must be one of debug",
            "[log.levels]\nx = 'loud'": "log.levels.x: must be one of debug",
            "[dns]\nnameservers = 'x'": "dns.nameservers: must be a list",
            "[[listener]]\nrole = 'xm'\nendpoint = 'tcp:1'": "line 7: listener[2].role: must be",
            "[[listener]]\nrole = 'mx'\nendpoint = 'x:1'": "line 8: listener[2].endpoint: must",
            "[[listener]]\nrole = 'https'\nendpoint = 'tcp:1'": "https needs [tls] certificate",
            "[[listener]]\nrole = 'mx'\nendpoint = 'tcp:'": "endpoint: is no Twisted endpoint",
            "[[listener]]\nrole = 'mx'": "listener[2].endpoint: is needed",
            "x = ": "is not TOML",
            "a = " + "[" * 5000: "is not TOML",
        }.items():
            with self.subTest(text[:60]):
                problems = self.problems(text)
                self.assertIn(said, problems)
                self.assertTrue(problems.startswith("f.toml: "))

    def test_all_at_once(self) -> None:
        """Everything that is wrong is said at once."""
        error = self.assertRaises(
            BadConfiguration, read, "[queue]\na = 1\n[dns]\nb = 2\n", "hostname = 1\n"
        )
        places = {problem.place for problem in error.problems}
        self.assertEqual(places, {"queue.a", "dns.b", "hostname", "data_dir"})

    def test_values(self) -> None:
        """Host name and networks are checked; a server without listeners is useless."""
        error = self.assertRaises(
            BadConfiguration,
            read,
            "",
            'hostname = "a b"\ndata_dir = "d"\ntrusted_networks = ["10.0.0.0/8", "10.0.0.1/8"]\n'
            '[dns]\naddresses = ["192.0.2.1", "192.0.2.1/32"]\n',
        )
        places = [problem.place for problem in error.problems]
        self.assertEqual(
            places, ["hostname", "trusted_networks[2]", "dns.addresses[2]", "listener"]
        )

    def test_environment(self) -> None:
        """A bad variable is a problem like any other."""
        self.assertIn("queue.window", self.problems("", MAILRELAY_QUEUE_WINDOW="x"))
        self.assertIn("nonsense: unknown", self.problems("", MAILRELAY_NONSENSE="1"))
        self.assertIn("listener_role: unknown", self.problems("", MAILRELAY_LISTENER_ROLE="mx"))
        self.assertIn("queue: must be a table", self.problems("queue = 1\n", MAILRELAY_QUEUE_X="1"))
        self.assertIn("queue.window", self.problems("", MAILRELAY_QUEUE_WINDOW="9" * 5000))

    def test_unreadable(self) -> None:
        """A file that is not there, or no text, is named."""
        gone = Path(self.mktemp())
        self.assertIn(str(gone), str(self.assertRaises(BadConfiguration, load_settings, gone, {})))
        gone.write_bytes(b"\xff")
        self.assertRaises(BadConfiguration, load_settings, gone, {})
