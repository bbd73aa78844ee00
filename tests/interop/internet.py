"""A small internet on loopback: one DNS, servers of ours on addresses of their own, a Postfix.

Every server has a domain, an MX host, SPF, a DKIM key and a DMARC policy that asks for refusal.
"""

from __future__ import annotations

import smtplib
import socket
import subprocess
from collections.abc import Iterator, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from attrs import field, frozen
from sqlalchemy import func, select, update
from twisted.internet.threads import deferToThread

from mailrelay.config.settings import DNSSection, ListenerSection, SMTPOutSection
from mailrelay.control.aliases import AliasDetails
from mailrelay.control.mailbox import MessageFilter
from mailrelay.control.reports import Source
from mailrelay.directory.dkim import KeyState
from mailrelay.mailauth.dkim import Algorithm
from mailrelay.net.resolver import DNSResolver
from mailrelay.net.threads import ThreadExecutor
from mailrelay.reporting.store import ReportQuery
from mailrelay.service.controls import Control
from mailrelay.storage import tables
from mailrelay.testing.dns_server import DNSServer
from mailrelay.testing.loopback import PASSWORD, Loopback
from mailrelay.testing.ports import free_port
from mailrelay.testing.scripted_server import ScriptedServer, polite
from tests.integration.world import until
from tests.interop.postfix import Postfix
from tests.interop.programs import InteropTestCase, installed, reactor, soon

DAY = 86400.0

Zone = dict[str, dict[str, list[str]]]


@frozen
class Internet:
    """Names and the servers that they lead to.  All MX hosts listen on ``port``."""

    case: InteropTestCase
    dns: DNSServer
    zone: Zone
    port: int

    @classmethod
    async def start(cls, case: InteropTestCase) -> Internet:
        """A DNS that knows nothing yet."""
        zone: Zone = {}
        server = await DNSServer(zone).start(case, reactor)
        return cls(case, server, zone, free_port())

    def publish(self, domain: str, ip: str, selector: str, key: str) -> None:
        """What DNS says of a domain whose one host is at ``ip``."""
        host = f"mx.{domain}"
        reverse = ".".join(reversed(ip.split("."))) + ".in-addr.arpa"
        chunks = [key[at : at + 250] for at in range(0, len(key), 250)]
        self.zone.update(
            {
                domain: {"MX": [f"10 {host}."], "TXT": [f'"v=spf1 ip4:{ip} -all"']},
                host: {"A": [ip], "TXT": [f'"v=spf1 ip4:{ip} -all"']},
                reverse: {"PTR": [f"{host}."]},
                f"_dmarc.{domain}": {
                    "TXT": [f'"v=DMARC1; p=reject; rua=mailto:dmarc-reports@{domain}"']
                },
                f"{selector}._domainkey.{domain}": {
                    "TXT": [" ".join(f'"{chunk}"' for chunk in chunks)]
                },
            }
        )

    async def ours(self, domain: str, ip: str) -> Ours:
        """A server of ours, with an account at ``user@`` its domain."""
        executor = ThreadExecutor(reactor, 4, "names")
        self.case.addCleanup(executor.stop)
        listeners = [
            ListenerSection("mx", f"tcp:{self.port}:interface={ip}", judge=True),
            ListenerSection("submission", f"tcp:0:interface={ip}", auth_without_tls=True),
        ]
        loopback = await Loopback.start(
            self.case,
            reactor,
            resolver=DNSResolver(executor, [f"127.0.0.1:{self.dns.port}"], 5.0),
            hostname=f"mx.{domain}",
            listener=listeners,
            smtp_out=SMTPOutSection(mx_port=self.port, source_ipv4=ip, ipv6=False),
            dns=DNSSection(addresses=[ip]),
        )
        control = loopback.control()
        self.case.addCleanup(control.close)
        await control.directory.add_domain(domain)
        await control.directory.add_address(f"user@{domain}", "user")
        [key] = await control.dkim.add(domain, [Algorithm.RSA])
        self.publish(domain, ip, key.selector, key.record)
        await control.dkim.activate([key])
        server = Ours(domain, ip, loopback, control)
        await until(reactor, server.signs)
        return server

    async def postfix(self, domain: str, ip: str, beyond: Ours) -> Theirs:
        """Debian's Postfix with opendkim and opendmarc; what it sends goes to ``beyond``."""
        sink = await ScriptedServer.start(self.case, reactor, polite())
        home = self.case.folder()
        private = home / "d1.private"
        (home / "own").write_text("127.0.0.1\n")
        made = ["opendkim-genkey", "-s", "d1", "-d", domain, "-D", str(home)]
        subprocess.run([installed(made[0]), *made[1:]], check=True, capture_output=True)
        record = "".join((home / "d1.txt").read_text().split('"')[1::2])
        self.publish(domain, ip, "d1", record)
        ports = [
            await self._milter(home, "opendkim", _OPENDKIM.format(domain=domain, key=private)),
            await self._milter(home, "opendmarc", _OPENDMARC.format(domain=domain, home=home)),
        ]
        more = _POSTFIX.format(
            domain=domain,
            ip=ip,
            sink=sink.port,
            beyond=beyond.ip,
            port=self.port,
            milters=", ".join(f"inet:127.0.0.1:{port}" for port in ports),
        )
        mx = f"{ip}:{self.port} inet n - n - - smtpd\n"
        postfix = await Postfix.start(self.case, sink.port, more, mx)
        return Theirs(domain, ip, postfix, sink)

    async def _milter(self, home: Path, name: str, settings: str) -> int:
        """Start a milter; it knows of DNS what is published now."""
        port, conf = free_port(), home / f"{name}.conf"
        records = home / f"{name}.records"
        records.write_text("".join(self._texts()))
        lines = f"Socket inet:{port}@127.0.0.1\n{_DNS[name]} {records}\n"
        conf.write_text(settings + lines)
        option = "-c" if name == "opendmarc" else "-x"
        command = [installed(name), "-f", option, str(conf)]
        await self.case.daemon(port, home, *command, is_ready=_listens)
        return port

    def _texts(self) -> Iterator[str]:
        for name, values in self.zone.items():
            for value in values.get("TXT", ()):
                yield f"{name} {''.join(value.split(chr(34))[1::2])}\n"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


_DNS = {"opendkim": "TestPublicKeys", "opendmarc": "TestDNSData"}
_OPENDKIM = """\
Syslog no
Mode sv
Domain {domain}
Selector d1
KeyFile {key}
RequireSafeKeys no
Canonicalization relaxed/relaxed
AlwaysAddARHeader yes
AuthservID mx.{domain}
InternalHosts 127.0.0.1
"""
_OPENDMARC = """\
Syslog false
AuthservID mx.{domain}
TrustedAuthservIDs mx.{domain}
RejectFailures true
IgnoreHosts {home}/own
"""
# A setting that is given twice is warned of by every process of Postfix, more than its log takes.
_POSTFIX = """\
smtp_bind_address = {ip}
transport_maps = inline:{{ {{{domain}=smtp:[127.0.0.1]:{sink}}}, {{*=smtp:[{beyond}]:{port}}} }}
relay_domains = {domain}
smtp_tls_policy_maps = inline:{{ {{[127.0.0.1]:{sink}=none}} }}
smtpd_milters = {milters}
milter_default_action = tempfail
"""


@frozen
class Ours:
    """One of ours."""

    domain: str
    ip: str
    loopback: Loopback
    control: Control
    seen: list[int] = field(factory=list)

    def signs(self) -> bool:
        """Whether the server knows its key."""
        keys = self.loopback.server.directory.dkim_keys.get(self.domain, ())
        return any(key.state is KeyState.ACTIVE for key in keys)

    @property
    def user(self) -> str:
        """The address of its one account."""
        return f"user@{self.domain}"

    async def alias(self, localpart: str, member: str, **details: Any) -> str:
        """An alias for somebody elsewhere, open to everybody."""
        address = f"{localpart}@{self.domain}"
        await self.control.aliases.add(address, [member], AliasDetails(post_public=True, **details))
        wanted = await self.control.aliases.alias(address)
        known = self.loopback.server
        await until(reactor, lambda: wanted in known.directory.aliases.values())
        return address

    async def submit(self, to: str, subject: str) -> None:
        """Its account sends."""
        message = letter(self.user, to, subject)
        port = self.loopback.port("submission")

        def send() -> None:
            with smtplib.SMTP(self.ip, port, timeout=30) as client:
                client.login(self.user, PASSWORD)
                client.send_message(message)

        await deferToThread(send)

    async def reports_after(self, judged: int) -> None:
        """Make tomorrow's reports about so many messages that were judged."""
        table, engine = tables.dmarc_result, self.control.database.engine
        count = select(func.count()).select_from(table)

        def noted() -> bool:
            with engine.connect() as connection:
                return bool(connection.execute(count).scalar_one() == judged)

        await until(reactor, noted)
        with engine.begin() as connection:
            connection.execute(update(table).values(at=table.c.at - DAY))
        making, _ = self.loopback.server.reports.makings
        while not await making.is_any_due():
            await soon()
        await making.run()

    async def told(self) -> Sequence[Source]:
        """What others judged of mail in its name, by where it came from."""
        wanted = ReportQuery(domain=self.domain)
        for _ in range(600):
            summary = await self.control.reports.summary(wanted)
            if summary.sources:
                return sorted(summary.sources, key=lambda one: one.ip)
            await soon(0.1)
        raise AssertionError(f"nobody reports to {self.domain}")

    async def got(self) -> Got:
        """The next message that comes."""
        for _ in range(1200):
            for _, one in await self.control.messages.find(MessageFilter()):
                if one.id not in self.seen:
                    self.seen.append(one.id)
                    content = await self.control.messages.content(one.id)
                    return Got(one.mailbox, content)
            await soon(0.05)
        raise AssertionError(f"nothing came to {self.domain}")


@frozen
class Got:
    """A message where it arrived."""

    mailbox: str
    content: bytes = field(repr=False)

    def results(self, authserv_id: str) -> str:
        """The Authentication-Results field with that name, on one line."""
        message = message_from_bytes(self.content, policy=policy.default)
        found = [str(one) for one in message.get_all("Authentication-Results", [])]
        [mine] = [one for one in found if one.partition(";")[0].strip() == authserv_id]
        return " ".join(mine.split())


@frozen
class Theirs:
    """Debian's Postfix, and where what came in goes on to."""

    domain: str
    ip: str
    postfix: Postfix
    sink: ScriptedServer

    @property
    def user(self) -> str:
        """Somebody who is served there."""
        return f"user@{self.domain}"

    async def submit(self, to: str, subject: str) -> None:
        """Somebody on its host sends."""
        message = letter(self.user, to, subject)

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", self.postfix.port, timeout=30) as client:
                client.send_message(message)

        await deferToThread(send)

    async def got(self, count: int = 1) -> Got:
        """The newest of what came to it."""
        await until(reactor, lambda: len(self.sink.contents) >= count)
        return Got("", self.sink.contents[count - 1])


def letter(sender: str, to: str, subject: str) -> EmailMessage:
    """A message of some kilobytes."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = "Sun, 22 Nov 2026 00:00:00 +0000"
    message["Message-ID"] = f"<{subject.replace(' ', '.')}@{sender.partition('@')[2]}>"
    message.set_content("Hello,\n\n.a line that begins with a dot\n" + "words " * 10 + "\n")
    return message
