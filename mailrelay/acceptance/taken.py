"""What is told of success when an alias takes a message (RFC 3461 section 5.2.7).

Invariant: who is behind the alias is not told.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from mailrelay.acceptance.copies import Taken
from mailrelay.message.dsn import Action, RecipientReport
from mailrelay.queue.entry import Message, NewMessage
from mailrelay.queue.report import Composer, by_action, may_report
from mailrelay.smtp.reply import EnhancedStatus, Reply

_WORDS = {
    Action.DELIVERED: "taken here, where it ends for its sender",
    Action.EXPANDED: "passed on to the members of the alias",
}


def reports_of(
    composer: Composer, message: Message, taken: Sequence[Taken], front: bytes
) -> Sequence[NewMessage]:
    """The DSNs for the sender of ``message``, whose content begins with ``front``.

    They return its header alone: RET is for failures (RFC 3461 section 4.3).
    """
    if not taken or not may_report(message):
        return []
    told = [
        RecipientReport(
            one.recipient.forward_path,
            one.action,
            Reply(250, _WORDS[one.action], EnhancedStatus(2, 0, 0)),
            orcpt=one.recipient.orcpt,
        )
        for one in taken
    ]
    of, size = evolve(message, ret=None), message.size_bytes
    return [composer.dsn(of, group, None, front, size) for group in by_action(told)]
