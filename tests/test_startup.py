"""What is imported before anything is done: the modules that cost time, since a test of the clock is not reliable."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"pandas", "numpy", "scipy", "sklearn", "librosa", "soundfile", "matplotlib", "keras", "tensorflow", "nlpaug"}
HEAVY |= {"yaml", "distributed", "dask", "nbformat", "papermill", "requests", "pooch", "rich", "IPython", "ipywidgets"}
COMMANDS = ["corpora", "fetch", "check", "run", "sweep", "report", "predict"]


def imported(code: str) -> set[str]:
    """The packages that a fresh process has imported after some code."""
    tell = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{tell}"], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def asked(*words: str) -> str:
    return f"from sernb.cli import app\ntry:\n    app({list(words)})\nexcept SystemExit:\n    pass"


def test_importing_sernb_imports_nothing_else():
    modules = imported("import sernb")
    assert "sernb" in modules and not modules & (HEAVY | {"typer", "platformdirs"})


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_imports_nothing_heavy(words):
    modules = imported(asked(*words))
    assert "typer" in modules and not modules & HEAVY


def test_a_command_imports_what_it_needs():
    """What is imported inside of a command is not missed by `--help`."""
    modules = imported(asked("corpora"))
    assert {"pandas", "rich"} <= modules
    assert not modules & {"tensorflow", "keras", "librosa", "distributed", "papermill"}
