from __future__ import annotations

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write
from support.trained_runs import make_run
from typer.testing import CliRunner

from sernb import audio
from sernb import cli
from sernb import corpora
from sernb import features
from sernb import results

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


@pytest.mark.parametrize("kind", ["pad", "max-minus", "db", "numbers"])
def test_a_clip_of_the_run_gets_the_probabilities_that_the_run_gave_it(tmp_path, table, run_dir, kind):
    folder = run_dir if kind == "pad" else make_run(tmp_path, table, kind)
    told = results.read_predictions(folder).set_index("clip").loc[table["clip"][:8], corpora.emotion_labels(table)]
    found = results.predict_files(results.load_run(folder), table["path"][:8])
    np.testing.assert_allclose(found[list(told)], told, atol=2e-5)
    assert (found["problem"] == "").all() and list(found["file"]) == list(table["path"][:8])


def test_a_long_clip_is_heard_in_windows(run, table):
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


def test_the_card_says_what_the_score_is_worth(run):
    card = " ".join(results.model_card(run).split())
    entry = run.result["models"]["paper-cnn"]
    assert f"**UAR on unseen speakers:** **{entry['test']['uar']:.2f}**" in card
    assert f"Licence of the data:** {corpora.get_corpus('demo-local').licence}" in card
    assert "Not a diagnosis" in card and "synthetic speech" in card and "angry, calm, sad" in card
    leaks = run.result["split"] | {"test_leaks": {"speaker": 3, "twin": 0, "content": 0}}
    leaky = replace(run, result=run.result | {"split": leaks})
    assert "unseen speakers: not measured" in results.model_card(leaky)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "metrics.json").unlink(), "holds no finished run"),
        (lambda folder: (folder / "inputs.json").unlink(), "make the run again"),
        (lambda folder: (folder / "paper-cnn.keras").write_text("x"), "cannot be loaded"),
        (lambda folder: fail(folder), "loss became NaN in epoch 1"),
    ],
)
def test_a_run_that_cannot_predict_says_why(tmp_path, run_dir, spoil, says):
    for file in run_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    spoil(tmp_path)
    with pytest.raises(results.PredictionError, match=says):
        results.load_run(tmp_path)


def fail(folder: Path) -> None:
    result = json.loads((folder / "metrics.json").read_text())
    result["models"]["paper-cnn"]["failed"] = "loss became NaN in epoch 1"
    (folder / "metrics.json").write_text(json.dumps(result))


def test_runs_are_found_the_newest_first(tmp_path):
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


def test_predict_in_a_terminal(tmp_path, run_dir, table):
    good = write(tmp_path / "long ü.wav", np.tile(tone(1, 44100), 9), 44100)
    (tmp_path / "bad.wav").write_text("no audio")
    said = sernb("predict", run_dir, table["path"][0], good)
    assert said.exit_code == 0, said.output
    assert "prediction" in said.stdout and "9.00" in said.stdout and "long ü.wav" in said.stdout
    assert "Not a diagnosis" in said.stdout
    course = pd.read_csv(io.StringIO(sernb("predict", "--course", "--csv", run_dir, good).stdout))
    assert len(course) > 20 and course["seconds"].is_monotonic_increasing
    np.testing.assert_allclose(course[["angry", "calm", "sad"]].sum(axis=1), 1, atol=1e-6)
    csv = sernb("predict", "--csv", run_dir, good, tmp_path / "bad.wav")
    rows = pd.read_csv(io.StringIO(csv.stdout))
    assert csv.exit_code == 1 and "bad.wav: cannot be decoded" in csv.stderr
    assert list(rows) == ["file", "seconds", "prediction", "angry", "calm", "sad", "problem"] and len(rows) == 2
    assert rows.loc[0, ["angry", "calm", "sad"]].sum() == pytest.approx(1) and rows["prediction"].isna()[1]


def test_predict_refuses_in_a_line(tmp_path, run_dir):
    for words, says in (((tmp_path, "a.wav"), "no finished run"), ((run_dir, "a.wav", "--model", "x"), "paper-cnn")):
        said = sernb("predict", *words)
        assert said.exit_code == 1 and says in said.stderr and "Traceback" not in said.output
