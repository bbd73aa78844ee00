"""``unsubscribe`` of a message: the fields of RFC 8058, with a link that we made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import frozen

from mailrelay.control.unsubscribe import Subscription, UnsubscribeLinks
from mailrelay.smtp.address import Address
from mailrelay.webapi.v1.fields import Tag
from mailrelay.webapi.v1.operations import Strict
from mailrelay.webapi.v1.problems import INVALID_FIELD, Kind, Problem

NO_PUBLIC_URL = Kind("no_public_url", 409, "The server cannot make links")

_NAMES = ("list-unsubscribe", "list-unsubscribe-post")


class Unsubscribe(Strict, frozen=True):
    """``list`` names what is unsubscribed from: on the page, and in the event."""

    list: Tag


UnsubscribeWish: TypeAlias = bool | Unsubscribe


@frozen
class OneClickFields:
    """What a message gets: ``headers`` are to be added, and ``ids`` are its and its entry's.

    The ids go into the envelope: the link names them before they are stored.
    """

    headers: Sequence[tuple[str, str]] = ()
    ids: Sequence[int] = ()


@frozen
class OneClick:
    """Makes the fields.  ``new_id`` is the store's."""

    links: UnsubscribeLinks
    new_id: Callable[[], int]

    def fields(
        self,
        wish: UnsubscribeWish,
        account_id: int,
        recipients: Sequence[Address],
        headers: Sequence[str],
        sent_at: float,
        place: str = "",
    ) -> OneClickFields:
        """For a message to ``recipients`` whose own fields have the names ``headers``.

        ``place`` is what stands before the names of fields in a Problem, as ``items[3].``.

        Raises: Problem; StoreUnavailable.
        """
        if wish is False:
            return OneClickFields()
        if len(recipients) != 1:
            text = "is for a message with exactly one recipient: the link is its own"
            raise Problem(INVALID_FIELD, text, f"{place}unsubscribe")
        for number, name in enumerate(headers):
            if name.lower() in _NAMES:
                text = f"{name} is made by the server, because of unsubscribe"
                raise Problem(INVALID_FIELD, text, f"{place}headers[{number}].name")
        if not self.links.public_url:
            text = (
                "the server does not know where it is seen from outside: its operator sets"
                " public_url in [http], as https://mail.example.org"
            )
            raise Problem(NO_PUBLIC_URL, text, f"{place}unsubscribe")
        ids = (self.new_id(), self.new_id())
        name = wish.list if isinstance(wish, Unsubscribe) else ""
        of = Subscription(account_id, *ids, recipients[0], name)
        return OneClickFields(
            [
                ("List-Unsubscribe", f"<{self.links.url(of, sent_at)}>"),
                ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ],
            ids,
        )
