"""Check a page in a browser with axe-core."""

from __future__ import annotations

from importlib.resources import files

from playwright.sync_api import Page

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
# The article without the theme's bars, Pygments' colours of code, docutils' roles in the bibliography.
ARTICLE = '{include: ["article.bd-article"], exclude: [".highlight", ".citation-list"]}'


def violations(page: Page, options: str = "{}") -> list[str]:
    """List what axe-core calls serious or critical in the article of a page that has evaluated `AXE`."""
    rules = page.evaluate(f"axe.run({ARTICLE}, {{preload: false, ...{options}}})")["violations"]
    return [
        f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in rules if rule["impact"] in ("serious", "critical")
    ]
