"""DANE with a real unbound, over a zone that we signed, and servers with all kinds of TLS."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.zone
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from dns.dnssectypes import Algorithm
from twisted.internet import reactor as installed_reactor

from mailrelay.net.dnssec import TLSA, DNSSECResolver
from mailrelay.net.resolver import LookupFailed
from mailrelay.net.threads import ThreadExecutor
from mailrelay.outbound.tls_policy import TLSPolicies
from mailrelay.testing.ports import free_port
from mailrelay.testing.scripted_server import Manners, ScriptedServer, polite
from tests.integration.world import soon
from tests.outbound.delivery import OutboundTestCase, mx_job, short
from tests.outbound.test_tls_policy import (
    AUTHORITY,
    EXPIRED_CERTIFICATE,
    LATER,
    RIGHT_CERTIFICATE,
    STATES,
    STRANGE_CERTIFICATE,
    of,
    shown,
)

reactor: Any = installed_reactor
ZONE, PLAIN = "signed.test", "plain.test"
HOST = f"mx.{ZONE}"
RECORDS = """\
@ 60 IN SOA ns hostmaster 1 60 60 60 60
@ 60 IN NS ns
ns 60 IN A 127.0.0.1
@ 60 IN MX 10 mx
mx 60 IN A 127.0.0.1
bogus 60 IN MX 10 mx
alias 60 IN MX 10 other
other 60 IN CNAME mx
elsewhere 60 IN MX 10 mx.plain.test.
"""
UNBOUND = """\
server:
  directory: "{folder}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: "unbound.log"
  interface: 127.0.0.1@{port}
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  module-config: "validator iterator"
  local-zone: "test." nodefault
  trust-anchor: "{anchor}"
auth-zone:
  name: "signed.test"
  zonefile: "signed.zone"
  for-downstream: no
  for-upstream: yes
auth-zone:
  name: "plain.test"
  zonefile: "plain.zone"
  for-downstream: no
  for-upstream: yes
remote-control:
  control-enable: no
"""


@frozen
class Case:
    """A server in some state, what its TLSA records say, and what comes of a message to it."""

    manners: Manners
    records: Sequence[TLSA]
    expected: str
    domain: str = ZONE
    tampered: bool = False  # the records, after they were signed
    fields: Sequence[tuple[str, Any]] = ()


OF_ZONE, _ = shown(AUTHORITY, HOST)
RIGHT, STRANGE, EXPIRED = of(RIGHT_CERTIFICATE), of(STRANGE_CERTIFICATE), of(EXPIRED_CERTIFICATE)
ANCHOR = TLSA(2, 0, 0, AUTHORITY.certificate.public_bytes(Encoding.DER))
UNUSABLE = of(STRANGE_CERTIFICATE, 1)
NO_TLS = STATES["no STARTTLS"]
CASES = {
    "right key": Case(STATES["right"], [STRANGE, RIGHT], "TLS"),
    "expired, but its key": Case(STATES["expired"], [EXPIRED], "TLS"),
    "stranger, but its key": Case(STATES["strange"], [STRANGE], "TLS"),
    "wrong key": Case(STATES["right"], [STRANGE], LATER),
    "no TLS": Case(NO_TLS, [RIGHT], LATER),
    "TLS refused": Case(STATES["refused"], [RIGHT], LATER),
    "downgraded": Case(STATES["broken"], [RIGHT], LATER),
    "anchor, right name": Case(Manners(tls=OF_ZONE), [ANCHOR], "TLS"),
    "anchor, other name": Case(STATES["other name"], [ANCHOR], LATER),
    "anchor, expired": Case(STATES["expired"], [ANCHOR], LATER),
    "anchor, stranger": Case(STATES["strange"], [ANCHOR], LATER),
    "unusable": Case(STATES["expired"], [UNUSABLE], "TLS"),
    "unusable, no TLS": Case(NO_TLS, [UNUSABLE], LATER),
    "no records": Case(NO_TLS, [], "plain"),
    "bogus records": Case(STATES["right"], [RIGHT], LATER, tampered=True),
    "bogus records, no TLS": Case(NO_TLS, [RIGHT], LATER, tampered=True),
    "bogus MX": Case(STATES["right"], [RIGHT], "deferral 451 4.4.3", f"bogus.{ZONE}"),
    "alias": Case(STATES["right"], [RIGHT], "TLS", f"alias.{ZONE}"),
    "alias, wrong key": Case(STATES["right"], [STRANGE], LATER, f"alias.{ZONE}"),
    "unsigned": Case(NO_TLS, [RIGHT], "plain", PLAIN),
    "host in an unsigned zone": Case(NO_TLS, [RIGHT], "plain", f"elsewhere.{ZONE}"),
    "REQUIRETLS": Case(
        Manners(extensions_in_tls=[b"REQUIRETLS"], tls=OF_ZONE),
        [],
        "TLS",
        fields=[("require_tls", True)],
    ),
    "REQUIRETLS, unsigned": Case(
        Manners(extensions_in_tls=[b"REQUIRETLS"], tls=OF_ZONE),
        [],
        "failure 550 5.7.30",
        PLAIN,
        fields=[("require_tls", True)],
    ),
}


def signed(text: str, tampered: Sequence[str]) -> tuple[str, str]:
    """The zone, and its trust anchor; records of ``tampered`` names are not what was signed."""
    zone = dns.zone.from_text(text, dns.name.from_text(ZONE))
    key = ec.generate_private_key(ec.SECP256R1())
    public = dns.dnssec.make_dnskey(key.public_key(), Algorithm.ECDSAP256SHA256, 257)
    with zone.writer() as writer:
        dns.dnssec.sign_zone(zone, writer, keys=[(key, public)], lifetime=3600, dnskey_ttl=60)
    for name in tampered:
        node = zone.get_node(name)
        assert node is not None
        for rdataset in node.rdatasets:
            if rdataset.rdtype in (dns.rdatatype.TLSA, dns.rdatatype.MX):
                other = "3 1 1 " + "00" * 32
                if rdataset.rdtype == dns.rdatatype.MX:
                    other = "5 ns"
                rdata = dns.rdata.from_text(dns.rdataclass.IN, rdataset.rdtype, other, zone.origin)
                rdataset.items = {rdata: None}
    anchor = f"{ZONE}. DNSKEY {public.to_text()}"
    return str(zone.to_text(relativize=False)), anchor


class DANETests(OutboundTestCase):
    """The whole way: MX, address and TLSA records, AD bits, handshakes."""

    timeout = 120
    trust_root = AUTHORITY.trust_root

    async def resolver(self, text: str, plain: str, tampered: Sequence[str]) -> DNSSECResolver:
        """What asks an unbound that serves and validates these zones."""
        folder = Path(os.path.abspath(self.mktemp()))
        folder.mkdir()
        zone, anchor = signed(text, tampered)
        port = free_port()
        (folder / "signed.zone").write_text(zone)
        (folder / "plain.zone").write_text(f"$ORIGIN {PLAIN}.\n{plain}")
        configuration = folder / "unbound.conf"
        configuration.write_text(UNBOUND.format(folder=folder, port=port, anchor=anchor))
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                ["unbound", "-d", "-c", str(configuration)], stdout=output, stderr=output
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        executor = ThreadExecutor(reactor, 4, "lookups")
        self.addCleanup(executor.stop)
        for _ in range(300):
            resolver = DNSSECResolver(executor, [f"127.0.0.1:{port}"], 2.0)
            try:
                found = await resolver.mx(ZONE)
            except LookupFailed:
                self.assertIsNone(process.poll(), (folder / "output").read_text())
                await soon(reactor, 0.1)
                continue
            self.assertTrue(found.is_secure, (folder / "unbound.log").read_text())
            return resolver
        raise AssertionError((folder / "unbound.log").read_text())

    async def test_matrix(self) -> None:
        """Every case: delivered in TLS or in clear, put off, returned; the history says why."""
        text, plain = RECORDS, RECORDS
        servers, tampered = {}, ["bogus"]
        for name, case in CASES.items():
            server = await ScriptedServer.start(self, reactor, polite(case.manners))
            servers[name] = server
            owner = f"_{server.port}._tcp.mx"
            for record in case.records:
                text += f"{owner} 60 IN TLSA {record}\n"
                plain += f"{owner} 60 IN TLSA {record}\n"
            if case.tampered:
                tampered.append(owner)
        resolver = await self.resolver(text, plain, tampered)
        self.policies = TLSPolicies(dane=resolver)
        for name, case in CASES.items():
            with self.subTest(name):
                server = servers[name]
                transport = self.transport(mx_port=server.port)
                result = await transport.attempt(mx_job(case.domain, **dict(case.fields)))
                if server.contents:
                    how = "TLS" if result.attempt.tls else "plain"
                else:
                    how = short(result.outcomes[0])
                    seen = {line[:8] for line in server.lines}
                    self.assertLessEqual(seen, {b"EHLO us.", b"STARTTLS"})
                self.assertEqual(how, case.expected, result.attempt)
                is_dane = case.records and case.domain in (ZONE, f"alias.{ZONE}")
                self.assertEqual(result.attempt.tls_policy == "dane", bool(is_dane))
        self.flushLoggedErrors()
