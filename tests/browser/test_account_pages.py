"""An account's pages: each of them, and each thing that can be done there, once."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.localserve import Localserve, Person, letter
from tests.browser.looking import Look

Looks = Callable[..., Look]


def test_log_in_and_out(look: Looks, server: Localserve, person: Person) -> None:
    """At the page for it; a wrong password is said to be wrong, and what was wanted comes next."""
    one = look()
    page = one.open("/sent")
    assert one.path == "/login?next=/sent"
    page.get_by_label("Address").fill(person.address)
    page.get_by_label("Password").fill("no such password")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Password").fill(person.password)
    page.keyboard.press("Enter")
    expect(page.get_by_text("This account has sent nothing yet")).to_be_visible()
    assert one.path == "/sent"
    page.get_by_role("button", name="Log out").click()
    assert one.path == "/login"
    page.go_back()
    one.open("/")
    assert one.path == "/login"


def test_arrival_is_seen(look: Looks, server: Localserve, person: Person) -> None:
    """An open list shows a message that arrives, without being loaded again."""
    page = look(person).open("/")
    expect(page.get_by_text("No message yet")).to_be_visible()
    page.evaluate("window.isTheSame = true")
    server.deliver(letter("the first"), to=person.address)
    page.get_by_role("link", name="the first").wait_for()
    page.get_by_role("checkbox").check()
    server.deliver(letter("the second"), to=person.address)
    page.get_by_role("link", name="the second").wait_for()
    assert page.get_by_label("Choose the first").is_checked()
    assert page.evaluate("window.isTheSame") is True
