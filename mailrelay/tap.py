"""``twistd mailrelay --config FILE``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage

from mailrelay.config.load import BadConfiguration, load_settings
from mailrelay.config.settings import Settings
from mailrelay.net.privileges import CannotDropPrivileges, refuse_root

_log = Logger()

EX_CONFIG = 78  # sysexits.h


class Options(usage.Options):
    """The plugin's options; everything else is in the configuration file."""

    optParameters: ClassVar = [
        ["config", "c", None, "The configuration file; $MAILRELAY_CONFIG when not given."]
    ]


def makeService(options: Options) -> IService:
    """The server for the file that ``options`` names."""
    file = options["config"] or os.environ.get("MAILRELAY_CONFIG")
    if not file:
        raise usage.UsageError("which configuration? Give --config FILE or set MAILRELAY_CONFIG")
    return make_server(Path(file).absolute())


def make_server(path: Path) -> IService:
    """The server for the configuration in ``path``; SIGHUP reads it again.

    Raises: SystemExit with what is wrong and what to do about it.
    """
    from twisted.internet import reactor as installed

    from mailrelay.net.surroundings import real_surroundings
    from mailrelay.service.server import STARTUP_ERRORS, Server

    reactor: Any = installed
    settings = _load(path)
    surroundings = real_surroundings(reactor, settings.dns.nameservers, settings.dns.timeout)

    class Clean(Server):
        """Ends the process with the message alone when it cannot start."""

        def startService(self) -> None:
            """See Server."""
            try:
                super().startService()
            except STARTUP_ERRORS as error:
                _refuse(f"mailrelay: {error}")

    server = Clean(surroundings, settings)

    def reload(*_: object) -> None:
        reactor.callFromThread(_reload, server, path)

    reactor.callWhenRunning(signal.signal, signal.SIGHUP, reload)
    return server


def _load(path: Path) -> Settings:
    try:
        settings = load_settings(path, os.environ)
        refuse_root(settings.run_as, allow_root=settings.allow_root)
    except (BadConfiguration, CannotDropPrivileges) as error:
        _refuse(str(error))
    return settings


def _refuse(text: str) -> NoReturn:
    """End with the code for a configuration that cannot be used: starting again does not help."""
    print(text, file=sys.stderr)
    raise SystemExit(EX_CONFIG)


def _reload(server: object, path: Path) -> None:
    """Use what ``path`` says now; a wrong file leaves everything as it is."""
    try:
        server.reload(load_settings(path, os.environ))  # type: ignore[attr-defined]
    except Exception as error:
        _log.error("the configuration stays as it was: {error}", error=str(error))
