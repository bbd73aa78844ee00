"""Pages are for everybody: axe-core finds nothing serious, in any light and width."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import Page

from tests.browser.filling import Words, fill
from tests.browser.localserve import Localserve, Person
from tests.browser.looking import Look
from tests.browser.walk import pages

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RUN = """async (rules) => {
  const options = {resultTypes: ['violations'], iframes: false};
  if (rules) options.runOnly = {type: 'rule', values: rules};
  const found = await axe.run(document, options);
  return found.violations.map((one) => [one.impact, one.id, one.nodes.map((n) => n.html)]);
}"""
OF_COLORS = ["color-contrast", "link-in-text-block"]
OF_WIDTH = ["target-size", "scrollable-region-focusable", "color-contrast"]
SERIOUS = ("serious", "critical")


def serious(page: Page, rules: Sequence[str] | None = None) -> list[str]:
    """What axe-core finds on ``page``."""
    found: list[Any] = page.evaluate(RUN, rules)
    return [f"{id_}: {nodes[:3]}" for impact, id_, nodes in found if impact in SERIOUS]


def findings(look: Look, path: str) -> list[str]:
    """Of a page: in the light, in the dark, and on a telephone, where it must not be too wide."""
    page = look.open(path)
    page.evaluate(AXE)
    found = [f"{path}: {one}" for one in serious(page)]
    page.emulate_media(color_scheme="dark")
    found += [f"{path} dark: {one}" for one in serious(page, OF_COLORS)]
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 800})
    found += [f"{path} narrow: {one}" for one in serious(page, OF_WIDTH)]
    wide = page.evaluate("document.documentElement.scrollWidth")
    if wide > 390:
        found.append(f"{path} narrow: it is {wide} wide")
    page.set_viewport_size({"width": 1280, "height": 800})
    return found


def of_each(found: Mapping[str, str]) -> list[str]:
    """Paths of pages; with another query one looks the same, but for the views of a message."""
    return [path for kind, path in found.items() if "?" not in kind or "?view=" in kind]


def test_account(look: Callable[..., Look], server: Localserve, person: Person) -> None:
    """Every page of an account that has something of everything."""
    fill(server, person, Words())
    one = look(person)
    one.open_until("/", "text=Your bill")
    found = pages(one, "/?q=bill", "/")
    assert "/mail/{}?view=headers" in found
    assert [text for path in of_each(found) for text in findings(one, path)] == []


def test_empty(look: Callable[..., Look], person: Person) -> None:
    """Every page of an account that has nothing yet, and the doors."""
    one = look()
    found = [text for path in ("/login", "/admin/login") for text in findings(one, path)]
    one.log_in(person)
    assert found + [text for path in of_each(pages(one, "/")) for text in findings(one, path)] == []


def test_admin(look: Callable[..., Look], server: Localserve, person: Person) -> None:
    """Every page of the administrator."""
    fill(server, person, Words())
    one = look()
    one.log_in_admin()
    one.open_until(f"/admin/queue?account={person.name}", "text=Your bill")
    found = of_each(pages(one, "/admin"))
    assert [text for path in found for text in findings(one, path)] == []
