"""``twistd mailrelay --config FILE``."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from twisted.application.service import IService
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized

from mailrelay.config.load import BadConfiguration, load_settings
from mailrelay.config.settings import Settings
from mailrelay.net.privileges import CannotDropPrivileges, refuse_root
from mailrelay.observe.logs import (
    CannotLog,
    LogFile,
    Place,
    ServerLog,
    StandardStream,
    Syslog,
)

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
    return make_server(Path(file).absolute(), getattr(options, "parent", None) or {})


def make_server(path: Path, twistd: Mapping[str, Any] | None = None) -> IService:
    """The server for the configuration in ``path``; SIGHUP reads it again.

    ``twistd`` is what twistd was told; a .tac file cannot know it.

    Raises: SystemExit with what is wrong and what to do about it.
    """
    from twisted.internet import reactor as installed

    from mailrelay.net.surroundings import real_surroundings
    from mailrelay.service.collecting import look_seldom
    from mailrelay.service.fixed import Origin
    from mailrelay.service.server import STARTUP_ERRORS, Server

    reactor: Any = installed
    settings = _load(path)
    log = _make_log(settings, twistd)
    dns = settings.dns
    surroundings = real_surroundings(
        reactor, dns.nameservers, dns.timeout, validating=dns.validating
    )

    class Clean(Server):
        """Ends the process with the message alone when it cannot start."""

        def setServiceParent(self, parent: Any) -> None:
            """See Server; the application's log observer is what twistd logs to."""
            if log is not None and isinstance(parent, Componentized):
                parent.setComponent(ILogObserver, log)
            super().setServiceParent(parent)

        def startService(self) -> None:
            """See Server."""
            try:
                super().startService()
            except STARTUP_ERRORS as error:
                _refuse(f"mailrelay: {error}")

    server = Clean(surroundings, settings, log.place.write if log else None)
    server.origin = Origin(str(path), frozenset(name for name, text in os.environ.items() if text))

    def reload(*_: object) -> None:
        reactor.callFromThread(_reload, server, path, log)

    reactor.callWhenRunning(signal.signal, signal.SIGHUP, reload)
    reactor.callWhenRunning(look_seldom)
    return server


def _load(path: Path) -> Settings:
    try:
        settings = load_settings(path, os.environ)
        refuse_root(settings.run_as, allow_root=settings.allow_root)
    except (BadConfiguration, CannotDropPrivileges) as error:
        _refuse(str(error))
    return settings


def _make_log(settings: Settings, twistd: Mapping[str, Any] | None) -> ServerLog | None:
    """The log as ``[log]`` has it, where the command line or else the file says."""
    if twistd is None and not settings.log.file:
        return None  # to a place that only twistd knows goes only twistd's own
    try:
        place = _place(settings, twistd or {"nodaemon": True})
    except CannotLog as error:
        _refuse(f"mailrelay: {error}")
    log = ServerLog(place)
    log.configure(settings.log.level, settings.log.levels, settings.log.format)
    return log


def _place(settings: Settings, twistd: Mapping[str, Any]) -> Place:
    """Where twistd would log, but that the configuration may name the file.  Raises: CannotLog."""
    if twistd.get("syslog"):
        return Syslog(twistd.get("prefix") or "mailrelay")
    in_foreground = twistd.get("nodaemon") or twistd.get("debug")
    name = twistd.get("logfile") or settings.log.file
    name = name or ("-" if in_foreground else "twistd.log")
    if name != "-":
        return LogFile(Path(name).absolute(), _owner(settings))
    if not in_foreground:
        raise CannotLog("a daemon has no standard output: give twistd --logfile FILE, or -n")
    return StandardStream(sys.stdout.fileno())


def _owner(settings: Settings) -> tuple[int, int] | None:
    """Whose a new log is: the user's that the server will be."""
    if os.geteuid() != 0 or not settings.run_as:
        return None
    try:
        entry = pwd.getpwnam(settings.run_as)
    except KeyError:
        return None  # said when the server starts
    return entry.pw_uid, entry.pw_gid


def _refuse(text: str) -> NoReturn:
    """End with the code for a configuration that cannot be used: starting again does not help."""
    print(text, file=sys.stderr)
    raise SystemExit(EX_CONFIG)


def _reload(server: Any, path: Path, log: ServerLog | None) -> None:
    """Use what ``path`` says now; a wrong file leaves everything as it is."""
    try:
        if log is not None:
            log.place.reopen()
    except CannotLog as error:
        _log.error("the log goes to the file that it was in: {error}", error=str(error))
    try:
        settings = load_settings(path, os.environ)
        server.reload(settings)
    except Exception as error:
        _log.error("the configuration stays as it was: {error}", error=str(error))
        return
    if log is not None:
        log.configure(settings.log.level, settings.log.levels, settings.log.format)
    _log.info("the configuration was read again")
