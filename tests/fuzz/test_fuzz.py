"""Runs every target: 5,000 inputs each, 100,000 when MAILRELAY_TEST_LONG=1.

The inputs are the same each time; MAILRELAY_TEST_SEED starts them elsewhere.
"""

from __future__ import annotations

import os
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.targets import TARGETS

RUNS = 100_000 if os.environ.get("MAILRELAY_TEST_LONG") == "1" else 5_000
FIRST_SEED = int(os.environ.get("MAILRELAY_TEST_SEED", "0"))


class FuzzTests(SynchronousTestCase):
    """Only declared exceptions leave what parses a peer's bytes."""

    def run_target(self, name: str) -> None:
        """Run one target with a Random of its own for each input."""
        target = TARGETS[name]
        for seed in range(FIRST_SEED, FIRST_SEED + RUNS):
            try:
                target(Random(seed))
            except Exception as error:
                self.fail(
                    f"{name} with seed {seed}: {type(error).__name__}: {error!s:.500}\n"
                    f"again: TARGETS[{name!r}](Random({seed}))"
                )

    def test_command_line(self) -> None:
        """Command lines."""
        self.run_target("command_line")

    def test_address(self) -> None:
        """Addresses and paths."""
        self.run_target("address")

    def test_reader(self) -> None:
        """Lines, DATA and BDAT, cut anywhere."""
        self.run_target("reader")

    def test_reply_lines(self) -> None:
        """A peer's replies."""
        self.run_target("reply_lines")

    def test_header(self) -> None:
        """Header sections."""
        self.run_target("header")

    def test_structure(self) -> None:
        """MIME structures."""
        self.run_target("structure")

    def test_received(self) -> None:
        """Received messages as they are told."""
        self.run_target("received")

    def test_report(self) -> None:
        """Reports and header fields of others."""
        self.run_target("report")

    def test_feedback(self) -> None:
        """Feedback reports of others, and the events that they become."""
        self.run_target("feedback")

    def test_dsn(self) -> None:
        """What DSNs are made of."""
        self.run_target("dsn")

    def test_proxy_header(self) -> None:
        """PROXY headers."""
        self.run_target("proxy_header")

    def test_sasl(self) -> None:
        """SASL responses."""
        self.run_target("sasl")

    def test_configuration(self) -> None:
        """Configuration files and variables."""
        self.run_target("configuration")

    def test_every_target_runs(self) -> None:
        """No target is forgotten here."""
        tested = {name.removeprefix("test_") for name in dir(self) if name.startswith("test_")}
        self.assertEqual(tested & set(TARGETS), set(TARGETS))

    def test_http_connection(self) -> None:
        """Requests of HTTP, cut anywhere."""
        self.run_target("http_connection")

    def test_url(self) -> None:
        """URLs to be called."""
        self.run_target("url")

    def test_template(self) -> None:
        """Templates of accounts."""
        self.run_target("template")

    def test_html(self) -> None:
        """HTML that text is made of."""
        self.run_target("html")

    def test_spf(self) -> None:
        """SPF records."""
        self.run_target("spf")

    def test_dmarc(self) -> None:
        """DMARC records."""
        self.run_target("dmarc")

    def test_auth_results(self) -> None:
        """Authentication-Results fields of others."""
        self.run_target("auth_results")

    def test_dkim(self) -> None:
        """DKIM signatures and keys."""
        self.run_target("dkim")

    def test_arc(self) -> None:
        """Chains of seals."""
        self.run_target("arc")

    def test_rspamd(self) -> None:
        """What rspamd answers."""
        self.run_target("rspamd")

    def test_aggregate(self) -> None:
        """Reports of mail."""
        self.run_target("aggregate")

    def test_tls_report(self) -> None:
        """Reports about TLS."""
        self.run_target("tls_report")

    def test_report_mail(self) -> None:
        """Mail that brings either."""
        self.run_target("report_mail")

    def test_rua(self) -> None:
        """Where a record wants reports."""
        self.run_target("rua")

    def test_mta_sts(self) -> None:
        """MTA-STS records and policies."""
        self.run_target("mta_sts")

    def test_tlsa(self) -> None:
        """TLSA records."""
        self.run_target("tlsa")
