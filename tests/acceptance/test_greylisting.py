"""Who is to come again, and who is not."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance import greylisting
from mailrelay.acceptance.greylisting import DAY, Exempt, Greylist, GreylistSettings, Triplet
from mailrelay.queue.store import StoreUnavailable
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply

PEER = "192.0.2.9"


@define
class FakeGreylistStore:
    """GreylistStore; ``broken`` fails, ``held`` answers later."""

    rows: dict[bytes, Triplet] = field(factory=dict)
    broken: bool = False
    held: list[Deferred[None]] | None = None
    finds: int = 0
    keeps: int = 0

    def find(self, key: bytes) -> Deferred[Triplet | None]:
        """See GreylistStore."""
        self.finds += 1
        if self.held is not None:
            self.held.append(Deferred())
            return self.held[-1].addCallback(lambda _: self.rows.get(key))
        if self.broken:
            return fail(StoreUnavailable("broken"))
        return succeed(self.rows.get(key))

    def keep(self, triplet: Triplet) -> Deferred[None]:
        """See GreylistStore."""
        self.keeps += 1
        if self.broken:
            return fail(StoreUnavailable("broken"))
        self.rows[triplet.key] = triplet
        return succeed(None)

    def sweep(self, new_before: float, passed_before: float, limit: int) -> Deferred[int]:
        """See GreylistStore."""
        raise NotImplementedError


class GreylistTests(SynchronousTestCase):
    """Peers that come once, twice, and long after."""

    def setUp(self) -> None:
        """A store, and a time."""
        self.store, self.now = FakeGreylistStore(), 1_900_000_000.0
        self.list = self.make()

    def make(self, exempt: Exempt | None = None, **settings: object) -> Greylist:
        """A greylist over the store."""
        made = GreylistSettings(True, **settings)  # type: ignore[arg-type]
        return Greylist(made, self.store, lambda: self.now, b"secret", exempt)

    def answer(
        self,
        ip: str = PEER,
        sender: str | None = "a@far.test",
        recipient: str = "user@example.org",
    ) -> Reply | None:
        """What is answered, now."""
        path = Address.parse(sender) if sender else None
        found = self.list.refuse(ip, path, Address.parse(recipient))
        return self.successResultOf(found) if isinstance(found, Deferred) else found

    def passes(self, *arguments: str | None) -> bool:
        """Whether it is taken."""
        return self.answer(*arguments) is None  # type: ignore[arg-type]

    def test_again(self) -> None:
        """The first attempt is refused, one that is too early too; a later one is taken."""
        self.assertEqual(str(self.answer()), "451 4.7.1 greylisted, try again in 61 seconds")
        self.now += 59.5
        self.assertEqual(str(self.answer()), "451 4.7.1 greylisted, try again in 1 seconds")
        self.now += 0.5
        self.assertTrue(self.passes())
        self.assertTrue(self.passes())

    def test_memory(self) -> None:
        """The store is asked once of each; that it is in use is written once a day."""
        self.passes()
        self.now += 60
        for _ in range(5):
            self.assertTrue(self.passes())
        self.assertEqual((self.store.finds, self.store.keeps), (1, 2))
        self.now += DAY
        self.assertTrue(self.passes())
        self.assertTrue(self.passes())
        self.assertEqual((self.store.finds, self.store.keeps), (1, 3))

    def test_other_process(self) -> None:
        """What one has met, another knows, and after a restart."""
        self.passes()
        self.now += 60
        self.list = self.make()
        self.assertTrue(self.passes())
        self.list = self.make()
        self.now += 35 * DAY
        self.assertTrue(self.passes())

    def test_over(self) -> None:
        """An attempt long after the first is a first one; who was not seen for long is new."""
        self.passes()
        self.now += 2 * DAY + 1
        self.assertFalse(self.passes())
        self.now += 60
        self.assertTrue(self.passes())
        self.now += 36 * DAY + 1
        self.assertFalse(self.passes())
        self.list = self.make()
        self.assertFalse(self.passes())

    def test_who_is_the_same(self) -> None:
        """Servers of one network, and a sender's address with changing parts, are one."""
        self.passes()
        self.now += 60
        self.assertTrue(self.passes("192.0.2.200"))
        self.assertTrue(self.passes(PEER, "A@FAR.test"))
        self.assertFalse(self.passes("192.0.3.9"))
        self.assertFalse(self.passes(PEER, "b@far.test"))
        self.assertFalse(self.passes(PEER, None))
        self.assertFalse(self.passes(PEER, "a@far.test", "other@example.org"))
        self.assertFalse(self.passes("2001:db8::1", "bounce-1234+x=y@far.test"))
        self.now += 60
        self.assertTrue(self.passes("2001:db8::2", "bounce-99+z@far.test"))
        self.assertFalse(self.passes("2001:db8:0:1::2", "bounce-99+z@far.test"))

    def test_hashes(self) -> None:
        """Of whom it met the store has hashes under a key, and no two parts run together."""
        self.passes()
        [key] = self.store.rows
        self.assertEqual(len(key), 16)
        other = Greylist(GreylistSettings(True), self.store, lambda: self.now, b"another")
        refused = other.refuse(PEER, Address.parse("a@far.test"), Address.parse("user@example.org"))
        assert isinstance(refused, Deferred)
        self.assertIsNotNone(self.successResultOf(refused))
        self.assertEqual(len(self.store.rows), 2)

    def test_store_fails(self) -> None:
        """A store that cannot be read asks nobody to come again."""
        self.store.broken = True
        self.assertTrue(self.passes())
        self.store.broken = False
        self.assertFalse(self.passes())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_bounds(self) -> None:
        """So many wait for the store, so many are remembered, so many new ones are written."""
        self.store.held = []
        self.patch(greylisting, "MOST_WAITING", 2)
        path, to = Address.parse("a@far.test"), Address.parse("user@example.org")
        waiting = [self.list.refuse(f"10.0.{n}.1", path, to) for n in range(3)]
        self.assertIsNone(waiting[2])
        for one in self.store.held:
            one.callback(None)
        self.store.held = None
        self.patch(greylisting, "MOST_NEW_PER_MINUTE", 3)
        self.assertFalse(self.passes("10.0.3.1"))
        self.assertFalse(self.passes("10.0.4.1"))
        self.assertEqual(len(self.store.rows), 3)
        self.now += 60
        self.assertTrue(self.passes("10.0.4.1"))  # what is not written is remembered
        self.patch(greylisting, "MOST_KEPT", 2)
        for n in range(5):
            self.passes(f"10.1.{n}.1")
        self.assertLessEqual(len(self.list._known), 5)

    def test_skipped(self) -> None:
        """Networks that are skipped are not remembered either."""
        self.list = self.make(skip_networks=("192.0.2.0/24",))
        self.assertTrue(self.passes())
        self.assertEqual(self.store.finds, 0)

    def test_exempt(self) -> None:
        """Who is exempt passes at once, and is not looked into again."""
        asked = []

        async def exempt(ip: str, path: Address | None, to: Address) -> bool:
            asked.append((ip, str(path), str(to)))
            return ip == PEER

        self.list = self.make(exempt)
        self.assertTrue(self.passes())
        self.assertTrue(self.passes())
        self.assertFalse(self.passes("198.51.100.1"))
        self.assertFalse(self.passes("198.51.100.1"))
        self.assertEqual([ip for ip, *_ in asked], [PEER, "198.51.100.1"])
        self.assertEqual(asked[0][1:], ("a@far.test", "user@example.org"))
