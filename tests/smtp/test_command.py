"""Command lines: every command and parameter, good and bad."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.address import Address
from mailrelay.smtp.command import BadCommand, Bdat, Line, Mail, Notify, Rcpt, parse_command

USER = Address("u", "example.org")

GOOD = {
    "EHLO client.example": Line("EHLO", "client.example"),
    "ehlo client.example": Line("EHLO", "client.example"),
    "HELO client.example rest": Line("HELO", "client.example"),
    "EHLO   client.example  ": Line("EHLO", "client.example"),
    "EHLO -": Line("EHLO", "-"),
    "EHLO my_host": Line("EHLO", "my_host"),
    "EHLO [192.0.2.1]": Line("EHLO", "[192.0.2.1]"),
    "EHLO [IPv6:2001:db8::1]": Line("EHLO", "[IPv6:2001:db8::1]"),
    "EHLO münchen.example": Line("EHLO", "xn--mnchen-3ya.example"),
    "DATA": Line("DATA"),
    "data ": Line("DATA"),
    "RSET": Line("RSET"),
    "QUIT": Line("QUIT"),
    "STARTTLS": Line("STARTTLS"),
    "NOOP": Line("NOOP"),
    "NOOP anything at all": Line("NOOP", "anything at all"),
    "HELP MAIL": Line("HELP", "MAIL"),
    "VRFY u@example.org": Line("VRFY", "u@example.org"),
    "EXPN list": Line("EXPN", "list"),
    "AUTH PLAIN AGEAYg==": Line("AUTH", "PLAIN AGEAYg=="),
    "MAIL FROM:<>": Mail(None),
    "MAIL FROM:<u@example.org>": Mail(USER),
    "mail from:<u@example.org>": Mail(USER),
    "MAIL FROM: <u@example.org>": Mail(USER),
    "MAIL FROM:<u@example.org>   SIZE=1   BODY=7BIT": Mail(USER, size_bytes=1),
    "MAIL FROM:<u@example.org> SIZE=0": Mail(USER, size_bytes=0),
    "MAIL FROM:<u@example.org> SIZE=" + "9" * 20: Mail(USER, size_bytes=10**20 - 1),
    "MAIL FROM:<u@example.org> size=5 body=8bitmime": Mail(USER, size_bytes=5, eight_bit=True),
    "MAIL FROM:<ü@example.org> SMTPUTF8": Mail(Address("ü", "example.org"), smtputf8=True),
    "MAIL FROM:<u@example.org> RET=full": Mail(USER, ret="FULL"),
    "MAIL FROM:<u@example.org> RET=HDRS ENVID=a+2Bb": Mail(USER, ret="HDRS", envid="a+b"),
    "MAIL FROM:<u@example.org> REQUIRETLS": Mail(USER, require_tls=True),
    "MAIL FROM:<u@example.org> HOLDFOR=60": Mail(USER, hold_for=60),
    "MAIL FROM:<u@example.org> HOLDUNTIL=1970-01-02T00:00:00Z": Mail(USER, hold_until=86400.0),
    "MAIL FROM:<u@example.org> HOLDUNTIL=1970-01-02T01:00:00+01:00": Mail(USER, hold_until=86400.0),
    "MAIL FROM:<u@example.org> HOLDUNTIL=1970-01-01t00:00:00.5z": Mail(USER, hold_until=0.5),
    "MAIL FROM:<u@example.org> AUTH=<>": Mail(USER),
    "MAIL FROM:<u@example.org> AUTH=other+40example.org SIZE=1": Mail(USER, size_bytes=1),
    "RCPT TO:<u@example.org>": Rcpt(USER),
    "rcpt to: <u@example.org>": Rcpt(USER),
    "RCPT TO:<postmaster>": Rcpt(Address("postmaster", "")),
    "RCPT TO:<ü@example.org>": Rcpt(Address("ü", "example.org"), beyond_ascii=True),
    "RCPT TO:<@relay.example:u@example.org>": Rcpt(USER),
    "RCPT TO:<u@example.org> NOTIFY=NEVER": Rcpt(USER, frozenset({Notify.NEVER})),
    "RCPT TO:<u@example.org> NOTIFY=success,Delay,FAILURE": Rcpt(
        USER, frozenset({Notify.SUCCESS, Notify.DELAY, Notify.FAILURE})
    ),
    "RCPT TO:<u@example.org> ORCPT=rfc822;v+2Bw@example.net": Rcpt(
        USER, orcpt="rfc822;v+w@example.net"
    ),
    r"RCPT TO:<u@example.org> ORCPT=utf-8;\x{E9}@example.net": Rcpt(
        USER, orcpt=r"utf-8;\x{E9}@example.net"
    ),
    "RCPT TO:<u@example.org> ORCPT=UTF-8;é@example.net": Rcpt(
        USER, orcpt=r"UTF-8;\x{E9}@example.net", beyond_ascii=True
    ),
    "BDAT 0": Bdat(0, last=False),
    "bdat 10 last": Bdat(10, last=True),
    "BDAT  10   LAST": Bdat(10, last=True),
}

M, R = "MAIL FROM:<u@example.org> ", "RCPT TO:<u@example.org> "
BAD = {
    "": 500,
    " ": 500,
    "FOO": 500,
    " EHLO client.example": 500,
    "MAILFROM:<u@example.org>": 500,
    "XCLIENT ADDR=192.0.2.1": 500,
    "R\u017fET": 500,  # its upper case is RSET
    "MA\u0131L FROM:<>": 500,
    "NOOP \x1b[2J": 500,
    "NOOP \u2028": 500,
    "NOOP \x7f": 500,
    "NOOP\t": 500,
    "MAIL FROM:<u\0@example.org>": 500,
    "EHLO": 501,
    "HELO ": 501,
    "EHLO (client)": 501,
    "EHLO a;b": 501,
    "EHLO <client>": 501,
    "EHLO " + "x" * 256: 501,
    "DATA now": 501,
    "RSET x": 501,
    "QUIT x": 501,
    "STARTTLS x": 501,
    "MAIL": 501,
    "MAIL FROM": 501,
    "MAIL FROM:": 501,
    "MAIL FROM:u@example.org": 501,
    "MAIL FROM <u@example.org>": 501,
    "MAIL TO:<u@example.org>": 501,
    "MAIL FROM:<u@example.org>SIZE=1": 501,
    "MAIL FROM:<postmaster>": 501,
    "MAIL FROM:<ü@example.org>": 553,
    M + "FOO": 555,
    M + "FOO=1": 555,
    M + "\u017fIZE=1": 555,
    M + "NOTIFY=NEVER": 555,
    M + "BODY=BINARYMIME": 501,
    M + "BODY=8B\u0131TMIME": 501,
    M + "BODY": 501,
    M + "BODY=": 501,
    M + "SIZE": 501,
    M + "SIZE=": 501,
    M + "SIZE=-1": 501,
    M + "SIZE=+1": 501,
    M + "SIZE=1_000": 501,
    M + "SIZE=\u0661": 501,
    M + "SIZE=0x10": 501,
    M + "SIZE=" + "9" * 21: 501,
    M + "SIZE=1 SIZE=2": 501,
    M + "SMTPUTF8=1": 501,
    M + "SMTPUTF8=": 501,
    M + "REQUIRETLS=": 501,
    M + "RET=ALL": 501,
    M + "RET": 501,
    M + "ENVID=": 501,
    M + "ENVID=a b=c": 555,
    M + "ENVID=a+0A": 501,
    M + "ENVID=a+E9": 501,
    M + "ENVID=a+2b": 501,
    M + "ENVID=é": 501,
    M + "ENVID=" + "x" * 101: 501,
    M + "HOLDFOR=": 501,
    M + "HOLDFOR=1.5": 501,
    M + "HOLDFOR=" + "9" * 10: 501,
    M + "HOLDUNTIL=tomorrow": 501,
    M + "HOLDUNTIL=2030-02-30T00:00:00Z": 501,
    M + "HOLDUNTIL=2030-01-01T00:00:00": 501,
    M + "HOLDUNTIL=2030-01-01 00:00:00Z": 501,
    M + "HOLDUNTIL=203\u0660-01-01T00:00:00Z": 501,
    M + "HOLDUNTIL=0001-01-01T00:00:00+23:59": 501,
    M + "HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z": 501,
    M + "AUTH": 501,
    M + "AUTH=": 501,
    M + "AUTH=a+zz": 501,
    "VRFY": 501,
    "RCPT": 501,
    "RCPT TO:<>": 501,
    "RCPT TO:<u>": 501,
    "RCPT TO:<u@>": 501,
    "RCPT FROM:<u@example.org>": 501,
    R + "SIZE=1": 555,
    R + "NOTIFY": 501,
    R + "NOTIFY=": 501,
    R + "NOTIFY=NEVER,DELAY": 501,
    R + "NOTIFY=SOMETIMES": 501,
    R + "NOTIFY=SUCCESS,": 501,
    R + "NOTIFY=\u017fUCCESS": 501,
    R + "ORCPT=": 501,
    R + "ORCPT=u@example.org": 501,
    R + "ORCPT=;u@example.org": 501,
    R + "ORCPT=rf c822;u": 501,
    R + "ORCPT=rfc_822;u@example.org": 501,
    R + "ORCPT=rfc822;u+0D+0Aevil: yes": 501,
    R + "ORCPT=rfc822;u+0D+0Aevil": 501,
    R + "ORCPT=rfc822;u+C3+A9": 501,
    R + "ORCPT=utf-8;": 501,
    R + "ORCPT=utf-8;a+2Bb@example.org": 501,
    R + "ORCPT=utf-8;\\a@example.org": 501,
    R + "ORCPT=rfc822;" + "x" * 500: 501,
    "BDAT": 501,
    "BDAT LAST": 501,
    "BDAT -1": 501,
    "BDAT 1 FIRST": 501,
    "BDAT 1LAST": 501,
    "BDAT 0x1": 501,
    "BDAT \u0663": 501,
    "BDAT 1 LA\u017fT": 501,
    "BDAT " + "9" * 16: 501,
}


class ParseCommandTests(SynchronousTestCase):
    """parse_command."""

    def test_good(self) -> None:
        """Each good line is read to its value."""
        for line, value in GOOD.items():
            with self.subTest(line):
                self.assertEqual(parse_command(line.encode()), value)

    def test_bad(self) -> None:
        """Each bad line gets a reply of its own code, within one line."""
        for line, code in BAD.items():
            with self.subTest(line):
                answer = self.assertRaises(BadCommand, parse_command, line.encode()).reply
                self.assertEqual(answer.code, code)
                self.assertTrue(answer.text.isprintable())

    def test_statuses(self) -> None:
        """Bad paths say by their enhanced status which one (RFC 3463 section 3.2)."""
        for line, status in {
            b"MAIL FROM:<u@>": "5.1.7",
            b"RCPT TO:<u@>": "5.1.3",
            b"RCPT TO:<>": "5.1.3",
            "MAIL FROM:<ü@example.org>".encode(): "5.6.7",
            b"FOO": "5.5.1",
        }.items():
            answer = self.assertRaises(BadCommand, parse_command, line).reply
            self.assertEqual(str(answer.status), status)

    def test_not_utf8(self) -> None:
        """Bytes that are no UTF-8 are refused, wherever they stand."""
        for line in (b"\xff", b"NOOP \xff", b"MAIL FROM:<\xc3@example.org>", b"EHLO \xed\xa0\x80"):
            self.assertEqual(self.assertRaises(BadCommand, parse_command, line).reply.code, 500)

    def test_hostile_lengths(self) -> None:
        """100 kB of anything come to an end with a reply (threat 27)."""
        for line in (
            "MAIL FROM:<u@example.org> SIZE=" + "9" * 100_000,
            "MAIL FROM:<u@example.org>" + " X=" * 33_000,
            "MAIL FROM:<u@example.org> ENVID=" + "+41" * 33_000,
            "RCPT TO:<" + "@a," * 33_000,
            "RCPT TO:<u@example.org> NOTIFY=" + "DELAY," * 16_000,
            "RCPT TO:<u@example.org> ORCPT=utf-8;" + "\\x{E9}" * 16_000,
            "BDAT " + "1" * 100_000,
            "BDAT 1" + " " * 100_000 + "x",
            "EHLO " + "a." * 50_000,
            "A" * 100_000,
        ):
            answer = self.assertRaises(BadCommand, parse_command, line.encode()).reply
            self.assertLess(len(answer.to_wire()), 1000)

    def test_the_error_names_its_reply(self) -> None:
        """What was raised can be logged: it says what is answered."""
        error = self.assertRaises(BadCommand, parse_command, b"FOO")
        self.assertEqual(str(error), str(error.reply))

    def test_secrets_are_not_repeated(self) -> None:
        """Neither a refusal nor the value's repr shows what stood behind AUTH (threat 21)."""
        error = self.assertRaises(BadCommand, parse_command, b"AUTHX PLAIN c2VjcmV0")
        self.assertNotIn("c2VjcmV0", str(error))
        self.assertNotIn("c2VjcmV0", repr(parse_command(b"AUTH PLAIN c2VjcmV0")))

    @given(st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40))
    def test_only_declared(self, text: str) -> None:
        """Any line is a command or a BadCommand with a 5yz reply."""
        try:
            parse_command(text.encode())
        except BadCommand as error:
            self.assertTrue(error.reply.is_permanent)
