"""The webapi's routes: path and method, login, form, JSON, then the call; in mox's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from attrs import frozen
from twisted.logger import Logger

from mailrelay.directory.login import Authenticator, LoginRefused, Overloaded, TooManyFailures
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.body import BodyTooLarge, BodyTrouble
from mailrelay.web.form import (
    FieldsTooLarge,
    Form,
    FormLimits,
    MalformedForm,
    NotAForm,
    UploadedFile,
    read_form,
)
from mailrelay.web.headers import PAGE_HEADERS, basic_credentials
from mailrelay.web.intake import Intake
from mailrelay.web.origin import is_of_foreign_page
from mailrelay.web.request import Refused, Request, Response, Route, refused
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.draft import PIECE_BYTES, Upload
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.methods import Method
from mailrelay.webapi.pages import index_page, method_page
from mailrelay.webhooks.gojson import GoStruct, MalformedJSON, decode, encode

CHALLENGE = {"WWW-Authenticate": "Basic realm=webapi"}
WRONG_METHOD = "405 - method not allowed - use get or post\n"


class Problem(GoStruct, frozen=True):
    """What a failed call answers."""

    code: str = ""
    message: str = ""


@frozen
class WebAPI:
    """mox's webapi v0.  ``called`` is told of each call: method and how it ended."""

    methods: Mapping[str, Method]
    authenticator: Authenticator
    intake: Intake
    max_message_bytes: int
    called: Callable[[str, str], None] = lambda method, result: None
    _log = Logger()

    def routes(self, base: str = "/webapi/") -> list[Route]:
        """Everything below ``base``."""
        page = partial(Route, headers=PAGE_HEADERS)
        api = f"{base}v0/"
        return [
            page(("GET",), base.rstrip("/"), partial(_redirect, base)),
            page(("GET",), base, partial(_redirect, api)),
            page((), base, _wrong_method),
            page((), api, self._index),
            *(
                page((), f"{api}{name}", partial(self._method, m))
                for name, m in self.methods.items()
            ),
            page((), f"{base}*", _not_found),
        ]

    async def _index(self, request: Request) -> Response:
        return Response.html(200, index_page(self.methods.values()))

    async def _method(self, method: Method, request: Request) -> Response:
        if request.method == "GET":
            return Response.html(200, method_page(method))
        if request.method != "POST":
            return await _wrong_method(request)
        try:
            caller = await self._caller(request)
        except Refused:
            self.called(method.name, "badauth")
            raise
        try:
            response = await self._call(method, caller, request)
        except APIError as error:
            self.called(method.name, error.code)
            return _problem(error)
        self.called(method.name, "ok")
        return response

    async def _caller(self, request: Request) -> Caller:
        """Who calls.  Raises: Refused."""
        _refuse_foreign_page(request)
        given = basic_credentials(request.headers)
        if given is None:
            raise _unauthorized("401 - log in with HTTP basic authentication\n")
        identity, password = given
        try:
            account = await self.authenticator.password(identity, password, request.peer_ip)
        except TooManyFailures:
            raise refused(429, "429 - too many failed logins, try again later\n") from None
        except Overloaded:
            raise refused(503, "503 - too many logins at once\n", Retry_After="5") from None
        except LoginRefused:
            raise _unauthorized("401 - wrong login or password\n") from None
        return Caller(account, identity, request.peer_ip, request.is_secure)

    async def _call(self, method: Method, caller: Caller, request: Request) -> Response:
        try:
            async with await self._form(request) as form:
                text = form.get("request")
                if not text:
                    raise APIError("protocol", "missing form field request")
                value = await self._decoded(text, method)
                result = await method.work(caller, value, _uploads(form))
        except StoreUnavailable:
            raise APIError("server", "the store does not answer, try again later") from None
        except (APIError, Refused, BodyTrouble):  # the last: the client is gone, or too slow
            raise
        except Exception:
            self._log.failure("the webapi's {method} failed", method=method.name)
            raise APIError("server", "internal error; the server's log has it") from None
        return Response(200, result.body, content_type=result.content_type, length=result.length)

    async def _decoded(self, text: str, method: Method) -> GoStruct:
        is_large = len(text) > PIECE_BYTES
        try:
            if is_large:
                return await self.intake.executor.run(decode, text, method.request)
            return decode(text, method.request)
        except MalformedJSON as error:
            raise APIError("protocol", f"parsing request: {error}") from None

    async def _form(self, request: Request) -> Form:
        try:
            return await read_form(request, self.intake, FormLimits(self.max_message_bytes))
        except NotAForm:
            raise APIError("protocol", "unknown content-type: the body must be a form") from None
        except FieldsTooLarge as error:
            raise APIError("protocol", f"parsing form: too large: {error}") from None
        except BodyTooLarge as error:
            raise APIError("messageTooLarge", str(error).strip()) from None
        except MalformedForm as error:
            raise APIError("protocol", f"parsing form: {error}".strip()) from None


def _refuse_foreign_page(request: Request) -> None:
    """Raises: Refused, for a form of another site's page."""
    if is_of_foreign_page(request.headers):
        raise refused(403, "403 - a page of another site cannot call the webapi\n")


def _unauthorized(text: str) -> Refused:
    return Refused(Response(401, text.encode(), CHALLENGE))


def _problem(error: APIError) -> Response:
    problem = Problem(code=error.code, message=error.message)
    return Response.json(400, encode(problem) + b"\n")


async def _redirect(place: str, request: Request) -> Response:
    return Response(303, b"", {"Location": place})


async def _not_found(request: Request) -> Response:
    return Response.text(404, "404 - not found\n")


async def _wrong_method(request: Request) -> Response:
    return Response.text(405, WRONG_METHOD)


def _uploads(form: Form) -> Sequence[Upload]:
    return [upload_of(file, field=file.field) for file in form.files]


def upload_of(file: UploadedFile, *, field: str) -> Upload:
    """``file``, as it goes along in ``field``."""
    return Upload(
        field,
        file.filename,
        file.content_type,
        file.content_id,
        file.size,
        partial(_pieces, file.path),
    )


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
