"""Dialogue files: what a client says and what it must hear, against a whole server on loopback.

A file is one test; ``dialogues/README.md`` tells how it is written.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.policy.limits import Limits
from mailrelay.testing.loopback import Loopback, RawClient
from tests.integration.world import accepted, mailbox, start_world

FOLDER = Path(__file__).parent / "dialogues"


@frozen
class Step:
    """One line of a file: ``C``, ``B``, ``S``, ``TLS``, ..., and what follows it."""

    word: str
    text: str
    number: int


@define
class Dialogue:
    """A file: its intent, the server it wants, its steps."""

    name: str
    intent: str = ""
    role: str = "mx"
    settings: dict[str, Any] = field(factory=dict)
    steps: list[Step] = field(factory=list)


_STEPS = ("C:", "B:", "S:", "S!", "TLS", "AUTH", "CLOSED", "ACCEPTED", "M:")


def read(path: Path) -> Dialogue:
    """The dialogue in ``path``.  Raises: ValueError when a line is none of its words."""
    dialogue = Dialogue(path.stem)
    limits: dict[str, Any] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        word, _, text = line.partition(" ")
        if line.startswith("#"):
            dialogue.intent = dialogue.intent or line[1:].strip()
        elif word in _STEPS:
            dialogue.steps.append(Step(word.rstrip(":"), text, number))
        elif word == "limit":
            name, _, value = text.partition(" ")
            limits[name] = int(value)
        elif line.strip():
            _set_up(dialogue, word, text, f"{path.name}:{number}")
    if not dialogue.intent:
        raise ValueError(f"{path.name} does not begin with what it shows")
    if limits:
        dialogue.settings["limits"] = Limits(**limits)
    return dialogue


def _set_up(dialogue: Dialogue, word: str, text: str, place: str) -> None:
    match word:
        case "listener":
            dialogue.role = text
        case "trusted":
            dialogue.settings["trusted_networks"] = text.split()
        case "localserve":
            dialogue.settings["localserve"] = True
        case _:
            raise ValueError(f"{place}: {word} {text}")


@define
class Run:
    """A dialogue under way on one connection."""

    dialogue: Dialogue
    server: Loopback
    client: RawClient
    _output: bytearray = field(factory=bytearray)

    async def all(self) -> None:
        """Every step; at the end nothing may be left unsaid."""
        steps = self.dialogue.steps
        at = 0
        while at < len(steps):
            at = await self._step(steps, at)
        self._flush()
        if any(step.word == "CLOSED" for step in steps):
            return
        self.client.send(b"QUIT\r\n")
        last = await self.client.reply()
        if not last.startswith(b"221 "):
            self._wrong(steps[-1], f"then QUIT was answered {last!r}")

    async def _step(self, steps: Sequence[Step], at: int) -> int:
        step = steps[at]
        if step.word in ("C", "B"):  # what follows each other leaves in one segment
            self._output += unescaped(step.text) + (b"\r\n" if step.word == "C" else b"")
            return at + 1
        self._flush()
        match step.word:
            case "S" | "S!":
                return await self._hear(steps, at)
            case "TLS":
                self.client.start_tls()
            case "AUTH":
                await self._log_in(step)
            case "CLOSED":
                left = await self.client.reply()
                if left or not self.client.is_closed:
                    self._wrong(step, f"heard {left!r}")
            case "ACCEPTED":
                if accepted(self.server) != int(step.text):
                    self._wrong(step, f"{accepted(self.server)} were accepted")
            case "M":
                return await self._look(steps, at)
        return at + 1

    def _flush(self) -> None:
        data, self._output = bytes(self._output), bytearray()
        if data:
            self.client.send(data)

    async def _log_in(self, step: Step) -> None:
        name, _, password = step.text.partition(" ")
        response = b64encode(f"\0{name}\0{password}".encode())
        answer = await self.client.ask(b"AUTH PLAIN " + response)
        if not answer.startswith(b"235 "):
            self._wrong(step, f"heard {answer!r}")

    async def _hear(self, steps: Sequence[Step], at: int) -> int:
        """One reply: ``250-`` patterns fit any of its lines, the last one its last line."""
        lines = (await self.client.reply()).decode().split("\r\n")[:-1] or ["nothing: closed"]
        while True:
            step = steps[at]
            at += 1
            if step.word == "S!":
                if any(fnmatchcase(line, step.text) for line in lines):
                    self._wrong(step, f"heard {lines}")
            elif re.match(r"\d\d\d-", step.text):
                if not any(fits(step.text, line) for line in lines):
                    self._wrong(step, f"heard {lines}")
            elif fits(step.text, lines[-1]):
                return at
            else:
                self._wrong(step, f"heard {lines}")

    async def _look(self, steps: Sequence[Step], at: int) -> int:
        """The ``M`` lines that follow each other stand in this order in the one mailbox message."""
        [content] = await mailbox(self.server, 1)
        lines = iter(content.decode("utf-8").split("\r\n"))
        while at < len(steps) and steps[at].word == "M":
            if not any(fits(steps[at].text, line) for line in lines):
                self._wrong(steps[at], f"not in {content!r}")
            at += 1
        return at

    def _wrong(self, step: Step, what: str) -> None:
        place = f"{self.dialogue.name}.txt:{step.number}"
        raise AssertionError(f"{place}: {step.word} {step.text}: {what}")


def fits(pattern: str, line: str) -> bool:
    """Whether ``line`` begins with ``pattern``, which may have ``*``, or ends in ``$``."""
    escaped = pattern.replace("[", "[[]").replace("?", "[?]")
    if escaped.endswith("$"):
        return fnmatchcase(line, escaped[:-1])
    return fnmatchcase(line, escaped + "*")


_ESCAPE = re.compile(r"\\(r|n|t|0|\\|x[0-9A-Fa-f]{2}|\d+\*.)")
_ESCAPED = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


def unescaped(text: str) -> bytes:
    r"""``text`` on the wire: ``\r \n \t \0 \\ \xNN``, and ``\40*a`` for forty of them."""

    def parts() -> Iterator[bytes]:
        end = 0
        for match in _ESCAPE.finditer(text):
            yield text[end : match.start()].encode()
            found = match.group(1)
            if found.startswith("x"):
                yield bytes([int(found[1:], 16)])
            elif "*" in found:
                count, _, character = found.partition("*")
                yield character.encode() * int(count)
            else:
                yield _ESCAPED[found]
            end = match.end()
        yield text[end:].encode()

    return b"".join(parts())


class DialogueTests(TestCase):
    """One test per file of ``dialogues/``."""

    timeout = 10


def _add(path: Path) -> None:
    async def test(case: TestCase) -> None:
        dialogue = read(path)
        roles = [dialogue.role]
        server = await start_world(case, reactor, roles=roles, **dialogue.settings)
        client = await server.connect(dialogue.role)
        await Run(dialogue, server, client).all()

    body: Callable[..., Any] = test
    body.__doc__ = read(path).intent
    name = f"test_{path.stem.replace('-', '_')}"
    body.__name__ = name
    setattr(DialogueTests, name, body)


for _path in sorted(FOLDER.glob("*.txt")):
    _add(_path)
