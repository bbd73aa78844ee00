"""What mail programs are told, from the settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.config.settings import Settings
from mailrelay.directory.model import Directory
from mailrelay.service.domain_dns import https_url, mail_host
from mailrelay.web.autoconfig import Autoconfig
from mailrelay.web.client_settings import IMPLICIT_TLS, ClientSettings, Place
from mailrelay.web.request import Route


def autoconfig_routes(settings: Settings, directory: Callable[[], Directory]) -> Sequence[Route]:
    """For the listeners that mail programs may ask."""
    if not any(section.autoconfig for section in settings.listener):
        return ()

    def is_served(domain: str) -> bool:
        return domain in directory().domains

    url = settings.http.public_url.rstrip("/") or https_url(settings)
    return Autoconfig(is_served, client_settings(settings), url).routes()


def client_settings(settings: Settings) -> ClientSettings:
    """How to send by this server, and to read where the operator says so."""
    host, _ = mail_host(settings)
    ports = ((host.submissions_port, True), (host.submission_port, False))
    outgoing = tuple(Place(host.hostname, port, tls) for port, tls in ports if port is not None)
    imap, incoming = settings.autoconfig, None
    if imap.imap_host:
        incoming = Place(imap.imap_host, imap.imap_port, imap.imap_port in IMPLICIT_TLS)
    return ClientSettings(outgoing, incoming)
