"""The API's routes: login, limits, scope, then body and work; what fails becomes a problem here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from attrs import evolve, field, frozen
from twisted.logger import Logger

import mailrelay
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.body import BodyRefused, BodyTrouble
from mailrelay.web.intake import Intake
from mailrelay.web.request import Refused, Request, Response, Route
from mailrelay.webapi.v1.decoding import path_id, problem_of_body, read_json, read_query
from mailrelay.webapi.v1.idempotency import Promise, Repeats, encoded, hash_of, key_of
from mailrelay.webapi.v1.login import Door
from mailrelay.webapi.v1.openapi import document
from mailrelay.webapi.v1.operations import Answer, Call, Operation
from mailrelay.webapi.v1.problems import (
    INTERNAL,
    NO_SUCH,
    STORE_UNAVAILABLE,
    WRONG_METHOD,
    Problem,
    as_problem,
    problem_of,
    problem_response,
)

BASE = "/api/v1/"


@frozen
class API:
    """Our API.  ``called`` is told of each call: operation and how it ended."""

    operations: Sequence[Operation]
    door: Door
    intake: Intake
    repeats: Repeats
    called: Callable[[str, str], None] = lambda operation, result: None
    _document: list[bytes] = field(factory=list, init=False)  # once it was asked for
    _log = Logger()

    def routes(self, base: str = BASE) -> list[Route]:
        """Everything below ``base``."""
        paths: dict[str, dict[str, Operation]] = {}
        for operation in self.operations:
            paths.setdefault(operation.path, {})[operation.method] = operation
        route = partial(Route, (), problem=as_problem)
        return [
            route(f"{base}openapi.json", self._openapi),
            *(
                route(base.rstrip("/") + path, partial(self._on_path, of_method))
                for path, of_method in paths.items()
            ),
            route(f"{base}*", _not_found),
        ]

    async def _openapi(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _wrong_method(["GET"])
        if not self._document:  # the same for everybody, and some 0.1 s of work
            self._document.append(await self.intake.executor.run(self._made_document))
        return Response.json(200, self._document[0])

    def _made_document(self) -> bytes:
        made = document(self.operations, BASE, mailrelay.__version__)
        return msgspec.json.encode(made) + b"\n"

    async def _on_path(self, of_method: dict[str, Operation], request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation = of_method.get(method)
        if operation is None:
            return _wrong_method(list(of_method))
        try:
            answer = await self._done(operation, request)
        except Problem as problem:
            self.called(operation.name, problem.kind.code)
            return problem_response(problem)
        self.called(operation.name, "ok")
        if answer.stream is not None:
            return Response(
                answer.status,
                answer.stream,
                answer.headers,
                content_type=operation.content_type,
                is_endless=True,
            )
        if answer.response is not None:
            return answer.response
        body = encoded(answer.body) if answer.encoded is None else answer.encoded
        return Response(
            answer.status, body, answer.headers, content_type="application/json; charset=utf-8"
        )

    async def _done(self, operation: Operation, request: Request) -> Answer:
        """The answer.  Raises: Problem; BodyTrouble, when nobody waits for it any more."""
        try:
            return await self._work(operation, request)
        except (Problem, BodyTrouble) as trouble:
            if isinstance(trouble, BodyRefused):
                raise problem_of_body(trouble) from None
            raise
        except Refused as refused:
            raise problem_of(refused.response) from None
        except StoreUnavailable:
            raise Problem(STORE_UNAVAILABLE, "try again later", headers=_LATER) from None
        except Exception:
            self._log.failure("the API's {operation} failed", operation=operation.name)
            raise Problem(INTERNAL, "the server's log has more") from None

    async def _work(self, operation: Operation, request: Request) -> Answer:
        caller = await self.door.caller(request, operation.scope)
        id_ = path_id(request.params["id"]) if "id" in request.params else 0
        query = None if operation.query is None else read_query(request, operation.query)
        key = key_of(request) if operation.is_write else None
        if operation.body is None:
            return await self._once(operation, Call(caller, request, query=query, id=id_), key, b"")
        limit, is_hashed = operation.most_body_bytes, key is not None
        read = await read_json(request, operation.body, self.intake, limit, is_hashed=is_hashed)
        try:
            call = Call(caller, request, body=read.value, query=query, id=id_)
            return await self._once(operation, call, key, read.digest)
        finally:
            read.done()

    async def _once(
        self, operation: Operation, call: Call, key: str | None, digest: bytes
    ) -> Answer:
        """The work, unless it was done before with ``key``.  Raises: Problem."""
        if key is None:
            return await operation.work(call)

        async def work(promise: Promise) -> Answer:
            once = evolve(call, keep=promise.kept, keeping=self.repeats.store.keeping)
            answer = await operation.work(once)
            return answer if once.kept is None else evolve(answer, is_kept=True)

        account_id = call.caller.account.id
        return await self.repeats.answer(account_id, key, hash_of(call.request, digest), work)


_LATER = {"Retry-After": "5"}


def _wrong_method(allowed: list[str]) -> Response:
    told = ", ".join(sorted({*allowed, *(["HEAD"] if "GET" in allowed else [])}))
    return problem_response(Problem(WRONG_METHOD, f"use one of: {told}", headers={"Allow": told}))


async def _not_found(request: Request) -> Response:
    return problem_response(Problem(NO_SUCH, "there is nothing at this path; see openapi.json"))
