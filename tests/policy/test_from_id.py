"""FromIDs and the addresses that carry them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Account, Directory, Domain
from mailrelay.policy.from_id import from_id_in, gets_from_ids, new_from_id, with_from_id
from mailrelay.smtp.address import Address

DIRECTORY = Directory(
    {"example.org": Domain(1, "example.org"), "bare.example": Domain(2, "bare.example", "")}
)


class FromIDTests(SynchronousTestCase):
    """The functions, one by one."""

    def test_new(self) -> None:
        """22 characters of 128 bits, none of which is a separator at the front of nothing."""
        self.assertEqual(new_from_id("0" * 32), "A" * 22)
        self.assertEqual(new_from_id("f" * 32), "_" * 21 + "w")

    def test_who_gets_them(self) -> None:
        """Only the logins that the account names, written as logins may be."""
        named = frozenset({"a+api@example.org", "B@exact.example"})
        account = Account(1, "a", from_id_logins=named)
        exact = Domain(3, "exact.example", case_sensitive=True)
        directory = Directory({**DIRECTORY.domains, "exact.example": exact})
        for login in ("a+api@example.org", "A+API@Example.ORG", "B@EXACT.example"):
            self.assertTrue(gets_from_ids(directory, account, login), login)
        for other in ("a@example.org", "a+b@example.org", "b@exact.example", "a", "", None):
            self.assertFalse(gets_from_ids(directory, account, other), other)
        self.assertFalse(gets_from_ids(directory, None, "a+api@example.org"))

    def test_with(self) -> None:
        """The suffix is replaced; no address of more than 64 bytes before the @ is made."""
        for path, expected in (
            ("a@example.org", "a+id@example.org"),
            ("a+b+c@example.org", "a+id@example.org"),
            ("a@bare.example", None),
            ("a@elsewhere.example", None),
            ("x" * 62 + "@example.org", None),
            ('"+x"@example.org', None),
        ):
            made = with_from_id(DIRECTORY, Address.parse(path), "id")
            self.assertEqual(str(made) if made else None, expected, path)

    def test_in(self) -> None:
        """What stands behind the first separator, which may be nothing."""
        for path, expected in (
            ("a+id@example.org", "id"),
            ("a+i+d@example.org", "i+d"),
            ("a+@example.org", ""),
            ("a@example.org", None),
            ("+id@example.org", None),
            ("a+id@bare.example", None),
        ):
            self.assertEqual(from_id_in(DIRECTORY, Address.parse(path)), expected, path)
