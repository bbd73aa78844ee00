"""Command blocks of the documents, run for real against a localserve of their own.

A block fenced as ``sh`` is a command block; a block fenced as ``text`` right after it is what it
prints.  ``<!-- not run: REASON -->`` on the line above a command block excepts it.  Ids, times,
sizes and widths may differ from what is shown, and a line of ``...`` stands for any lines.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define, field, frozen

from mailrelay.testing.ports import free_port

PORTS = ("smtp", "submission", "submissions", "http", "https")
DEFAULT_PORTS = (1025, 1587, 1465, 1080, 1443)
RECEIVER_PORT = 8025
"""Where a page's receiver of webhooks listens."""
PATIENCE = 30.0
"""Seconds until what is awaited must have happened; ordinarily it takes less than one."""

_FENCE = re.compile(
    r"(?P<before>[^\n]*)\n```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_MARKER = re.compile(r"<!-- not run: (.*) -->")


@frozen
class Block:
    """Commands, what they print if that is shown, and why they are not run if they are not."""

    commands: str
    output: str | None
    not_run: str | None


def command_blocks(page: str) -> Iterator[Block]:
    """The command blocks of a Markdown page."""
    fences = list(_FENCE.finditer(page))
    for i, fence in enumerate(fences):
        if fence["kind"] != "sh":
            continue
        after = fences[i + 1] if i + 1 < len(fences) else None
        shown = (
            after is not None
            and after["kind"] == "text"
            and not page[fence.end() : after.start("before")].strip()
            and not after["before"].strip()
        )
        marker = _MARKER.fullmatch(fence["before"].strip())
        yield Block(
            fence["text"],
            after["text"] if shown and after is not None else None,
            marker[1] if marker else None,
        )


def normal(text: str) -> list[str]:
    """The lines of ``text`` without what differs from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"<[0-9a-f]{32}@", "<HEX@", text)
    text = re.sub(r"/\S*/mailrelay-localserve", "mailrelay-localserve", text)
    text = re.sub(r"TLSv1\.\d \w+", "TLS", text)
    text = re.sub(r"\d+", "N", text)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip()]


def fits(shown: str, printed: str) -> bool:
    """Whether ``printed`` is what a page shows."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in normal(shown)
    )
    text = "".join(f"{line}\n" for line in normal(printed))
    return re.fullmatch(pattern, text) is not None


@define
class Page:
    """Runs the blocks of one page in ``folder``."""

    folder: Path
    ports: Sequence[int] = field(factory=lambda: _free_ports(len(PORTS)))
    receiver_port: int = field(factory=free_port)
    _server: subprocess.Popen[bytes] | None = None

    def run(self, block: Block) -> str | None:
        """Run ``block``; what is wrong, None when it does as shown."""
        commands = self._adapted(block.commands)
        if commands.startswith("mailrelay localserve"):
            return self._serve(commands, block.output)
        if self._server is None:
            self._serve(self._adapted("script/serve"), None)
        until = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(
                ["bash", "-euc", commands],
                cwd=self.folder,
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=PATIENCE * 4,
                check=False,
            )
            printed = done.stdout + done.stderr
            if done.returncode != 0:
                return f"{commands}\nended with {done.returncode}:\n{printed}"
            if block.output is None or fits(block.output, printed):
                return None
            # What is listed may be on its way still; what sends must be right at once.
            if not block.commands.startswith(".venv/bin/mailrelay ") or time.monotonic() > until:
                return f"{commands}\nprinted\n{printed}\nnot\n{block.output}"
            time.sleep(0.2)

    def _serve(self, commands: str, shown: str | None) -> str | None:
        self.stop()
        log = self.folder / "server.log"
        with log.open("wb") as out:
            self._server = subprocess.Popen(
                ["bash", "-c", f"exec {commands}"],
                cwd=self.folder,
                env=self._environment(),
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + PATIENCE
        while "Stop with Ctrl-C." not in (printed := log.read_text()):
            if self._server.poll() is not None or time.monotonic() > until:
                return f"{commands}\ndid not start:\n{printed}"
            time.sleep(0.05)
        if shown is None or fits(shown, printed):
            return None
        return f"{commands}\nprinted\n{printed}\nnot\n{shown}"

    def stop(self) -> None:
        """End the server, if there is one."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(PATIENCE)
            self._server = None

    def _adapted(self, commands: str) -> str:
        """The commands with ports that are free here and this environment's programs."""
        options = " ".join(
            f"--{name}-port {port}" for name, port in zip(PORTS, self.ports, strict=True)
        )
        commands = commands.replace(
            "script/serve", f"mailrelay localserve --ip 127.0.0.1 {options}"
        )
        defaults, ports = (*DEFAULT_PORTS, RECEIVER_PORT), (*self.ports, self.receiver_port)
        for default, port in zip(defaults, ports, strict=True):
            commands = re.sub(rf"(?<=[: ]){default}\b", str(port), commands)
        return commands.replace(".venv/bin/mailrelay", "mailrelay").strip()

    def _environment(self) -> dict[str, str]:
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**os.environ, "PATH": programs, "PYTHONUNBUFFERED": "1"}


def _free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]
