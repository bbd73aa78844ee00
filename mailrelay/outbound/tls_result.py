"""How TLS went with one host of a domain: what the domain is told by its reports (RFC 8460)."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class PolicyType(StrEnum):
    """What said that TLS was to be used (RFC 8460 section 4.4)."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


class ResultType(StrEnum):
    """Why there was no session as wanted (RFC 8460 section 4.3)."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


@frozen
class TLSPolicy:
    """A policy that was applied (RFC 8460 section 4.4).

    ``strings`` are the lines of an MTA-STS policy, or the TLSA records as in a zone file;
    ``mx_hosts`` the patterns of the MTA-STS policy, or for TLSA the host.
    """

    type: PolicyType
    strings: tuple[str, ...] = ()
    mx_hosts: tuple[str, ...] = ()


@frozen
class TLSFailure:
    """Why a session failed; of what is not known the text is empty.

    ``reason`` is ours: what TLS or DNS said, in a line.
    """

    result: ResultType
    sending_ip: str = ""
    receiving_host: str = ""
    receiving_helo: str = ""
    receiving_ip: str = ""
    reason: str = ""


@frozen
class TLSResult:
    """One session with a host of ``domain``; ``failure`` is None when it went well.

    A session to which several policies apply has one for each.  Those of what only reports about
    TLS are sent for are never made: a report that fails would make the next.
    """

    domain: str
    policy: TLSPolicy
    failure: TLSFailure | None = None
