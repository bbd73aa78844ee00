"""Something of everything that an account can have, with names of one's choice."""

from __future__ import annotations

import base64
import json
from base64 import b64decode
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any
from urllib.request import Request, urlopen

from attrs import frozen

from mailrelay.cli.target import settled
from mailrelay.control.aliases import AliasDetails
from mailrelay.control.endpoints import EndpointFields
from mailrelay.control.keys import NewKey
from mailrelay.directory.keys import Scope
from mailrelay.service.controls import Control
from mailrelay.templates.model import Source
from tests.browser.localserve import PATIENCE, Localserve, Person, letter


@frozen
class Words:
    """What is written wherever somebody may write what they like."""

    line: str = "Your bill of August"
    html: str = "<h1>Thank you</h1><p>The bill is attached.</p>"
    text: str = "Thank you.\n\nThe bill is attached.\n"
    file_name: str = "bill.pdf"
    template: str = "a bill"


def fill(server: Localserve, person: Person, words: Words) -> None:
    """Give ``person`` some of everything; mail is on its way still when it returns."""
    server.deliver(full_letter(words), to=person.address, sender="billing@example.net")
    send(server, person, words, f"x{person.name}@localhost")
    send(server, person, words, "busy-temperror@localhost")
    send(server, person, words, "nobody-permerror@localhost")
    with server.control() as control:
        settled(kept(control, person, words))


PICTURE = b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")


def full_letter(words: Words) -> EmailMessage:
    """A message with text, HTML, and three attachments, of which one is a picture."""
    message = letter(words.line, **{"X-Note": words.line})
    message.set_content(words.text)
    message.add_alternative(words.html, subtype="html")
    for kind, name in (("pdf", words.file_name), ("octet-stream", "more")):
        message.add_attachment(b"%PDF-1.4\n", maintype="application", subtype=kind, filename=name)
    message.add_attachment(PICTURE, maintype="image", subtype="gif", filename="picture")
    return message


def send(server: Localserve, person: Person, words: Words, to: str, **more: Any) -> None:
    """Have ``person``'s application send a message."""
    post(server, person, "messages", {**_shared(person, words), **_to(to), **more})


def send_many(
    server: Localserve, person: Person, words: Words, to: Sequence[str], **more: Any
) -> None:
    """Have ``person``'s application send as many messages as there are recipients."""
    messages = [_to(one) for one in to]
    body = {**_shared(person, words), "messages": messages, **more}
    post(server, person, "messages/batch", body)


def _shared(person: Person, words: Words) -> dict[str, Any]:
    return {
        "from": {"address": person.address},
        "subject": words.line,
        "text": words.text,
        "html": words.html,
        "tags": ["bill"],
    }


def _to(address: str) -> dict[str, Any]:
    return {"to": [{"address": address}]}


def post(server: Localserve, person: Person, path: str, body: object) -> None:
    """Ask something of the API, as ``person``."""
    login = base64.b64encode(f"{person.address}:{person.password}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    request = Request(f"{server.base}/api/v1/{path}", json.dumps(body).encode(), headers)
    with urlopen(request, timeout=PATIENCE) as answer:
        assert answer.status in (200, 202, 207), answer.read()


async def kept(control: Control, person: Person, words: Words) -> None:
    """Give ``person`` one of each thing that is kept."""
    name = person.name
    await control.suppression.add(name, "gone@example.net", words.line)
    await control.holds.add(name, None, "later.example")
    await control.keys.add(name, NewKey(name=words.line[:100], scopes=frozenset({Scope.SEND})))
    source = Source(words.line, words.text, words.html)
    await control.templates.add(name, words.template, source)
    wanted = EndpointFields(name=words.line[:100], url="http://127.0.0.1:9/hook")
    await control.endpoints.add(name, wanted)
    details = AliasDetails(list_members=True, allow_from=True)
    await control.aliases.add(f"team-{name}@{person.domain}", [person.address], details)
