"""The ``mailrelay`` command."""

from __future__ import annotations

import click

from mailrelay import __version__
from mailrelay.cli.account import account
from mailrelay.cli.admin import admin
from mailrelay.cli.alias import alias
from mailrelay.cli.apply import apply, export
from mailrelay.cli.audit import audit
from mailrelay.cli.backup import backup, restore, verify
from mailrelay.cli.checks import check_config
from mailrelay.cli.directory import address, domain
from mailrelay.cli.dkim import dkim
from mailrelay.cli.dns import dns
from mailrelay.cli.explain import explain
from mailrelay.cli.holdrule import holdrule
from mailrelay.cli.key import key
from mailrelay.cli.localserve import localserve
from mailrelay.cli.message import message
from mailrelay.cli.peer import peer
from mailrelay.cli.queue import queue, retired
from mailrelay.cli.quickstart import quickstart
from mailrelay.cli.relay import relay
from mailrelay.cli.relay_check import check as _check  # noqa: F401  # it is a part of relay
from mailrelay.cli.report import report
from mailrelay.cli.route import route
from mailrelay.cli.sendmail import sendmail
from mailrelay.cli.statistics import statistics
from mailrelay.cli.suppression import suppression
from mailrelay.cli.template import template
from mailrelay.cli.tls import tls
from mailrelay.cli.webhook import webhook
from mailrelay.cli.webhook_endpoint import endpoint  # noqa: F401  # it is a part of webhook
from mailrelay.cli.work import work


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """mailrelay: an all-in-one mail server."""


for command in (
    localserve,
    quickstart,
    check_config,
    queue,
    retired,
    work,
    message,
    domain,
    account,
    admin,
    address,
    alias,
    key,
    dkim,
    dns,
    template,
    suppression,
    holdrule,
    route,
    explain,
    relay,
    peer,
    tls,
    webhook,
    export,
    apply,
    statistics,
    audit,
    report,
    backup,
    restore,
    verify,
    sendmail,
):
    main.add_command(command)
