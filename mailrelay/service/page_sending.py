"""Sending what was written on a page, as the APIs send."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from mailrelay.control.history import AccountHistory
from mailrelay.queue.store import StoreUnavailable
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.draft import Upload
from mailrelay.webapi.send import Sender
from mailrelay.webapi.types import SendRequest


@frozen
class Sending:
    """Queues messages; pages go on to them by their numbers."""

    sender: Sender
    history: AccountHistory

    async def send(
        self, caller: Caller, request: SendRequest, uploads: Sequence[Upload] = ()
    ) -> int | None:
        """The message's number; None when it is queued, and cannot be looked up now.

        Raises: APIError.
        """
        result = await self.sender.send(caller, request, uploads)
        try:
            found = await self.history.entry(caller.account.id, result.submissions[0].queue_msg_id)
        except StoreUnavailable:
            return None
        return None if found is None else found.entry.message.id
