"""``/messages``, to be sent: through the same acceptance as mail by any door."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from mailrelay.directory.keys import Scope
from mailrelay.message.draft import Unwritable
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.v1.letter import Letter, problem_of_draft
from mailrelay.webapi.v1.one_click import NO_PUBLIC_URL
from mailrelay.webapi.v1.operations import Answer, Call, Operation
from mailrelay.webapi.v1.outgoing import Sent, json_bytes, problem_of_refusal, sent
from mailrelay.webapi.v1.problems import LIMIT_REACHED, NOT_ACCEPTED
from mailrelay.webapi.v1.writing import Desk


@frozen
class SendingOperations:
    """What sends."""

    desk: Desk

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="message_send",
                method="POST",
                path="/messages",
                about="Send a message. When it is answered, it is on stable storage.",
                work=self.send,
                scope=Scope.SEND,
                body=Letter,
                answers={202: Sent},
                problems=(NOT_ACCEPTED, LIMIT_REACHED, NO_PUBLIC_URL),
                most_body_bytes=json_bytes(self.desk.sender.max_message_bytes),
            ),
        ]

    async def send(self, call: Call) -> Answer:
        """Send one message.  Raises: Problem."""
        desk, given = self.desk, call.body
        parties = desk.checked(call.caller, given)
        letter = await desk.letters.filled(call.caller.account, given)
        ready = desk.ready(call.caller, letter, parties)
        keep = call.keep
        if keep is not None:
            ready.envelope.answer = lambda message, entries: keep(
                Answer(202, sent(message, entries))
            )
        try:
            accepted, _ = await desk.sender.submit(ready.caller, ready.envelope, ready.draft)
        except Unwritable as error:
            raise problem_of_draft(error, letter) from None
        except APIError as error:
            raise problem_of_refusal(error) from None
        return Answer(202, sent(accepted.message, accepted.entries), is_kept=keep is not None)
