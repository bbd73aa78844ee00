"""The ``mailrelay`` command."""

from __future__ import annotations

import click

from mailrelay import __version__
from mailrelay.cli.directory import account, address, domain
from mailrelay.cli.localserve import localserve
from mailrelay.cli.message import message
from mailrelay.cli.queue import queue, retired


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """mailrelay: an all-in-one mail server."""


for command in (
    localserve,
    queue,
    retired,
    message,
    domain,
    account,
    address,
):
    main.add_command(command)
