"""What the answer of an endpoint means for ``mailrelay-post``, and what pipe(8) is to be told."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from mailrelay.handoff.post_call import Call

EX_UNAVAILABLE = 69
EX_NOUSER = 67
EX_TEMPFAIL = 75

MAY_BE_PERMANENT = {400: "5.6.0", 410: "5.1.6", 413: "5.3.4", 415: "5.6.1", 422: "5.6.0"}
"""What ``--permanent`` takes: the others speak of us, the route or now, not of the message."""
HINTS = {
    401: ("4.7.8", "is the token right?"),
    403: ("4.7.8", "is the token right?"),
    404: ("4.4.4", "is the URL right?"),
    407: ("4.7.8", "is there a proxy?"),
    413: ("4.3.4", "the message is too large for it"),
    429: ("4.3.2", "it wants fewer messages"),
}


class Undelivered(Exception):
    """The endpoint did not take the message: enhanced status code, text, exit code."""

    def __init__(self, status: str, text: str, code: int = EX_TEMPFAIL) -> None:
        super().__init__(text)
        self.status, self.text, self.code = status, text, code


def misconfigured(text: str) -> Undelivered:
    """What somebody must set right on this side."""
    return Undelivered("4.3.5", f"mailrelay-post: {text}")


def reason(error: BaseException) -> str:
    """In a few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def judge(status: int, body: bytes, call: Call, token: str) -> None:
    """Return if the endpoint took the message.  Raises: Undelivered."""
    if 200 <= status < 300:
        if call.require_receipt and body.strip() != b"OK":
            raise Undelivered("4.3.0", f"answered {status}, but not OK: no receipt")
        return
    enhanced, text = said(body, token)
    is_native = status == 422 and enhanced.startswith("5.")
    if is_native or status in call.permanent:
        if not enhanced.startswith("5."):
            enhanced, text = MAY_BE_PERMANENT[status], f"message refused ({status})"
        code = EX_NOUSER if enhanced.startswith("5.1.") else EX_UNAVAILABLE
        raise Undelivered(enhanced, text, code)
    if enhanced.startswith("4."):
        raise Undelivered(enhanced, text)
    default = ("4.4.4", "redirects are not followed") if 300 <= status < 400 else ("4.3.0", "")
    enhanced, hint = HINTS.get(status, default)
    raise Undelivered(enhanced, f"answered {status}" + (f": {hint}" if hint else ""))


def said(body: bytes, token: str) -> tuple[str, str]:
    """Enhanced status code and text of a body's first line, if it is of them; empty if not."""
    line = body.lstrip().partition(b"\n")[0].decode("latin-1")
    enhanced, _, text = line.replace(token, "***").partition(" ")
    parts = enhanced.split(".")
    is_code = len(parts) == 3 and parts[0] in ("4", "5")
    if not is_code or not all(p.isascii() and p.isdigit() and len(p) < 4 for p in parts):
        return "", ""
    return enhanced, text.strip() or "message refused"
