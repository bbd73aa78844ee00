"""Which store a command works on: ``--config FILE``, ``$MAILRELAY_CONFIG``, or ``--dir DIR``."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from random import SystemRandom
from typing import Any, TypeVar

import click
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailrelay.cli.output import fail
from mailrelay.config.load import BadConfiguration, load_settings
from mailrelay.config.settings import Settings
from mailrelay.control.errors import Refusal
from mailrelay.net.privileges import CannotDropPrivileges, act_as, check_code_is_readable
from mailrelay.queue.store import StoreUnavailable

T = TypeVar("T")

EX_USAGE, EX_TEMPFAIL, EX_CONFIG = 64, 75, 78  # sysexits.h


def settled(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` comes to; a command's own stores answer before they return."""
    outcome: list[T] = []
    trouble: list[Failure] = []
    Deferred.fromCoroutine(work).addCallbacks(outcome.append, trouble.append)
    for failure in trouble:
        failure.raiseException()
    if not outcome:
        raise RuntimeError("a command waited for a reactor that it does not have")
    return outcome[0]


@contextmanager
def opened(settings: Settings) -> Iterator[Any]:
    """The controls over the store of ``settings``, as the user who owns its directory."""
    from mailrelay.service.controls import open_control
    from mailrelay.service.server import STARTUP_ERRORS

    become_owner(settings.data_dir)
    try:
        control = open_control(settings, actor_name(), time.time, SystemRandom())
    except STARTUP_ERRORS as error:
        fail(str(error), EX_CONFIG)
    try:
        yield control
    except Refusal as error:
        fail(str(error))
    except StoreUnavailable as error:
        fail(f"the store is not available now: {error}; try again", EX_TEMPFAIL)
    finally:
        control.close()


def actor_name() -> str:
    """Who runs the command, for the audit log."""
    try:
        return f"cli:{os.environ.get('SUDO_USER') or getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli:{os.getuid()}"


def become_owner(data_dir: Path) -> None:
    """As root, act as the owner of ``data_dir``: nothing is left that the server cannot write."""
    if os.geteuid() != 0 or not data_dir.exists():
        return
    status = data_dir.stat()
    if status.st_uid != 0:
        act_as(status.st_uid, status.st_gid)
        try:
            check_code_is_readable(f"the owner of {data_dir}")
        except CannotDropPrivileges as error:
            fail(str(error), EX_CONFIG)


config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    envvar="MAILRELAY_CONFIG",
    help="The server's mailrelay.toml.",
)
directory_option = click.option(
    "--dir", "data_dir", type=click.Path(path_type=Path), help="Of a localserve."
)


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--config`` and ``--dir``; it is called with ``settings``."""

    @config_option
    @directory_option
    @wraps(command)
    def with_settings(
        *args: Any, config_file: Path | None, data_dir: Path | None, **options: Any
    ) -> Any:
        return command(*args, settings=find_settings(config_file, data_dir), **options)

    return with_settings


def find_settings(config_file: Path | None, data_dir: Path | None) -> Settings:
    """The settings that the options name; ends the command when they name none, or bad ones."""
    if data_dir is not None:
        from mailrelay.cli.localserve import Ports, local_settings

        if not os.path.exists(data_dir / "mailrelay.db"):  # False, too, where one may not look
            fail(
                f"{data_dir} is no directory of a localserve: mailrelay localserve --dir {data_dir}"
            )
        return local_settings(data_dir.absolute(), ["127.0.0.1"], Ports())
    if config_file is None:
        fail("which server? Give --config FILE, set MAILRELAY_CONFIG, or give --dir DIR", EX_USAGE)
    try:
        return load_settings(config_file.absolute(), os.environ)
    except BadConfiguration as error:
        click.echo(str(error), err=True)
        sys.exit(EX_CONFIG)
