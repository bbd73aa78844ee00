"""How much one peer may bring in an hour.

Invariant: what is counted is bounded; those that were not seen for longest are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from attrs import field, frozen

from mailrelay.directory.login import networks
from mailrelay.smtp.reply import Reply, reply

HOUR = 3600.0
MOST_KEPT = 100_000

TOO_MANY_MESSAGES = reply(421, "4.7.1", "too many messages from your address, try again later")
TOO_MANY_TO = reply(451, "4.7.1", "too many recipients from your address, try again later")
TOO_MANY_OF_DOMAIN = reply(451, "4.7.1", "too many messages of the domain, try again later")


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class SenderLimits:
    """``[sender_limits]``: of other servers, in an hour; 0 is no limit.

    A network is an IPv4 /24 or an IPv6 /48; an IPv6 /64 counts as one address.
    """

    messages_per_address: int = field(default=0, metadata=_doc("messages; 421 4.7.1"))
    messages_per_network: int = field(
        default=0, metadata=_doc("messages of a /24, or IPv6 /48; 421 4.7.1")
    )
    recipients_per_address: int = field(default=0, metadata=_doc("recipients; 451 4.7.1"))
    recipients_per_network: int = field(
        default=0, metadata=_doc("recipients of a /24, or IPv6 /48; 451 4.7.1")
    )
    messages_per_domain: int = field(
        default=0,
        metadata=_doc("messages of a sender's domain that SPF or DMARC says is right; 451 4.7.1"),
    )

    @property
    def judges_peers(self) -> bool:
        """Whether there is anything to count at MAIL and RCPT."""
        return any(
            (
                *(self.messages_per_address, self.messages_per_network),
                *(self.recipients_per_address, self.recipients_per_network),
            )
        )


class Hourly:
    """Counts by name over the last hour.

    Of the hour before the current one, that part counts which is less than an hour ago.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._counts: OrderedDict[str, tuple[int, int, int]] = OrderedDict()  # hour, now, before

    def count(self, name: str) -> float:
        """What was counted in the last hour."""
        _, current, before = self._of(name)
        share = 1.0 - self._seconds() % HOUR / HOUR
        return current + before * share

    def add(self, name: str, more: int = 1) -> None:
        """Count."""
        hour, current, before = self._of(name)
        self._counts[name] = hour, current + more, before
        self._counts.move_to_end(name)
        if len(self._counts) > MOST_KEPT:
            self._counts.popitem(last=False)

    def _of(self, name: str) -> tuple[int, int, int]:
        now = int(self._seconds() // HOUR)
        hour, current, before = self._counts.get(name, (now, 0, 0))
        if hour == now:
            return hour, current, before
        return now, 0, current if hour == now - 1 else 0


class Rates:
    """Counts what peers bring, and says when it is too much.  ``seconds`` is monotonic."""

    def __init__(self, limits: SenderLimits, seconds: Callable[[], float]) -> None:
        self._limits, self._counts = limits, Hourly(seconds)

    def refuse_message(self, ip: str) -> Reply | None:
        """The reply to one message more; without one it is counted."""
        limits = self._limits
        ours = (limits.messages_per_address, limits.messages_per_network)
        return None if self._counted("m", ip, ours) else TOO_MANY_MESSAGES

    def refuse_recipient(self, ip: str) -> Reply | None:
        """The reply to one recipient more; without one it is counted."""
        limits = self._limits
        ours = (limits.recipients_per_address, limits.recipients_per_network)
        return None if self._counted("r", ip, ours) else TOO_MANY_TO

    def refuse_domain(self, domain: str) -> Reply | None:
        """The reply to one message more of a domain; without one it is counted."""
        most, name = self._limits.messages_per_domain, f"d {domain}"
        if not most:
            return None
        if self._counts.count(name) + 1 > most:
            return TOO_MANY_OF_DOMAIN
        self._counts.add(name)
        return None

    def _counted(self, kind: str, ip: str, limits: tuple[int, int]) -> bool:
        names = (f"{kind} {networks(ip)[0]}", f"{kind} net {_network(ip)}")
        pairs = [(name, most) for name, most in zip(names, limits, strict=True) if most]
        if any(self._counts.count(name) + 1 > most for name, most in pairs):
            return False
        for name, _ in pairs:
            self._counts.add(name)
        return True


def _network(ip: str) -> str:
    """An IPv4 /24, an IPv6 /48."""
    one, two, _ = networks(ip)
    return two if one.endswith("/64") else one.removesuffix("/32").rpartition(".")[0] or ip
