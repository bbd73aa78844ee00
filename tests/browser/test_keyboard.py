"""The main tasks by the keyboard alone: what has the focus is seen, and nothing keeps it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from playwright.sync_api import Page, expect

from tests.browser.filling import Words, fill
from tests.browser.localserve import Localserve, Person, letter
from tests.browser.looking import Look
from tests.browser.walk import pages

Looks = Callable[..., Look]
MOST_STOPS = 400

FOCUSED = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  if (one === document.body) return null;
  const label = one.getAttribute('aria-label') || one.labels?.[0]?.innerText || one.innerText;
  return {
    name: (label || one.name || '').trim(),
    seen: one.tagName === 'IFRAME' ||
      (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1 && box.width > 0),
    html: one.outerHTML.slice(0, 200),
  };
}"""


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what is called ``name`` has the focus."""
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is not None and focused["name"].startswith(name):
            assert focused["seen"], focused
            return
    raise AssertionError(f"Tab does not lead to {name} on {page.url}")


def press(page: Page, name: str, key: str = "Enter") -> None:
    """Go to what is called ``name``, and use it; Enter leads to another page."""
    tab_to(page, name)
    with page.expect_navigation() if key == "Enter" else nullcontext():
        page.keyboard.press(key)


def test_main_tasks(look: Looks, server: Localserve, person: Person) -> None:
    """Log in, read, go back, search, flag, delete; write and send; look, and cancel."""
    server.deliver(letter("a bill"), letter("an offer"), to=person.address)
    one = look()
    page = one.open("/login")
    page.keyboard.type(person.address)  # the field has the focus already
    press(page, "Password", "a")
    page.keyboard.press("Backspace")
    page.keyboard.type(person.password)
    page.keyboard.press("Enter")
    expect(page.get_by_role("searchbox")).to_be_visible()
    one.open_until("/", ":nth-match(.list tbody tr, 2)")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="a bill")).to_be_visible()
    press(page, "Flag")
    expect(page.get_by_title("flagged")).to_have_count(1)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="an offer")).to_be_visible()
    page.keyboard.press("u")
    page.wait_for_url("**/?mailbox=Inbox")
    page.keyboard.press("/")
    page.keyboard.type("is:flagged")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="an offer")).to_have_count(0)
    press(page, "Choose a bill", "Space")
    press(page, "Delete")
    press(page, "Write")
    tab_to(page, "To")
    page.keyboard.type("busy-temperror@localhost")
    tab_to(page, "Subject")
    page.keyboard.type("by hand")
    press(page, "Send")
    expect(page.get_by_role("heading", name="by hand")).to_be_visible()
    one.open_until(one.path, "text=451")
    press(page, "Cancel")
    expect(page.locator(".list .tag").first).to_have_text("canceled")


def test_skip_link(look: Looks, person: Person) -> None:
    """The first stop leads past the menu."""
    page = look(person).open("/")
    page.keyboard.press("Tab")
    focused = page.evaluate(FOCUSED)
    assert focused["name"].startswith("Skip"), focused
    assert focused["seen"], focused
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def stops(page: Page) -> list[str]:
    """What is wrong on the way through a page by Tab, until it begins anew."""
    wrong: list[str] = []
    seen: list[str] = []
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None or (seen and focused["html"] == seen[0]):
            return wrong
        if not focused["seen"]:
            wrong.append(f"{page.url}: no focus is seen on {focused['html']}")
        seen.append(focused["html"])
    return [*wrong, f"{page.url}: the focus is kept by {seen[-1]}"]


def test_every_page(look: Looks, server: Localserve, person: Person) -> None:
    """Tab leads through each, what has the focus is seen, and comes round."""
    fill(server, person, Words())
    one = look(person)
    one.open_until("/", "text=Your bill")
    wrong = []
    for kind, path in pages(one, "/?q=bill").items():
        if "?" not in kind:
            wrong += stops(one.open(path))
    assert wrong == []
