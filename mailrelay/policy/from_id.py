"""FromIDs: reverse-paths of their own, by which it is known what comes back to them.  Pure.

A FromID is 128 random bits, so that nobody guesses one (threat 14).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode

from mailrelay.directory.model import Account, Directory
from mailrelay.smtp.address import MAX_LOCALPART_BYTES, Address, MalformedAddress
from mailrelay.smtp.reply import reply

ONE_RECIPIENT = reply(554, "5.5.3", "a FromID of your own is for one recipient")
NOT_UNIQUE = reply(554, "5.1.7", "the FromID was used before: choose another")
MAX_FROM_ID_BYTES = 40
"""Of an id that a submitter chose."""


def new_from_id(token: str) -> str:
    """An id of 22 characters from a ``token`` of 32 hexadecimal digits."""
    return urlsafe_b64encode(bytes.fromhex(token)).rstrip(b"=").decode()


def gets_from_ids(directory: Directory, account: Account | None, login: str | None) -> bool:
    """Whether mail that was submitted by this login, however it was typed, is to be known again."""
    if account is None or login is None or not account.from_id_logins:
        return False
    named = {_normal_login(directory, one) for one in account.from_id_logins}
    return _normal_login(directory, login) in named


def _normal_login(directory: Directory, login: str) -> str:
    """The same for all that log in alike with one suffix; an application is told by that."""
    try:
        address = Address.parse(login)
    except MalformedAddress:
        return login
    domain = directory.domains.get(address.domain)
    is_exact = domain is not None and domain.case_sensitive
    return str(address) if is_exact else str(address).lower()


def from_id_in(directory: Directory, path: Address) -> str | None:
    """What stands behind the first separator of an address of ours; None without one."""
    domain = directory.domains.get(path.domain)
    if domain is None or not domain.separator:
        return None
    base, separator, suffix = path.localpart.partition(domain.separator)
    return suffix if separator and base else None


def with_from_id(directory: Directory, path: Address, from_id: str) -> Address | None:
    """``path`` with its suffix replaced by ``from_id``; None where that cannot be an address."""
    domain = directory.domains.get(path.domain)
    if domain is None or not domain.separator:
        return None
    base = path.localpart.split(domain.separator, 1)[0]
    localpart = f"{base}{domain.separator}{from_id}"
    if not base or len(localpart.encode()) > MAX_LOCALPART_BYTES:
        return None
    return Address(localpart, path.domain)
