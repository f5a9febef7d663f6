"""Kernels forked from a process that has imported TensorFlow: one per run, apart from others, ended with its run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_client.connect import write_connection_file
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
from ipykernel.connect import get_connection_info

loaded = "tensorflow" in sys.modules
import tensorflow as tf

facts = {
    "pid": os.getpid(), "parent": os.getppid(), "folder": os.getcwd(), "loaded": loaded,
    "transport": get_connection_info(unpack=True)["transport"],
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


def test_each_forked_kernel_is_a_process_of_its_own_with_tensorflow_imported(tmp_path: Path):
    notebook = small_notebooks.write(tmp_path / "a.ipynb", FACTS)
    one, two = (facts_of(notebook, tmp_path / name, cwd=tmp_path) for name in "12")
    fresh = facts_of(notebook, tmp_path / "3", cwd=tmp_path, fork=False)
    assert one["loaded"] and two["loaded"] and not fresh["loaded"]
    assert one["pid"] != two["pid"] and one["parent"] == two["parent"] != os.getpid() == fresh["parent"]
    assert one["folder"] == fresh["folder"] == str(tmp_path) and one["threads"] == "1"
    assert one["sum"] == two["sum"] == fresh["sum"]
    assert one["transport"] == fresh["transport"] == "ipc", "another program could take a TCP port first"
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


def test_without_a_server_a_fresh_kernel_does_the_same(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(kernels, "SERVER", tmp_path / "missing.py")
    monkeypatch.setenv("OTHER", "environment")  # so that no running server fits
    notebook = small_notebooks.write(tmp_path / "a.ipynb", FACTS)
    assert not facts_of(notebook, tmp_path / "1")["loaded"]


@pytest.mark.parametrize("seconds", [0.5, 3, 12])
def test_an_interrupt_ends_a_sweep_whose_kernels_are_still_starting(tmp_path: Path, seconds: float):
    code = "import keras\nimport time\n\ntime.sleep(600)"
    small_notebooks.write(tmp_path / "a.ipynb", code)
    (tmp_path / "grid.yml").write_text("notebook: a.ipynb\ngrid: {SEED: [1, 2, 3]}\n")
    command = [sys.executable, "-m", "sernb", "sweep", "grid.yml", "-o", "out", "--workers", "2"]
    sweep = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True)
    assert wait_until(lambda: list(tmp_path.glob("out/*/run.json")), 60)
    time.sleep(seconds)
    os.killpg(sweep.pid, signal.SIGINT)
    _, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 130 and "the same command continues" in errors and "Traceback" not in errors
    assert wait_until(lambda: not [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(tmp_path)])


def test_only_notebooks_that_need_tensorflow_wait_for_a_server(tmp_path: Path):
    folder = Path(__file__).parents[1] / "notebooks"
    waits = {path.stem[:2]: notebooks.uses_tensorflow(path) for path in folder.glob("*.ipynb")}
    assert waits == {"01": False, "02": True, "03": True, "04": False, "05": True, "06": True, "07": True}
    for code in (
        "import numpy, keras",
        "if True:\n    from sernb.models import fit",
        "from sernb import audio, models",
    ):
        assert notebooks.uses_tensorflow(small_notebooks.write(tmp_path / "a.ipynb", "1", code))
    assert not notebooks.uses_tensorflow(small_notebooks.write(tmp_path / "a.ipynb", "from sernb import audio"))


def test_tensorflow_warns_in_the_notebook_as_in_a_fresh_kernel(tmp_path: Path, capfd):
    code = "import logging\nimport keras\n\nlogging.getLogger('tensorflow').warning('a warning')"
    notebook = small_notebooks.write(tmp_path / "a.ipynb", code)
    streams = []
    for fork in (True, False):
        executed = runs.run_notebook(notebook, {}, tmp_path / str(fork), fork=fork)
        outputs = nbformat.read(executed, as_version=4).cells[-1].outputs
        streams.append([output["name"] for output in outputs if "a warning" in output["text"]])
    assert streams == [["stdout"], ["stdout"]] and "a warning" not in capfd.readouterr().err


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


def test_a_kernel_whose_server_has_ended_does_not_stay(tmp_path: Path):
    file, _ = write_connection_file(str(tmp_path / "kernel.json"), transport="ipc", ip=str(tmp_path / "kernel"))
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", file]
    code = f"""\
import os
import time
from sernb.runs import kernel_server

server, kernel = os.getpid(), os.fork()
if kernel == 0:
    time.sleep(0.5)
    kernel_server._become_kernel(server, {{}}, {command}, dict(os.environ), {str(tmp_path)!r})
print(kernel)"""
    devnull = subprocess.DEVNULL
    server = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=devnull, text=True, timeout=60)
    assert wait_until(lambda: not psutil.pid_exists(int(server.stdout)))
