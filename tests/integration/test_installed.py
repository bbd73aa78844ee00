"""The wheel, installed in a clean environment and started in each of the documented ways."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import signal
import smtplib
import ssl
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.certificates import make_self_signed
from tests.integration.installed import (
    ROOT,
    Program,
    command,
    free_ports,
    installed,
    low_port,
    until,
)

IS_ROOT = os.geteuid() == 0
MESSAGE = "Subject: hello\r\n\r\nhi\r\n"


def folder_of(case: SynchronousTestCase) -> Path:
    """A new folder that any user can get to, removed with the test."""
    folder = Path(tempfile.mkdtemp(prefix="mailrelay-test."))
    case.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    return folder


def assert_stops(case: SynchronousTestCase, program: Program) -> None:
    """twistd stops in order at SIGTERM; it then ends with 0 or, in newer releases, the signal."""
    case.assertIn(program.stop(), (0, -signal.SIGTERM), program.said())
    case.assertIn("Server Shut Down", program.said())
    case.assertNotIn("Traceback", program.said())


class StartTests(SynchronousTestCase):
    """Every way to start it answers on SMTP and stops at SIGTERM."""

    def setUp(self) -> None:
        """A place for configuration and data."""
        self.folder = folder_of(self)
        self.bin = installed()

    def configured(self) -> tuple[Path, int]:
        """A configuration with one listener, and its port."""
        [port] = free_ports(1)
        file = self.folder / "mailrelay.toml"
        file.write_text(
            f'hostname = "mx.example.org"\ndata_dir = "data"\nallow_root = {str(IS_ROOT).lower()}\n'
            f'[[listener]]\nrole = "mx"\nendpoint = "tcp:{port}:interface=127.0.0.1"\n'
        )
        (self.folder / "data").mkdir(mode=0o700)
        return file, port

    def test_localserve(self) -> None:
        """localserve needs no configuration, takes a message and shows it."""
        smtp, submission, submissions, http, https = free_ports(5)
        ports = ["--smtp-port", smtp, "--submission-port", submission]
        ports += ["--submissions-port", submissions, "--http-port", http, "--https-port", https]
        where = ["--dir", str(self.folder / "store")]
        mailrelay = str(self.bin / "mailrelay")
        arguments = [mailrelay, "localserve", *where, "--ip", "127.0.0.1", *map(str, ports)]
        program = Program(self, arguments, self.folder)
        client = program.answers(smtp)
        client.sendmail("a@client.test", ["anybody@anywhere.test"], MESSAGE)
        until(lambda: "Stop with Ctrl-C" in program.said(), program.said)

        def listed() -> object:
            return json.loads(command(self.folder, mailrelay, "message", "list", "--json", *where))

        [row] = until(listed, program.said)
        self.assertEqual(row["to"], "anybody@anywhere.test")
        [sending] = [line for line in program.said().splitlines() if "/v0/Send" in line]
        self.assertIn("QueueMsgID", command(self.folder, "sh", "-c", sending))
        self.assertEqual(program.stop(), 0, program.said())

    def test_twistd(self) -> None:
        """``twistd -n mailrelay --config FILE``."""
        file, port = self.configured()
        arguments = [str(self.bin / "twistd"), "-n", "mailrelay", "--config", str(file)]
        program = Program(self, arguments, self.folder)
        self.assertEqual(program.answers(port).ehlo()[0], 250)
        assert_stops(self, program)

    def test_tac(self) -> None:
        """``twistd -ny mailrelay.tac`` with the configuration in the environment."""
        file, port = self.configured()
        shutil.copy(ROOT / "mailrelay.tac", self.folder)
        arguments = [str(self.bin / "twistd"), "-ny", "mailrelay.tac"]
        program = Program(self, arguments, self.folder, {"MAILRELAY_CONFIG": str(file)})
        self.assertEqual(program.answers(port).ehlo()[0], 250)
        assert_stops(self, program)

    def test_daemon(self) -> None:
        """``twistd --pidfile=P mailrelay`` detaches; SIGTERM ends it and the file is gone."""
        file, port = self.configured()
        pidfile = self.folder / "mailrelay.pid"
        twistd = str(self.bin / "twistd")
        arguments = [twistd, f"--pidfile={pidfile}", "mailrelay", "--config", str(file)]
        program = Program(self, arguments, self.folder)
        self.addCleanup(self.kill, pidfile)
        self.assertEqual(program.process.wait(60), 0, program.said())
        self.assertEqual(program.answers(port).ehlo()[0], 250)
        pid = int(pidfile.read_text())
        self.assertNotEqual(pid, program.process.pid)
        os.kill(pid, signal.SIGTERM)
        log = self.folder / "twistd.log"
        until(lambda: not pidfile.exists(), log.read_text)
        until(lambda: not Path(f"/proc/{pid}").exists(), log.read_text)

    def kill(self, pidfile: Path) -> None:
        """End the daemon of a test that failed."""
        if pidfile.exists():
            os.kill(int(pidfile.read_text()), signal.SIGKILL)

    def test_wrong_configuration(self) -> None:
        """A wrong file ends the start with every problem, its line, and no traceback."""
        file, _ = self.configured()
        file.write_text(file.read_text() + 'colour = "red"\n')
        twistd = str(self.bin / "twistd")
        said = command(self.folder, twistd, "-n", "mailrelay", "--config", str(file), code=78)
        self.assertIn("line 7: listener[1].colour: unknown setting", said)
        self.assertNotIn("Traceback", said)

    def test_port_in_use(self) -> None:
        """A port that is taken ends the start with its name, and no traceback."""
        file, port = self.configured()
        twistd = [str(self.bin / "twistd"), "-n", "mailrelay", "--config", str(file)]
        program = Program(self, twistd, self.folder)
        program.answers(port)
        other = self.folder / "other"
        other.mkdir()
        said = command(other, *twistd, code=78)
        self.assertIn(f"cannot listen on tcp:{port}", said)
        self.assertNotIn("Traceback", said)

    def test_sendmail_script(self) -> None:
        """``mailrelay-sendmail`` is installed, and says what it needs."""
        said = command(self.folder, str(self.bin / "mailrelay-sendmail"), "-bp", code=64)
        self.assertIn("mailrelay queue list", said)

    def test_post_script(self) -> None:
        """``mailrelay-post`` is installed, and defers what it does not understand."""
        said = command(self.folder, str(self.bin / "mailrelay-post"), "--help", code=75)
        self.assertEqual(said, "4.3.5 mailrelay-post: unknown option --help\n")


if IS_ROOT:

    class RootTests(SynchronousTestCase):
        """Started as root: the low port is bound, and everything else is done as another user."""

        def setUp(self) -> None:
            """What quickstart makes for the user nobody, with ports that are free."""
            self.folder = folder_of(self)
            self.bin = installed()
            self.user = pwd.getpwnam("nobody")
            self.store = self.folder / "store"
            self.config = self.store / "mailrelay.toml"
            (self.folder / "password").write_text("correct horse\n")
            self.mailrelay(
                "quickstart", "example.org", "me", "--yes", "--run-as", self.user.pw_name,
                "--dir", str(self.store), "--password-file", str(self.folder / "password"),
            )  # fmt: skip
            self.port = low_port()
            submission, submissions, http, https = free_ports(4)
            self.submission = submission
            text = self.config.read_text()
            for was, port in (
                ("tcp:25", self.port),
                ("tcp:587", submission),
                ("tcp:465", submissions),
                ("tcp:8080:interface=127.0.0.1", http),
                ("tcp:443", https),
            ):
                self.assertIn(f'"{was}"', text)
                text = text.replace(f'"{was}"', f'"tcp:{port}:interface=127.0.0.1"')
            self.config.write_text(text)

        def mailrelay(self, *arguments: str) -> str:
            """Run a command as root."""
            return command(self.folder, str(self.bin / "mailrelay"), *arguments)

        def operate(self, *arguments: str) -> str:
            """Run a command as root on the store."""
            return self.mailrelay(*arguments, "--config", str(self.config))

        def start(self) -> Program:
            """Start the server as root, and wait until it answers."""
            # The pidfile of root's folder could not be removed by the server's user.
            twistd = [str(self.bin / "twistd"), "--pidfile=", "-n", "mailrelay"]
            twistd += ["--config", str(self.config)]
            program = Program(self, twistd, self.folder, groups=[0, 1])
            program.answers(self.port)
            return program

        def test_privileges_are_gone(self) -> None:
            """The port below 1024 answers, and no right of root is left in any thread."""
            program = self.start()
            uid, gid = self.user.pw_uid, self.user.pw_gid
            tasks = list(Path(f"/proc/{program.process.pid}/task").iterdir())
            self.assertGreater(len(tasks), 0)
            for task in tasks:
                lines = (task / "status").read_text().splitlines()
                status = {
                    name: value.split() for name, _, value in (x.partition(":") for x in lines)
                }
                self.assertEqual(status["Uid"], [str(uid)] * 4)
                self.assertEqual(status["Gid"], [str(gid)] * 4)
                self.assertEqual(status["Groups"], [])
                for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                    self.assertEqual(int(status[kind][0], 16), 0, kind)
            main = Path(f"/proc/{program.process.pid}/status").read_text()
            self.assertIn("NoNewPrivs:\t1", main)

        def test_staying_root_is_refused(self) -> None:
            """Without run_as and allow_root the start ends with what to set."""
            text = "".join(
                line
                for line in self.config.read_text().splitlines(keepends=True)
                if not line.startswith("run_as")
            )
            self.config.write_text(text)
            twistd = [str(self.bin / "twistd"), "-n", "mailrelay", "--config", str(self.config)]
            said = command(self.folder, *twistd, code=78)
            self.assertIn("refusing to run as root: set run_as", said)

        def test_commands_of_root_leave_nothing_behind(self) -> None:
            """What root did before and beside the server is all writable for the server."""
            data = self.store / "data"
            (data / "mailrelay.db").unlink()  # as in a directory that was made by hand
            (data / "spool").rmdir()
            self.operate("domain", "add", "first.example")
            self.assertTrue((data / "mailrelay.db").exists())
            self.assert_owned()
            self.operate("account", "add", "me", "--password-file", str(self.folder / "password"))
            self.operate("domain", "add", "before.example")
            self.assert_owned()
            program = self.start()
            self.operate("domain", "add", "beside.example")
            self.operate("address", "add", "a@beside.example", "me")
            self.operate("verify")
            self.assert_owned()
            client = program.answers(self.port)

            def taken() -> bool:
                try:
                    client.sendmail("a@client.test", ["a@beside.example"], MESSAGE)
                except smtplib.SMTPRecipientsRefused:
                    return False
                return True

            until(taken, program.said)
            until(lambda: json.loads(self.operate("message", "list", "--json")), program.said)
            self.assert_owned()
            self.operate("backup", str(self.folder / "backup"))
            self.assert_owned()
            assert_stops(self, program)
            self.operate("message", "list")
            self.assert_owned()

        def assert_owned(self) -> None:
            """Everything in the data directory is the server's user's, and its alone."""
            data = self.store / "data"
            for path in (data, *data.rglob("*")):
                status = path.stat()
                self.assertEqual(status.st_uid, self.user.pw_uid, path)
            self.assertEqual(self.config.stat().st_uid, 0)
            self.assertEqual(data.stat().st_mode & 0o777, 0o700)

        def test_reload(self) -> None:
            """SIGHUP brings changed limits; a wrong file leaves them as they are."""
            program = self.start()
            self.assertEqual(self.size(program), "104857600")
            good = self.config.read_text()
            self.config.write_text(
                good.replace("# message_bytes = 104857600", "message_bytes = 5000")
            )
            program.process.send_signal(signal.SIGHUP)
            until(lambda: self.size(program) == "5000", program.said)
            self.config.write_text(good.replace("# message_bytes = 104857600", "message_bites = 1"))
            program.process.send_signal(signal.SIGHUP)
            until(lambda: "the configuration stays as it was" in program.said(), program.said)
            self.assertIn("message_bites", program.said())
            self.assertEqual(self.size(program), "5000")

        def size(self, program: Program) -> str:
            """The message size that EHLO offers to a new connection."""
            with program.answers(self.port) as client:
                client.ehlo()
                return str(client.esmtp_features["size"])

        def test_reload_of_the_certificate(self) -> None:
            """SIGHUP brings a new certificate; files that do not belong together keep the old."""
            program = self.start()
            data = self.store / "data"
            certificate, key = data / "tls.pem", data / "tls-key.pem"
            before = self.fingerprint(program)
            make_self_signed(certificate, key, ["mail.example.org"], time.time())
            os.chown(key, self.user.pw_uid, self.user.pw_gid)
            program.process.send_signal(signal.SIGHUP)
            until(lambda: self.fingerprint(program) != before, program.said)
            now = self.fingerprint(program)
            certificate.write_text("nonsense")
            program.process.send_signal(signal.SIGHUP)
            until(lambda: "the configuration stays as it was" in program.said(), program.said)
            self.assertEqual(self.fingerprint(program), now)

        def fingerprint(self, program: Program) -> str:
            """Of the certificate that a new connection gets."""
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with program.answers(self.submission) as client:
                client.starttls(context=context)
                assert isinstance(client.sock, ssl.SSLSocket)
                der = client.sock.getpeercert(binary_form=True)
                return hashlib.sha256(der or b"").hexdigest()
