"""Mail programs that ask how to send: Thunderbird's, Outlook's and Apple's ways.

- Settings are told for domains that are served.  Whether an address exists changes nothing.
- A request's XML is bounded, and refused where a document type begins: it has no entities.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from xml.parsers import expat

from attrs import define, field, frozen

from mailrelay.smtp.address import MAX_PATH_BYTES, Address, MalformedAddress, normal_domain
from mailrelay.web.client_settings import (
    ClientSettings,
    apple,
    outlook,
    outlook_place,
    outlook_refusal,
    thunderbird,
)
from mailrelay.web.request import Request, Response, Route, refused

MOST_REQUEST_BYTES = 16 * 1024
MOST_DEPTH = 8
XML = "text/xml; charset=utf-8"
PROFILE = "application/x-apple-aspen-config"

NOT_SERVED = "mail of that domain is not here\n"
NO_ADDRESS = "no address: ask with one of yours\n"
NO_PROFILE = "there is no profile: it needs an IMAP server, see [autoconfig] imap_host\n"

_PREFIXES = ("autoconfig.", "autodiscover.")
_POX_CASES = ("/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml")


class MalformedRequest(Exception):
    """The XML asks for nothing that could be answered; the message says why."""


@frozen
class Autoconfig:
    """Answers for the domains of which ``is_served`` holds.  ``url`` is where this is, by https."""

    is_served: Callable[[str], bool]
    settings: ClientSettings
    url: str

    def routes(self) -> Sequence[Route]:
        """For a listener that mail programs reach."""
        get = ("GET", "HEAD")
        return [
            Route(get, "/.well-known/autoconfig/mail/config-v1.1.xml", self.mozilla),
            Route(get, "/mail/config-v1.1.xml", self.mozilla),
            *(Route(("POST",), path, self.autodiscover) for path in _POX_CASES),
            Route(get, "/autodiscover/autodiscover.json", self.place),
            Route(get, "/autodiscover/autodiscover.json/v1.0/{address}", self.place),
            Route(get, "/mail.mobileconfig", self.profile),
        ]

    async def mozilla(self, request: Request) -> Response:
        """Thunderbird's; of the address's domain, or of the one whose name was asked."""
        text = _query(request, "emailaddress")
        domain = self._address(text).domain if text else self._asked_host(request)
        return Response(200, thunderbird(domain, self.settings), content_type=XML)

    async def autodiscover(self, request: Request) -> Response:
        """Outlook's."""
        body = await request.body.read(MOST_REQUEST_BYTES)
        try:
            asked = read_autodiscover(body)
            address = Address.parse(asked.address)
        except (MalformedRequest, MalformedAddress) as error:
            refusal = outlook_refusal(600, f"Invalid Request: {error}")
            return Response(400, refusal, content_type=XML)
        if not self.is_served(address.domain):
            refusal = outlook_refusal(603, NOT_SERVED.strip())
            return Response(404, refusal, content_type=XML)
        if not asked.is_outlook:
            refusal = outlook_refusal(601, "the provider of that schema is not available")
            return Response(200, refusal, content_type=XML)
        return Response(200, outlook(address, self.settings), content_type=XML)

    async def place(self, request: Request) -> Response:
        """Outlook's JSON: where the settings are."""
        text = request.params.get("address") or _query(request, "Email")
        self._address(text)
        found = outlook_place(
            _query(request, "Protocol"), f"{self.url}/autodiscover/autodiscover.xml"
        )
        if found is None:
            names = "the protocols are: AutodiscoverV1"
            error = {"ErrorCode": "InvalidProtocol", "ErrorMessage": names}
            return Response.json(400, json.dumps(error).encode())
        return Response.json(200, found)

    async def profile(self, request: Request) -> Response:
        """Apple's."""
        made = apple(self._address(_query(request, "address")), self.settings)
        if made is None:
            raise refused(404, NO_PROFILE)
        named = {"Content-Disposition": 'attachment; filename="mail.mobileconfig"'}
        return Response(200, made, named, content_type=PROFILE)

    def _address(self, text: str) -> Address:
        """Raises: Refused."""
        try:
            if len(text) > MAX_PATH_BYTES:
                raise MalformedAddress("too long")
            address = Address.parse(text)
        except MalformedAddress:
            raise refused(400, NO_ADDRESS) from None
        if not self.is_served(address.domain):
            raise refused(404, NOT_SERVED)
        return address

    def _asked_host(self, request: Request) -> str:
        """Raises: Refused."""
        host = (request.headers.get("host") or "").lower().partition(":")[0]
        for prefix in _PREFIXES:
            host = host.removeprefix(prefix)
        try:
            domain = normal_domain(host)
        except MalformedAddress:
            domain = ""
        if not self.is_served(domain):
            raise refused(404, NOT_SERVED)
        return domain


def _query(request: Request, name: str) -> str:
    """A field of the query string, whatever its case; "" when it is not there."""
    fields: Mapping[str, Sequence[str]] = request.query_fields()
    return next((values[0] for key, values in fields.items() if key.lower() == name.lower()), "")


@frozen
class Autodiscover:
    """What Outlook asks for."""

    address: str
    is_outlook: bool  # its own schema, and not that of phones


def read_autodiscover(body: bytes) -> Autodiscover:
    """The request in ``body``.  Raises: MalformedRequest."""
    reading = _Reading()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    parser.StartDoctypeDeclHandler = _no_document_type
    parser.EntityDeclHandler = _no_document_type
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise MalformedRequest(f"it is not well-formed: {error}") from None
    address = reading.values.get("EMailAddress", "").strip()
    schema = reading.values.get("AcceptableResponseSchema", "").strip()
    if not address or len(address) > MAX_PATH_BYTES:
        raise MalformedRequest("it has no EMailAddress")
    return Autodiscover(address, not schema or "/outlook/" in schema)


def _no_document_type(*_: object) -> None:
    raise MalformedRequest("a document type is not read")


@define
class _Reading:
    """Keeps the text of what is in <Request>; the rest is skipped."""

    values: dict[str, str] = field(factory=dict)
    _path: list[str] = field(factory=list)

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._path.append(name.rpartition(" ")[2])
        if len(self._path) > MOST_DEPTH:
            raise MalformedRequest("it is nested too deeply")

    def end(self, name: str) -> None:
        self._path.pop()

    def text(self, text: str) -> None:
        if self._path[:-1] == ["Autodiscover", "Request"]:
            name = self._path[-1]
            self.values[name] = self.values.get(name, "") + text
