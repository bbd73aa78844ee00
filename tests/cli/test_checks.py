"""What check-config says of listeners."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.cli.checks import is_reachable
from tests.cli.operated import run

CONFIG = """
hostname = "mx.example.org"
data_dir = "data"
allow_root = true
[[listener]]
role = "http"
endpoint = "{endpoint}"
webapi = true
"""


class ReachableTests(SynchronousTestCase):
    """is_reachable, and what is said for it."""

    def test_endpoints(self) -> None:
        """Loopback and private networks are not; without an interface it is all of them."""
        table = {
            "tcp:8080": True,
            "tcp6:8080": True,
            "tcp:8080:interface=0.0.0.0": True,
            "tcp6:8080:interface=\\:\\:": True,
            "tcp:8080:interface=192.175.48.1": True,
            "tcp:8080:interface=mx.example.org": True,
            "tcp:8080:interface=127.0.0.1": False,
            "tcp:interface=127.0.0.1:port=8080": False,
            "tcp:8080:interface=10.0.0.1": False,
            "tcp6:8080:interface=\\:\\:1": False,
            "unix:/run/mailrelay.sock": False,
        }
        self.assertEqual({one: is_reachable(one) for one in table}, table)

    def test_webapi_in_clear(self) -> None:
        """The webapi without TLS is remarked where others can reach it."""
        for endpoint, is_told in (("tcp:8080", True), ("tcp:8080:interface=127.0.0.1", False)):
            file = Path(self.mktemp())
            file.write_text(CONFIG.format(endpoint=endpoint))
            said = run(self, "check-config", str(file)).stdout
            self.assertEqual("listener[1].webapi" in said, is_told, said)

    def test_relay_hosts(self) -> None:
        """What a file of relay hosts hardly means is remarked; what it cannot mean is a problem."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        file = folder / "mailrelay.toml"
        file.write_text(CONFIG.format(endpoint="tcp:8080") + '[relaying]\ndir = "."\n')
        relay_map = folder / "postfix-relaymap.cf"
        relay_map.write_text("a.test [b.example]\n")
        self.assertIn("a.test fits no sender", run(self, "check-config", str(file)).stdout)
        relay_map.write_text("@a.test [b.example\n")
        said = run(self, "check-config", str(file), code=78).output
        self.assertIn("postfix-relaymap.cf, line 1", said)
