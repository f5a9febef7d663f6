"""Sweeps on real Dask clusters, with workers killed; the notebooks are small ones that need no TensorFlow."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from support import small_notebooks

from sernb import results
from sernb import runs
from sernb import utils
from sernb.runs import Outcome
from sernb.runs import sweeps

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
# The results of a training notebook that the table reads, and a log of the runs outside of their folders.
LOG = """\
import os, time
from pathlib import Path

name = Path(OUTPUT_DIR).name
def log(word):
    with open(Path(OUTPUT_DIR).parents[1] / "log.txt", "a") as file:
        file.write(f"{word} {name} {os.getpid()} {os.environ['OMP_NUM_THREADS']}\\n")
log("begins")
time.sleep(RATE)"""
METRICS = """\
import json

metrics = {"notebook": "small", "parameters": {"SEED": SEED, "SPLIT": SPLIT}, "split": {"protocol": "random"},
           "corpus": {"name": "local", "clips": 7, "fingerprint": "abc"}, "environment": {"revision": "1"},
           "models": {"m": {"test": {"accuracy": SEED / 10}, "epochs": 1}}}
Path(OUTPUT_DIR, "metrics.json").write_text(json.dumps(metrics))
log("ends")"""
FAILS = "if SEED == 3: raise ValueError('three is too many')"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return small_notebooks.write(tmp_path / "notebooks" / "small.ipynb", LOG, FAILS, METRICS)


def sweep_file(tmp_path: Path, grid: object, name: str = "grid.yml", **keys: object) -> Path:
    path = tmp_path / name
    path.write_text(yaml.safe_dump({"notebook": "notebooks/small.ipynb", "grid": grid, **keys}, sort_keys=False))
    return path


def logged(tmp_path: Path, word: str) -> list[str]:
    log = tmp_path / "log.txt"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.split()[1] for line in lines if line.startswith(word)]


def wait_until(condition: Callable[[], object], description: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {description}"
        time.sleep(0.1)


def sernb(*words: object, **options) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([str(BIN / "sernb"), *map(str, words)], **pipes, **options)


# the sweep file


def test_a_grid_is_every_combination_named_by_what_varies(tmp_path: Path, notebook: Path):
    grid = {"SPLIT": ["70:20:10", "8:1:1"], "SEED": [1, 2]}
    jobs = runs.read_sweep_file(sweep_file(tmp_path, grid, parameters={"LOUD": False})).jobs(tmp_path / "out")
    assert [job.output_dir.name for job in jobs] == [
        "split-70-20-10_seed-1", "split-70-20-10_seed-2", "split-8-1-1_seed-1", "split-8-1-1_seed-2",
    ]  # fmt: skip
    assert jobs[3].parameters == {"LOUD": False, "SPLIT": "8:1:1", "SEED": 2}


def test_grids_in_a_list_carry_labels(tmp_path: Path, notebook: Path):
    grid = [{"label": "first", "SEED": [1]}, {"SEED": [2], "SPLIT": ["8:1:1"]}]
    jobs = runs.read_sweep_file(sweep_file(tmp_path, grid)).jobs(tmp_path)
    assert [(job.label, job.output_dir.name) for job in jobs] == [("first", "seed-1"), ("", "seed-2_split-8-1-1")]


WRONG_FILES = [
    ("[1, 2]", "a sweep file has `notebook`, `grid`"),
    ("notebook: notebooks/small.ipynb", "a sweep file has `notebook`, `grid`"),
    ("{notebook: notebooks/small.ipynb, grid: {SEED: [1]}, seeds: 3}", "this one has notebook, grid, seeds"),
    ("{notebook: notebooks/none.ipynb, grid: {SEED: [1]}}", "no notebook notebooks/none.ipynb"),
    ("{notebook: notebooks/small.ipynb, grid: {SEED: 1}}", r"as in `SEED: \[1\]`"),
    ("{notebook: notebooks/small.ipynb, grid: {SEED: []}}", "SEED takes a list"),
    ("{notebook: notebooks/small.ipynb, grid: [3]}", "`grid` maps"),
    ("{notebook: notebooks/small.ipynb, grid: {SEED: [1]}, parameters: [2]}", "`parameters` maps"),
    ("{notebook: notebooks/small.ipynb, grid: {SEED: [1]}, parameters: {SEED: 2}}", "remove it from one of them"),
    ("{notebook: notebooks/small.ipynb, grid: {SEED: [1, 1]}}", "seed-1 occurs twice"),
    ("{notebook: notebooks/small.ipynb, grid: {SEDE: [1]}}", "did you mean SEED"),
    ("{notebook: notebooks/small.ipynb, grid: {SPLIT: [7515]}}", "needs quotes"),
    ("grid: {SEED: [1]}\ngrid: {SEED: [2]}", '"grid" occurs twice'),
    ("grid: {SEED: [1]", "not YAML"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_FILES)
def test_a_wrong_sweep_file_is_refused_before_anything_runs(tmp_path: Path, notebook: Path, text: str, message: str):
    path = tmp_path / "grid.yml"
    path.write_text(text)
    with pytest.raises((runs.SweepError, runs.ParameterError), match=message):
        runs.run_sweep(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yml")), ids=lambda path: path.stem)
def test_the_sweep_files_of_sernb_can_be_read(path: Path):
    assert runs.read_sweep_file(path).points


def test_numbers_with_leading_zeros_are_decimal(tmp_path: Path, notebook: Path):
    path = tmp_path / "grid.yml"
    path.write_text("{notebook: notebooks/small.ipynb, grid: {SEED: [07, 010, 042]}, parameters: {SPLIT: 60:20:20}}")
    jobs = runs.read_sweep_file(path).jobs(tmp_path / "out")
    assert [job.parameters["SEED"] for job in jobs] == [7, 10, 42]
    assert jobs[0].parameters["SPLIT"] == "60:20:20", "text with colons is no number"
    assert [job.output_dir.name for job in jobs] == ["seed-7", "seed-10", "seed-42"]


def test_a_notebook_may_be_in_the_working_folder_or_one_of_sernb(tmp_path: Path, notebook: Path, monkeypatch):
    (tmp_path / "sweeps").mkdir()
    monkeypatch.chdir(tmp_path / "sweeps")
    for name in ("mine.ipynb", "notebooks/03_paper_replication.ipynb"):
        (tmp_path / "grid.yml").write_text(f"{{notebook: {name}, grid: {{SEED: [1]}}}}")
        small_notebooks.write(tmp_path / "sweeps" / "mine.ipynb")
        assert runs.read_sweep_file(tmp_path / "grid.yml").notebook.name == Path(name).name


def test_a_sweep_does_not_overwrite_a_table_of_somebody_else(tmp_path: Path, notebook: Path, monkeypatch):
    path, folder = sweep_file(tmp_path, {"SEED": [1]}), tmp_path / "out"
    folder.mkdir()
    (folder / "results.csv").write_text("mine")
    with pytest.raises(results.OutputError, match=r"out holds results\.csv.*choose another output folder"):
        runs.run_sweep(path, folder)
    assert (folder / "results.csv").read_text() == "mine" and len(list(folder.iterdir())) == 1
    (folder / "results.csv").unlink()
    (folder / "notes.txt").write_text("mine")
    monkeypatch.setattr(
        "sernb.runs.sweeps._execute_all", lambda jobs, *args, **kwargs: iter([Outcome(jobs[0], "failed")])
    )
    for _ in range(2):  # its own table is replaced
        runs.run_sweep(path, folder)
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "results.csv").is_file()
    with pytest.raises(results.OutputError, match="holds a sweep"):
        runs.run_notebook(notebook, {}, folder)
    results.write_record(tmp_path / "run", {"notebook": "small.ipynb", "status": "finished", "files": []})
    with pytest.raises(results.OutputError, match="holds a single run"):
        runs.run_sweep(path, tmp_path / "run")
    with pytest.raises(results.OutputError, match="is a file"):
        runs.run_sweep(path, path)
    (folder / "seed-1").mkdir()
    (folder / "seed-1" / "thesis.keras").write_text("mine")
    with pytest.raises(results.OutputError, match=r"seed-1 holds thesis\.keras"):
        runs.run_sweep(path, folder)


def test_two_sweeps_into_one_folder_do_not_mix(tmp_path: Path, notebook: Path, monkeypatch):
    monkeypatch.setattr("sernb.utils.locks.LOCK_SECONDS", 0.1)
    with utils.output_lock(tmp_path / "out"), pytest.raises(RuntimeError, match=f"in use by process {os.getpid()}"):
        runs.run_sweep(sweep_file(tmp_path, {"SEED": [1]}), tmp_path / "out")


# on a local cluster


@pytest.mark.notebook
def test_a_sweep_leaves_a_table_and_only_stale_runs_are_repeated(tmp_path: Path, notebook: Path):
    path = sweep_file(tmp_path, [{"label": "some", "SEED": [1, 3, 2]}], parameters={"RATE": 0.0})
    first = sernb("sweep", path, "-o", tmp_path / "out")
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 1 and "ValueError: three is too many" in output and "3 of 3 done" in output
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert table["run"].tolist() == ["seed-1", "seed-3", "seed-2"] and set(table["label"]) == {"some"}
    assert table["accuracy"].tolist()[::2] == [0.1, 0.2] and table["accuracy"].isna()[1]
    assert table["status"].tolist() == ["finished", "failed: ValueError", "finished"]
    assert "three is too many" in (tmp_path / "out" / "seed-3" / "small.ipynb").read_text()
    assert sorted(logged(tmp_path, "begins")) == ["seed-1", "seed-2", "seed-3"]

    small_notebooks.touch(notebook)
    sweep_file(tmp_path, [{"SEED": [1, 2]}], parameters={"RATE": 0.0})
    assert [outcome.status for outcome in runs.run_sweep(path, tmp_path / "out")] == ["finished"] * 2
    assert [outcome.status for outcome in runs.run_sweep(path, tmp_path / "out")] == ["kept"] * 2
    sweep_file(tmp_path, [{"SEED": [2, 4]}], parameters={"RATE": 0.0})
    assert [outcome.status for outcome in runs.run_sweep(path, tmp_path / "out")] == ["kept", "finished"]
    assert pd.read_csv(tmp_path / "out" / "results.csv")["run"].tolist() == ["seed-2", "seed-4"]


@pytest.mark.notebook
def test_the_last_run_of_a_stopped_sweep_has_as_many_threads_as_the_others(tmp_path: Path, notebook: Path):
    """With more threads, sums are rounded differently and figures have other last digits."""
    path = sweep_file(tmp_path, {"SEED": [1, 2]}, parameters={"RATE": 0.0})
    runs.run_sweep(path, tmp_path / "out", workers=2)
    record = runs.read_record(tmp_path / "out" / "seed-2")
    results.write_record(
        tmp_path / "out" / "seed-2", {**record, "status": "running"}
    )  # as if it had been stopped there
    runs.run_sweep(path, tmp_path / "out", workers=2)
    threads = [line.split()[3] for line in (tmp_path / "log.txt").read_text().splitlines() if line.startswith("begins")]
    assert len(threads) == 3 and len(set(threads)) == 1


def test_runs_begin_in_their_order_while_a_long_one_goes_on(tmp_path: Path, notebook: Path):
    """Runs that wait for the long one's worker would begin last, and one core would be idle at the end."""
    seconds = {1: 15.0, 2: 0.1, 4: 0.1, 5: 0.1, 6: 0.1, 7: 0.1}
    jobs = [
        runs.Job(notebook, tmp_path / "out" / f"run-{seed}", {"SEED": seed, "RATE": rate})
        for seed, rate in seconds.items()
    ]
    runs.run_jobs(jobs, workers=2)
    lines = [line.split()[:2] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert [name for word, name in lines if word == "begins"][2:] == [f"run-{seed}" for seed in (4, 5, 6, 7)]
    assert lines[-1] == ["ends", "run-1"]


def test_two_runs_may_not_share_a_folder(tmp_path: Path, notebook: Path):
    with pytest.raises(ValueError, match="share"):
        runs.run_jobs([runs.Job(notebook, tmp_path / "one")] * 2)


def kernels_of(folder: Path) -> list[psutil.Process]:
    """Kernels that still work for this test, by its folder in their working directory."""
    kernels = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or [])
        if "ipykernel_launcher" in words and process.info["cwd"] == str(folder):
            kernels.append(process)
    return kernels


@pytest.mark.notebook
def test_an_interrupted_sweep_continues(tmp_path: Path, notebook: Path):
    path = sweep_file(tmp_path, {"SEED": [1, 2, 4, 5]}, parameters={"RATE": 2.0})
    command = ("sweep", path, "-o", "out", "--workers", 1)
    first = sernb(*command, cwd=tmp_path, start_new_session=True)
    wait_until(lambda: len(logged(tmp_path, "begins")) > 1, "the second run begins")
    os.killpg(first.pid, signal.SIGINT)  # as Ctrl-C in a terminal: to all of the sweep's processes
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 130 and "the same command continues" in output and "Traceback" not in output, output
    wait_until(lambda: not kernels_of(tmp_path), "kernels end", 20)
    finished = logged(tmp_path, "ends")
    assert finished and pd.read_csv(tmp_path / "out" / "results.csv")["run"].tolist() == finished

    second = sernb(*command, cwd=tmp_path)
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 0 and f"{len(finished)} run" in output and "already finished" in output
    assert sorted(logged(tmp_path, "ends")) == ["seed-1", "seed-2", "seed-4", "seed-5"], "nothing finished ran twice"


# on an existing cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Start a scheduler and two workers as README says."""
    dask, quiet = str(BIN / "dask"), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    note = tmp_path / "scheduler.json"
    command = [dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(note)]
    started = [subprocess.Popen(command, cwd="/", **quiet)]
    wait_until(note.exists, "the scheduler starts")
    address = json.loads(note.read_text())["address"]
    worker = [dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    started += [subprocess.Popen(worker, cwd="/", **quiet) for _ in range(2)]
    yield address, started[1:]
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.notebook
def test_the_run_of_a_killed_worker_is_repeated_by_another(tmp_path: Path, notebook: Path, cluster):
    address, workers = cluster
    path = sweep_file(tmp_path, {"SEED": [1, 2, 4, 5]}, parameters={"RATE": 3.0})
    sweep = sernb("sweep", path, "-o", "out", "--scheduler", address, cwd=tmp_path)
    wait_until(lambda: len(logged(tmp_path, "begins")) >= 2, "two runs begin")
    (victim,) = (kernel for kernel in kernels_of(tmp_path) if workers[0].pid in [p.pid for p in kernel.parents()])
    workers[0].send_signal(signal.SIGKILL)
    output, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, output
    assert sorted(logged(tmp_path, "ends")) == ["seed-1", "seed-2", "seed-4", "seed-5"], "nothing finished ran twice"
    assert len(logged(tmp_path, "begins")) == 5, "the one that died was started twice"
    assert not victim.is_running(), "no kernel without its worker"
    threads = {line.split()[3] for line in (tmp_path / "log.txt").read_text().splitlines()}
    assert threads == {str(max(1, utils.cpu_count() // 2))}, "two workers share out the cores"


@pytest.mark.notebook
def test_a_scheduler_that_dies_ends_the_sweep_with_a_message(tmp_path: Path, notebook: Path, cluster):
    path = sweep_file(tmp_path, {"SEED": [1, 2]}, parameters={"RATE": 60.0})
    sweep = sernb("sweep", path, "-o", "out", "--scheduler", cluster[0], cwd=tmp_path)
    wait_until(lambda: len(logged(tmp_path, "begins")) >= 2, "two runs begin")
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path / "scheduler.json") in (process.info["cmdline"] or []):
            process.kill()
    output, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 1 and "the same command continues" in output, output


@pytest.mark.notebook
def test_a_cluster_that_cannot_execute_the_runs_is_refused(tmp_path: Path, notebook: Path, cluster, monkeypatch):
    monkeypatch.setattr("sernb.runs.sweeps.CONNECT_SECONDS", 2)
    monkeypatch.setattr("sernb.runs.sweeps.WORKER_SECONDS", 2)
    path = sweep_file(tmp_path, {"SEED": [1]})
    with pytest.raises(runs.SweepError, match=r"tcp://127.0.0.1:9 .*dask scheduler"):
        runs.run_sweep(path, tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    address, workers = cluster
    for worker in workers:
        worker.kill()
        worker.wait()
    with pytest.raises(runs.SweepError, match=re.escape(f"dask worker {address}")):
        runs.run_sweep(path, tmp_path / "out", scheduler=address)


def test_a_worker_with_another_sernb_is_refused(tmp_path: Path, notebook: Path):
    class Elsewhere:
        def run(self, function, *arguments):
            return {"tcp://1.2.3.4:5": function(*arguments) | {"sernb": "another"}}

        def nthreads(self):
            return {"tcp://1.2.3.4:5": 1}

    with pytest.raises(runs.SweepError, match=r"tcp://1.2.3.4:5 .* sernb \(another, here"):
        sweeps._check_workers(Elsewhere(), [runs.Job(notebook, tmp_path / "out" / "one")])
