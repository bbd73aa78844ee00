"""Address lists, as senders write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.mailboxes import (
    NamedAddress,
    hides_address,
    list_text,
    mailboxes_in,
    read_list,
)
from mailrelay.smtp.address import Address


class MailboxesTests(SynchronousTestCase):
    """mailboxes_in."""

    def test_forms(self) -> None:
        """Names, comments, groups, routes, and what is nearly right."""
        for text, expected in {
            "": [],
            "a@x": [("", "a@x")],
            " <a@x> ": [("", "a@x")],
            "A  B <a@x>": [("A B", "a@x")],
            '"A,  B" <a@x>, c@Y.example': [("A,  B", "a@x"), ("", "c@y.example")],
            r'"\"A\\" <a@x>': [('"A\\', "a@x")],
            "a@x (A (nested \\) B))": [("A (nested ) B)", "a@x")],
            "A (c) B <a@x> (d)": [("A B", "a@x")],
            "=?utf-8?q?=C3=BC?=  =?utf-8?q?b?= <a@x>": [("üb", "a@x")],
            '"=?utf-8?q?=C3=BC?=" <a@x>': [("ü", "a@x")],
            "=?utf-8?q?a=0D=0Ab?= <a@x>": [("a  b", "a@x")],
            "Group: a@x, B <b@x>; c@x": [("", "a@x"), ("B", "b@x"), ("", "c@x")],
            "undisclosed-recipients:;": [],
            "<@r.example,@s.example:a@x>": [("", "a@x")],
            '"a b"@x': [("", '"a b"@x')],
            '<"a>b"@x>': [("", '"a>b"@x')],
            "a@[IPv6:::1], <b@[192.0.2.1]>": [("", "a@[IPv6:::1]"), ("", "b@[192.0.2.1]")],
            "junk, A <junk>, <>, a@, @x, b@x c, d@x": [("", "d@x")],
            "a@x, (unclosed b@x": [("", "a@x")],
            'a@x, "unclosed <b@x>': [("", "a@x")],
            "A <a@x> <b@x>": [("A", "a@x")],
            "A <a@x, <b@x>": [("", "b@x")],
            ") > ] [ a@x": [],
        }.items():
            with self.subTest(text):
                found = [(mailbox.name, str(mailbox.address)) for mailbox in mailboxes_in(text)]
                self.assertEqual(found, expected)

    def test_hidden(self) -> None:
        """An address that one reader shows, and we do not see."""
        for text in (
            "<a@x> <b@y>",
            "<a@x> b@y",
            "a@x, b@y..z",
            "a@x, b@y]",
            'a@x, "n" b@y',
            "<@y, <a@x>",
            "b@y: a@x;",
        ):
            self.assertTrue(hides_address(text), text)
        for text in (
            "a@x, B <b@x>, (b@y) <c@x> (b@y)",
            '"b@y" <a@x>',
            "b@y <a@x>",
            "M, J <a@x>",
            "Group: <@r.example:a@x>;",
            "undisclosed-recipients:;",
            "",
        ):
            self.assertFalse(hides_address(text), text)

    def test_typed(self) -> None:
        """What is no address is told of, unlike in a header."""
        for text, missed in {
            "": [],
            " , ;": [],
            'Ann <ann@x>, "B, C" <b@x>': [],
            "junk, A <junk>, a@x": ["junk", "junk"],
            "a@x b@x": ["a@x b@x"],
            "A <a@x> <b@x>": ["A <a@x> <b@x>"],
            "A <a@x": ["A a@x"],
        }.items():
            self.assertEqual(list(read_list(text).missed), missed, text)

    @given(
        st.lists(st.text(alphabet=' ab"\\,;<>@()é', max_size=20).map(str.strip), max_size=5),
        st.sampled_from(["a@x.example", '"a b"@x.example', "ü@xn--bcher-kva.example"]),
    )
    def test_typed_back(self, names: list[str], address: str) -> None:
        """What is shown to be typed is read as it was."""
        people = [NamedAddress(name, Address.parse(address)) for name in names]
        self.assertEqual(list(read_list(list_text(people)).found), people)

    @given(st.text(alphabet='<>@"(),:;\\[]ab. é=?', max_size=60))
    def test_any_text(self, text: str) -> None:
        """No text makes it raise."""
        for mailbox in mailboxes_in(text):
            self.assertTrue(str(mailbox.address).isprintable())

    def test_hostile_texts(self) -> None:
        """No depth and no repetition makes it raise or takes long (threat 27)."""
        for piece in (
            "(",
            "\\(",
            '"',
            '\\"',
            '"\\"',
            "<",
            '<"',
            '<"\\"',
            "a@x,",
            ":",
            "[",
            "(<",
            "=?",
        ):
            with self.subTest(piece):
                mailboxes_in(piece * (200_000 // len(piece)))
