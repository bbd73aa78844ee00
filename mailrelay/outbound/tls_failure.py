"""What kept a session from being as a TLS policy wants it, in the words of RFC 8460."""

from __future__ import annotations

from mailrelay.net.peer_tls import CertificateRefused, Flaw
from mailrelay.outbound.hosts import Target
from mailrelay.outbound.tls_policy import HostRefused
from mailrelay.outbound.tls_result import ResultType, TLSFailure

MOST_REASON = 300


class TLSFailed(Exception):
    """No TLS as required, or its handshake failed; ``may`` goes on without.

    ``is_temporary`` when nothing says that it will fail again; ``is_missing`` when the server
    does not begin a handshake.  ``sending_ip`` is whence it was tried, when that is known.
    """

    sending_ip = ""

    def __init__(self, text: str, *, is_temporary: bool = False, is_missing: bool = False) -> None:
        super().__init__(text)
        self.is_temporary, self.is_missing = is_temporary, is_missing


def not_offered() -> TLSFailed:
    """The server has no STARTTLS."""
    return TLSFailed("the server does not offer STARTTLS", is_missing=True)


_FLAWS = {
    Flaw.EXPIRED: ResultType.CERTIFICATE_EXPIRED,
    Flaw.OTHER_NAME: ResultType.CERTIFICATE_HOST_MISMATCH,
    Flaw.NOT_TRUSTED: ResultType.CERTIFICATE_NOT_TRUSTED,
    Flaw.INVALID: ResultType.VALIDATION_FAILURE,
}


def is_tls_trouble(error: BaseException) -> bool:
    """Whether TLS is what failed, not the host."""
    ours = isinstance(error, TLSFailed | CertificateRefused | HostRefused)
    return ours or type(error).__module__.startswith("OpenSSL")


def failure_of(error: BaseException, target: Target) -> TLSFailure:
    """How it is told."""
    sending_ip = error.sending_ip if isinstance(error, TLSFailed | CertificateRefused) else ""
    match error:
        case CertificateRefused():
            result = _FLAWS[error.flaw]
        case HostRefused():
            result = error.result
        case TLSFailed() if error.is_missing:
            result = ResultType.STARTTLS_NOT_SUPPORTED
        case _:
            result = ResultType.VALIDATION_FAILURE
    reason = " ".join(str(error).split())[:MOST_REASON]
    return TLSFailure(
        result,
        sending_ip=sending_ip,
        receiving_host=target.host,
        receiving_ip=target.ip,
        reason="".join(c if c.isprintable() else "?" for c in reason),
    )
