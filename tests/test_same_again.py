"""The same run twice gives the same results, and the same book twice the same figures, byte for byte."""

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
def test_same_run_twice_gives_the_same_results(tmp_path, monkeypatch):
    """The runs share only the code: each has a feature store and a folder of its own."""
    notebook = ROOT / "notebooks" / "02_crema_1d_vs_2d.ipynb"
    parameters = {"MAX_CLIPS": 60, "EPOCHS": 2, "MODELS": ["conv1d-b", "conv2d-a"]}
    results = []
    for name in ("first", "second"):
        monkeypatch.setenv("SERNB_CACHE", str(tmp_path / name / "cache"))
        runs.run_notebook(notebook, parameters, tmp_path / name / "run")
        results.append(kill.run_results(tmp_path / name))
    assert {Path(name).name for name in results[0]} == {"metrics.json", "predictions.csv", "history.csv", "inputs.json"}
    assert results[0] == results[1]


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
def test_same_book_twice_has_the_same_figures(tmp_path):
    """Runs and pages are made anew for each book: figures contain no name, date or random number."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "book").mkdir()
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    runs_file = tmp_path / "book" / "runs.yml"
    runs_file.write_text(yaml.safe_dump({"parts": [{"caption": "All", "chapters": CHAPTERS}]}))
    books = [figures(report.build_report(runs_file, tmp_path / name, workers=2).parent) for name in ("first", "second")]
    assert len(books[0]) >= 10 and books[0] == books[1]


def figures(html: Path) -> dict[str, bytes]:
    """Return all figures of a book, and its pages, which contain the players."""
    images = {path.name: path.read_bytes() for path in (html / "_images").iterdir()}
    return images | {path.name: path.read_bytes() for path in html.glob("*.html")}
