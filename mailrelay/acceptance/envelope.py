"""What acceptance is given beside the content: the session it came by, and the envelope."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field, frozen

from mailrelay.acceptance.wishes import Wishes
from mailrelay.message.header import header_end
from mailrelay.policy.relay import Submitter
from mailrelay.queue.entry import Entry, Message, OfPeer, StoredAnswer
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Mail, Rcpt


@frozen
class Source:
    """By which door a message came.  ``protocol`` is a WITH keyword for the trace."""

    door: str  # mx, submission, api, ...
    protocol: str
    submitter: Submitter
    peer_ip: str | None = None
    helo: str | None = None
    tls: str | None = None
    hide_peer: bool = False  # the trace must not tell where the submitter sits
    # A suffix of the reverse-path is the submitter's own FromID; what is wished for is in fields.
    keeps_from_id: bool = False
    has_from_ids: bool = False  # each recipient gets a FromID, whatever its login
    needs_from: bool = False  # From is checked against the account, Date and Message-ID are added


@frozen
class Fates:
    """Recipients that do not simply get a copy, when the door has judged them.

    ``dropped`` are taken and thrown away; ``refused`` fail, and their failure is reported; those of
    ``served`` who are members of an alias, or recipients, have their copy already.
    """

    dropped: frozenset[Address] = frozenset()
    refused: frozenset[Address] = frozenset()
    served: frozenset[Address] = frozenset()


@define
class Envelope:
    """Reverse-path and forward-paths of one transaction, with all that was asked for them."""

    mail: Mail
    recipients: list[Rcpt] = field(factory=list)
    wishes: Wishes = Wishes()
    answer: Callable[[Message, Sequence[Entry]], StoredAnswer] | None = None  # kept with it
    of_peer: OfPeer | None = None
    lives_from: float | None = None  # when its entries' life began; None when it is accepted
    ids: Sequence[int] = ()  # new ones, of the message and its entries, that its content names
    notes: Sequence[StoredAnswer] = ()  # kept with it, if there is none of their keys
    fates: Fates = Fates()

    @property
    def reverse_path(self) -> Address | None:
        """Where failures are reported; None when null."""
        return self.mail.reverse_path

    def due_at(self, now: float) -> float:
        """When the first attempt is due: now, or when the client asked for (RFC 4865)."""
        if self.mail.hold_for is not None:
            return now + self.mail.hold_for
        return max(now, self.mail.hold_until or now)

    def needs_smtputf8(self, head: bytes) -> bool:
        """Whether the message really is beyond ASCII (RFC 6531 section 3.2): else any hop will do.

        ``head`` is the start of its content.
        """
        paths = [self.reverse_path, *(one.forward_path for one in self.recipients)]
        return not head[: header_end(head)].isascii() or any(p and not p.is_ascii for p in paths)
