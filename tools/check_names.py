"""Refuse names that say nothing, and public names that two modules define: `python tools/check_names.py`."""

from __future__ import annotations

import ast
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("sernb", "notebooks", "book", "tests", "benchmarks", "tools")
# Participles and fillers: a variable is named after what it holds.
BANNED = set("told said found there made whose kept heard wanted given shown taken".split())
# One name, one meaning: `corpora.load` reads a corpus, `audio.load` reads a clip, as librosa's does.
SHARED = {"load"}


def main() -> int:
    """Print each banned name with its place and each doubled public name; return how many there are."""
    problems = [*banned_names(), *doubled_names()]
    print(*problems, sep="\n", end="\n" if problems else "")
    return len(problems)


def banned_names() -> Iterator[str]:
    """Yield `file:line: name` for each variable, parameter or function that has a banned name."""
    for file, tree in sources():
        for node in ast.walk(tree):
            if (name := bound_name(node)) in BANNED:
                yield f"{file}:{node.lineno}: {name!r} does not say what it holds: name it after that"


def bound_name(node: ast.AST) -> str:
    """Return the name that a node binds, or an empty string."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    if isinstance(node, ast.arg):
        return node.arg
    return node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""


def doubled_names() -> Iterator[str]:
    """Yield each public function or class of `sernb` that more than one module defines."""
    owners = defaultdict(list)
    for file in sorted((ROOT / "sernb").rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                owners[node.name].append(str(file.relative_to(ROOT)))
    for name, files in owners.items():
        if len(files) > 1 and name not in SHARED:
            yield f"{name!r} is defined in {' and '.join(files)}: say in the name what each one does"


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Yield each Python file and each notebook's code cells, parsed."""
    for file in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*")):
        if file.suffix == ".py":
            yield file.relative_to(ROOT), ast.parse(file.read_text(encoding="utf-8"))
        elif file.suffix == ".ipynb" and ".ipynb_checkpoints" not in file.parts:
            cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
            for cell in cells:
                if cell["cell_type"] == "code":
                    yield file.relative_to(ROOT), ast.parse("".join(cell["source"]))


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
