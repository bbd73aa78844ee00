"""Faults of a disk under a server process: see faults.c."""

from __future__ import annotations

import subprocess
from pathlib import Path

from attrs import frozen

SOURCE = Path(__file__).with_name("faults.c")


@frozen
class Faults:
    """The faults of one server's disk; ``environment`` is for its process."""

    library: Path
    control: Path
    below: Path
    sync: str = ""

    @classmethod
    def build(cls, folder: Path, below: Path, sync: str = "") -> Faults:
        """Compile them into ``folder``, for the files below ``below``."""
        library = folder / "faults.so"
        subprocess.run(
            ["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"],
            check=True,
        )
        return cls(library, folder / "fault", below, sync)

    @property
    def environment(self) -> dict[str, str]:
        """What the process needs."""
        sync = {"FAULT_SYNC": self.sync} if self.sync else {}
        return {
            "LD_PRELOAD": str(self.library),
            "FAULT_CONTROL": str(self.control),
            "FAULT_BELOW": str(self.below),
            **sync,
        }

    def fail_with(self, error: int) -> None:
        """From now on writing fails with this errno; 0 ends that."""
        made = self.control.with_suffix(".new")
        made.write_text(str(error))
        made.rename(self.control)
