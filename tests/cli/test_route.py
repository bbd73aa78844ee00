"""``mailrelay route explain``: what it says is what the server does."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.config.transports import (
    FailSection,
    HostTransportSection,
    RouteSection,
    TransportSection,
)
from mailrelay.net.tls import TLSLevel
from mailrelay.testing.scripted_server import ScriptedServer, polite
from tests.cli.operated import CONFIG, Operated

ROUTES = """
[[transport]]
name = "smarthost"
submission = { host = "smtp.peer.test", username = "me", password = "secret" }
[[transport]]
name = "closed"
fail = { smtp_code = 550, smtp_message = "no mail there" }
[[transport]]
name = "proxied"
[transport.socks]
address = "proxy.test:1080"
remote_ips = ["192.0.2.1"]
remote_hostname = "out.test"
[[route]]
to_domain = [".closed.test"]
transport = "closed"
[[route]]
to_domain = ["slow.test"]
minimum_attempts = 2
transport = "smarthost"
[[route]]
account = "user"
transport = "proxied"
"""


class ExplainTests(TestCase):
    """A store, and a file with routes."""

    timeout = 60

    async def operated(self) -> Operated:
        """Commands beside a server that is gone."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        operated.config.write_text(CONFIG + ROUTES)
        return operated

    async def test_decisions(self) -> None:
        """Each way with its route, its transport, and why."""
        operated = await self.operated()
        closed = "the recipient's domain is not in to_domain"
        for given, expected in (
            (
                ("a@x.closed.test",),
                ("route", 1, "closed", "answered 550 5.7.0 no mail there, without a connection"),
            ),
            (("a@slow.test",), ("mx", None, None, "by MX of slow.test")),
            (
                ("a@slow.test", "--attempts", "2"),
                (
                    *("route", 2, "smarthost"),
                    "by smtp.peer.test port 587, STARTTLS, level verify, logging in as me",
                ),
            ),
            (
                ("a@slow.test", "--account", "user"),
                (
                    *("route", 3, "proxied"),
                    "by MX of slow.test, IPv4 only, through SOCKS proxy proxy.test port 1080, as"
                    " out.test",
                ),
            ),
            (("user@example.org",), ("mailbox", None, None, "into the mailbox")),
        ):
            said = operated.json("route", "explain", *given)
            found = tuple(said[name] for name in ("because", "route", "transport", "way"))
            self.assertEqual(found, expected, given)
        said = operated.json("route", "explain", "a@Slow.test", "--sender", "b@c.test")
        self.assertEqual((said["recipient"], said["sender"]), ("a@slow.test", "b@c.test"))
        self.assertEqual(
            said["passed_over"],
            [
                {"route": 3, "reason": "it is for account user"},
                {"route": 1, "reason": closed},
                {"route": 2, "reason": "it is for what was attempted 2 times before"},
            ],
        )

    async def test_without_tls(self) -> None:
        """A relay host that is spoken to in clear is said to be."""
        operated = await self.operated()
        host = '[relay_host]\nhost = "127.0.0.1"\nport = 2525\ntls = "none"\n'
        operated.config.write_text(CONFIG + host)
        said = operated.json("route", "explain", "a@slow.test")
        self.assertEqual(said["way"], "by 127.0.0.1 port 2525, without TLS")

    async def test_suppressed(self) -> None:
        """What an account does not send to is not routed."""
        operated = await self.operated()
        operated.run("suppression", "add", "a@slow.test", "--account", "user")
        said = operated.json("route", "explain", "a@slow.test", "--account", "user")
        self.assertEqual((said["because"], said["passed_over"]), ("suppressed", []))

    async def test_people(self) -> None:
        """In words, without passwords."""
        operated = await self.operated()
        said = operated.run("route", "explain", "a@slow.test", "--attempts", "2").stdout
        self.assertIn("; route 1: the recipient's domain is not in to_domain", said)
        self.assertIn("transport:   smarthost", said)
        self.assertNotIn("secret", said)

    async def test_refused(self) -> None:
        """What is no address, and who is nobody."""
        operated = await self.operated()
        for given, text in (
            (("a@b@c",), "the recipient 'a@b@c' is no address"),
            (("a@b.test", "--sender", "x y"), "the sender 'x y' is no address"),
            (("a@b.test", "--account", "nobody"), "no account nobody: mailrelay account list"),
        ):
            self.assertIn(text, operated.run("route", "explain", *given, code=1).stderr)


class RoutedTests(TestCase):
    """A server with transports."""

    timeout = 60

    async def test_each_attempt_is_routed(self) -> None:
        """What failed by MX goes by the transport when it is tried again; ``fail`` asks nobody."""
        smarthost = await ScriptedServer.start(self, reactor, polite())
        host = HostTransportSection("127.0.0.1", smarthost.port, TLSLevel.NONE)
        operated = await Operated.start(
            self,
            reactor,
            transport=[
                TransportSection("smarthost", smtp=host),
                TransportSection("closed", fail=FailSection(550, "no mail there")),
            ],
            route=[
                RouteSection(minimum_attempts=1, transport="smarthost"),
                RouteSection(to_domain=["closed.test"], transport="closed"),
            ],
        )
        await operated.accept("a@slow.test", "b@closed.test")
        await operated.waiting("a@slow.test")
        self.assertEqual(smarthost.contents, [])
        operated.run("queue", "retry", "--recipient", "a@slow.test")
        for recipient, words in (
            ("a@slow.test", ("destination: mx:slow.test", "destination: transport:smarthost:")),
            ("b@closed.test", ("destination: transport:closed", "no mail there")),
        ):
            shown = await self.history(operated, recipient)
            for word in words:
                self.assertIn(word, shown)
        self.assertEqual(len(smarthost.contents), 1)

    async def history(self, operated: Operated, recipient: str) -> str:
        """What happened to the entry for ``recipient``, once it is retired."""
        [retired] = await operated.until(
            lambda: operated.json("retired", "list", "--recipient", recipient)
        )
        return operated.run("queue", "show", str(retired["id"])).stdout
