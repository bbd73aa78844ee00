"""Giving root up; what needs root itself is in tests/integration/test_installed.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.privileges import (
    CannotDropPrivileges,
    check_code_is_readable,
    drop_privileges,
    give_away,
    refuse_root,
)


class RefusalTests(SynchronousTestCase):
    """What ends a start before anything is served."""

    def test_root_is_refused_unless_told(self) -> None:
        """Root needs a user to become, or to be allowed; others need nothing."""
        self.patch(os, "geteuid", lambda: 0)
        with self.assertRaises(CannotDropPrivileges):
            refuse_root("", allow_root=False)
        refuse_root("", allow_root=True)
        refuse_root("mail", allow_root=False)
        self.patch(os, "geteuid", lambda: 1000)
        refuse_root("", allow_root=False)

    def test_unknown_user(self) -> None:
        """A user that does not exist is named with the command that makes it."""
        with self.assertRaises(CannotDropPrivileges) as caught:
            drop_privileges("no-such-user", Path("nowhere"))
        self.assertIn("useradd --system no-such-user", str(caught.exception))

    def test_another_user_without_root(self) -> None:
        """Somebody else than root cannot become another user."""
        self.patch(os, "geteuid", lambda: 1_000_001)
        with self.assertRaises(CannotDropPrivileges) as caught:
            drop_privileges("nobody", Path("nowhere"))
        self.assertIn("start as root", str(caught.exception))

    def test_code_that_cannot_be_read(self) -> None:
        """A Python that the server's user cannot read would fail later, at some import."""
        check_code_is_readable("me")
        self.patch(os, "access", lambda *_, **__: False)
        with self.assertRaises(CannotDropPrivileges) as caught:
            check_code_is_readable("mail")
        self.assertIn("mail cannot read", str(caught.exception))


class GiveAwayTests(SynchronousTestCase):
    """The data directory is given to the server's user, and nothing that is only linked there."""

    def test_links_are_not_followed(self) -> None:
        """Neither a symbolic nor a hard link makes somebody else's file the user's."""
        given: list[str] = []
        self.patch(os, "chown", lambda path, *_, **__: given.append(Path(path).name))
        folder, other = Path(self.mktemp()), Path(self.mktemp())
        other.write_text("root's")
        folder.mkdir()
        (folder / "spool").mkdir()
        (folder / "mailrelay.db").touch()
        (folder / "symbolic").symlink_to(other.absolute())
        (folder / "hard").hardlink_to(other)
        give_away(folder, 1, 1)
        self.assertEqual(sorted(given), sorted([folder.name, "spool", "mailrelay.db"]))


ACT = """
import os
from mailrelay.net.privileges import act_as, acting_as
def ours():
    return [os.geteuid(), os.getegid(), sorted(os.getgroups())]
with acting_as(12345, 12346):
    print(ours())
print(ours())
act_as(12345, 12346)
print(ours())
"""

if os.geteuid() == 0:

    class ActingTests(SynchronousTestCase):
        """Commands of root act as the owner of the data directory."""

        def test_groups(self) -> None:
            """No group of root's is left meanwhile, and all are back afterwards."""
            said = subprocess.run(
                [sys.executable, "-c", ACT], extra_groups=[0, 1], stdout=subprocess.PIPE, check=True
            ).stdout.decode()
            self.assertEqual(
                said.splitlines(), ["[12345, 12346, []]", "[0, 0, [0, 1]]", "[12345, 12346, []]"]
            )
