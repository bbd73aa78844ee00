"""Complaints: whose message a feedback report (RFC 5965) is about, and the event that tells of it.

They come to any address of ours, as it was arranged with who sends them, and leave out what may
tell who complains.  The message's return path has its FromID, which is believed (threat 14); a
Message-ID or ENVID is enough for the event, and suppresses nobody.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from mailrelay.directory.model import Account, Directory
from mailrelay.message.report import FeedbackReport
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.policy.from_id import from_id_in
from mailrelay.queue.entry import Entry
from mailrelay.smtp.reply import printable
from mailrelay.webhooks.sent import SentEntries, SentEntry

_OTHER_FEEDBACK = frozenset({"", "not-spam", "auth-failure", "dmarc"})
MAX_TYPE_CHARACTERS = 40


@frozen
class About:
    """The entry that a complaint is about, whose it is, and how that is known."""

    sent: SentEntry
    account_id: int
    matched_by: str  # from_id or message


def is_complaint(report: FeedbackReport) -> bool:
    """Whether somebody says that mail is not wanted; most of what has no type of its own does."""
    return report.feedback_type not in _OTHER_FEEDBACK


@frozen
class Complaints:
    """Finds what a complaint is about.  It may be of another account than whom it comes to."""

    sent: SentEntries
    directory: Callable[[], Directory]

    async def about(self, report: FeedbackReport, owner: Account) -> About | None:
        """The entry, if ``report`` names one of ours; ``owner`` is whom the report came to.

        Raises: StoreUnavailable.
        """
        directory, senders = self.directory(), {}
        for path in (report.return_path, report.mail_from):
            sender = directory.resolve(path) if path is not None else None
            if path is None or not isinstance(sender, Account):
                continue
            senders[sender.id] = sender
            from_id = from_id_in(directory, path)
            found = await self.sent.by_from_id(sender.id, from_id) if from_id else None
            if found is not None:
                return About(found, sender.id, "from_id")
        for account_id in senders or {owner.id: owner}:
            found = await self._by_message(report, account_id)
            if found is not None:
                return About(found, account_id, "message")
        return None

    async def _by_message(self, report: FeedbackReport, account_id: int) -> SentEntry | None:
        """By what names the message; recipients are often left out, or made unreadable."""
        named = sorted({str(recipient) for recipient in report.recipients})
        for recipients in (named, []) if named else ([],):
            found = await self.sent.by_message(
                account_id, report.envid, report.original_message_id, recipients
            )
            if found is not None:
                return found
        return None


def complaint_event(report: FeedbackReport, about: About, entry: Entry, at: float) -> NewEvent:
    """The event of the entry that is complained of; ``entry`` is the report's own."""
    data: dict[str, object] = {
        "recipient": about.sent.recipient,
        "matched_by": about.matched_by,
        "feedback_type": printable(report.feedback_type, MAX_TYPE_CHARACTERS),
        "user_agent": report.user_agent,
        "by": str(entry.reverse_path or ""),
    }
    return NewEvent(
        EventKind.COMPLAINED,
        at,
        about.sent.message_id,
        about.sent.entry_id,
        about.account_id,
        {name: value for name, value in data.items() if value},
    )
