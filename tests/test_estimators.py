"""Estimators and networks of the user's own, on the package's features and splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Perceptron
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.audio_files import tone
from support.audio_files import write
from typer.testing import CliRunner

from sernb import cli
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models
from sernb import results

RATE = 16000
INPUTS = features.InputSpec("zcr_rms", RATE, {})


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A local corpus with emotions of its own, which differ in pitch."""
    root = tmp_path_factory.mktemp("corpus")
    lines = ["file,emotion,speaker"]
    for speaker in range(6):
        for emotion, hertz in (("pain", 900), ("neutral", 300), ("no pain", 150)):
            for take in range(2):
                name = f"{speaker}-{emotion}-{take}.wav"
                write(root / name, tone(0.4, RATE, hertz + 7 * speaker + 3 * take), RATE)
                lines.append(f"{name},{emotion},S{speaker:02}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return corpora.load("local", root)


@pytest.fixture(scope="module")
def rows(clips):
    return evaluation.make_split(clips, "speaker", ratio="4:1:1", seed=1)


@pytest.fixture(scope="module")
def x(rows):
    return features.extract(rows, "zcr_rms", sample_rate=RATE)


def save(folder, trained, clips, rows, inputs=INPUTS):
    parameters = {"SEED": 1, "CORPUS": "local", "DATA_DIR": str(Path(clips["path"][0]).parent)}
    return results.save_run(
        folder, {trained.model.name: trained}, notebook="own", parameters=parameters, table=clips, rows=rows,
        labels=corpora.emotion_labels(clips), protocol="speaker", inputs={trained.model.name: inputs},
    )  # fmt: skip


@pytest.mark.parametrize(
    "estimator",
    [make_pipeline(StandardScaler(), LogisticRegression()), RandomForestClassifier(10, random_state=0)],
    ids=["pipeline", "forest"],
)
def test_an_estimator_is_fitted_saved_scored_and_predicts(tmp_path, clips, rows, x, estimator):
    labels = corpora.emotion_labels(clips)
    trained = models.fit_estimator(estimator, x, rows, labels, name="mine")
    metrics = save(tmp_path, trained, clips, rows)
    uar = metrics["models"]["mine"]["test"]["uar"]
    assert metrics["labels"] == ["neutral", "no pain", "pain"] and uar > 0.6
    assert list(results.results_table([tmp_path])["uar"]) == [uar]
    run = results.load_run(tmp_path)
    stored = results.read_predictions(tmp_path).set_index("clip").loc[clips["clip"]]
    predictions = results.predict_files(run, clips["path"])
    np.testing.assert_allclose(predictions[labels], stored[labels], atol=1e-5)
    assert list(predictions["prediction"]) == list(stored["prediction"])
    assert "**mine**, trained by `own`" in results.model_card(run)
    result = CliRunner().invoke(cli.app, ["predict", str(tmp_path), clips["path"][0], "--csv"])
    assert result.exit_code == 0 and result.stdout.splitlines()[0].endswith("neutral,no pain,pain,problem")


@pytest.mark.slow
def test_a_network_of_ones_own_takes_the_same_path(tmp_path, clips, rows, x):
    models.seed_everything(1)
    import keras
    from keras import layers

    labels = corpora.emotion_labels(clips)
    network = keras.Sequential(
        [keras.Input((2, 1)), layers.Flatten(), layers.Dense(8, "tanh"), layers.Dense(3, "softmax")], name="mine"
    )
    trained = models.fit(models.compile_model(network), x, rows, labels, epochs=2)
    save(tmp_path, trained, clips, rows)
    stored = results.read_predictions(tmp_path).set_index("clip").loc[clips["clip"], labels]
    predictions = results.predict_files(results.load_run(tmp_path), clips["path"])
    np.testing.assert_allclose(predictions[labels], stored, atol=1e-4)


def test_inputs_that_do_not_describe_the_features_are_refused(tmp_path, clips, rows, x):
    trained = models.fit_estimator(LogisticRegression(C=1e6), 100 * x, rows, corpora.emotion_labels(clips), name="mine")
    with pytest.raises(results.PredictionError, match="mine: the InputSpec does not describe how its inputs were made"):
        save(tmp_path, trained, clips, rows)


def test_an_emotion_that_was_not_in_the_training_set_has_probability_0(clips, rows, x):
    rows = rows[(rows["split"] != "train") | (rows["emotion"] != "pain")]
    trained = models.fit_estimator(
        LogisticRegression(), x[rows.index], rows.reset_index(drop=True), corpora.emotion_labels(clips), name="mine"
    )
    assert (trained.predictions["pain"] == 0).all() and set(trained.predictions["prediction"]) <= {"neutral", "no pain"}


class Strange:
    """Predicts another number of classes."""

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return np.full((len(x), 2), 0.5)


def test_estimators_that_cannot_be_used_are_refused_in_one_sentence(clips, rows, x):
    labels = corpora.emotion_labels(clips)
    with pytest.raises(ValueError, match="Perceptron has no predict_proba: wrap it in .*CalibratedClassifierCV"):
        models.fit_estimator(Perceptron(), x, rows, labels, name="mine")
    with pytest.raises(ValueError, match=r"predict_proba of mine returns an array of shape \(.*, 2\)"):
        models.fit_estimator(Strange(), x, rows, labels, name="mine")


def test_a_damaged_estimator_is_named_and_a_run_is_replaced_as_a_whole(tmp_path, clips, rows, x):
    labels = corpora.emotion_labels(clips)
    save(tmp_path, models.fit_estimator(LogisticRegression(), x, rows, labels, name="first"), clips, rows)
    save(tmp_path, models.fit_estimator(LogisticRegression(), x, rows, labels, name="mine"), clips, rows)
    assert (
        not (tmp_path / "first.joblib").exists()
        and "mine.joblib" in json.loads((tmp_path / "run.json").read_text())["files"]
    )
    (tmp_path / "mine.joblib").write_bytes(b"no pickle")
    with pytest.raises(results.PredictionError, match="mine.joblib cannot be loaded .* Run the notebook again"):
        results.load_run(tmp_path)
    assert pd.read_csv(tmp_path / "history.csv")["epoch"].tolist() == [1]
