"""Print the first page and the results of a built book as one PDF.

    make pdf   # or: python tools/make_pdf.py _build/html _build/results.pdf

Chromium prints the pages, joined into one; it must be installed.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from bs4 import BeautifulSoup

from sernb import report

ROOT = Path(__file__).parents[1]
ARTICLE = "article.bd-article"
SCALE = 0.75  # tables fit the width of a page
PRINT_CSS = """
section.page { break-before: page; }
/* The theme prints the title of the first page itself, and hides those of the articles. */
section.page h1 { display: block !important; }
figure, table { break-inside: avoid; }
h2, h3 { break-after: avoid; }
div.cell_output table.dataframe { font-size: 0.75rem; }
div.cell_output table.dataframe :is(td, th) { padding: 0.1rem 0.3rem; white-space: normal; }
div.cell_output table.dataframe td.words { min-width: 9rem; }
details, .prev-next-area, a.table-download, .admonition:has(> p.admonition-title + .highlight) { display: none; }
"""


def main() -> None:
    """Print the book that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("html", type=Path, nargs="?", default=ROOT / "_build" / "html")
    parser.add_argument("pdf", type=Path, nargs="?", default=ROOT / "_build" / "results.pdf")
    options = parser.parse_args()
    book = report.read_book(ROOT / "book" / "runs.yml")
    results = [chapter.name for chapter in book.parts[0][1]]
    joined = options.html / "_results.html"
    joined.write_text(join_pages(options.html, [book.first.name, *results]), encoding="utf-8")
    try:
        print_page(joined, options.pdf)
    finally:
        joined.unlink()
    print(options.pdf)


def join_pages(html: Path, names: list[str]) -> str:
    """Return the first of some pages with the articles of the others after its own."""
    pages = [BeautifulSoup((html / f"{name}.html").read_text(encoding="utf-8"), "html.parser") for name in names]
    article = pages[0].select_one(ARTICLE)
    for page in pages[1:]:
        section = page.select_one(ARTICLE)
        section.name, section["class"] = "section", "page"
        article.append(section)
    style = pages[0].new_tag("style")
    style.string = PRINT_CSS
    pages[0].head.append(style)
    return str(pages[0])


def print_page(page: Path, pdf: Path) -> None:
    """Print an HTML file with Chromium."""
    from playwright.sync_api import sync_playwright

    if not (chromium := shutil.which("chromium") or shutil.which("google-chrome")):
        raise SystemExit("make pdf needs Chromium: install the package `chromium`.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(color_scheme="light")
        view.goto(page.absolute().as_uri())
        margins = dict.fromkeys(("top", "bottom", "left", "right"), "18mm")
        view.pdf(path=pdf, format="A4", margin=margins, scale=SCALE, print_background=True)
        browser.close()


if __name__ == "__main__":
    main()
