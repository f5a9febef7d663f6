"""Every parameter of every notebook, out of range or of another type, is refused in one line before any work."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support import small_notebooks
from support.hypothesis_settings import QUICK
from support.hypothesis_settings import SLOWER

from sernb import runs

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Wrong values of each, and a part of the message.
WRONG = {
    "CORPUS": [("demo-cremad", "did you mean 'demo-crema'"), ("", "crema, ravdess")],
    "TEST_CORPUS": [("ravdes", "did you mean 'ravdess'"), ("all", '"" for none')],
    "OTHER_CORPUS": [("demo-lokal", "did you mean 'demo-local'")],
    "DATA_DIR": [
        ("no/such/folder", "no such folder"),
        ("~nobody-of-this-name/x", "existing folder"),
        ("a\0b", "folder"),
    ],
    "TEST_DATA_DIR": [("no/such/folder", "no such folder")],
    "OTHER_DATA_DIR": [("no/such/folder", "or give no folder")],
    "OUTPUT_DIR": [(__file__, "not a file"), ("", "a folder")],
    "RECORD_DIR": [(__file__, "not a file")],
    "RUN_DIR": [("no/such/run", "metrics.json"), (str(ROOT), "metrics.json")],
    "RESULTS_DIR": [("no/such/results", "book/results")],
    "MODEL": [("conv3d", "paper-cnn")],
    "SEED": [(-1, "0 to 4294967295"), (2**40, "0 to 4294967295")],
    "MAX_CLIPS": [(-5, "0 or more clips")],
    "DISTORTED": [(-1, "0 or more clips")],
    "EMOTIONS": [(["angri"], "did you mean 'angry'"), (["sad", "sad"], "list of different names")],
    "CHANNEL": [("speach", "did you mean 'speech'")],
    "EPOCHS": [(-1, "0 or more")],
    "PROTOCOL": [("speakers", "did you mean 'speaker'"), ("", "random, random-folds, speaker")],
    "FOLD": [(99, "has no folds"), (-1, "0 or more")],
    "STRICT": [],
    "SAMPLE_RATE": [(-1, "8000 to 192000 Hz"), (0, "Hz"), (10**9, "Hz")],
    "MODELS": [(["conv3d"], "conv1d-a"), ([], "at least one"), (["conv1d-a", "conv1d-a"], "different names")],
    "FAULTS": [(["raw-powder"], "did you mean 'raw-power'")],
    "SPLIT": [("75:15", "75:15:10"), ("75:25:0", "above 0"), ("a:b:c", "75:15:10"), ("nan:1:1", "75:15:10")],
    "OUTPUT_ACTIVATION": [("softmaxx", "did you mean 'softmax'")],
    "AUGMENT": [("before", "before-split, train-only")],
    "NORMALISE": [("none", "pad or max-minus")],
    "N_MFCC": [(0, "31 to 128"), (129, "31 to 128")],
    "RECIPE": [("slow", "plain or quick")],
    "PRECISION": [("float16", "float32 or mixed_bfloat16")],
    "COPIES": [(-1, "0 to 100 speed-perturbed copies"), (101, "0 to 100")],
    "ENROL_CLIPS": [(0, "1 to 1000 enrolment clips"), (1001, "1 to 1000")],
    "PRIOR_CLIPS": [(0, "1 to 1000 clips"), (1.5, "")],
    "ENCODER": [("a\0b", "a speech encoder's name")],
    "ENCODER_LAYER": [(-1, "0 to 1000"), ("9", "")],
    "ENCODER_WITH_FUNCTIONALS": [],
    "SHRINKAGE": [(-1, "a whole number from 0 to 100 per cent"), (0.15, "")],
}
# Other parameters, where a notebook has them, with which nothing else is wrong.
PARTNERS = {
    "DATA_DIR": {"CORPUS": "local", "PROTOCOL": "speaker"},
    "TEST_DATA_DIR": {"TEST_CORPUS": "crema", "PROTOCOL": "speaker"},
    "FOLD": {"PROTOCOL": "speaker"},
}
# Values that are right by themselves and wrong together.
TOGETHER = [
    ("PROTOCOL", {"PROTOCOL": "folds", "CORPUS": "demo-local"}, "no folds were published for 'demo-local'"),
    ("FOLD", {"PROTOCOL": "folds", "CORPUS": "demo-ravdess", "FOLD": 7}, "0 to 6"),
    ("FOLD", {"PROTOCOL": "loso", "CORPUS": "demo-ravdess", "FOLD": 25}, "the number of a speaker, from 1 to 6"),
    ("FOLD", {"PROTOCOL": "random-folds", "FOLD": 7}, "0 to 6"),
    ("FOLD", {"PROTOCOL": "folds", "CORPUS": "demo-ravdess", "TEST_CORPUS": "demo-local"}, "the number of the fold"),
    ("EMOTIONS", {"EMOTIONS": ["sad", "unknown"]}, "two known emotions"),
    ("EMOTIONS", {"CORPUS": "demo-crema", "EMOTIONS": ["sad", "pain"]}, "from angry, .* a local corpus's own words"),
    ("DATA_DIR", {"CORPUS": "demo-ravdess", "DATA_DIR": str(ROOT)}, "is built in"),
]


def other_type(value: object) -> object:
    return 1.5 if isinstance(value, str | list | bool) else [str(value)]


def cases() -> list:
    params = []
    for path in NOTEBOOKS:
        for name, default in runs.notebook_parameters(path).items():
            wrong = [*WRONG[name], (other_type(default), ""), (None, "")]
            params += [pytest.param(path, name, *case, id=f"{path.stem[:2]}-{name}-{case[0]!r:.20}") for case in wrong]
    return params


def test_a_missing_folder_is_reported_once(tmp_path, monkeypatch):
    monkeypatch.delenv("SERNB_DATA", raising=False)
    for values in ({"CORPUS": "ravdess", "DATA_DIR": ""}, {"CORPUS": "ravdess", "DATA_DIR": "no/such/folder"}):
        with pytest.raises(runs.ParameterError, match="sernb fetch ravdess") as caught:
            runs.check_parameters(values, base=tmp_path)
        assert caught.value.__suppress_context__, "a notebook would show the same sentence twice"


def test_the_table_has_every_parameter_and_allows_every_default():
    names = {name for path in NOTEBOOKS for name in runs.notebook_parameters(path)}
    assert names == set(runs.PARAMETER_LIMITS) == set(WRONG)
    for path in NOTEBOOKS:
        defaults = runs.notebook_parameters(path)
        runs.check_parameters(defaults, base=ROOT)
        runs.validate_parameters(path, {name: defaults[name] for name in defaults if name != "OUTPUT_DIR"}, ROOT)


@pytest.mark.parametrize("name", ["02_crema_1d_vs_2d", "03_paper_replication", "07_unseen_speakers"])
def test_each_setting_has_a_folder_of_its_own(name):
    defaults = runs.notebook_parameters(ROOT / "notebooks" / f"{name}.ipynb")
    settings = [{}, {"SEED": 43}, {"PROTOCOL": "loso"}, {"EPOCHS": 3} if "EPOCHS" in defaults else {"COPIES": 3}]
    folders = [runs.check_notebook({**defaults, **setting})["OUTPUT_DIR"] for setting in settings]
    assert len(set(folders)) == len(folders) and {str(Path(folder).parent) for folder in folders} == {f"runs/{name}"}
    again = {**defaults, "PARAMETERS": runs.check_notebook(defaults), "LABELS": ["sad"]}
    assert runs.check_notebook(again) == runs.check_notebook(defaults), "the cell is run again after those below it"
    assert runs.check_notebook({**defaults, "OUTPUT_DIR": "mine"})["OUTPUT_DIR"] == "mine"


@pytest.mark.parametrize(("path", "name", "value", "right"), cases())
def test_a_wrong_value_is_refused_in_one_line(tmp_path, monkeypatch, path, name, value, right):
    """Through `sernb run` and sweeps, and in the notebook's second cell under plain papermill."""
    monkeypatch.setenv("SERNB_DATA", str(tmp_path))
    defaults = runs.notebook_parameters(path)
    values = {key: partner for key, partner in PARTNERS.get(name, {}).items() if key in defaults} | {name: value}
    with pytest.raises(runs.ParameterError) as error:
        runs.check_notebook({**defaults, **values})
    messages = [str(error.value)]
    if name != "OUTPUT_DIR":
        job = runs.Job(path, tmp_path / "out", values)
        for refuse in (lambda: runs.run_notebook(path, values, tmp_path / "out"), lambda: runs.run_jobs([job])):
            with pytest.raises(runs.ParameterError) as error:
                refuse()
            messages.append(str(error.value))
    for line in messages:
        assert name in line and (runs.short_repr(value) in line or str(value) in line) and right in line, line
        assert "\n" not in line and len(line) < 400
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "values", "right"), TOGETHER)
def test_values_that_do_not_fit_together_are_refused(tmp_path, name, values, right):
    path = ROOT / "notebooks" / "03_paper_replication.ipynb"
    for refuse in (
        lambda: runs.run_notebook(path, values, tmp_path / "out"),
        lambda: runs.check_notebook({**runs.notebook_parameters(path), **values}),
    ):
        with pytest.raises(runs.ParameterError, match=right) as error:
            refuse()
        assert f"{name} must be " in str(error.value) or f"{name} cannot be " in str(error.value)


def test_a_local_corpus_may_have_words_of_its_own():
    runs.check_parameters({"CORPUS": "local", "EMOTIONS": ["pain", "sad"], "PROTOCOL": "speaker"})


def test_a_model_must_be_one_of_the_runs(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"models": {"conv1d-a": {}}}))
    runs.check_parameters({"RUN_DIR": str(tmp_path), "MODEL": "conv1d-a"}, base=tmp_path)
    with pytest.raises(runs.ParameterError, match=r"MODEL must be conv1d-a, .* \(got 'conv2d-a'\)"):
        runs.check_parameters({"RUN_DIR": str(tmp_path), "MODEL": "conv2d-a"}, base=tmp_path)
    (tmp_path / "metrics.json").write_text("")
    with pytest.raises(runs.ParameterError, match=r"RUN_DIR cannot be .*metrics.json is damaged"):
        runs.check_parameters({"RUN_DIR": str(tmp_path), "MODEL": "conv1d-a"}, base=tmp_path)


def test_with_a_finished_run_the_corpus_is_that_of_the_run(tmp_path):
    """DATA_DIR is then the folder of that corpus, whatever CORPUS would be trained on."""
    (tmp_path / "metrics.json").write_text(json.dumps({"models": {"paper-cnn": {}}}))
    values = runs.notebook_parameters(ROOT / "notebooks" / "05_trust.ipynb")
    runs.check_parameters(
        {**values, "RUN_DIR": str(tmp_path), "DATA_DIR": str(tmp_path), "PROTOCOL": "folds"}, base=tmp_path
    )


def test_folders_are_relative_to_the_working_folder_of_the_run(tmp_path):
    path = ROOT / "notebooks" / "01_explore.ipynb"
    (tmp_path / "mine").mkdir()
    values = {"CORPUS": "local", "DATA_DIR": "mine"}
    runs.validate_parameters(path, values, tmp_path)
    runs.validate_parameters(path, values)
    with pytest.raises(runs.ParameterError, match="DATA_DIR cannot be 'mine'"):
        runs.validate_parameters(path, values, tmp_path / "mine")


def test_in_an_own_notebook_a_parameter_may_mean_something_else(tmp_path):
    path = small_notebooks.write(tmp_path / "n.ipynb", parameters="SPLIT = 'halves'\nMODELS = ['svm']\nSEED = 1")
    runs.validate_parameters(path, {"SPLIT": "thirds", "MODELS": ["svm", "forest"]}, tmp_path)
    with pytest.raises(runs.ParameterError, match=r"got -1"):
        runs.validate_parameters(path, {"SEED": -1}, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("CHANNEL", "speach", "did you mean 'speech'"), ("DATA_DIR", "~no-such-user/x", "existing folder")],
)
def test_nothing_heavy_is_imported_to_refuse(tmp_path, name, value, message):
    """No TensorFlow, no decoder: the refusal comes before any of the work could."""
    notebook = ROOT / "notebooks" / "03_paper_replication.ipynb"
    (tmp_path / "run.json").write_text("{}")  # of an earlier run, which is not replaced
    words = ["run", str(notebook), "-p", name, value, "-o", str(tmp_path)]
    code = f"from sernb.cli import app\nimport sys\ntry:\n    app({words})\nexcept SystemExit:\n    print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert "sernb.runs.parameters" in modules
    assert not modules & {"tensorflow", "keras", "librosa", "soundfile", "nlpaug", "papermill", "distributed"}


def second_cell(path: Path) -> str:
    code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    (position,) = (i for i, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", []))
    return code[position + 1].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_checks_its_parameters_before_it_does_anything(path):
    first = second_cell(path).splitlines()[0]
    assert first in ("PARAMETERS = runs.check_notebook(globals())", "runs.check_notebook(globals())")


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("01_explore", {"EMOTIONS": ["angri"]}, r"EMOTIONS must be .* \(got \['angri'\]\); did you mean 'angry'"),
        ("02_crema_1d_vs_2d", {"SEED": 2**40}, "SEED must be a whole number from 0 to 4294967295"),
        ("03_paper_replication", {"PROTOCOL": "loso", "FOLD": 99}, r"FOLD must be the number .* \(got 99\)"),
    ],
)
def test_plain_papermill_refuses_in_the_second_cell(tmp_path, name, parameters, message):
    with pytest.raises(papermill.PapermillExecutionError, match=f"ParameterError: {message}") as error:
        papermill.execute_notebook(
            ROOT / "notebooks" / f"{name}.ipynb", tmp_path / "out.ipynb", parameters, progress_bar=False, cwd=tmp_path
        )
    assert error.value.exec_count == 4, "after imports, parameters and what papermill injects"
    assert list(tmp_path.iterdir()) == [tmp_path / "out.ipynb"]


# sweep files at random

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=5),
    st.dates(datetime.date(1, 1, 1)),
    st.sampled_from(["SEED", "CORPUS", "notebooks/small.ipynb", "~", "~nobody", "75:15:10", "local", "../.."]),
)
KEYS = SCALARS.filter(lambda key: key == key)  # which NaN is not
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from([*runs.notebook_parameters(NOTEBOOKS[2]), "label", "sede"]) | SCALARS
SWEEPS = st.fixed_dictionaries(
    {
        "notebook": st.sampled_from(["small.ipynb", "real.ipynb", "grid.yml", "", ".", "a\0b", "x" * 300]) | VALUES,
        "grid": st.one_of(
            st.dictionaries(NAMES, st.lists(VALUES, max_size=3) | VALUES, max_size=4),
            st.lists(st.dictionaries(NAMES, st.lists(VALUES, max_size=3), max_size=3), max_size=3),
            VALUES,
        ),
    },
    optional={"parameters": st.dictionaries(NAMES, VALUES, max_size=4) | VALUES, "more": VALUES},
)


def read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_notebooks.write(folder / "small.ipynb")
        (folder / "real.ipynb").write_bytes(NOTEBOOKS[2].read_bytes())
        (folder / "grid.yml").write_bytes(content)
        try:
            jobs = runs.read_sweep_file(folder / "grid.yml").jobs(folder / "out")
        except (runs.SweepError, runs.ParameterError) as error:
            assert str(error).strip()
        else:
            assert jobs and len({job.output_dir for job in jobs}) == len(jobs)
            assert all(job.output_dir.parent == folder / "out" for job in jobs)


@pytest.mark.slow
@QUICK
@given(SWEEPS)
def test_any_sweep_is_read_or_refused_in_words(content):
    read_or_refused(yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass"))


@SLOWER
@given(st.binary(max_size=200))
def test_any_bytes_are_a_sweep_or_refused_in_words(content):
    read_or_refused(content)


@pytest.mark.parametrize(
    "text",
    [
        "{notebook: small.ipynb, grid: {SEED: [1]}, parameters: {1: 2}}",
        "{notebook: small.ipynb, grid: {SPLIT: ['\\ud800']}}",
        '{notebook: small.ipynb, grid: {SPLIT: ["\\ud800"]}}',
        "{notebook: small.ipynb, grid: {SEED: [!!timestamp no]}}",
        "{notebook: small.ipynb, grid: {SEED: [!!int '']}}",
        "{notebook: small.ipynb, grid: {SEED: [!!bool perhaps]}}",
        "{notebook: small.ipynb, grid: !!map [1]}",
        "{notebook: small.ipynb, grid: {[1]: [2]}}",
        "{notebook: small.ipynb, grid: &a {SEED: [*a]}}",
        "notebook: small.ipynb\ngrid: &a [*a]",
        "{notebook: small.ipynb, grid: {SEED: [" + "1" * 5000 + "]}}",
        "[" * 1000,
        "{notebook: grid.yml, grid: {SEED: [1]}}",
        "{notebook: real.ipynb, grid: {SEED: " + str(list(range(400))) + ", MAX_CLIPS: " + str(list(range(400))) + "}}",
    ],
)
def test_sweep_files_that_broke_the_reader_are_read_or_refused(text):
    read_or_refused(text.encode())


def test_a_grid_too_large_for_memory_is_refused(tmp_path):
    small_notebooks.write(tmp_path / "small.ipynb")
    many = {name: list(range(100)) for name in ("SEED", "RATE", "LOUD", "CORPUS")}
    (tmp_path / "grid.yml").write_text(yaml.safe_dump({"notebook": "small.ipynb", "grid": many}))
    with pytest.raises(runs.SweepError, match="grid has 100000000 runs, but a sweep may have at most 10000"):
        runs.read_sweep_file(tmp_path / "grid.yml")
