"""Somebody who hands mail to the node by HTTP, and repeats a request until it is answered."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from mailrelay.testing.simulated.http_calls import Caller
from mailrelay.testing.simulated.http_hops import APPLICATION, Answer
from mailrelay.testing.simulated.submitters import Acknowledged, Submitters

TOKEN = "handed-in"


@define(eq=False)
class HandingIn:
    """What it is answered 200 for is promised to it as to who submits by SMTP."""

    submitters: Submitters
    caller: Caller

    def begin(self, times: Sequence[float]) -> None:
        """Hand a message in at each."""
        for number, at in enumerate(times):
            self.submitters.waiting += 1
            self.caller.world.clock.callLater(at, self._hand_in, number)

    def _hand_in(self, number: int) -> None:
        world, tag = self.caller.world, f"h{number}"
        recipients = [f"user+{tag}.r0@example.org"]
        if world.chance(0.5):
            recipients.append(f"{tag}.r1@{APPLICATION}")
        for one in recipients:
            self.submitters.tried[one] = 0.0
        self._try(number, recipients)

    def _try(self, number: int, recipients: Sequence[str]) -> None:
        world, submitters, tag = self.caller.world, self.submitters, f"h{number}"
        sender = f"{tag}.s@good.example"
        head = f"From: <{sender}>\r\nMessage-ID: <{tag}@good.example>\r\nSubject: {tag}\r\n"
        body = f"{head}\r\n{tag}\r\n".encode()
        fields = {"Authorization": f"Bearer {TOKEN}", "X-Mailrelay-Mail-From": sender}
        if number % 2:
            fields["Idempotency-Key"] = f"key-{tag}"
        submitters.under_way += len(recipients)

        def told(answer: Answer | None) -> None:
            submitters.under_way -= len(recipients)
            status = None if answer is None else answer.status
            world.note(f"handing in {tag} {status}")
            if status == 200:
                world.count("handed in")
                submitters.waiting -= 1
                for one in recipients:
                    kept = Acknowledged(one, sender, "", body, world.seconds())
                    submitters.acknowledged[one] = kept
                return
            if status not in (None, 503):
                world.violated(f"handing in {tag} is answered {status}")
            world.count("handed in again")
            world.clock.callLater(world.random.uniform(2.0, 15.0), self._try, number, recipients)

        target = "/v1/email?" + "&".join(f"rcpt={one.replace('+', '%2B')}" for one in recipients)
        self.caller.post(target, fields, body, told)
