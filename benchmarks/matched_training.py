"""Train the paper's network and the linear model on the same actors and copies, and test them on the same clips.

    SERNB_DATA=... python benchmarks/matched_training.py   # writes book/results/matched-training/predictions.csv

RAVDESS speech in the six folds. Elsewhere the report compares the two models as each is used: the network trained on 16
actors without copies, the linear model on 20 with speed-perturbed copies. Here both are trained on the same actors and
the same copies; they differ in model and features. The predictions for a fold are kept in
runs/reference/matched-training, so that the command continues where it was stopped: delete that folder after a change
of code.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models
from sernb import studies

ROOT = Path(__file__).parents[1]
SEEDS = (42, 43, 44)
FOLDS = (1, 2, 3, 4, 5, 6)
COPIES = 8
SAMPLE_RATE = 16000
# Epochs of the network. With eight copies an epoch is nine times as long: 12 of them are 108 without copies.
EPOCHS = {0: 80, COPIES: 12}


class Setting(NamedTuple):
    """What a model is trained on."""

    model: str
    actors: int
    copies: int

    def __str__(self) -> str:
        return f"{self.model}-{self.actors}-actors-{self.copies}-copies"


LINEAR, NETWORK = "linear", "network"
SETTINGS = [
    Setting(model, actors, copies) for actors in (20, 16) for copies in (COPIES, 0) for model in (LINEAR, NETWORK)
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    names = [str(setting) for setting in SETTINGS]
    parser.add_argument("--settings", nargs="*", default=names, choices=names, help="which to train")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "reference" / "matched-training")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    jobs = [(setting, seed, fold) for setting in SETTINGS for seed in SEEDS for fold in FOLDS]
    jobs = [
        job for job in jobs if str(job[0]) in options.settings and not prediction_file(options.folder, *job).exists()
    ]
    with ProcessPoolExecutor(options.workers, get_context("spawn"), max_tasks_per_child=6) as pool:
        futures = [pool.submit(train, options.folder, *job) for job in jobs]
        for done, future in enumerate(as_completed(futures), 1):
            print(f"{done} of {len(jobs)}: {future.result()}", flush=True)
    write_predictions(options.folder, ROOT / "book" / "results" / "matched-training" / "predictions.csv")


def prediction_file(folder: Path, setting: Setting, seed: int, fold: int) -> Path:
    return folder / f"{setting}_seed-{seed}_fold-{fold}.csv"


def train(folder: Path, setting: Setting, seed: int, fold: int) -> str:
    """Train one model on one fold and write its predictions of the test clips; return a line that says how it went."""
    start = time.perf_counter()
    clips = corpora.load("ravdess", channel="speech")
    (rows,) = evaluation.make_splits(clips, "folds", augment="none", fold=fold, seed=seed).values()
    labels = corpora.emotion_labels(clips)
    predict = predict_with_linear_model if setting.model == LINEAR else predict_with_network
    predictions = predict(setting, rows, labels, seed)
    predictions = predictions.loc[predictions["split"] == "test", ["clip", "speaker", "truth", "prediction"]]
    file = prediction_file(folder, setting, seed, fold)
    part = file.with_suffix(".part")
    predictions.to_csv(part, index=False)
    part.replace(file)
    correct = (predictions["truth"] == predictions["prediction"]).mean()
    return f"{file.stem}: accuracy {correct:.3f} in {time.perf_counter() - start:.0f} s"


def predict_with_linear_model(setting: Setting, rows: pd.DataFrame, labels: list[str], seed: int) -> pd.DataFrame:
    """Fit the linear model on functionals, and return the rows with its predictions."""
    split = models.extract_split_features(rows, sample_rate=SAMPLE_RATE, copies=setting.copies, seed=seed)
    splits = ("train",) if setting.actors == 16 else models.FIT_SIDES
    weights, biases = models.solve_discriminant(models.class_statistics(*split.training_data(splits), labels))
    prediction = pd.Series(labels).take((split.x @ weights + biases).argmax(axis=1)).to_numpy()
    return rows.assign(truth=rows["emotion"], prediction=prediction)


def predict_with_network(setting: Setting, rows: pd.DataFrame, labels: list[str], seed: int) -> pd.DataFrame:
    """Train the paper's network on MFCC, and return its predictions."""
    models.seed_everything(seed)
    models.set_precision("mixed_bfloat16")
    outside = rows[rows["split"] != "test"]
    fit_rows = [outside.assign(copy=copy) for copy in range(1, setting.copies + 1)]
    all_rows = pd.concat([rows, *fit_rows], ignore_index=True)
    options = {"sample_rate": SAMPLE_RATE, "n_mfcc": 100, "augmentation": audio.SPEED_PERTURBATION, "seed": seed}
    x = features.extract(all_rows, "mfcc", **options)
    splits = ("train",) if setting.actors == 16 else models.FIT_SIDES
    x = features.apply_scaler(x, *features.fit_scaler(x, all_rows["split"].isin(splits).to_numpy()))
    model = studies.paper_cnn((*x.shape[1:], 1), len(labels))
    epochs = EPOCHS[setting.copies]
    return models.fit(model, x, all_rows, labels, epochs=epochs, fitted=splits, recipe="quick").predictions


def write_predictions(folder: Path, target: Path) -> None:
    """Write one table of all settings that are complete: a row per clip, a column per setting and seed."""
    columns = []
    for setting in SETTINGS:
        for seed in SEEDS:
            files = [prediction_file(folder, setting, seed, fold) for fold in FOLDS]
            if all(file.exists() for file in files):
                table = pd.concat(map(pd.read_csv, files)).set_index(["clip", "speaker", "truth"])
                columns.append(table["prediction"].rename(f"{setting}_seed-{seed}"))
    if not columns:
        raise SystemExit("no setting is complete: all six folds are needed")
    target.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(columns, axis=1).sort_index().to_csv(target)


if __name__ == "__main__":
    main()
