"""What an account may be set to beside its login: webhooks, FromIDs, retention.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

import msgspec
from attrs import evolve, field, frozen

from mailrelay.control.errors import Refusal
from mailrelay.directory.model import Account, Directory
from mailrelay.net.destination import UnusableURL, parse_url
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.webhooks.call import Endpoint, EndpointKind
from mailrelay.webhooks.types import OUTGOING_EVENTS

MAX_URL_CHARACTERS = 2000
MAX_AUTHORIZATION_CHARACTERS = 1000
LONGEST_RETENTION = 3650 * 86400.0
"""Seconds: longer is a mistake."""


class Unset(Enum):
    """What takes an account's own value away."""

    SERVERS = "default"  # the server's holds again


@frozen
class EndpointChange:
    """What becomes of an account's webhook of one kind.

    With a ``url`` it is made anew; without, what is given changes the one that is there.  So an
    authorization never goes to a URL that it was not given for.
    """

    kind: EndpointKind
    url: str | None = None
    authorization: str | None = field(default=None, repr=False)
    events: Sequence[str] | None = None
    has_every_event: bool | None = None
    is_removed: bool = False


@frozen
class AccountView:
    """An account with everything that is its own."""

    account: Account
    addresses: Sequence[str]
    endpoints: Sequence[Endpoint]

    def endpoint(self, kind: EndpointKind) -> Endpoint | None:
        """Its webhook of this kind."""
        return next((one for one in self.endpoints if one.kind is kind), None)


def checked_endpoint(change: EndpointChange) -> EndpointChange:
    """``change`` when it can be made.  Raises: Refusal."""
    if change.url is not None:
        _check_url(change.url)
    if change.authorization is not None:
        _check_authorization(change.authorization)
    if change.events is None:
        return change
    unknown = [event for event in change.events if event not in OUTGOING_EVENTS]
    if unknown:
        raise Refusal(f"no event {unknown[0]!r}: choose of {', '.join(OUTGOING_EVENTS)}")
    return evolve(change, events=[e for e in OUTGOING_EVENTS if e in change.events])


def _check_url(url: str) -> None:
    if len(url) > MAX_URL_CHARACTERS:
        raise Refusal(f"the webhook's URL has more than {MAX_URL_CHARACTERS} characters")
    try:
        parse_url(url)
    except UnusableURL as error:
        raise Refusal(f"{url!r} is no URL for a webhook: {error}") from None


def _check_authorization(value: str) -> None:
    """It is sent as a header field: not a character may end that."""
    if len(value) > MAX_AUTHORIZATION_CHARACTERS:
        raise Refusal(f"the authorization has more than {MAX_AUTHORIZATION_CHARACTERS} characters")
    if not value.isascii() or not value.isprintable():
        raise Refusal("the authorization has characters other than printable ASCII")


def checked_logins(directory: Directory, name: str, logins: Sequence[str]) -> str:
    """The account's logins whose mail gets FromIDs, as they are stored.  Raises: Refusal."""
    return stored_logins({_checked_login(directory, name, text) for text in logins})


def stored_logins(logins: Iterable[str]) -> str:
    """Logins as a row holds them."""
    return msgspec.json.encode(sorted(logins)).decode()


def dead_logins(directory: Directory, account: Account) -> frozenset[str]:
    """Those of its logins with FromIDs that it has no more."""
    dead = set()
    for login in account.from_id_logins:
        try:
            _checked_login(directory, account.name, login)
        except Refusal:
            dead.add(login)
    return frozenset(dead)


def _checked_login(directory: Directory, name: str, text: str) -> str:
    try:
        address = Address.parse(text)
    except MalformedAddress as error:
        raise Refusal(f"{text!r} is no address: {error}") from None
    owner = directory.login(text)
    if owner is None or owner.name != name:
        raise Refusal(f"{address} is no address of {name}: mailrelay account show {name}")
    if not directory.domains[address.domain].separator:
        raise Refusal(
            f"domain {address.domain} has no separator, behind which a FromID would stand:"
            f" mailrelay domain set {address.domain} --separator +"
        )
    return str(address)


def check_separator_is_in_no_address(directory: Directory, domain: str, separator: str) -> None:
    """Raises: Refusal when mail for an address of ``domain`` would go to what stands before it."""
    nouns = {
        **dict.fromkeys(directory.addresses, "address"),
        **dict.fromkeys(directory.aliases, "alias"),
    }
    for (localpart, of), noun in sorted(nouns.items()):
        if of == domain and separator in localpart:
            raise Refusal(
                f"{localpart}@{domain} has {separator!r} in it, and would get no mail any more:"
                f" mailrelay {noun} remove {localpart}@{domain}, or choose another separator"
            )


def check_separator_is_unneeded(directory: Directory, domain: str) -> None:
    """Raises: Refusal when FromIDs stand behind the separator of ``domain``."""
    for account in directory.accounts.values():
        for login in account.from_id_logins:
            if login.rpartition("@")[2] == domain:
                raise Refusal(
                    f"domain {domain} needs its separator for the FromIDs of {login}:"
                    f" mailrelay account set {account.name} --no-from-id-logins"
                )


def checked_retention(what: str, given: float | Unset) -> float | None:
    """Seconds as they are stored, None for the server's own.  Raises: Refusal."""
    if isinstance(given, Unset):
        return None
    if not 0.0 <= given <= LONGEST_RETENTION:
        raise Refusal(f"{what} are kept for up to {LONGEST_RETENTION / 86400:.0f} days")
    return given
