"""Who gets a copy of a message."""

from __future__ import annotations

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.copies import (
    Writer,
    copies_of,
    entry_of_each,
    first_of_each,
    report_copies,
    told_as,
)
from mailrelay.directory.aliases import Alias, Rewrite
from mailrelay.message.dsn import Action
from mailrelay.queue.entry import NULL_PATH
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify, Rcpt
from tests.directory.test_expansion import OWNER, alias, directory
from tests.queue.values import entry

ALICE, ANN = Address("alice", "example.org"), Address("ann", "example.net")
LIST = Address("list", "example.org")


def members(*recipients: str, of: Alias, author: str = "author@example.net") -> list[str]:
    """Who gets a copy, with what it came by."""
    rcpts = [Rcpt(Address.parse(one)) for one in recipients]
    made = copies_of(directory(of), rcpts, Writer([Address.parse(author)]))
    return [f"{one.recipient.forward_path} {one.alias or ''}".strip() for one in made.copies]


class CopiesTests(SynchronousTestCase):
    """copies_of."""

    def setUp(self) -> None:
        """A list that everybody may post to."""
        self.list = alias(1, "list", "alice", "bob", "ann@example.net", post_public=True)

    def test_expanded(self) -> None:
        """Each member once, by the alias as it was written."""
        by = "List+x@example.org"
        self.assertEqual(
            members("List+x@example.org", of=self.list),
            [f"{one} {by}" for one in ("alice@example.org", "bob@example.org", "ann@example.net")],
        )

    def test_no_second_copy(self) -> None:
        """Who is named, by any address, and who wrote it has no other copy."""
        found = members("al+y@example.org", "list@example.org", of=self.list)
        self.assertEqual(found[0], "al+y@example.org")
        self.assertNotIn("alice@example.org list@example.org", found)
        found = members("list@example.org", of=self.list, author="Ann@example.net")
        self.assertEqual(len(found), 2)
        found = members("list@example.org", "list+2@example.org", of=self.list)
        self.assertEqual(len(found), 4)
        self.assertEqual(found[-1], "list+2@example.org list+2@example.org")

    def test_nobody_left(self) -> None:
        """An alias of the author alone keeps its entry, which is thrown away."""
        one = alias(1, "list", "alice")
        found = members("list@example.org", of=one, author="alice@example.org")
        self.assertEqual(found, ["list@example.org list@example.org"])

    def test_nobody_there(self) -> None:
        """Members that went between RCPT and the end: the sender is told."""
        one = alias(1, "list", "gone", post_public=True)
        self.assertEqual(members("list@example.org", of=one), ["list@example.org"])

    def test_refused(self) -> None:
        """What the author must not write to is counted, and not expanded."""
        one = alias(1, "list", "alice")
        rcpts = [Rcpt(LIST), Rcpt(ANN)]
        made = copies_of(directory(one), rcpts, Writer([Address("x", "example.net")]))
        self.assertEqual((made.refused, made.looping), (1, 0))
        self.assertEqual([(c.recipient, c.alias) for c in made.copies], [(r, None) for r in rcpts])

    def test_envelopes(self) -> None:
        """Elsewhere it is a new envelope of the owner's; here it stays the sender's."""
        one = alias(1, "list", "alice", "ann@example.net", post_public=True, owner=OWNER)
        rcpt = Rcpt(LIST, frozenset({Notify.SUCCESS}), "rfc822;list@example.org")
        copies = copies_of(directory(one), [rcpt], Writer([])).copies
        self.assertEqual([c.recipient.orcpt for c in copies], [rcpt.orcpt, None])
        self.assertEqual([c.own_path for c in copies], [None, OWNER])

    def test_success(self) -> None:
        """It is told once for several, or for a list; the rest of NOTIFY is for members here."""
        never, success = frozenset({Notify.NEVER}), frozenset({Notify.SUCCESS})
        failure = frozenset({Notify.FAILURE})
        for notify, members, is_list, actions, left in (
            (success, ("alice", "bob"), False, [Action.EXPANDED], never),
            (success | failure, ("alice", "bob"), False, [Action.EXPANDED], failure),
            (success | failure, ("alice", "bob"), True, [Action.DELIVERED], never),
            (success | failure, ("alice",), True, [Action.DELIVERED], never),
            (success | failure, ("alice",), False, [], success | failure),
            (success, ("ann@example.net",), False, [Action.DELIVERED], frozenset()),
            (failure, ("alice", "bob"), True, [], failure),
            (frozenset(), ("alice", "bob"), False, [], frozenset()),
        ):
            one = alias(1, "list", *members, post_public=True, is_list=is_list)
            made = copies_of(directory(one), [Rcpt(LIST, notify)], Writer([]))
            self.assertEqual([taken.action for taken in made.taken], actions)
            self.assertEqual(
                [taken.recipient.notify for taken in made.taken], [notify][: len(actions)]
            )
            self.assertEqual({c.recipient.notify for c in made.copies}, {left})
        back = alias(1, "list", "ann@example.net", post_public=True, rewrite=Rewrite.SRS)
        self.assertFalse(copies_of(directory(back), [Rcpt(LIST, success)], Writer([])).taken)
        gone = alias(1, "list", "gone", "lost", post_public=True)
        self.assertFalse(copies_of(directory(gone), [Rcpt(LIST, success)], Writer([])).taken)


class ToldTests(SynchronousTestCase):
    """What the sender is told of copies."""

    def test_alias_once(self) -> None:
        """An alias stands for its members."""
        entries = [
            entry(1, recipient=ANN),
            entry(2, recipient=ALICE, alias=LIST),
            entry(3, recipient=OWNER, alias=LIST, own_reverse_path=NULL_PATH),
        ]
        self.assertEqual(told_as(entries), [str(ANN), str(LIST)])
        self.assertEqual([one.id for one in first_of_each(entries)], [1, 2])
        found = entry_of_each([LIST, ANN, LIST], entries)
        self.assertEqual([one.id for one in found], [2, 1, 2])

    def test_of_list(self) -> None:
        """What a list passes on is nobody's, from nobody without an owner."""
        own = entry(2, recipient=ALICE, alias=LIST)
        passed_on = entry(3, recipient=ANN, alias=LIST, own_reverse_path=NULL_PATH)
        self.assertEqual([own.is_of_list, passed_on.is_of_list], [False, True])
        self.assertIsNone(passed_on.reverse_path)
        self.assertEqual(own.reverse_path, own.message.reverse_path)
        with_from_id = entry(4, recipient=ALICE, alias=LIST, own_reverse_path=ALICE, from_id="x")
        self.assertFalse(with_from_id.is_of_list)

    def test_reports(self) -> None:
        """A report to an alias that sent something goes to its members, whoever may post."""
        one = alias(1, "list", "alice", "ann@example.net")
        ids = count(100)
        made = report_copies(directory(one), lambda: next(ids), entry(recipient=LIST))
        self.assertEqual([str(e.recipient) for e in made], ["alice@example.org", str(ANN)])
        self.assertEqual([e.own_reverse_path for e in made], [None, NULL_PATH])
        self.assertEqual(len({e.id for e in made}), 2)
        plain = entry(recipient=ALICE)
        self.assertEqual(report_copies(directory(one), lambda: next(ids), plain), [plain])
