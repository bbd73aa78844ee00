"""mailrelay itself, as an operator runs it."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from bench.load import LIVE_DOMAIN
from bench.servers.base import Server

CONFIGURATION = """\
hostname = "bench.test"
data_dir = "{home}/data"
trusted_networks = ["127.0.0.0/8", "::1/128"]
allow_root = true

[[listener]]
role = "mx"
endpoint = "tcp:{port}:backlog=1000:interface=127.0.0.1"

[storage]
url = "sqlite:///mailrelay.db"

[limits]
connections_per_address = 5000

[log]
mail_log = "{home}/mail.log"

[queue]
concurrency_per_destination = 50
recipients_per_attempt = 1000
{retention}{delivery}"""

DISCARD = '\n[[route]]\ndomain = "*"\ndiscard = true\n'
HOST = 'host = "127.0.0.1"\nport = {port}\ntls = "none"\n'
RELAY = "\n[relay_host]\n" + HOST
SECURE_RELAY = """
[relay_host]
host = "127.0.0.1"
port = {port}
tls = "encrypt"
username = "{login[0]}"
password = "{login[1]}"
"""
LIVE = '\n[[route]]\ndomain = "{domain}"\n[route.relay_host]\n' + HOST

RETIRED = "SELECT count(*) FROM entry WHERE state = 2"
QUEUED = f"SELECT (SELECT count(*) FROM entry) - ({RETIRED})"


class Ours(Server):
    """One process under twistd, SQLite, everything at its default but the limits."""

    name = "ours"

    def _configuration(self) -> str:
        job = self.job
        relay = RELAY if job.relay_login is None else SECURE_RELAY
        delivery = DISCARD
        if job.relay_port is not None:
            delivery = relay.format(port=job.relay_port, login=job.relay_login)
        if job.live_port is not None:
            delivery += LIVE.format(domain=LIVE_DOMAIN, port=job.live_port)
        kept = f"retired_keep_after = {job.retention_seconds}\n" if job.retention_seconds else ""
        return CONFIGURATION.format(
            home=self.home, port=self.port, retention=kept, delivery=delivery
        )

    def prepare(self) -> None:
        """Writes mailrelay.toml."""
        (self.home / "data").mkdir()
        (self.home / "mailrelay.toml").write_text(self._configuration())

    def command(self) -> list[str]:
        """The twistd plugin in the foreground."""
        twistd = str(Path(sys.executable).with_name("twistd"))
        configuration = str(self.home / "mailrelay.toml")
        return [twistd, "-n", "--pidfile=", "mailrelay", "--config", configuration]

    def settings(self) -> str:
        """The interpreter, and the whole configuration."""
        python = f"# {sys.executable}: Python {sys.version}; SQLite {sqlite3.sqlite_version}\n"
        return (
            python
            + self._configuration().strip()
            + "\n(in scenarios without a relay host)"
            + DISCARD
        )

    def accepted(self) -> int:
        """Retired entries: all were discarded."""
        return self._count(RETIRED)

    def queued(self) -> int:
        """Entries that are not retired."""
        return self._count(QUEUED)

    def _count(self, query: str) -> int:
        path = f"file:{self.home}/data/mailrelay.db?mode=ro"
        with closing(sqlite3.connect(path, uri=True)) as database:
            return int(database.execute(query).fetchone()[0])
