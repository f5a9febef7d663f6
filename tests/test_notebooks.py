"""Each notebook, run by plain papermill on a small part of a demo corpus, and checked by the files that it writes."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from support.audio_files import tone
from support.audio_files import write

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import models
from sernb import results
from sernb import runs
from sernb import studies
from sernb.runs.kernels import kernel_manager

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
pytestmark = pytest.mark.notebook

FILES = ("metrics.json", "predictions.csv", "history.csv")


run_before: set[str] = set()


def run(name: str, folder: Path, **parameters) -> Path:
    """Run a notebook by papermill, in a fresh kernel the first time and then in forked ones, which start faster."""
    folder.mkdir(exist_ok=True)
    options = {}
    if name in run_before:
        manager = kernel_manager(dict(os.environ), Path.cwd(), fork=True)
        options = {"kernel_manager_class": manager, "shutdown_kernel": "immediate"}
    run_before.add(name)
    papermill.execute_notebook(
        NOTEBOOKS / f"{name}.ipynb",
        folder / f"{name}.ipynb",
        {"OUTPUT_DIR": str(folder), **parameters},
        progress_bar=False,
        **options,
    )
    return folder


def outputs(folder: Path) -> str:
    """Return everything that the page of a run would show, as text."""
    (notebook,) = folder.glob("*.ipynb")
    cells = nbformat.read(notebook, 4).cells
    displayed = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [o for o in displayed if o.get("name") == "stderr"], "something was written to standard error"
    assert not [o for o in displayed if o.output_type == "display_data" and not any(o.data.values())], "an empty output"
    page = json.dumps(displayed)
    assert page.count('"image/png": "') == page.count('"caption": "'), "a figure without a caption"
    return page


def scored_models(folder: Path) -> set[str]:
    """Return the models in the table of scores, networks and baselines."""
    (notebook,) = folder.glob("*.ipynb")
    (cell,) = (cell for cell in nbformat.read(notebook, 4).cells if cell["id"] == "beside-rows")
    (table,) = (output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {}))
    return set(re.findall(r"<th>([^<]+)</th>", table))


def check_files(folder: Path, names: list[str]) -> dict:
    """Check that the files of a run agree with each other and have the columns of the contract; return the metrics."""
    result = json.loads((folder / "metrics.json").read_text())
    predictions, history = results.read_predictions(folder), pd.read_csv(folder / "history.csv")
    labels = result["labels"]
    assert list(predictions) == ["model", "clip", "copy", "speaker", "split", "truth", "prediction", *labels]
    assert list(history) == models.HISTORY_COLUMNS
    assert list(result["models"]) == names == list(predictions["model"].unique()) == list(history["model"].unique())
    for name, entry in result["models"].items():
        assert (folder / f"{name}.keras").is_file()
        for side in ("train", "val", "test"):
            part = predictions[(predictions["model"] == name) & (predictions["split"] == side)]
            assert len(part) == result["split"][side]
            matrix = evaluation.confusion_matrix(part["truth"], part["prediction"], labels)
            assert evaluation.compute_scores(matrix)["accuracy"] == pytest.approx(entry[side]["accuracy"])
        assert np.array(entry["confusion"]).tolist() == matrix.tolist()
    return result


def test_01_explores_a_corpus(tmp_path):
    run("01_explore", tmp_path, CORPUS="demo-local", MAX_CLIPS=40)
    clips = pd.read_csv(tmp_path / "clips.csv")
    assert len(clips) == 40 and {"seconds", "zcr", "rms"} <= set(clips)
    assert clips["rms"].between(0, 1).all() and clips["seconds"].between(0.3, 10).all()
    page = outputs(tmp_path)
    emotions = clips["emotion"].nunique()
    assert page.count("<audio") == emotions + 5  # the recording and its four augmentations
    assert page.count('"image/png": "') == 6
    assert "Synthetic speech" in page


def test_01_explores_a_local_corpus_with_a_minimal_manifest(tmp_path):
    names = ["a.wav", "b.wav", "c.wav", "d.wav"]
    for i, name in enumerate(names):
        write(tmp_path / "mine" / name, tone(0.6, 16000, 200 + 40 * i), 16000)
    lines = [f"{name},{emotion},P{i}" for i, (name, emotion) in enumerate(zip(names, ["sad", "calm"] * 2, strict=True))]
    (tmp_path / "mine" / "manifest.csv").write_text("file,emotion,speaker\n" + "\n".join(lines) + "\n")
    run("01_explore", tmp_path / "out", CORPUS="local", DATA_DIR=str(tmp_path / "mine"))
    assert len(pd.read_csv(tmp_path / "out" / "clips.csv")) == 4
    assert "Synthetic" not in outputs(tmp_path / "out")


@pytest.mark.parametrize("faults", [[], ["as-published"]])
def test_02_runs_corrected_and_as_published(tmp_path, faults):
    networks = ["conv1d-b", "conv2d-a"]
    run("02_crema_1d_vs_2d", tmp_path, MAX_CLIPS=120, EPOCHS=2, MODELS=networks, FAULTS=faults)
    result = check_files(tmp_path, networks)
    assert outputs(tmp_path).count('"image/png": "') == 6 + len(faults)  # as published, confusion is shown twice
    assert {"conv1d-b", "conv2d-a", "mfcc-svm", "guess"} <= scored_models(tmp_path)
    leaks = result["split"]["leaks"]
    if faults:
        assert result["split"]["protocol"] == "published"
        assert leaks["speaker"] > 0 and leaks["content"] == result["split"]["val"]
    else:
        assert result["split"]["protocol"] == "speaker"
        assert not any(leaks[kind] for kind in evaluation.LEAK_FAULTS)


def test_03_gives_the_same_results_by_papermill_and_by_sernb(tmp_path):
    small = {"MAX_CLIPS": 120, "EPOCHS": 2, "SPLIT": "60:20:20"}
    without_leaks = {**small, "AUGMENT": "train-only", "PROTOCOL": "speaker", "NORMALISE": "max-minus"}
    by_papermill = run("03_paper_replication", tmp_path / "a", **without_leaks)
    by_sernb = runs.run_notebook(NOTEBOOKS / "03_paper_replication.ipynb", without_leaks, tmp_path / "b").parent
    pair = [check_files(folder, ["paper-cnn"]) for folder in (by_papermill, by_sernb)]
    assert not any(pair[0]["split"]["leaks"][kind] for kind in evaluation.LEAK_FAULTS)
    assert "CLEAN" in outputs(tmp_path / "a")
    for result in pair:  # these may differ between two equal runs
        result["models"]["paper-cnn"].pop("seconds")
        result["parameters"].pop("OUTPUT_DIR")
        result["environment"].pop("revision")
    assert pair[0] == pair[1]
    assert "claimed" in outputs(tmp_path / "a")
    assert {"paper-cnn", "mfcc-svm", "guess"} <= scored_models(tmp_path / "a")


@pytest.mark.parametrize("activation", studies.OUTPUT_ACTIVATIONS)
def test_03_writes_the_network_of_the_package(activation):
    import keras

    (source,) = (text for text in code_sources(NOTEBOOKS / "03_paper_replication.ipynb") if "def build(" in text)
    names = {"models": models, "SEED": 1, "LABELS": list("abcdefgh"), "OUTPUT_ACTIVATION": activation}
    exec(compile(source, "03_paper_replication", "exec"), names)
    built = names["build"]((40, 50, 1))
    keras.utils.set_random_seed(1)
    packaged = studies.paper_cnn((40, 50, 1), 8, output_activation=activation)
    assert [type(layer) for layer in built.layers] == [type(layer) for layer in packaged.layers]
    assert built.count_params() == packaged.count_params() == 44344
    x = np.random.default_rng(0).normal(size=(3, 40, 50, 1)).astype(np.float32)
    assert np.array_equal(built.predict(x, verbose=0), packaged.predict(x, verbose=0))  # the same initial weights


def test_03_trains_on_one_corpus_and_tests_on_another(tmp_path):
    small = {"MAX_CLIPS": 80, "EPOCHS": 1, "SPLIT": "60:20:20", "AUGMENT": "train-only"}
    result = check_files(run("03_paper_replication", tmp_path, TEST_CORPUS="demo-local", **small), ["paper-cnn"])
    tested = result["split"]["tested"]
    assert (result["corpus"]["name"], tested["name"], tested["clips"]) == ("demo-ravdess", "demo-local", 80)
    assert tested["fingerprint"] != result["corpus"]["fingerprint"]
    test = results.read_predictions(tmp_path).query("split == 'test'")
    assert test["speaker"].str.startswith("P").all() and (test["copy"] == 0).all()
    claims = studies.compare_with_claims(result)["claimed, mean of its runs"]
    assert np.isnan(claims["test"]) and claims["val"] > 0
    assert {"paper-cnn", "mfcc-svm", "guess"} <= scored_models(tmp_path)


def test_02_tests_on_another_corpus(tmp_path):
    small = {"MAX_CLIPS": 80, "EPOCHS": 1, "MODELS": ["conv1d-b"], "TEST_CORPUS": "demo-ravdess"}
    result = check_files(run("02_crema_1d_vs_2d", tmp_path, **small), ["conv1d-b"])
    assert result["split"]["tested"]["name"] == "demo-ravdess" and "calm" not in result["labels"]


def test_03_pools_all_folds_and_each_equals_a_run_of_its_own(tmp_path):
    small = {"MAX_CLIPS": 120, "EPOCHS": 1, "PROTOCOL": "folds", "AUGMENT": "none", "CHANNEL": "speech"}
    pooled = run("03_paper_replication", tmp_path / "all", **small, STRICT=True)
    result, predictions = results.read_metrics(pooled), results.read_predictions(pooled)
    assert (
        list(predictions)[0] == "fold"
        and len(predictions) == 120 == result["split"]["test"]
        and predictions["clip"].is_unique
    )
    assert [part["fold"] for part in result["split"]["folds"]] == [1, 2, 3, 4, 5, 6]
    single = check_files(run("03_paper_replication", tmp_path / "one", **small, FOLD=2), ["paper-cnn"])
    fold = check_files(pooled / "fold-2", ["paper-cnn"])
    assert (pooled / "fold-2" / "inputs.json").is_file() and fold["parameters"]["FOLD"] == 2
    assert fold["models"]["paper-cnn"]["test"] == single["models"]["paper-cnn"]["test"]
    assert "CLEAN" in outputs(pooled) and "in 6 folds" in outputs(pooled)
    assert {"paper-cnn", "mfcc-svm", "guess"} <= scored_models(pooled)
    final = results.load_run(pooled)
    card = results.model_card(final)
    assert "120 clips of all 6 speakers" in card and "one of 6 models" in card
    clip = corpora.load("demo-ravdess").iloc[0]
    assert results.predict_proba(final, audio.load(clip.path, final.inputs.sample_rate)).sum() == pytest.approx(1)


def test_03_as_published_leaks_and_with_relu_reports_scores_or_the_failure(tmp_path):
    run("03_paper_replication", tmp_path, MAX_CLIPS=80, EPOCHS=3, OUTPUT_ACTIVATION="relu", SPLIT="60:20:20")
    result = results.read_metrics(tmp_path)
    assert result["split"]["leaks"]["twin"] > 0 and result["split"]["leaks"]["speaker"] > 0
    assert "LEAKS" in outputs(tmp_path)
    entry = result["models"]["paper-cnn"]
    assert "test" in entry or entry["failed"] in outputs(tmp_path)
    assert ("paper-cnn" in scored_models(tmp_path)) == ("test" in entry) and "mfcc-svm" in scored_models(tmp_path)


def test_04_has_a_verdict_for_every_claim_and_the_waterfall(tmp_path):
    run("04_claims", tmp_path, MAX_CLIPS=200)
    verdicts = pd.read_csv(tmp_path / "claims.csv")
    assert len(verdicts) == len(studies.claimed_scores("ravdess")) + len(studies.claimed_scores("local"))
    assert set(verdicts["verdict"]) <= {"holds", "holds only with the leak", "not reached", "cannot be checked"}
    steps = pd.read_csv(tmp_path / "waterfall.csv", index_col=0)
    assert steps.index[0] == "the published recipe" and steps["accuracy"].between(0, 1).all()
    page = outputs(tmp_path)
    assert page.count('"image/png": "') == 4 and "Synthetic speech" in page


def test_07_tests_unseen_speakers_in_folds(tmp_path):
    small = {"MAX_CLIPS": 120, "COPIES": 1}
    result = results.read_metrics(run("07_unseen_speakers", tmp_path, **small, STRICT=True))
    assert list(result["models"]) == ["discriminant", "discriminant-enrolled", "discriminant-transductive"]
    assert not any(result["split"]["test_leaks"][kind] for kind in evaluation.LEAK_FAULTS)
    uar, _, transductive = (entry["test"]["uar"] for entry in result["models"].values())
    assert transductive > uar > 2 / 8
    assert {*result["models"], "mfcc-svm", "guess"} <= scored_models(tmp_path)
    curve = pd.read_csv(tmp_path / "enrolment.csv").query("source == 'any'").set_index("enrolment clips")["uar"]
    assert curve[0] == pytest.approx(uar) and curve.iloc[-1] > uar
    ablation = pd.read_csv(tmp_path / "ablation.csv", index_col=0)
    assert ablation.index[0] == "complete model" and "without speed perturbation" in ablation.index
    check_files(tmp_path / "fold-1", list(result["models"]))
    final = results.load_run(tmp_path)
    card = results.model_card(final)
    assert f"**{uar:.3f}**" in card and "of all 6 speakers" in card and "one of 6 models" in card
    clip = corpora.load("demo-ravdess").iloc[0]
    assert results.predict_proba(final, audio.load(clip.path, final.inputs.sample_rate)).sum() == pytest.approx(1)
    assert results.enrol_speaker(final, [clip.path]).model.name == "discriminant-enrolled"
    assert "CLEAN" in outputs(tmp_path)
    assert set(results.results_table([tmp_path / "fold-3"])["model"]) == set(result["models"])


def test_07_tests_on_another_corpus(tmp_path):
    small = {"MAX_CLIPS": 80, "COPIES": 0, "PROTOCOL": "speaker", "SPLIT": "60:20:20"}
    result = results.read_metrics(run("07_unseen_speakers", tmp_path, TEST_CORPUS="demo-local", **small))
    assert result["split"]["tested"]["name"] == "demo-local"
    assert results.read_predictions(tmp_path).query("split == 'test'")["speaker"].str.startswith("P").all()


@pytest.mark.parametrize(
    ("notebook", "parameters", "message"),
    [
        ("01_explore", {"CORPUS": "demo-cremad"}, "demo-crema"),
        ("02_crema_1d_vs_2d", {"FAULTS": ["raw-powder"]}, "did you mean 'raw-power'"),
        ("02_crema_1d_vs_2d", {"MODELS": ["conv3d"]}, "conv1d-a"),
        ("03_paper_replication", {"NORMALISE": "none"}, "pad or max-minus"),
        ("03_paper_replication", {"EPOCHS": -3}, "EPOCHS must be .*got -3"),
        (
            "03_paper_replication",
            {"PROTOCOL": "speakers", "MAX_CLIPS": 40},
            "random, random-folds, speaker, folds, loso",
        ),
        (
            "03_paper_replication",
            {"STRICT": True, "MAX_CLIPS": 80},
            "split leaks: .* speaker: .*PROTOCOL.* twin: .*AUGM",
        ),
        ("02_crema_1d_vs_2d", {"STRICT": True, "FAULTS": ["validation-in-train"], "MAX_CLIPS": 80}, "same recording"),
    ],
)
def test_a_wrong_value_is_refused_with_a_message(tmp_path, notebook, parameters, message):
    with pytest.raises(papermill.PapermillExecutionError, match=message):
        run(notebook, tmp_path, **parameters)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("form", ["example", "csv", "parquet"])
def test_a_table_of_predictions_alone_can_be_examined(tmp_path, form):
    """Of another toolkit: without models, clips and sets."""
    random, folder = np.random.default_rng(1), tmp_path / "table"
    truth = random.choice(["angry", "sad", "happy"], 120)
    prediction = np.where(random.random(120) < 0.6, truth, "sad")
    table = pd.DataFrame({"speaker": np.arange(120) % 6, "truth": truth, "prediction": prediction, "room": "a"})
    table.loc[::2, "room"] = "b"
    folder.mkdir()
    if form == "parquet":
        pytest.importorskip("pyarrow")
        table.to_parquet(folder / "predictions.parquet")
    else:
        table.to_csv(folder / "predictions.csv", index=False)
    source = NOTEBOOKS.parent / "book" / "predictions.ipynb"
    parameters = {} if form == "example" else {"PREDICTIONS_DIR": str(folder)}
    out = runs.run_notebook(source, parameters, tmp_path / "out").parent
    page, cells = outputs(out), pd.read_csv(out / "cells.csv")
    if form == "example":
        assert "On the same" in page and "mfcc-svm" in page and "Synthetic speech" in page
    else:
        assert set(cells.query("kind == 'room'")["cell"]) == {"a", "b"} and "not checked, no training rows" in page
        assert f"{(truth == prediction).mean():.3f}" in page


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_follow_the_house_style(path):
    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "outputs are committed"
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    headings = [line for c in notebook.cells if c.cell_type == "markdown" for line in c.source.split("\n")]
    assert sum(line.startswith("# ") for line in headings) == 1
    assert not [line for line in headings if "$" in line], "the book cannot typeset formulas without a network"
    lines = [len([line for line in cell.source.split("\n") if line.strip()]) for cell in code]
    assert max(lines) <= 25 and np.median(lines) <= 8
    assert notebook.metadata.kernelspec.name == "python3"
    (parameters,) = (cell for cell in code if "parameters" in cell.metadata.get("tags", []))
    for line in parameters.source.split("\n"):
        assert line.startswith("# ") or line.split(" = ")[0].isupper(), f"not a parameter: {line}"
    for cell in code:
        assert all(len(line) <= 84 for line in cell.source.split("\n")), "a line of code is too long"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_import_at_most_eight_names_from_sernb(path):
    nodes = [node for tree in code_trees(path) for node in ast.walk(tree)]
    names = {alias.name for n in nodes if isinstance(n, ast.ImportFrom) and n.module == "sernb" for alias in n.names}
    assert len(names) <= 8


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_at_most_a_tenth_of_the_code_lines_only_build_sentences(path):
    counts = [count_lines(source) for source in code_sources(path)]
    sentence_lines, code_lines = (sum(column) for column in zip(*counts, strict=True))
    assert sentence_lines <= code_lines / 10


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_end_with_a_summary_exercises_and_what_next(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    headings = [line for line in text.split("\n") if line.startswith("## ")]
    assert headings[-3:] == ["## What to conclude, and what not", "## Exercises", "## What next"]
    assert text.count("<details><summary>Answer</summary>\n\n") == text.count("</details>") >= 3


def code_sources(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def code_trees(path: Path) -> list[ast.Module]:
    return [ast.parse(source) for source in code_sources(path)]


def count_lines(source: str) -> tuple[int, int]:
    """Return how many lines of code hold nothing but a text of at least four words, and how many there are."""
    lines, inside = source.split("\n"), set()
    for node in filter(is_sentence, ast.walk(ast.parse(source))):
        starts_line = not lines[node.lineno - 1][: node.col_offset].strip()
        inside |= set(range(node.lineno + (not starts_line), node.end_lineno + 1))
    return len(inside), sum(bool(line.strip()) for line in lines)


def is_sentence(node: ast.AST) -> bool:
    """Return whether a node is a text of at least four words."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return isinstance(node, ast.Constant | ast.JoinedStr) and len("".join(texts).split()) >= 4


@pytest.mark.parametrize(
    ("notebook", "message"),
    [
        ("01_explore", ""),
        ("03_paper_replication", "SplitError: calm has 1 clip"),
        ("07_unseen_speakers", "SplitError: the training set has no clip of calm"),
    ],
)
def test_one_clip_per_emotion_is_played_and_a_split_of_them_refused_with_a_message(tmp_path, notebook, message):
    parameters = {"CORPUS": "demo-ravdess", "MAX_CLIPS": 8}
    if message:
        with pytest.raises(papermill.PapermillExecutionError, match=message):
            run(notebook, tmp_path, **parameters)
    else:
        run(notebook, tmp_path, **parameters)
    cells = nbformat.read(tmp_path / f"{notebook}.ipynb", 4).cells
    assert json.dumps([cell.get("outputs") for cell in cells]).count("<audio") >= 8
