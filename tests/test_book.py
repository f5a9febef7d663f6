"""The real book: every chapter of `book/runs.yml` on the demo corpora, as a reader gets it."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import soundfile
import yaml
from bs4 import BeautifulSoup
from support.accessibility import AXE
from support.accessibility import violations

from sernb import display
from sernb import report
from sernb import results

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.report


@pytest.fixture(scope="module")
def html() -> Path:
    """The book; runs that `make report` left fresh are taken over."""
    return report.build_report(ROOT / "book" / "runs.yml", ROOT / "_build").parent


def listed() -> dict[str, dict]:
    parts = yaml.safe_load((ROOT / "book" / "runs.yml").read_text())["parts"]
    return {chapter["name"]: chapter for part in parts for chapter in part["chapters"] if "name" in chapter}


def page(html: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((html / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


@pytest.mark.parametrize("name", listed())
def test_a_run_has_its_page_players_and_pictures(html, name):
    content = page(html, name).select_one("article")
    # Sphinx sets typographic apostrophes.
    assert content.h1.get_text().replace("\u2019", "'").startswith(listed()[name]["title"])
    assert "Synthetic speech" in content.get_text()
    players = content.select("audio[src]")
    # `claims` reads finished runs and has nothing to play; `trust` plays two right answers and two wrong ones.
    assert len(players) >= {"claims": 0, "trust": 4}.get(name, 6)
    for player in players:
        kind, data = player["src"].split(",", 1)
        heard, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert kind == "data:audio/mpeg;base64" and player["aria-label"]
        assert len(heard) / rate > 0.3 and 0.001 < abs(heard).max() <= 1.05
    pictures = content.select("img")
    assert len(pictures) >= 3
    assert all((html / picture["src"]).stat().st_size > 5000 and picture.get("alt") for picture in pictures)


def test_the_first_page_shows_the_reference_runs(html):
    text = page(html, "index").select_one("article").get_text()
    steps = results.pool_runs(results.read_sweep(ROOT / "book" / "results", "waterfall"), "label")
    for step in (steps.iloc[0], steps.iloc[-1]):
        assert display.format_with_interval(step) in text
    rows = [[cell.get_text() for cell in row.select("th, td")] for row in page(html, "index").select("tr")]
    found = [row for row in rows if "mean test" in row and "0.813" in row]
    assert len(found) == 1 and {"holds only with the leak", "not reached"} & set(found[0]), found


def test_figures_are_numbered_through_the_book_and_say_what_to_see(html):
    names = [chapter.name for chapter in report.read_book(ROOT / "book" / "runs.yml").chapters]
    said = [figure.figcaption.get_text() for name in names for figure in page(html, name).select("figure")]
    assert [int(re.match(r"\s*Figure (\d+)", text)[1]) for text in said] == list(range(1, len(said) + 1))
    assert len(said) > 60 and all(len(text) > 60 for text in said)
    for name in names:
        assert not [picture for picture in page(html, name).select("article img") if not picture.find_parent("figure")]


def test_no_page_shows_markup_that_was_not_read(html):
    """What a cell displays as Markdown knows no roles: `{doc}` would stand there as it is written."""
    for file in html.glob("*.html"):
        article = page(html, file.stem).select_one("article")
        for code in article.select("pre") if article else ():
            code.decompose()
        assert not re.search(r"\{(doc|term|cite|ref|numref)\}", article.get_text() if article else ""), file.name


def test_no_page_names_this_machine_or_is_heavy(html):
    for file in html.glob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert str(ROOT) not in text, file
        assert file.stat().st_size < 3_000_000, file
    assert sum(file.stat().st_size for file in html.rglob("*") if file.is_file()) < 25_000_000


def test_no_link_inside_the_book_is_dead(html):
    pages = {file.name: BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser") for file in html.glob("*.html")}
    places = {name: {part["id"] for part in found.select("[id]")} for name, found in pages.items()}
    dead = []
    for name, found in pages.items():
        for link in found.select("a[href]"):
            target, _, place = link["href"].partition("#")
            if re.match(r"(\w+:|//)", target) or not (target or place):
                continue
            target = unquote(target.partition("?")[0]) or name
            if not (html / target).is_file() or (place and unquote(place) not in places.get(target, ())):
                dead.append(f"{name}: {link['href']}")
    assert not dead


def test_a_browser_plays_the_page_and_asks_the_network_for_nothing(html, browser):
    page, asked, errors = browser.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((html / "explore-demo-crema.html").as_uri())
    page.evaluate("const first = document.querySelector('audio'); first.muted = true; first.play()")
    page.wait_for_function("document.querySelector('audio').currentTime > 0.1")
    assert 0.5 < page.evaluate("document.querySelector('audio').duration") < 8
    assert not errors
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]


@pytest.mark.parametrize("name", [chapter.name for chapter in report.read_book(ROOT / "book" / "runs.yml").chapters])
def test_everybody_can_read_the_page(html, browser, name):
    """By a screen reader, in the dark, on a phone; from a folder, with nothing to complain of in the console."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page, asked, errors = context.new_page(), [], []
    page.set_default_timeout(120_000)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((html / f"{name}.html").as_uri())
    page.evaluate(AXE)
    assert not violations(page)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme == 'dark'")
    assert not violations(page, '{runOnly: ["color-contrast"]}')
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 361
    assert not errors
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    context.close()
