"""A fake Zotonic site: literal bytes of its protocol's tables, by no encoder of ours."""

from __future__ import annotations

from mailrelay.net.http import HTTPAnswer
from tests.handoff.endpoint import HTTPEndpoint

SECRET = b"open-sesame/+&42"
SECRET_IN_QUERY = "open-sesame%2F%2B%2642"

NR = "z0hqk3v9r2m5x8c1b7n4@site.test"

RELAY = (
    b'{"message_nr":"z0hqk3v9r2m5x8c1b7n4@site.test",'
    b'"recipient":"Rita Receiver <rita@remote.test>",'
    b'"email":"Subject: Gr\\u00fc\\u00dfe\\r\\nFrom: \\"Ann Author\\" <ann@site.test>\\r\\n'
    b"To: Rita Receiver <rita@remote.test>\\r\\nDate: Sat, 21 Nov 2026 21:00:00 +0000\\r\\n"
    b"Message-ID: <z0hqk3v9r2m5x8c1b7n4@site.test>\\r\\nMIME-Version: 1.0\\r\\n"
    b"Content-Type: text/plain; charset=utf-8\\r\\nContent-Transfer-Encoding: quoted-printable"
    b'\\r\\n\\r\\nHello =3D world\\r\\n",'
    b'"webhook_url":"https:\\/\\/site.test\\/api\\/model\\/email_relay\\/post\\/status"}'
)
"""What a sender posts."""

BLOCK = b'{"recipient":"rita@remote.test","is_blocked":true}'
UNBLOCK = b'{"recipient":"rita@remote.test","is_blocked":false}'

QUEUED = (
    b'{"status":"ok","result":{"receipt":"200 [RELAY] Message queued as k9x2c4v6b8n1m3q5w7e0",'
    b'"to":"rita@remote.test","message_nr":"k9x2c4v6b8n1m3q5w7e0"}}'
)
QUEUED_BEFORE = (
    b'{"status":"ok","result":{"receipt":"200 [RELAY] Message already queued as '
    b'k9x2c4v6b8n1m3q5w7e0","to":"rita@remote.test","message_nr":"k9x2c4v6b8n1m3q5w7e0"}}'
)
NO_RECEIPT = b'{"status":"ok","result":{"to":"rita@remote.test"}}'
LOGIN_PAGE = b"<!DOCTYPE html><html><body>Please log on to the WiFi</body></html>"
REFUSED = (
    b'{"status":"error","error":{"receipt":"500 [RELAY] Sender disabled","to":"rita@remote.test"}}'
)
NOT_SENT = (
    b'{"status":"error","result":{"receipt":"500 [RELAY] Sender disabled","to":"rita@remote.test"}}'
)
EACCES = b'{"status":"error","error":"eacces"}'
ENOENT = b'{"status":"error","error":"enoent"}'
PAYLOAD = b'{"status":"error","error":"payload"}'
EMAIL = b'{"status":"error","error":"email"}'


def report(type_: bytes, message_nr: bytes, status: bytes | None = None) -> bytes:
    """What a relay posts of a message."""
    tail = b'"}}' if status is None else b'","status":"' + status + b'"}}'
    return (
        b'{"type":"delivery_report","report":{"type":"'
        + type_
        + b'","recipient":"rita@remote.test","message_nr":"'
        + message_nr
        + tail
    )


def answer(status: int, body: bytes) -> HTTPAnswer:
    """As the client has it."""
    return HTTPAnswer(status, {"content-type": "application/json"}, body, True)


def http(status: int, body: bytes) -> bytes:
    """As it is on the wire."""
    return b"HTTP/1.1 %d Said\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


def site(*answers: bytes) -> HTTPEndpoint:
    """A site on loopback that answers so, and keeps what it is sent."""
    return HTTPEndpoint(*(answers or (http(200, QUEUED),)))
