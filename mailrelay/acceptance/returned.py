"""What comes back to a reverse-path of ours: a failure, which its author is told of.

A path that is for one member's copy leads to the owner of the alias, who gets what came.

Invariants:

- It is taken from the null reverse-path only, and nothing of it is passed on but what failed and
  why: so it can neither be used to send mail through us, nor tell whom mail was forwarded to.
- A rewritten address that is forged or too old is like an unknown one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from attrs import frozen

from mailrelay.acceptance.copies import Copy, report_copies
from mailrelay.acceptance.envelope import Envelope
from mailrelay.directory.expansion import reached
from mailrelay.directory.model import Directory, matched_localpart
from mailrelay.message.dsn import SUBJECTS, Action, RecipientReport, Report, compose_dsn
from mailrelay.message.header import Header, parse_header
from mailrelay.message.member_path import MemberPaths, MembersCopy
from mailrelay.message.report import DeliveryReport, code_of, read_report
from mailrelay.message.srs import SRS
from mailrelay.policy.relay import NO_SUCH_USER
from mailrelay.queue.entry import NULL_PATH, Content, Entry, Message
from mailrelay.queue.settle import NOT_PASSED_ON
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify, Rcpt
from mailrelay.smtp.reply import EnhancedStatus, Reply, printable, reply

ONLY_REPORTS = reply(550, "5.7.1", "only reports of failures come back to this address")
TOO_MANY_REPORTS = reply(451, "4.7.1", "the author's domain is told of too much already")
ONE_REPORT = reply(452, "4.5.3", "one recipient at a time for a report: send to it alone")

_LIKE_OURS = re.compile(r"(?:SRS[01][=+-]|LIST0=).+", re.IGNORECASE | re.ASCII | re.DOTALL)
_ACTIONS = {"failed": Action.FAILED, "delayed": Action.DELAYED}


@frozen
class Returning:
    """Reads what we rewrote.  ``domain`` is the server's own for that, beside those it serves."""

    srs: SRS
    domain: str = ""

    def is_ours(self, directory: Directory, address: Address) -> bool:
        """Whether ``address`` looks like a path of ours, and is nobody's."""
        if _LIKE_OURS.fullmatch(address.localpart) is None:
            return False
        domain = directory.domains.get(address.domain)
        if domain is None:
            return address.domain == self.domain
        key = (matched_localpart(address.localpart, domain), domain.name)
        return not (domain.disabled or key in directory.addresses or key in directory.aliases)

    def refuse(
        self,
        directory: Directory,
        address: Address,
        reverse_path: Address | None,
        others: Sequence[object],
        now: float,
    ) -> Reply | None:
        """The reply to ``address``, which is ours, behind ``others`` of one transaction."""
        is_of_member = self.owner(directory, address, now) is not None
        if not is_of_member and self.srs.original(address, now) is None:
            return NO_SUCH_USER
        if reverse_path is not None:
            return ONLY_REPORTS
        return ONE_REPORT if others else None

    def members_copy(self, address: Address, now: float) -> MembersCopy | None:
        """The member's copy that ``address`` was the path of."""
        return MemberPaths(self.srs.secret).copy(address, now)

    def owner(self, directory: Directory, address: Address, now: float) -> Address | None:
        """Whose the failures of that copy are; None for every other address."""
        of = self.members_copy(address, now)
        if of is None:
            return None
        aliases = directory.aliases.values()
        return next((one.owner for one in aliases if one.id == of.alias_id), None)

    def author_in(self, directory: Directory, envelope: Envelope, now: float) -> Address | None:
        """Whose a report is that came back to a reverse-path of ours."""
        if envelope.reverse_path is not None or len(envelope.recipients) != 1:
            return None
        recipient = envelope.recipients[0].forward_path
        return self.srs.original(recipient, now) if self.is_ours(directory, recipient) else None

    def owner_in(self, directory: Directory, envelope: Envelope, now: float) -> Address | None:
        """Whose a report is that came back to the path of a member's copy."""
        if envelope.reverse_path is not None or len(envelope.recipients) != 1:
            return None
        recipient = envelope.recipients[0].forward_path
        if not self.is_ours(directory, recipient):
            return None
        return self.owner(directory, recipient, now)

    def failed_in(
        self, directory: Directory, envelope: Envelope, head: bytes, now: float
    ) -> MembersCopy | None:
        """The member's copy that a report, which ``head`` begins, tells the failure of."""
        if self.owner_in(directory, envelope, now) is None:
            return None
        if not is_failure_for_good(parse_header(head), head):
            return None
        return self.members_copy(envelope.recipients[0].forward_path, now)


def owners_copies(directory: Directory, owner: Address) -> Sequence[Copy]:
    """What came back to a member's path is its owner's, wherever his mail goes."""
    members = reached(directory, owner).members
    return [
        Copy(
            0,
            Rcpt(one.address),
            None if one.address == owner else owner,
            own_path=NULL_PATH if one.is_external else None,
            member=one,
        )
        for one in members
    ] or [Copy(0, Rcpt(owner))]


def is_failure_for_good(header: Header, content: bytes) -> bool:
    """Whether ``content`` reports that a server took a message for good, and then failed it."""
    report = read_report(content) if header.is_report else None
    if not isinstance(report, DeliveryReport):
        return False
    return any(one.action == "failed" and code_of(one)[0] >= 500 for one in report.recipients)


@frozen
class Failure:
    """What a report says, as the author may know it."""

    told: RecipientReport
    message_id: str = ""


def failure_in(
    directory: Directory, header: Header, content: bytes, recipient: Address
) -> Failure | None:
    """What ``content``, which came back to ``recipient``, tells; None for what is no failure.

    Of a large report there is the header alone: those are of failures, with the message in it.
    """
    report = read_report(content) if header.is_report else None
    if not isinstance(report, DeliveryReport):
        of_delivery = "delivery-status" in (header.first("content-type") or "").lower()
        if not (of_delivery if header.is_report else not header.is_automatic):
            return None
        answer = Reply(550, NOT_PASSED_ON)
        return Failure(RecipientReport(recipient, Action.FAILED, answer))
    blocks = [one for one in report.recipients if one.action in _ACTIONS]
    if not blocks:
        return None
    passed_on_by = report.original_delivered_to
    if passed_on_by is None or not directory.passes_on(passed_on_by):
        passed_on_by = recipient
    action = _ACTIONS[blocks[0].action]
    _, status = code_of(blocks[0])
    told = RecipientReport(passed_on_by, action, _answer(action, status))
    return Failure(told, report.original_message_id)


def _answer(action: Action, status: str) -> Reply:
    code = 550 if action is Action.FAILED else 450
    parts = [int(part) for part in status.split(".")] if status else []
    fits = len(parts) == 3 and parts[0] == code // 100
    return Reply(code, NOT_PASSED_ON, EnhancedStatus(*parts) if fits else None)


def told_to_author(
    directory: Directory,
    new_id: Callable[[], int],
    hostname: str,
    author: Address,
    failure: Failure,
    now: float,
    token: str,
) -> tuple[Message, Content, Sequence[Entry]]:
    """The report that ``author`` gets in place of the one that came."""
    id_ = new_id()
    message_id = f"<{id_}.dsn.{int(now)}@{hostname}>"
    of = printable(failure.message_id, 300) if failure.message_id.isascii() else ""
    original = f"Message-ID: {of}\r\n".encode() if of else b""
    body = compose_dsn(
        Report(
            hostname,
            author,
            message_id,
            token,
            of or None,
            None,
            now,
            now,
            [failure.told],
            original,
            len(original),
        )
    )
    message = Message(
        id_,
        None,
        None,
        now,
        len(body),
        "dsn",
        message_id=message_id,
        subject=SUBJECTS[failure.told.action],
        eight_bit=not body.isascii(),
        smtputf8=not author.is_ascii,
        is_automatic=True,
    )
    entry = Entry(new_id(), message, author, now, now, notify=frozenset({Notify.NEVER}))
    return message, Content(b"", body, None, len(body)), report_copies(directory, new_id, entry)
