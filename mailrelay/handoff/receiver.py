"""``POST /v1/email``: mail that a mail server hands to us by HTTPS.

Invariants:

- 200 is answered only after the transaction that makes the message ours, or when an earlier one
  did.
- Of one request, however often it comes, each recipient gets one copy.
- What is not taken is not answered 200: the caller has it, and keeps or returns it.  Only mailx
  mode says 200 to what it drops, and to what it puts aside.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.logger import Logger

from mailrelay.acceptance.content import SpoolWriter
from mailrelay.directory.model import Account
from mailrelay.handoff.answers import SOON, refused_with, told
from mailrelay.handoff.endpoints import HandOffInSettings
from mailrelay.handoff.hand_in import HandIn, Means
from mailrelay.handoff.reading import Reading
from mailrelay.queue.store import StoreUnavailable
from mailrelay.smtp.reply import Reply, reply
from mailrelay.web.body import BodyTooLarge
from mailrelay.web.request import Request, Response

NO_ACCOUNT = reply(451, "4.3.5", "the account of this endpoint is not there")


@frozen
class Receiver:
    """Takes what is handed in at endpoints that have let the caller in.

    ``trouble`` says why no mail is taken now, if it is so.
    """

    means: Means
    open_spool: Callable[[], SpoolWriter]
    trouble: Callable[[], Reply | None]
    most_bytes: int
    _log = Logger()

    async def receive(self, endpoint: HandOffInSettings, request: Request) -> Response:
        """The answer to one hand-off."""
        trouble, account = self.trouble(), self._account(endpoint)
        if trouble is None and endpoint.account and account is None:
            self._log.error("the account of [[handoff_in]] {name} is not there", name=endpoint.name)
            trouble = NO_ACCOUNT
        if trouble is not None:
            return refused_with(request, trouble)
        try:
            reading = await self._read(endpoint, request)
        except BodyTooLarge:
            return told(request, 413, "message is larger than this endpoint takes", "5.3.4")
        one = HandIn(self.means, endpoint, request, reading, account)
        try:
            return await one.answer()
        except StoreUnavailable:
            return told(request, 503, "the store does not answer", "4.3.1", SOON)
        finally:
            if not one.is_given_away:
                reading.content.abandon()

    def _account(self, endpoint: HandOffInSettings) -> Account | None:
        accounts = self.means.directory().accounts.values() if endpoint.account else ()
        return next((one for one in accounts if one.name == endpoint.account), None)

    async def _read(self, endpoint: HandOffInSettings, request: Request) -> Reading:
        """The whole body.  Raises: BodyTrouble."""
        reading = Reading(self.open_spool)
        try:
            await request.body.stream(reading.write, endpoint.most_bytes or self.most_bytes)
            reading.end()
        except BaseException:
            reading.content.abandon()
            raise
        return reading
