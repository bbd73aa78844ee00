"""What names, addresses and limits of the directory must be.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mailrelay.control.errors import Refusal
from mailrelay.directory.model import Domain, matched_localpart
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain

MAX_FULL_NAME_CHARACTERS = 255
HIGHEST_LIMITS = {
    "quota_bytes": 2**53 - 1,
    "messages_per_day": 2**31 - 1,
    "new_recipients_per_day": 2**31 - 1,
}
NEW_ACCOUNT: Mapping[str, object] = {
    "full_name": "",
    "login_disabled": False,
    "password_hash": None,
    "scram_verifier": None,
    "quota_bytes": None,
    "messages_per_day": None,
    "used_bytes": 0,
}
"""What an account is before anything is said of it."""


def check_account_name(name: str) -> None:
    """Raises: Refusal when ``name`` can be no account's."""
    if not name or len(name) > 100 or not name.isprintable() or " " in name:
        raise Refusal(f"{name!r} is no account name: use up to 100 characters, no spaces")


def checked_full_name(text: str) -> str:
    """``text`` when it can be shown as a sender's name.  Raises: Refusal."""
    if len(text) > MAX_FULL_NAME_CHARACTERS or not text.isprintable():
        most = MAX_FULL_NAME_CHARACTERS
        raise Refusal(f"a full name is one line of up to {most} printable characters")
    return text


def checked_limit(given: int, most: int) -> int | None:
    """A limit as it is stored: 0 is none.  Raises: Refusal."""
    if not 0 <= given <= most:
        raise Refusal(f"a limit is at most {most}, and 0 for none")
    return given or None


def address_key(text: str, domains: Mapping[str, Domain]) -> tuple[str, str]:
    """An address as the directory matches it.  Raises: Refusal."""
    try:
        address = Address.parse(text)
    except MalformedAddress as error:
        raise Refusal(f"{text!r} is no address: {error}") from None
    domain = domains.get(address.domain)
    if domain is None:
        raise Refusal(f"no domain {address.domain}: mailrelay domain add {address.domain}")
    localpart = matched_localpart(address.localpart, domain)
    if domain.separator and domain.separator in address.localpart:
        raise Refusal(
            f"{text!r} has the separator {domain.separator!r}: mail for it already goes to"
            f" {localpart}@{domain.name}"
        )
    return localpart, address.domain


def checked_domain(text: str) -> str:
    """A domain as it is looked up.  Raises: Refusal."""
    try:
        return normal_domain(text)
    except MalformedAddress as error:
        raise Refusal(f"{text!r} is no domain: {error}") from None


def checked_separator(text: str) -> str:
    """``text`` when it can stand before a suffix.  Raises: Refusal."""
    if len(text) > 1 or (text and text not in "+-_=.~"):
        raise Refusal(f"{text!r} is no separator: use one of + - _ = . ~, or nothing")
    return text
