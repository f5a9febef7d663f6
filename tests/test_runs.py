from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from support import small_notebooks

from sernb import results
from sernb import runs
from sernb import utils
from sernb.runs import freshness


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return small_notebooks.write(tmp_path / "notebooks" / "small.ipynb", small_notebooks.WRITE)


def source(path: Path, tag: str) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if tag in cell.metadata.get("tags", []))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"SEDE": 2}, "did you mean SEED"),
        ({"seed": 2}, "did you mean SEED"),
        ({"LEARNING": 2}, "It has CORPUS, SPLIT, OUTPUT_DIR, SEED, RATE, LOUD, MODELS"),
        ({"SEED": "2"}, "SEED takes a value like 1"),
        ({"SEED": True}, "SEED takes a value like 1"),
        ({"SEED": 1.5}, "SEED takes a value like 1"),
        ({"SPLIT": 271_810}, "needs quotes"),
        ({"MODELS": "a"}, "MODELS takes a value like"),
        ({"MODELS": [1]}, "MODELS takes a value like"),
        ({"MODELS": None}, r"Write it as a list: \[\]\."),
        ({"OUTPUT_DIR": "x"}, "-o"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_happens(notebook: Path, tmp_path: Path, parameters, message):
    with pytest.raises(runs.ParameterError, match=message):
        runs.run_notebook(notebook, parameters, tmp_path / "out")
    with pytest.raises(runs.ParameterError, match=message):
        runs.run_jobs([runs.Job(notebook, tmp_path / "out", parameters)])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SPLIT", "75:15:10", "75:15:10"),
        ("SEED", "7", 7),
        ("SEED", "042", 42),
        ("SEED", "0100", 100),
        ("RATE", "1e-3", 0.001),
        ("RATE", "1e3", 1000.0),
        ("LOUD", "false", False),
        ("MODELS", "[conv1d-a, b]", ["conv1d-a", "b"]),
        ("MODELS", "[]", []),
        ("MODELS", "[yes, no, on]", ["yes", "no", "on"]),
    ],
)
def test_a_typed_value_takes_the_type_of_the_default(notebook: Path, name: str, text: str, value):
    parsed = runs.parse_parameters(notebook, {name: text})
    assert parsed == {name: value} and type(parsed[name]) is type(value)
    runs.validate_parameters(notebook, parsed)
    assert runs.parse_parameters(notebook, {"SPLIT": "1"}) == {"SPLIT": "1"}


def test_text_with_a_colon_is_no_number(tmp_path: Path):
    notebook = small_notebooks.write(tmp_path / "a.ipynb", parameters="TIMES = []\nANY = None")
    parsed = runs.parse_parameters(notebook, {"TIMES": "[12:30, 1:30]", "ANY": "12:30"})
    assert parsed == {"TIMES": ["12:30", "1:30"], "ANY": "12:30"}
    assert runs.parse_parameters(notebook, {"ANY": "-007"}) == {"ANY": -7}


def test_not_a_notebook_is_an_error_that_names_it(tmp_path: Path):
    (tmp_path / "no.ipynb").write_text("{}")
    for name in ("no.ipynb", "missing.ipynb"):
        with pytest.raises(runs.RunError, match=name):
            runs.run_notebook(tmp_path / name, {}, tmp_path / "out")


def test_slugs_are_readable():
    assert runs.slug({"CORPUS": "demo-crema", "MAX_CLIPS": 240}) == "corpus-demo-crema_max-clips-240"
    words = ("wütend", "wätend", "怒", "喜")
    assert len({runs.slug({"EMOTIONS": [word]}) for word in words}) == len(words), "each has a folder of its own"
    assert runs.slug({"SPLIT": "75:15:10", "MODELS": ["a", "b"]}) == "split-75-15-10_models-a+b"
    assert runs.slug({"SNR": -5, "GAIN": [-12, 12.5]}) == "snr--5_gain--12+12.5"
    assert "someone" not in runs.slug({"DATA_DIR": "/home/someone"}) != runs.slug({"DATA_DIR": "/home/another"})
    assert runs.slug({}) == "defaults"
    long = [runs.slug({"CORPUS": "x" * 200 + end}) for end in "ab"]
    assert len(long[0]) <= 120 and long[0] != long[1]


@pytest.mark.notebook
def test_a_run_is_a_folder_of_results(notebook: Path, tmp_path: Path):
    executed = runs.run_notebook(notebook, {"SEED": 5, "SPLIT": "8:1:1", "MODELS": []}, tmp_path / "out")
    assert executed == tmp_path / "out" / "small.ipynb"
    assert (tmp_path / "out" / "result.txt").read_text() == "5 8:1:1 []"
    record = runs.read_record(tmp_path / "out")
    assert record["status"] == "finished" and record["parameters"]["SEED"] == 5
    assert "SEED = 5" in source(executed, "injected-parameters") and "SEED = 5" in source(executed, "hide-input")
    assert "SEED = 1" in source(notebook, "parameters"), "the notebook itself is left alone"


@pytest.mark.notebook
def test_a_finished_run_is_repeated_only_when_something_changed(notebook: Path, tmp_path: Path):
    executed = tmp_path / "out" / "small.ipynb"

    def repeated(**parameters) -> bool:
        before = executed.stat().st_mtime_ns if executed.exists() else 0
        runs.run_notebook(notebook, parameters, tmp_path / "out")
        return executed.stat().st_mtime_ns != before

    assert repeated(SEED=2) and not repeated(SEED=2)
    assert repeated(SEED=3)
    small_notebooks.touch(notebook)
    assert repeated(SEED=3) and not repeated(SEED=3)
    executed.unlink()
    assert repeated(SEED=3)


@pytest.mark.notebook
def test_a_run_reports_its_cells_and_can_be_cancelled(tmp_path: Path):
    wait = "import time; time.sleep(600)"
    notebook, cells, cancelled = small_notebooks.write(tmp_path / "slow.ipynb", "1", wait), [], threading.Event()

    def on_cell(index: int, n_cells: int) -> None:
        cells.append((index, n_cells))
        if index == n_cells - 1:  # the cell that waits
            threading.Timer(0.5, cancelled.set).start()

    start = time.monotonic()
    with pytest.raises(runs.RunError, match="the run was cancelled"):
        runs.run_notebook(notebook, {}, tmp_path / "out", on_cell=on_cell, cancelled=cancelled)
    assert cells == [(i, 5) for i in range(5)] and time.monotonic() - start < 60
    assert runs.read_record(tmp_path / "out")["status"] == "failed"


@pytest.mark.parametrize("folder", ["DATA_DIR", "RESULTS_DIR"])
def test_the_key_follows_the_data(tmp_path: Path, folder: str):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.wav").write_bytes(b"no audio")
    (data / "manifest.csv").write_text("file,emotion,speaker\na.wav,sad,1\n")
    parameters = 'CORPUS = "local"\nDATA_DIR = ""' if folder == "DATA_DIR" else 'RESULTS_DIR = ""'
    notebook = small_notebooks.write(tmp_path / "a.ipynb", parameters=parameters)
    job = runs.Job(notebook, tmp_path / "out", {folder: str(data)})
    before = runs.run_key(job)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._a.wav", ".git/index"):  # of file browsers and editors
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text("x")
    assert runs.run_key(job) == before
    (data / "manifest.csv").write_text("file,emotion,speaker\na.wav,happy,1\n")
    assert runs.run_key(job) != before


@pytest.mark.notebook
def test_a_failing_notebook_is_refused_and_keeps_its_traceback(tmp_path: Path):
    notebook = small_notebooks.write(tmp_path / "bad.ipynb", "1 / SEED", small_notebooks.WRITE)
    runs.run_notebook(notebook, {"SEED": 2}, tmp_path / "out")
    assert (tmp_path / "out" / "result.txt").exists()
    with pytest.raises(runs.RunError, match=r"bad.ipynb failed in cell \[3\]: ZeroDivisionError") as error:
        runs.run_notebook(notebook, {"SEED": 0}, tmp_path / "out")
    executed = tmp_path / "out" / "bad.ipynb"
    assert str(executed) in str(error.value)
    assert "ZeroDivisionError" in executed.read_text() and "Traceback" in executed.read_text()
    assert runs.read_record(tmp_path / "out")["status"] == "failed"
    assert not (tmp_path / "out" / "result.txt").exists(), "results of the earlier run do not lie beside the failure"
    with pytest.raises(runs.RunError):  # a failed run is never taken for a finished one
        runs.run_notebook(notebook, {"SEED": 0}, tmp_path / "out")


@pytest.mark.notebook
def test_a_running_notebook_is_saved_once_a_second_and_not_at_each_cell(tmp_path: Path):
    from papermill import engines

    look = "from pathlib import Path; assert 'first cell\\\\n' in Path('out/many.ipynb').read_text()"
    # The first cell prints what its source does not contain; the second is silent for longer than a second.
    cells = ["print('first', 'cell')", f"import time; time.sleep(2); {look}"]
    notebook = small_notebooks.write(tmp_path / "many.ipynb", *cells, *["1"] * 40)
    saves = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "write_ipynb", lambda nb, path: saves.append(path) or nbformat.write(nb, path))
        runs.run_notebook(notebook, {}, tmp_path / "out", cwd=tmp_path)
    assert 3 <= len(saves) < 42, "papermill would save twice per cell"


@pytest.mark.notebook
def test_a_notebook_that_leaves_early_has_failed(tmp_path: Path):
    notebook = small_notebooks.write(tmp_path / "early.ipynb", "import sys\n\nsys.exit()", "print('the rest')")
    with pytest.raises(runs.RunError, match="before its end"):
        runs.run_notebook(notebook, {}, tmp_path / "out")


@pytest.mark.notebook
def test_the_kernel_is_this_environments_own_and_works_where_the_caller_does(tmp_path: Path, monkeypatch):
    spec = {"argv": ["/no/such/python", "{connection_file}"], "display_name": "theirs", "language": "python"}
    user_kernel = tmp_path / "home" / "kernels" / "python3"
    user_kernel.mkdir(parents=True)
    (user_kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    code = "import os, sys\nfrom pathlib import Path\n\nPath('where.txt').write_text(f'{sys.prefix}\\n{os.getcwd()}')"
    runs.run_notebook(small_notebooks.write(tmp_path / "a" / "where.ipynb", code), {}, Path("out"))
    assert (tmp_path / "where.txt").read_text().splitlines() == [sys.prefix, str(tmp_path)]
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "home"), "the caller's environment is as before"


@pytest.mark.notebook
def test_relative_folders_are_the_callers(tmp_path: Path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    notebook = small_notebooks.write(
        tmp_path / "a.ipynb", "open('data.txt', 'w').write(DATA_DIR)", parameters="DATA_DIR = ''"
    )
    (tmp_path / "elsewhere").mkdir()
    runs.run_notebook(notebook, {"DATA_DIR": "data"}, Path("out"), cwd=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "data.txt").read_text() == str(tmp_path / "elsewhere" / "data")


@pytest.fixture
def kernel(monkeypatch):
    """Replace papermill by a function that writes a few files, `metrics.json` by a function of `results`."""

    def write(job: runs.Job, *_, **options) -> None:
        results.write_tables(job.output_dir, clips=pd.DataFrame({"a": [1]}))
        for name in (job.notebook.name, "result.txt", "fold-1/m.keras"):
            (job.output_dir / name).parent.mkdir(exist_ok=True)
            (job.output_dir / name).write_text(f"written by {job.parameters}")

    monkeypatch.setattr("sernb.runs.execution._run_papermill", write)


FOREIGN = [
    "my_thesis_model.keras",
    "predictions.csv",
    "fold-1/x.keras",
    "notes.txt",
    "clips.csv",
    "small.ipynb",
    "src/a.py",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_with_files_of_somebody_else_is_refused(notebook: Path, tmp_path: Path, kernel, name: str):
    folder = tmp_path / "out"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("months of work")
    job = runs.Job(notebook, folder)
    for refuse in (lambda: runs.run_notebook(notebook, {}, folder), lambda: runs.run_jobs([job])):
        with pytest.raises(results.OutputError, match="choose another output folder") as error:
            refuse()
        assert str(folder) in str(error.value) and name.split("/")[0] in str(error.value)
    assert [path for path in folder.rglob("*") if path.is_file()] == [folder / name]
    assert (folder / name).read_text() == "months of work"


def test_the_notebooks_own_folder_and_a_file_are_refused(notebook: Path, tmp_path: Path, kernel):
    (tmp_path / "link").symlink_to(notebook.parent)
    for folder in (notebook.parent, tmp_path / "link", notebook.parent / ".." / notebook.parent.name):
        with pytest.raises(results.OutputError, match="the notebook's own folder"):
            runs.run_notebook(notebook, {}, folder)
    with pytest.raises(results.OutputError, match="is a file"):
        runs.run_notebook(notebook, {}, notebook)


def test_only_files_that_an_earlier_run_recorded_are_removed(notebook: Path, tmp_path: Path, kernel):
    folder = tmp_path / "out"
    runs.run_notebook(notebook, {"SEED": 2}, folder)
    assert set(runs.read_record(folder)["files"]) == {"small.ipynb", "result.txt", "fold-1/m.keras", "clips.csv"}
    for name in ("mine.txt", "mine.keras", "fold-1/mine.csv"):
        (folder / name).write_text("mine")
    (folder / ".DS_Store").write_text("of the file browser")
    runs.run_notebook(notebook, {"SEED": 3}, folder)
    assert all((folder / name).read_text() == "mine" for name in ("mine.txt", "mine.keras", "fold-1/mine.csv"))
    assert not any("mine" in name or name.startswith(".") for name in runs.read_record(folder)["files"])
    assert "'SEED': 3" in (folder / "result.txt").read_text()


def test_a_file_that_the_record_does_not_list_is_not_overwritten(notebook: Path, tmp_path: Path, kernel):
    folder = tmp_path / "out"
    results.write_record(folder, {"status": "finished", "files": []})
    for name in ("metrics.json", "small.ipynb", "fold-2/predictions.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
        with pytest.raises(results.OutputError, match=name):
            runs.run_notebook(notebook, {}, folder)
        (folder / name).unlink()


def test_a_record_names_no_files_outside_its_folder(notebook: Path, tmp_path: Path, kernel):
    (tmp_path / "mine.txt").write_text("mine")
    record = {"status": "finished", "files": ["../mine.txt", str(tmp_path / "mine.txt"), "a/../../mine.txt"]}
    results.write_record(tmp_path / "out", record)
    runs.run_notebook(notebook, {}, tmp_path / "out")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_run_json_of_another_program_is_no_record(notebook: Path, tmp_path: Path, kernel):
    (tmp_path / "out").mkdir()
    for text in ('{"id": 7}', "[1, 2]", "", "not JSON"):
        (tmp_path / "out" / "run.json").write_text(text)
        with pytest.raises(results.OutputError, match=r"run\.json"):
            runs.run_notebook(notebook, {}, tmp_path / "out")
        assert (tmp_path / "out" / "run.json").read_text() == text


def test_what_a_killed_run_left_does_not_lie_beside_the_next(tmp_path: Path, kernel, monkeypatch):
    """A run records its files before it writes them, so that a killed one has recorded them too."""
    notebook = small_notebooks.write(tmp_path / "n.ipynb")

    def killed(job: runs.Job, *_, **options) -> None:
        for folder in (job.output_dir, job.output_dir / "fold-1"):
            results.write_tables(folder, history=pd.DataFrame())
        raise KeyboardInterrupt

    monkeypatch.setattr("sernb.runs.execution._run_papermill", killed)
    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        runs.run_notebook(notebook, {}, folder)
    assert (folder / "history.csv").exists() and runs.read_record(folder)["status"] == "running"
    (folder / "mine.txt").write_text("a user's own")

    def fails(job: runs.Job, *_, **options) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sernb.runs.execution._run_papermill", fails)
    with pytest.raises(runs.RunError):
        runs.run_notebook(notebook, {}, folder)
    assert not (folder / "history.csv").exists() and not (folder / "fold-1" / "history.csv").exists()
    assert (folder / "mine.txt").exists()


def test_a_finished_run_without_its_files_is_repeated(notebook: Path, tmp_path: Path, kernel):
    job = runs.Job(notebook, tmp_path / "out")
    runs.run_notebook(notebook, {}, job.output_dir)
    assert runs.is_up_to_date(job)
    (job.output_dir / "result.txt").unlink()
    assert not runs.is_up_to_date(job)


def test_plain_papermill_does_not_overwrite_other_files_either(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"a": [1]})
    results.write_tables("out", scores=table)
    results.write_tables("out", scores=table, more=table)
    runs.check_notebook({"OUTPUT_DIR": "out"})
    (tmp_path / "out" / "mine.csv").write_text("mine")
    with pytest.raises(results.OutputError, match="mine.csv"):
        results.write_tables("out", scores=table, mine=table)
    (tmp_path / "out" / "mine.keras").write_text("mine")
    runs.check_notebook({"OUTPUT_DIR": "out"})
    (tmp_path / "out" / "metrics.json").write_text("mine")
    with pytest.raises(results.OutputError, match="out holds metrics.json"):
        runs.check_notebook({"OUTPUT_DIR": "out"})
    for name in ("mine.keras", "fold-1/mine.keras", "history.csv"):
        folder = tmp_path / Path(name).name
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
        with pytest.raises(results.OutputError, match=name):
            runs.check_notebook({"OUTPUT_DIR": str(folder)})


def test_two_runs_into_one_folder_do_not_mix(notebook: Path, tmp_path: Path, monkeypatch):
    """The second waits; if the first does not end in time, the second says who it is, and changes nothing."""
    started, go = threading.Event(), threading.Event()

    def wait(job: runs.Job, *_, **options) -> None:
        started.set()
        assert go.wait(60)
        (job.output_dir / job.notebook.name).write_text(f"{job.parameters}")

    monkeypatch.setattr("sernb.runs.execution._run_papermill", wait)
    monkeypatch.setattr("sernb.utils.locks.LOCK_SECONDS", 0.2)
    first = threading.Thread(target=runs.run_notebook, args=(notebook, {"SEED": 1}, tmp_path / "out"))
    first.start()
    assert started.wait(60)
    with pytest.raises(RuntimeError, match=rf"out is in use by process {os.getpid()} on .* since \d{{4}}-"):
        runs.run_notebook(notebook, {"SEED": 2}, tmp_path / "out")
    go.set()
    first.join()
    assert (tmp_path / "out" / "small.ipynb").read_text() == "{'SEED': 1}"
    assert runs.read_record(tmp_path / "out")["status"] == "finished"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["run.json", "small.ipynb"]
    runs.run_notebook(notebook, {"SEED": 2}, tmp_path / "out")
    assert (tmp_path / "out" / "small.ipynb").read_text() == "{'SEED': 2}"


HOLD = """\
import sys, time
from sernb import utils

with utils.output_lock(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)"""


def test_a_lock_ends_with_its_process(tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"locked\n"
    with pytest.raises(RuntimeError, match=f"process {holder.pid} on"), utils.output_lock(tmp_path, seconds=0.1):
        pass
    holder.kill()
    holder.wait()
    with utils.output_lock(tmp_path, seconds=5):
        pass
    assert not list(tmp_path.iterdir())


def test_two_kernels_of_plain_papermill_do_not_train_into_one_folder(tmp_path: Path, monkeypatch):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"locked\n"
    monkeypatch.setattr("sernb.utils.locks.LOCK_SECONDS", 0.1)
    trained = []

    def train_fold(fold: int, folder: Path, parameters: dict) -> dict:
        trained.append(fold)
        return {}

    with pytest.raises(utils.FolderInUseError, match=f"in use by process {holder.pid} on"):
        results.run_folds(train_fold, [0], tmp_path, {"FOLD": 0})
    assert trained == []
    # The kernel of `sernb run`, which holds the folder itself.
    monkeypatch.setenv(utils.LOCKED_FOLDER, str(tmp_path.resolve()))
    results.run_folds(train_fold, [0], tmp_path, {"FOLD": 0})
    assert trained == [0]
    holder.kill()
    holder.wait()


def test_the_key_follows_the_code_that_the_notebook_uses(tmp_path: Path, monkeypatch):
    notebook = small_notebooks.write(tmp_path / "a.ipynb", "from sernb import audio\n\naudio.snr", "%matplotlib inline")
    seen = []
    monkeypatch.setattr("sernb.utils.code_digest", lambda code: seen.append(code) or str(len(seen)))
    job = runs.Job(notebook, tmp_path / "out")
    assert runs.run_key(job) != runs.run_key(job), "other code, another key"
    assert "audio.snr" in seen[0] and "%" not in seen[0]


def test_the_key_follows_the_notebooks_that_a_notebook_runs(tmp_path: Path):
    trained = small_notebooks.write(tmp_path / "b.ipynb", "other = 'a.ipynb'  # and back again")
    job = runs.Job(small_notebooks.write(tmp_path / "a.ipynb", "other = 'b.ipynb'"), tmp_path / "out")
    before = runs.run_key(job)
    assert runs.run_key(job) == before
    small_notebooks.touch(trained)
    assert runs.run_key(job) != before


@pytest.mark.slow
def test_every_package_that_can_change_a_figure_makes_runs_stale():
    """All that results are computed or drawn with; the others read and write files, show progress or run things."""
    neutral = {
        *(
            "IPython",
            "anywidget",
            "audformat",
            "ipykernel",
            "jupyter_core",
            "bs4",
            "dask",
            "distributed",
            "filelock",
            "huggingface_hub",
            "ipywidgets",
            "joblib",
            "jupyter_client",
        ),
        *(
            "matplotlib_inline",
            "nbformat",
            "papermill",
            "platformdirs",
            "pooch",
            "praatio",
            "psutil",
            "requests",
            "rich",
            "ruamel",
        ),
        *("threadpoolctl", "tqdm", "traitlets", "typer", "yaml", "sernb"),
    }
    imported = set()
    for file in Path(runs.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    computing = imported - neutral - sys.stdlib_module_names
    assert computing - {"sklearn"} <= set(freshness.PACKAGES), "add it to PACKAGES, or here"
    assert {"scikit-learn", "numba", "seaborn"} <= set(freshness.PACKAGES)


@pytest.mark.notebook
def test_overlapping_runs_leave_the_callers_environment_alone(tmp_path: Path, monkeypatch):
    """The Train panel runs in a thread: environment variables set for one kernel must not stay in the caller."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    code = "import os, time\nfrom pathlib import Path\n\ntime.sleep(RATE)\n"
    code += "Path(OUTPUT_DIR, 'result.txt').write_text(os.environ['TQDM_DISABLE'] + os.environ['OMP_NUM_THREADS'])"
    notebook = small_notebooks.write(tmp_path / "a.ipynb", code)
    before = dict(os.environ)
    both = [
        threading.Thread(
            target=runs.run_notebook,
            args=(notebook, {"RATE": seconds}, tmp_path / str(threads)),
            kwargs={"threads": threads},
        )
        for threads, seconds in ((1, 0.0), (2, 6.0))
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [(tmp_path / name / "result.txt").read_text() for name in "12"] == ["11", "12"]
    assert dict(os.environ) == before


@pytest.mark.notebook
def test_braces_in_a_folders_name_are_characters(tmp_path: Path):
    notebook = small_notebooks.write(tmp_path / "a{b}" / "n{SEED}.ipynb", small_notebooks.WRITE)
    executed = runs.run_notebook(notebook, {"SEED": 7}, tmp_path / "x" / "{SEED}{{")
    assert executed == tmp_path / "x" / "{SEED}{{" / "n{SEED}.ipynb" and executed.is_file()
    assert (executed.parent / "result.txt").is_file() and len(list((tmp_path / "x").iterdir())) == 1


@pytest.mark.notebook
def test_a_dead_kernel_is_this_runs_failure(tmp_path: Path):
    notebook = small_notebooks.write(tmp_path / "n.ipynb", "import os\n\nos._exit(1)")
    with pytest.raises(runs.RunError, match="DeadKernelError"):
        runs.run_notebook(notebook, {}, tmp_path / "out")
    assert runs.read_record(tmp_path / "out")["error_type"] == "DeadKernelError"
    assert results.results_table([tmp_path / "out"])["status"].tolist() == ["failed: DeadKernelError"]
