"""Who calls the API."""

from __future__ import annotations

from attrs import frozen

from mailrelay.directory.model import Account


@frozen
class Caller:
    """An account that logged in as ``login``, as it was typed, from ``peer_ip``."""

    account: Account
    login: str
    peer_ip: str
    is_secure: bool = False
