"""What is wrong with ``[reports]`` is said, with its line."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.config.load import BadConfiguration, parse_settings
from mailrelay.config.settings import Settings
from mailrelay.reporting.settings import ReportSettings

BASE = """\
hostname = "mx.example.org"
data_dir = "."
[[listener]]
role = "mx"
endpoint = "tcp:25"
[reports]
"""


def parsed(text: str, **environment: str) -> Settings:
    """The settings with ``text`` in the section."""
    return parse_settings(BASE + text, environment, file="mailrelay.toml", base=Path("/base"))


class ReportSectionTests(SynchronousTestCase):
    """Each setting."""

    def test_right(self) -> None:
        """By default all is on; names are given in several forms."""
        self.assertEqual(parsed("").reports, ReportSettings())
        text = 'domain = "example.org"\nsuppress = ["a.example"]\nreceive_at = ["d", "t@b.example"]'
        self.assertEqual(parsed(text).reports.receive_at, ("d", "t@b.example"))
        self.assertFalse(parsed("", MAILRELAY_REPORTS_SEND_TLS="false").reports.send_tls)

    def test_wrong(self) -> None:
        """Place, and what to do."""
        for text, told in (
            ('domain = "EXAMPLE.org"', "line 7: reports.domain: write it as example.org"),
            ('domain = "no domain"', "reports.domain: 'no domain' is not a domain"),
            ('suppress = ["a.example", "b b"]', "reports.suppress[2]: 'b b' is not a domain"),
            ('organization = "a\\nb"', "reports.organization: must be one line"),
            (f'contact = "{"x" * 300}"', "reports.contact: must be one line"),
            ('receive_at = ["a b"]', "reports.receive_at[1]: 'a b' is no localpart"),
            ("keep_after = 0", "reports.keep_after: must be more than 0"),
            ("most = 0", "reports.most: must be at least 1"),
        ):
            error = self.assertRaises(BadConfiguration, parsed, text)
            self.assertIn(told, str(error))
