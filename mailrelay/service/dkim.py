"""What becomes of DKIM keys while the server runs: those that are published are used."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.acceptance.signing import Signing
from mailrelay.config.settings import Settings
from mailrelay.control.dkim import DKIMControl
from mailrelay.directory.dkim import KeyState
from mailrelay.directory.model import Directory
from mailrelay.net.surroundings import Surroundings
from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage.dkim_keys import DatabaseDKIMKeys
from mailrelay.storage.stores import Stores

LOOK_EVERY = 300.0
"""Seconds between two looks for records of keys that are to be used."""

_log = Logger()


def make_signing(
    s: Surroundings, settings: Settings, stores: Stores, directory: Callable[[], Directory]
) -> Signing:
    """What signs and seals mail."""
    read_spool, seals = stores.queue.read_spool, settings.forwarding.seal
    return Signing(directory, s.workers, read_spool, s.now, settings.hostname, seals)


class KeyService(TimerService):
    """Looks for records in DNS while keys wait for theirs, and forgets what retired long ago."""

    def __init__(self, s: Surroundings, stores: Stores, directory: Callable[[], Directory]) -> None:
        super().__init__(LOOK_EVERY, self._looked)
        self.clock = s.clock
        self._texts, self._directory = s.resolver.texts, directory
        records = DatabaseDKIMKeys(stores.database, s.now)
        self._control = DKIMControl(records, s.workers, s.now, "server")

    async def look(self) -> None:
        """Look once."""
        keys = [key for own in self._directory().dkim_keys.values() for key in own]
        if all(key.state is KeyState.ACTIVE for key in keys):
            return
        for key in await self._control.go_on(self._texts):
            _log.info("DKIM key {name} is {state}", name=key.name, state=key.state.value)

    def _looked(self) -> Deferred[None]:
        looking = Deferred.fromCoroutine(self.look())
        return looking.addErrback(_not_looked)


def _not_looked(failure: Failure) -> None:
    if failure.check(StoreUnavailable) is None:
        _log.failure("DKIM keys cannot be looked after", failure)
