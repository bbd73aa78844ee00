"""``mailrelay backup``, ``restore`` and ``verify``."""

from __future__ import annotations

import os
import pwd
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
from attrs import define, field

from mailrelay.certificates.store import ACMEStore
from mailrelay.cli.output import fail, print_json
from mailrelay.cli.target import config_option, directory_option, find_settings
from mailrelay.config.convert import relay_place
from mailrelay.config.handoffs import handoff_files
from mailrelay.config.settings import Settings
from mailrelay.config.transports import login_sections
from mailrelay.control.backup import BackupControl, CannotBackUp
from mailrelay.net.privileges import give_away

SAID_EVERY = 2.0
POSTGRES = """\
the database is PostgreSQL, whose own tools copy it while it is used:
  pg_dump --format=custom --file=mailrelay.dump DATABASE     (restore: pg_restore)
It holds all messages. Copy beside it:"""


@define
class Progress:
    """Says on a terminal how far the copy of a database is, when that takes long."""

    seconds: Callable[[], float]
    _said_at: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Nothing is said in the first seconds."""
        self._said_at = self.seconds()

    def __call__(self, done: int, whole: int) -> None:
        """``done`` bytes of about ``whole`` are copied."""
        if self.seconds() - self._said_at >= SAID_EVERY and sys.stderr.isatty():
            self._said_at = self.seconds()
            megabytes = f"{done // 1_000_000} of about {whole // 1_000_000} MB"
            click.echo(f"copying the database: {megabytes}", err=True)


@contextmanager
def _controls() -> Iterator[BackupControl]:
    from mailrelay.service.controls import backup_control

    try:
        yield backup_control(time.time, Progress(time.monotonic))
    except CannotBackUp as error:
        fail(str(error))
    except PermissionError as error:
        fail(f"{error.filename}: {error.strerror}: do this as root, or as the server's user")
    except OSError as error:
        fail(f"{error.filename or 'a file'}: {error.strerror}")


@click.command()
@config_option
@directory_option
@click.argument("target", metavar="TARGET_DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True)
def backup(config_file: Path | None, data_dir: Path | None, target: Path, as_json: bool) -> None:
    """Copy everything to a new directory.

    The server may run.
    """
    settings = find_settings(config_file, data_dir)
    base = config_file.absolute() if config_file and data_dir is None else None
    extra = files_beside(settings, base)
    if is_postgres(settings):
        _refuse_postgres(extra)
    with _controls() as control:
        made = control.back_up(settings.storage.url, settings.data_dir, extra, target.absolute())
    if as_json:
        print_json({"directory": str(target), "files": made.files, "size_bytes": made.size_bytes})
    else:
        click.echo(f"{made.files} files, {made.size_bytes} bytes, are in {target}.")
        click.echo("They hold mail, keys and password hashes: keep them as you keep those.")


@click.command()
@click.argument("backup_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("target", metavar="DATA_DIR", type=click.Path(path_type=Path))
@click.option("--run-as", "user", help="As root: give DATA_DIR to this user, the server's.")
@click.option("--json", "as_json", is_flag=True)
def restore(backup_dir: Path, target: Path, user: str | None, as_json: bool) -> None:
    """Make a data directory of a backup.

    DATA_DIR must be new or empty.  As root, it is given to the user of --run-as, else to the owner
    that it had, else to the owner of the data directory that was backed up.
    """
    with _controls() as control:
        owner = _owner(user, target, control.data_dir_of(backup_dir.absolute()))
        originals = control.restore(backup_dir.absolute(), target.absolute())
        if owner is not None:
            for folder in (target, *(p for p in target.iterdir() if p.is_dir())):
                give_away(folder, *owner)
    if as_json:
        print_json({"directory": str(target), "originals": originals})
        return
    click.echo(f"{target} is restored. Set data_dir to it and start the server.")
    if os.geteuid() == 0 and target.stat().st_uid == 0:
        click.echo(f"It is root's. Give it to the server's user: chown -R USER: {target}")
    for name, was in originals.items():
        click.echo(f"  {target / name}  was  {was}")


@click.command()
@config_option
@directory_option
@click.option(
    "--backup",
    "backup_dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Look at this backup instead of the store.",
)
@click.option("--json", "as_json", is_flag=True)
def verify(
    config_file: Path | None, data_dir: Path | None, backup_dir: Path | None, as_json: bool
) -> None:
    """Check that a store or a backup is whole.

    The server may run.
    """
    with _controls() as control:
        if backup_dir is not None:
            found = control.verify_backup(backup_dir.absolute())
        else:
            settings = find_settings(config_file, data_dir)
            found = control.verify_store(settings.storage.url, settings.data_dir)
    if as_json:
        findings = [{"part": one.part, "text": one.text} for one in found]
        print_json({"whole": not found, "findings": findings})
    else:
        for one in found:
            click.echo(str(one))
        click.echo(f"{len(found)} findings." if found else "Everything fits together.")
    sys.exit(1 if found else 0)


def is_postgres(settings: Settings) -> bool:
    """Whether the database is a server's."""
    return settings.storage.url.startswith("postgresql")


def files_beside(settings: Settings, config_file: Path | None) -> list[Path]:
    """The files that the store does not hold: configuration, certificate, key, passwords."""
    found = [] if config_file is None else [config_file]
    base = config_file.parent if config_file else settings.data_dir
    tls = settings.tls
    found += [base / f for f in (tls.certificate, tls.private_key) if f]
    found += [Path(f) for one in tls.certificates for f in (one.certificate, one.private_key)]
    found += ACMEStore(settings.data_dir).files() if settings.acme else []
    hosts = login_sections(settings.relay_host, settings.route, settings.transport)
    found += [base / host.password_file for _, host in hosts if host.password_file]
    relaying = settings.relaying
    found += [base / relaying.password_file] if relaying.password_file else []
    found += [base / file for file in handoff_files(settings)]
    return found + [file for file in relay_place(relaying).files if file.exists()]


def _refuse_postgres(extra: list[Path]) -> NoReturn:
    fail("\n".join([POSTGRES, *(f"  {path}" for path in extra)]))


def _owner(user: str | None, target: Path, backed_up: Path) -> tuple[int, int] | None:
    """User and group to give what is restored to; None to leave it ours."""
    if user:
        entry = _user(user)
        return entry.pw_uid, entry.pw_gid
    if os.geteuid() != 0:
        return None
    for folder in (target, backed_up):
        if folder.is_dir() and (status := folder.stat()).st_uid != 0:
            return status.st_uid, status.st_gid
    return None


def _user(name: str) -> pwd.struct_passwd:
    if os.geteuid() != 0:
        fail("--run-as is for root: leave it out, or do this as root")
    try:
        return pwd.getpwnam(name)
    except KeyError:
        fail(f"no user {name}: make it with useradd --system {name}")
