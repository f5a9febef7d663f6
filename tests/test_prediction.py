from __future__ import annotations

import io
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write
from support.trained_runs import inputs_of
from support.trained_runs import make_run
from typer.testing import CliRunner

from sernb import audio
from sernb import cli
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models
from sernb import results
from sernb import studies

RATE = 16000


@pytest.fixture(scope="module")
def table():
    return corpora.load("demo-local", max_clips=24, emotions=["angry", "calm", "sad"])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, table):
    return make_run(tmp_path_factory.mktemp("run"), table, "pad")


@pytest.fixture(scope="module")
def run(run_dir):
    return results.load_run(run_dir)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pad", "max-minus", "db", "numbers"])
def test_a_clip_of_the_run_is_predicted_as_in_the_run(tmp_path, table, run_dir, kind):
    folder = run_dir if kind == "pad" else make_run(tmp_path, table, kind)
    stored = results.read_predictions(folder).set_index("clip").loc[table["clip"][:8], corpora.emotion_labels(table)]
    predictions = results.predict_files(results.load_run(folder), table["path"][:8])
    np.testing.assert_allclose(predictions[list(stored)], stored, atol=2e-5)
    assert (predictions["problem"] == "").all() and list(predictions["file"]) == list(table["path"][:8])


def test_a_long_clip_is_predicted_in_windows(run, table):
    clips = [audio.load(path, RATE) for path in table["path"]]
    long = np.concatenate(clips[:8])
    assert len(long) > run.inputs.frames * features.HOP_LENGTH
    whole = results.predict_proba(run, long)
    assert whole.sum() == pytest.approx(1) and list(whole.index) == run.labels
    moments = results.predict_windows(run, long, window=1.0, hop=0.5)
    assert np.diff(moments.index[:-1]) == pytest.approx(0.5) and moments.index[0] == pytest.approx(0.5)
    assert moments.index[-1] == pytest.approx(len(long) / RATE - 0.5), "the last window ends with the clip"
    np.testing.assert_allclose(moments.sum(axis=1), 1, atol=1e-6)
    alone = results.predict_proba(run, long[:RATE])
    np.testing.assert_allclose(moments.iloc[0], alone, atol=1e-5)


def test_a_very_short_clip_has_one_window(run):
    assert len(results.predict_windows(run, tone(0.05, RATE))) == 1
    assert results.predict_proba(run, np.zeros(10, np.float32)).sum() == pytest.approx(1)


def test_the_model_card_says_what_the_score_means(run, tmp_path):
    card = " ".join(results.model_card(run).split())
    entry = run.result["models"]["paper-cnn"]
    assert f"**UAR on unseen speakers:** **{entry['test']['uar']:.3f}**" in card and "chance 0.333" in card
    assert f"Licence of the data:** {corpora.get_corpus('demo-local').licence}" in card
    assert "Not a diagnosis" in card and "synthetic speech" in card and "angry, calm, sad" in card
    scores = pd.DataFrame({"uar": [0.5, 0.4124]}, index=pd.Index(["paper-cnn", "mfcc-svm"], name="model"))
    results.write_tables(tmp_path, baselines=scores)
    assert "*mfcc-svm*, a simple baseline, has a UAR of 0.412" in results.model_card(replace(run, folder=tmp_path))
    leaks = run.result["split"] | {"test_leaks": {"speaker": 3, "twin": 0, "content": 0}}
    leaky = replace(run, result=run.result | {"split": leaks})
    assert "unseen speakers: not measured" in results.model_card(leaky)


def flip_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


BROKEN = [
    ("metrics.json", Path.unlink, "holds no finished run"),
    ("metrics.json", lambda file: file.write_text(""), "metrics.json is damaged: it is not JSON"),
    ("metrics.json", lambda file: file.write_text("[]"), "metrics.json is damaged"),
    ("metrics.json", lambda file: file.write_text("{}"), "metrics.json is not that of a training run"),
    ("metrics.json", halve, "metrics.json is damaged"),
    ("metrics.json", lambda file: fail(file.parent), "loss became NaN in epoch 1"),
    ("inputs.json", Path.unlink, "inputs.json is missing"),
    ("inputs.json", halve, "inputs.json does not say how"),
    ("inputs.json", lambda file: file.write_text(""), "inputs.json does not say how"),
    ("inputs.json", lambda file: file.write_text('{"paper-cnn": 3}'), "inputs.json does not say how"),
    ("inputs.json", lambda file: file.write_text('{"paper-cnn": {"mean": null}}'), "inputs.json does not say how"),
    ("paper-cnn.keras", Path.unlink, "paper-cnn.keras is missing"),
    ("paper-cnn.keras", lambda file: file.write_text("x"), "paper-cnn.keras cannot be loaded"),
    ("paper-cnn.keras", lambda file: file.write_text(""), "paper-cnn.keras cannot be loaded"),
    ("paper-cnn.keras", halve, "paper-cnn.keras cannot be loaded"),
    ("paper-cnn.keras", flip_byte, "paper-cnn.keras (is damaged|cannot be loaded)"),
]


def test_a_folder_of_runs_is_refused_with_the_newest_of_them(tmp_path):
    for age, name in enumerate(("one", "two")):
        (tmp_path / name / "setting").mkdir(parents=True)
        (tmp_path / name / "setting" / "metrics.json").write_text("{}")
        os.utime(tmp_path / name / "setting" / "metrics.json", (1000 - age, 1000 - age))
    with pytest.raises(results.PredictionError, match=r"Name a run in it, such as .*one/setting\.$"):
        results.load_run(tmp_path)
    with pytest.raises(results.PredictionError, match="there is no such folder"):
        results.load_run(tmp_path / "three")


@pytest.mark.parametrize(("name", "damage", "message"), BROKEN)
def test_a_run_that_cannot_predict_names_the_file_in_one_sentence(tmp_path, run_dir, name, damage, message):
    for file in run_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path / name)
    with pytest.raises(results.PredictionError, match=message) as error:
        results.load_run(tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert str(tmp_path) in str(error.value)


def fail(folder: Path) -> None:
    result = json.loads((folder / "metrics.json").read_text())
    result["models"]["paper-cnn"]["failed"] = "loss became NaN in epoch 1"
    (folder / "metrics.json").write_text(json.dumps(result))


@pytest.mark.slow
def test_inputs_that_do_not_reproduce_the_predictions_are_refused(tmp_path, table):
    """A model saved with an incomplete InputSpec would not be the model whose scores are in metrics.json."""
    rows = evaluation.make_split(table, "speaker", ratio="50:25:25", seed=1)
    labels = corpora.emotion_labels(table)
    x, inputs = inputs_of("pad", rows)
    models.seed_everything(1)
    trained = models.fit(studies.paper_cnn((*x.shape[1:], 1), len(labels)), x, rows, labels, epochs=2)
    facts = {"notebook": "n", "parameters": {}, "table": table, "rows": rows, "labels": labels, "protocol": "speaker"}
    results.save_run(tmp_path / "right", {"paper-cnn": trained}, **facts, inputs={"paper-cnn": inputs})
    wrong = replace(inputs, mean=None, deviation=None)
    with pytest.raises(results.PredictionError, match=r"the InputSpec does not describe .* a probability of \d\.\d\d"):
        results.save_run(tmp_path / "wrong", {"paper-cnn": trained}, **facts, inputs={"paper-cnn": wrong})
    assert not (tmp_path / "wrong").exists()


@pytest.mark.slow
def test_a_run_is_saved_over_an_earlier_one_but_not_over_other_files(tmp_path, table):
    make_run(tmp_path / "own", table, "pad")
    make_run(tmp_path / "own", table, "pad")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "paper-cnn.keras").write_text("mine")
    with pytest.raises(results.OutputError, match=r"other holds paper-cnn\.keras"):
        make_run(tmp_path / "other", table, "pad")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["paper-cnn.keras"]


def test_find_runs_returns_the_newest_first(tmp_path):
    for name, age in (("a/old", 100), ("b/new", 0)):
        (tmp_path / name).mkdir(parents=True)
        for file in ("inputs.json", "metrics.json"):
            (tmp_path / name / file).touch()
            os.utime(tmp_path / name / file, (time.time() - age,) * 2)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "inputs.json").touch()
    assert [path.name for path in results.find_runs(tmp_path, tmp_path / "a", tmp_path / "none")] == ["new", "old"]


def sernb(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.mark.slow
def test_predict_in_a_terminal(tmp_path, run_dir, table):
    good = write(tmp_path / "long ü.wav", np.tile(tone(1, 44100), 9), 44100)
    (tmp_path / "bad.wav").write_text("no audio")
    process = sernb("predict", run_dir, table["path"][0], good)
    assert process.exit_code == 0, process.output
    assert "prediction" in process.stdout and "9.00" in process.stdout and "long ü.wav" in process.stdout
    assert "Not a diagnosis" in process.stdout
    course = pd.read_csv(io.StringIO(sernb("predict", "--course", "--csv", run_dir, good).stdout))
    assert len(course) > 20 and course["seconds"].is_monotonic_increasing
    np.testing.assert_allclose(course[["angry", "calm", "sad"]].sum(axis=1), 1, atol=1e-6)
    done = sernb("predict", "--course", "--labels", tmp_path / "course.TextGrid", run_dir, good)
    parts = audio.read_annotations(tmp_path / "course.TextGrid")
    assert done.exit_code == 0 and set(parts["label"]) <= {"angry", "calm", "sad"} and parts["start"].iloc[0] == 0
    assert abs(parts["end"].iloc[-1] - course["seconds"].iloc[[0, -1]].sum()) < 0.01
    assert "--labels needs --course and a single FILE" in sernb("predict", "--labels", "a.txt", run_dir, good).output
    csv = sernb("predict", "--csv", run_dir, good, tmp_path / "bad.wav")
    rows = pd.read_csv(io.StringIO(csv.stdout))
    assert csv.exit_code == 1 and "bad.wav: cannot be decoded" in csv.stderr
    (tmp_path / "clips" / "deep").mkdir(parents=True)
    shutil.copy(good, tmp_path / "clips" / "deep" / "a.wav")
    shutil.copy(table["path"][0], tmp_path / "clips" / "b.wav")
    (tmp_path / "clips" / "notes.txt").write_text("mine")
    of_folder = pd.read_csv(io.StringIO(sernb("predict", "--csv", run_dir, tmp_path / "clips").stdout))
    assert [Path(file).name for file in of_folder["file"]] == ["b.wav", "a.wav"]
    (tmp_path / "empty").mkdir()
    assert "contains no audio file" in sernb("predict", run_dir, tmp_path / "empty").stderr
    missing = sernb("predict", run_dir, tmp_path / "mistyped.wav")
    assert missing.exit_code == 1 and "mistyped.wav: there is no such file" in missing.stderr
    assert list(rows) == ["file", "seconds", "prediction", "angry", "calm", "sad", "problem"] and len(rows) == 2
    assert rows.loc[0, ["angry", "calm", "sad"]].sum() == pytest.approx(1) and rows["prediction"].isna()[1]


def test_predict_refuses_in_a_line(tmp_path, run_dir):
    for words, message in (((tmp_path, "a.wav"), "no finished run"), ((run_dir, "a.wav", "--model", "x"), "paper-cnn")):
        process = sernb("predict", *words)
        assert process.exit_code == 1 and message in process.stderr and "Traceback" not in process.output
