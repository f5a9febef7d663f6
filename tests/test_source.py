"""Digests of code change with what a result depends on, and with nothing else."""

from __future__ import annotations

import gc
import importlib
import itertools
import linecache
import os
import sys
import threading
from pathlib import Path

import pytest

from sernb import utils
from sernb.utils import source

NUMBERS = itertools.count()
NOTEBOOK_CELLS = {
    "imports": "import numpy as np\nfrom sernb.audio import pad as change",
    "constant": "FLOOR = -90.0",
    "helper": "def to_db(x):\n    return 20 * np.log10(x)\n",
    "function": """def loudness(signal, sample_rate):
    '''Return the level.'''
    # a comment
    return np.maximum(to_db(abs(change(signal, 9))), FLOOR)
""",
}
FILES = {
    "__init__.py": "",
    "audio/__init__.py": "from {package}.audio.loading import load\n",
    "audio/loading.py": """RATE = 16


def load(path):
    return _open(path) * RATE


def _open(path):
    return 1
""",
    "features.py": '''"""Features."""

from {package} import audio
from {package}.tables import TABLE as WEIGHTS

SCALE = 3
UNUSED = 4


def mfcc(x):
    """Return a number."""
    return audio.load(x) * SCALE * WEIGHTS[0]  # why


def mel(x):
    from {package}.audio import loading

    return loading.RATE + UNUSED


def named(x, name):
    return getattr(audio, name)(x)
''',
    "tables.py": "TABLE = [1]\nTABLE.append(2)\nOTHER = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The name and folder of a small package that can be imported."""
    name = f"toy{next(NUMBERS)}"
    for file, text in FILES.items():
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{package}", name))
    monkeypatch.syspath_prepend(tmp_path)
    return name, tmp_path / name


def changes(package: tuple[str, Path], function: str, file: str, old: str, new: str) -> bool:
    """Return whether the digest of a function of `features` changes when a text in a file is replaced."""
    module = importlib.import_module(f"{package[0]}.features")
    before = utils.source_digest([getattr(module, function)])
    path = package[1] / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return utils.source_digest([getattr(module, function)]) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("features.py", "* WEIGHTS[0]", "+ WEIGHTS[0]"),
        ("features.py", "SCALE = 3", "SCALE = 5"),
        ("audio/loading.py", "return 1", "return 2"),
        ("audio/loading.py", "RATE = 16", "RATE = 8"),
        ("tables.py", "[1]", "[3]"),
        ("tables.py", "append(2)", "append(22)"),
    ],
)
def test_digest_changes_with_function_and_what_it_uses(package, file, old, new):
    assert changes(package, "mfcc", file, old, new)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("features.py", "# why", "# another comment"),
        ("features.py", "Return a number.", "Return a float."),
        ("features.py", '    """Return a number."""\n', ""),
        ("features.py", '"""Features."""', '"""Some features."""'),
        ("features.py", "UNUSED = 4", "UNUSED = 5"),
        ("tables.py", "OTHER = 1", "OTHER = 2"),
        ("__init__.py", "", "VERSION = 2"),
    ],
)
def test_digest_does_not_change_with_comments_docstrings_and_other_code(package, file, old, new):
    assert not changes(package, "mfcc", file, old, new)


def test_imports_inside_functions_are_followed(package):
    assert changes(package, "mel", "audio/loading.py", "RATE = 16", "RATE = 8")


def test_module_used_by_a_name_that_is_not_in_the_code_counts_as_a_whole(package):
    assert changes(package, "named", "audio/loading.py", "return 1", "return 2")


def test_code_digest_covers_what_a_piece_of_code_uses_of_the_package(package):
    name, folder = package
    code = f"from {name} import features\n\nprint(features.mel(1))"
    before = utils.code_digest(code, name)
    assert utils.code_digest(code + "  # shown", name) == before
    (folder / "tables.py").write_text("TABLE = [7]\n")
    assert utils.code_digest(code, name) == before, "mel does not use it"
    (folder / "audio" / "loading.py").write_text("RATE = 9\n")
    assert utils.code_digest(code, name) != before


def test_file_changed_after_the_start_gives_a_digest_of_this_process_only(package, monkeypatch):
    module = importlib.import_module(f"{package[0]}.features")
    for file in package[1].rglob("*.py"):
        os.utime(file, (source.STARTED - 10, source.STARTED - 10))
    digest = utils.source_digest([module.mel])
    monkeypatch.setattr(source, "PROCESS", "another process")
    assert utils.source_digest([module.mel]) == digest
    os.utime(package[1] / "audio" / "loading.py")
    changed = utils.source_digest([module.mel])
    monkeypatch.setattr(source, "PROCESS", "a third process")
    assert utils.source_digest([module.mel]) != changed


def test_function_without_a_file_has_a_new_digest_each_time():
    scope = {"__name__": "__main__"}
    exec("def mine(signal):\n    return helper(signal)", scope)  # noqa: S102
    scope["mine"].__module__ = "no_such_module"
    assert utils.source_digest([scope["mine"]]) != utils.source_digest([scope["mine"]])


def run_cell(code: str, scope: dict) -> None:
    """Run code as a notebook's cell, whose source `inspect` finds without a file."""
    name = f"/no/such/folder/cell-{next(NUMBERS)}.py"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    exec(compile(code, name, "exec"), scope)  # noqa: S102


def test_function_of_a_notebook_has_the_digest_of_its_code_and_of_what_it_uses():
    def digest(**changed: str) -> str:
        scope, cells = {"__name__": "__main__"}, NOTEBOOK_CELLS | changed
        for code in cells.values():
            run_cell(code, scope)
        return utils.source_digest([scope["loudness"]])

    first = digest()
    assert digest() == first == digest(function=NOTEBOOK_CELLS["function"].replace("# a comment", "# another"))
    assert digest(constant="FLOOR = -80.0") != first, "a value of another cell counts"
    assert digest(helper="def to_db(x):\n    return 10 * np.log10(x)\n") != first, "and so does a function"
    assert digest(imports="import numpy as np\nfrom sernb.audio import resample as change") != first
    unknown = (
        {"constant": "FLOOR = np.full(3, -90.0)"},
        {"constant": "from sernb.features import InputSpec\nFLOOR = InputSpec('mel', 16000, {})"},
        {"function": "def build(n):\n    return lambda signal, sample_rate: n * signal\n\nloudness = build(3)\n"},
    )
    for cells in unknown:
        assert digest(**cells) != digest(**cells), "a value that a digest cannot tell"
    lambdas = "double = lambda x: 2 * x\ntriple = lambda x: {} * x\n\ndef to_db(x):\n    return triple(double(x))\n"
    assert digest(helper=lambdas.format(3)) != digest(helper=lambdas.format(4))
    other = lambdas.replace("2 * x", "5 * x").format(3)
    assert digest(helper=other) != digest(helper=lambdas.format(3)), "functions with the same name count each"


@pytest.mark.slow
def test_several_threads_may_parse_at_once():
    """`ast.parse` raises SystemError where another thread parses while the garbage collector runs Python code."""

    class Node:
        def __init__(self):
            self.itself = self

        def __del__(self):
            for _ in range(50):
                pass

    text, errors, before = Path(source.__file__).read_text(), [], (sys.getswitchinterval(), gc.get_threshold())

    def work():
        for _ in range(100):
            Node()
            try:
                utils.parse_code(text)
            except SystemError as error:
                errors.append(error)

    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    threads = [threading.Thread(target=work) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before[0])
        gc.set_threshold(*before[1])
    assert errors == []
