"""Debian's Postfix, run from a configuration directory of its own."""

import shutil
import subprocess
from pathlib import Path

from bench.load import LIVE_DOMAIN
from bench.servers.base import Server, count_files, count_in_file

MASTER = Path("/usr/lib/postfix/sbin/master")

MAIN_CF = """\
compatibility_level = 3.7
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log/mail.log
maillog_file_prefixes = {home}
import_environment = MAIL_CONFIG MAIL_DEBUG TZ LANG=C LD_PRELOAD SLOW_FSYNC_US
myhostname = bench.test
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
disable_dns_lookups = yes
smtp_dns_support_level = disabled
smtp_host_lookup = native
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

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


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
        return MAIN_CF.format(home=self.home, processes=processes, delivery=delivery)

    def prepare(self) -> None:
        """Writes main.cf and master.cf and lets Postfix make its directories."""
        config = self.home / "config"
        for folder in ("config", "queue", "data", "log"):
            (self.home / folder).mkdir()
        shutil.chown(self.home / "data", "postfix", "postfix")
        (config / "main.cf").write_text(self._main_cf())
        (config / "master.cf").write_text(MASTER_CF.format(port=self.port))
        check = ["postfix", "-c", str(config), "check"]
        subprocess.run(check, check=True, capture_output=True)

    def command(self) -> list[str]:
        """The master daemon, not detached."""
        return [str(MASTER), "-c", str(self.home / "config"), "-d"]

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
