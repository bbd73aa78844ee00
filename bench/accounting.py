"""CPU time and memory of everything a server started.

A control group counts exactly, also what daemons leave behind. Where none can be made, the
process tree is walked: then children that nobody waited for are missing.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import IO, Protocol

CGROUP_ROOTS = ("/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
TICKS = os.sysconf("SC_CLK_TCK")
_serial = count(1)


class ProcessGroup(Protocol):
    """The processes of one server."""

    def wrap(self, command: Sequence[str]) -> list[str]:
        """The command that runs `command` inside the group."""

    def pids(self) -> list[int]:
        """Every live process of the group."""

    def cpu_seconds(self) -> float:
        """CPU time used so far, by ended processes too."""

    def close(self) -> None:
        """Kills what is left."""


class ControlGroup:
    """Counts with a control group of its own, of version 1 (cpuacct) or 2."""

    def __init__(self, root: Path) -> None:
        self.path = root / f"mailrelay-bench-{os.getpid()}-{next(_serial)}"
        self.path.mkdir()

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Runs the command from a shell that has entered the group."""
        enter = f'echo $$ > "{self.path}/cgroup.procs" && exec "$@"'
        return ["/bin/sh", "-c", enter, "sh", *command]

    def pids(self) -> list[int]:
        """Every live process of the group."""
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def cpu_seconds(self) -> float:
        """CPU time used so far, by ended processes too."""
        usage = self.path / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        return int((self.path / "cpu.stat").read_text().split()[1]) / 1e6

    def close(self) -> None:
        """Kills what is left and removes the group."""
        _kill_all(self)
        # Busy until the last killed process has been reaped.
        for _ in range(100):
            with contextlib.suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(0.02)


class ProcessTree:
    """Counts by walking /proc from the first process down."""

    def __init__(self) -> None:
        self.first: int | None = None

    def wrap(self, command: Sequence[str]) -> list[str]:
        """The command itself."""
        return list(command)

    def pids(self) -> list[int]:
        """The first process and its live descendants."""
        if self.first is None:
            return []
        parents = {pid: _stat(pid) for pid in _all_pids()}
        found = [self.first] if parents.get(self.first) else []
        for pid in found:
            found += [child for child, stat in parents.items() if stat and int(stat[1]) == pid]
        return found

    def cpu_seconds(self) -> float:
        """CPU time of live processes and of the children they waited for."""
        stats = [_stat(pid) for pid in self.pids()]
        return sum(int(ticks) for stat in stats for ticks in stat[11:15]) / TICKS

    def close(self) -> None:
        """Kills what is left."""
        _kill_all(self)


def new_process_group() -> ProcessGroup:
    """A control group where the machine lets us make one, else a process tree."""
    for root in map(Path, CGROUP_ROOTS):
        try:
            group = ControlGroup(root)
        except OSError:
            continue
        if (group.path / "cpuacct.usage").exists() or (group.path / "cpu.stat").exists():
            return group
        group.close()
    return ProcessTree()


def launch(
    group: ProcessGroup, command: Sequence[str], environment: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Starts a command inside the group, in a session of its own."""
    started = subprocess.Popen(
        group.wrap(command),
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    if isinstance(group, ProcessTree):
        group.first = started.pid
    return started


def pss_bytes(group: ProcessGroup) -> int:
    """Memory of the group now, each shared page divided among those who share it."""
    return sum(_kilobytes(pid, "smaps_rollup", "Pss") for pid in group.pids()) * 1024


def largest_peak_bytes(group: ProcessGroup) -> int:
    """The highest resident size that any one live process has had."""
    return max((_kilobytes(pid, "status", "VmHWM") for pid in group.pids()), default=0) * 1024


def _kilobytes(pid: int, file: str, field: str) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except (OSError, ProcessLookupError):
        return 0
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _kill_all(group: ProcessGroup) -> None:
    for _ in range(100):
        pids = group.pids()
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
