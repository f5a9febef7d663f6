"""Each notebook, run by plain papermill on a tiny demo subset and judged by the files that it leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from support.audio_files import tone
from support.audio_files import write

from sernb import evaluation
from sernb import results
from sernb import runs
from sernb import studies

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
pytestmark = pytest.mark.notebook

FILES = ("metrics.json", "predictions.csv", "history.csv")


def run(name: str, folder: Path, **parameters) -> Path:
    folder.mkdir(exist_ok=True)
    papermill.execute_notebook(
        NOTEBOOKS / f"{name}.ipynb",
        folder / f"{name}.ipynb",
        {"OUTPUT_DIR": str(folder), **parameters},
        progress_bar=False,
    )
    return folder


def outputs(folder: Path) -> str:
    """Everything that the page of a run would show, as text."""
    (notebook,) = folder.glob("*.ipynb")
    cells = nbformat.read(notebook, 4).cells
    shown = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [o for o in shown if o.get("name") == "stderr"], "something was written to standard error"
    assert not [o for o in shown if o.output_type == "display_data" and not any(o.data.values())], "an empty output"
    page = json.dumps(shown)
    assert page.count('"image/png": "') == page.count('"caption": "'), "a figure without a caption"
    return page


def beside(folder: Path) -> set[str]:
    """The models in the table of what stands beside the networks."""
    (notebook,) = folder.glob("*.ipynb")
    (cell,) = (cell for cell in nbformat.read(notebook, 4).cells if cell["id"] == "beside-rows")
    (table,) = (output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {}))
    return set(re.findall(r"<th>([^<]+)</th>", table))


def check_files(folder: Path, models: list[str]) -> dict:
    """The files agree with one another and with DESIGN's columns."""
    result = json.loads((folder / "metrics.json").read_text())
    predictions, history = results.read_predictions(folder), pd.read_csv(folder / "history.csv")
    labels = result["labels"]
    assert list(predictions) == ["model", "clip", "copy", "speaker", "split", "truth", "prediction", *labels]
    assert list(history) == models.HISTORY_COLUMNS
    assert list(result["models"]) == models == list(predictions["model"].unique()) == list(history["model"].unique())
    for name, entry in result["models"].items():
        assert (folder / f"{name}.keras").is_file()
        for side in ("train", "val", "test"):
            part = predictions[(predictions["model"] == name) & (predictions["split"] == side)]
            assert len(part) == result["split"][side]
            matrix = evaluation.confusion_matrix(part["truth"], part["prediction"], labels)
            assert evaluation.compute_scores(matrix)["accuracy"] == pytest.approx(entry[side]["accuracy"])
        assert np.array(entry["confusion"]).tolist() == matrix.tolist()
    return result


@pytest.mark.parametrize("corpus", ["demo-crema", "demo-local"])
def test_01_explores_a_corpus(tmp_path, corpus):
    run("01_explore", tmp_path, CORPUS=corpus, MAX_CLIPS=40)
    clips = pd.read_csv(tmp_path / "clips.csv")
    assert len(clips) == 40 and {"seconds", "zcr", "rms"} <= set(clips)
    assert clips["rms"].between(0, 1).all() and clips["seconds"].between(0.3, 10).all()
    page = outputs(tmp_path)
    emotions = clips["emotion"].nunique()
    assert page.count("<audio") == emotions + 5  # the recording and its four augmentations
    assert page.count('"image/png": "') == 6
    assert "Synthetic speech" in page


def test_01_takes_a_local_corpus_with_the_least_manifest(tmp_path):
    names = ["a.wav", "b.wav", "c.wav", "d.wav"]
    for i, name in enumerate(names):
        write(tmp_path / "mine" / name, tone(0.6, 16000, 200 + 40 * i), 16000)
    lines = [f"{name},{emotion},P{i}" for i, (name, emotion) in enumerate(zip(names, ["sad", "calm"] * 2, strict=True))]
    (tmp_path / "mine" / "manifest.csv").write_text("file,emotion,speaker\n" + "\n".join(lines) + "\n")
    run("01_explore", tmp_path / "out", CORPUS="local", DATA_DIR=str(tmp_path / "mine"))
    assert len(pd.read_csv(tmp_path / "out" / "clips.csv")) == 4
    assert "Synthetic" not in outputs(tmp_path / "out")


@pytest.mark.parametrize("chosen", [[], ["as-published"]])
def test_02_corrected_and_as_published(tmp_path, chosen):
    models = ["conv1d-b", "conv2d-a"]
    run("02_crema_1d_vs_2d", tmp_path, MAX_CLIPS=120, EPOCHS=2, MODELS=models, FAULTS=chosen)
    result = check_files(tmp_path, models)
    assert outputs(tmp_path).count('"image/png": "') == 6 + len(chosen)  # as published, confusion is shown twice
    assert {"conv1d-b", "conv2d-a", "mfcc-svm", "guess"} <= beside(tmp_path)
    leaks = result["split"]["leaks"]
    if chosen:
        assert result["split"]["protocol"] == "published"
        assert leaks["speaker"] > 0 and leaks["content"] == result["split"]["val"]
    else:
        assert result["split"]["protocol"] == "speaker"
        assert not any(leaks[kind] for kind in evaluation.LEAK_FAULTS)


def test_03_the_papers_way_and_the_honest_way_by_papermill_and_by_sernb(tmp_path):
    tiny = {"MAX_CLIPS": 120, "EPOCHS": 2, "SPLIT": "60:20:20"}
    paper = check_files(run("03_paper_replication", tmp_path / "paper", **tiny), ["paper-cnn"])
    assert paper["split"]["leaks"]["twin"] > 0 and paper["split"]["leaks"]["speaker"] > 0
    honest = {**tiny, "AUGMENT": "train-only", "PROTOCOL": "speaker", "NORMALISE": "max-minus"}
    by_papermill = run("03_paper_replication", tmp_path / "a", **honest)
    by_sernb = runs.run_notebook(NOTEBOOKS / "03_paper_replication.ipynb", honest, tmp_path / "b").parent
    twice = [check_files(folder, ["paper-cnn"]) for folder in (by_papermill, by_sernb)]
    assert not any(twice[0]["split"]["leaks"][kind] for kind in evaluation.LEAK_FAULTS)
    assert "LEAKS" in outputs(tmp_path / "paper") and "CLEAN" in outputs(tmp_path / "a")
    for result in twice:  # what may differ between two equal runs
        result["models"]["paper-cnn"].pop("seconds")
        result["parameters"].pop("OUTPUT_DIR")
        result["environment"].pop("revision")
    assert twice[0] == twice[1]
    assert "claimed" in outputs(tmp_path / "a")
    assert {"paper-cnn", "mfcc-svm", "guess"} <= beside(tmp_path / "paper") & beside(tmp_path / "a")


def test_03_trains_on_one_corpus_and_tests_on_another(tmp_path):
    tiny = {"MAX_CLIPS": 80, "EPOCHS": 1, "SPLIT": "60:20:20", "AUGMENT": "train-only"}
    result = check_files(run("03_paper_replication", tmp_path, TEST_CORPUS="demo-local", **tiny), ["paper-cnn"])
    tested = result["split"]["tested"]
    assert (result["corpus"]["name"], tested["name"], tested["clips"]) == ("demo-ravdess", "demo-local", 80)
    assert tested["fingerprint"] != result["corpus"]["fingerprint"]
    test = results.read_predictions(tmp_path).query("split == 'test'")
    assert test["speaker"].str.startswith("P").all() and (test["copy"] == 0).all()
    claimed = studies.compare_with_claims(result)["claimed, mean of its runs"]
    assert np.isnan(claimed["test"]) and claimed["val"] > 0
    assert {"paper-cnn", "mfcc-svm", "guess"} <= beside(tmp_path)


def test_02_tests_on_another_corpus(tmp_path):
    tiny = {"MAX_CLIPS": 80, "EPOCHS": 1, "MODELS": ["conv1d-b"], "TEST_CORPUS": "demo-ravdess"}
    result = check_files(run("02_crema_1d_vs_2d", tmp_path, **tiny), ["conv1d-b"])
    assert result["split"]["tested"]["name"] == "demo-ravdess" and "calm" not in result["labels"]


def test_03_pools_all_folds_and_each_is_the_run_of_its_own(tmp_path):
    tiny = {"MAX_CLIPS": 120, "EPOCHS": 1, "PROTOCOL": "folds", "AUGMENT": "none", "CHANNEL": "speech"}
    pooled = run("03_paper_replication", tmp_path / "all", **tiny, STRICT=True)
    result, told = results.read_metrics(pooled), results.read_predictions(pooled)
    assert list(told)[0] == "fold" and len(told) == 120 == result["split"]["test"] and told["clip"].is_unique
    assert [part["fold"] for part in result["split"]["folds"]] == [1, 2, 3, 4, 5, 6]
    alone = check_files(run("03_paper_replication", tmp_path / "one", **tiny, FOLD=2), ["paper-cnn"])
    among = check_files(pooled / "fold-2", ["paper-cnn"])
    assert (pooled / "fold-2" / "inputs.json").is_file() and among["parameters"]["FOLD"] == 2
    assert among["models"]["paper-cnn"]["test"] == alone["models"]["paper-cnn"]["test"]
    assert "CLEAN" in outputs(pooled) and "in 6 folds" in outputs(pooled)
    assert {"paper-cnn", "mfcc-svm", "guess"} <= beside(pooled)


def test_03_with_relu_ends_with_scores_or_says_that_it_failed(tmp_path):
    run("03_paper_replication", tmp_path, MAX_CLIPS=80, EPOCHS=3, OUTPUT_ACTIVATION="relu", SPLIT="60:20:20")
    entry = json.loads((tmp_path / "metrics.json").read_text())["models"]["paper-cnn"]
    assert "test" in entry or entry["failed"] in outputs(tmp_path)
    assert ("paper-cnn" in beside(tmp_path)) == ("test" in entry) and "mfcc-svm" in beside(tmp_path)


def test_04_judges_every_claim_and_tells_the_waterfall(tmp_path):
    run("04_claims", tmp_path, MAX_CLIPS=200)
    verdicts = pd.read_csv(tmp_path / "claims.csv")
    assert len(verdicts) == len(studies.claimed_scores("ravdess")) + len(studies.claimed_scores("local"))
    assert set(verdicts["verdict"]) <= {"holds", "holds only with the leak", "not reached", "cannot be checked"}
    steps = pd.read_csv(tmp_path / "waterfall.csv", index_col=0)
    assert steps.index[0] == "the published recipe" and steps["accuracy"].between(0, 1).all()
    page = outputs(tmp_path)
    assert page.count('"image/png": "') == 4 and "Synthetic speech" in page


def test_07_answers_for_unseen_speakers_in_folds(tmp_path):
    tiny = {"MAX_CLIPS": 120, "COPIES": 1}
    result = results.read_metrics(run("07_unseen_speakers", tmp_path, **tiny, STRICT=True))
    assert list(result["models"]) == ["discriminant", "discriminant-transductive"]
    assert not any(result["split"]["test_leaks"][kind] for kind in evaluation.LEAK_FAULTS)
    uar, known = (one["test"]["uar"] for one in result["models"].values())
    assert known > uar > 2 / 8
    assert {"discriminant", "discriminant-transductive", "mfcc-svm", "guess"} <= beside(tmp_path)
    ablation = pd.read_csv(tmp_path / "ablation.csv", index_col=0)
    assert ablation.index[0] == "all of it" and "without other voices" in ablation.index
    check_files(tmp_path / "fold-1", list(result["models"]))
    assert "CLEAN" in outputs(tmp_path)
    assert results.results_table([tmp_path / "fold-3"])["fold"].tolist() == [3, 3]


def test_07_is_tested_on_another_corpus(tmp_path):
    tiny = {"MAX_CLIPS": 80, "COPIES": 0, "PROTOCOL": "speaker", "SPLIT": "60:20:20"}
    result = results.read_metrics(run("07_unseen_speakers", tmp_path, TEST_CORPUS="demo-local", **tiny))
    assert result["split"]["tested"]["name"] == "demo-local"
    assert results.read_predictions(tmp_path).query("split == 'test'")["speaker"].str.startswith("P").all()


@pytest.mark.parametrize(
    ("notebook", "parameters", "message"),
    [
        ("01_explore", {"CORPUS": "demo-cremad"}, "demo-crema"),
        ("02_crema_1d_vs_2d", {"FAULTS": ["raw-powder"]}, "did you mean 'raw-power'"),
        ("02_crema_1d_vs_2d", {"MODELS": ["conv3d"]}, "conv1d-a"),
        ("03_paper_replication", {"NORMALISE": "none"}, "pad or max-minus"),
        ("03_paper_replication", {"EPOCHS": -3}, "EPOCHS is -3; give 0 or more"),
        ("03_paper_replication", {"PROTOCOL": "speakers", "MAX_CLIPS": 40}, "random, speaker, folds, loso"),
        (
            "03_paper_replication",
            {"STRICT": True, "MAX_CLIPS": 80},
            "split leaks: .* speaker: .*PROTOCOL.* twin: .*AUGM",
        ),
        ("02_crema_1d_vs_2d", {"STRICT": True, "FAULTS": ["validation-in-train"], "MAX_CLIPS": 80}, "same recording"),
    ],
)
def test_a_wrong_value_is_refused_in_words(tmp_path, notebook, parameters, message):
    with pytest.raises(papermill.PapermillExecutionError, match=message):
        run(notebook, tmp_path, **parameters)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_notebooks_keep_the_house_style(path):
    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "outputs are committed"
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    headings = [line for c in notebook.cells if c.cell_type == "markdown" for line in c.source.split("\n")]
    assert sum(line.startswith("# ") for line in headings) == 1
    lines = [len([line for line in cell.source.split("\n") if line.strip()]) for cell in code]
    assert max(lines) <= 25 and np.median(lines) <= 8
    assert notebook.metadata.kernelspec.name == "python3"
    (parameters,) = (cell for cell in code if "parameters" in cell.metadata.get("tags", []))
    for line in parameters.source.split("\n"):
        assert line.split(" = ")[0].isupper(), f"not a parameter: {line}"
