"""What reports say: DMARC aggregate reports, and those of TLS.

Strings are as others wrote them, bounded and printable; times are seconds since the epoch.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from attrs import frozen


class Kind(StrEnum):
    """Of reports; the words are stored."""

    DMARC = "dmarc"
    TLS = "tls"
    FEEDBACK = "feedback"


# DMARC (RFC 7489 appendix C)


@frozen
class PublishedPolicy:
    """What the domain had in DNS.  ``np`` is of names that are not there."""

    domain: str
    p: str = "none"
    sp: str = ""
    np: str = ""
    adkim: str = "r"
    aspf: str = "r"
    pct: int = 100


@frozen
class AuthResult:
    """Of one signature, or of SPF: ``name`` is the selector, or mfrom or helo."""

    domain: str
    result: str
    name: str = ""


@frozen
class Reason:
    """Why the policy was not followed (RFC 7489 appendix C: PolicyOverrideType)."""

    type: str
    comment: str = ""


@frozen
class Row:
    """Messages that are alike.  ``dkim`` and ``spf`` say whether each was right and aligned."""

    source_ip: str
    count: int
    disposition: str
    dkim: str
    spf: str
    header_from: str
    envelope_from: str = ""
    envelope_to: str = ""
    reasons: tuple[Reason, ...] = ()
    dkim_results: tuple[AuthResult, ...] = ()
    spf_results: tuple[AuthResult, ...] = ()

    @property
    def is_aligned(self) -> bool:
        """Whether DMARC passed."""
        return "pass" in (self.dkim, self.spf)


@frozen
class DMARCReport:
    """What one receiver saw of a domain's mail.  ``left_out`` are messages beyond its bounds."""

    organization: str
    email: str
    report_id: str
    began_at: float
    ended_at: float
    policy: PublishedPolicy
    rows: tuple[Row, ...] = ()
    contact: str = ""
    errors: tuple[str, ...] = ()
    left_out: int = 0

    @property
    def domain(self) -> str:
        """Whose mail it is about."""
        return self.policy.domain

    @property
    def succeeded(self) -> int:
        """Messages that passed."""
        return sum(row.count for row in self.rows if row.is_aligned)

    @property
    def failed(self) -> int:
        """Messages that did not."""
        return sum(row.count for row in self.rows if not row.is_aligned)


# TLS (RFC 8460 section 4)


@frozen
class FailureDetails:
    """Sessions that failed alike; of what is not known the text is empty."""

    result_type: str
    sessions: int
    sending_ip: str = ""
    receiving_host: str = ""
    receiving_helo: str = ""
    receiving_ip: str = ""
    additional: str = ""
    reason: str = ""


@frozen
class PolicyResult:
    """Sessions under one policy."""

    policy_type: str
    domain: str
    strings: tuple[str, ...] = ()
    mx_hosts: tuple[str, ...] = ()
    succeeded: int = 0
    failed: int = 0
    failures: tuple[FailureDetails, ...] = ()


@frozen
class TLSReport:
    """What one sender saw of TLS with a domain's hosts."""

    organization: str
    contact: str
    report_id: str
    began_at: float
    ended_at: float
    policies: tuple[PolicyResult, ...] = ()

    @property
    def domain(self) -> str:
        """Whose hosts it is about; empty when it tells of none."""
        return self.policies[0].domain if self.policies else ""

    @property
    def succeeded(self) -> int:
        """Sessions with TLS as wanted."""
        return sum(policy.succeeded for policy in self.policies)

    @property
    def failed(self) -> int:
        """Sessions without."""
        return sum(policy.failed for policy in self.policies)


@frozen
class Feedback:
    """What a feedback report (RFC 5965) said of a message of ours."""

    organization: str
    report_id: str
    domain: str
    at: float
    feedback_type: str
    user_agent: str = ""
    mail_from: str = ""
    original_message_id: str = ""
    recipients: tuple[str, ...] = ()

    began_at = ended_at = property(lambda self: self.at)
    succeeded = 0
    failed = 1


Report: TypeAlias = DMARCReport | TLSReport | Feedback


class MalformedReport(Exception):
    """What came is no report; the text, one line, says why."""


class ReportTooLarge(MalformedReport):
    """It may be one, and is larger than what is read."""
