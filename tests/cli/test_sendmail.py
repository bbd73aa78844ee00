"""``mailrelay sendmail``: what cron and PHP get from it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.cli import submission
from mailrelay.cli.main import main
from mailrelay.cli.sendmail import (
    Call,
    completed,
    parse_call,
    read_message,
    recipients_in,
    split_message,
)
from mailrelay.cli.submission import (
    EX_CONFIG,
    EX_DATAERR,
    EX_NOPERM,
    EX_NOUSER,
    EX_TEMPFAIL,
    EX_USAGE,
    CannotSend,
    Submission,
    find_file,
    read_submission,
)
from mailrelay.testing.loopback import PASSWORD, USER
from tests.cli.operated import Operated

SUBMISSION = Submission("127.0.0.1", 587, "encrypt", False, "", "", "me@example.org")


class CallTests(SynchronousTestCase):
    """The command line as other programs give it."""

    def test_calls(self) -> None:
        """Options together, with values attached or behind, and what is passed over."""
        for line, wanted in (
            ("a@x", Call(["a@x"])),
            ("-t -i", Call(from_header=True, dot_ends=False)),
            ("-ti", Call(from_header=True, dot_ends=False)),
            ("-t -oi", Call(from_header=True, dot_ends=False)),
            ("-fme@x a@x", Call(["a@x"], sender="me@x")),
            ("-f me@x a@x", Call(["a@x"], sender="me@x")),
            ("-r <me@x> a@x", Call(["a@x"], sender="me@x")),
            ("-FName a@x", Call(["a@x"], full_name="Name")),
            ("-F Name a@x", Call(["a@x"], full_name="Name")),
            ("-FCronDaemon -i -odi -oem -oi -t -f root", None),
            ("-bm -oem -oeq -odb -B8BITMIME -N never -Rhdrs a@x", None),
            ("-v -n -m -U -G -Ac -em -C /etc/x.cf -X /tmp/log -O Timeout=1 -h 3 a@x", None),
            ("-i -- -t", Call(["-t"], dot_ends=False)),
        ):
            call = parse_call(line.split())
            if wanted is not None:
                self.assertEqual(call, wanted, line)
            else:
                self.assertIn(call.recipients, ([], ["a@x"]), line)

    def test_dsn(self) -> None:
        """-N and -R are kept for the server."""
        call = parse_call(["-N", "success,failure", "-R", "hdrs", "a@x"])
        self.assertEqual((call.notify, call.ret), ("SUCCESS,FAILURE", "HDRS"))

    def test_what_is_no_submission(self) -> None:
        """Daemon, queue run, listing and alias building are refused as wrong usage."""
        for line in ("-bd", "-bp", "-bs", "-bi", "-q", "-q30m", "-f"):
            with self.assertRaises(CannotSend) as caught:
                parse_call([line])
            self.assertEqual(caught.exception.code, EX_USAGE, line)


class MessageTests(SynchronousTestCase):
    """Standard input into a message."""

    def test_dot(self) -> None:
        """A dot alone ends the message unless -i says otherwise."""
        text = b"a\n.\nb\n"
        self.assertEqual(read_message(io.BytesIO(text), dot_ends=True), b"a\r\n")
        self.assertEqual(read_message(io.BytesIO(text), dot_ends=False), b"a\r\n.\r\nb\r\n")
        self.assertEqual(read_message(io.BytesIO(b"a\r\n.\r\nb"), dot_ends=True), b"a\r\n")

    def test_line_ends(self) -> None:
        """LF, CR and CRLF all become CRLF."""
        read = read_message(io.BytesIO(b"a\nb\r\nc\rd"), dot_ends=True)
        self.assertEqual(read, b"a\r\nb\r\nc\r\nd")

    def test_split(self) -> None:
        """Folded fields stay together; a body without a header, and an mbox line, are known."""
        for data, fields, body in (
            (b"A: 1\r\n\tmore\r\nB: 2\r\n\r\nhi", [b"A: 1\r\n\tmore\r\n", b"B: 2\r\n"], b"hi"),
            (b"just text\r\nA: 1\r\n", [], b"just text\r\nA: 1\r\n"),
            (b"\r\nbody", [], b"body"),
            (b"From x Mon\r\nA: 1\r\n\r\n", [b"A: 1\r\n"], b""),
            (b"A: 1\r\nno header\r\n", [b"A: 1\r\n"], b"no header\r\n"),
            (b"A: 1", [b"A: 1\r\n"], b""),
            (b"", [], b""),
        ):
            self.assertEqual(split_message(data), (fields, body), data)

    def test_recipients(self) -> None:
        """To, Cc and Bcc name them; Resent- fields instead of those when there are any."""
        fields = [b'To: "X, Y" <a@x>, b\r\n', b"Cc: g: c@x, d@x;\r\n", b"Bcc: e@x\r\n"]
        self.assertEqual(
            recipients_in(fields, "example.org"), ["a@x", "b@example.org", "c@x", "d@x", "e@x"]
        )
        self.assertEqual(recipients_in([*fields, b"Resent-To: r@x\r\n"], "d"), ["r@x"])
        self.assertEqual(recipients_in([b"To: undisclosed-recipients:;\r\n"], "d"), [])

    def names(self, fields: list[bytes]) -> list[str]:
        """The fields' names."""
        return [one.split(b":")[0].decode().lower() for one in fields]

    def test_what_is_missing_is_added(self) -> None:
        """From, Date and Message-ID are added when missing and left alone when there."""
        made = completed([b"Subject: x\r\n"], Call(full_name='N "q"'), SUBMISSION)
        self.assertEqual(self.names(made), ["subject", "from", "date", "message-id"])
        self.assertIn(b'From: "N \\"q\\"" <me@example.org>\r\n', made)
        self.assertTrue(made[-1].endswith(b"@example.org>\r\n"))
        there = [b"From: a@x\r\n", b"DATE: y\r\n", b"Message-Id: <z@x>\r\n"]
        self.assertEqual(completed(there, Call(), SUBMISSION), there)

    def test_full_name_cannot_make_fields(self) -> None:
        """A line end in -F stays within the field; other letters are encoded."""
        [field] = completed(
            [b"Date: y\r\n", b"Message-ID: z\r\n"], Call(full_name="a\r\nB: c"), SUBMISSION
        )[2:]
        self.assertEqual(field.count(b"\r\n"), 1)
        [field] = completed(
            [b"Date: y\r\n", b"Message-ID: z\r\n"], Call(full_name="Žofie"), SUBMISSION
        )[2:]
        self.assertTrue(field.isascii())

    def test_bcc(self) -> None:
        """Bcc is taken out when the recipients came from the header, else it is the caller's."""
        fields = [b"Bcc: a@x\r\n", b"Resent-Bcc: a@x\r\n", b"To: b@x\r\n"]
        made = completed(fields, Call(from_header=True), SUBMISSION)
        self.assertNotIn("bcc", str(self.names(made)))
        self.assertIn("bcc", self.names(completed(fields, Call(), SUBMISSION)))

    def test_from_of_cron(self) -> None:
        """A From without a domain gets the address that mail is from, and keeps its name."""
        made = completed([b"From: root (Cron Daemon)\r\n"], Call(sender="root"), SUBMISSION)
        self.assertEqual(made[0], b'From: "Cron Daemon" <me@example.org>\r\n')


class FileTests(SynchronousTestCase):
    """The file that says where to, as whom."""

    def setUp(self) -> None:
        """A home with no file yet."""
        self.home = Path(os.path.abspath(self.mktemp()))
        self.home.mkdir()
        self.file = self.home / ".mailrelay-sendmail.toml"

    def read(self, text: str, mode: int = 0o600) -> Submission:
        """What ``text`` says."""
        self.file.write_text(text)
        self.file.chmod(mode)
        return read_submission(self.file)

    def refused(self, text: str, mode: int = 0o600) -> str:
        """Why ``text`` is refused."""
        with self.assertRaises(CannotSend) as caught:
            self.read(text, mode)
        self.assertEqual(caught.exception.code, EX_CONFIG)
        return str(caught.exception)

    def test_defaults(self) -> None:
        """Loopback is encrypted, others are verified too; 465 is TLS from the first byte."""
        own = self.read('from = "me@example.org"\n')
        self.assertEqual(own, SUBMISSION)
        away = self.read('from = "me@x"\nhost = "mail.example.org"\nport = 465\n')
        self.assertEqual((away.tls, away.implicit_tls), ("verify", True))

    def test_password(self) -> None:
        """It is in the file or in one beside it, and is not printed with the rest."""
        inline = self.read('username = "me@x"\npassword = "s3cret"\n')
        self.assertEqual((inline.password, inline.sender), ("s3cret", "me@x"))
        self.assertNotIn("s3cret", repr(inline))
        (self.home / "secret").write_text("s3cret\nmore\n")
        (self.home / "secret").chmod(0o600)
        text = 'username = "me@x"\npassword_file = "secret"\n'
        self.assertEqual(self.read(text, 0o644).password, "s3cret")
        (self.home / "secret").chmod(0o604)
        self.assertIn("others can read", self.refused(text))

    def test_open_password(self) -> None:
        """A file with a password that others can read is refused; a group may."""
        text = 'username = "me@x"\npassword = "s3cret"\n'
        self.assertIn("chmod 600", self.refused(text, 0o644))
        self.assertEqual(self.read(text, 0o640).password, "s3cret")

    def test_what_is_wrong(self) -> None:
        """Each thing that cannot be meant is refused with what to do."""
        for text, word in (
            ("nonsense", "toml"),
            ('host = "x"\n', "from"),
            ('from = "me@x"\nport = "587"\n', "port"),
            ('from = "me@x"\nporrt = 587\n', "porrt"),
            ('from = "me@x"\ntls = "yes"\n', "none, may"),
            ('from = "me@x"\nusername = "me"\n', "go together"),
            ('host = "h.example"\nusername = "m@x"\npassword = "p"\ntls = "may"\n', "in clear"),
        ):
            self.assertIn(word, self.refused(text))

    def test_which_file(self) -> None:
        """The user's comes before the system's; without either the message names both."""
        system = self.home / "system.toml"
        self.patch(submission, "SYSTEM_FILE", system)
        with self.assertRaises(CannotSend) as caught:
            find_file(self.home)
        self.assertIn(str(system), str(caught.exception))
        system.touch()
        self.assertEqual(find_file(self.home), system)
        self.file.touch()
        self.assertEqual(find_file(self.home), self.file)


class SubmissionTests(TestCase):
    """The program against a server."""

    timeout = 60

    async def prepared(self, **changes: Any) -> Operated:
        """A server, and a home whose file names it."""
        operated = await Operated.start(self, reactor)
        self.home = Path(os.path.abspath(self.mktemp()))
        self.home.mkdir()
        settings = {
            "port": operated.server.port("submission"),
            "username": USER,
            "password": PASSWORD,
        } | changes
        text = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
        file = self.home / ".mailrelay-sendmail.toml"
        file.write_text(text)
        file.chmod(0o600)
        return operated

    async def send(
        self, *arguments: str, text: bytes = b"Subject: x\n\nhi\n", code: int = 0
    ) -> str:
        """What the program says on standard error; it must end with ``code``."""
        program = "from mailrelay.cli.sendmail import main; main()"
        result = await deferToThread(
            subprocess.run,
            [sys.executable, "-c", program, *arguments],
            input=text,
            capture_output=True,
            env=os.environ | {"HOME": str(self.home)},
            check=False,
        )
        said = result.stderr.decode()
        self.assertEqual(result.returncode, code, said)
        return str(said)

    async def delivered(self, operated: Operated) -> bytes:
        """The one message in the mailbox."""
        [row] = await operated.until(lambda: operated.json("message", "list"))
        return operated.run("message", "show", "--raw", str(row["id"])).stdout_bytes

    async def test_as_cron_does(self) -> None:
        """A message as cron pipes it, to a local name, arrives with all that it lacked."""
        operated = await self.prepared()
        text = b"From: root (Cron Daemon)\nTo: user\nSubject: Cron\n\n..dots\n.\nand more\n"
        await self.send("-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", text=text)
        content = await self.delivered(operated)
        self.assertIn(b'From: "Cron Daemon" <user@example.org>\r\n', content)
        self.assertTrue(content.endswith(b"\r\n\r\n..dots\r\n.\r\nand more\r\n"), content)
        for name in (b"\r\nDate: ", b"\r\nMessage-ID: ", b"Return-Path: <user@example.org>"):
            self.assertEqual(content.count(name), 1, content)

    async def test_as_php_does(self) -> None:
        """-t -i with Bcc: the hidden recipient gets it, and nobody sees that."""
        operated = await self.prepared()
        text = b"To: a@slow.test\r\nBcc: user@example.org\r\nSubject: x\r\n\r\n\xc3\xa9\r\n"
        await self.send("-t", "-i", text=text)
        content = await self.delivered(operated)
        self.assertNotIn(b"Bcc", content)
        self.assertTrue(content.endswith(b"\r\n\r\n\xc3\xa9\r\n"))
        await operated.waiting("a@slow.test")

    async def test_click_command(self) -> None:
        """``mailrelay sendmail`` leaves options and ``--`` to the program."""
        home = Path(os.path.abspath(self.mktemp()))
        home.mkdir()
        runner = CliRunner(env={"HOME": str(home)})
        for arguments, code in ((["-bp"], EX_USAGE), (["-i", "--", "-t"], EX_CONFIG)):
            ended = runner.invoke(main, ["sendmail", *arguments])
            self.assertEqual(ended.exit_code, code, ended.output)

    async def test_server_away(self) -> None:
        """Without a server it is 75, so that the caller tries again; nothing is kept."""
        operated = await self.prepared()
        await operated.stop()
        said = await self.send("user@example.org", code=EX_TEMPFAIL)
        self.assertIn("cannot be reached", said)
        self.assertEqual([path.name for path in self.home.iterdir()], [".mailrelay-sendmail.toml"])

    async def test_unknown_recipient(self) -> None:
        """One recipient that is refused is 67, is named, and nobody gets the message."""
        operated = await self.prepared()
        said = await self.send("user@example.org", "unknown@example.org", code=EX_NOUSER)
        self.assertIn("unknown@example.org", said)
        await self.send("user@example.org", text=b"Subject: second\n\n")
        self.assertIn(b"Subject: second", await self.delivered(operated))

    async def test_wrong_password(self) -> None:
        """A password that the server refuses is 77."""
        await self.prepared(password="wrong one")
        self.assertIn("cannot log in", await self.send("user@example.org", code=EX_NOPERM))

    async def test_certificate_that_is_not_believed(self) -> None:
        """With tls = "verify" a self-signed certificate keeps the password at home."""
        await self.prepared(tls="verify")
        said = await self.send("user@example.org", code=EX_TEMPFAIL)
        self.assertIn("certificate", said.lower())

    async def test_usage(self) -> None:
        """No recipients, a broken address and no file each have their code."""
        await self.prepared()
        await self.send(code=EX_USAGE)
        await self.send("-t", text=b"Subject: x\n\n", code=EX_USAGE)
        await self.send("a b@example.org", code=EX_DATAERR)
        (self.home / ".mailrelay-sendmail.toml").chmod(0o644)
        await self.send("user@example.org", code=EX_CONFIG)
