"""Signed links: what was made is read, and nothing else."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.policy.links import Links

SECRET = bytes(range(32))
LINKS = Links(SECRET, "unsubscribe")
FIELDS = ("7", "joe@example.org", "")


class LinksTests(SynchronousTestCase):
    """Tokens, and what only looks like one."""

    def setUp(self) -> None:
        """A token that ends at 2000."""
        self.token = LINKS.token(FIELDS, 2000.9)

    def test_read(self) -> None:
        """It says what it was made of, until its end."""
        self.assertEqual(LINKS.read(self.token, 1999.9), list(FIELDS))
        self.assertIsNone(LINKS.read(self.token, 2000.0))

    def test_other_purpose_and_other_installation(self) -> None:
        """Neither opens anything here."""
        for other in (Links(SECRET, "download"), Links(SECRET[::-1], "unsubscribe")):
            self.assertIsNone(other.read(self.token, 0.0))

    def test_every_character_counts(self) -> None:
        """A token with one other character, more or fewer is none."""
        for at, old in enumerate(self.token):
            for new in set(string.ascii_letters + string.digits + "-_.") - {old}:
                changed = self.token[:at] + new + self.token[at + 1 :]
                self.assertIsNone(LINKS.read(changed, 0.0), changed)
        for changed in (self.token[:-1], self.token + "A", "", f" {self.token}", f"{self.token}\n"):
            self.assertIsNone(LINKS.read(changed, 0.0))

    def test_field_with_the_separator(self) -> None:
        """A field cannot be two."""
        with self.assertRaises(ValueError):
            LINKS.token(["a\0b"], 1.0)

    def test_secret_is_not_shown(self) -> None:
        """Not in a traceback either."""
        self.assertNotIn(repr(SECRET), repr(LINKS))

    @given(
        st.lists(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
            max_size=5,
        )
    )
    def test_any_fields(self, fields: list[str]) -> None:
        """Whatever the fields are, they come back."""
        self.assertEqual(LINKS.read(LINKS.token(fields, 10.0), 9.0), fields)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Whatever comes is read as nothing, and raises nothing."""
        self.assertIsNone(LINKS.read(text, 0.0))
