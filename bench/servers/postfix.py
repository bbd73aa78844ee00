"""Debian's Postfix, run from a configuration directory of its own."""

from bench.load import LIVE_DOMAIN
from bench.servers.base import Server, count_files, count_in_file
from mailrelay.testing.mail_servers import MASTER, postfix_main_cf, prepare_postfix

MAIN_CF = """\
import_environment = MAIL_CONFIG MAIL_DEBUG TZ LANG=C LD_PRELOAD SLOW_FSYNC_US
myhostname = bench.test
in_flow_delay = 0s
default_process_limit = {processes}
initial_destination_concurrency = 20
default_destination_concurrency_limit = 50
message_size_limit = 67108864
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtpd_client_connection_count_limit = 0
{delivery}
"""

DISCARD = "default_transport = discard:\nrelay_transport = discard:\n"
RELAY = """\
relayhost = [127.0.0.1]:{port}
smtp_connection_cache_destinations = [127.0.0.1]:{port}
"""
LIVE = "transport_maps = inline:{{{domain}=smtp:[127.0.0.1]:{port}}}\n"


class Postfix(Server):
    """Runs master in the foreground; logging is on, through postlogd."""

    name = "postfix"

    @classmethod
    def missing(cls) -> str:
        """Needs the Debian package."""
        return "" if MASTER.exists() else "the package postfix is not installed"

    def _main_cf(self) -> str:
        job = self.job
        delivery = DISCARD if job.relay_port is None else RELAY.format(port=job.relay_port)
        if job.live_port is not None:
            delivery += LIVE.format(domain=LIVE_DOMAIN, port=job.live_port)
        processes = job.connections + 200 if job.connections > 100 else 100
        return postfix_main_cf(self.home, MAIN_CF.format(processes=processes, delivery=delivery))

    def prepare(self) -> None:
        """Writes main.cf and master.cf and lets Postfix make its directories."""
        self._command = prepare_postfix(self.home, self.port, self._main_cf())

    def command(self) -> list[str]:
        """The master daemon, not detached."""
        return self._command

    def settings(self) -> str:
        """The whole of main.cf."""
        return self._main_cf().strip() + "\n(in scenarios without a relay host) " + DISCARD.strip()

    def accepted(self) -> int:
        """Deliveries to the discard transport in the log."""
        return count_in_file(self.home / "log" / "mail.log", b" status=sent ")

    def queued(self) -> int:
        """Queue files that are not finished."""
        queue = self.home / "queue"
        return count_files(*(queue / name for name in ("incoming", "active", "deferred")))
