"""What ``mailrelay-post`` is asked to do: options, token, URL.  Whatever is wrong is a deferral."""

from __future__ import annotations

import os

from mailrelay.handoff.post_verdict import MAY_BE_PERMANENT, misconfigured, reason

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST_TIMEOUT = 300
"""Seconds; pipe(8) kills and bounces after 1000."""
TOKEN_BYTES = 4096


class Call:
    """The command line.  A sender of None is not known; an empty one is the null reverse-path."""

    url = token_file = queue_id = ca = ""
    sender: str | None = None
    timeout = 60
    require_receipt = False

    def __init__(self) -> None:
        self.recipients: list[str] = []
        self.permanent: frozenset[int] = frozenset()

    def take(self, name: str, value: str) -> None:
        """One option with its value.  Raises: Undelivered."""
        if not value and name != "--sender":
            raise misconfigured(f"{name} needs a value")
        if name == "--recipient":
            self.recipients.append(value)
        elif name == "--timeout":
            self.timeout = _number(name, value, range(1, LONGEST_TIMEOUT + 1))
        elif name == "--permanent":
            numbers = [_number(name, one, MAY_BE_PERMANENT) for one in value.split(",")]
            self.permanent = frozenset(numbers)
        else:
            setattr(self, name[2:].replace("-", "_"), value)


_MANY = "an argument without option: more than one recipient, or a value without quotes?"
_TAKES_VALUE = {f"--{name}" for name in ("url", "token-file", "ca", "timeout", "permanent")}
_TAKES_VALUE |= {"--sender", "--recipient", "--queue-id"}


def _number(name: str, text: str, allowed: Iterable[int]) -> int:
    """Raises: Undelivered."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
    if number not in allowed:
        known = (
            f"1 to {allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
        )
        raise misconfigured(f"{name}: {text} is not of {known}")
    return number


def parse_call(arguments: Sequence[str]) -> Call:
    """The call.  An option's value is whatever is next: ``-x@a.test`` is an address.

    Raises: Undelivered.
    """
    call, rest = Call(), list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name == "--require-receipt" and not equals:
            call.require_receipt = True
            continue
        if name not in _TAKES_VALUE:
            raise misconfigured(f"unknown option {name}" if name[:2] == "--" else _MANY)
        if not equals and rest:
            value = rest.pop(0)
        call.take(name, value)
    return call


def read_token(path: str) -> str:
    """The file's only line, or else the environment's MAILRELAY_PSK.  Raises: Undelivered."""
    token = _token_of_file(path) if path else os.environ.get("MAILRELAY_PSK", "")
    if not path and not token:
        raise misconfigured("no token: give --token-file or set MAILRELAY_PSK")
    if not token or not all("!" <= c <= "~" for c in token):
        raise misconfigured(f"{path or 'MAILRELAY_PSK'} is not one word of printable ASCII")
    return token


def _token_of_file(path: str) -> str:
    import stat

    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(number).st_mode
            data = os.read(number, TOKEN_BYTES + 1) if stat.S_ISREG(mode) else b""
        finally:
            os.close(number)
    except (OSError, ValueError) as error:
        raise misconfigured(f"{path} cannot be read: {reason(error)}") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise misconfigured(f"{path} is open to other users: chmod 640")
    return data.decode("latin-1").strip() if len(data) <= TOKEN_BYTES else ""


class Endpoint:
    """Where the message goes: an HTTPS URL, or an HTTP one of this machine.

    Raises: Undelivered, for any other.  One with a user would show a password to all who list
    processes.
    """

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        self.authority = rest.partition("/")[0].partition("?")[0]
        target = rest[len(self.authority) :]
        self.target = target if target.startswith("/") else f"/{target}"
        if self.authority.startswith("["):
            self.host, bracket, port = self.authority[1:].partition("]")
            is_host = bool(self.host and bracket) and not set(self.host) - _IN_IPV6
        else:
            self.host, colon, port = self.authority.partition(":")
            port = colon + port
            is_host = self.host.isascii() and self.host.translate(_DELETED).isalnum()
        self.is_https = scheme.lower() == "https"
        is_plain = all("!" <= c <= "~" and c != "#" for c in url) and "@" not in self.authority
        is_known = scheme.lower() in ("http", "https") and port[:1] in ("", ":")
        if not (is_known and is_host and is_plain):
            raise misconfigured("--url is not like https://HOST[:PORT]/PATH")
        default = "443" if self.is_https else "80"
        self.port = _number("the port in --url", port[1:] or default, range(1, 65536))


_IN_IPV6 = frozenset("0123456789abcdefABCDEF:.")
_DELETED = str.maketrans("", "", "-._")
