"""Who is let in where mail is handed in, and how often."""

from __future__ import annotations

from attrs import evolve

from mailrelay.handoff.endpoints import HandOffInSettings
from mailrelay.testing.loopback import USER
from mailrelay.web.settings import HTTPSettings
from tests.handoff.handing import MESSAGE, TOKEN, HandingCase

FEW = {"http": HTTPSettings(requests_per_minute=3, requests_per_hour=0)}


class DoorTests(HandingCase):
    """Tokens that change, and limits."""

    async def test_tokens_change(self) -> None:
        """A configuration that is read again has other tokens and endpoints, at once."""
        place = await self.place()
        self.assert_answer(await place.post(MESSAGE, USER), 200)
        [endpoint] = place.server.settings.handoff_in
        new = HandOffInSettings("new", path="/v2/email", tokens=("other",))
        changed = evolve(endpoint, tokens=("fresh",))
        place.server.server.reload(evolve(place.server.settings, handoff_in=(changed, new)))
        self.assert_answer(await place.post(MESSAGE, USER), 401)
        self.assert_answer(await place.post(MESSAGE, USER, token="fresh"), 200)
        answered = await place.post(MESSAGE, USER, path="/v2/email", token="other")
        self.assert_answer(answered, 200)
        place.server.server.reload(evolve(place.server.settings, handoff_in=(changed,)))
        answered = await place.post(MESSAGE, USER, path="/v2/email", token="other")
        self.assertEqual(answered.status, 404)

    async def test_all_of_a_mail_server(self) -> None:
        """Who has shown a token hands in as much as there is."""
        place = await self.place(settings=FEW)
        for _ in range(8):
            self.assert_answer(await place.post(MESSAGE, USER), 200)

    async def test_who_guesses(self) -> None:
        """Who has not is stopped before the token is looked at, be it right; for a while."""
        place = await self.place(settings=FEW)
        for _ in range(3):
            self.assert_answer(await place.post(MESSAGE, USER, token="guess"), 401)
        for token in ("guess", TOKEN):
            answered = await place.post(MESSAGE, USER, token=token)
            self.assert_answer(answered, 429, "4.7.1 ")
            self.assertLessEqual(int(answered.headers["retry-after"]), 60)

    async def test_token_that_went_wrong(self) -> None:
        """A wrong token makes a stranger of who was known."""
        place = await self.place(settings=FEW)
        self.assert_answer(await place.post(MESSAGE, USER), 200)
        statuses = [(await place.post(MESSAGE, USER, token="guess")).status for _ in range(5)]
        self.assertEqual(statuses, [401, 401, 401, 429, 429])
