"""The same run twice gives the same figures, and the same book twice the same pictures, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from support import kill

from sernb import report
from sernb import runs

ROOT = Path(__file__).parents[1]


@pytest.mark.notebook
def test_the_same_run_twice_gives_the_same_figures(tmp_path, monkeypatch):
    """Nothing is shared but the code: each run has a feature store and a folder of its own."""
    notebook = ROOT / "notebooks" / "02_crema_1d_vs_2d.ipynb"
    given = {"MAX_CLIPS": 60, "EPOCHS": 2, "MODELS": ["conv1d-b", "conv2d-a"]}
    found = []
    for name in ("first", "second"):
        monkeypatch.setenv("SERNB_CACHE", str(tmp_path / name / "cache"))
        runs.run_notebook(notebook, given, tmp_path / name / "run")
        found.append(kill.run_results(tmp_path / name))
    assert {Path(name).name for name in found[0]} == {"metrics.json", "predictions.csv", "history.csv", "inputs.json"}
    assert found[0] == found[1]


CHAPTERS = [
    {
        "name": "heard",
        "notebook": "notebooks/01_explore.ipynb",
        "title": "Heard",
        "parameters": {"CORPUS": "demo-ravdess", "MAX_CLIPS": 30},
    },
    {"name": "claims", "notebook": "notebooks/04_claims.ipynb", "title": "Claims", "parameters": {"MAX_CLIPS": 200}},
]


@pytest.mark.report
def test_the_same_book_twice_has_the_same_pictures(tmp_path):
    """Runs and pages are made anew for each book: no name, no date and no chance may be in a picture."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "book").mkdir()
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    listed = tmp_path / "book" / "runs.yml"
    listed.write_text(yaml.safe_dump({"parts": [{"caption": "All", "chapters": CHAPTERS}]}))
    books = [pictures(report.build_report(listed, tmp_path / name, workers=2).parent) for name in ("first", "second")]
    assert len(books[0]) >= 10 and books[0] == books[1]


def pictures(html: Path) -> dict[str, bytes]:
    """All pictures of a book, and the players of its pages, which are within them."""
    found = {path.name: path.read_bytes() for path in (html / "_images").iterdir()}
    return found | {path.name: path.read_bytes() for path in html.glob("*.html")}
