"""Kernels that are forked from a process with TensorFlow in it: one per run, alone, and gone when it should be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import small_notebooks

from sernb import runs
from sernb.runs import kernels
from sernb.runs import notebooks

pytestmark = [pytest.mark.notebook, pytest.mark.skipif(not kernels.CAN_FORK, reason="kernels are forked on Linux only")]

FACTS = """\
import json
import os
import random
import sys
from pathlib import Path

import numpy as np

loaded = "tensorflow" in sys.modules
import tensorflow as tf

facts = {
    "pid": os.getpid(), "parent": os.getppid(), "folder": os.getcwd(), "loaded": loaded,
    "random": [random.random(), float(np.random.rand())], "threads": os.environ["OMP_NUM_THREADS"],
    "sum": float(tf.reduce_sum(tf.random.stateless_normal((500, 500), seed=(1, 2)))),
}
Path(OUTPUT_DIR, "facts.json").write_text(json.dumps(facts))"""


def facts_of(notebook: Path, folder: Path, **options) -> dict:
    runs.run_notebook(notebook, {}, folder, **{"threads": 1, "fork": True, **options})
    return json.loads((folder / "facts.json").read_text())


def wait_until(condition, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_each_run_has_a_process_of_its_own_that_need_not_import(tmp_path: Path):
    notebook = small_notebooks.write(tmp_path / "a.ipynb", FACTS)
    one, two = (facts_of(notebook, tmp_path / name, cwd=tmp_path) for name in "12")
    fresh = facts_of(notebook, tmp_path / "3", cwd=tmp_path, fork=False)
    assert one["loaded"] and two["loaded"] and not fresh["loaded"]
    assert one["pid"] != two["pid"] and one["parent"] == two["parent"] != os.getpid() == fresh["parent"]
    assert one["folder"] == fresh["folder"] == str(tmp_path) and one["threads"] == "1"
    assert one["sum"] == two["sum"] == fresh["sum"]
    values = [value for facts in (one, two, fresh) for value in facts["random"]]
    assert len(set(values)) == len(values), "no two kernels have the same random numbers"
    assert wait_until(lambda: not psutil.pid_exists(two["pid"])), "a kernel ends with its run"


def test_a_kernel_that_dies_harms_no_other_and_a_server_that_dies_is_replaced(tmp_path: Path):
    notebook = small_notebooks.write(tmp_path / "a.ipynb", FACTS)
    dies = small_notebooks.write(tmp_path / "b.ipynb", "import os\n\nos._exit(1)")
    before = facts_of(notebook, tmp_path / "1")
    with pytest.raises(runs.RunError, match="DeadKernelError"):
        runs.run_notebook(dies, {}, tmp_path / "2", threads=1, fork=True)
    assert facts_of(notebook, tmp_path / "3")["parent"] == before["parent"]
    os.kill(before["parent"], signal.SIGKILL)
    assert facts_of(notebook, tmp_path / "4")["parent"] != before["parent"]


def test_only_notebooks_that_need_tensorflow_wait_for_a_server(tmp_path: Path):
    folder = Path(__file__).parents[1] / "notebooks"
    waits = {path.stem[:2]: notebooks.imports_tensorflow(path) for path in folder.glob("*.ipynb")}
    assert waits == {"01": False, "02": True, "03": True, "04": False, "05": True, "06": True, "07": True}
    assert notebooks.imports_tensorflow(small_notebooks.write(tmp_path / "a.ipynb", "1", "import tensorflow as tf"))


def test_a_forked_kernel_draws_in_its_notebook(tmp_path: Path):
    code = "import matplotlib.pyplot as plt\n\nplt.plot([1, 2]);"
    for fork in (True, False):
        executed = runs.run_notebook(
            small_notebooks.write(tmp_path / "a.ipynb", code), {}, tmp_path / str(fork), fork=fork
        )
        assert executed.read_text().count('"image/png"') == 1


RUN = """\
import sys
from pathlib import Path
from sernb import runs

runs.run_notebook(Path(sys.argv[1]), {}, Path(sys.argv[2]), fork=True)"""


def test_no_kernel_stays_when_the_run_is_killed(tmp_path: Path):
    code = "import os, time\nfrom pathlib import Path\n\nPath(OUTPUT_DIR, 'pid').write_text(str(os.getpid()))"
    notebook = small_notebooks.write(tmp_path / "a.ipynb", code, "time.sleep(600)")
    run = subprocess.Popen([sys.executable, "-c", RUN, str(notebook), str(tmp_path / "out")])
    file = tmp_path / "out" / "pid"
    assert wait_until(lambda: file.exists() and file.read_text(), 120)
    kernel = psutil.Process(int(file.read_text()))
    server = kernel.parent()
    run.kill()
    run.wait()
    assert wait_until(lambda: not kernel.is_running() and not server.is_running())
