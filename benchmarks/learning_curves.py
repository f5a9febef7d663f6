"""Measure how many clips and how many speakers a classifier for unseen speakers needs, on RAVDESS speech and EmoDB.

    SERNB_DATA=... python benchmarks/learning_curves.py             # writes book/results/learning-curves/
    SERNB_DATA=... python benchmarks/learning_curves.py --again     # also what is there already

The classifier is the discriminant of notebook 07, tested on each speaker once: in RAVDESS's six published folds, and in
EmoDB by leaving out one speaker at a time. The curves are means over `SEEDS`, which differ in the speeds of the copies
and in the enrolment clips; training speakers are drawn `DRAWS` times. The intervals are over speakers. The other tables
are of the first seed. Each table is a file, most of them one per corpus, and is not computed again if it is there, so
that a stopped run goes on where it was:

- `prior-clips`: the UAR of validation speakers by number of enrolment clips and of clips that the prior counts as
- `enrolment`: the UAR of test speakers by number of enrolment clips and where they come from
- `training-speakers`: the same by number of training speakers, with and without enrolment
- `test-speakers`: the half-width of the 95% interval by number of test speakers, measured and expected
- `calibration`: the confidence and the accuracy of test clips, before and after the temperature is fitted
- `confusion`, `speakers`: which emotions and which speakers are difficult, without and with enrolment
- `robustness`: the UAR on RAVDESS's test clips with babble noise and over the telephone, without enrolment
- `transfer`: the UAR by training and test corpus and number of enrolment clips, with features as they are and centred
- `transfer-confusion`: the emotions and the predictions of these test clips

On two cores, `training-speakers` took 44 minutes beside other work, features included. The other tables take some
fifteen minutes, half as long again for `robustness`, and fifteen minutes more for the features if they are not in the
store.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel
from joblib import delayed
from scipy.special import softmax

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models
from sernb import results

ROOT = Path(__file__).parents[1]
CORPORA = {"ravdess": ("folds", (4, 8, 12, 16, 20)), "emodb": ("loso", (3, 5, 7, 9))}  # protocol, training speakers
NUMBERS = (0, 1, 2, 4, 8, 16, 32)
PRIORS = (1, 2, 4, 8)
SEEDS = (42, 43, 44)  # of the copies' speeds and of every random choice
DRAWS = 10  # of each number of training speakers
SUBSETS = 500  # of test speakers
SAMPLE_RATE = 16000  # of the functionals
DISTORTED = [("babble", 20), ("telephone", float("nan"))]
SHARED = ["angry", "disgust", "fear", "happy", "sad"]  # emotions of all three corpora; 3 CREMA-D clips are neutral
WITHIN = {"ravdess": ("folds", {}), "emodb": ("loso", {}), "crema": ("speaker", {"ratio": "60:10:30"})}
AS_THEY_ARE, CENTRED = "as they are", "centred by corpus"
TRANSFER_KEYS = ["trained", "tested", "features"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="compute the tables that are there already")
    parser.add_argument("--output", type=Path, default=ROOT / "book" / "results" / "learning-curves")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    tables = {f"{name}-{corpus}": partial(TABLES[name], corpus) for corpus in CORPORA for name in TABLES}
    tables |= {"transfer": measure_transfer, "transfer-confusion": measure_transfer_confusion}
    tables["robustness-ravdess"] = measure_robustness
    for name, measure in tables.items():
        file = options.output / f"{name}.csv"
        if options.again or not file.is_file():
            start = time.perf_counter()
            measure().to_csv(file, index=False, float_format="%.4f")
            print(f"{file.name}: {(time.perf_counter() - start) / 60:.1f} minutes", flush=True)


@cache
def load_splits(corpus: str, seed: int = SEEDS[0]) -> tuple[list[models.SplitFeatures], list[str]]:
    """Return the features of each fold, and the label list."""
    clips = corpora.load(corpus, channel="speech")
    splits = evaluation.make_splits(clips, CORPORA[corpus][0], augment="none", seed=seed)
    every = [models.extract_split_features(rows, seed=seed) for rows in splits.values()]
    return every, corpora.emotion_labels(clips)


@cache
def predict_corpus(corpus: str) -> pd.DataFrame:
    """Predict the test clips of all folds with every number and kind of enrolment clips, for each seed."""
    return predict_seeds(
        lambda seed: models.enrolment_predictions(
            *load_splits(corpus, seed), NUMBERS, sources=models.ENROLMENT_SOURCES, seed=draw_seed(seed)
        )
    )


def predict_seeds(predict: Callable[[int], pd.DataFrame], seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """Concatenate the predictions of each seed; the column `seed` says which."""
    return pd.concat([predict(seed).assign(seed=seed) for seed in seeds], ignore_index=True)


def draw_seed(seed: int) -> int:
    """Return the seed of the first draw of enrolment clips; the draws of one seed are not those of the next one."""
    return 100 * (seed - SEEDS[0])


def score_seeds(predictions: pd.DataFrame, column: str) -> pd.DataFrame:
    """Score the rows of all seeds together by the values of a column, and find the lowest and highest UAR of a seed."""
    by_seed = [evaluation.score_by(part, column)["uar"] for _, part in predictions.groupby("seed")]
    ends = pd.concat(by_seed, axis=1).agg(["min", "max"], axis=1)
    ends.columns = ["uar_least", "uar_most"]
    return evaluation.score_by(predictions, column).join(ends.assign(seeds=len(by_seed)))


def score_curves(predictions: pd.DataFrame, score: Callable = evaluation.score_by) -> pd.DataFrame:
    """Score the predictions for each source and number of enrolment clips."""
    curves = {source: score(part, "enrolment clips") for source, part in predictions.groupby("source", sort=False)}
    return pd.concat(curves, names=["source"])


def measure_prior(corpus: str) -> pd.DataFrame:
    """Score the validation speakers for each strength of the prior."""
    splits, labels = load_splits(corpus)
    options = {"side": "val", "sources": ("any", "one emotion"), "draws": 3}
    curves = {
        n: score_curves(models.enrolment_predictions(splits, labels, NUMBERS, prior_clips=n, **options)) for n in PRIORS
    }
    return pd.concat(curves, names=["prior_clips"]).reset_index()


def measure_enrolment(corpus: str) -> pd.DataFrame:
    """Score the test speakers by number and kind of enrolment clips."""
    return score_curves(predict_corpus(corpus), score_seeds).reset_index()


def measure_training_speakers(corpus: str) -> pd.DataFrame:
    """Score the test speakers by number of training speakers, drawn at random in each fold."""

    def predict(number: int, draw: int) -> pd.DataFrame:
        splits, labels = load_splits(corpus, SEEDS[draw % len(SEEDS)])
        reduced = [keep_training_speakers(split, number, [fold, number, draw]) for fold, split in enumerate(splits)]
        return models.enrolment_predictions(reduced, labels, (0, 8), draws=1, seed=draw)

    predictions = {number: predict_seeds(partial(predict, number), range(DRAWS)) for number in CORPORA[corpus][1]}
    tables = {number: score_seeds(rows, "enrolment clips") for number, rows in predictions.items()}
    table = pd.concat(tables, names=["training speakers"]).reset_index()
    return table.rename(columns={"seeds": "draws"})


def keep_training_speakers(split: models.SplitFeatures, number: int, seed: Sequence[int]) -> models.SplitFeatures:
    """Remove all speakers but some from the training and validation sets, which are then both used for training."""
    speakers = sorted(split.fit_rows["speaker"].unique())
    chosen = np.random.default_rng(seed).permutation(speakers)[:number]
    inside = split.fit_rows["speaker"].isin(chosen).to_numpy()
    rows = split.rows.assign(split=np.where(split.side("test"), "test", "train"))
    used = (rows["speaker"].isin(chosen) | (rows["split"] == "test")).to_numpy()
    fit_rows = split.fit_rows[inside].assign(split="train")
    x, fit_x = split.x[used], split.fit_x[inside]
    return models.SplitFeatures(rows[used].reset_index(drop=True), x, fit_rows, fit_x, split.groups)


def measure_test_speakers(corpus: str) -> pd.DataFrame:
    """Compute the half-width of the interval for random subsets of the test speakers."""
    predictions = select_predictions(corpus, 0).query("draw == 0")
    labels = load_splits(corpus)[1]
    matrices = evaluation.confusion_by_speaker(predictions, labels)
    rng, clips = np.random.default_rng(0), len(predictions) / len(matrices)
    score = float(evaluation.uar(matrices.sum(axis=0)))
    rows = []
    for number in sorted({4, 6, 8, 10, 12, 16, 20, 24, len(matrices)}):
        if number <= len(matrices):
            subsets = [rng.permutation(len(matrices))[:number] for _ in range(SUBSETS)]
            ends = [evaluation.jackknife_interval(matrices[subset], evaluation.uar) for subset in subsets]
            half = np.diff(ends, axis=1)[:, 0] / 2
            low, high = np.nanquantile(half, [0.1, 0.9])
            row = {"test speakers": number, "half_width": np.nanmean(half), "half_width_low": low}
            expected = evaluation.expected_half_width(number, clips, score=score)
            rows.append(row | {"half_width_high": high, "expected": expected})
    return pd.DataFrame(rows).assign(clips=clips, uar=score)


def measure_calibration(corpus: str) -> pd.DataFrame:
    """Compare confidence and accuracy on the test speakers, before and after the temperature is fitted."""
    splits, labels = load_splits(corpus)
    tables = {}
    for name in (models.DISCRIMINANT, models.ENROLLED):
        before, after = [], []
        for split in splits:
            part = split if name == models.DISCRIMINANT else models.enrol_speakers(split)
            weights, biases = models.solve_discriminant(
                models.class_statistics(*part.training_data(models.FIT_SIDES), labels)
            )
            before.append(softmax(part.x[part.side("test")] @ weights + biases, axis=1))
            predictions = models.fit_discriminant(part, labels, name=name).predictions
            after.append(evaluation.select_test_rows(predictions))
        after = pd.concat(after)
        is_correct = (after["truth"] == after["prediction"]).to_numpy()
        tables[name, "before"] = evaluation.reliability(np.concatenate(before), is_correct)
        tables[name, "after"] = evaluation.reliability(after[labels].to_numpy(), is_correct)
    return pd.concat(tables, names=["model", "temperature"]).reset_index()


def measure_confusion(corpus: str) -> pd.DataFrame:
    """Count test clips by emotion and prediction, without and with eight enrolment clips."""
    predictions = select_predictions(corpus, 0, 8).query("draw == 0")
    return predictions.groupby(["enrolment clips", "truth", "prediction"]).size().reset_index(name="clips")


def measure_speakers(corpus: str) -> pd.DataFrame:
    """Score each test speaker, without and with eight enrolment clips."""
    groups = select_predictions(corpus, 0, 8).groupby("enrolment clips")
    scores = {number: evaluation.score_by(part, "speaker") for number, part in groups}
    return pd.concat(scores, names=["enrolment clips"]).reset_index()


def select_predictions(corpus: str, *numbers: int) -> pd.DataFrame:
    """Return the first seed's predictions with some numbers of enrolment clips of any emotion."""
    return predict_corpus(corpus).query("seed == @SEEDS[0] and source == 'any' and `enrolment clips` in @numbers")


@cache
def predict_transfer() -> pd.DataFrame:
    """Predict each corpus by the discriminants of each corpus, on the emotions that all have, for each seed."""
    tables = []
    for trained, tested in itertools.product(WITHIN, WITHIN):
        for seed in SEEDS:
            splits = {AS_THEY_ARE: transfer_splits(trained, tested, seed)}
            if trained != tested:
                splits[CENTRED] = [centre_by_corpus(split) for split in splits[AS_THEY_ARE]]
            for name, prepared in splits.items():
                predictions = models.enrolment_predictions(prepared, SHARED, NUMBERS, seed=draw_seed(seed))
                tables.append(predictions.assign(trained=trained, tested=tested, features=name, seed=seed))
    return pd.concat(tables, ignore_index=True)


def measure_transfer() -> pd.DataFrame:
    """Score each pair of a training and a test corpus by number of enrolment clips."""
    groups = predict_transfer().groupby(TRANSFER_KEYS, sort=False)
    curves = {pair: score_seeds(part, "enrolment clips") for pair, part in groups}
    return pd.concat(curves, names=TRANSFER_KEYS).reset_index()


def measure_transfer_confusion() -> pd.DataFrame:
    """Count the test clips of all seeds and draws by emotion and prediction, for some numbers of enrolment clips."""
    predictions = predict_transfer().query("`enrolment clips` in (0, 2, 8, 32)")
    columns = [*TRANSFER_KEYS, "enrolment clips", "truth", "prediction"]
    return predictions.groupby(columns, sort=False).size().reset_index(name="clips")


def transfer_splits(trained: str, tested: str, seed: int) -> list[models.SplitFeatures]:
    """Return the features of each split with the training clips of one corpus and the test clips of one."""
    clips, other = (corpora.load(corpus, channel="speech", emotions=SHARED) for corpus in (trained, tested))
    protocol, options = WITHIN[trained]
    if trained != tested:
        protocol, options = "speaker", {"ratio": "80:10:10", "fold": 1, "other": other}
    splits = evaluation.make_splits(clips, protocol, augment="none", seed=seed, **options)
    return [models.extract_split_features(rows, seed=seed) for rows in splits.values()]


def centre_by_corpus(split: models.SplitFeatures) -> models.SplitFeatures:
    """Subtract the mean of the training speakers, and from test clips the mean of the other test speakers."""
    x, test, usual = split.x.copy(), split.side("test"), models.training_mean(split)
    speakers = split.rows.loc[test, "speaker"].to_numpy()
    means = pd.DataFrame(split.x[test]).groupby(speakers).mean()
    x[test] -= ((means.sum() - means) / (len(means) - 1)).loc[speakers].to_numpy()
    x[~test] -= usual
    return replace(split, x=x, fit_x=(split.fit_x - usual).astype(np.float32))


def measure_robustness() -> pd.DataFrame:
    """Score RAVDESS's test clips with each distortion, by the discriminants of clean training clips."""
    splits, labels = load_splits("ravdess")
    fitted = [models.class_statistics(*split.training_data(models.FIT_SIDES), labels) for split in splits]
    solved = [models.solve_discriminant(statistics) for statistics in fitted]
    predictions = []
    for kind, level in [("none", float("nan")), *DISTORTED]:
        for split, (weights, biases) in zip(splits, solved, strict=True):
            rows = split.rows[split.side("test")]
            x = split.x[split.side("test")] if kind == "none" else extract_distorted(rows, kind, level)
            prediction = np.array(labels, dtype=object)[(x @ weights + biases).argmax(axis=1)]
            head = rows[["clip", "speaker", "emotion"]].rename(columns={"emotion": "truth"})
            head = head.assign(distortion=kind, level=level, model=models.DISCRIMINANT)
            predictions.append(head.assign(prediction=prediction))
    return results.score_distortions(pd.concat(predictions))


def extract_distorted(rows: pd.DataFrame, kind: str, level: float) -> np.ndarray:
    """Return the functionals of clips with one distortion, shape (n, d)."""
    jobs = (delayed(distorted_functionals)(row, kind, level) for row in rows.to_dict("records"))
    return np.stack(Parallel(n_jobs=-1)(jobs))


def distorted_functionals(row: dict[str, str], kind: str, level: float) -> np.ndarray:
    """Return the functionals of a distorted clip; its noise is that of `results.distorted_predictions`."""
    signal = audio.load(row["path"], SAMPLE_RATE)
    distorted = audio.distort(signal, SAMPLE_RATE, kind, level, seed=audio.clip_seed(row["sha256"], 0, 0))
    return features.compute_functionals(distorted, SAMPLE_RATE)


TABLES: dict[str, Callable[[str], pd.DataFrame]] = {
    "prior-clips": measure_prior,
    "enrolment": measure_enrolment,
    "training-speakers": measure_training_speakers,
    "test-speakers": measure_test_speakers,
    "calibration": measure_calibration,
    "confusion": measure_confusion,
    "speakers": measure_speakers,
}


if __name__ == "__main__":
    main()
