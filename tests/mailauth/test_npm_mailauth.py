"""The npm package mailauth on the other side: recorded, and live in the long run."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.mailauth import test_arc, test_dkim
from tests.mailauth.npm_peer import ORIGINALS, PACKAGE, VECTORS, checked, made


class RecordedTests(SynchronousTestCase):
    """What it signed and sealed, we believe."""

    def check(self, vectors: Mapping[str, Any]) -> None:
        """Check every form of every message, and each with another body."""
        records = {name: text.encode() for name, text in vectors["records"].items()}
        now = float(vectors["now"])
        sealers: tuple[list[str], ...] = ([], ["d.test"], ["d.test", "list.test"])
        for forms in vectors["messages"]:
            for text, expected in zip(forms, sealers, strict=True):
                message = text.encode()
                self.assertEqual(test_dkim.results(message, records, now), ["pass"] * 6)
                chain = test_arc.validated(message, records, now)
                self.assertEqual(chain.result.value, "pass" if expected else "none", chain)
                self.assertEqual(chain.sealers, expected)
                changed = message + b"more"
                self.assertEqual(test_dkim.results(changed, records, now), ["fail"] * 6)
                found = test_arc.validated(changed, records, now).result.value
                self.assertEqual(found, "fail" if expected else "none")

    def test_recorded(self) -> None:
        """Three messages, each signed six times and sealed twice."""
        self.check(json.loads(VECTORS.read_text(encoding="utf-8")))

    def test_live(self) -> None:
        """So it is with new ones; and it believes what we sign, and seal, on top of its own too."""
        if os.environ.get("MAILRELAY_TEST_LONG") != "1":
            raise SkipTest("installs from the npm registry: MAILRELAY_TEST_LONG=1")
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        subprocess.run(["npm", "install", "--no-audit", PACKAGE], cwd=folder, check=True)
        vectors = made(folder)
        self.check(vectors)
        originals = [one.encode() for one in ORIGINALS]
        records = test_dkim.KEYS | test_arc.RECORDS
        ours = [test_arc.sealed(test_arc.sealed(test_dkim.signed(one))) for one in originals]
        self.assertEqual(
            checked(folder, records, ours), [{"dkim": ["pass"] * 2, "arc": "pass"}] * len(ours)
        )
        its_records = {name: text.encode() for name, text in vectors["records"].items()}
        on_top = []
        for forms in vectors["messages"]:
            found = test_arc.validated(forms[-1].encode(), its_records)
            on_top.append(test_arc.sealed(forms[-1].encode(), found=found))
        for one in checked(folder, records | its_records, on_top):
            self.assertEqual(one, {"dkim": ["pass"] * 6, "arc": "pass"})
        for one in checked(folder, records | its_records, [text + b"more" for text in on_top]):
            self.assertEqual(one["arc"], "fail")
