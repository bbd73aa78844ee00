"""Lists as text: CSV, JSON, addresses; what is wrong is named by its line."""

from __future__ import annotations

import io
import json
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control import suppression_lists
from mailrelay.control.suppression import ListedSuppression
from mailrelay.control.suppression_lists import (
    NotAList,
    csv_head,
    csv_lines,
    json_element,
    read_text,
)
from mailrelay.policy.suppression import Suppression

NOW = 1000.0
ONE = Suppression(
    7,
    2,
    "jdoe@x.test",
    "J.Doe@x.test",
    50.0,
    reason='said "no",\ntwice',
    cause="bounce",
    evidence="550 5.1.1 =cmd",
    expires_at=90000.0,
)


def read(text: str) -> list[Any]:
    """Line, and address or problem, of each."""
    found = read_text(io.StringIO(text, newline=""), NOW)
    return [(one.number, one.new.base_address if one.new else one.problem) for one in found]


class ReadTests(SynchronousTestCase):
    """What somebody has."""

    def test_addresses(self) -> None:
        """One on each line, in any of its line ends, a reason behind a comma."""
        for end in ("\n", "\r\n"):
            text = end.join(["\ufeffA.b@x.test", "", "*@y.test,asked", '"c,d"@x.test', '"x'])
            found = read(text)
            addresses = [(1, "ab@x.test"), (3, "*@y.test"), (4, '"c,d"@x.test')]
            self.assertEqual(found[:3], addresses)
            self.assertIn("no address", found[-1][1])
            self.assertEqual([number for number, _ in found], [1, 3, 4, 5])

    def test_csv(self) -> None:
        """With a head, each cell is in its place; a wrong line keeps no other from being read."""
        text = "original_address,cause,date\na@x.test,bounce,\nb@x.test,whim,\nc@x.test\nd@x.test,,"
        first, second, third, fourth = read(text)
        self.assertEqual((first, fourth), ((2, "a@x.test"), (5, "d@x.test")))
        self.assertEqual(
            second, (3, "the cause must be one of bounce, complaint, unsubscribe, manual")
        )
        self.assertEqual(third, (4, "it has not as many fields as the first line"))

    def test_json(self) -> None:
        """As the API takes it, or the array alone, or addresses."""
        for text in (
            '{"suppressions": [{"address": "a@x.test"}, {"address": "*@y.test"}]}',
            '\n [{"address": "a@x.test", "cause": "bounce"}, "*@y.test"]',
        ):
            self.assertEqual(read(text), [(1, "a@x.test"), (2, "*@y.test")])
        wrong = read('["a@x.test", 7, {"address": "b@x.test", "odd": 1}, {"reason": "x"}, "c@"]')
        self.assertEqual([number for number, _ in wrong], [1, 2, 3, 4, 5])
        for (_, problem), said in zip(
            wrong[1:], ("int", "odd", "address", "no address"), strict=True
        ):
            self.assertIn(said, problem)

    def test_no_list(self) -> None:
        """What is nothing of all that is refused at once."""
        for text in ("{", '{"suppressions": 7}', "{}", "[" * 100_000, '{"a":' * 100_000):
            with self.assertRaises(NotAList):
                read(text)
        with self.assertRaises(NotAList):
            read("original_address,odd\na@x.test,1\n")

    def test_many_values(self) -> None:
        """Those of a JSON document are counted before any takes memory."""
        self.patch(suppression_lists, "MOST_COMMAS", 3)
        self.assertEqual(len(read("[1,2,3,4]")), 4)
        for text in ("[1,2,3,4,5]", '{"a":1,"b":1,"c":1,"d":1,"suppressions":[]}'):
            with self.assertRaisesRegex(NotAList, "commas"):
                read(text)

    def test_end(self) -> None:
        """Where nothing can be told apart any more, the reading ends, and says so."""
        *_, (number, problem) = read('base_address\na@x.test\n"b@x.test\nc@x.test\n')
        self.assertIn("nothing behind it is read", problem)
        self.assertEqual(number, 3)
        file = io.TextIOWrapper(
            io.BytesIO(b"a@x.test\n" + b"b@x.test\n" * 5000 + b"\xff\n"), "utf-8"
        )
        *_, last = read_text(file, NOW)
        self.assertTrue(last.is_last)
        self.assertIn("UTF-8", last.problem)

    def test_times(self) -> None:
        """Those that can be kept and shown."""
        for text, said in (
            ("0001-01-01T00:00:00+14:00", "the date must be"),
            ("9999-12-31T23:59:59-14:00", "the date must be"),
            ("x" * 10_000, "the date must be"),
        ):
            [(_, problem)] = read(f"original_address,date\na@x.test,{text}\n")
            self.assertIn(said, problem)


class WrittenTests(SynchronousTestCase):
    """What is exported is imported as it was, on one line, and reckoned with by nobody."""

    def test_csv(self) -> None:
        """As a spreadsheet has it."""
        text = csv_head() + csv_lines([ListedSuppression(ONE, "a")])
        [found] = read_text(io.StringIO(text, newline=""), NOW)
        self.check(found.new)
        formula = evolve(ONE, reason='=HYPERLINK("x")', evidence="+1")
        text = csv_lines([ListedSuppression(formula, "a")])
        self.assertIn("\"'=HYPERLINK", text)
        self.assertIn(",'+1,", text)

    def test_json(self) -> None:
        """As the API takes it."""
        element = json_element(ONE)
        self.assertEqual(
            list(json.loads(element)),
            ["address", "reason", "cause", "evidence", "added_at", "expires_at"],
        )
        [found] = read_text(io.StringIO(f"[{element.decode()}]"), NOW)
        self.check(found.new)
        domain = evolve(ONE, base_address="*@x.test", original_address="*@x.test", cause="")
        self.assertEqual(json.loads(json_element(domain))["address"], "*@x.test")

    def check(self, new: Any) -> None:
        """That it is ONE."""
        self.assertEqual(
            (new.base_address, str(new.address), new.added_at, new.expires_at, new.manual),
            ("jdoe@x.test", "J.Doe@x.test", 50.0, 90000.0, False),
        )
        self.assertEqual((new.reason, new.cause.value), ('said "no",?twice', "bounce"))
        self.assertEqual(new.evidence, ONE.evidence)
