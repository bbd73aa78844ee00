"""Where and how long the scenarios run."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import attrs


@attrs.frozen
class Surroundings:
    """What the command line set for every scenario.

    `seconds` is how long the timed part of a run lasts, roughly.
    """

    directory: Path
    seconds: float = 5.0
    keep: bool = False

    @contextmanager
    def home(self, name: str) -> Iterator[Path]:
        """A new directory that every user may pass through, removed in the end."""
        home = Path(mkdtemp(prefix=f"mailrelay-bench-{name}-", dir=self.directory))
        home.chmod(0o755)
        try:
            yield home
        finally:
            if not self.keep:
                shutil.rmtree(home, ignore_errors=True)
