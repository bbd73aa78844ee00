"""A server whose address is on a list that it watches."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.config.settings import DNSSection
from mailrelay.policy.blocklists import DNSBLSettings
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.loopback import Loopback
from tests.cli.operated import CONFIG, run, soon


class ListedTests(TestCase):
    """From DNS to the command and the metric."""

    timeout = 60

    async def test_listed(self) -> None:
        """Asked at the start; its operator and the metrics are told."""
        listed = ["127.0.0.4"]
        resolver = FakeResolver(
            hosts={"2.0.0.127.list.test": ["127.0.0.2"], "25.2.0.192.list.test": listed}
        )
        server = await Loopback.start(
            self,
            reactor,
            roles=("mx", "http"),
            resolver=resolver,
            dns=DNSSection(addresses=("192.0.2.25",)),
            dnsbl=DNSBLSettings(watched=("list.test",)),
        )
        config = server.settings.data_dir / "mailrelay.toml"
        config.write_text(CONFIG)
        found: Any = ""
        while "127.0.0.4" not in found:
            await soon(reactor)
            found = run(self, "dns", "listed", "--config", str(config)).stdout
        self.assertIn("192.0.2.25", found)
        await soon(reactor)
        self.assertIn(b"mailrelay_dnsbl_listed 1.0", server.server.metrics.text())
