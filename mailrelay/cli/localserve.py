"""``mailrelay localserve``: a whole server on a laptop, no configuration, nothing leaves it."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import which

import click
from attrs import frozen

from mailrelay.certificates.settings import TLSSection
from mailrelay.cli.durations import DURATION
from mailrelay.cli.target import opened, settled
from mailrelay.config.settings import (
    ListenerSection,
    LogSection,
    QueueSection,
    Settings,
    StorageSection,
)
from mailrelay.control.bootstrap import FirstAccount, bootstrap
from mailrelay.net.certificates import make_self_signed
from mailrelay.policy.limits import Limits
from mailrelay.web.settings import HTTPSettings
from mailrelay.webhooks.settings import WebhookSettings

ADDRESS = "mailrelay@localhost"
PASSWORD = "mailrelay"
ADMIN_PASSWORD = "mailrelayadmin"
DEFAULT_DIR = "mailrelay-localserve"
KEPT_FOR = 72 * 3600.0  # seconds, of retired messages and calls
CERTIFICATE, PRIVATE_KEY = "localserve.pem", "localserve-key.pem"


@frozen
class Ports:
    """Where localserve listens."""

    smtp: int = 1025
    submission: int = 1587
    submissions: int = 1465
    http: int = 1080
    https: int = 1443


def local_settings(
    data_dir: Path, ips: Sequence[str], ports: Ports, retry_after: float | None = None
) -> Settings:
    """The settings of a localserve in ``data_dir``; the CLI's ``--dir`` reads the same store."""
    roles = {
        "mx": ports.smtp,
        "submission": ports.submission,
        "submissions": ports.submissions,
        "http": ports.http,
        "https": ports.https,
    }
    listeners = [
        ListenerSection(
            role,
            endpoint(ip, port),
            auth_without_tls=True,
            monitoring=True,
            webapi=True,
            pages=True,
        )
        for role, port in roles.items()
        for ip in ips
    ]
    return Settings(
        "localhost",
        data_dir,
        listener=listeners,
        webhooks=WebhookSettings(allowed_networks=("127.0.0.0/8", "::1/128")),
        tls=TLSSection(str(data_dir / CERTIFICATE), str(data_dir / PRIVATE_KEY)),
        storage=StorageSection(min_free_bytes=16 * 1024 * 1024),
        queue=QueueSection(first_retry_after=retry_after),
        limits=Limits(connections_per_address=10_000),
        http=HTTPSettings(
            public_url=f"http://{_in_url(ips[0])}:{ports.http}",
            connections_per_address=2000,
            requests_per_minute=0,
            requests_per_hour=0,
        ),
        log=LogSection(mail_log="-"),
        allow_root=True,
        localserve=True,
    )


def _in_url(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


def endpoint(ip: str, port: int) -> str:
    """The endpoint string for an address and a port."""
    kind = "tcp6" if ":" in ip else "tcp"
    escaped = ip.replace(":", "\\:")
    return f"{kind}:{port}:interface={escaped}"


def prepare(settings: Settings, password: str | None, admin_password: str | None) -> None:
    """Make directory, certificate and account at the first start; change passwords if asked."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, key = (settings.data_dir / name for name in (CERTIFICATE, PRIVATE_KEY))
    if not certificate.exists() or not key.exists():
        make_self_signed(certificate, key, ["localhost", "127.0.0.1", "::1"], time.time())
    first = FirstAccount(
        "mailrelay",
        "localhost",
        "mailrelay",
        PASSWORD,
        ADMIN_PASSWORD,
        everything=True,
        kept_for=KEPT_FOR,
    )
    with opened(settings) as control:
        settled(bootstrap(control.directory, first, password, admin_password))


def default_ips() -> list[str]:
    """Loopback addresses that this machine has."""
    ips = ["127.0.0.1"]
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
        ips.append("::1")
    except OSError:
        pass  # a machine without IPv6
    return ips


@click.command()
@click.option("--dir", "data_dir", default=DEFAULT_DIR, type=click.Path(path_type=Path))
@click.option("--ip", "ips", multiple=True, help="Address to listen on; 127.0.0.1 and ::1.")
@click.option("--smtp-port", default=Ports().smtp, show_default=True)
@click.option("--submission-port", default=Ports().submission, show_default=True)
@click.option("--submissions-port", default=Ports().submissions, show_default=True)
@click.option("--http-port", default=Ports().http, show_default=True)
@click.option("--https-port", default=Ports().https, show_default=True)
@click.option("--password", help=f"Password of {ADDRESS} from now on; {PASSWORD} at first.")
@click.option("--admin-password", help=f"Admin password; {ADMIN_PASSWORD} at first.")
@click.option("--retry-after", type=DURATION, help="Wait before the first retry, such as 5s.")
def localserve(
    data_dir: Path,
    ips: tuple[str, ...],
    smtp_port: int,
    submission_port: int,
    submissions_port: int,
    http_port: int,
    https_port: int,
    password: str | None,
    admin_password: str | None,
    retry_after: float | None,
) -> None:
    """Run a mail server for development.

    It takes mail for any recipient, delivers it locally and sends nothing out.
    """
    ports = Ports(smtp_port, submission_port, submissions_port, http_port, https_port)
    settings = local_settings(data_dir.absolute(), ips or default_ips(), ports, retry_after)
    prepare(settings, password, admin_password)

    from mailrelay.cli.run import run_server

    run_server(settings, lambda: click.echo(banner(settings, ports, password)))


def banner(settings: Settings, ports: Ports, password: str | None) -> str:
    """What is printed once the server listens."""
    shown = password or PASSWORD
    where = settings.data_dir
    command = "mailrelay" if which("mailrelay") else Path(sys.argv[0])
    host = "127.0.0.1"
    return f"""\
mailrelay localserve is running on {host}.

  SMTP          {ports.smtp}   any recipient, no login
  submission    {ports.submission}   STARTTLS, login
  submissions   {ports.submissions}   TLS, login
  HTTP, HTTPS   {ports.http}, {ports.https}
  login         {ADDRESS}, password {shown}
  admin         password {ADMIN_PASSWORD} unless changed
  data          {where}

See what arrives: http://{host}:{ports.http}/

Try:

  swaks --server {host}:{ports.submission} --tls --auth-user {ADDRESS} --auth-password {shown} \
--from {ADDRESS} --to you@example.org
  printf 'Subject: hello\\r\\n\\r\\nhi\\r\\n' | curl -sS smtp://{host}:{ports.smtp} \
--mail-from a@example.org --mail-rcpt {ADDRESS} -T -
  curl -sS -u {ADDRESS}:{shown} http://{host}:{ports.http}/webapi/v0/Send \
--data-urlencode 'request={{"To":[{{"Address":"you@example.org"}}],"Text":"hi"}}'
  {command} message list --dir {where}

Recipients such as x-temperror@localhost or x550@localhost simulate failures.
Stop with Ctrl-C.
"""
