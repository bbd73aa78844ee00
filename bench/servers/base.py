"""What every measured server has in common: its home, its processes, start and stop."""

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import attrs

from bench import shim
from bench.accounting import (
    ProcessGroup,
    ProcessTree,
    largest_peak_bytes,
    launch,
    new_process_group,
    pss_bytes,
)
from bench.net import TooSlow, free_port, greets, wait_until

STOP_SECONDS = 20.0


@attrs.frozen
class Job:
    """What a scenario asks of a server.

    With no `relay_port` mail is accepted and thrown away. `live_port` is where mail for
    `load.LIVE_DOMAIN` goes, whatever happens to the rest. With `relay_login` the relay host wants
    TLS, and this user name and password.
    """

    relay_port: int | None = None
    relay_login: tuple[str, str] | None = None
    live_port: int | None = None
    connections: int = 100
    fsync_delay_us: int = 0
    retention_seconds: float = 0.0


class Server(ABC):
    """One server with a home directory of its own, running within the `with` block."""

    name: ClassVar[str]
    relays: ClassVar[bool] = True

    def __init__(self, job: Job, home: Path) -> None:
        self.job = job
        self.home = home
        self.port = free_port()
        self.group: ProcessGroup = ProcessTree()
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str:
        """What this machine lacks to run the server; empty when nothing."""
        return ""

    @abstractmethod
    def prepare(self) -> None:
        """Writes the configuration into the home directory."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command that runs the server in the foreground."""

    @abstractmethod
    def settings(self) -> str:
        """The settings that matter for speed, as printed to the reader."""

    @abstractmethod
    def accepted(self) -> int:
        """Messages that were thrown away or stored by scenarios without a relay host."""

    @abstractmethod
    def queued(self) -> int:
        """Messages that the server still has to deliver."""

    def environment(self) -> dict[str, str]:
        """Environment variables of the server."""
        return shim.environment(self.job.fsync_delay_us)

    def start(self) -> None:
        """Starts the server and waits for its greeting."""
        self.group = new_process_group()
        with (self.home / "output").open("ab") as output:
            self.process = launch(self.group, self.command(), self.environment(), output)
        try:
            wait_until(self._is_ready, 60, f"{self.name} starting", every=0.01)
        except TooSlow as slow:
            raise TooSlow(f"{slow}\n{self.output()}") from None

    def _is_ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise TooSlow(f"{self.name} ended while starting\n{self.output()}")
        return greets(self.port)

    def output(self) -> str:
        """The end of what the server printed."""
        return (self.home / "output").read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """Asks the server to stop, and kills what is left of it after a while."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        self.group.close()

    def cpu_seconds(self) -> float:
        """CPU time used so far by all its processes."""
        return self.group.cpu_seconds()

    def pss_bytes(self) -> int:
        """Memory of all its processes now."""
        return pss_bytes(self.group)

    def peak_bytes(self) -> int:
        """The larger of the memory now and the highest that one of its processes has had."""
        return max(self.pss_bytes(), largest_peak_bytes(self.group))

    def __enter__(self) -> Self:
        self.prepare()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def cache_directory() -> Path:
    """Where script/bench unpacks servers that are not installed as packages."""
    return Path(os.environ.get("BENCH_CACHE", "/var/cache/mailrelay-bench"))


def count_files(*folders: Path, ending: str = "") -> int:
    """How many file names the folders hold at any depth; one that moves counts once."""
    found = {
        name
        for folder in folders
        for _path, _folders, names in os.walk(folder)
        for name in names
        if name.endswith(ending)
    }
    return len(found)


def count_in_file(path: Path, wanted: bytes) -> int:
    """How often the bytes stand in the file; 0 when there is no such file."""
    return path.read_bytes().count(wanted) if path.exists() else 0
