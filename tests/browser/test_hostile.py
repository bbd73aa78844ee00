"""A mailbox full of attacks: no script runs, and nobody outside hears of who reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.browser.filling import Words, fill
from tests.browser.hostile import MARK, Attack, Listener, listener
from tests.browser.localserve import Localserve, Person, until
from tests.browser.looking import Look
from tests.browser.walk import pages

VIEWS = ("html", "text", "headers", "structure")
ACTING = "script, iframe, object, embed, form, base, meta[http-equiv], link, svg, math, [ping]"

Looks = Callable[..., Look]


@pytest.fixture
def ear() -> Iterator[Listener]:
    """Who would hear of it."""
    with listener() as found:
        yield found


def harmless(look: Look, path: str) -> list[str]:
    """What went wrong on a page, and within its frames."""
    page = look.open(path)
    page.wait_for_load_state("load")
    wrong = []
    if page.evaluate("window.name") or page.evaluate(f"window.{MARK}"):
        wrong.append(f"{path}: a script ran")
    for frame in page.frames[1:]:
        frame.wait_for_load_state("load")
        acting = frame.evaluate(f"[...document.querySelectorAll('{ACTING}')].map(e => e.outerHTML)")
        wrong += [f"{path}: {one}" for one in acting]
        if frame.evaluate(f"window.{MARK}"):
            wrong.append(f"{path}: a script ran in the frame")
    return wrong


def messages(look: Look, count: int) -> list[str]:
    """Paths of those in the list, once there are ``count``."""
    look.open_until("/", f":nth-match(.list tbody tr, {count})")
    links = look.page.locator(".list tbody a").all()
    return [link.get_attribute("href") or "" for link in links]


def test_messages(look: Looks, server: Localserve, person: Person, ear: Listener) -> None:
    """Each message in each view."""
    attack = Attack(ear.url)
    server.deliver(*attack.messages(person.address), to=person.address, sender="e@evil.example")
    one = look(person)
    wrong, frames = [], 0
    for path in messages(one, 4):
        for view in VIEWS:
            wrong += harmless(one, f"{path}?view={view}")
            frames += len(one.page.frames) - 1
    assert wrong == []
    assert frames == 4
    assert ear.heard == []


def test_files(look: Looks, server: Localserve, person: Person, ear: Listener) -> None:
    """What is downloaded is a file, whatever it says that it is."""
    attack = Attack(ear.url)
    server.deliver(attack.messages(person.address)[1], to=person.address)
    one = look(person)
    (path,) = messages(one, 1)
    one.open(f"{path}?view=structure")
    links = [link.get_attribute("href") or "" for link in one.page.locator("a[download]").all()]
    assert len(set(links)) > 8
    for link in set(links):
        headers = one.context.request.get(f"{server.base}{link}").headers
        assert headers["content-disposition"].startswith("attachment"), link
        assert headers["x-content-type-options"] == "nosniff", link
        assert "sandbox" in headers["content-security-policy"], link
        assert "\r" not in headers["content-disposition"], link
    with one.page.expect_download() as waiting:
        one.page.get_by_role("link", name="Raw").click()
    assert waiting.value.failure() is None
    assert ear.heard == []


def test_images_that_are_asked_for(
    look: Looks, server: Localserve, person: Person, ear: Listener
) -> None:
    """They alone are loaded, and without a word of who asks."""
    server.deliver(Attack(ear.url).messages(person.address)[0], to=person.address)
    one = look(person)
    (path,) = messages(one, 1)
    one.trouble.allowed = f"{ear.url}/"
    page = one.open(path)
    page.get_by_role("link", name="Load them").click()
    until(lambda: {"/img", "/img2"} <= {heard for heard, _, _ in ear.heard}, "the images")
    page.wait_for_load_state("load")
    assert {(referer, cookie) for _, referer, cookie in ear.heard} == {(None, None)}
    assert not page.evaluate("window.name")


def test_names_of_everything(
    look: Looks, server: Localserve, person: Person, ear: Listener
) -> None:
    """Whatever an account, or a stranger, gave a name."""
    attack = Attack(ear.url)
    words = Words(attack.line[:250], attack.html, attack.line, f"{attack.short}.html")
    fill(server, person, words)
    one = look(person)
    one.log_in_admin()
    one.open_until("/", ".list tbody tr")
    found = {**pages(one, "/"), **pages(one, f"/admin/queue?account={person.name}", "/admin")}
    assert [text for path in found.values() for text in harmless(one, path)] == []
    assert ear.heard == []
