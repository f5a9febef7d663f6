"""Nothing slow is imported too early: the modules are checked, since a test of the clock would not be reliable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sernb

HEAVY = {"pandas", "numpy", "scipy", "sklearn", "librosa", "soundfile", "matplotlib", "keras", "tensorflow", "nlpaug"}
HEAVY |= {"yaml", "distributed", "dask", "nbformat", "papermill", "requests", "pooch", "rich", "IPython", "ipywidgets"}
HEAVY |= {"torch", "transformers"}
COMMANDS = ["corpora", "fetch", "check", "run", "sweep", "report", "cut", "withdraw", "predict"]


def imported(code: str) -> set[str]:
    """Return the packages that a fresh process has imported after some code."""
    listing = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{listing}"], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def call(*words: str) -> str:
    return f"from sernb.cli import app\ntry:\n    app({list(words)})\nexcept SystemExit:\n    pass\n"


def test_importing_sernb_imports_nothing_else():
    modules = imported("import sernb")
    assert "sernb" in modules and not modules & (HEAVY | {"typer", "platformdirs"})


def test_the_packages_are_imported_when_first_used():
    code = "import sernb; assert 'sernb.evaluation' not in sys.modules; sernb.evaluation.split_sizes"
    assert "numpy" in imported(f"import sys; {code}")
    packages = {path.parent.name for path in Path(sernb.__file__).parent.glob("*/__init__.py")}
    assert set(sernb.PACKAGES) == packages | {"cli"} and set(dir(sernb)) == {*sernb.PACKAGES, "__version__"}
    with pytest.raises(AttributeError, match="'sernb' has no attribute 'metrics'"):
        sernb.metrics  # noqa: B018


def test_help_imports_nothing_heavy():
    """One process shows the help of every command: what one of them imports stays imported."""
    modules = imported("".join(call(*words, "--help") for words in [[], *([command] for command in COMMANDS)]))
    assert "typer" in modules and not modules & HEAVY


def test_a_command_imports_what_it_needs():
    """`--help` does not import what a command imports in its body."""
    modules = imported(call("corpora"))
    assert {"pandas", "rich"} <= modules
    assert not modules & {"tensorflow", "keras", "librosa", "distributed", "papermill"}


def test_running_a_notebook_builds_no_grammar_of_web_addresses():
    """Jsonschema would build it with lark in two seconds, for papermill as for nbformat; afterwards it can be used."""
    code = "from sernb import runs; runs.import_nbformat(); import papermill"
    assert not imported(code) & {"lark", "rfc3987_syntax"}
    assert "lark" in imported(f"{code}; import rfc3987_syntax")


def test_speech_encoders_import_torch_only_when_one_is_used():
    modules = imported("from sernb import features, models, results; models.select_features(); features.FEATURES")
    assert "numpy" in modules and not modules & {"torch", "transformers", "huggingface_hub"}
