"""The OpenAPI 3.1 document, made of the operations and their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mailrelay.webapi.v1.decoding import MOST_ID_DIGITS, may_be_empty
from mailrelay.webapi.v1.operations import EVENT_STREAM, JSON, Operation
from mailrelay.webapi.v1.problems import CONTENT_TYPE, Kind, ProblemDetails

_REF = "#/components/schemas/{name}"

SECURITY = {
    "login": {"type": "http", "scheme": "basic", "description": "An account's address, password."},
    "key": {"type": "http", "scheme": "bearer", "description": "An API key."},
}


def document(operations: Sequence[Operation], base: str, version: str) -> dict[str, Any]:
    """The document of ``operations``, whose paths are below ``base``."""
    types = _types(operations)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(
            operation, by_type, components
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mailrelay",
            "version": version,
            "description": "Send and receive mail; see docs/api.md.",
        },
        "servers": [{"url": base.rstrip("/")}],
        "security": [{name: []} for name in SECURITY],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": SECURITY,
        },
    }


_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A repetition with the same key is answered the same, and does nothing.",
    "schema": {"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": 255},
}


def _types(operations: Sequence[Operation]) -> list[Any]:
    found: dict[Any, None] = {ProblemDetails: None}
    for operation in operations:
        for type_ in (operation.body, operation.query, *operation.answers.values()):
            if type_ is not None:
                found[type_] = None
    return list(found)


def _operation(
    operation: Operation, schemas: Mapping[Any, Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.about,
        "responses": {
            **_answers(operation, schemas),
            **_problems(operation.kinds, schemas[ProblemDetails]),
        },
    }
    parameters = [*_path_parameters(operation), *_query_parameters(operation, components)]
    if operation.is_write:
        parameters.append(_IDEMPOTENCY_KEY)
    if operation.header is not None:
        name, schema = operation.header
        parameters.append({"name": name, "in": "header", "schema": schema})
    if parameters:
        told["parameters"] = parameters
    if operation.body is not None:
        content = {"application/json": {"schema": schemas[operation.body]}}
        required = not may_be_empty(operation.body)
        told["requestBody"] = {"required": required, "content": content}
    if operation.scope is not None:
        told["description"] = f"A key needs the scope `{operation.scope.value}`."
    return told


def _answers(operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, type_ in operation.answers.items():
        answer: dict[str, Any] = {"description": "It was done."}
        if type_ is not None and operation.content_type == EVENT_STREAM:
            # OpenAPI 3.1 has no word for what one event of a stream is.
            answer["description"] = f"A stream of events; the data of each is a {type_.__name__}."
            answer["content"] = {EVENT_STREAM: {}}
        elif type_ is not None:
            answer["content"] = {operation.content_type: {"schema": schemas[type_]}}
        elif operation.content_type != JSON:
            answer["content"] = {operation.content_type: {}}
        answers[str(status)] = answer
    return answers


def _problems(kinds: Sequence[Kind], schema: Any) -> dict[str, Any]:
    by_status: dict[int, list[Kind]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        str(status): {
            "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in some),
            "content": {CONTENT_TYPE: {"schema": schema}},
        }
        for status, some in sorted(by_status.items())
    }


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    if "{id}" not in operation.path:
        return []
    pattern = f"^[1-9][0-9]{{0,{MOST_ID_DIGITS - 1}}}$"
    schema = {"type": "string", "pattern": pattern, "maxLength": MOST_ID_DIGITS}
    return [{"name": "id", "in": "path", "required": True, "schema": schema}]


def _query_parameters(operation: Operation, components: Mapping[str, Any]) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = components[operation.query.__name__]
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": described}
        for name, described in schema["properties"].items()
    ]
