"""The cache of what was just accepted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.queue.content_cache import ContentCache
from mailrelay.queue.entry import Content


def of_size(size: int) -> Content:
    """Content of that many bytes."""
    return Content(b"", b"x" * size, None, size)


class ContentCacheTests(SynchronousTestCase):
    """ContentCache."""

    def setUp(self) -> None:
        """A small cache before a store that notes what is read."""
        self.read: list[int] = []

        def read(message_id: int) -> Deferred[Content]:
            self.read.append(message_id)
            return succeed(of_size(0))

        self.cache = ContentCache(read, most_bytes=100)

    def is_kept(self, message_id: int) -> bool:
        """Whether the store need not be asked."""
        before = len(self.read)
        self.successResultOf(self.cache.content(message_id))
        return len(self.read) == before

    def test_remembers(self) -> None:
        """What was remembered is the same object; what was not, or is forgotten, is read."""
        content = of_size(10)
        self.cache.remember(1, content)
        self.assertIs(self.successResultOf(self.cache.content(1)), content)
        self.assertFalse(self.is_kept(2))
        self.cache.forget(1)
        self.cache.forget(1)
        self.assertFalse(self.is_kept(1))

    def test_oldest_go(self) -> None:
        """Over the limit, the oldest go first."""
        for id_ in (1, 2, 3):
            self.cache.remember(id_, of_size(40))
        self.assertEqual([self.is_kept(id_) for id_ in (1, 2, 3)], [False, True, True])

    def test_too_large(self) -> None:
        """What is larger than the cache is not kept."""
        self.cache.remember(1, of_size(101))
        self.assertFalse(self.is_kept(1))

    @given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 60))))
    def test_bounded(self, steps: list[tuple[int, int | None]]) -> None:
        """However it is used, again with the same id too, it stays within the limit."""
        cache = ContentCache(lambda _: succeed(of_size(0)), most_bytes=100)
        sizes: dict[int, int] = {}
        for id_, size in steps:
            if size is None:
                cache.forget(id_)
                sizes.pop(id_, None)
            else:
                cache.remember(id_, of_size(size))
                sizes[id_] = size
        kept = [id_ for id_ in sizes if self.successResultOf(cache.content(id_)).size_bytes]
        self.assertLessEqual(sum(sizes[id_] for id_ in kept), 100)
