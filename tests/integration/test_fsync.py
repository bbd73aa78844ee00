"""Every 250 comes after a sync of what it answers for: seen from below, with strace.

Kill -9 cannot show a missing fsync, since the kernel keeps what was written.
"""

from __future__ import annotations

import os
import re
import smtplib
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import TestCase

from tests.integration.faults import Faults
from tests.integration.processes import PATIENCE, Load, ServerProcess, Sink, configuration

WRITES = ("write", "pwrite64", "writev", "sendto", "sendmsg", "send")
SYNCS = ("fsync", "fdatasync")


@frozen
class Call:
    """One system call; ``began`` and ``ended`` are places in the order of all that was seen."""

    name: str
    file: str
    text: str
    began: int
    ended: int


def calls(trace: Path) -> Iterator[Call]:
    """The calls of a trace by ``strace -f -y``, in the order in which they ended."""
    begun: dict[str, tuple[int, str]] = {}
    for at, line in enumerate(trace.read_text(errors="replace").splitlines()):
        pid, _, text = line.partition(" ")
        text = text.strip()
        began = at
        if text.endswith("<unfinished ...>"):
            begun[pid] = (at, text.removesuffix("<unfinished ...>"))
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>", text)
        if resumed:
            began, before = begun.pop(pid)
            text = before + text[resumed.end() :]
        found = re.match(r"(\w+)\(\d+<([^>]*)>(.*)$", text)
        if found and not text.endswith(")") and re.search(r"= \d+", text[-40:]):
            yield Call(found[1], found[2], found[3], began, at)


class FsyncTests(TestCase):
    """A server under strace."""

    timeout = 180

    def setUp(self) -> None:
        """Make folders and a sink."""
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.data = self.folder / "data"
        self.data.mkdir(parents=True)
        self.trace = self.folder / "trace"
        self.sink = Sink(defers=0.0, cuts=0.0)
        self.addCleanup(self.sink.close)

    def traced(self, names: tuple[str, ...], sync: str = "") -> ServerProcess:
        """A running server whose calls of ``names`` are written down."""
        faults = Faults.build(self.folder, self.data, sync)
        preload = [f"-E{name}={value}" for name, value in faults.environment.items()]
        wrapper = ["strace", "-f", "-y", "-s", "9000", "--seccomp-bpf", "-o", str(self.trace)]
        wrapper += ["-e", f"trace={','.join(names)}", *(preload if sync else [])]
        config = configuration(self.data, self.sink.port)
        server = ServerProcess(self.folder, config, wrapper=wrapper)
        self.addCleanup(server.kill)
        server.start()
        return server

    def send(self, server: ServerProcess) -> dict[str, str]:
        """Send small and large messages; what each was queued as."""
        queued = {}
        with smtplib.SMTP("127.0.0.1", server.port, "client.test", PATIENCE) as client:
            client.ehlo()
            for number in range(16):
                client.mail("a@client.test")
                client.rcpt("b@example.net")
                name = f"<message-{number}>"
                body = f"\r\nline {number}" * (20_000 if number % 8 == 7 else 5)
                code, text = client.data(
                    f"Subject: {name}\r\nX-Name: {name}\r\n{body}\r\n".encode()
                )
                self.assertEqual(code, 250, text)
                queued[name] = text.decode().split()[-1]
        return queued

    def unsynced(self, queued: dict[str, str]) -> list[str]:
        """The messages that were answered 250 before they were on stable storage."""
        seen = list(calls(self.trace))
        return [name for name, id_ in queued.items() if not is_synced(seen, name, id_)]

    def test_sync_before_250(self) -> None:
        """Of every message, the log and the spool file that carry it are synced before its 250."""
        server = self.traced((*WRITES, *SYNCS))
        queued = self.send(server)
        server.stop()
        self.assertEqual(self.unsynced(queued), [])

    def test_missing_sync_is_found(self) -> None:
        """The test above fails for a server that does not sync."""
        server = self.traced((*WRITES, *SYNCS), sync="skip")
        queued = self.send(server)
        server.stop()
        self.assertEqual(self.unsynced(queued), list(queued))

    def test_many_messages_share_a_sync(self) -> None:
        """Under load, on a disk that takes its time, there are fewer than 0.2 syncs a message."""
        server = self.traced(SYNCS, sync="30000")
        load = Load(clients=40, name="small", most=1200)
        before = self.syncs()
        load.start(server.port)
        load.finished()
        after = self.syncs()
        server.stop()
        self.assertEqual(len(load.acknowledged), 1200)
        print(f"{(after - before) / 1200:.3f} syncs a message")
        self.assertLess(after - before, 0.2 * 1200)

    def syncs(self) -> int:
        """How many were seen."""
        return sum(call.name in SYNCS for call in calls(self.trace))


def is_synced(seen: list[Call], name: str, id_: str) -> bool:
    """Whether what first carries ``name``, in each file, was synced before it was answered for.

    Later writes of its pages are other transactions', whose turn begins before the answer leaves.
    """
    told = f'"250 2.0.0 queued as {id_}\\r\\n'
    answered = next(c.began for c in seen if c.name in WRITES and told in c.text)
    files: dict[str, int] = {}
    for c in seen:
        if c.name in WRITES and c.ended < answered and name in c.text and is_kept(c.file):
            files.setdefault(c.file, c.ended)
    return any(file.endswith("-wal") for file in files) and all(
        any(
            c.name in SYNCS and c.file == file and written < c.began and c.ended < answered
            for c in seen
        )
        for file, written in files.items()
    )


def is_kept(file: str) -> bool:
    """Whether ``file`` is the database's log or in the spool, not a socket."""
    return file.endswith(("-wal", ".part"))
