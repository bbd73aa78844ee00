"""A reverse-path of ours for one member's copy, which tells whose mail failed.  Pure.

``LIST0=HASH=MINUTE=ALIAS=DOMAIN=LOCAL@ours`` is of a copy for ``LOCAL@DOMAIN``, who is in the alias
of that id, sent in that minute since the epoch.

- HASH is 80 bits of HMAC-SHA256 in base32 (threat 14), of everything else, in lower case: mail
  servers may lower it.  So the member is known whatever the case of its localpart.
- A path holds for VALID_DAYS.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b32encode

from attrs import field, frozen

from mailrelay.smtp.address import MAX_PATH_BYTES, Address, MalformedAddress

VALID_DAYS = 21
HASH_BYTES = 10

_DAY = 86400.0
_MINUTE = 60.0
_FLAGS = re.IGNORECASE | re.ASCII | re.DOTALL
_PATH = re.compile(r"LIST0=([A-Z2-7]{16})=([0-9]{1,10})=([0-9]{1,16})=([^=]{1,255})=(.+)", _FLAGS)


@frozen
class MembersCopy:
    """What a path is of; ``sent_at`` is the beginning of its minute, in seconds since the epoch."""

    alias_id: int
    member: Address
    sent_at: float


@frozen
class MemberPaths:
    """Makes paths with an installation's ``secret``, and reads what it made."""

    secret: bytes = field(repr=False)

    def path(self, alias_id: int, member: Address, domain: str, now: float) -> Address | None:
        """That of a copy sent now, in ``domain``; None when there is no room for it."""
        said = f"{int(now // _MINUTE)}={alias_id}={member.domain}={member.localpart}"
        path = Address(f"LIST0={self._hash(said, domain)}={said}", domain)
        has_room = len(str(path).encode()) <= MAX_PATH_BYTES
        return path if has_room and member.is_ascii and member.domain else None

    def copy(self, path: Address, now: float) -> MembersCopy | None:
        """What a path of ours is of; None for every other, and when its time is over."""
        found = _PATH.fullmatch(path.localpart)
        if found is None:
            return None
        hash_, minute, alias_id, domain, localpart = found.groups()
        said = f"{minute}={alias_id}={domain}={localpart}"
        if not hmac.compare_digest(hash_.upper(), self._hash(said, path.domain)):
            return None
        sent_at = int(minute) * _MINUTE
        if not -_DAY <= now - sent_at <= VALID_DAYS * _DAY:
            return None
        try:
            return MembersCopy(
                int(alias_id), Address.parse(str(Address(localpart, domain))), sent_at
            )
        except MalformedAddress:
            return None

    def _hash(self, said: str, domain: str) -> str:
        key = hmac.digest(self.secret, b"list member", hashlib.sha256)
        text = f"{said}@{domain}".lower().encode("utf-8", "surrogateescape")
        return b32encode(hmac.digest(key, text, hashlib.sha256)[:HASH_BYTES]).decode()
