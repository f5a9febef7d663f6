"""Train the linear model on the 16 actors that the paper's network is trained on, and test it on the same clips.

    SERNB_DATA=... python benchmarks/matched_training.py   # writes book/results/matched-training/<setting>/answers.csv

RAVDESS speech in the six folds: without copies, and with speed-perturbed copies for three seeds. Notebook 07 trains the
model on 20 actors: once all settings are chosen, the validation speakers are added to the training speakers. The
network of notebook 03 is never trained on them. Here both have the same speakers, so that without copies they differ in
model and features alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from sernb import corpora
from sernb import evaluation
from sernb import models

ROOT = Path(__file__).parents[1]
SETTINGS = {"no-copies": (0, [42]), "copies": (8, [42, 43, 44])}  # copies, and seeds of their speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "book" / "results" / "matched-training")
    options = parser.parse_args()
    for name, (copies, seeds) in SETTINGS.items():
        predictions = pd.concat([predict_folds(copies, seed) for seed in seeds])
        accuracy = (predictions["truth"] == predictions["prediction"]).mean()
        print(f"{name}: accuracy {accuracy:.3f}, {len(seeds)} seeds", flush=True)
        rows = predictions.groupby(["speaker", "truth", "prediction"]).size().reset_index(name="rows")
        (options.output / name).mkdir(parents=True, exist_ok=True)
        rows.insert(0, "model", "discriminant")
        rows.to_csv(options.output / name / "answers.csv", index=False)


def predict_folds(copies: int, seed: int) -> pd.DataFrame:
    """Return the predictions of every fold's test clips by a model trained on the fold's training speakers."""
    clips = corpora.load("ravdess", channel="speech")
    labels = corpora.emotion_labels(clips)
    folds = evaluation.make_splits(clips, "folds", augment="none", seed=seed).values()
    return pd.concat([predict_test_clips(rows, labels, copies, seed) for rows in folds], ignore_index=True)


def predict_test_clips(rows: pd.DataFrame, labels: list[str], copies: int, seed: int) -> pd.DataFrame:
    split = models.extract_split_features(rows, copies=copies, seed=seed)
    weights, biases = models.solve_discriminant(models.class_statistics(*split.training_data(("train",)), labels))
    prediction = pd.Series(labels).take((split.x @ weights + biases).argmax(axis=1)).to_numpy()
    return rows.assign(truth=rows["emotion"], prediction=prediction)[split.side("test")]


if __name__ == "__main__":
    main()
