"""Builds the library that slows fsync down and says how to preload it."""

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = Path(__file__).with_name("slow_fsync.c")


@cache
def _folder() -> TemporaryDirectory[str]:
    """Removed when the benchmark ends."""
    return TemporaryDirectory(prefix="mailrelay-bench-shim-")


@cache
def library() -> Path:
    """The compiled library; made once for this run of the benchmark."""
    folder = Path(_folder().name)
    folder.chmod(0o755)
    built = folder / "slow_fsync.so"
    command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(built), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return built


def environment(delay_us: int) -> dict[str, str]:
    """Variables that add this many microseconds to every sync of a process; none for 0."""
    if delay_us == 0:
        return {}
    return {"LD_PRELOAD": str(library()), "SLOW_FSYNC_US": str(delay_us)}
