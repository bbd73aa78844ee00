"""Keys that a domain's mail is signed with: as they are kept, not as they are used."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen


class KeyState(StrEnum):
    """Where a key stands on its way from being made to being removed."""

    NEXT = "next"  # it waits until its record is seen in DNS
    ACTIVE = "active"  # mail is signed with it
    RETIRED = "retired"  # its record must stay while mail that it signed is on its way


@frozen
class StoredKey:
    """A key of a domain, by the selector that its record is published under."""

    domain: str
    selector: str
    algorithm: str  # rsa-sha256 or ed25519-sha256
    pem: bytes = field(repr=False)  # PKCS #8
    record: str  # the TXT record to publish
    state: KeyState
    created_at: float
    removed_at: float | None = None  # when a retired one goes

    @property
    def name(self) -> str:
        """Where its record is published."""
        return f"{self.selector}._domainkey.{self.domain}"
