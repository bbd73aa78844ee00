"""``mailrelay audit``."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.cli.localserve import Ports, local_settings, prepare
from tests.cli.operated import run


class AuditTests(SynchronousTestCase):
    """Beside no server."""

    def test_list(self) -> None:
        """What commands change is listed, the newest first, as it is asked for."""
        folder = Path(self.mktemp()).absolute()
        prepare(local_settings(folder, ["127.0.0.1"], Ports()), None, None)
        target = ("--dir", str(folder))
        for name in ("one.test", "two.test"):
            run(self, "domain", "add", name, *target)
        run(self, "domain", "remove", "one.test", *target)

        def listed(*options: str) -> list[str]:
            rows = run(self, "audit", "list", *options, *target).stdout.splitlines()[1:]
            return [" ".join(row.split()[3:]) for row in rows]

        expected = ["domain remove one.test", "domain add two.test", "domain add one.test"]
        self.assertEqual(listed()[:3], expected)
        self.assertEqual(listed("--limit", "1"), expected[:1])
        self.assertEqual(listed("--action", "domain", "--subject", "one.test")[:2], expected[::2])
        self.assertEqual(listed("--since", "1d", "--actor", "cli:")[:3], expected)
        self.assertEqual(listed("--actor", "api:"), [])
        self.assertEqual(listed("--before", "1"), [])
        self.assertIn("No changes.", run(self, "audit", "list", "--actor", "x", *target).stdout)
