from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from support import small_notebooks

from sernb import runs


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return small_notebooks.write(tmp_path / "notebooks" / "small.ipynb", small_notebooks.WRITE)


def source(path: Path, tag: str) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if tag in cell.metadata.get("tags", []))


@pytest.mark.parametrize(
    ("given", "says"),
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
        ({"OUTPUT_DIR": "x"}, "-o"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_happens(notebook: Path, tmp_path: Path, given, says):
    with pytest.raises(runs.ParameterError, match=says):
        runs.run_notebook(notebook, given, tmp_path / "out")
    with pytest.raises(runs.ParameterError, match=says):
        runs.run_jobs([runs.Job(notebook, tmp_path / "out", given)])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SPLIT", "75:15:10", "75:15:10"),
        ("SEED", "7", 7),
        ("RATE", "1e-3", 0.001),
        ("LOUD", "false", False),
        ("MODELS", "[conv1d-a, b]", ["conv1d-a", "b"]),
        ("MODELS", "[]", []),
    ],
)
def test_typed_values_take_the_type_of_the_default(notebook: Path, name: str, text: str, value):
    parsed = runs.parse_parameters(notebook, {name: text})
    assert parsed == {name: value} and type(parsed[name]) is type(value)
    runs.validate_parameters(notebook, parsed)
    assert runs.parse_parameters(notebook, {"SPLIT": "1"}) == {"SPLIT": "1"}


def test_not_a_notebook_is_an_error_that_names_it(tmp_path: Path):
    (tmp_path / "no.ipynb").write_text("{}")
    for name in ("no.ipynb", "missing.ipynb"):
        with pytest.raises(runs.RunError, match=name):
            runs.run_notebook(tmp_path / name, {}, tmp_path / "out")


def test_slugs_are_readable():
    assert runs.slug({"CORPUS": "demo-crema", "MAX_CLIPS": 240}) == "corpus-demo-crema_max-clips-240"
    assert runs.slug({"SPLIT": "75:15:10", "MODELS": ["a", "b"]}) == "split-75-15-10_models-a+b"
    assert runs.slug({"SNR": -5, "GAIN": [-12, 12.5]}) == "snr--5_gain--12+12.5"
    assert "someone" not in runs.slug({"DATA_DIR": "/home/someone"}) != runs.slug({"DATA_DIR": "/home/another"})
    assert runs.slug({}) == "defaults"
    long = [runs.slug({"CORPUS": "x" * 200 + end}) for end in "ab"]
    assert len(long[0]) <= 120 and long[0] != long[1]


@pytest.mark.notebook
def test_a_run_is_a_folder_of_results(notebook: Path, tmp_path: Path):
    made = runs.run_notebook(notebook, {"SEED": 5, "SPLIT": "8:1:1", "MODELS": []}, tmp_path / "out")
    assert made == tmp_path / "out" / "small.ipynb"
    assert (tmp_path / "out" / "result.txt").read_text() == "5 8:1:1 []"
    record = runs.read_record(tmp_path / "out")
    assert record["status"] == "finished" and record["parameters"]["SEED"] == 5
    assert "SEED = 5" in source(made, "injected-parameters") and "SEED = 5" in source(made, "hide-input")
    assert "SEED = 1" in source(notebook, "parameters"), "the notebook itself is left alone"


@pytest.mark.notebook
def test_a_finished_run_is_made_again_only_when_something_changed(notebook: Path, tmp_path: Path):
    made = tmp_path / "out" / "small.ipynb"

    def again(**given) -> bool:
        before = made.stat().st_mtime_ns if made.exists() else 0
        runs.run_notebook(notebook, given, tmp_path / "out")
        return made.stat().st_mtime_ns != before

    assert again(SEED=2) and not again(SEED=2)
    assert again(SEED=3)
    small_notebooks.touch(notebook)
    assert again(SEED=3) and not again(SEED=3)
    made.unlink()
    assert again(SEED=3)


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
    kept = tmp_path / "out" / "bad.ipynb"
    assert str(kept) in str(error.value)
    assert "ZeroDivisionError" in kept.read_text() and "Traceback" in kept.read_text()
    assert runs.read_record(tmp_path / "out")["status"] == "failed"
    assert not (tmp_path / "out" / "result.txt").exists(), "results of the earlier run do not lie beside the failure"
    with pytest.raises(runs.RunError):  # a failed run is never taken for a finished one
        runs.run_notebook(notebook, {"SEED": 0}, tmp_path / "out")


@pytest.mark.notebook
def test_a_notebook_that_leaves_early_has_failed(tmp_path: Path):
    notebook = small_notebooks.write(tmp_path / "early.ipynb", "import sys\n\nsys.exit()", "print('the rest')")
    with pytest.raises(runs.RunError, match="before its end"):
        runs.run_notebook(notebook, {}, tmp_path / "out")


@pytest.mark.notebook
def test_the_kernel_is_this_environments_own_and_works_where_the_caller_does(tmp_path: Path, monkeypatch):
    spec = {"argv": ["/no/such/python", "{connection_file}"], "display_name": "theirs", "language": "python"}
    theirs = tmp_path / "home" / "kernels" / "python3"
    theirs.mkdir(parents=True)
    (theirs / "kernel.json").write_text(json.dumps(spec))
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


def test_what_a_killed_run_left_does_not_lie_beside_the_next(tmp_path: Path):
    """A run that was killed had no time to record its files."""
    notebook = small_notebooks.write(tmp_path / "n.ipynb", "1 / 0")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "metrics.json").write_text("{}")
    (folder / "run.json").write_text('{"status": "running", "key": "x"}')
    (folder / "mine.txt").write_text("a user's own")
    with pytest.raises(runs.RunError):
        runs.run_notebook(notebook, {}, folder)
    assert not (folder / "metrics.json").exists() and (folder / "mine.txt").exists()


def test_a_finished_run_without_its_files_is_made_again(tmp_path: Path):
    source = "from pathlib import Path\nPath(OUTPUT_DIR, 'made.txt').write_text('x')"
    notebook = small_notebooks.write(tmp_path / "n.ipynb", source)
    job = runs.Job(notebook, tmp_path / "out")
    runs.run_notebook(notebook, {}, job.output_dir)
    assert runs.is_up_to_date(job)
    (job.output_dir / "made.txt").unlink()
    assert not runs.is_up_to_date(job)
