"""Debian's Exim, unpacked by script/test, with a configuration of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SkipTest

from mailrelay.testing.mail_servers import EXIM_USER, exim_settings, prepare_exim
from mailrelay.testing.ports import free_port
from tests.interop.programs import InteropTestCase, as_root, installed

CONFIGURATION = """\
primary_hostname = exim.test
log_selector = +all
keep_environment =
queue_only = false
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
auth_advertise_hosts = {auth_hosts}
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
chunking_advertise_hosts = *
pipelining_advertise_hosts = *
accept_8bitmime = true
acl_smtp_rcpt = check
acl_smtp_data = take

begin acl
check:
  {check}
take:
  accept

begin routers
next:
  driver = accept
  transport = next

begin transports
next:
  driver = smtp
  hosts = 127.0.0.1
  port = {next_port}
  allow_localhost
  {transport}

begin retry
* * F,1h,2s

begin authenticators
client_or_server:
  driver = plaintext
  public_name = PLAIN
  client_send = ^{username}^{password}
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{relay}}}}{{eq{{$auth3}}{{pass word}}}}}}}}
  server_set_id = $auth2
"""

IN_TLS = "hosts_require_tls = *\n  tls_verify_hosts =\n  tls_try_verify_hosts ="


@frozen
class Exim:
    """One that relays everything to ``next_port``; it listens on ``port``, and ``tls_port``."""

    port: int
    tls_port: int
    home: Path

    @classmethod
    async def start(
        cls,
        case: InteropTestCase,
        next_port: int,
        *,
        transport: str = IN_TLS,
        check: str = "accept",
        login: tuple[str, str] = ("", ""),
        offers_auth: bool = True,
    ) -> Exim:
        """Start it; it stops when the test ends."""
        binary = os.environ.get("MAILRELAY_TEST_EXIM")
        if not binary:
            raise SkipTest("MAILRELAY_TEST_EXIM is not set: run script/test")
        as_root()
        home, port, tls_port = case.folder(), free_port(), free_port()
        certificate, key = case.certificate(home)
        shutil.chown(key, EXIM_USER, EXIM_USER)
        more = CONFIGURATION.format(
            certificate=certificate,
            key=key,
            check=check,
            next_port=next_port,
            transport=transport,
            username=login[0],
            password=login[1],
            auth_hosts="${if def:tls_in_cipher {*}}" if offers_auth else "",
        )
        installed("setpriv")
        command = prepare_exim(home, Path(binary), exim_settings(home, port, more, tls_port))
        await case.daemon(port, home, *command)
        return cls(port, tls_port, home)
