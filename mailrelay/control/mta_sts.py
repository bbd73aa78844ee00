"""What our own domains say of TLS towards our hosts (RFC 8461)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from mailrelay.directory.model import Domain, MTASTSMode
from mailrelay.mailauth.mta_sts import Policy

KEPT_FOR = 14 * 86400
"""Seconds for which senders keep a policy."""

WITHDRAWN_FOR = 86400
"""The same once there is none any more."""

HOST_PREFIX = "mta-sts."


def served_policy(domain: Domain, hosts: Sequence[str]) -> Policy | None:
    """The policy of ``domain``, whose mail ``hosts`` take; None when it never had one.

    RFC 8461 section 8.3: one that is withdrawn says so from then on.
    """
    if domain.mta_sts is MTASTSMode.NONE:
        withdrawn = Policy(MTASTSMode.NONE, (), WITHDRAWN_FOR)
        return withdrawn if domain.mta_sts_changed_at is not None else None
    return Policy(domain.mta_sts, tuple(host.lower() for host in hosts), KEPT_FOR)


def mta_sts_id(domain: Domain, hosts: Sequence[str]) -> str:
    """What its record must have as id: another one for another policy; "" without one."""
    policy = served_policy(domain, hosts)
    return sha256(str(policy).encode()).hexdigest()[:20] if policy is not None else ""
