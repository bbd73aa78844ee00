"""What ``mailrelay check-config --show`` prints."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from attrs import asdict

from mailrelay.cli.output import print_json, printable
from mailrelay.cli.target import EX_CONFIG
from mailrelay.config.load import BadConfiguration, load_settings
from mailrelay.control.configuration import Setting


def show_config(file: Path, *, as_json: bool) -> None:
    """Print all settings of ``file`` and of the environment; ends when they cannot be used."""
    from mailrelay.service.fixed import Origin, running_configuration

    try:
        settings = load_settings(file.absolute(), os.environ)
    except BadConfiguration as error:
        click.echo(str(error), err=True)
        sys.exit(EX_CONFIG)
    names = frozenset(name for name, text in os.environ.items() if text)
    shown = running_configuration(settings, Origin(str(file.absolute()), names))
    if as_json:
        print_json(asdict(shown))
        return
    for section in shown.sections:
        if section.title:
            click.echo(f"\n{section.title}")
        for one in section.settings:
            click.echo(printable(f"{one.name} = {one.value}{_remark(one)}"))


def _remark(one: Setting) -> str:
    words = ["default"] if one.is_default else []
    words += ["from the environment"] if one.from_environment else []
    words += ["needs a restart"] if one.needs_restart else []
    return f"  # {', '.join(words)}" if words else ""
