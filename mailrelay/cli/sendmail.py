"""``mailrelay sendmail`` and ``mailrelay-sendmail``: what cron and PHP call ``sendmail``.

Reads a message from standard input and submits it over SMTP, as the file
``~/.mailrelay-sendmail.toml``, or else ``/etc/mailrelay/sendmail.toml``, says::

    host = "127.0.0.1"       # the default
    port = 587               # 465 implies TLS from the first byte
    tls = "encrypt"          # none, may, encrypt or verify; verify unless the host is loopback
    username = "user@example.org"
    password_file = "secret" # or password = "..."; not readable by others
    from = "user@example.org"

It queues nothing: either the server has taken the message for every recipient, or the exit code
(sysexits.h) says why not and nothing was sent; 75 asks the caller to try again.

It imports nothing of the server, so that it starts quickly.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
from collections.abc import Sequence
from email import policy
from email.header import Header
from email.message import Message
from email.parser import HeaderParser
from email.utils import formatdate, getaddresses, make_msgid, parseaddr
from pathlib import Path
from typing import BinaryIO, NoReturn

import click
from attrs import define, field

from mailrelay.cli.submission import (
    EX_DATAERR,
    EX_OK,
    EX_USAGE,
    CannotSend,
    Envelope,
    Submission,
    find_file,
    read_submission,
    submit,
)

# What the caller asks


@define
class Call:
    """The command line."""

    recipients: list[str] = field(factory=list)
    from_header: bool = False  # -t
    dot_ends: bool = True  # no -i
    sender: str = ""
    full_name: str = ""
    notify: str = ""
    ret: str = ""


_TAKES_VALUE = frozenset("ABCFLNORVXbdefhopqr")
_ATTACHED_ONLY = frozenset("dq")
"""Those of them whose value is never the next argument."""


def parse_call(arguments: Sequence[str]) -> Call:
    """The call, as every sendmail understands it; what only an MTA needs is passed over.

    Raises: CannotSend.
    """
    call = Call()
    rest = list(arguments)
    while rest:
        one = rest.pop(0)
        if one == "--":
            call.recipients += rest
            break
        if not one.startswith("-") or one == "-":
            call.recipients.append(one)
            continue
        letters = one[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            value = ""
            if letter in _TAKES_VALUE:
                value, letters = letters, ""
                if not value and letter not in _ATTACHED_ONLY:
                    if not rest:
                        raise CannotSend(EX_USAGE, f"-{letter} needs a value")
                    value = rest.pop(0)
            _option(call, letter, value)
    return call


def _option(call: Call, letter: str, value: str) -> None:
    if letter == "t":
        call.from_header = True
    elif letter == "i" or (letter == "o" and value.startswith("i")):
        call.dot_ends = False
    elif letter in "fr":
        call.sender = value.removeprefix("<").removesuffix(">")
    elif letter == "F":
        call.full_name = value
    elif letter == "N":
        call.notify = value.upper()
    elif letter == "R":
        call.ret = value.upper()
    elif letter == "b" and value != "m":
        remedy = {"p": ": use mailrelay queue list", "s": ": speak SMTP to the server"}
        raise CannotSend(EX_USAGE, f"-b{value} is not for this program{remedy.get(value, '')}")
    elif letter == "q":
        raise CannotSend(EX_USAGE, "-q: there is no queue here: use mailrelay queue retry")


# The message


_EOL = re.compile(rb"\r\n|\r|\n")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


def read_message(source: BinaryIO, *, dot_ends: bool) -> bytes:
    """Standard input with CRLF line ends, up to a line with a dot alone if that ends it."""
    lines: list[bytes] = []
    for line in source:
        if dot_ends and line.rstrip(b"\r\n") == b".":
            break
        lines.append(line)
    return _EOL.sub(b"\r\n", b"".join(lines))


def split_message(data: bytes) -> tuple[list[bytes], bytes]:
    """Header fields, each with its folded lines and CRLF, and the body without the empty line."""
    fields: list[bytes] = []
    position = 0
    while position < len(data):
        end = data.find(b"\r\n", position)
        line = data[position : end + 2] if end >= 0 else data[position:] + b"\r\n"
        following = end + 2 if end >= 0 else len(data)
        if line == b"\r\n":
            return fields, data[following:]
        if fields and line[:1] in b" \t":
            fields[-1] += line
        elif _FIELD.match(line):
            fields.append(line)
        elif not (position == 0 and line.startswith(b"From ")):  # the mark of mbox files
            return fields, data[position:]
        position = following
    return fields, b""


def _name(one: bytes) -> str:
    return one.split(b":", 1)[0].strip().lower().decode("ascii")


def parsed_header(fields: Sequence[bytes]) -> Message:
    """The fields, for looking at; bytes beyond ASCII are UTF-8."""
    text = b"".join(fields).decode("utf-8", "replace")
    return HeaderParser(policy=policy.compat32).parsestr(text + "\r\n")


def recipients_in(fields: Sequence[bytes], domain: str) -> list[str]:
    """Who the header says it goes to; of a resent message, to whom it was resent."""
    header = parsed_header(fields)
    names = ("resent-to", "resent-cc", "resent-bcc")
    if not any(header.get_all(name) for name in names):
        names = ("to", "cc", "bcc")
    texts = [str(value) for name in names for value in header.get_all(name, [])]
    addresses = [address for _, address in getaddresses(texts) if address]
    return [qualified(address, domain) for address in addresses]


def qualified(address: str, domain: str) -> str:
    """``address`` with ``domain`` if it has none."""
    bare = address.removeprefix("<").removesuffix(">")
    return bare if "@" in bare else f"{bare}@{domain}"


def completed(fields: Sequence[bytes], call: Call, submission: Submission) -> list[bytes]:
    """The header with what was missing; without Bcc when the recipients came from it."""
    dropped = ("bcc", "resent-bcc") if call.from_header else ()
    kept = [one for one in fields if _name(one) not in dropped]
    present = {_name(one) for one in kept}
    sender = call.sender if "@" in call.sender else submission.sender
    if "from" not in present:
        kept.append(_from_field(call.full_name, sender))
    else:
        kept = [_with_domain(one, sender) if _name(one) == "from" else one for one in kept]
    if "date" not in present:
        kept.append(f"Date: {formatdate(localtime=True)}\r\n".encode())
    if "message-id" not in present:
        kept.append(f"Message-ID: {make_msgid(domain=submission.domain)}\r\n".encode())
    return kept


def _with_domain(one: bytes, sender: str) -> bytes:
    """``From: root (Cron Daemon)``, as cron says, with an address that can be answered."""
    header = parsed_header([one])
    name, address = parseaddr(str(header["from"]))
    return _from_field(name, sender) if address and "@" not in address else one


def _from_field(name: str, address: str) -> bytes:
    clean = "".join(c if c.isprintable() else " " for c in name).strip()
    if not clean:
        return f"From: {address}\r\n".encode()
    if clean.isascii():
        quoted = clean.replace("\\", "\\\\").replace('"', '\\"')
        return f'From: "{quoted}" <{address}>\r\n'.encode()
    return f"From: {Header(clean, 'utf-8').encode()} <{address}>\r\n".encode()


# The program


def run(arguments: Sequence[str], source: BinaryIO) -> None:
    """Everything.  Raises: CannotSend."""
    call = parse_call(arguments)
    submission = read_submission(find_file(_home()))
    fields, body = split_message(read_message(source, dot_ends=call.dot_ends))
    recipients = [qualified(one, submission.domain) for one in call.recipients]
    if call.from_header:
        recipients += recipients_in(fields, submission.domain)
    recipients = list(dict.fromkeys(recipients))
    if not recipients:
        remedy = "the header names none" if call.from_header else "name some, or give -t"
        raise CannotSend(EX_USAGE, f"no recipients: {remedy}")
    for one in (*recipients, call.sender):
        if not one.isprintable() or any(c in one for c in "<> \N{REPLACEMENT CHARACTER}"):
            raise CannotSend(EX_DATAERR, f"{one!r} is no address")
    sender = call.sender if "@" in call.sender else submission.sender
    content = b"".join(completed(fields, call, submission)) + b"\r\n" + body
    submit(submission, Envelope(sender, recipients, call.notify, call.ret), content)


def _home() -> Path:
    home = os.environ.get("HOME")
    try:
        return Path(home or pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script."""
    try:
        run(sys.argv[1:] if arguments is None else arguments, sys.stdin.buffer)
    except CannotSend as error:
        print(f"sendmail: {error}", file=sys.stderr)
        sys.exit(error.code)
    sys.exit(EX_OK)


class _Untouched(click.Command):
    """Its arguments are not click's to read: ``--`` and ``-t`` mean what they always meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click.Command."""
        ctx.params = {"arguments": tuple(args)}
        return []


@click.command(cls=_Untouched, add_help_option=False)
def sendmail(arguments: tuple[str, ...]) -> None:
    """Submit a message from standard input, as /usr/sbin/sendmail does for cron and PHP."""
    main(arguments)
