"""Peers as the administrator sees and changes them: state, keys, and whether they know us.

A key that is made here is shown once, on the page that follows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.peers import KEY_KEPT_FOR, NewPeerKey, PeerControl, PeerDetails
from mailrelay.directory.peers import FromPolicy, Peer, PeerProtocol
from mailrelay.pages.door import Asked, Doors, see_other
from mailrelay.pages.fields import BadField, Trouble, number_of, trouble_of, words_of
from mailrelay.web.request import Response, Route

PATH = "/admin/peers"
DAY = 86400.0

DONE: Mapping[str, str] = {
    "set": "The peer is changed.",
    "given": "The key is taken. Those before it work for as long as you said.",
    "removed": "The peer is removed, with its keys.",
}


@frozen
class Ping:
    """What a peer answered; ``problem`` is why it did not.  ``seconds`` is how long it took."""

    problem: str = ""
    seconds: float = 0.0
    takes_mail: bool = True
    clock_difference: float | None = None
    limits: Mapping[str, int] | None = None


@frozen
class PeerPages:
    """``/admin/peers``.  ``control`` makes the peers' for whoever is named in the audit."""

    doors: Doors
    control: Callable[[str], PeerControl]
    ping: Callable[[Peer], Awaitable[Ping]]
    now: Callable[[], float]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        doors = self.doors
        return [
            doors.admin(PATH, self.list),
            doors.admin_form(PATH, self.add),
            doors.admin(f"{PATH}/{{name}}", self.one),
            doors.admin_form(f"{PATH}/{{name}}", self.set),
            doors.admin_form(f"{PATH}/{{name}}/key", self.rotate),
            doors.admin_form(f"{PATH}/{{name}}/ping", self.asked_now),
            doors.admin_form(f"{PATH}/{{name}}/remove", self.remove),
        ]

    async def list(self, asked: Asked) -> Response:
        """All of them, and a form for one more."""
        return await self._list(asked)

    async def add(self, asked: Asked) -> Response:
        """One more; the keys that were made are shown."""
        name, control = asked.value("name"), self.control(asked.actor)
        try:
            protocol = _protocol(asked.value("protocol"))
            url, callback_url, account = (
                asked.value(field) or None for field in ("url", "callback_url", "account")
            )
            keys = [asked.exact(field).strip() or None for field in ("our_key", "their_key")]
            made = await control.add(name, protocol, PeerDetails(url, callback_url, account), *keys)
        except NoSuch:
            raise
        except Refusal as refusal:
            return await self._list(asked, trouble_of("add", refusal))
        return self._made(asked, name, made)

    async def one(self, asked: Asked) -> Response:
        """How it stands with a peer, and everything it may be set to."""
        return await self._page(asked)

    async def set(self, asked: Asked) -> Response:
        """Change what the form has, which is everything."""
        name = asked.request.params["name"]
        try:
            await self.control(asked.actor).set(name, _details(asked))
        except NoSuch:
            raise
        except Refusal as refusal:
            return await self._page(asked, trouble_of("set", refusal))
        return see_other(f"{PATH}/{name}?done=set")

    async def rotate(self, asked: Asked) -> Response:
        """A new key of one direction, made here or by the other side."""
        name = asked.request.params["name"]
        try:
            days = number_of("days", asked.value("days"))
            made = await self.control(asked.actor).rotate(
                name,
                asked.exact("key").strip() or None,
                is_ours=asked.value("whose") == "ours",
                kept_for=KEY_KEPT_FOR if days is None else days * DAY,
            )
        except NoSuch:
            raise
        except Refusal as refusal:
            return await self._page(asked, trouble_of("key", refusal))
        if made is None:
            return see_other(f"{PATH}/{name}?done=given")
        return self._made(asked, name, [made])

    async def asked_now(self, asked: Asked) -> Response:
        """Ask it whether it knows our key."""
        peer = await self.control(asked.actor).peer(asked.request.params["name"])
        return await self._page(asked, pinged=await self.ping(peer))

    async def remove(self, asked: Asked) -> Response:
        """Know it no longer."""
        await self.control(asked.actor).remove(asked.request.params["name"])
        return see_other(f"{PATH}?done=removed")

    async def _list(self, asked: Asked, trouble: Trouble | None = None) -> Response:
        typed = ("name", "protocol", "url", "callback_url", "account")
        return self.doors.page(
            asked,
            "admin_peers.html",
            200 if trouble is None else 422,
            done=asked.done(DONE),
            peers=await self.control(asked.actor).peers(),
            protocols=[protocol.value for protocol in PeerProtocol],
            trouble=trouble,
            typed={name: asked.value(name) if trouble else "" for name in typed},
        )

    async def _page(
        self, asked: Asked, trouble: Trouble | None = None, pinged: Ping | None = None
    ) -> Response:
        name = asked.request.params["name"]
        found = [one for one in await self.control(asked.actor).peers() if one.peer.name == name]
        if not found:
            raise NoSuch("there is no such peer")
        return self.doors.page(
            asked,
            "admin_peer.html",
            200 if trouble is None else 422,
            done=asked.done(DONE),
            listed=found[0],
            policies=[policy.value for policy in FromPolicy],
            now=self.now(),
            trouble=trouble,
            pinged=pinged,
        )

    def _made(self, asked: Asked, name: str, made: Sequence[NewPeerKey]) -> Response:
        return self.doors.page(asked, "admin_peer_made.html", peer=name, made=made)


def _protocol(text: str) -> PeerProtocol:
    try:
        return PeerProtocol(text)
    except ValueError:
        raise NoSuch("that is no protocol that peers speak") from None


def _policy(text: str) -> FromPolicy:
    try:
        return FromPolicy(text)
    except ValueError:
        raise BadField("from_policy", "From is kept or rewritten") from None


def _details(asked: Asked) -> PeerDetails:
    """All that the form of a peer has.  Raises: Refusal."""
    value = asked.value
    options: dict[str, object] = {
        "from_policy": _policy(value("from_policy")),
        "from_address": value("from_address"),
        "from_domains": words_of(value("from_domains")),
        "fallback": value("fallback"),
        "allowed_networks": words_of(value("allowed_networks")),
        "shares_suppression": value("shares_suppression") == "1",
    }
    for name in ("fallback_after", "concurrency", "timeout"):
        number = number_of(name, value(name))
        if number is not None:
            options[name] = number if name == "concurrency" else float(number)
    for name in ("trusted_ca", "client_certificate"):
        options[name] = value(name)
    return PeerDetails(
        value("url"),
        value("callback_url"),
        value("account"),
        value("disabled") == "1",
        options,
    )
