"""The quick tier's walk along the whole path: a notebook is executed, and a run becomes a page."""

from __future__ import annotations

import shutil
from pathlib import Path

import papermill
from bs4 import BeautifulSoup
from support import small_notebooks

from sernb import report

ROOT = Path(__file__).parents[1]
BOOK = """\
parts:
  - caption: Hear
    chapters:
      - {name: hear, notebook: notebooks/small.ipynb, title: Hear a tone, parameters: {SEED: 7}}
"""


def test_plain_papermill_executes_the_first_notebook(tmp_path: Path):
    parameters = {"CORPUS": "demo-ravdess", "MAX_CLIPS": 16, "OUTPUT_DIR": str(tmp_path / "tables")}
    notebook = papermill.execute_notebook(
        ROOT / "notebooks" / "01_explore.ipynb", tmp_path / "out.ipynb", parameters, progress_bar=False
    )
    html = [
        output.get("data", {}).get("text/html", "") for cell in notebook.cells for output in cell.get("outputs", [])
    ]
    assert sum(text.count("<audio") for text in html) >= 8
    assert len((tmp_path / "tables" / "clips.csv").read_text().splitlines()) == 17


def test_a_run_becomes_a_page(tmp_path: Path):
    small_notebooks.write(tmp_path / "notebooks" / "small.ipynb", small_notebooks.WRITE, small_notebooks.PLAYER)
    shutil.copytree(ROOT / "book" / "_static", tmp_path / "book" / "_static")
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "book" / "runs.yml").write_text(BOOK)
    page = report.build_report(tmp_path / "book" / "runs.yml", tmp_path / "_build")
    soup = BeautifulSoup(page.with_name("hear.html").read_text(encoding="utf-8"), "html.parser")
    assert soup.h1.get_text().startswith("Hear a tone")
    assert len(soup.select("audio")) == 1 and "SEED = 7" in soup.get_text()
    assert page.with_name(".nojekyll").is_file(), "GitHub Pages would leave out _static and _images"
