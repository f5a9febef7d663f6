"""The files of finished runs as tables, and what may be published of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sernb import display
from sernb import evaluation
from sernb import features
from sernb import results
from sernb import runs
from sernb import studies
from sernb.results import saving

ROOT = Path(__file__).parents[1]


def test_results_become_a_table(tmp_path: Path):
    assert set(results.results_table(tmp_path)) > {*results.RUN_COLUMNS, *results.MODEL_COLUMNS}
    test = {"loss": 1.0, "accuracy": 0.5, "uar": 0.4, "macro_f1": 0.3, "weighted_f1": 0.2}
    good = {
        "weights": 9,
        "epochs": 3,
        "seconds": 1.5,
        "test": test,
        "ci95": {"accuracy": [0.4, 0.6], "uar": [None, None]},
    }
    metrics = {
        "notebook": "03_paper",
        "parameters": {"SEED": 1, "DATA_DIR": "/somewhere"},
        "corpus": {"name": "local", "clips": 7, "fingerprint": "abc"},
        "split": {"protocol": "speaker"},
        "models": {"good": good, "bad": {"epochs": 2, "failed": "loss became NaN in epoch 2"}},
        "environment": {"revision": "123"},
    }
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "metrics.json").write_text(json.dumps(metrics))
    table = results.results_table(tmp_path).set_index("model")
    assert table.loc["good", ["run", "SEED", "accuracy", "accuracy_high", "status"]].tolist() == [
        "one",
        1,
        0.5,
        0.6,
        "finished",
    ]
    assert table["status"]["bad"] == "loss became NaN in epoch 2"
    assert table[["uar_low", "uar_high"]].isna().all(axis=None) and "DATA_DIR" not in table


def run_folder(folder: Path, answers: str = "ssx ssx sxx", seed: int = 1, **changed) -> Path:
    """Write a finished run's files. Answers are triples: speaker, truth, prediction; `s` is sad, `x` is happy."""
    names = {"s": "sad", "x": "happy"}
    test = [(speaker, names[truth], names[prediction]) for speaker, truth, prediction in answers.split()]
    hits = sum(truth == prediction for _, truth, prediction in test) / len(test)
    result = {
        "notebook": "03_paper_replication",
        "parameters": {"SEED": seed, "DATA_DIR": "/home/someone/audio", "OUTPUT_DIR": "/home/someone/runs"},
        "corpus": {"name": "local", "clips": 7, "fingerprint": "abc"},
        "split": {"protocol": "speaker", "leaks": {"speaker": 0, "twin": 2, "content": 0}},
        "models": {"m": {"epochs": 2, "seconds": 60, "test": {"accuracy": hits, "uar": 0.25}}},
        "labels": ["happy", "sad"],
        "environment": {},
    }
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({**result, **changed}))
    (folder / "history.csv").write_text("model,epoch\nm,1\n")
    lines = [f"m,secret{i}.wav,0,{v},test,{t},{p}" for i, (v, t, p) in enumerate(test)]
    lines.append("m,other.wav,0,zoe,train,sad,sad")
    head = "model,clip,copy,speaker,split,truth,prediction"
    (folder / "predictions.csv").write_text("\n".join([head, *lines]) + "\n")
    return folder


def sweep_folder(tmp_path: Path, *runs: str) -> Path:
    folders = [run_folder(tmp_path / "sweep" / f"run-{i}", run, seed=i // 2) for i, run in enumerate(runs)]
    results.results_table(folders).assign(label="all").to_csv(tmp_path / "sweep" / "results.csv", index=False)
    return tmp_path / "sweep"


def test_a_failed_run_has_one_row_whatever_files_it_left(tmp_path: Path):
    folder = run_folder(tmp_path / "one")
    error = "a/n.ipynb failed in cell [3]: ValueError: no"
    record = {"status": "failed", "error": error, "error_type": "ValueError"}
    (folder / "run.json").write_text(json.dumps({**record, "notebook": "n.ipynb", "parameters": {"SEED": 3}}))
    run_folder(tmp_path / "two")
    table = results.results_table(tmp_path)
    assert table["status"].tolist() == ["failed: ValueError", "finished"] and table["SEED"].tolist() == [3, 1]
    assert table["accuracy"].isna().tolist() == [True, False] and table["leaks_twin"][1] == 2
    assert table[["SEED", "clips"]].to_csv(index=False) == "SEED,clips\n3,\n1,7\n", "3 stays 3, and is not 3.0"


@pytest.mark.slow
def test_a_final_model_counts_recordings_and_is_not_saved_with_nan_weights(tmp_path: Path):
    networks = {name: studies.study_a_network("conv1d-b", (2, 1), 2) for name in ("good", "bad")}
    networks["bad"].set_weights([np.full_like(weights, np.nan) for weights in networks["bad"].get_weights()])
    spec = features.InputSpec("zcr_rms", 16000, {"length": 16000})
    rows = pd.DataFrame({"speaker": ["ann", "ann", "bob"], "copy": [0, 1, 0]})
    inputs = dict.fromkeys(networks, spec)
    folder = run_folder(tmp_path / "pooled")
    result = saving.save_final_models(folder, results.FinalModels(networks, inputs, rows))
    assert result["final"] == {"clips": 2, "speakers": 2} == results.read_metrics(folder)["final"]
    assert [file.name for file in folder.glob("*.keras")] == ["good.keras"]
    assert list(json.loads((folder / "inputs.json").read_text())) == ["good"]
    failed = run_folder(tmp_path / "failed")
    saving.save_final_models(failed, results.FinalModels({"bad": networks["bad"]}, inputs, rows))
    assert "final" not in results.read_metrics(failed) and not (failed / "inputs.json").exists()


def test_runs_beside_one_another_are_listed_and_compared(tmp_path: Path):
    first = run_folder(tmp_path / "a", " ".join(["ass axx bss bxx css cxx dss dxx"] * 3))
    second = run_folder(tmp_path / "b", " ".join(["ass axs bss bxs csx cxx dss dxs"] * 3), seed=2)
    run_folder(tmp_path / "c", notebook="07_unseen_speakers")
    os.utime(second / "metrics.json", (1, 1))
    assert results.runs_beside(second) == [second, first] and results.runs_beside(first) == [first, second]
    table = display.format_runs(results.results_table(results.runs_beside(first)))
    assert table["SEED"].to_dict() == {0: 1, 1: 2} and list(table) == ["SEED", "accuracy [95% CI]", "UAR [95% CI]"]
    settings, summary = results.compare_runs(first, second, ("run 0", "run 1"))
    assert settings.to_dict() == {"run 0": {"SEED": 1}, "run 1": {"SEED": 2}}
    assert "(24 of run 0 and 24 of run 1) have 24 recordings in common. " in summary
    assert "On the same 24 clips of 4 speakers, the UAR is 1.000 for run 0 and 0.500 for run 1" in summary
    short = run_folder(tmp_path / "s", "ass axs bss bxs")
    _, refusal = results.compare_runs(first, short)
    assert "(24 of the first run and 4 of the second run) have 4 recordings in common. A comparison needs" in refusal
    assert "at least 20 recordings of at least 4 speakers" in refusal and "UAR" not in refusal
    other = run_folder(tmp_path / "d", corpus={"name": "ravdess", "clips": 7, "fingerprint": "abc"})
    assert "no recording in common" in results.compare_runs(first, other)[1]
    failed = run_folder(tmp_path / "e", models={"m": {"failed": "loss became NaN in epoch 2"}})
    assert "no scores of the second run" in results.compare_runs(first, failed)[1]


def test_publishing_leaves_paths_and_clips_behind(tmp_path: Path):
    sweep = sweep_folder(tmp_path, "asx bss bxx")
    failed = pd.DataFrame([{"run": "run-9", "status": "failed: AudioError: /home/someone/secret.wav: not audio"}])
    pd.concat([pd.read_csv(sweep / "results.csv"), failed]).to_csv(sweep / "results.csv", index=False)
    written = results.publish_sweep(sweep, tmp_path / "book")
    assert written == tmp_path / "book" / "sweep.csv" and pd.read_csv(written)["accuracy"][0] == 2 / 3
    assert pd.read_csv(written)["status"].tolist() == ["finished", "failed: AudioError"]
    published = {path.name for path in (tmp_path / "book" / "sweep" / "run-0").iterdir()}
    assert published == {"metrics.json", "history.csv", "answers.csv"}
    everything = "".join(path.read_text() for path in (tmp_path / "book").rglob("*") if path.is_file())
    assert "someone" not in everything and "secret" not in everything and "zoe" not in everything
    assert set(results.test_answers(tmp_path / "book" / "sweep" / "run-0")["speaker"]) == {"0", "1"}, (
        "numbered, not named"
    )


STATUSES = [
    ("failed: ValueError", "failed: ValueError"),
    ("failed: AudioError: /home/someone/a.wav", "failed: AudioError"),
    ("failed: /home/someone/n.ipynb failed", "failed"),
    ("failed: C:\\Users\\someone\\n.ipynb", "failed"),
    ("failed: KilledWorker", "failed: KilledWorker"),
    ("failed: ", "failed"),
    ("failed someone", "failed"),
    ("finished", "finished"),
    ("loss became NaN in epoch 2", "loss became NaN in epoch 2"),
]


@pytest.mark.parametrize(("status", "published"), STATUSES)
def test_a_status_is_published_without_what_an_error_says(tmp_path: Path, status: str, published: str):
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    pd.DataFrame([{"run": "run-1", "status": status}]).to_csv(sweep / "results.csv", index=False)
    written = results.publish_sweep(sweep, tmp_path / "book")
    assert pd.read_csv(written)["status"].tolist() == [published], "also where every run failed"
    assert results.publish_sweep(sweep, tmp_path / "book") == written


@pytest.mark.parametrize(
    "error_type", ["DeadKernelError", "", "/home/someone/n.ipynb", None, "RuntimeError: /home/someone"]
)
def test_the_status_of_a_failed_run_names_no_folder(tmp_path: Path, error_type: str | None):
    error = f"/home/someone/n.ipynb failed: {error_type}: Kernel died\nthe executed notebook: /home/someone/out/n.ipynb"
    record = {"status": "failed", "error": error, "notebook": "n.ipynb", "parameters": {}}
    results.write_record(tmp_path / "one", record | ({} if error_type is None else {"error_type": error_type}))
    (status,) = results.results_table(tmp_path)["status"]
    assert status.startswith("failed") and "someone" not in status


def test_publishing_removes_only_an_earlier_publication(tmp_path: Path):
    sweep, book = sweep_folder(tmp_path, "asx bss bxx"), tmp_path / "book"
    (book / "sweep").mkdir(parents=True)
    (book / "sweep" / "thesis.tex").write_text("mine")
    with pytest.raises(results.OutputError, match="thesis.tex"):
        results.publish_sweep(sweep, book)
    assert (book / "sweep" / "thesis.tex").read_text() == "mine"
    (book / "sweep" / "thesis.tex").rename(book / "sweep.csv")
    (book / "sweep").rmdir()
    with pytest.raises(results.OutputError, match="sweep.csv"):
        results.publish_sweep(sweep, book)
    assert (book / "sweep.csv").read_text() == "mine"


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\x00"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str):
    folder = run_folder(tmp_path / "one")
    (folder / "metrics.json").write_text(content)
    for read in (results.read_metrics, lambda folder: results.results_table([folder])):
        with pytest.raises(ValueError, match=r"one/metrics\.json is damaged"):
            read(folder)


def test_a_sweep_is_not_published_onto_itself(tmp_path: Path):
    sweep = sweep_folder(tmp_path, "asx bss bxx")
    with pytest.raises(ValueError, match="another folder"):
        results.publish_sweep(sweep, tmp_path)
    assert (sweep / "run-0" / "predictions.csv").is_file()


def test_runs_are_pooled_over_folds_and_averaged_over_seeds(tmp_path: Path):
    first, second = "ass asx css cxs", "bss bxx bxs bss dxx dxs"
    sweep = sweep_folder(tmp_path, first, second, "ass ass css cxx", "bss bxx bxx bss dxx dxx")
    results.publish_sweep(sweep, tmp_path / "book")
    for where, name in ((tmp_path, "sweep"), (tmp_path / "book", "sweep")):
        pool = results.pool_runs(results.read_sweep(where, name), "label").loc["all"]
        assert (pool["seeds"], pool["speakers"], pool["rows"]) == (2, 4, 10)
        assert pool["accuracy"] == pytest.approx((6 / 10 + 1) / 2)
        assert (pool["accuracy_least"], pool["accuracy_most"]) == (pytest.approx(6 / 10), 1)
        # All speakers have three of four rows right, over both seeds, except for b, who has seven of eight.
        assert pool["accuracy_low"] == pytest.approx(0.612, abs=0.001)
        assert pool["accuracy_high"] == pytest.approx(0.910, abs=0.001)
        assert pool["largest_class"] == pytest.approx(5 / 10)
    assert (
        "0.800\N{NO-BREAK SPACE}[0.612,\N{NO-BREAK SPACE}0.910]"
        in display.format_pooled(results.pool_runs(results.read_sweep(tmp_path, "sweep"), "label")).to_string()
    )


def test_a_seed_that_lacks_a_fold_is_left_out(tmp_path: Path):
    sweep = sweep_folder(tmp_path, "ass asx", "bss bss", "asx asx")
    pool = results.pool_runs(results.read_sweep(sweep.parent, "sweep"), "label").loc["all"]
    assert (pool["seeds"], pool["accuracy"]) == (1, 3 / 4)


def test_an_emotion_that_is_predicted_but_never_true_costs_no_score(tmp_path: Path):
    pool = results.pool_runs(results.read_sweep(sweep_folder(tmp_path, "ass asx bss").parent, "sweep"), "label").loc[
        "all"
    ]
    assert pool["accuracy"] == pool["uar"] == pytest.approx(2 / 3)


def test_a_missing_sweep_says_how_to_make_it(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="sernb sweep sweeps/waterfall.yml"):
        results.read_sweep(tmp_path, "waterfall")


def test_the_epoch_from_which_a_level_is_reached_is_a_steady_one():
    history = pd.DataFrame({"epoch": range(1, 11), "val_accuracy": [0.1, 0.9, 0.1, 0.1, 0.1, 0.6, 0.6, 0.6, 0.6, 0.6]})
    assert results.epochs_to_reach(history, 0.55) == 8
    assert pd.isna(results.epochs_to_reach(history, 0.8))


SWEEP_TABLES = sorted(path for path in (ROOT / "book" / "results").glob("*.csv") if path.stem != "paper-gpu")


@pytest.mark.parametrize("table", SWEEP_TABLES, ids=lambda path: path.stem)
def test_the_books_tables_are_those_of_its_runs(table: Path):
    written = pd.read_csv(table, float_precision="round_trip")
    finished = written[written["status"] == "finished"]
    folders = [table.with_suffix("") / run for run in finished["run"].unique()]
    table_of_runs = results.results_table(folders)
    for column in ("run", "model", *results.SCORES, "fingerprint"):
        assert finished[column].tolist() == table_of_runs[column].tolist()


@pytest.mark.parametrize("table", SWEEP_TABLES, ids=lambda path: path.stem)
def test_the_books_tables_have_the_runs_that_their_sweep_file_asks_for(table: Path):
    sweep = runs.read_sweep_file(ROOT / "sweeps" / f"{table.stem}.yml")
    asked = {runs.slug(point.varied): point.label for point in sweep.points}
    written = results.read_sweep(table.parent, table.stem)
    assert set(written["run"]) == set(asked)
    if any(asked.values()):
        assert dict(zip(written["run"], written["label"], strict=True)) == asked
    # A setting that is fixed for all runs is not in their names.
    defaults = runs.notebook_parameters(sweep.notebook)
    settings = pd.read_csv(table, dtype=str, keep_default_na=False).drop_duplicates("run").set_index("run")
    for point in sweep.points:
        expected = {**defaults, **sweep.fixed, **point.varied}
        expected.pop("FOLD", None)  # its default has changed; where it matters, it is in the name
        for name, value in settings.loc[runs.slug(point.varied)].reindex(expected).dropna().items():
            assert value == str(int(expected[name]) if isinstance(expected[name], bool) else expected[name]), name


def test_speakers_with_names_that_pandas_takes_for_missing_values_are_kept(tmp_path):
    speakers = ["NA", "null", "None", "nan", "P1"]
    rows = pd.DataFrame({"speaker": speakers}).assign(
        model="net", clip="NA", split="test", truth="sad", prediction="sad"
    )
    rows.to_csv(tmp_path / "predictions.csv", index=False)
    assert results.test_answers(tmp_path)["speaker"].tolist() == speakers
    assert set(results.read_predictions(tmp_path)["clip"]) == {"NA"}
    rows.assign(rows=1).to_csv(tmp_path / "answers.csv", index=False)
    (tmp_path / "predictions.csv").unlink()
    assert results.test_answers(tmp_path)["speaker"].tolist() == speakers


@pytest.mark.slow
def test_readme_and_the_page_for_clinicians_quote_the_results():
    text = " ".join((ROOT / "book" / "clinicians.md").read_text().split())
    waterfall = results.pool_runs(results.read_sweep(ROOT / "book" / "results", "waterfall"), "label")
    runs_unseen = results.read_sweep(ROOT / "book" / "results", "unseen-speakers")
    plain = runs_unseen[runs_unseen["model"] == "discriminant"]
    unseen = results.pool_runs(plain, "label")
    normalised = results.pool_runs(runs_unseen[runs_unseen["model"] == "discriminant-transductive"], "label")
    on_ravdess, on_crema = "RAVDESS speech, six folds", "trained on RAVDESS speech, tested on CREMA-D"
    quoted = [
        display.format_with_interval(waterfall.iloc[0]),
        display.format_with_interval(waterfall.iloc[-1]),
        display.format_with_interval(unseen.loc[on_ravdess]),
        display.format_with_interval(unseen.loc[on_ravdess], "uar"),
        display.format_with_interval(unseen.loc[on_crema], "uar"),
        display.format_with_interval(normalised.loc[on_ravdess], "uar"),
    ]
    quoted = [score.replace("\N{NO-BREAK SPACE}", " ") for score in quoted]
    assert [score for score in quoted if score not in text] == []
    readme = " ".join((ROOT / "README.md").read_text().split())
    network = display.format_with_interval(waterfall.iloc[-1], "uar").replace("\N{NO-BREAK SPACE}", " ")
    assert network in readme and quoted[3] in readme

    predictions = results.answers_of_runs(plain[plain["label"] == on_ravdess])
    by_speaker = dict(list(predictions.groupby("speaker")))
    rng = np.random.default_rng(0)
    for people in (4, 6, 8, 12, 24):
        groups = [rng.permutation(list(by_speaker))[:people] for _ in range(60 if people < 24 else 1)]
        intervals = [evaluation.speaker_interval(pd.concat(map(by_speaker.get, group)))["uar"] for group in groups]
        assert f"| {people} | ±{50 * np.diff(intervals).mean():.0f} |" in text
