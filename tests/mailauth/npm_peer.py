"""The npm package mailauth on the other side: what it signs, seals and finds.

``python -m tests.mailauth.npm_peer FOLDER``, where the package is installed in FOLDER, makes
vectors/mailauth.json again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mailrelay.mailauth.dkim import Algorithm
from mailrelay.mailauth.dkim_sign import SigningKey, key_to_pem, new_key

VECTORS = Path(__file__).parent / "vectors" / "mailauth.json"
PACKAGE = "mailauth@4.13.3"
SIGNED_AT = 1700000000
ORIGINALS = (
    "From: A <a@d.test>\r\nTo: b@far.test\r\nSubject: a\r\n two  lines \r\n"
    "Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nMessage-ID: <1@d.test>\r\n"
    "\r\nHi  there \t\r\n\r\nbye\r\n\r\n\r\n",
    "From: a@d.test\r\nTo: b@far.test\r\nSubject: empty\r\n\r\n",
    "From: a@d.test\r\nSubject: no end\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "\r\n\u00fc  \t x \r\n \r\nno end",
)


def ask(folder: Path, request: Mapping[str, Any]) -> Any:
    """What vectors/peer.js answers, with the package that is installed in ``folder``."""
    script = VECTORS.with_name("peer.js")
    done = subprocess.run(
        ["node", str(script)],
        input=json.dumps(request).encode(),
        stdout=subprocess.PIPE,
        cwd=folder,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def made(folder: Path) -> Mapping[str, Any]:
    """Messages that it signs and seals with new keys."""
    keys = [
        SigningKey(domain, selector, new_key(algorithm))
        for domain, selector, algorithm in (
            ("d.test", "r1", Algorithm.RSA),
            ("d.test", "e1", Algorithm.ED25519),
            ("list.test", "r2", Algorithm.RSA),
        )
    ]
    asked = {
        "do": "make",
        "now": SIGNED_AT,
        "keys": [
            {
                "domain": key.domain,
                "selector": key.selector,
                "algorithm": key.algorithm.value,
                "pem": key_to_pem(key.private).decode(),
                "record": key.record(),
            }
            for key in keys
        ],
        "messages": ORIGINALS,
    }
    return {"now": SIGNED_AT, **ask(folder, asked)}


def checked(
    folder: Path, records: Mapping[str, bytes], messages: Sequence[bytes]
) -> Sequence[Mapping[str, Any]]:
    """What it finds of each: ``dkim``, a result of each signature, and ``arc``."""
    texts = {name: record.decode() for name, record in records.items()}
    asked = {"do": "check", "records": texts, "messages": [one.decode() for one in messages]}
    found: Sequence[Mapping[str, Any]] = ask(folder, asked)
    return found


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(made(Path(sys.argv[1])), indent=1) + "\n", encoding="utf-8")
