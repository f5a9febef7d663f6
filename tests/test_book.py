"""The real book: every chapter of `book/runs.yml` on the demo corpora, as readers see it."""

from __future__ import annotations

import base64
import copy
import io
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
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
    """Return the folder of the book; runs of `make report` that are up to date are reused."""
    return report.build_report(ROOT / "book" / "runs.yml", ROOT / "_build").parent


def listed() -> dict[str, dict]:
    parts = yaml.safe_load((ROOT / "book" / "runs.yml").read_text())["parts"]
    return {chapter["name"]: chapter for part in parts for chapter in part["chapters"] if "name" in chapter}


@cache
def page(html: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((html / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


@pytest.mark.parametrize("name", listed())
def test_a_run_has_its_page_players_and_images(html, name):
    content = page(html, name).select_one("article")
    # Sphinx sets typographic apostrophes.
    assert content.h1.get_text().replace("\u2019", "'").startswith(listed()[name]["title"])
    assert "Synthetic speech" in content.get_text()
    players = content.select("audio[src]")
    # `claims` reads finished runs and has nothing to play; `trust` plays two correct and two wrong predictions.
    assert len(players) >= {"claims": 0, "trust": 4}.get(name, 6)
    for player in players:
        kind, data = player["src"].split(",", 1)
        signal, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert kind == "data:audio/mpeg;base64" and player["aria-label"]
        assert len(signal) / rate > 0.3 and 0.001 < abs(signal).max() <= 1.05
    pictures = content.select("img")
    assert len(pictures) >= 3
    assert all((html / picture["src"]).stat().st_size > 5000 and picture.get("alt") for picture in pictures)


def test_the_first_page_shows_the_reference_runs(html):
    text = page(html, "index").select_one("article").get_text()
    steps = results.pool_runs(results.read_sweep(ROOT / "book" / "results", "waterfall"), "label")
    for step in (steps.iloc[0], steps.iloc[-1]):
        assert display.format_with_interval(step) in text
    rows = [[cell.get_text() for cell in row.select("th, td")] for row in page(html, "index").select("tr")]
    claims = [row for row in rows if "mean test" in row and "0.813" in row]
    assert len(claims) == 1 and {"holds only with the leak", "not reached"} & set(claims[0]), claims


def test_demo_pages_say_so_in_their_title_and_first_lines(html):
    for file in html.glob("*.html"):
        if not (article := page(html, file.stem).select_one("article")) or not article.h1:
            continue
        first = article.h1.find_next(["p", "blockquote"]).get_text().strip()
        assert article.h1.get_text().startswith("Demo:") == first.startswith("Demo page."), file.name


def test_the_leaky_split_scores_well_above_the_clean_one(html):
    rows = [[cell.get_text() for cell in row.select("th, td")] for row in page(html, "demo-leak").select("tr")]
    leaky, clean = (float(next(row for row in rows if row[0] == name)[-1].split()[0]) for name in ("leaky", "clean"))
    assert leaky > clean + 0.1 and clean > 0.25


def test_figures_are_numbered_through_the_book_and_have_captions(html):
    names = [chapter.name for chapter in report.read_book(ROOT / "book" / "runs.yml").chapters]
    captions = [figure.figcaption.get_text() for name in names for figure in page(html, name).select("figure")]
    assert [int(re.match(r"\s*Figure (\d+)", text)[1]) for text in captions] == list(range(1, len(captions) + 1))
    assert len(captions) > 40 and all(len(text) > 60 for text in captions)
    for name in names:
        assert not [picture for picture in page(html, name).select("article img") if not picture.find_parent("figure")]


def test_no_page_shows_raw_markup(html):
    """Markdown that a cell displays cannot contain roles: `{doc}` would be shown as it is."""
    for file in html.glob("*.html"):
        article = copy.copy(page(html, file.stem).select_one("article"))
        outputs = article.select(".cell_output pre") if article else ()
        assert not any("<Figure size" in output.get_text() for output in outputs), file.name  # drawn in another cell
        for code in article.select("pre") if article else ():
            code.decompose()
        assert not re.search(r"\{(doc|term|cite|ref|numref)\}|\$\$", article.get_text() if article else ""), file.name


def test_no_page_names_this_machine_or_is_large(html):
    for file in html.glob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert str(ROOT) not in text, file
        assert file.stat().st_size < 3_000_000, file
    assert sum(file.stat().st_size for file in html.rglob("*") if file.is_file()) < 25_000_000


def test_no_link_inside_the_book_is_dead(html):
    pages = {file.name: page(html, file.stem) for file in html.glob("*.html")}
    anchors = {name: {part["id"] for part in soup.select("[id]")} for name, soup in pages.items()}
    dead = []
    for name, soup in pages.items():
        for link in soup.select("a[href]"):
            target, _, anchor = link["href"].partition("#")
            if re.match(r"(\w+:|//)", target) or not (target or anchor):
                continue
            target = unquote(target.partition("?")[0]) or name
            if not (html / target).is_file() or (anchor and unquote(anchor) not in anchors.get(target, ())):
                dead.append(f"{name}: {link['href']}")
    assert not dead


def test_a_browser_plays_the_page_without_network_requests(html, browser):
    page, requests, errors = browser.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((html / "explore-demo-crema.html").as_uri())
    page.evaluate("const first = document.querySelector('audio'); first.muted = true; first.play()")
    page.wait_for_function("document.querySelector('audio').currentTime > 0.1")
    assert 0.5 < page.evaluate("document.querySelector('audio').duration") < 8
    assert not errors
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]


def test_a_table_is_downloaded_as_csv(html, browser, tmp_path):
    page = browser.new_page()
    page.goto((html / "index.html").as_uri())
    table = page.locator("article table.dataframe").first
    with page.expect_download() as download:
        page.locator("a.table-download").first.click()
    download.value.save_as(tmp_path / "table.csv")
    frame = pd.read_csv(tmp_path / "table.csv")
    assert download.value.suggested_filename == "index-table-1.csv"
    assert list(frame) == [name.strip() or "Unnamed: 0" for name in table.locator("thead th").all_inner_texts()]
    assert len(frame) == table.locator("tbody tr").count()


def names_to_look_at() -> list[str]:
    """Name each page; of the long and uniform API reference, two packages."""
    chapters = report.read_book(ROOT / "book" / "runs.yml").chapters
    return [
        chapter.name for chapter in chapters if not chapter.is_reference or chapter.name in ("api-audio", "api-cli")
    ]


@pytest.mark.parametrize("name", names_to_look_at())
def test_the_page_is_accessible(html, browser, name):
    """Check it with axe-core, in dark mode, at a phone's width; from a folder, without errors in the console."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page, requests, errors = context.new_page(), [], []
    page.set_default_timeout(120_000)
    page.on("request", lambda request: requests.append(request.url))
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
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]
    context.close()
