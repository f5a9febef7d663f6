"""The real book: every chapter of `book/runs.yml` on the demo corpora, as a reader gets it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile
import yaml
from bs4 import BeautifulSoup

from sernb import report

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.report


@pytest.fixture(scope="module")
def html() -> Path:
    """The book; runs that `make report` left fresh are taken over."""
    return report.build(ROOT / "book" / "runs.yml", ROOT / "_build").parent


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
    assert len(players) >= 6
    for player in players:
        kind, data = player["src"].split(",", 1)
        heard, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert kind == "data:audio/mpeg;base64" and player["aria-label"]
        assert len(heard) / rate > 0.3 and 0.001 < abs(heard).max() <= 1.05
    pictures = content.select("img")
    assert len(pictures) >= 4
    assert all((html / picture["src"]).stat().st_size > 5000 and picture.get("alt") for picture in pictures)


def test_the_first_page_shows_the_reference_runs(html):
    text = page(html, "index").select_one("article").get_text()
    results = {
        file.parent.name: json.loads(file.read_text()) for file in (ROOT / "book/results").glob("*/metrics.json")
    }
    for name in ("paper-random", "paper-speaker"):
        assert f"{results[name]['models']['paper-cnn']['test']['accuracy']:.3f}" in text
    assert "0.813" in text


def test_no_page_names_this_machine_or_is_heavy(html):
    for file in html.glob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert str(ROOT) not in text, file
        assert file.stat().st_size < 3_000_000, file


@pytest.mark.skipif(not shutil.which("chromium"), reason="no Chromium on this machine (apt-get install chromium)")
def test_a_browser_can_play_what_the_page_holds(html, tmp_path):
    """Chromium itself opens a page, loads the first player's sound and says how long it is."""
    source = (html / "explore-demo-crema.html").read_text(encoding="utf-8")
    script = """<script>window.addEventListener("load", () => {
      const a = document.querySelector("audio"); a.preload = "auto"; a.load();
      a.addEventListener("canplaythrough", () => { document.title = "plays " + a.duration; });
    });</script></body>"""
    (tmp_path / "page.html").write_text(source.replace("</body>", script), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000", "--dump-dom",
               (tmp_path / "page.html").as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seconds = float(re.search(r"<title>plays ([\d.]+)", done.stdout)[1])
    assert 0.5 < seconds < 8
