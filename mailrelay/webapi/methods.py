"""The methods by name: what each takes, and who does it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from mailrelay.webapi import types
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.draft import Upload
from mailrelay.webapi.messages import Messages
from mailrelay.webapi.send import Sender
from mailrelay.webapi.suppressions import Suppressions
from mailrelay.webhooks.gojson import GoStruct, encode


@frozen
class Result:
    """What a method answered: JSON, or bytes as they are with their type."""

    body: bytes | AsyncIterator[bytes]
    content_type: str = "application/json; charset=utf-8"
    length: int | None = None


Work = Callable[[Caller, Any, Sequence[Upload]], Awaitable[Result]]


@frozen
class Method:
    """One method.  ``takes_files`` when uploads are looked at."""

    name: str
    request: type[GoStruct]
    work: Work
    about: str
    is_bytes: bool = False


def methods(sender: Sender, suppressions: Suppressions, messages: Messages) -> Mapping[str, Method]:
    """All methods, by name, sorted."""

    async def send(caller: Caller, request: types.SendRequest, files: Sequence[Upload]) -> Result:
        return _json(await sender.send(caller, request, files))

    async def raw(caller: Caller, request: types.MessageRequest, _: Sequence[Upload]) -> Result:
        size, blocks = await messages.raw(caller, request)
        return Result(blocks, "text/plain", size)

    async def part(
        caller: Caller, request: types.MessagePartRequest, _: Sequence[Upload]
    ) -> Result:
        return Result(await messages.part(caller, request), "application/octet-stream")

    all_ = (
        Method("Send", types.SendRequest, send, "Queue a message for delivery."),
        Method(
            "SuppressionList",
            types.SuppressionListRequest,
            _answering(suppressions.list),
            "The addresses that the account does not send to.",
        ),
        Method(
            "SuppressionAdd",
            types.SuppressionAddRequest,
            _answering(suppressions.add),
            "Put an address on the suppression list.",
        ),
        Method(
            "SuppressionRemove",
            types.SuppressionRequest,
            _answering(suppressions.remove),
            "Take an address off the suppression list.",
        ),
        Method(
            "SuppressionPresent",
            types.SuppressionRequest,
            _answering(suppressions.present),
            "Whether an address is on the suppression list.",
        ),
        Method(
            "MessageGet",
            types.MessageRequest,
            _answering(messages.get),
            "A message of a mailbox, parsed.",
        ),
        Method(
            "MessageRawGet",
            types.MessageRequest,
            raw,
            "A message's bytes, as they are stored.",
            is_bytes=True,
        ),
        Method(
            "MessagePartGet",
            types.MessagePartRequest,
            part,
            "The content of one part of a message.",
            is_bytes=True,
        ),
        Method(
            "MessageDelete",
            types.MessageRequest,
            _answering(messages.delete),
            "Remove a message for good.",
        ),
        Method(
            "MessageFlagsAdd",
            types.MessageFlagsRequest,
            _answering(messages.add_flags),
            "Set flags of a message.",
        ),
        Method(
            "MessageFlagsRemove",
            types.MessageFlagsRequest,
            _answering(messages.remove_flags),
            "Clear flags of a message.",
        ),
        Method(
            "MessageMove",
            types.MessageMoveRequest,
            _answering(messages.move),
            "Move a message to another mailbox.",
        ),
    )
    return {method.name: method for method in sorted(all_, key=lambda m: m.name)}


def _answering(work: Callable[[Caller, Any], Awaitable[GoStruct]]) -> Work:
    async def answer(caller: Caller, request: Any, _: Sequence[Upload]) -> Result:
        return _json(await work(caller, request))

    return answer


def _json(value: GoStruct) -> Result:
    return Result(encode(value) + b"\n")
