"""What peers whom nobody vouches for are asked at connect, MAIL and RCPT.

Who logged in, and trusted networks, are not asked; nor is whoever writes to postmaster: there must
be somebody to complain to (RFC 5321 section 4.5.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from mailrelay.acceptance.greylisting import Greylist
from mailrelay.policy.blocklists import Blocklists
from mailrelay.policy.rates import Rates
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply


@frozen
class TurnedAway:
    """Mail that was not taken; ``reason`` is the one word for what judged it."""

    reason: str
    reply: Reply
    peer_ip: str
    reverse_path: Address | None = None
    recipient: Address | None = None


Answer = Reply | Deferred[Reply | None] | None
"""A refusal or none, now or later."""


@frozen
class Screening:
    """Asks in order: lists, counts, greylisting.  What is None is not asked.

    ``told`` hears of everything that is refused.
    """

    told: Callable[[TurnedAway], None]
    blocklists: Blocklists | None = None
    rates: Rates | None = None
    greylist: Greylist | None = None

    def connected(self, ip: str) -> Deferred[Reply | None] | None:
        """A peer came; what is fired decides whether it is greeted, None greets it now."""
        lists = self.blocklists
        if lists is None:
            return None
        if not lists.waits_at_greeting:
            lists.begin(ip)
            return None
        asked = lists.findings(ip)
        answer = asked.addCallback(lambda found: lists.refusal(ip, found, greeting=True))
        return answer.addCallback(self._told, "dnsbl", ip, None, None)

    def refuse_mail(self, ip: str, reverse_path: Address | None) -> Reply | None:
        """The reply to MAIL when it is not taken."""
        refusal = self.rates.refuse_message(ip) if self.rates is not None else None
        return self._told(refusal, "rate", ip, reverse_path, None)

    def refuse_recipient(self, ip: str, reverse_path: Address | None, recipient: Address) -> Answer:
        """The reply to RCPT when it is not taken."""
        if recipient.localpart.lower() == "postmaster":
            return None
        if self.blocklists is None:
            return self._counted(None, ip, reverse_path, recipient)
        lists = self.blocklists
        asked = lists.findings(ip).addCallback(lambda found: lists.refusal(ip, found))
        asked.addCallback(self._told, "dnsbl", ip, reverse_path, recipient)
        return _now(asked.addCallback(self._counted_later, ip, reverse_path, recipient))

    def _counted_later(self, refusal: Reply | None, *arguments: Any) -> Deferred[Reply | None]:
        answer = self._counted(refusal, *arguments)
        return answer if isinstance(answer, Deferred) else succeed(answer)

    def _counted(
        self, refusal: Reply | None, ip: str, reverse_path: Address | None, recipient: Address
    ) -> Answer:
        if refusal is None and self.rates is not None:
            refusal = self.rates.refuse_recipient(ip)
            self._told(refusal, "rate", ip, reverse_path, recipient)
        if refusal is not None or self.greylist is None:
            return refusal
        answer = self.greylist.refuse(ip, reverse_path, recipient)
        if isinstance(answer, Deferred):
            return answer.addCallback(self._told, "greylist", ip, reverse_path, recipient)
        return self._told(answer, "greylist", ip, reverse_path, recipient)

    def _told(
        self,
        refusal: Reply | None,
        reason: str,
        ip: str,
        reverse_path: Address | None,
        recipient: Address | None,
    ) -> Reply | None:
        if refusal is not None:
            self.told(TurnedAway(reason, refusal, ip, reverse_path, recipient))
        return refusal


def _now(asked: Deferred[Reply | None]) -> Answer:
    """What is there already need not be waited for."""
    if not asked.called or asked.paused:
        return asked
    found: list[Reply | None] = []
    asked.addCallback(found.append)
    return found[0] if found else asked
