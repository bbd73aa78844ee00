"""What is told of one judged message to the domain in its From (RFC 7489 appendix C, RFC 9990).

All text is as it came, within bounds: whoever writes a report escapes it.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class PublishedPolicy:
    """The policy as it was found at ``domain``; None where its record has no such tag.

    ``discovery`` is treewalk or psl; ``adkim`` and ``aspf`` are r or s.
    """

    domain: str
    p: str = "none"
    sp: str | None = None
    np: str | None = None
    adkim: str = "r"
    aspf: str = "r"
    pct: int = 100
    fo: str = "0"
    is_testing: bool = False
    discovery: str = "treewalk"


@frozen
class DKIMChecked:
    """A signature; ``result`` is a word of RFC 8601."""

    domain: str
    selector: str
    result: str
    reason: str = ""


@frozen
class SPFChecked:
    """An evaluation of SPF, of ``scope`` mfrom or helo."""

    domain: str
    scope: str
    result: str
    reason: str = ""


@frozen
class Override:
    """Why less was done than the policy says.

    ``type`` is one of the report's: local_policy, trusted_forwarder, mailing_list,
    policy_test_mode, sampled_out, other.
    """

    type: str
    comment: str = ""


@frozen
class DMARCResult:
    """One message's; a report's row counts those that are equal.

    ``disposition`` is what was done: none, quarantine or reject.
    Domains are in lower case, as A-labels; ``envelope_from`` is "" when null, ``envelope_to`` the
    domain of the first recipient.
    """

    source_ip: str
    policy: PublishedPolicy
    disposition: str
    is_dkim_aligned: bool
    is_spf_aligned: bool
    header_from: str
    envelope_from: str = ""
    envelope_to: str = ""
    overrides: tuple[Override, ...] = ()
    dkim: tuple[DKIMChecked, ...] = ()
    spf: tuple[SPFChecked, ...] = ()
