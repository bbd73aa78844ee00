"""Command lines into values (RFC 5321 section 4.1.1 and the extensions that we offer).

``parse_command`` reads one line; what it cannot read is a ``BadCommand`` that carries its reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from attrs import field, frozen

from mailrelay.smtp.address import Address, MalformedAddress, normal_domain, parse_path
from mailrelay.smtp.reply import Reply, reply
from mailrelay.smtp.xtext import MalformedXtext, decode_xtext

MAX_COMMAND_LINE_BYTES = 2048
"""RFC 5321 section 4.5.3.1.4 asks for 512, DSN, SMTPUTF8 and AUTH for about a thousand more."""

MAX_AUTH_LINE_BYTES = 12288
"""RFC 4954 section 4."""


class BadCommand(Exception):
    """The line cannot be obeyed; ``reply`` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Notify(Enum):
    """When a recipient's DSN is wanted (RFC 3461 section 4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


@frozen
class Line:
    """A command with nothing but its argument: HELO, EHLO, VRFY, AUTH, BDAT and the bare ones."""

    verb: str
    argument: str = field(default="", repr=False)  # AUTH's may be a password


@frozen
class Mail:
    """``MAIL FROM``: the reverse-path, None when null, and what the client asks for it."""

    verb = "MAIL"
    reverse_path: Address | None
    size_bytes: int | None = None
    eight_bit: bool = False
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    require_tls: bool = False
    hold_for: int | None = None
    hold_until: float | None = None


@frozen
class Rcpt:
    """``RCPT TO``: one forward-path.  ``notify`` is empty when the client did not say."""

    verb = "RCPT"
    forward_path: Address
    notify: frozenset[Notify] = frozenset()
    orcpt: str | None = None
    beyond_ascii: bool = False  # as it was written: MAIL must have asked for SMTPUTF8


@frozen
class Bdat:
    """``BDAT``: a chunk of ``size_bytes``, the last one or not (RFC 3030 section 2)."""

    verb = "BDAT"
    size_bytes: int
    last: bool


Command = Line | Mail | Rcpt | Bdat

UNKNOWN = reply(500, "5.5.1", "command not recognised")
LINE_TOO_LONG = reply(500, "5.5.6", "line too long")
NOT_ASCII = reply(500, "5.5.2", "command is not UTF-8, or has a control character")


def parse_command(line: bytes) -> Command:
    """The command that ``line``, without its CRLF, is.

    Raises: BadCommand.
    """
    try:
        text = line.decode("utf-8").rstrip(" ")
    except UnicodeDecodeError:
        raise BadCommand(NOT_ASCII) from None
    if not text.isprintable():
        raise BadCommand(NOT_ASCII)
    verb, _, argument = text.partition(" ")
    verb = _upper(verb)
    parse = _PARSERS.get(verb)
    if parse is None:
        raise BadCommand(UNKNOWN)
    return parse(verb, argument.strip(" "))


def _upper(text: str) -> str:
    """``text`` in upper case if it is ASCII: of the rest, some become ASCII letters by it."""
    return text.upper() if text.isascii() else text


def _syntax(text: str) -> BadCommand:
    return BadCommand(reply(501, "5.5.4", text))


def _line(verb: str, argument: str) -> Line:
    return Line(verb, argument)


def _vrfy(verb: str, argument: str) -> Line:
    if not argument:  # RFC 5321 section 4.1.1.6
        raise _syntax("VRFY needs a user or mailbox")
    return Line(verb, argument)


def _bare(verb: str, argument: str) -> Line:
    if argument:
        raise _syntax(f"{verb} takes no argument")
    return Line(verb)


def _hello(verb: str, argument: str) -> Line:
    name = argument.split(" ", 1)[0]
    if not name:
        raise _syntax(f"{verb} needs your host name")
    try:
        # Underscores and the like are common and harmless; only what breaks a trace header is not.
        if not _HELO_NAME.fullmatch(name):
            name = normal_domain(name)  # the trace must be ASCII
    except MalformedAddress:
        raise _syntax(f"{verb} needs a host name or an address literal") from None
    return Line(verb, name)


def _mail(_: str, argument: str) -> Mail:
    reverse_path, parameters = _path(argument, "FROM:", "MAIL FROM:<address>", "5.1.7")
    values = _parameters(parameters, _MAIL_PARAMETERS)
    if "hold_for" in values and "hold_until" in values:  # RFC 4865 section 4.2
        raise _syntax("HOLDFOR and HOLDUNTIL exclude each other")
    mail = Mail(reverse_path, **values)
    if not argument.isascii() and not mail.smtputf8:  # RFC 6531 section 3.4
        raise BadCommand(reply(553, "5.6.7", "an address beyond ASCII needs SMTPUTF8"))
    if reverse_path is not None and not reverse_path.domain:
        raise BadCommand(reply(501, "5.1.7", "reverse-path has no domain"))
    return mail


def _rcpt(_: str, argument: str) -> Rcpt:
    forward_path, parameters = _path(argument, "TO:", "RCPT TO:<address>", "5.1.3")
    if forward_path is None:
        raise BadCommand(reply(501, "5.1.3", "forward-path is empty"))
    values = _parameters(parameters, _RCPT_PARAMETERS)
    return Rcpt(forward_path, **values, beyond_ascii=not argument.isascii())


def _bdat(_: str, argument: str) -> Bdat:
    match = _BDAT.fullmatch(argument)
    if match is None:
        raise _syntax("BDAT size [LAST]")
    return Bdat(int(match.group(1)), match.group(2) is not None)


def _path(argument: str, keyword: str, usage: str, status: str) -> tuple[Address | None, str]:
    if argument[: len(keyword)].upper() != keyword:
        raise _syntax(f"syntax: {usage}")
    try:
        # A space after the colon is not allowed but sent by many; Postfix takes it too.
        path, rest = parse_path(argument[len(keyword) :].lstrip(" "))
    except MalformedAddress as error:
        raise BadCommand(reply(501, status, str(error))) from None
    if rest and not rest.startswith(" "):
        raise _syntax(f"syntax: {usage} [parameters]")
    return path, rest


def _parameters(text: str, known: dict[str, _Parameter]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for word in text.split():
        keyword, equals, value = word.partition("=")
        parameter = known.get(_upper(keyword))
        if parameter is None:
            # RFC 5321 section 4.1.1.11: 555 for parameters not recognised or not implemented.
            raise BadCommand(reply(555, "5.5.4", f"parameter {keyword[:40]} not recognised"))
        if parameter.attribute in values:
            raise _syntax(f"{keyword.upper()} given twice")
        if bool(equals) != (parameter.read is not _flag):
            raise _syntax(f"{keyword.upper()} {'needs a' if not equals else 'takes no'} value")
        try:
            values[parameter.attribute] = parameter.read(value)
        except (ValueError, OverflowError) as error:
            raise _syntax(f"{keyword.upper()}: {error}") from None
    values.pop("_ignored", None)
    return values


@frozen
class _Parameter:
    attribute: str
    read: Callable[[str], object] = field()


def _flag(_: str) -> bool:
    return True


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise ValueError("not a number of at most 20 digits")  # RFC 1870 section 4
    return int(text)


def _holdfor(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError("not a number of at most 9 digits")  # RFC 4865 section 4.1
    return int(text)


def _holduntil(text: str) -> float:
    if not _DATE_TIME.fullmatch(text):
        raise ValueError("not a date-time such as 2030-01-02T03:04:05Z")
    moment = datetime.fromisoformat(text.upper())
    return moment.astimezone(UTC).timestamp()


def _body(text: str) -> bool:
    if _upper(text) not in ("7BIT", "8BITMIME"):
        raise ValueError("must be 7BIT or 8BITMIME")  # BINARYMIME is not offered
    return _upper(text) == "8BITMIME"


def _ret(text: str) -> str:
    if text.upper() not in ("FULL", "HDRS"):
        raise ValueError("must be FULL or HDRS")
    return text.upper()


def _envid(text: str) -> str:
    if not text or len(text) > 100:  # RFC 3461 section 4.4
        raise ValueError("must have 1 to 100 characters")
    return _xtext(text)


def _xtext(text: str) -> str:
    try:
        decoded = decode_xtext(text)
    except MalformedXtext as error:
        raise ValueError(str(error)) from None
    # RFC 3461 sections 4.2 and 4.4: printable US-ASCII, for it goes into the DSN's fields.
    if not (decoded.isascii() and decoded.isprintable()):
        raise ValueError("has control characters, or some beyond ASCII")
    return decoded


def _auth(text: str) -> str:
    """Read and ignored, as RFC 4954 section 5 allows: ``<>`` or a mailbox."""
    if not text:
        raise ValueError("must be <> or a mailbox")
    return _xtext(text) if text.isascii() else _utf8_address(text)


def _notify(text: str) -> frozenset[Notify]:
    wanted = frozenset(Notify(word) for word in _upper(text).split(","))
    if Notify.NEVER in wanted and len(wanted) > 1:
        raise ValueError("NEVER stands alone")  # RFC 3461 section 4.1
    return wanted


def original_recipient(text: str) -> str:
    """``addr-type;address`` as Rcpt has it, of one whose address is not in xtext.

    Raises: ValueError.
    """
    type_, value = _addr_type(text)
    if type_.lower() == "utf-8":
        return f"{type_};{_utf8_address(value)}"
    if not (value.isascii() and value.isprintable()):
        raise ValueError("has control characters, or some beyond ASCII")
    return text


def _orcpt(text: str) -> str:
    type_, value = _addr_type(text)
    return f"{type_};{_utf8_address(value) if type_.lower() == 'utf-8' else _xtext(value)}"


def _addr_type(text: str) -> tuple[str, str]:
    """What is before the semicolon, and what is behind it."""
    type_, semicolon, value = text.partition(";")
    if not semicolon or not _ATOM.fullmatch(type_) or len(text) > 500:
        raise ValueError("must be addr-type;address")
    return type_, value


def _utf8_address(text: str) -> str:
    """RFC 6533 section 3, in the form that every server and every DSN can take: ASCII."""
    if not _UTF8_ADDRESS.fullmatch(text):
        raise ValueError("not a utf-8-addr-xtext or utf-8-addr-unitext")
    return "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in text)


_MAIL_PARAMETERS = {
    "SIZE": _Parameter("size_bytes", _number),
    "BODY": _Parameter("eight_bit", _body),
    "SMTPUTF8": _Parameter("smtputf8", _flag),
    "RET": _Parameter("ret", _ret),
    "ENVID": _Parameter("envid", _envid),
    "REQUIRETLS": _Parameter("require_tls", _flag),
    "HOLDFOR": _Parameter("hold_for", _holdfor),
    "HOLDUNTIL": _Parameter("hold_until", _holduntil),
    "AUTH": _Parameter("_ignored", _auth),
}
_RCPT_PARAMETERS = {
    "NOTIFY": _Parameter("notify", _notify),
    "ORCPT": _Parameter("orcpt", _orcpt),
}
_PARSERS: dict[str, Callable[[str, str], Command]] = {
    "HELO": _hello,
    "EHLO": _hello,
    "MAIL": _mail,
    "RCPT": _rcpt,
    "DATA": _bare,
    "BDAT": _bdat,
    "RSET": _bare,
    "NOOP": _line,
    "QUIT": _bare,
    "VRFY": _vrfy,
    "EXPN": _line,
    "HELP": _line,
    "STARTTLS": _bare,
    "AUTH": _line,
}
_HELO_NAME = re.compile(r"[A-Za-z0-9._\-]{1,255}|\[[A-Za-z0-9:.]{2,50}\]")
_BDAT = re.compile(r"(\d{1,15})(?: +(LAST))?", re.IGNORECASE | re.ASCII)
_ATOM = re.compile(r"[A-Za-z0-9\-]{1,40}")
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)",
    re.IGNORECASE | re.ASCII,
)
_UTF8_ADDRESS = re.compile(r"(?:[!-*,-<>-\[\]-~]|[^\x00-\x7f]|\\x\{[0-9A-F]{2,6}\})+")
