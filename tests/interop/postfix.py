"""Debian's Postfix from a configuration directory of its own, started by root in the foreground."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from attrs import frozen

from mailrelay.testing.ports import free_port
from tests.interop.programs import InteropTestCase, as_root, installed

MASTER = Path("/usr/lib/postfix/sbin/master")

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log/mail.log
maillog_file_prefixes = {home}
myhostname = postfix.test
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
smtputf8_enable = yes
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_received_header = yes
smtpd_sasl_authenticated_header = yes
smtp_tls_security_level = encrypt
smtp_tls_loglevel = 1
smtp_sasl_security_options = noanonymous
minimal_backoff_time = 2s
queue_run_delay = 2s
relayhost = [127.0.0.1]:{next_port}
{more}
"""

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


@frozen
class Postfix:
    """One that relays everything to ``next_port``; it listens on ``port``."""

    port: int
    home: Path

    @classmethod
    async def start(cls, case: InteropTestCase, next_port: int, more: str = "") -> Postfix:
        """Start it; ``more`` are lines of main.cf.  It stops when the test ends."""
        as_root()
        installed("postfix")
        home, port = case.folder(), free_port()
        certificate, key = case.certificate(home)
        for name in ("config", "queue", "data", "log"):
            (home / name).mkdir()
        shutil.chown(home / "data", "postfix", "postfix")
        config = home / "config"
        (config / "main.cf").write_text(
            MAIN_CF.format(
                home=home, certificate=certificate, key=key, next_port=next_port, more=more
            )
        )
        (config / "master.cf").write_text(MASTER_CF.format(port=port))
        subprocess.run(
            [installed("postfix"), "-c", str(config), "check"], check=True, capture_output=True
        )
        await case.daemon(port, home, str(MASTER), "-c", str(config), "-d")
        return cls(port, home)

    @property
    def log(self) -> str:
        """What it wrote in its log so far."""
        path = self.home / "log/mail.log"
        return path.read_text(errors="replace") if path.exists() else ""
