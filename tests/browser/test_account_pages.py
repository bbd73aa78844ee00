"""An account's pages: each of them, and each thing that can be done there, once.

With script and without: whatever is done is done by forms and links.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.filling import Words, fill, send
from tests.browser.localserve import Localserve, Person, letter
from tests.browser.looking import Look

Looks = Callable[..., Look]


@pytest.fixture(params=[True, False], ids=["script", "no script"])
def somebody(look: Looks, person: Person, request: pytest.FixtureRequest) -> Iterator[Look]:
    """Who is logged in, in a browser with or without script."""
    yield look(person, java_script_enabled=request.param)


def rows(page: Page) -> int:
    """How many things a page lists."""
    return page.locator(".list tbody tr").count()


def test_log_in_and_out(look: Looks, server: Localserve, person: Person) -> None:
    """At the page for it; a wrong password is said to be wrong, and what was wanted comes next."""
    one = look(java_script_enabled=False)
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


def test_mail(somebody: Look, person: Person) -> None:
    """A message is found, opened, seen from all sides, flagged, moved and deleted."""
    one = somebody
    one.server.deliver(letter("a bill"), letter("an offer"), to=person.address)
    page = one.open_until("/", ":nth-match(.list tbody tr, 2)")
    page.get_by_role("searchbox").fill("subject:bill")
    page.get_by_role("button", name="Search").click()
    assert rows(page) == 1
    page.get_by_role("link", name="a bill").click()
    expect(page.get_by_role("heading", name="a bill")).to_be_visible()
    expect(page.get_by_text("all is <b>well</b>.")).to_be_visible()
    for view, text in (("Headers", "ann@example.net"), ("Structure", "text/plain")):
        page.get_by_role("link", name=view).click()
        expect(page.get_by_role("cell", name=text).first).to_be_visible()
    page.get_by_role("button", name="Flag").click()
    expect(page.get_by_title("flagged")).to_have_count(1)
    page.get_by_role("link", name="a bill").click()
    page.get_by_label("Mailbox", exact=True).select_option("Archive")
    page.get_by_role("button", name="Move", exact=True).click()
    page.get_by_role("link", name="Archive").click()
    page.get_by_label("Choose a bill").check()
    page.get_by_role("button", name="Delete", exact=True).click()
    one.open("/")
    expect(page.get_by_role("link", name="a bill")).to_have_count(0)
    page.get_by_label("Choose an offer").check()
    page.get_by_role("button", name="Mark read").click()
    expect(page.locator(".unread")).to_have_count(0)


def test_write_and_answer(somebody: Look, person: Person) -> None:
    """What is written is sent, and has a timeline; what came is answered."""
    one = somebody
    page = one.open("/write")
    page.get_by_label("To", exact=True).fill(person.address)
    page.get_by_label("Subject").fill("a word to myself")
    page.get_by_label("Text").fill("Remember the milk.")
    page.get_by_role("button", name="Send", exact=True).first.click()
    expect(page.get_by_role("heading", name="a word to myself")).to_be_visible()
    one.open_until(one.path, "text=delivered")
    one.open_until("/?mailbox=Inbox", "text=a word to myself")
    page.get_by_role("link", name="a word to myself").click()
    page.get_by_role("link", name="Reply", exact=True).click()
    expect(page.get_by_label("To", exact=True)).to_have_value(re.compile(f"<{person.address}>$"))
    expect(page.get_by_label("Subject")).to_have_value("Re: a word to myself")


def test_simulated_failure(somebody: Look) -> None:
    """A button sends to an address that fails; its message is held, released, tried, canceled."""
    one = somebody
    page = one.open("/write")
    page.get_by_role("button", name="temperror").first.click()
    path = one.path.partition("?")[0]
    one.open_until(path, "text=451")
    for action, state in (("Hold", "held"), ("Release", "waiting"), ("Retry now", "waiting")):
        page.get_by_role("button", name=action).click()
        one.open_until(path, f".list .tag:text-is('{state}')")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".list .tag").first).to_have_text("canceled")


def test_sent(somebody: Look, server: Localserve, person: Person) -> None:
    """From "where is it?" to the peer's words in three clicks."""
    one = somebody
    send(server, person, Words("first"), "busy-temperror@localhost")
    send(server, person, Words("second"), f"x@{person.name}.localhost", tags=["odd"])
    page = one.open_until("/sent", ":nth-match(.list tbody tr, 2)")
    page.get_by_label("Recipient").fill("busy-temperror@localhost")
    page.get_by_role("button", name="Filter").click()  # the first click
    assert rows(page) == 1
    page.get_by_role("link", name="first").click()
    page.wait_for_load_state()
    one.open_until(one.path, "summary, code")
    expect(page.get_by_text("451").first).to_be_visible()
    one.open("/sent?tag=odd")
    assert rows(page) == 1


def test_keys(somebody: Look) -> None:
    """A key is made, shown once, and revoked."""
    page = somebody.open("/keys")
    page.get_by_label("Name").fill("the shop")
    page.get_by_label("send messages").check()
    page.get_by_role("button", name="Make key").click()
    somebody.open("/keys")
    assert rows(page) == 1
    page.get_by_role("button", name="Revoke the shop").click()
    expect(page.get_by_text("There are no keys")).to_be_visible()


def test_hold_rules(somebody: Look) -> None:
    """A rule is added and removed."""
    page = somebody.open("/holds")
    page.get_by_label("To", exact=True).fill("later.example")
    page.get_by_role("button", name="Hold", exact=True).click()
    assert rows(page) == 1
    page.get_by_role("button", name="what it held stays held").click()
    assert rows(page) == 0


def test_everything_is_shown(somebody: Look, server: Localserve, person: Person) -> None:
    """Lists of an account that has something of everything have rows."""
    fill(server, person, Words())
    for path in ("/keys", "/holds", "/aliases"):
        assert rows(somebody.open(path)) == 1, path
