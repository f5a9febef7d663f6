"""The code that the API reference shows runs: examples in docstrings, and the study in a few lines."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import sernb

ROOT = Path(__file__).parents[1]
FILES = [file.relative_to(ROOT) for file in sorted((ROOT / "sernb").rglob("*.py")) if ">>> " in file.read_text("utf-8")]
MODULES = [".".join(file.with_suffix("").parts) for file in FILES]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted and not result.failed


def test_some_modules_have_examples():
    assert {"sernb.corpora.filenames", "sernb.evaluation.splits"} <= set(MODULES)


@pytest.mark.slow
def test_the_study_in_ten_lines():
    code = re.search(r"```python\n(.*?)```", (ROOT / "book" / "api.md").read_text(), flags=re.DOTALL)[1]
    names = {}
    exec(code, names)
    assert names["scores"]["speakers"] == 2 and 0.2 < names["scores"]["uar"] < 0.85
    assert len(names["clips"]) == 240 and len([line for line in code.splitlines() if line]) <= 10


@pytest.mark.slow
def test_a_model_of_ones_own_and_predictions_of_another_toolkit(tmp_path, monkeypatch, own_features):
    monkeypatch.chdir(tmp_path)
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda output, **_: outputs.append(output))
    *own_models, scoring = re.findall(r"```python\n(.*?)```", (ROOT / "book" / "use.md").read_text(), flags=re.DOTALL)
    names = {}
    for code in own_models:
        exec(code, names)
    assert {path.name for path in Path("runs").glob("*/*.*") if path.suffix in (".joblib", ".keras")} == {
        "forest.joblib", "mine.keras",
    }  # fmt: skip
    theirs = sernb.models.svm_predictions(names["rows"], names["labels"])
    theirs = theirs[theirs["split"] == "test"]
    theirs = theirs.assign(clip=theirs["clip"].map(lambda clip: Path(clip).name))
    theirs[["clip", "prediction"]].to_csv("theirs.csv", index=False)
    exec(scoring, names)
    assert names["scored"].comparison.rows == len(theirs) and len(outputs) > 5


def test_the_table_of_packages_is_complete_and_in_order():
    table = (ROOT / "book" / "api.md").read_text()
    assert tuple(re.findall(r"^\| \{py:mod\}`~sernb\.(\w+)`", table, flags=re.MULTILINE)) == sernb.PACKAGES
