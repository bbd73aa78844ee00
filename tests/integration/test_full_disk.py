"""A disk that is full, broken or read-only: 452, nothing lost, and well again by itself."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.integration.faults import Faults
from tests.integration.processes import PATIENCE, Load, ServerProcess, Sink, configuration

DISK_BYTES = 8 * 1024 * 1024
ONLY = {"452 4.3.1"}


class DiskCase(TestCase):
    """A server, a sink and load."""

    timeout = 240

    def setUp(self) -> None:
        """Make folders and a sink that takes nothing yet."""
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.data = self.folder / "data"
        self.data.mkdir(parents=True)
        self.sink = Sink(defers=1.0, cuts=0.0)
        self.addCleanup(self.sink.close)

    def serve(self, *, free: int = 1, environment: dict[str, str] | None = None) -> None:
        """Start the server, and load for it."""
        config = configuration(self.data, self.sink.port, free=free)
        self.server = ServerProcess(self.folder, config, environment=environment)
        self.addCleanup(self.server.kill)
        self.server.start()
        self.load = Load(clients=4)
        self.addCleanup(self.load.end)
        self.load.start(self.server.port)

    def wait_until(self, holds) -> None:
        """Wait for what must come."""
        until = time.monotonic() + PATIENCE
        while not holds():
            self.assertLess(time.monotonic(), until, "it did not happen")
            time.sleep(0.02)

    def more_acknowledged(self, count: int) -> None:
        """Wait until so many more are accepted."""
        goal = len(self.load.acknowledged) + count
        self.wait_until(lambda: len(self.load.acknowledged) >= goal)

    def more_refused(self, count: int) -> None:
        """Wait until so many more are refused."""
        goal = self.load.refusals.total() + count
        self.wait_until(lambda: self.load.refusals.total() >= goal)

    def all_arrive(self) -> None:
        """Nothing that was acknowledged is lost, none is damaged, none was refused otherwise."""
        self.sink.defers = 0.0
        self.wait_until(lambda: not self.load.acknowledged - self.sink.copies.keys())
        self.assertEqual(self.sink.damaged, [])
        self.assertEqual(set(self.load.refusals), ONLY)


class FullDiskTests(DiskCase):
    """A real one, small."""

    def mount(self) -> None:
        """Put a small file system under the data."""
        size = f"size={DISK_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", self.data], check=True)
        self.addCleanup(subprocess.check_call, ["umount", "--lazy", str(self.data)])

    def fill(self, *, but: int = 0) -> Path:
        """Take all the room there is, and not what the server gives up of its own meanwhile."""
        ballast = self.data / "ballast"
        status = os.statvfs(self.data)
        left = status.f_bavail * status.f_frsize - but
        with ballast.open("ab", buffering=0) as file:
            while left > 0:
                try:
                    left -= file.write(b"x" * 4096)
                except OSError:
                    break
        return ballast

    def test_filled_by_mail(self) -> None:
        """Mail that fills the disk is refused 452 from then on; room makes it accepted again."""
        self.mount()
        (self.data / "ballast").write_bytes(b"x" * (3 * 1024 * 1024))
        self.serve()
        self.more_refused(20)
        acknowledged = len(self.load.acknowledged)
        self.assertGreater(acknowledged, 20)
        (self.data / "ballast").unlink()
        started = time.monotonic()
        self.more_acknowledged(20)
        print(f"{acknowledged} fitted; accepted again after {time.monotonic() - started:.1f} s")
        self.load.end()
        self.all_arrive()
        self.server.stop()

    def test_filled_by_others(self) -> None:
        """When others fill the disk, mail is refused and the queue still drains."""
        self.mount()
        self.serve(free=1024 * 1024)
        self.more_acknowledged(20)
        ballast = self.fill()
        self.more_refused(20)
        self.all_arrive()
        ballast.unlink()
        self.more_acknowledged(20)
        self.load.end()
        self.all_arrive()
        self.server.stop()


class BrokenDiskTests(DiskCase):
    """Errors that a real disk is hard to talk into."""

    def broken(self, error: int) -> None:
        """Write with ``error`` for a while, and without it again."""
        faults = Faults.build(self.folder, self.data)
        self.serve(environment=faults.environment)
        self.more_acknowledged(10)
        faults.fail_with(error)
        self.more_refused(20)
        faults.fail_with(0)
        self.more_acknowledged(20)
        self.load.end()
        self.all_arrive()
        self.server.stop()

    def test_io_error(self) -> None:
        """EIO."""
        self.broken(errno.EIO)

    def test_no_space(self) -> None:
        """ENOSPC."""
        self.broken(errno.ENOSPC)

    def test_quota(self) -> None:
        """EDQUOT."""
        self.broken(errno.EDQUOT)

    def test_read_only(self) -> None:
        """EROFS."""
        self.broken(errno.EROFS)
