"""What the API reference shows runs: examples in docstrings, and the study in a few lines."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [file.stem for file in sorted((ROOT / "sernb").glob("*.py")) if ">>> " in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(f"sernb.{name}"))
    assert result.attempted and not result.failed


def test_some_modules_have_examples():
    assert {"corpora", "metrics", "splits"} <= set(MODULES)


def test_the_study_in_ten_lines():
    code = re.search(r"```python\n(.*?)```", (ROOT / "book" / "api.md").read_text(), flags=re.DOTALL)[1]
    found = {}
    exec(code, found)
    assert found["scores"]["speakers"] == 2 and 0.2 < found["scores"]["uar"] < 0.85
    assert len(found["clips"]) == 240 and len([line for line in code.splitlines() if line]) <= 10


def test_every_module_is_in_the_reference_on_its_floor():
    listed = {
        (name, int(page.stem[-1]))
        for page in (ROOT / "book").glob("api-floor-*.md")
        for name in re.findall(r"automodule:: sernb\.(\w+)", page.read_text())
    }
    floors = set()
    for file in set((ROOT / "sernb").glob("*.py")) - {ROOT / "sernb" / "__init__.py"}:
        told = re.match(r'"""Floor (\d):', file.read_text())
        floors.add((file.stem, int(told[1]) if told else 0))  # `demo` says it in its own words
    assert listed == floors
