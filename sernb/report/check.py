"""Checks of a built book: broken links, missing pages, network use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from sernb.report.contents import Book

FETCHING_ATTRIBUTES = {"script", "img", "audio", "video", "source", "iframe", "embed", "object", "track", "link"}
FETCHING_LINKS = {"stylesheet", "preload", "modulepreload", "preconnect", "dns-prefetch", "icon", "manifest"}
BROKEN_MARKS = ("Traceback (most recent call last)", "Executing", "An Exception was encountered at")


# the book is read again


def check_book(html: Path, book: Book) -> Iterator[str]:
    """What is wrong with a built book, a line each: pages missing or broken, players without sound, network use."""
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
    reader = PageReader()
    reader.feed(page.read_text(encoding="utf-8"))
    yield from (f"it says {words!r}" for words in BROKEN_MARKS if words in reader.text)
    if reader.silent:
        yield f"{reader.silent} audio players without sound"
    for address in reader.fetched:
        if re.match(r"(https?:)?//", address):
            yield f"it fetches {address} from the network"
        elif not address.startswith(("data:", "blob:", "#")) and not _resolve(page, address).is_file():
            yield f"{address} is missing"


def _resolve(page: Path, address: str) -> Path:
    return page.parent / unquote(re.split(r"[?#]", address)[0])


class PageReader(HTMLParser):
    """What a page says (`words`), what a browser fetches to show it (`fetched`), how many players are `silent`."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.fetched: list[str] = []
        self.silent = 0
        self._open = {"script": False, "style": False, "audio": False}
        self._sounds = False

    @property
    def text(self) -> str:
        """All that a reader reads."""
        return "".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element fetches."""
        found = {name: value or "" for name, value in attrs}
        address = found.get({"link": "href", "object": "data"}.get(tag, "src"), "")
        if (
            address
            and tag in FETCHING_ATTRIBUTES
            and (tag != "link" or FETCHING_LINKS & set(found.get("rel", "").split()))
        ):
            self.fetched.append(address)
        if tag == "audio":
            self._sounds = False
        self._open |= {tag: True} if tag in self._open else {}
        self._sounds |= bool(address) and self._open["audio"]

    def handle_endtag(self, tag: str) -> None:
        """Leave a script, a style or a player."""
        self._open |= {tag: False} if tag in self._open else {}
        self.silent += tag == "audio" and not self._sounds

    def handle_data(self, data: str) -> None:
        """Collect what a reader reads."""
        if not (self._open["script"] or self._open["style"]):
            self.words.append(data)
