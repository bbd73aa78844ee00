"""Bodies and ids as typed values."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.webapi.v1.decoding import check_content_type, decode_json, path_id, read_query
from mailrelay.webapi.v1.operations import Strict
from mailrelay.webapi.v1.problems import Problem
from tests.webapi.v1.requests import request_of


class Inner(Strict, frozen=True):
    """A field of Outer."""

    address: Annotated[str, Meta(max_length=5)]


class Outer(Strict, frozen=True):
    """What is decoded here."""

    to: list[Inner] = []  # noqa: RUF012
    number: int = 0


class DecodingTests(SynchronousTestCase):
    """What does not fit is told by code and field."""

    def problem(self, data: bytes) -> tuple[str, str]:
        """Code and field of what decoding ``data`` comes to."""
        problem = self.assertRaises(Problem, decode_json, data, Outer)
        return problem.kind.code, problem.field

    def test_fields(self) -> None:
        """Each mistake names its field."""
        for data, field in (
            (b'{"number": "1"}', "number"),
            (b'{"nummer": 1}', "nummer"),
            (b'{"to": [{}]}', "to[0].address"),
            (b'{"to": [{"address": "123456"}]}', "to[0].address"),
            (b'{"to": [{"address": "1", "x": 1}]}', "to[0].x"),
            (b"[]", ""),
        ):
            self.assertEqual(self.problem(data), ("invalid_field", field), data)

    def test_nul(self) -> None:
        """No string has one, wherever it stands; what only looks like one is a text."""
        self.assertEqual(
            self.problem(b'{"to": [{"address": "a"}, {"address": "b\\u0000"}]}'),
            ("invalid_field", "to[1].address"),
        )
        kept = decode_json(b'{"to": [{"address": "\\\\u00"}]}', Outer)
        self.assertEqual(kept.to[0].address, "\\u00")
        longer = b'["\\\\u0000"]'
        self.assertEqual(decode_json(longer, list[str]), ["\\u0000"])

    def test_not_json(self) -> None:
        """What is no JSON, or nested without end, is malformed."""
        for data in (b"", b"{", b'{"number": 1} x', b"\xff", b'{"to": "\\ud800"}', b"[" * 50000):
            self.assertIn(self.problem(data)[0], ("malformed_request", "invalid_field"), data[:9])

    def test_no_control_character_comes_back(self) -> None:
        """A field's name from outside is told without what could end a line."""
        problem = self.assertRaises(Problem, decode_json, b'{"a\\r\\nb": 1}', Outer)
        self.assertEqual(problem.field, "a??b")

    def test_content_type(self) -> None:
        """JSON in UTF-8, and nothing else."""
        for given in ("application/json", "Application/JSON; charset=utf-8"):
            check_content_type(request_of(headers=[("content-type", given)]), "application/json")
        for given in ("", "text/json", "application/json; charset=latin-1", "application/jsonx"):
            request = request_of(headers=[("content-type", given)])
            problem = self.assertRaises(Problem, check_content_type, request, "application/json")
            self.assertEqual(problem.kind.status, 415)
        self.assertRaises(Problem, check_content_type, request_of(), "application/json")

    def test_ids(self) -> None:
        """Positive decimal numbers below 2^53."""
        self.assertEqual(path_id("9007199254740991"), 2**53 - 1)
        for text in ("0", "01", "-1", "9007199254740992", "1" * 300, "x", "1 ", "\u0661", "../1"):
            self.assertEqual(self.assertRaises(Problem, path_id, text).kind.status, 404, text)

    def test_query(self) -> None:
        """Fields are converted, and given once."""
        self.assertEqual(read_query(request_of(query="number=7"), Outer).number, 7)
        for query in ("number=x", "number=1&number=2", "other=1", "other=%00", "number=7%0A"):
            self.assertRaises(Problem, read_query, request_of(query=query), Outer)
