"""What the notebooks pass on to notebook 03, read without running them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sernb import runs

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def passed_parameters(notebook: Path) -> set[str]:
    """The keys of all dictionaries that a notebook writes out, which include those of its `settings`."""
    code = "\n".join(cell.source for cell in runs.read_notebook(notebook).cells if cell.cell_type == "code")
    keys = [key for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Dict) for key in node.keys]
    return {key.value for key in keys if isinstance(key, ast.Constant)}


@pytest.mark.parametrize("name", ["05_trust", "06_listen"])
def test_a_changed_default_in_03_cannot_change_what_05_and_06_train(name):
    parameters = set(runs.notebook_parameters(NOTEBOOKS / "03_paper_replication.ipynb")) - {"OUTPUT_DIR"}
    assert parameters - passed_parameters(NOTEBOOKS / f"{name}.ipynb") == set()
