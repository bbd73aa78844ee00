"""Who may send where: sender and recipient against the directory (threat: open relay)."""

from __future__ import annotations

from attrs import frozen

from mailrelay.directory.aliases import Alias, OnDisabled
from mailrelay.directory.expansion import expand
from mailrelay.directory.model import Account, Directory, DomainDisabled, Foreign, NoSuchUser
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply, reply

RELAYING_DENIED = reply(550, "5.7.1", "relaying denied: log in on the submission port to send")
NO_SUCH_USER = reply(550, "5.1.1", "no such user")
DOMAIN_DISABLED = reply(450, "4.2.1", "domain is switched off for now")
ALIAS_DISABLED = reply(550, "5.2.1", "the list is switched off")
ALIAS_DEFERS = reply(450, "4.2.1", "the list is switched off for now")
NOT_ALLOWED = reply(550, "5.7.2", "not allowed to send to destination")
NOT_YOUR_ADDRESS = reply(550, "5.7.1", "the sender address is not one of your account's")
NOT_YOUR_FROM = reply(550, "5.7.1", "the From address is not one of your account's")
NO_FROM = reply(550, "5.6.0", "the message needs one From field with an address")


@frozen
class Submitter:
    """What a session may do: ``account`` when logged in, ``trusted`` by its network."""

    account: Account | None = None
    trusted: bool = False
    login: str | None = None  # as it was typed

    @property
    def may_relay(self) -> bool:
        """Whether foreign recipients are taken."""
        return self.account is not None or self.trusted


def refuse_sender(
    directory: Directory, submitter: Submitter, reverse_path: Address | None
) -> Reply | None:
    """The reply to a reverse-path that ``submitter`` must not use."""
    account = submitter.account
    if account is None or reverse_path is None or directory.owns(account, reverse_path):
        return None
    return NOT_YOUR_ADDRESS


def refuse_recipient(
    directory: Directory, submitter: Submitter, forward_path: Address
) -> Reply | None:
    """The reply to a forward-path that cannot be taken from ``submitter``.

    Only the domain after the last @ counts: percent hacks, bang paths and quoted @ are
    localparts like any other, and give nothing.
    """
    match directory.resolve(forward_path):
        case Alias() as alias:
            return _refuse_alias(directory, alias)
        case NoSuchUser():
            return NO_SUCH_USER
        case DomainDisabled():
            return DOMAIN_DISABLED
        case Foreign() if not submitter.may_relay or not forward_path.domain:
            return RELAYING_DENIED
    return None


def _refuse_alias(directory: Directory, alias: Alias) -> Reply | None:
    """The reply to an alias that cannot take mail: none of its members can, or it is disabled.

    Who may write to it is judged by the content.
    """
    if alias.disabled:
        return _DISABLED[alias.on_disabled]
    expansion = expand(directory, alias)
    if expansion.members or not expansion.trouble:
        return None
    return NO_SUCH_USER if isinstance(expansion.trouble[0], NoSuchUser) else DOMAIN_DISABLED


_DISABLED = {
    OnDisabled.REJECT: ALIAS_DISABLED,
    OnDisabled.DEFER: ALIAS_DEFERS,
    OnDisabled.DROP: None,
}


def refuse_from(
    directory: Directory, submitter: Submitter, from_addresses: list[Address]
) -> Reply | None:
    """The reply to a From field that ``submitter`` must not use."""
    account = submitter.account
    if account is None:
        return None
    if not from_addresses:
        return NO_FROM
    if all(directory.owns(account, address) for address in from_addresses):
        return None
    return NOT_YOUR_FROM
