"""``mailrelay admin``."""

from __future__ import annotations

from pathlib import Path

import click

from mailrelay.cli.output import fail
from mailrelay.cli.passwords import read_password
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings


@click.group()
def admin() -> None:
    """How the administrator logs in to the pages."""


@admin.command("set")
@target_options
@click.option("--password", "change_password", is_flag=True, help="Change the password.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Read the password from the first line of this file; - is standard input.",
)
@click.option("--no-totp", is_flag=True, help="Ask for no code any more: it was lost.")
def set_admin(
    settings: Settings, change_password: bool, password_file: Path | None, no_totp: bool
) -> None:
    """Change the administrator's login; a new password ends all sessions."""
    if not (change_password or password_file or no_totp):
        fail("what? Give --password, --password-file or --no-totp")
    password = None
    if change_password or password_file is not None:
        password = read_password(password_file, "New password of the administrator")
    with opened(settings) as control:
        if password is not None:
            settled(control.directory.set_admin_password(password))
        if no_totp:
            settled(control.second_factors.remove(None))
    click.echo("The administrator's login is changed.")
