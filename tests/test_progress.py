"""Progress bars of a notebook that a person runs: what they leave in the saved file."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from support import small_notebooks


def run_as_a_person(path: Path) -> list[list[nbformat.NotebookNode]]:
    """Run a notebook in a kernel that may ask for input, as JupyterLab's; return the outputs of each cell of code."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, allow_errors=True)
    with client.setup_kernel():
        client.kc.allow_stdin = True
        for i, cell in enumerate(notebook.cells):
            client.execute_cell(cell, i)
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def test_a_bar_leaves_no_widget_in_the_notebook(tmp_path):
    complete = "from sernb import utils\n\nfor _ in utils.progress_bar(range(3), desc='complete'):\n    pass"
    by_hand = "with utils.progress_bar(total=5, desc='by hand') as bar:\n    bar.update(5)"
    stopped = "for i in utils.progress_bar(range(4), desc='stopped'):\n    if i == 2:\n        raise ValueError"
    notebook = small_notebooks.write(tmp_path / "bars.ipynb", complete, by_hand, stopped)
    _, *finished, (bar, error) = run_as_a_person(notebook)
    assert [output["data"] for outputs in finished for output in outputs] == 2 * [{"text/plain": ""}]
    assert list(bar["data"]) == ["text/plain"] and bar["data"]["text/plain"].startswith("stopped:  50%")
    assert error["ename"] == "ValueError"


def test_a_run_that_is_started_in_a_notebook_leaves_no_widget_in_it(tmp_path):
    inner = small_notebooks.write(tmp_path / "inner.ipynb", small_notebooks.WRITE)
    start = f"from sernb import runs\n\nruns.run_notebook({str(inner)!r}, {{}}, {str(tmp_path / 'out')!r}, bar=True)"
    _, outputs = run_as_a_person(small_notebooks.write(tmp_path / "outer.ipynb", start))
    assert [output["data"]["text/plain"] for output in outputs][:1] == [""] and len(outputs) == 2
    assert (tmp_path / "out" / "result.txt").is_file()
