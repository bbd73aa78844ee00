"""The viewer and the page that sends, composed: what is written goes the way of both APIs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import frozen

from mailrelay.config.settings import Settings
from mailrelay.directory.model import Account
from mailrelay.mailbox.searching import MailSearch
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.arrivals import Arrivals
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.letter import NotSent, Ready
from mailrelay.pages.mail import MailPages
from mailrelay.pages.message import MessagePages
from mailrelay.pages.write import WritePages
from mailrelay.service.application import Doors
from mailrelay.service.page_sending import Sending
from mailrelay.storage.account_messages import DatabaseAccountMessages
from mailrelay.storage.stores import Stores
from mailrelay.web.files import MessageFiles
from mailrelay.web.form import UploadedFile
from mailrelay.web.request import Route
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.http import upload_of
from mailrelay.webapi.types import SendRequest
from mailrelay.webhooks.reading import name_addresses
from mailrelay.webhooks.types import NameAddress


def mail_routes(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    doors: Doors,
    page_doors: PageDoors,
    sending: Sending,
) -> Sequence[Route]:
    """``/``, ``/mail`` and ``/write``."""
    store = DatabaseAccountMessages(stores.database, stores.spool)
    files = MessageFiles(store, page_doors.intake)
    search, simulates = MailSearch(store, s.workers), settings.localserve
    write = WritePages(
        page_doors,
        doors.directory,
        store,
        files,
        _Letters(sending).send,
        s.now,
        settings.limits.message_bytes,
        simulates,
    )
    return [
        *Arrivals(page_doors, store, doors.bell).routes(),
        *MailPages(page_doors, store, search, doors.directory, simulates).routes(),
        *MessagePages(page_doors, store, files, sending.history).routes(),
        *write.routes(),
    ]


@frozen
class _Letters:
    """Makes what was written on a page what the APIs send."""

    sending: Sending

    async def send(
        self, account: Account, peer_ip: str, ready: Ready, files: Sequence[UploadedFile]
    ) -> int | None:
        """See WritePages."""
        caller = Caller(account, str(ready.from_), peer_ip)
        uploads = [upload_of(file, field=ATTACHED) for file in files]
        try:
            return await self.sending.send(caller, _request(account, ready), uploads)
        except APIError as error:
            if error.code == "sentOverQuota":
                return None
            raise NotSent({_field_of(error): error.message}) from None


ATTACHED = "attachedfile"


def _request(account: Account, ready: Ready) -> SendRequest:
    at = None if ready.at is None else datetime.fromtimestamp(ready.at, UTC).isoformat()
    return SendRequest(
        from_=[NameAddress(name=account.full_name, address=ready.from_.unicode)],
        to=name_addresses(ready.to),
        cc=name_addresses(ready.cc),
        bcc=name_addresses(ready.bcc),
        reply_to=name_addresses(ready.reply_to),
        subject=ready.subject,
        text=ready.text,
        references=list(ready.references),
        future_release=at,
        save_sent=ready.keeps_copy,
    )


def _field_of(error: APIError) -> str:
    """The field of the form that ``error`` is about; "" when it is about none."""
    named = _NAMED.match(error.message)
    by_name = _FIELDS.get(named.group(1), "") if named is not None else ""
    return by_name or _CODES.get(error.code, "")


_NAMED = re.compile(r"([A-Za-z]{1,20})(?:\[[0-9]{1,5}\])?[.:]")
_FIELDS = {
    "From": "from",
    "To": "to",
    "CC": "cc",
    "BCC": "bcc",
    "ReplyTo": "reply_to",
    "Subject": "subject",
    "Text": "text",
    "AttachedFiles": "file",
}
_CODES = {
    "badFrom": "from",
    "domainDisabled": "from",
    "messageTooLarge": "file",
    "noRecipients": "to",
    "recipientLimitReached": "to",
}
