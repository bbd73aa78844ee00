"""``[log]`` under a real twistd: in the foreground, as a daemon, from a .tac file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.testing.ports import free_port
from tests.integration.installed import ROOT, Program, until

TWISTD = str(Path(sys.executable).parent / "twistd")
MESSAGE = "Subject: hello\r\n\r\nhi\r\n"
CONFIG = """\
hostname = "mx.example.org"
data_dir = "data"
allow_root = true
trusted_networks = ["127.0.0.1/32"]
[[route]]
domain = "*"
discard = true
[[listener]]
role = "mx"
endpoint = "tcp:{port}:interface=127.0.0.1"
[log]
"""


class LogTests(SynchronousTestCase):
    """Where the lines are, and what they look like."""

    def setUp(self) -> None:
        """A folder for everything."""
        self.folder = Path(tempfile.mkdtemp(prefix="mailrelay-test."))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.port = free_port()
        self.config = self.folder / "mailrelay.toml"

    def start(self, log: str, *options: str, tac: bool = False) -> Program:
        """twistd with ``[log]``; it answers."""
        self.configure(log)
        (self.folder / "data").mkdir(mode=0o700)
        what = ["-y", str(ROOT / "mailrelay.tac")] if tac else ["mailrelay"]
        environment = {"MAILRELAY_CONFIG": str(self.config)}
        program = Program(self, [TWISTD, *options, *what], self.folder, environment)
        program.answers(self.port).quit()
        return program

    def configure(self, log: str) -> None:
        """Write the configuration with ``[log]``."""
        self.config.write_text(CONFIG.format(port=self.port) + log)

    def send(self, program: Program) -> None:
        """Have it take a message, which the mail log tells of."""
        program.answers(self.port).sendmail("a@client.test", ["b@example.org"], MESSAGE)

    def test_foreground(self) -> None:
        """With JSON every line of standard output is an object, those of the mail log too."""
        program = self.start('format = "json"\n', "--pidfile=", "-n")
        self.send(program)
        until(lambda: '"event":"delivered"' in program.said(), program.said)
        self.assertIn(program.stop(), (0, -signal.SIGTERM))
        lines = [json.loads(line) for line in program.said().splitlines()]
        said = [line["text"] for line in lines if "text" in line]
        self.assertEqual(said[-1], "Server Shut Down.")
        events = [line["event"] for line in lines if "event" in line]
        self.assertEqual(events, ["accepted", "delivered"])
        self.assertEqual({line["time"][-1] for line in lines}, {"Z"})

    def test_level(self) -> None:
        """What is below the level is not there; the mail log has none."""
        program = self.start('level = "error"\n', "--pidfile=", "-n")
        self.send(program)
        until(lambda: " delivered " in program.said(), program.said)
        program.process.send_signal(signal.SIGHUP)
        self.assertIn(program.stop(), (0, -signal.SIGTERM))
        for line in program.said().splitlines():
            self.assertIn(line.split()[1], ("accepted", "delivered"))

    def daemon(self, log: str, *options: str, tac: bool = False) -> int:
        """twistd as a daemon; its process id."""
        pidfile = self.folder / "pid"
        self.addCleanup(self.kill, pidfile)
        program = self.start(log, f"--pidfile={pidfile}", *options, tac=tac)
        self.assertEqual(program.process.wait(60), 0, program.said())
        self.program = program
        return int(until(pidfile.read_text, program.said))

    def kill(self, pidfile: Path) -> None:
        """End the daemon, whatever became of the test."""
        if pidfile.exists():
            os.kill(int(pidfile.read_text()), signal.SIGKILL)

    def ended(self, pid: int) -> Any:
        """Stop the daemon and wait."""
        os.kill(pid, signal.SIGTERM)
        until(lambda: not (self.folder / "pid").exists(), self.program.said)

    def test_rotation(self) -> None:
        """A daemon's --logfile that was renamed is left at SIGHUP, which brings a level, too."""
        log, rotated = self.folder / "mailrelay.log", self.folder / "mailrelay.log.1"
        pid = self.daemon('level = "error"\n', f"--logfile={log}")
        self.send(self.program)
        until(lambda: " delivered " in log.read_text(), log.read_text)
        log.rename(rotated)
        self.configure('level = "info"\nformat = "json"\n')
        os.kill(pid, signal.SIGHUP)
        until(lambda: log.exists() and "read again" in log.read_text(), rotated.read_text)
        before = rotated.read_text()
        self.send(self.program)
        until(lambda: '"event":"delivered"' in log.read_text(), log.read_text)
        self.ended(pid)
        self.assertEqual(rotated.read_text(), before)
        self.assertNotIn("starting up", before)
        objects = log.read_text().partition("{")[2]
        for line in f"{{{objects}".splitlines():
            json.loads(line)
        self.assertIn('"text":"Server Shut Down."', log.read_text())

    def test_daemon_without_a_file(self) -> None:
        """A daemon that is told no file writes twistd.log; one told - does not start."""
        pid = self.daemon("")
        self.ended(pid)
        self.assertIn(" Server Shut Down.", (self.folder / "twistd.log").read_text())
        self.configure('file = "-"\n')
        arguments = [TWISTD, f"--pidfile={self.folder / 'pid'}", "mailrelay", "--config"]
        program = Program(self, [*arguments, str(self.config)], self.folder)
        self.assertEqual(program.process.wait(60), 78)
        self.assertIn("give twistd --logfile FILE, or -n", program.said())

    def test_tac(self) -> None:
        """A .tac file's log is where ``[log] file`` says, and as it says."""
        pid = self.daemon('file = "server.log"\nformat = "json"\n', tac=True)
        log = self.folder / "server.log"
        os.kill(pid, signal.SIGHUP)
        until(lambda: "read again" in log.read_text(), log.read_text)
        self.ended(pid)
        for line in log.read_text().splitlines():
            json.loads(line)
