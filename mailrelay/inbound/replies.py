"""The replies of the SMTP server that carry nothing of the session, and the greeting ones."""

from __future__ import annotations

from mailrelay.inbound.context import Context
from mailrelay.smtp.command import Line
from mailrelay.smtp.reply import Reply, reply

NOOP_OK = reply(250, "2.0.0", "ok")
RESET = reply(250, "2.0.0", "reset")
BYE = reply(221, "2.0.0", "bye")
START_INPUT = Reply(354, "end with <CRLF>.<CRLF>")
START_TLS = reply(220, "2.0.0", "ready for TLS")
HELP = reply(
    214, "2.0.0", "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT\nRFC 5321"
)
VRFY_ANSWER = reply(252, "2.1.5", "send mail to find out")  # RFC 5321 section 3.5.3
EXPN_REFUSED = reply(502, "5.7.0", "EXPN is switched off")
TLS_ALREADY = reply(503, "5.5.1", "TLS is already in use")
NO_TLS_AVAILABLE = reply(454, "4.7.0", "TLS is not available")
TLS_NOT_LAST = reply(501, "5.5.1", "nothing may follow STARTTLS in clear")
BARE_NEWLINE = reply(550, "5.6.0", "bare CR or LF: lines end with CRLF (RFC 5321 section 2.3.8)")
NUL_IN_CONTENT = reply(550, "5.6.0", "content must not have NUL")
HTTP_HERE = reply(421, "4.7.0", "this is SMTP, not HTTP")
REQUIRETLS_NEEDS_TLS = reply(530, "5.7.10", "REQUIRETLS needs TLS")
FUTURE_RELEASE_ELSEWHERE = reply(555, "5.5.4", "FUTURERELEASE is for submission")
FUTURE_RELEASE_PAST = reply(501, "5.5.4", "release time is past or too far ahead")
CHUNK_TOO_LARGE = reply(421, "4.3.4", "chunk is larger than this server takes")
CHUNK_OK = reply(250, "2.0.0", "chunk received")
ASCII_ADDRESS = reply(553, "5.6.7", "an address beyond ASCII needs SMTPUTF8")
SENDER_OK = reply(250, "2.1.0", "sender ok")
RECIPIENT_OK = reply(250, "2.1.5", "recipient ok")
ONE_AT_A_TIME = reply(452, "4.5.3", "one recipient at a time: an application answers for itself")
MUST_LOGIN = reply(530, "5.7.0", "log in first")
MUST_START_TLS = reply(530, "5.7.0", "issue STARTTLS first")

AUTH_OK = reply(235, "2.7.0", "logged in")
AUTH_ALREADY = reply(503, "5.5.1", "already logged in")
AUTH_NOT_HERE = reply(503, "5.5.1", "AUTH is for the submission ports")
AUTH_NEEDS_TLS = reply(538, "5.7.11", "AUTH needs TLS: issue STARTTLS first")
AUTH_UNKNOWN = reply(504, "5.5.4", "unknown authentication mechanism")
AUTH_SYNTAX = reply(501, "5.5.4", "syntax: AUTH mechanism [initial response in base64]")
AUTH_NOT_BASE64 = reply(501, "5.5.2", "response is not base64")
AUTH_CANCELED = reply(501, "5.7.0", "authentication canceled")
AUTH_FAILED = reply(535, "5.7.8", "authentication failed")
AUTH_TOO_OFTEN = reply(421, "4.7.0", "too many failed logins, try again later")
AUTH_BUSY = reply(454, "4.7.0", "too many logins at once, try again later")


def greeting(hostname: str) -> Reply:
    """What the client hears first."""
    return Reply(220, f"{hostname} ESMTP mailrelay")


def hello(context: Context, command: Line, *, tls: bool) -> Reply:
    """The answer to EHLO or HELO; what is offered here works."""
    name = context.hostname
    if command.verb == "HELO":
        return Reply(250, name)
    return Reply(250, "\n".join([name, *offered(context, tls=tls)]))


def offered(context: Context, *, tls: bool) -> list[str]:
    """The extensions, a line each."""
    listener = context.listener
    lines = ["PIPELINING", f"SIZE {listener.limits.message_bytes}", "8BITMIME"]
    if listener.smtputf8:
        lines.append("SMTPUTF8")
    lines += ["ENHANCEDSTATUSCODES", "CHUNKING", "DSN"]
    if context.certificate is not None and not tls:
        lines.append("STARTTLS")
    if tls:
        lines.append("REQUIRETLS")  # RFC 8689 section 2: only within TLS
    if listener.role.is_submission:
        if tls or listener.auth_without_tls:
            lines.append(f"AUTH {' '.join(mechanisms(tls=tls))}")
        lines.append("FUTURERELEASE 5184000 2099-12-31T23:59:59Z")
    lines.append(f"LIMITS RCPTMAX={listener.limits.recipients}")
    return lines


def mechanisms(*, tls: bool) -> list[str]:
    """The SASL mechanisms, strongest first; channel binding needs a channel."""
    plus = ["SCRAM-SHA-256-PLUS"] if tls else []
    return [*plus, "SCRAM-SHA-256", "PLAIN", "LOGIN"]
