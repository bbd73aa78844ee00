"""What DNS should say of a server, from its settings."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.config.settings import DNSSection, ListenerSection, Settings, SMTPOutSection
from mailrelay.control.dns_records import ReportAddresses
from mailrelay.service.clients import client_settings
from mailrelay.service.domain_dns import https_url, mail_host, report_addresses
from mailrelay.web.client_settings import AutoconfigSettings, Place

SETTINGS = Settings(
    "mail.example.org",
    Path("/"),
    listener=[
        ListenerSection("mx", "tcp:25"),
        ListenerSection("submissions", "systemd:domain=INET:index=0"),
        ListenerSection("submission", "tcp6:port=1587:interface=\\:\\:1"),
        ListenerSection("https", "tcp:8443", autoconfig=True),
    ],
    dns=DNSSection(addresses=("192.0.2.1",)),
)


class HostTests(SynchronousTestCase):
    """The server itself."""

    def test_ports(self) -> None:
        """Of the listeners; the usual one where the socket comes from elsewhere."""
        host, _ = mail_host(SETTINGS)
        ports = host.smtp_port, host.submissions_port, host.submission_port, host.autoconfig_port
        self.assertEqual(ports, (25, 465, 1587, 8443))
        self.assertEqual(https_url(SETTINGS), "https://mail.example.org:8443")
        none, _ = mail_host(evolve(SETTINGS, listener=[]))
        self.assertEqual((none.submission_port, none.autoconfig_port), (None, None))

    def test_addresses(self) -> None:
        """Those that are named, else those that mail is sent from, else the routes'."""
        self.assertEqual(mail_host(SETTINGS)[1], "[dns] addresses")
        sending = SMTPOutSection(source_ipv6="2001:db8::1", ehlo_name="out.example.org")
        host, told = mail_host(evolve(SETTINGS, dns=DNSSection(), smtp_out=sending))
        self.assertEqual((host.addresses, told), (("2001:db8::1",), "[smtp_out]"))
        self.assertEqual(host.names, ("mail.example.org", "out.example.org"))
        self.assertIn("routes", mail_host(evolve(SETTINGS, dns=DNSSection()))[1])

    def test_reports(self) -> None:
        """Where they are read."""
        for receive_at, wanted in (
            (("dmarc-reports", "tls-reports"), ("dmarc-reports@d.test", "tls-reports@d.test")),
            (("TLS@x.test", "all"), ("TLS@x.test", "TLS@x.test")),
            (("all",), ("all@d.test", "all@d.test")),
            ((), ("", "")),
        ):
            self.assertEqual(report_addresses("d.test", receive_at), ReportAddresses(*wanted))

    def test_clients(self) -> None:
        """TLS from the first byte comes first; who reads elsewhere is told where."""
        told = client_settings(SETTINGS)
        self.assertEqual([place.port for place in told.outgoing], [465, 1587])
        self.assertIsNone(told.incoming)
        imap = AutoconfigSettings("imap.example.org", 143)
        told = client_settings(evolve(SETTINGS, autoconfig=imap))
        self.assertEqual(told.incoming, Place("imap.example.org", 143, False))
