"""Debian's Exim, unpacked beside Postfix and run with a configuration of its own."""

from pathlib import Path

from bench.load import LIVE_DOMAIN
from bench.servers.base import Server, cache_directory, count_files, count_in_file
from mailrelay.testing.mail_servers import exim_settings, prepare_exim

CONFIGURATION = """\
primary_hostname = bench.test
split_spool_directory
smtp_accept_max = 0
smtp_accept_max_nonmail = 1000000
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 1000
smtp_accept_max_per_connection = 0
rfc1413_query_timeout = 0s
tls_advertise_hosts =
helo_accept_junk_hosts = *
message_size_limit = 64M
remote_max_parallel = 10
recipients_max = 1000
acl_smtp_rcpt = accept_all
acl_smtp_data = accept_all
domainlist local_domains =
keep_environment = LD_PRELOAD:SLOW_FSYNC_US

begin acl
accept_all:
  accept

begin routers
{routers}
begin transports
relay:
  driver = smtp
  hosts = 127.0.0.1
  port = {relay_port}
  allow_localhost
  connection_max_messages = 500
  max_rcpt = 1000
  hosts_avoid_tls = *
live:
  driver = smtp
  hosts = 127.0.0.1
  port = {live_port}
  allow_localhost
  hosts_avoid_tls = *

begin retry
* * F,2h,15m; G,16h,1h,1.5; F,4d,6h
"""

BLACKHOLE = """\
throw_away:
  driver = redirect
  data = :blackhole:
"""

RELAY = """\
to_live:
  driver = accept
  domains = {domain}
  transport = live
to_relay:
  driver = accept
  transport = relay
"""


class Exim(Server):
    """Runs the daemon in the foreground as its own user, delivering at once."""

    name = "exim"

    @classmethod
    def missing(cls) -> str:
        """Needs what script/bench unpacks."""
        return "" if cls.binary().exists() else "Exim is not unpacked"

    @staticmethod
    def binary() -> Path:
        """The unpacked daemon."""
        return cache_directory() / "exim/usr/sbin/exim4"

    def _configuration(self) -> str:
        job = self.job
        routers = BLACKHOLE if job.relay_port is None else RELAY.format(domain=LIVE_DOMAIN)
        more = CONFIGURATION.format(
            routers=routers, relay_port=job.relay_port or 9, live_port=job.live_port or 9
        )
        return exim_settings(self.home, self.port, more)

    def prepare(self) -> None:
        """Writes the configuration; spool and log belong to Exim's user."""
        self._command = prepare_exim(self.home, self.binary(), self._configuration())

    def command(self) -> list[str]:
        """The daemon in the foreground, without a queue runner."""
        return self._command

    def settings(self) -> str:
        """The whole configuration."""
        return self._configuration().strip()

    def accepted(self) -> int:
        """Messages the log calls completed."""
        return count_in_file(self.home / "log/mainlog", b" Completed\n")

    def queued(self) -> int:
        """Messages that have a header file in the spool."""
        return count_files(self.home / "spool/input", ending="-H")
