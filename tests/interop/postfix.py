"""Debian's Postfix from a configuration directory of its own, started by root in the foreground."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from mailrelay.testing.mail_servers import postfix_main_cf, prepare_postfix
from mailrelay.testing.ports import free_port
from tests.interop.programs import InteropTestCase, as_root, installed

MAIN_CF = """\
myhostname = postfix.test
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

SUBMISSIONS = "127.0.0.1:{port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"


@frozen
class Postfix:
    """One that relays everything to ``next_port``; it listens on ``port``, and ``tls_port``."""

    port: int
    tls_port: int
    home: Path

    @classmethod
    async def start(
        cls, case: InteropTestCase, next_port: int, more: str = "", services: str = ""
    ) -> Postfix:
        """Start it; ``more`` are lines of main.cf, ``services`` of master.cf.

        It stops when the test ends.
        """
        as_root()
        installed("postfix")
        home, port, tls_port = case.folder(), free_port(), free_port()
        certificate, key = case.certificate(home)
        settings = MAIN_CF.format(certificate=certificate, key=key, next_port=next_port, more=more)
        more_services = SUBMISSIONS.format(port=tls_port) + services
        command = prepare_postfix(home, port, postfix_main_cf(home, settings), more_services)
        await case.daemon(port, home, *command)
        return cls(port, tls_port, home)

    @property
    def log(self) -> str:
        """What it wrote in its log so far."""
        path = self.home / "log/mail.log"
        return path.read_text(errors="replace") if path.exists() else ""
