"""What becomes of what a Zotonic site hands to us: a message of its account's, or a failed one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from attrs import evolve, frozen
from twisted.logger import Logger

from mailrelay.acceptance.accept import Acceptance
from mailrelay.acceptance.content import IncomingContent, SpoolWriter
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.refusal import Refused
from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.control.relayed import RelayedMail
from mailrelay.control.suppression import SuppressionControl
from mailrelay.directory.model import Account, Directory
from mailrelay.directory.peers import FromPolicy, Peer
from mailrelay.message.fields import read_fields
from mailrelay.message.header import Header, HeaderTooLarge, header_end, parse_header
from mailrelay.message.mailboxes import mailboxes_in
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.peering.from_policy import refuse_from_of_peer, with_own_from
from mailrelay.peering.zotonic import (
    BlockRequest,
    Malformed,
    RelayRequest,
    error_body,
    queued_body,
    status_text,
)
from mailrelay.peering.zotonic_callback import may_hear_at
from mailrelay.policy.relay import Submitter, refuse_recipient
from mailrelay.queue.entry import (
    Conditions,
    Content,
    Entry,
    EntryState,
    Message,
    NewMessage,
    OfPeer,
    StoredAnswer,
)
from mailrelay.queue.store import AnsweredBefore
from mailrelay.smtp.address import MAX_PATH_BYTES, Address, MalformedAddress
from mailrelay.smtp.command import Mail, Rcpt
from mailrelay.smtp.reader import has_bare
from mailrelay.smtp.reply import Reply, reply
from mailrelay.web.request import Response

DOOR = "peer"
KEPT_FOR = 14 * 86400.0
"""Seconds for which a number is known again; a site tries for eight and a half days."""

BAD_RECIPIENT = reply(553, "5.1.3", "the recipient is no address that mail can be sent to")
TOO_LARGE = reply(552, "5.3.4", "message is larger than this server takes")
NOT_LINES = reply(554, "5.6.11", "lines must end in CRLF, and there must be no NUL")


@frozen
class ZotonicTaking:
    """See Taking.  ``kept_for`` is how long an account's retired entries are kept."""

    hostname: str
    directory: Callable[[], Directory]
    acceptance: Acceptance
    mail: RelayedMail
    lists: Callable[[str], SuppressionControl]
    over_daily_limit: Callable[[Account, int], Reply | None]
    open_spool: Callable[[], SpoolWriter]
    now: Callable[[], float]
    kept_for: Callable[[int | None], float]
    most_bytes: int
    _log = Logger()

    async def relay(self, peer: Peer, account: Account, wanted: RelayRequest) -> Response:
        """See Taking."""
        recipient, is_whole = recipient_in(wanted.recipient)
        one = _Mail(peer, account, recipient, number_of(wanted), self._webhook(peer, wanted))
        refusal = self._refusal(one, wanted, is_whole=is_whole)
        try:
            if refusal is None:
                over = self.over_daily_limit(account, 1)
                if over is not None:
                    return Response.json(429, error_body("quota", status_text(over)))
                try:
                    return _queued(await self._accepted(one, wanted.email), wanted)
                except Refused as refused:
                    if refused.reply.is_transient:
                        return Response.json(503, error_body("busy", status_text(refused.reply)))
                    refusal = refused.reply
            return _queued(await self._failed(one, wanted.email, refusal), wanted)
        except AnsweredBefore as before:
            assert before.found is not None
            id_ = int(before.found.answer)
            return Response.json(200, queued_body(id_, wanted.recipient, is_again=True))

    def _webhook(self, peer: Peer, wanted: RelayRequest) -> str | None:
        """Where it wants to hear of the message, if it may."""
        if not wanted.webhook_url or may_hear_at(peer, wanted.webhook_url):
            return wanted.webhook_url or None
        self._log.warn(
            "peer {name} wants reports at another place than its callback_url: not told there",
            name=peer.name,
        )
        return None

    def _refusal(self, one: _Mail, wanted: RelayRequest, *, is_whole: bool) -> Reply | None:
        """Why the message can never be delivered, as far as that is known now."""
        if not is_whole:
            return BAD_RECIPIENT
        if len(wanted.email) > self.most_bytes:
            return TOO_LARGE
        if has_bare(wanted.email) or b"\0" in wanted.email:
            return NOT_LINES
        submitter = Submitter(one.account)
        refusal = refuse_recipient(self.directory(), submitter, one.recipient)
        if refusal is not None and refusal.is_permanent:
            return refusal
        return refuse_from_of_peer(_head(wanted.email), one.peer.options)

    async def _accepted(self, one: _Mail, email: bytes) -> int:
        """The id of a message that is in the queue.  Raises: Refused, AnsweredBefore."""
        options = one.peer.options
        if options.from_policy is FromPolicy.REWRITE and options.from_address:
            email = with_own_from(email, Address.parse(options.from_address))
        content = IncomingContent(self.open_spool)
        content.write(email)
        path = self._own_path(one)
        source = Source(
            DOOR, "HTTPS", Submitter(one.account), hide_peer=True, has_from_ids=path is not None
        )
        envelope = Envelope(
            Mail(path, smtputf8=True),
            [Rcpt(one.recipient)],
            answer=lambda message, entries: self._answer(one, message.id),
            of_peer=one.of_peer,
        )
        accepted = await self.acceptance.accept(source, envelope, content)
        return accepted.message.id

    def _own_path(self, one: _Mail) -> Address | None:
        """Where failures are reported: an address of the account's."""
        directory, text = self.directory(), one.peer.options.from_address
        chosen = Address.parse(text) if text else None
        if chosen is not None and directory.owns(one.account, chosen):
            return chosen
        own = [key for key, id_ in directory.addresses.items() if id_ == one.account.id and key[0]]
        return Address(*min(own, key=self._is_worse)) if own else None

    def _is_worse(self, key: tuple[str, str]) -> tuple[bool, bool, bool, str, str]:
        """What orders addresses: where failures arrive, can be told apart, and look like us."""
        localpart, name = key
        domain = self.directory().domains.get(name)
        is_off = domain is None or domain.disabled
        is_strange = not f".{self.hostname}".endswith(f".{name}")
        return (is_off, not (domain and domain.separator), is_strange, name, localpart)

    async def _failed(self, one: _Mail, email: bytes, why: Reply) -> int:
        """The id of a message that was refused for good, of which the peer is to hear."""
        now, store = self.now(), self.acceptance.store
        id_, entry_id = store.new_id(), store.new_id()
        message = Message(id_, one.account.id, self._own_path(one), now, len(email), DOOR)
        fields = read_fields(_parsed(_head(email)))
        message = evolve(
            message, message_id=fields.message_id[:990] or None, subject=fields.subject[:500]
        )
        entry = Entry(entry_id, message, one.recipient, now, now, state=EntryState.RETIRED)
        told = {"recipient": str(one.recipient)}
        accepted = NewEvent(
            EventKind.ACCEPTED,
            now,
            id_,
            None,
            one.account.id,
            {"door": DOOR, "size_bytes": len(email), "recipients": [told["recipient"]]},
        )
        status = str(why.status) if why.status else ""
        data = {**told, "code": why.code, "status": status, "reply": why.text, "attempt": 0}
        failed = NewEvent(EventKind.FAILED, now, id_, entry_id, one.account.id, data)
        new = NewMessage(
            message,
            Content(b"", b"", None, 0),
            [entry],
            [accepted],
            Conditions(answer=self._answer(one, id_)),
            one.of_peer,
        )
        await self.mail.add_failed(new, failed, now + self.kept_for(one.account.id))
        return id_

    def _answer(self, one: _Mail, message_id: int) -> StoredAnswer:
        digest = hashlib.sha256(one.key.encode()).digest()
        expires = self.now() + KEPT_FOR
        return StoredAnswer(0, one.key, digest, 200, str(message_id).encode(), expires)

    async def block(self, peer: Peer, account: Account, wanted: BlockRequest) -> None:
        """See Taking."""
        recipient, is_whole = recipient_in(wanted.recipient)
        if not is_whole:
            raise Malformed("recipient", "is no address")
        if not peer.options.shares_suppression:
            return  # a site repeats for days what is answered otherwise
        lists = self.lists(f"peer:{peer.name}")
        try:
            if wanted.is_blocked:
                await lists.add(account.name, str(recipient), f"blocked by the peer {peer.name}")
            else:
                await lists.remove(account.name, str(recipient))
        except (AlreadyThere, NoSuch):
            pass
        except Refusal as error:
            raise Malformed("recipient", str(error)) from None


@frozen
class _Mail:
    """A message for one recipient, and whose it is."""

    peer: Peer
    account: Account
    recipient: Address
    number: str
    webhook_url: str | None

    @property
    def key(self) -> str:
        """What it is known by when it comes again."""
        told = "\0".join((self.number, str(self.recipient))).encode("utf-8", "surrogateescape")
        return f"zotonic.{self.peer.id}.{hashlib.sha256(told).hexdigest()}"

    @property
    def of_peer(self) -> OfPeer:
        """What is noted of it."""
        return OfPeer(self.peer.id, self.number, webhook_url=self.webhook_url)


def recipient_in(text: str) -> tuple[Address, bool]:
    """The address of ``text``, which may have a display name; False when it can be nobody's.

    Raises: Malformed, for what is not one address at all.
    """
    found = mailboxes_in(text)
    if len(found) == 1:
        try:
            return Address.parse(str(found[0].address)), True
        except MalformedAddress:
            return found[0].address, False
    inner = text.rpartition("<")[2].partition(">")[0].strip()
    localpart, at, domain = inner.rpartition("@")
    if found or not at or '"' in inner or len(inner.encode()) > MAX_PATH_BYTES:
        raise Malformed("recipient", "must be one address")
    return Address(localpart, domain), False


def number_of(wanted: RelayRequest) -> str:
    """What the peer calls a message: its Message-ID where it says nothing, or its own bytes."""
    if wanted.message_nr:
        return wanted.message_nr
    id_ = read_fields(_parsed(_head(wanted.email))).message_id.strip("<>")
    if id_ and len(id_) <= 200 and id_.isprintable():
        return id_
    return hashlib.sha256(wanted.email).hexdigest()


def _head(email: bytes) -> bytes:
    return email[: header_end(email)]


def _parsed(head: bytes) -> Header:
    try:
        return parse_header(head)
    except HeaderTooLarge:
        return parse_header(b"")


def _queued(message_id: int, wanted: RelayRequest) -> Response:
    return Response.json(200, queued_body(message_id, wanted.recipient))
