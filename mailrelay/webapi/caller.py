"""Who calls the API."""

from __future__ import annotations

from attrs import frozen

from mailrelay.directory.model import Account

MAX_ACTOR_CHARACTERS = 255
"""Of what the audit keeps."""


@frozen
class Caller:
    """An account that logged in as ``login``, as it was typed, from ``peer_ip``."""

    account: Account
    login: str
    peer_ip: str
    is_secure: bool = False

    def actor(self, door: str) -> str:
        """Who came by ``door``, for the audit: a login, or a key by its number."""
        key = self.account.key
        who = f"key {key.id}" if key is not None else self.login
        return f"{door}:{who}"[:MAX_ACTOR_CHARACTERS]
