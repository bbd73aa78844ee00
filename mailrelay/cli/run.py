"""Running the server in the foreground; importing this chooses the reactor."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from twisted.internet import reactor
from twisted.logger import globalLogBeginner

from mailrelay.cli.output import fail
from mailrelay.config.settings import Settings
from mailrelay.net.surroundings import real_surroundings
from mailrelay.observe.logs import log_to_standard_error
from mailrelay.service.collecting import look_seldom
from mailrelay.service.server import STARTUP_ERRORS, Server


def run_server(settings: Settings, started: Callable[[], None]) -> None:
    """Run until SIGINT or SIGTERM; ``started`` is called once everything listens."""
    observer = log_to_standard_error()
    observer.configure(settings.log.level, settings.log.levels, settings.log.format)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    dns = settings.dns
    surroundings = real_surroundings(
        reactor, dns.nameservers, dns.timeout, validating=dns.validating
    )
    server = Server(surroundings, settings)
    try:
        server.privilegedStartService()
        server.startService()
    except STARTUP_ERRORS as error:
        fail(str(error), 78)
    reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    reactor.callWhenRunning(started)
    reactor.callWhenRunning(look_seldom)
    sys.stdout.flush()
    reactor.run()
