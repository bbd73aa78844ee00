"""``mailrelay tls``."""

from __future__ import annotations

import time

import click
from attrs import asdict

from mailrelay.certificates.desk import CannotAsk, NoHostName
from mailrelay.certificates.status import CertificateStatus
from mailrelay.cli.directory import json_option
from mailrelay.cli.output import fail, moment, print_json, print_properties, shown
from mailrelay.cli.target import EX_CONFIG, EX_USAGE, become_owner, target_options
from mailrelay.config.settings import Settings
from mailrelay.net.tls import UnusableCertificate

_TIMES = ("not_before", "not_after", "renew_at", "error_at", "tried_again_at")
_TLS_ROLES = ("mx", "submission", "submissions", "https")


@click.group()
def tls() -> None:
    """Certificates that the listeners show."""


@tls.command("status")
@target_options
@json_option
def status(settings: Settings, as_json: bool) -> None:
    """Show the certificates: for whom, until when, where from, and what is wrong.

    Reads the files that the server reads.
    """
    from mailrelay.service.certificates import certificate_desk

    become_owner(settings.data_dir)
    try:
        found = certificate_desk(settings, time.time).status()
    except UnusableCertificate as error:
        fail(str(error), EX_CONFIG)
    listeners = [
        {"role": one.role, "endpoint": one.endpoint}
        for one in settings.listener
        if one.role in _TLS_ROLES
    ]
    if as_json:
        rows = [_row(one) for one in found]
        print_json({"hostname": settings.hostname, "listeners": listeners, "certificates": rows})
        return
    if not found:
        click.echo("No certificates: set [tls] or [acme].")
        return
    for number, one in enumerate(found):
        if number:
            click.echo()
        print_properties(_properties(one))
    click.echo()
    click.echo("Shown at " + ", ".join(f"{one['endpoint']} ({one['role']})" for one in listeners))


@tls.command("renew")
@target_options
@click.argument("name", required=False)
@json_option
def renew(settings: Settings, name: str | None, as_json: bool) -> None:
    """Have the certificate for NAME ordered again now, or all that were ordered.

    A running server does it within seconds, else the next one that starts.
    """
    from mailrelay.service.certificates import certificate_desk

    become_owner(settings.data_dir)
    try:
        names = certificate_desk(settings, time.time).renew(name)
    except CannotAsk as error:
        fail(str(error), EX_USAGE if isinstance(error, NoHostName) else EX_CONFIG)
    if as_json:
        print_json({"asked": names})
        return
    for one in names:
        click.echo(f"{one} is asked for; mailrelay tls status says how it went.")


def _row(one: CertificateStatus) -> dict[str, object]:
    row = asdict(one)
    return {**row, **{name: moment(row[name]) for name in _TIMES}}


def _properties(one: CertificateStatus) -> dict[str, object]:
    """For people: what there is to say, and no more."""
    kind = "ordered by ACME, " if one.is_ordered and one.issuer else ""
    left = f"{moment(one.not_after)}, {one.days_left} days left" if one.not_after else None
    is_believed = None if one.believed is None else shown(one.believed)
    return {
        "names": ", ".join(one.names) or "-",
        "from": kind + one.source,
        "issuer": one.issuer,
        "until": f"{left}: renew it" if one.is_ending else left,
        "key": one.key_type,
        "believed by this system": is_believed,
        "TLSA": one.tlsa,
        "who asks for no name": "is shown this one" if one.is_default else None,
        "wrong": "; ".join(one.faults) or None,
        "renewed": moment(one.renew_at),
        "last error": f"{moment(one.error_at) or 'now'}: {one.error}" if one.error else None,
        "tried again": moment(one.tried_again_at),
    }
