"""Localparts that simulate failures, in localserve only.

By suffix: ``temperror`` is 451, ``permerror`` is 550, three digits from 400 to 599 are that code,
``timeout`` answers after an hour.  Prefixes ``mailfrom`` and ``rcptto`` choose an earlier command.
"""

from __future__ import annotations

import re

from attrs import frozen

from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import EnhancedStatus, Reply

TIMEOUT_SECONDS = 3600.0


@frozen
class Simulated:
    """The reply that an address asks for, after a while."""

    reply: Reply
    after: float = 0.0


def simulated_failure(address: Address) -> Simulated | None:
    """What ``address`` asks for, None when it is an ordinary one."""
    localpart = address.localpart.lower()
    if localpart.endswith("timeout"):
        return Simulated(_failure(451), TIMEOUT_SECONDS)
    if localpart.endswith("temperror"):
        return Simulated(_failure(451))
    if localpart.endswith("permerror"):
        return Simulated(_failure(550))
    match = _CODE.search(localpart)
    return Simulated(_failure(int(match.group()))) if match else None


def fails_at_mail(reverse_path: Address | None) -> Simulated | None:
    """What is answered to MAIL."""
    if reverse_path is None or not reverse_path.localpart.lower().startswith("mailfrom"):
        return None
    return simulated_failure(reverse_path)


def fails_at_rcpt(forward_path: Address) -> Simulated | None:
    """What is answered to RCPT."""
    if not forward_path.localpart.lower().startswith("rcptto"):
        return None
    return simulated_failure(forward_path)


def _failure(code: int) -> Reply:
    return Reply(
        code,
        f"failure with code {code} due to special localpart",
        EnhancedStatus(code // 100, 0, 0),
    )


_CODE = re.compile(r"[45]\d\d$", re.ASCII)
