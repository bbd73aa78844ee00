"""Variables as they are typed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.templates import UnusableTemplate
from mailrelay.pages.template_variables import MOST_TYPED, read_variables


class VariableTests(SynchronousTestCase):
    """JSON objects."""

    def test_read(self) -> None:
        """As the API takes them."""
        typed = '{"name": "Ann",\n "lines": [{"count": 2, "price": 1.5, "gift": null}]}'
        lines = [{"count": 2, "price": 1.5, "gift": None}]
        self.assertEqual(read_variables(typed), {"name": "Ann", "lines": lines})

    def test_wrong(self) -> None:
        """The line is named, or the variable."""
        for typed, said in (
            ("{", "line 1, column 2"),
            ('{"a": 1,\n b}', "line 2, column 2"),
            ("[]", "array"),
            ('{"a b": 1}', "`key` in `variables`"),
            ('{"a": [[[[[1]]]]]}', "variables"),
            ('{"a": ' + "9" * 5000 + "}", "too large"),
            ('{"a": 1e400}', "variables"),
            ('{"a": "\\ud800"}', "surrogate"),
            ("[" * 100_000, "too deep"),
            (" " * (MOST_TYPED + 1), "characters"),
            ("", "line 1"),
        ):
            error = self.assertRaises(UnusableTemplate, read_variables, typed)
            self.assertIn(said, str(error), typed[:50])
            self.assertEqual(error.field, "variables")
