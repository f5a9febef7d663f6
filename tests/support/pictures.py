"""Every page of a built book as a picture at two widths, and a table of what it weighs and what is wrong with it.

python tests/pictures.py _build/html pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from playwright.sync_api import Browser
from playwright.sync_api import sync_playwright
from support.browser import CHROMIUM
from support.browser import FLAGS
from test_book import AXE
from test_book import violations

WIDTHS = (1280, 360)


def look(browser: Browser, file: Path, folder: Path) -> dict[str, object]:
    """Take a page's pictures; its weight in kB, and how often axe-core, the console or the network complain."""
    asked, errors, found = [], [], []
    for width in WIDTHS:  # a page each: bars that slide away when a window is made narrow would be in the picture
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(120_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(file.as_uri())
        page.evaluate(AXE)
        found += violations(page)
        page.screenshot(path=folder / f"{file.stem}-{width}.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth")
        page.close()
    away = [url for url in asked if not url.startswith(("file:", "data:"))]
    return {"page": file.stem, "kB": file.stat().st_size // 1000, "serious or critical": len(found),
            "console": len(errors), "requests elsewhere": len(away), "pixels at 360": wide}  # fmt: skip


def main(html: Path, folder: Path) -> None:
    """Look at each page; print the table and what all of it weighs."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        pages = [file for file in sorted(html.glob("*.html")) if file.stem not in ("genindex", "search", "py-modindex")]
        table = pd.DataFrame([look(browser, file, folder) for file in pages]).set_index("page")
        browser.close()
    print(table.to_string())
    whole = sum(file.stat().st_size for file in html.rglob("*") if file.is_file())
    print(f"\n{len(table)} pages, {whole / 1e6:.1f} MB in all; heaviest page {table['kB'].max()} kB")


if __name__ == "__main__":
    main(*(Path(given).resolve() for given in sys.argv[1:3]))
