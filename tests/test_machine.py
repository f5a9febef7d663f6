"""The cores that a process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sernb import utils

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system sets no affinity")
def test_cpu_count_is_that_of_the_affinity():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from sernb import utils; print(utils.cpu_count())"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "1"
    assert 1 <= utils.cpu_count() <= len(os.sched_getaffinity(0))


def test_no_module_counts_the_cores_of_the_whole_machine():
    files = [file for folder in ("sernb", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    assert not [file for file in files if "os.cpu_count" in file.read_text(encoding="utf-8")]
