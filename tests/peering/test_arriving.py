"""A message as a peer sends it, in pieces of any size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from time import perf_counter

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.content import SpoolWriter
from mailrelay.directory.peers import FromPolicy, PeerOptions
from mailrelay.peering.arriving import Arriving

HEAD = b"From: Ann <a@sender.test>\r\nSubject: hi\r\n\r\n"
REWRITTEN = PeerOptions(from_policy=FromPolicy.REWRITE, from_address="relay@example.org")
BYTES = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b".", b"\0", b"From: x@y.test\r\n", b"\r\n\r\n"])
)


def no_spool() -> SpoolWriter:
    """Nothing here is that large."""
    raise AssertionError


def pieces(whole: bytes, cuts: list[int]) -> Iterator[bytes]:
    """``whole``, cut."""
    places = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    for start, end in pairwise(places):
        yield whole[start:end]


def taken(whole: bytes, cuts: list[int], options: PeerOptions) -> tuple[bytes, object]:
    """Meta and content; or why not."""
    arriving = Arriving(no_spool, options, 1000)
    for piece in pieces(whole, cuts):
        arriving.write(piece)
    arriving.end()
    if arriving.refusal is not None:
        return b"", arriving.refusal.status
    return arriving.meta, arriving.content.small_body()


class ArrivingTests(SynchronousTestCase):
    """Arriving."""

    @given(BYTES, st.lists(st.integers(0, 10_000)), st.sampled_from([PeerOptions(), REWRITTEN]))
    @example([b"a", b"\r"], [2, 3], PeerOptions())
    def test_cut_anywhere(self, body: list[bytes], cuts: list[int], options: PeerOptions) -> None:
        """However it is cut, the same comes of it."""
        whole = b"{}\n" + b"".join(body)
        self.assertEqual(taken(whole, cuts, options), taken(whole, [], options))

    def test_byte_by_byte(self) -> None:
        """A long header in single bytes, of whom nobody has verified yet, takes half a second."""
        arriving = Arriving(no_spool, PeerOptions(from_domains=("sender.test",)), 1_000_000)
        began = perf_counter()
        for byte in b"{}\n" + b"a:\r\n" * 50_000:
            arriving.write(bytes((byte,)))
        self.assertLess(perf_counter() - began, 5.0)
        self.assertIsNone(arriving.refusal)

    @given(st.lists(st.integers(0, 10_000)))
    def test_rewritten(self, cuts: list[int]) -> None:
        """Another From, the author in Reply-To, and the body as it is."""
        meta, content = taken(b"{}\n" + HEAD + b"hello\r\n", cuts, REWRITTEN)
        self.assertEqual(meta, b"{}")
        expected = b'From: "Ann" <relay@example.org>\r\nReply-To: "Ann" <a@sender.test>\r\n'
        self.assertEqual(content, expected + b"Subject: hi\r\n\r\nhello\r\n")

    def test_refused(self) -> None:
        """Each for its reason."""
        for whole, status in (
            (b"", 400),
            (b"{}", 400),
            (b"{}\nFrom: a\n", 422),
            (b"{}\na\r", 422),
            (b"{}\n\0", 422),
            (b"{}\n" + b"a" * 1001, 413),
            (b"x" * 1_048_577, 400),
        ):
            self.assertEqual(taken(whole, [], PeerOptions())[1], status, whole[:9])
