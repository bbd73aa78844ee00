"""What is shown of certificates to operators.  Blocks: chains are verified."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from mailrelay.certificates.held import Certificates
from mailrelay.certificates.pair import DAY, Pair
from mailrelay.certificates.renewal import is_ending
from mailrelay.certificates.store import Standing, Standings


@frozen(kw_only=True)
class CertificateStatus:
    """One certificate, or one that is not there; times are seconds since the epoch.

    ``is_default`` is who asks for no name shown it; ``believed`` says whether the system's
    authorities vouch for it.
    """

    names: Sequence[str]
    source: str
    is_ordered: bool = False
    is_default: bool = False
    issuer: str | None = None
    not_before: float | None = None
    not_after: float | None = None
    days_left: float | None = None
    key_type: str | None = None
    believed: bool | None = None
    tlsa: str | None = None
    faults: Sequence[str] = field(factory=tuple)
    is_ending: bool = False
    renew_at: float | None = None
    error: str | None = None
    error_at: float | None = None
    tried_again_at: float | None = None


def statuses(
    certificates: Certificates, standings: Standings, warn_days: float
) -> Sequence[CertificateStatus]:
    """Of all that are in use, are broken, or could not be ordered."""
    default = certificates.of(certificates.hostname)
    if default is None and certificates.pairs:
        default = certificates.pairs[0]
    found = []
    names = {id(pair): name for name, pair in certificates.ordered.items()}
    for pair in certificates.pairs:
        standing = standings.get(names.get(id(pair), ""), Standing())
        found.append(_status(pair, pair is default, standing, certificates, warn_days))
    for source, reason in certificates.broken.items():
        found.append(CertificateStatus(names=(), source=source, error=reason))
    for name, standing in sorted(standings.items()):
        if standing.error is not None and name not in certificates.ordered:
            found.append(_missing(name, standing))
    return found


def _status(
    pair: Pair, is_default: bool, standing: Standing, certificates: Certificates, warn_days: float
) -> CertificateStatus:
    now = certificates.now()
    is_ordered = any(pair is one for one in certificates.ordered.values())
    failing = standing if is_ordered and standing.error is not None else None
    return CertificateStatus(
        names=pair.names,
        source=pair.source,
        is_ordered=is_ordered,
        is_default=is_default,
        issuer=pair.issuer,
        not_before=pair.begins,
        not_after=pair.ends,
        days_left=round((pair.ends - now) / DAY, 1),
        key_type=pair.key_type,
        believed=pair.is_believed(now),
        tlsa=pair.tlsa,
        faults=sorted(fault.value for fault in pair.faults(now, "")),
        is_ending=is_ending(pair, now, warn_days),
        renew_at=standing.renew_at if is_ordered else None,
        error=failing.error if failing else None,
        error_at=failing.error_at if failing else None,
        tried_again_at=failing.next_at if failing else None,
    )


def _missing(name: str, standing: Standing) -> CertificateStatus:
    return CertificateStatus(
        names=(name,) if name else (),
        source="ACME" if name else "the authority",
        is_ordered=True,
        error=standing.error,
        error_at=standing.error_at,
        tried_again_at=standing.next_at,
    )
