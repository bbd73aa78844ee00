"""What the server's memory depends on: connections, and neither message sizes nor their number."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.processes import PATIENCE, ServerProcess, configuration

IS_LONG = bool(os.environ.get("MAILRELAY_TEST_LONG"))
only_long = skipUnless(IS_LONG, "takes long: set MAILRELAY_TEST_LONG")

MIB = 2**20
CONTENT_BYTES = 10 * MIB
CHUNK = (b"x" * 62 + b"\r\n") * 1024

DISCARD_ALL = """
retired_keep_after = 1.0
[[route]]
domain = "*"
discard = true
"""


class MeasuredServer(ServerProcess):
    """A server whose memory is read from the kernel's books."""

    def memory(self, name: str = "VmRSS") -> int:
        """Bytes: VmRSS is what is used now, VmHWM the most that ever was."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s*(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        """VmHWM begins anew: starting takes more than running."""
        assert self.process is not None
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


class Sessions:
    """Many sessions in step: each says the same before any is said more."""

    def __init__(self, port: int, count: int) -> None:
        self._sockets = [
            socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(count)
        ]
        self.expect(b"220")
        self.say(b"EHLO client.test\r\n")
        self.expect(b"250")

    def say(self, data: bytes) -> None:
        """Send ``data`` in every session."""
        for one in self._sockets:
            one.sendall(data)

    def expect(self, code: bytes, replies: int = 1) -> None:
        """Wait until every session has that many replies, the last one with ``code``."""
        last = re.compile(rb"^(\d{3})(?: .*)?\r\n", re.MULTILINE)
        for one in self._sockets:
            heard = b""
            while len(found := last.findall(heard)) < replies:
                piece = one.recv(4096)
                assert piece, heard
                heard += piece
            assert found[-1] == code, heard

    def close(self) -> None:
        """Close every session."""
        for one in self._sockets:
            one.close()


class MemoryTests(SynchronousTestCase):
    """Figures, whole under MAILRELAY_TEST_LONG and for a few sessions always."""

    def start(self) -> MeasuredServer:
        """A server that discards what it takes, after enough mail to have loaded all its code."""
        folder = Path(os.path.abspath(self.mktemp()))
        self.addCleanup(shutil.rmtree, folder)
        data = folder / "data"
        data.mkdir(parents=True)
        server = MeasuredServer(folder, configuration(data, 1, DISCARD_ALL, connections=6000))
        self.addCleanup(server.kill)
        server.start()
        self.send_content(server, sessions=10, size_bytes=MIB)
        return server

    def open(self, server: MeasuredServer, count: int) -> Sessions:
        """``count`` sessions after their EHLO."""
        sessions = Sessions(server.port, count)
        self.addCleanup(sessions.close)
        return sessions

    def send_content(self, server: MeasuredServer, sessions: int, size_bytes: int) -> None:
        """A message in each of that many sessions, all of them at the same time."""
        clients = self.open(server, sessions)
        clients.say(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
        clients.expect(b"354", replies=3)
        clients.say(b"Subject: large\r\n\r\n")
        for _ in range(size_bytes // len(CHUNK)):
            clients.say(CHUNK)
        clients.say(b".\r\n")
        clients.expect(b"250")
        clients.close()

    def check_idle(self, count: int, most_bytes: int) -> None:
        """``count`` idle sessions take no more than ``most_bytes``."""
        server = self.start()
        before = server.memory()
        self.open(server, count)
        grown = server.memory() - before
        print(f"{count} idle sessions: {grown / MIB:.1f} MiB")
        self.assertLessEqual(grown, most_bytes)

    def test_some_idle_sessions(self) -> None:
        """A tenth of what the long test opens takes a tenth of the memory."""
        self.check_idle(500, 5 * MIB)

    @only_long
    def test_5000_idle_sessions(self) -> None:
        """5,000 idle sessions take no more than 50 MiB."""
        self.check_idle(5000, 50 * MIB)

    def check_content(self, count: int, most_bytes: int) -> None:
        """``count`` parallel messages of 10 MiB never take more than ``most_bytes`` in all."""
        server = self.start()
        server.forget_peak()
        before = server.memory()
        began = time.monotonic()
        self.send_content(server, count, CONTENT_BYTES)
        seconds = time.monotonic() - began
        grown = server.memory("VmHWM") - before
        print(f"{count} x 10 MiB: {before / MIB:.0f} + {grown / MIB:.0f} MiB, {seconds:.0f} s")
        self.assertLessEqual(grown, most_bytes)

    def test_some_large_messages_at_once(self) -> None:
        """A large message is not held in memory, however many come."""
        self.check_content(50, 25 * MIB)

    @only_long
    def test_1000_large_messages_at_once(self) -> None:
        """1,000 parallel messages of 10 MiB take no more than 600 MiB, with the server itself."""
        self.check_content(1000, 500 * MIB)

    def check_flat(self, count: int, most_bytes: int) -> None:
        """From a fifth of ``count`` messages on, memory grows by ``most_bytes`` at most."""
        server = self.start()
        step = count // 20
        sizes = []
        began = time.monotonic()
        for sent in range(step, count + 1, step):
            self.send_small(server, step)
            sizes.append(server.memory())
            rate = sent / (time.monotonic() - began)
            print(f"{sent} messages, {rate:.0f}/s: {sizes[-1] / MIB:.1f} MiB", flush=True)
        self.assertLessEqual(max(sizes[4:]) - sizes[3], most_bytes)

    def send_small(self, server: MeasuredServer, count: int) -> None:
        """So many messages over 20 sessions."""
        command = ["smtp-source", "-4", "-d", "-s", "20", "-m", str(count), "-l", "1000"]
        command += ["-f", "a@client.test", "-t", "b@example.net", f"127.0.0.1:{server.port}"]
        subprocess.run(command, check=True, timeout=PATIENCE + count / 50)

    def test_some_thousand_messages(self) -> None:
        """What is retired is forgotten: memory does not grow with the messages that came."""
        self.check_flat(8000, 6 * MIB)

    @only_long
    def test_million_messages(self) -> None:
        """Memory is flat over 1,000,000 messages: by a fifth of them every cache is full."""
        self.check_flat(1_000_000, 20 * MIB)
