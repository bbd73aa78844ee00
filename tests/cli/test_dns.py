"""``mailrelay dns``: of a store, and with a name server on loopback."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import dns.zone
from twisted.internet import reactor as installed_reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

import mailrelay
from mailrelay.testing.dns_server import DNSServer
from mailrelay.testing.zones import records_of_zone
from tests.cli.operated import run

reactor: Any = installed_reactor

CONFIG = """\
hostname = "mail.example.org"
data_dir = "{directory}"
allow_root = true
[[listener]]
role = "mx"
endpoint = "tcp:25"
[[listener]]
role = "submissions"
endpoint = "tcp:465"
[tls]
certificate = "none.pem"
private_key = "none.pem"
[dns]
addresses = ["192.0.2.25", "2001:db8::25"]
nameservers = ["127.0.0.1:{port}"]
"""


class DNSTests(TestCase):
    """Each command, of one domain."""

    timeout = 120

    async def test_published_and_checked(self) -> None:
        """What ``records`` prints is a zone; served as it is, ``check`` finds all well."""
        server = await DNSServer({}).start(self, reactor)
        config = self.config(server.port)
        for words in (
            ("domain", "add", "example.org"),
            ("dkim", "add", "example.org"),
            ("domain", "set", "example.org", "--dmarc", "reject"),
        ):
            run(self, *words, "--config", str(config))
        empty = await self.command("dns", "check", "example.org", config=config, code=1)
        self.assertIn("publish  example.org. 3600 IN MX 10 mail.example.org.", empty)
        zone = run(self, "dns", "records", "example.org", "--zone", "--config", str(config)).stdout
        self.assertIn("p=reject", zone)
        dns.zone.from_text(zone, "example.org.", check_origin=False)
        pointers = [line[2:] for line in zone.splitlines() if " IN PTR " in line]
        server.records = records_of_zone("\n".join([zone, *pointers]))
        well = json.loads(
            await self.command("dns", "check", "example.org", "--json", config=config)
        )
        self.assertTrue(well["green"])
        self.assertEqual({one["status"] for one in well["findings"]}, {"ok"})
        self.assertEqual(well["addresses_from"], "[dns] addresses")
        table = run(self, "dns", "records", "example.org", "--json", "--config", str(config))
        rows = json.loads(table.stdout)
        self.assertEqual(len(rows), len(records_rows(zone)))
        run(self, "dns", "records", "example.net", "--config", str(config), code=1)

    async def command(self, *words: str, config: Path, code: int = 0) -> str:
        """What a command prints: a process of its own, with its own reactor."""
        root = str(Path(mailrelay.__file__).parent.parent)
        environment = {**os.environ, "PYTHONPATH": root, "COLUMNS": "200"}
        out, errors, ended = await getProcessOutputAndValue(
            sys.executable, ["-c", _RUN, *words, "--config", str(config)], environment
        )
        self.assertEqual(ended, code, (out, errors))
        return str(out.decode())

    def config(self, port: int) -> Path:
        """A server's, which never runs."""
        directory = Path(os.path.abspath(self.mktemp()))
        directory.mkdir()
        file = directory / "mailrelay.toml"
        file.write_text(CONFIG.format(directory=directory, port=port))
        return file


_RUN = "from mailrelay.cli.main import main; main()"


def records_rows(zone: str) -> list[str]:
    """Its lines with records, hints and what is for other zones included."""
    return [line for line in zone.splitlines() if " 3600 IN " in line]
