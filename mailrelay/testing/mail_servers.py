"""Debian's Postfix and Exim, each run in the foreground from a directory of its own.

What they do with mail, their callers say: the tests and the benchmarks.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

MASTER = Path("/usr/lib/postfix/sbin/master")
"""Postfix is installed where this exists."""

POSTFIX_SETTINGS = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log/mail.log
maillog_file_prefixes = {home}
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
"""

_MASTER_CF = """\
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

EXIM_USER = "Debian-exim"

EXIM_SETTINGS = """\
exim_user = {user}
exim_group = {user}
deliver_drop_privilege
spool_directory = {home}/spool
log_file_path = {home}/log/%slog
pid_file_path = {home}/exim.pid
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_hosts =
never_users =
"""


def postfix_main_cf(home: Path, more: str) -> str:
    """The settings that keep Postfix within ``home`` and away from DNS, and ``more``."""
    return POSTFIX_SETTINGS.format(home=home) + more


def prepare_postfix(home: Path, port: int, main_cf: str, services: str = "") -> list[str]:
    """Make the directories and files in ``home``; the command, for root, of one on ``port``.

    ``services`` are more lines of master.cf.
    """
    config = home / "config"
    for name in ("config", "queue", "data", "log"):
        (home / name).mkdir()
    shutil.chown(home / "data", "postfix", "postfix")
    (config / "main.cf").write_text(main_cf)
    (config / "master.cf").write_text(_MASTER_CF.format(port=port) + services)
    check = ["/usr/sbin/postfix", "-c", str(config), "check"]
    subprocess.run(check, check=True, capture_output=True)
    return [str(MASTER), "-c", str(config), "-d"]


def exim_settings(home: Path, port: int, more: str, tls_port: int | None = None) -> str:
    """The configuration that keeps Exim within ``home``, and ``more``, which has the rest.

    On ``tls_port`` it speaks TLS from the first byte.
    """
    ports = f"{port}" if tls_port is None else f"{port} : {tls_port}"
    implicit = f"tls_on_connect_ports = {tls_port}\n" if tls_port is not None else ""
    return EXIM_SETTINGS.format(home=home, user=EXIM_USER, port=ports) + implicit + more


def prepare_exim(home: Path, binary: Path, configuration: str) -> list[str]:
    """Make the directories and the file in ``home``; the command, for root."""
    for name in ("spool", "log"):
        (home / name).mkdir()
        shutil.chown(home / name, EXIM_USER, EXIM_USER)
    (home / "exim.conf").write_text(configuration)
    identity = ["setpriv", f"--reuid={EXIM_USER}", f"--regid={EXIM_USER}", "--clear-groups"]
    return [*identity, str(binary), "-C", str(home / "exim.conf"), "-bdf"]
