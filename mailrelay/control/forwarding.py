"""Where an account's mail goes: asked for by an operator, confirmed by whoever gets it.

Invariants:

- No mail goes on before a link that was mailed to the address was followed and its button pressed.
- A link confirms the address that it was mailed to, and nothing that was asked for later.
- Mail that would come back to its account is refused when that is asked for, after aliases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.directory.expansion import reached
from mailrelay.directory.model import Account, Directory, DomainDisabled, NoSuchUser
from mailrelay.message.trace import date_field
from mailrelay.policy.links import Links
from mailrelay.queue.entry import NewMessage
from mailrelay.queue.report import Sign, notice_of, unsigned
from mailrelay.smtp.address import Address, MalformedAddress

PURPOSE = "forward"
VALID_FOR = 7 * 86400.0
"""How long a link confirms, in seconds."""

NO_PUBLIC_URL = (
    "the address is asked to confirm by a link, and [http] public_url does not say where this"
    " server's links lead: set it, such as https://mail.example.org"
)


@frozen
class Forward:
    """Mail of an account, and where it would go."""

    account_id: int
    address: Address


@frozen
class ForwardLinks:
    """Makes and reads links below ``public_url``, which is empty where there are none."""

    links: Links
    public_url: str

    def url(self, of: Forward, now: float) -> str:
        """A link that confirms ``of``."""
        token = self.links.token((str(of.account_id), str(of.address)), now + VALID_FOR)
        return f"{self.public_url.rstrip('/')}/forward/{token}"

    def read(self, token: str, now: float) -> Forward | None:
        """What a link of ours is for; None for what is none, or has ended."""
        fields = self.links.read(token, now)
        if fields is None:
            return None
        account_id, address = fields
        return Forward(int(account_id), Address.parse(address))


class ForwardRecords(Protocol):
    """What is stored of it.  Methods may fail with StoreUnavailable."""

    def load(self) -> Deferred[Directory]:
        """Everything now."""

    def new_id(self) -> int:
        """See QueueStore."""

    def ask(
        self, actor: str, of: Forward, letter: NewMessage, *, keeps_copy: bool
    ) -> Deferred[None]:
        """Note where mail would go, and queue the letter, in one transaction."""

    def confirm(self, of: Forward, now: float) -> Deferred[bool]:
        """Mail goes there from ``now`` on; False when nothing of the kind is asked for."""

    def end(self, actor: str, account_id: int) -> Deferred[None]:
        """Mail goes nowhere else."""


@frozen
class ForwardControl:
    """What an operator may ask.  ``token`` gives 32 hexadecimal digits."""

    records: ForwardRecords
    links: ForwardLinks
    hostname: str
    now: Callable[[], float]
    actor: str
    sign: Sign = unsigned

    async def ask(self, name: str, text: str, *, keeps_copy: bool) -> None:
        """Have mail go to ``text`` when that is confirmed there.  Raises: Refusal."""
        if not self.links.public_url:
            raise Refusal(NO_PUBLIC_URL)
        directory = await self.records.load()
        account = _account(directory, name)
        address = _checked(directory, account, text)
        of, now = Forward(account.id, address), self.now()
        letter = await self.sign(self._letter(account, address, self.links.url(of, now), now))
        await self.records.ask(self.actor, of, letter, keeps_copy=keeps_copy)

    async def end(self, name: str) -> None:
        """Have mail go nowhere else.  Raises: Refusal."""
        account = _account(await self.records.load(), name)
        await self.records.end(self.actor, account.id)

    def _letter(self, account: Account, address: Address, url: str, now: float) -> NewMessage:
        id_, entry_id = self.records.new_id(), self.records.new_id()
        message_id, subject = f"<{id_}.forward@{self.hostname}>", "Confirm that mail is forwarded"
        body = (
            f"From: <postmaster@{self.hostname}>\r\nTo: <{address}>\r\nSubject: {subject}\r\n"
            f"Date: {date_field(now)}\r\nMessage-ID: {message_id}\r\n"
            "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n\r\n"
            f"The mail of account {account.name} at {self.hostname} is to be forwarded to\r\n"
            f"{address}.\r\n\r\nIf you want that, follow this link within 7 days:\r\n\r\n"
            f"{url}\r\n\r\nIf you do not, there is nothing that you must do.\r\n"
        ).encode()
        return notice_of(id_, entry_id, address, message_id, subject, body, now)


@frozen
class Confirming:
    """What a link does."""

    links: ForwardLinks
    records: ForwardRecords
    now: Callable[[], float]

    def read(self, token: str) -> Forward | None:
        """What a link is for; None when it is for nothing."""
        return self.links.read(token, self.now())

    async def confirm(self, of: Forward) -> bool:
        """Mail goes there; False when that is not asked for any more."""
        return await self.records.confirm(of, self.now())


def _account(directory: Directory, name: str) -> Account:
    for account in directory.accounts.values():
        if account.name == name:
            return account
    raise NoSuch(f"no account {name}: mailrelay account list")


def _checked(directory: Directory, account: Account, text: str) -> Address:
    """Raises: Refusal."""
    try:
        address = Address.parse(text)
    except MalformedAddress as error:
        raise Refusal(f"{text!r} is no address: {error}") from None
    if not address.is_ascii:
        raise Refusal(f"{text!r} has characters beyond ASCII before its @")
    if isinstance(directory.resolve(address), NoSuchUser | DomainDisabled):
        raise Refusal(f"{address} gets no mail here: mailrelay address add {address}")
    here = evolve(account, forward_to=None)
    before = evolve(directory, accounts={**directory.accounts, account.id: here})
    if any(member.key == account.id for member in reached(before, address).members):
        raise Refusal(f"mail for {address} comes to account {account.name}: it would go round")
    return address
