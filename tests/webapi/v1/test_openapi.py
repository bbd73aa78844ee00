"""The document is made of the operations: nothing is free-form, nothing is without a bound."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Directory
from mailrelay.webapi.v1.openapi import document
from mailrelay.webapi.v1.operations import Operation
from tests.webapi.v1.operations import all_operations

BOUNDS = {
    "object": {"maxProperties"},
    "array": {"maxItems"},
    "string": {"maxLength", "enum", "format"},
    "integer": {"maximum", "exclusiveMaximum", "enum"},
    "number": {"maximum", "exclusiveMaximum"},
    "boolean": {"type"},
    "null": {"type"},
    None: {"anyOf", "$ref", "enum"},
}
"""By type, what bounds a value: one of these is there."""


def unbounded(schema: Any, place: str) -> Iterator[str]:
    """The places in ``schema`` that take anything, or any amount of it."""
    is_closed = schema.get("additionalProperties") is False
    if not is_closed and not BOUNDS[schema.get("type")] & set(schema):
        yield place
    for name, inner in schema.get("properties", {}).items():
        yield from unbounded(inner, f"{place}.{name}")
    for word in ("additionalProperties", "propertyNames", "items"):
        if isinstance(schema.get(word), dict):
            named = {"type": "string"} if word == "propertyNames" else {}
            yield from unbounded({**named, **schema[word]}, f"{place} {word}")
    for one in schema.get("anyOf", ()):
        yield from unbounded(one, place)


class DocumentTests(SynchronousTestCase):
    """The document of all operations."""

    def setUp(self) -> None:
        """Make it."""
        self.operations: list[Operation] = all_operations(Directory())
        self.document = document(self.operations, "/api/v1/", "1.0")

    def test_bounds(self) -> None:
        """Every field has one."""
        found: list[str] = []
        for name, schema in self.document["components"]["schemas"].items():
            found += unbounded(schema, name)
        self.assertEqual(found, [])

    def test_patterns(self) -> None:
        """None is content with a line end behind what it asks for, as ``$`` alone is."""
        encoded = msgspec.json.encode(self.document["components"]).decode()
        patterns = re.findall(r'"pattern":("(?:[^"\\]|\\.)*")', encoded)
        self.assertGreater(len(patterns), 5)
        for pattern in {str(msgspec.json.decode(one)) for one in patterns}:
            for text in ("a\n", "1\n"):
                self.assertIsNone(re.search(pattern, text), pattern)

    def test_parameters_are_bounded(self) -> None:
        """Those of queries and paths too."""
        for of_method in self.document["paths"].values():
            for operation in of_method.values():
                for parameter in operation.get("parameters", ()):
                    place = f"{operation['operationId']} {parameter['name']}"
                    self.assertEqual(list(unbounded(parameter["schema"], place)), [])

    def test_names(self) -> None:
        """Names of fields and operations are in snake case, each operation has its own."""
        names = [operation.name for operation in self.operations]
        self.assertEqual(len(names), len(set(names)))
        for schema in self.document["components"]["schemas"].values():
            for name in schema.get("properties", {}):
                self.assertRegex(name, r"^[a-z][a-z0-9_]*$")

    def test_statuses(self) -> None:
        """Each operation tells what it answers, and each way to fail."""
        for operation in self.operations:
            told = self.document["paths"][operation.path][operation.method.lower()]["responses"]
            wanted = {*operation.answers, *(kind.status for kind in operation.kinds)}
            self.assertEqual({int(status) for status in told}, wanted)
