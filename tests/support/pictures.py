"""Take screenshots of every page of a built book at two widths, and print a table of its size and problems.

From the folder tests: `python -m support.pictures ../_build/html pictures`
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from playwright.sync_api import Browser
from playwright.sync_api import sync_playwright
from support.accessibility import AXE
from support.accessibility import violations
from support.browser import CHROMIUM
from support.browser import FLAGS

WIDTHS = (1280, 360)


def inspect_page(browser: Browser, file: Path, folder: Path) -> dict[str, object]:
    """Save screenshots of a page; return its size in kB and the number of problems by kind."""
    requests, errors, problems = [], [], []
    for width in WIDTHS:  # a new page each: bars that slide away when a window is narrowed would be in the picture
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(120_000)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(file.as_uri())
        page.evaluate(AXE)
        problems += violations(page)
        page.screenshot(path=folder / f"{file.stem}-{width}.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth")
        page.close()
    external = [url for url in requests if not url.startswith(("file:", "data:"))]
    return {"page": file.stem, "kB": file.stat().st_size // 1000, "serious or critical": len(problems),
            "console": len(errors), "external requests": len(external), "pixels at 360": wide}  # fmt: skip


def main(html: Path, folder: Path) -> None:
    """Inspect each page; print the table and the size of the book."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        pages = [file for file in sorted(html.glob("*.html")) if file.stem not in ("genindex", "search", "py-modindex")]
        table = pd.DataFrame([inspect_page(browser, file, folder) for file in pages]).set_index("page")
        browser.close()
    print(table.to_string())
    size = sum(file.stat().st_size for file in html.rglob("*") if file.is_file())
    print(f"\n{len(table)} pages, {size / 1e6:.1f} MB in all; heaviest page {table['kB'].max()} kB")


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:3]))
