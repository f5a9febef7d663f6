"""Small trained runs for the tests of what is done with a finished run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models
from sernb import results
from sernb import studies

RATE = 16000


def demo_clips(labels: list[str]) -> pd.DataFrame:
    """Return 90 spoken clips of demo-ravdess with some emotions."""
    return corpora.load("demo-ravdess", channel="speech", emotions=labels, max_clips=90)


def functionals_of(table: pd.DataFrame, copies: int) -> models.SplitFeatures:
    """Return the functionals of clips split by speaker, and of copies of the training clips."""
    rows = evaluation.make_split(table, "speaker", ratio="50:25:25", seed=1)
    return models.extract_split_features(rows, copies=copies, seed=1)


def inputs_of(kind: str, rows: pd.DataFrame) -> tuple[np.ndarray, features.InputSpec]:
    """Return the inputs of a run, made in one of the ways of the notebooks, and their specification."""
    train = (rows["split"] == "train").to_numpy()
    if kind == "numbers":
        longest = int(audio.n_samples(rows["path"], RATE).max())
        x = features.extract(rows, "zcr_rms", sample_rate=RATE, length=longest)
        return x, features.InputSpec("zcr_rms", RATE, {"length": longest})
    if kind == "db":
        x = features.to_db(features.extract(rows, "mel", sample_rate=RATE, n_mels=40))
        settings = ("mel", RATE, {"n_mels": 40})
    else:
        x = features.extract(rows, "mfcc", sample_rate=RATE, n_mfcc=40)
        settings = ("mfcc", RATE, {"n_mfcc": 40})
    if kind == "max-minus":
        x = features.max_minus(x, audio.n_samples(rows["path"], RATE))
    scaler = features.fit_scaler(x, train)
    return features.apply_scaler(x, *scaler), features.InputSpec(*settings, kind, x.shape[-1], *scaler)


def make_run(folder: Path, table: pd.DataFrame, kind: str) -> Path:
    """Train a small network for two epochs and save it as a run."""
    rows = evaluation.make_split(table, "speaker", ratio="50:25:25", seed=1)
    labels = corpora.emotion_labels(table)
    x, inputs = inputs_of(kind, rows)
    models.seed_everything(1)
    flat = kind == "numbers"
    model = (
        studies.study_a_network("conv1d-b", (2, 1), 3) if flat else studies.paper_cnn((*x.shape[1:], 1), len(labels))
    )
    trained = models.fit(model, x, rows, labels, epochs=2)
    results.save_run(
        folder, {model.name: trained}, notebook="03_paper_replication", parameters={"SEED": 1}, table=table, rows=rows,
        labels=labels, protocol="speaker", inputs={model.name: inputs},
    )  # fmt: skip
    return folder
