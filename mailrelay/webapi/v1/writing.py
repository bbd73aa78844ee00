"""From a letter to what acceptance is given: checked, filled, with its envelope and its draft."""

from __future__ import annotations

from attrs import frozen

from mailrelay.acceptance.envelope import Envelope
from mailrelay.message.draft import Draft
from mailrelay.policy.from_id import new_from_id
from mailrelay.smtp.command import Mail, Rcpt
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.send import Sender
from mailrelay.webapi.v1.filling import LetterWriter
from mailrelay.webapi.v1.letter import (
    Letter,
    Parties,
    check_body,
    draft_of,
    parties_of,
    wishes_of,
)
from mailrelay.webapi.v1.one_click import OneClick
from mailrelay.webapi.v1.outgoing import (
    as_sender,
    check_recipients,
    check_sender,
    release_at,
)


@frozen
class Outgoing:
    """A letter, ready to be composed and accepted."""

    letter: Letter
    caller: Caller
    envelope: Envelope
    draft: Draft


@frozen
class Desk:
    """Where letters are made ready.  ``letters`` fills templates, ``one_click`` makes links."""

    sender: Sender
    letters: LetterWriter
    one_click: OneClick

    def checked(self, caller: Caller, letter: Letter, before: int = 0) -> Parties:
        """Whom ``letter`` is from and to; ``before`` is how many the request has sent to so far.

        All that can be said before its template is filled.  Raises: Problem.
        """
        parties = parties_of(letter)
        check_sender(self.sender, caller, parties.from_.address, "from.address")
        check_body(letter)
        check_recipients(self.sender, caller, parties.recipients, before)
        return parties

    def ready(self, caller: Caller, letter: Letter, parties: Parties) -> Outgoing:
        """``letter``, whose template is filled.  Raises: Problem; StoreUnavailable."""
        sender, now = self.sender, self.sender.now()
        hold_until = release_at(letter.send_at, now)
        one_click = self.one_click.fields(
            letter.unsubscribe,
            caller.account.id,
            parties.recipients,
            [one.name for one in letter.headers],
            hold_until or now,
        )
        draft = draft_of(
            letter,
            parties,
            one_click.headers,
            now=now,
            message_id=f"<{new_from_id(sender.token())}@{sender.hostname}>",
            user_agent=sender.user_agent,
            boundary=sender.token,
        )
        mail = Mail(
            parties.from_.address,
            smtputf8=draft.smtputf8,
            require_tls=letter.require_tls,
            hold_until=hold_until,
        )
        wishes = wishes_of(letter.extra, letter.tags, letter.priority)
        recipients = [Rcpt(one) for one in parties.recipients]
        return Outgoing(
            letter,
            as_sender(caller, parties.from_.address),
            Envelope(mail, recipients, wishes, ids=one_click.ids),
            draft,
        )
