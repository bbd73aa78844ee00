"""Payloads to try a receiver with.  Pure."""

from __future__ import annotations

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.webhooks.gojson import encode, go_time
from mailrelay.webhooks.standard import Sent, outgoing_body
from mailrelay.webhooks.types import Incoming, IncomingMeta, NameAddress, Outgoing, Structure

_REPLIES = {
    "delayed": (451, "4.2.1", "mailbox is busy, try again later"),
    "failed": (550, "5.1.1", "no such user"),
}


def example_outgoing(event: str, at: float) -> bytes:
    """What a call for ``event`` may say, at ``at`` seconds since the epoch."""
    code, status, error = _REPLIES.get(event, (0, "", ""))
    said = Outgoing(
        event=event,
        suppressing=event == "failed",
        queue_msg_id=123,
        from_id="MDEyMzQ1Njc4OWFiY2RlZg",
        message_id="<example@mailrelay.example>",
        subject="a test of the webhook",
        webhook_queued=go_time(at),
        smtp_code=code,
        smtp_enhanced_code=status,
        error=error,
        extra={"userid": "456"},
    )
    return encode(said, escape_html=True)


def example_standard(event: str, at: float) -> bytes:
    """What a call of a standard endpoint may say of an entry, at ``at``."""
    code, status, reply = _REPLIES.get(event, (250, "2.0.0", "ok"))
    data = {"code": code, "status": status, "reply": reply, "host": "mx.example.net", "attempt": 1}
    happened = NewEvent(EventKind(event), at, 123, 124, 1, data)
    sent = Sent(
        message_id=123,
        header_message_id="<example@mailrelay.example>",
        subject="a test of the webhook",
        sender="you@mailrelay.example",
        tags=("example",),
        extra={"userid": "456"},
        entry_id=124,
        recipient="somebody@example.net",
        from_id="MDEyMzQ1Njc4OWFiY2RlZg",
        state="waiting" if event == "delayed" else event,
        attempts=1,
    )
    return outgoing_body(happened, sent, [happened])


def example_incoming(at: float) -> bytes:
    """What a call for an incoming message may say."""
    said = Incoming(
        from_=[NameAddress(name="A Sender", address="sender@mailrelay.example")],
        to=[NameAddress(name="", address="you@mailrelay.example")],
        subject="a test of the webhook",
        message_id="<example@mailrelay.example>",
        date=go_time(at),
        text="hello\n",
        structure=Structure(
            content_type="text/plain", content_type_params={"charset": "utf-8"}, decoded_size=7
        ),
        meta=IncomingMeta(
            msg_id=123,
            mail_from="sender@mailrelay.example",
            rcpt_to="you@mailrelay.example",
            remote_ip="192.0.2.1",
            received=go_time(at),
            mailbox_name="Inbox",
        ),
    )
    return encode(said, escape_html=True)
