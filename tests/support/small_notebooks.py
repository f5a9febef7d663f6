"""Notebooks of a few cells for the tests of runs and report: no TensorFlow, a kernel start each."""

from __future__ import annotations

from pathlib import Path

import nbformat

PARAMETERS = """\
CORPUS = "demo-crema"  # is not read
SPLIT = "75:15:10"
OUTPUT_DIR = ""
SEED = 1  # a comment
RATE = 0.5
LOUD = True
MODELS = ["a"]"""
WRITE = "from pathlib import Path\n\nPath(OUTPUT_DIR, 'result.txt').write_text(f'{SEED} {SPLIT} {MODELS}')"
PLAYER = """\
import numpy as np
from IPython.display import Audio

Audio(np.sin(np.arange(4000) / 20), rate=8000)"""


def write(path: Path, *code: str, title: str = "A title", parameters: str = PARAMETERS) -> Path:
    """Write a notebook: a heading, a cell tagged `parameters`, and cells of code."""
    cells = [nbformat.v4.new_markdown_cell(f"# {title}\n\nWhat one learns.")]
    cells += [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in code]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def touch(path: Path) -> None:
    """Change a notebook's source a little."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += "\n# changed"
    nbformat.write(notebook, path)
