"""Checks of a built book: missing pages, errors on pages, silent players, anything fetched from the network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from bs4 import BeautifulSoup

from sernb.report.contents import Book

# The attribute by which an element fetches something; a link does so only if it is of one of the kinds below.
FETCHING_ATTRIBUTES = {
    **dict.fromkeys(("script", "img", "audio", "video", "source", "iframe", "embed", "track"), "src"),
    "object": "data",
    "link": "href",
}
FETCHING_LINKS = {"stylesheet", "preload", "modulepreload", "preconnect", "dns-prefetch", "icon", "manifest"}
BROKEN_MARKS = ("Traceback (most recent call last)", "Executing", "An Exception was encountered at")


def check_book(html: Path, book: Book) -> Iterator[str]:
    """Yield a line for each problem of a built book."""
    for chapter in book.chapters:
        page = html / f"{chapter.name}.html"
        if not page.is_file():
            yield f"{page.name}: the page is missing"
            continue
        yield from (f"{page.name}: {problem}" for problem in _page_problems(page))
    for sheet in html.rglob("*.css"):
        if re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8", errors="replace")):
            yield f"{sheet.relative_to(html)}: fetches from the network"


def _page_problems(page: Path) -> Iterator[str]:
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    text = soup.get_text()  # without scripts and styles
    yield from (f"it contains {mark!r}" for mark in BROKEN_MARKS if mark in text)
    silent = [player for player in soup("audio") if not (player.get("src") or player.select_one("[src]:not([src=''])"))]
    if silent:
        yield f"{len(silent)} audio players without sound"
    for address in _fetched_addresses(soup):
        if re.match(r"(https?:)?//", address):
            yield f"it fetches {address} from the network"
        elif not address.startswith(("data:", "blob:", "#")) and not _resolve(page, address).is_file():
            yield f"{address} is missing"


def _fetched_addresses(soup: BeautifulSoup) -> Iterator[str]:
    """Yield what a browser fetches to show a page."""
    for element in soup(list(FETCHING_ATTRIBUTES)):
        if element.name != "link" or FETCHING_LINKS & set(element.get("rel", ())):
            if address := element.get(FETCHING_ATTRIBUTES[element.name]):
                yield address


def _resolve(page: Path, address: str) -> Path:
    return page.parent / unquote(re.split(r"[?#]", address)[0])
