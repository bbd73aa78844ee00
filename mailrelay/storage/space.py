"""Room on the disk: looked at every second off the reactor thread, asked before every MAIL."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailrelay.net.threads import Executor
from mailrelay.storage.upkeep import repeated

LOOK_EVERY = 1.0
RESERVE_BYTES = 1024 * 1024
RESERVE_NAME = "reserve"


class SpaceWatch(MultiService):
    """Knows whether mail may be accepted; keeps a reserve file that makes room for outcomes.

    Accepting stops first, at ``min_free_bytes``.  When others fill the disk below that, the
    reserve is given up, so that work that is finished can still be recorded.
    """

    _log = Logger()

    def __init__(
        self,
        data_dir: Path,
        min_free_bytes: int,
        clock: IReactorTime,
        executor: Executor,
        look_every: float = LOOK_EVERY,
    ) -> None:
        super().__init__()
        self._data_dir, self._min_free, self._executor = data_dir, min_free_bytes, executor
        self.is_short = False
        repeated(clock, look_every, self.look, self._log).setServiceParent(self)

    def look(self) -> Deferred[object]:
        """Look now."""
        return self._executor.run(self._look).addCallback(self._seen)

    def _look(self) -> bool:
        status = os.statvfs(self._data_dir)
        free = status.f_bavail * status.f_frsize
        no_inodes = status.f_files > 0 and status.f_favail < 16
        reserve = self._data_dir / RESERVE_NAME
        if free < RESERVE_BYTES // 2:
            reserve.unlink(missing_ok=True)
        elif free > self._min_free + 2 * RESERVE_BYTES and not reserve.exists():
            _fill(reserve)
        return free < self._min_free or no_inodes

    def _seen(self, is_short: bool) -> None:
        if is_short != self.is_short:
            self.is_short = is_short
            if is_short:
                self._log.warn("less than {n} bytes free: mail is refused", n=self._min_free)
            else:
                self._log.info("there is room again: mail is accepted")


def _fill(path: Path) -> None:
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
