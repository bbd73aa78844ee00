"""Submitting one message over SMTP for ``mailrelay sendmail``: where to, and doing it.

It imports nothing of the server, so that it starts quickly.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import stat
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

EX_OK, EX_USAGE, EX_DATAERR, EX_NOUSER = 0, 64, 65, 67
EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 69, 75, 77, 78

USER_FILE, SYSTEM_FILE = ".mailrelay-sendmail.toml", Path("/etc/mailrelay/sendmail.toml")
TIMEOUT = 120.0
SUBMISSIONS = 465
TLS_WORDS = ("none", "may", "encrypt", "verify")


class CannotSend(Exception):
    """Nothing was sent; ``code`` is of sysexits.h."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


# How it is submitted


@frozen
class Submission:
    """Where to, as whom."""

    host: str
    port: int
    tls: str
    implicit_tls: bool
    username: str
    password: str = field(repr=False)
    sender: str

    @property
    def domain(self) -> str:
        """For local names without one."""
        return self.sender.rpartition("@")[2]


def is_loopback(host: str) -> bool:
    """Whether what is sent to ``host`` stays on this machine."""
    return host in ("localhost", "::1") or host.startswith("127.")


def find_file(home: Path) -> Path:
    """The user's file, or the system's.  Raises: CannotSend."""
    for path in (home / USER_FILE, SYSTEM_FILE):
        if path.exists():
            return path
    raise CannotSend(EX_CONFIG, f"neither {home / USER_FILE} nor {SYSTEM_FILE} exists: make one")


_KEYS: dict[str, type] = {
    "host": str,
    "port": int,
    "tls": str,
    "implicit_tls": bool,
    "username": str,
    "password": str,
    "password_file": str,
    "from": str,
}


def read_submission(path: Path) -> Submission:
    """What ``path`` says.  Raises: CannotSend."""
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotSend(EX_CONFIG, f"{path}: {reason}") from None
    for key, value in table.items():
        if key not in _KEYS:
            raise CannotSend(EX_CONFIG, f"{path}: unknown setting {key}")
        if type(value) is not _KEYS[key]:
            raise CannotSend(EX_CONFIG, f"{path}: {key} is of the wrong kind")
    host, port = table.get("host", "127.0.0.1"), table.get("port", 587)
    tls = table.get("tls", "encrypt" if is_loopback(host) else "verify")
    if tls not in TLS_WORDS:
        raise CannotSend(EX_CONFIG, f"{path}: tls must be one of {', '.join(TLS_WORDS)}")
    password = _password(path, table)
    username = table.get("username", "")
    if bool(username) != bool(password):
        raise CannotSend(EX_CONFIG, f"{path}: username and password go together")
    if password and tls in ("none", "may") and not is_loopback(host):
        raise CannotSend(EX_CONFIG, f"{path}: tls = {tls!r} would send the password in clear")
    sender = table.get("from", username)
    if "@" not in sender:
        raise CannotSend(EX_CONFIG, f'{path}: set from = "ADDRESS", who the mail is from')
    implicit = table.get("implicit_tls", port == SUBMISSIONS)
    return Submission(host, port, tls, implicit, username, password, sender)


def _password(path: Path, table: dict[str, Any]) -> str:
    if "password" in table:
        _check_private(path)
        return str(table["password"])
    if "password_file" not in table:
        return ""
    file = path.parent / str(table["password_file"])
    _check_private(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotSend(EX_CONFIG, f"{file}: {error}") from None
    return text.split("\n", 1)[0].rstrip("\r")


def _check_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise CannotSend(EX_CONFIG, f"{path}: {error.strerror}") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise CannotSend(EX_CONFIG, f"{path} holds a password and others can read it: chmod 600")


# Sending


@frozen
class Envelope:
    """Who the message is from and for; ``notify`` and ``ret`` are for servers that know DSN."""

    sender: str
    recipients: Sequence[str]
    notify: str = ""
    ret: str = ""


def submit(submission: Submission, envelope: Envelope, content: bytes) -> None:
    """Send to all or to none.  Raises: CannotSend."""
    try:
        with _connected(submission) as smtp:
            _transaction(smtp, envelope, content)
    except CannotSend:
        raise
    except smtplib.SMTPResponseException as error:
        raise _refused(error.smtp_code, error.smtp_error, "the server") from None
    except (OSError, smtplib.SMTPException) as error:  # also ssl.SSLError and timeouts
        where = f"{submission.host}:{submission.port}"
        raise CannotSend(EX_TEMPFAIL, f"{where} cannot be reached: {error}") from None


def _context(submission: Submission) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if submission.tls != "verify":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _connected(s: Submission) -> smtplib.SMTP:
    """Greeted, encrypted as told, and logged in."""
    own = "localhost" if is_loopback(s.host) else socket.gethostname()
    smtp: smtplib.SMTP
    if s.implicit_tls:
        smtp = smtplib.SMTP_SSL(s.host, s.port, own, timeout=TIMEOUT, context=_context(s))
    else:
        smtp = smtplib.SMTP(s.host, s.port, own, timeout=TIMEOUT)
    try:
        smtp.ehlo_or_helo_if_needed()
        if not s.implicit_tls and s.tls != "none":
            if smtp.has_extn("starttls"):
                smtp.starttls(context=_context(s))
                smtp.ehlo_or_helo_if_needed()
            elif s.tls != "may":
                raise CannotSend(EX_TEMPFAIL, f"{s.host} offers no TLS, and tls is {s.tls}")
        if s.username:
            _log_in(smtp, s)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _log_in(smtp: smtplib.SMTP, s: Submission) -> None:
    try:
        smtp.login(s.username, s.password)
    except smtplib.SMTPAuthenticationError as error:
        code = EX_TEMPFAIL if error.smtp_code < 500 else EX_NOPERM
        raise CannotSend(code, f"{s.username} cannot log in: {_shown(error.smtp_error)}") from None
    except smtplib.SMTPNotSupportedError:
        raise CannotSend(EX_TEMPFAIL, f"{s.host} takes no login on port {s.port}") from None


def _transaction(smtp: smtplib.SMTP, envelope: Envelope, content: bytes) -> None:
    options = []
    if not content.isascii() and smtp.has_extn("8bitmime"):
        options.append("BODY=8BITMIME")
    if not "".join([envelope.sender, *envelope.recipients]).isascii():
        if not smtp.has_extn("smtputf8"):
            raise CannotSend(EX_DATAERR, "the server takes ASCII addresses only")
        options.append("SMTPUTF8")
    wants_dsn = smtp.has_extn("dsn")
    if wants_dsn and envelope.ret in ("FULL", "HDRS"):
        options.append(f"RET={envelope.ret}")
    _ask(smtp.mail, envelope.sender, options, who=f"sender {envelope.sender or '<>'}")
    notify = [f"NOTIFY={envelope.notify}"] if wants_dsn and envelope.notify else []
    for recipient in envelope.recipients:
        _ask(smtp.rcpt, recipient, notify, who=f"recipient {recipient}", unknown=EX_NOUSER)
    code, text = smtp.data(content)
    if code != 250:
        raise _refused(code, text, "the message")


def _ask(
    command: Callable[..., tuple[int, bytes]],
    address: str,
    options: Sequence[str],
    *,
    who: str,
    unknown: int = EX_UNAVAILABLE,
) -> None:
    code, text = command(address, options)
    if code not in (250, 251):
        raise _refused(code, text, who, unknown)


def _refused(code: int, text: bytes | str, what: str, unknown: int = EX_UNAVAILABLE) -> CannotSend:
    exit_code = EX_TEMPFAIL if code < 500 else unknown
    return CannotSend(exit_code, f"{what} is refused: {code} {_shown(text)}; nothing was sent")


def _shown(text: bytes | str) -> str:
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return "".join(c if c.isprintable() else " " for c in plain)
