"""What hypothesis draws: addresses, replies, content, and ways to cut bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st

from mailrelay.smtp.address import Address, MalformedAddress, normal_domain
from mailrelay.smtp.reply import EnhancedStatus, Reply

PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))

labels = st.from_regex(r"[a-z0-9]([a-z0-9\-]{0,10}[a-z0-9])?", fullmatch=True).filter(
    lambda label: not label.startswith("xn--")
)
u_labels = st.sampled_from(["münchen", "例え", "почта", "ελλάδα", "straße"])
domains = st.lists(labels | u_labels, min_size=1, max_size=4).map(".".join)
literals = st.ip_addresses(v=4).map(lambda ip: f"[{ip}]") | st.ip_addresses(v=6).map(
    lambda ip: f"[IPv6:{ip}]"
)
localparts = st.text(PRINTABLE + "éßпあ\U0001f4e7", max_size=15)


def _is_domain(text: str) -> bool:
    try:
        normal_domain(text)
    except MalformedAddress:
        return False
    return True


domain_names = (domains | literals).filter(_is_domain).map(normal_domain)
addresses = st.builds(Address, localparts, domain_names)

_words = st.text(PRINTABLE + "éあ", max_size=60).filter(lambda t: not t[:1].isdigit())


@st.composite
def replies(
    draw: st.DrawFn, codes: Sequence[int] = (220, 250, 252, 354, 421, 450, 451, 550, 554)
) -> Reply:
    """A reply whose text cannot be taken for a status of its own."""
    code = draw(st.sampled_from(codes))
    status = None
    if code // 100 != 3 and draw(st.booleans()):
        number = st.integers(0, 999)
        status = EnhancedStatus(code // 100, draw(number), draw(number))
    return Reply(code, "\n".join(draw(st.lists(_words, min_size=1, max_size=4))), status)


# Mostly the bytes that framing is about.
content = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n..", b"a", b"MAIL", b"\0\xff"]),
    max_size=24,
).map(b"".join)


@st.composite
def cut(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """``whole`` in pieces."""
    places = draw(st.lists(st.integers(0, len(whole)), max_size=8))
    return [whole[a:b] for a, b in pairwise([0, *sorted(places), len(whole)])]
