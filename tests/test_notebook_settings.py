"""What notebooks pass on to the notebooks that they run, read without running them."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from support import small_notebooks

from sernb import runs
from sernb.runs import freshness

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def passed_parameters(notebook: Path) -> set[str]:
    """Return the keys of all dictionaries that a notebook writes out; those of its settings are among them."""
    code = "\n".join(cell.source for cell in runs.read_notebook(notebook).cells if cell.cell_type == "code")
    keys = [key for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Dict) for key in node.keys]
    return {key.value for key in keys if isinstance(key, ast.Constant)}


TRAINED_BY = [
    ("05_trust", "03_paper_replication"), ("06_listen", "03_paper_replication"), ("06_listen", "07_unseen_speakers"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "trained_by"), TRAINED_BY)
def test_a_changed_default_in_another_notebook_cannot_change_what_05_and_06_train(name, trained_by):
    parameters = set(runs.notebook_parameters(NOTEBOOKS / f"{trained_by}.ipynb")) - {"OUTPUT_DIR"}
    assert parameters - passed_parameters(NOTEBOOKS / f"{name}.ipynb") == set()


@pytest.mark.parametrize(("name", "trained_by"), TRAINED_BY)
def test_a_notebook_is_run_again_when_one_that_it_runs_has_changed(tmp_path, name, trained_by):
    for file in (f"{name}.ipynb", f"{trained_by}.ipynb"):
        shutil.copy(NOTEBOOKS / file, tmp_path)
    before = freshness.notebook_digest(tmp_path / f"{name}.ipynb")
    small_notebooks.touch(tmp_path / f"{trained_by}.ipynb")
    assert freshness.notebook_digest(tmp_path / f"{name}.ipynb") != before
