"""``[[transport]]`` and ``[[route]]``: what they become, and every mistake in them."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.config.convert import routing_settings
from mailrelay.config.load import BadConfiguration, parse_settings
from mailrelay.config.settings import Settings
from mailrelay.config.transport_checks import host_and_port
from mailrelay.net.tls import TLSLevel
from mailrelay.routing.route import RoutingSettings
from mailrelay.routing.transports import Direct, NamedTransport
from mailrelay.routing.ways import MECHANISMS, Fail, RelayHost, SocksProxy, ToPeer
from mailrelay.smtp.reply import reply
from tests.config.test_load import GOOD, read

SCRAM = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")


def transport(kind: str, setting: str = "") -> str:
    """A transport of this kind as it stands in a file."""
    return f'[[transport]]\nname = "t"\n{kind} = {{{setting}}}\n'


def made(text: str) -> RoutingSettings:
    """What the router gets."""
    return routing_settings(read(text))


class TransportTests(SynchronousTestCase):
    """What each kind becomes."""

    def kind(self, kind: str, setting: str) -> RelayHost | Direct | ToPeer | Fail:
        """The one transport of a file, as a route has it."""
        route = '[[route]]\nto_domain = ["a.example"]\ntransport = "t"\n'
        [made_route] = made(transport(kind, setting) + route).routes
        assert made_route.transport is not None
        self.assertEqual(made_route.transport.name, "t")
        return made_route.transport.kind

    def test_hosts(self) -> None:
        """Each has its port, and verifies unless told otherwise."""
        verify = TLSLevel.VERIFY
        expected = {
            "submissions": RelayHost("h", 465, verify, True, mechanisms=MECHANISMS),
            "submission": RelayHost("h", 587, verify, mechanisms=MECHANISMS),
            "smtp": RelayHost("h", 25, verify, mechanisms=MECHANISMS),
        }
        for name, host in expected.items():
            self.assertEqual(self.kind(name, 'host = "h"'), host)
        self.assertEqual(
            self.kind("smtp", 'host = "h", port = 465, tls = "none"'),
            RelayHost("h", 465, TLSLevel.NONE, mechanisms=SCRAM),
        )

    def test_mechanisms(self) -> None:
        """Without verified TLS the password goes to nobody who was not named for it."""
        expected = {
            "": MECHANISMS,
            'tls = "encrypt"': SCRAM,
            'tls = "may"': SCRAM,
            'tls = "none", auth_without_tls = true': MECHANISMS,
            'tls = "encrypt", mechanisms = ["PLAIN", "SCRAM-SHA-256"]': ("SCRAM-SHA-256", "PLAIN"),
            'mechanisms = ["LOGIN"]': ("LOGIN",),
        }
        for setting, mechanisms in expected.items():
            made_kind = self.kind("submission", f'host = "h", {setting}'.rstrip(", "))
            assert isinstance(made_kind, RelayHost)
            self.assertEqual(made_kind.mechanisms, mechanisms, setting)

    def test_password(self) -> None:
        """It may be in a file, and is not shown."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "secret").write_text("s3cret\nnot this\n")
        text = GOOD + transport("smtp", 'host="h", username="u", password_file="secret"')
        settings: Settings = parse_settings(text, {}, file="f", base=folder)
        assert settings.transport[0].smtp is not None
        self.assertEqual(settings.transport[0].smtp.password, "s3cret")
        self.assertNotIn("s3cret", repr(settings))

    def test_direct(self) -> None:
        """Both families unless one is switched off."""
        self.assertEqual(self.kind("direct", ""), Direct())
        self.assertEqual(self.kind("direct", "disable_ipv4 = true"), Direct(ipv4=False))
        self.assertEqual(self.kind("direct", "disable_ipv6 = true"), Direct(ipv6=False))

    def test_socks(self) -> None:
        """The families are those of the proxy's addresses."""
        base = 'address = "{}", remote_ips = [{}], remote_hostname = "Out.Example"'
        self.assertEqual(
            self.kind("socks", base.format("proxy.example:1080", '"192.0.2.1"')),
            Direct(ipv6=False, socks=SocksProxy("proxy.example", 1080, "out.example")),
        )
        self.assertEqual(
            self.kind("socks", base.format("[2001:db8::1]:1", '"192.0.2.1", "2001:db8::2"')),
            Direct(socks=SocksProxy("2001:db8::1", 1, "out.example")),
        )

    def test_peer(self) -> None:
        """A name, and nothing else."""
        route = '[[route]]\ndomain = "*"\ntransport = "t"\n'
        [one] = made('[[transport]]\nname = "t"\npeer = "hub"\n' + route).routes
        assert one.transport is not None
        self.assertEqual(one.transport.kind, ToPeer("hub"))

    def test_fail(self) -> None:
        """Code, x.7.0 and text."""
        text = "the transport is set to fail"
        self.assertEqual(self.kind("fail", ""), Fail(reply(554, "5.7.0", text)))
        self.assertEqual(
            self.kind("fail", 'smtp_code = 450, smtp_message = "later"'),
            Fail(reply(450, "4.7.0", "later")),
        )

    def test_address(self) -> None:
        """Host and port, an IPv6 address in brackets, and nothing else."""
        self.assertEqual(host_and_port("h:1"), ("h", 1))
        self.assertEqual(host_and_port("[::1]:65535"), ("::1", 65535))
        for text in ("", "h", ":1", "h:", "h:0", "h:65536", "h:x", "::1:5", "[h]:1", "h:²", "[]:1"):
            self.assertIsNone(host_and_port(text), text)


class RouteTests(SynchronousTestCase):
    """What a route becomes."""

    def test_conditions(self) -> None:
        """Domains are kept as addresses have them; the place in the file is kept."""
        settings = made(
            transport("direct")
            + '[[route]]\ndomain = "a.example"\nmx = true\n'
            + '[[route]]\nto_domain = ["MÜNCHEN.example", ".B.example", "."]\n'
            + 'from_domain = ["c.example"]\nminimum_attempts = 2\naccount = "me"\ntransport = "t"\n'
        )
        second, first = settings.routes
        self.assertEqual((first.domain, first.number, first.mx), ("a.example", 1, True))
        self.assertEqual(second.to_domain, ("xn--mnchen-3ya.example", ".b.example", "."))
        self.assertEqual((second.domain, second.from_domain), ("*", ("c.example",)))
        self.assertEqual((second.minimum_attempts, second.account, second.number), (2, "me", 2))
        self.assertEqual(second.transport, NamedTransport("t", Direct()))


class ProblemTests(SynchronousTestCase):
    """Mistakes, each with its place and line."""

    def check(self, text: str, *expected: str) -> None:
        """Every line of the refusal; ``text`` begins at line 6."""
        error = self.assertRaises(BadConfiguration, read, text)
        self.assertEqual([str(problem) for problem in error.problems], list(expected))

    def test_kinds(self) -> None:
        """Exactly one."""
        kinds = "needs exactly one of submissions, submission, smtp, direct, socks, peer, fail"
        self.check('[[transport]]\nname = "t"\n', f"line 6: transport[1]: {kinds}")
        self.check(transport("direct") + "fail = {}\n", f"line 6: transport[1]: {kinds}")

    def test_names(self) -> None:
        """There is one, and it is nobody else's."""
        two = transport("direct") + transport("fail")
        self.check(two, "line 10: transport[2].name: 't' is the name of another one, too")
        wrong = transport("direct").replace('"t"', '""')
        self.check(wrong, "line 7: transport[1].name: must be 1 to 64 printable characters")

    def test_hosts(self) -> None:
        """Ports, mechanisms, and half a login."""
        host = transport("smtp", 'host = "", port = 0, mechanisms = ["CRAM-MD5"], username = "u"')
        self.check(
            host,
            "line 8: transport[1].smtp.host: is empty: set it to a name or an address",
            "line 8: transport[1].smtp.port: must be a port from 1 to 65535, not 0",
            "line 8: transport[1].smtp.mechanisms[1]: must be one of SCRAM-SHA-256-PLUS,"
            " SCRAM-SHA-256, PLAIN, LOGIN, not 'CRAM-MD5'",
            "line 8: transport[1].smtp.username: needs a password or password_file, and either"
            " needs it",
        )
        self.check(
            transport("submissions", 'host = "h", tls = "may"'),
            "line 8: transport[1].submissions.tls: must be encrypt or verify: submissions is TLS"
            " from the first byte",
        )

    def test_other_kinds(self) -> None:
        """No address left, no address at all, no code that fails."""
        self.check(
            transport("direct", "disable_ipv4 = true, disable_ipv6 = true"),
            "line 8: transport[1].direct.disable_ipv6: disable_ipv4 is set too: that leaves no"
            " address",
        )
        self.check(
            transport("socks", 'address = "h", remote_ips = [], remote_hostname = "a b"'),
            "line 8: transport[1].socks.address: must be host:port, not 'h'",
            "line 8: transport[1].socks.remote_ips: is empty: name the addresses that the proxy"
            " connects from",
            "line 8: transport[1].socks.remote_hostname: 'a b' is not a host name",
        )
        self.check(
            transport("socks", 'address = "h:1", remote_ips = ["x"], remote_hostname = "a"'),
            "line 8: transport[1].socks.remote_ips[1]: 'x' does not appear to be an IPv4 or IPv6"
            " address",
        )
        text = "line 8: transport[1].fail.smtp_message: must be 1 to 256 printable ASCII characters"
        code = "line 8: transport[1].fail.smtp_code: must be from 400 to 599, not {}"
        self.check(transport("fail", "smtp_code = 250"), code.format(250))
        self.check(transport("fail", "smtp_code = 600"), code.format(600))
        for message in ("", "x" * 257, "ü", "a\\nb"):
            self.check(transport("fail", f'smtp_message = "{message}"'), text)

    def test_peer(self) -> None:
        """It has a name."""
        self.check(
            '[[transport]]\nname = "t"\npeer = ""\n',
            "line 8: transport[1].peer: is empty: set it to a name that `mailrelay peer list`"
            " shows",
        )

    def test_routes(self) -> None:
        """For whom, where to, and by what."""
        ways = "needs exactly one of transport, relay_host, mx and discard"
        route = "[[route]]\n"
        self.check(
            f"{route}mx = true\n",
            'line 6: route[1]: says not which mail it is for: domain = "*" is for all',
        )
        self.check(f'{route}domain = "*"\n', f"line 6: route[1]: {ways}")
        both = transport("fail") + f'{route}domain = "*"\ntransport = "t"\nmx = true\n'
        self.check(both, f"line 9: route[1]: {ways}")
        self.check(
            transport("fail") + f'{route}domain = "*"\ntransport = "u"\n',
            "line 11: route[1].transport: 'u' is no [[transport]]; there is: t",
        )
        self.check(
            f'{route}domain = "a.example"\nto_domain = ["*", "a b"]\nmx = true\n',
            "line 8: route[1].to_domain[1]: '*' is no domain or .domain; for all, leave it out",
            "line 8: route[1].to_domain[2]: 'a b' is no domain or .domain; for all, leave it out",
            "line 8: route[1].to_domain: domain is set too: keep one of them",
        )

    def test_two_logins(self) -> None:
        """One server with one name and two passwords cannot be one destination."""
        host = 'host = "h", username = "u", password = "{}"'
        text = "".join(
            f'[[route]]\ndomain = "{name}.example"\nrelay_host = {{{host.format(password)}}}\n'
            for name, password in (("a", "1"), ("b", "1"), ("c", "2"))
        )
        self.check(
            text,
            "line 14: route[3].relay_host: is set elsewhere with another password or"
            " auth_without_tls",
        )
