"""Score a finished run on its test clips, distorted by a known amount.

In a chapter::

    scores = results.score_distortions(results.distorted_predictions("runs/try"))
    display.robustness_curves(scores)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import utils
from sernb.results.files import INTERVAL_SCORES
from sernb.results.files import read_metrics
from sernb.results.files import read_predictions
from sernb.results.prediction import TrainedRun
from sernb.results.prediction import load_folds
from sernb.results.prediction import predict_batch
from sernb.results.prediction import predicted_label
from sernb.results.prediction import test_clips

UNDISTORTED = "none"
NO_LEVEL = (float("nan"),)  # of distortions that cannot be graded
DISTORTION_LEVELS: dict[str, Sequence[float]] = {
    "white noise": (20, 15, 10, 5, 0),
    "babble": (20, 15, 10, 5, 0),
    "gain": (-12, -6, 0, 6, 12),
    "start cut": (0, 0.1, 0.2, 0.4),
    "end cut": (0, 0.1, 0.2, 0.4),
    **dict.fromkeys(("telephone", "mp3", "vorbis", "opus", "gsm", "u-law"), NO_LEVEL),
}


def distorted_predictions(
    run: str | Path | TrainedRun,
    rows: pd.DataFrame | None = None,
    *,
    distortions: Mapping[str, Sequence[float]] = DISTORTION_LEVELS,
    max_clips: int = 0,
    seed: int = 0,
    data_dir: str | Path = "",
) -> pd.DataFrame:
    """Return the predictions of a run's models for each clip and distortion; `none` stands for undistorted clips.

    The noise of a clip is the same for every model, level and call, so that predictions can be paired. Clips whose
    emotion a model does not know are left out.

    Args:
        run: A run's folder, for all its models, or one model of it (`results.load_run`).
        rows: A clip table; by default the recordings that the run was tested on (`results.test_clips`).
        distortions: The levels of each of `audio.DISTORTIONS`.
        max_clips: At most this many clips, balanced over the emotions; 0 for all.
        seed: Seed of the noise and of the choice of clips.
        data_dir: The folder of the corpus of the test clips; empty to look it up.

    Returns:
        `distortion` and `level` (NaN for none), then the columns of `predictions.csv` without `copy` and `split`.
    """
    loaded = [run] if isinstance(run, TrainedRun) else _run_models(run)
    return pd.concat(
        [_predict_model(model, rows, distortions, max_clips, seed, data_dir) for model in loaded], ignore_index=True
    )


def _run_models(folder: str | Path) -> list[TrainedRun]:
    """Return the models of a run that did not fail; those of each fold, if it pooled several."""
    names = [name for name, entry in read_metrics(folder)["models"].items() if "failed" not in entry]
    return [model for name in names for model in load_folds(folder, name)]


def _predict_model(
    run: TrainedRun,
    rows: pd.DataFrame | None,
    distortions: Mapping[str, Sequence[float]],
    max_clips: int,
    seed: int,
    data_dir: str | Path,
) -> pd.DataFrame:
    clips = test_clips(run, data_dir) if rows is None else rows
    clips = corpora.select_clips(clips, emotions=run.labels, max_clips=max_clips, seed=seed)
    steps = [(UNDISTORTED, float("nan")), *((kind, level) for kind, many in distortions.items() for level in many)]
    bar = utils.progress_bar(
        _predict_all(run, clips, steps, seed), total=len(clips), desc=f"{run.model.name}: {len(steps)} distortions"
    )
    predictions = pd.concat(bar, ignore_index=True)
    predictions = predictions.sort_values("step", kind="stable", ignore_index=True).drop(columns="step")
    if rows is None:
        _warn_if_different(run, predictions)
    return predictions


def _predict_all(
    run: TrainedRun, rows: pd.DataFrame, steps: Sequence[tuple[str, float]], seed: int
) -> Iterator[pd.DataFrame]:
    """Yield the predictions for one clip after another, at all steps."""
    from joblib import Parallel
    from joblib import delayed
    from threadpoolctl import threadpool_limits

    audio.compile_librosa()
    jobs = (delayed(_predict_clip)(run, row, steps, seed) for row in rows.to_dict("records"))
    with threadpool_limits(1, user_api="blas"):  # each thread has a clip of its own
        yield from Parallel(n_jobs=-1, prefer="threads", return_as="generator")(jobs)


def _predict_clip(run: TrainedRun, row: dict[str, str], steps: Sequence[tuple[str, float]], seed: int) -> pd.DataFrame:
    """Return the predictions for one clip, one row per step."""
    rate, own_seed = run.inputs.sample_rate, audio.clip_seed(row["sha256"], 0, seed)
    clean = audio.load(row["path"], rate)
    signals = [
        clean if kind == UNDISTORTED else audio.distort(clean, rate, kind, level, seed=own_seed)
        for kind, level in steps
    ]
    probabilities = predict_batch(run, signals)
    head = pd.DataFrame(steps, columns=["distortion", "level"]).assign(
        step=range(len(steps)), model=run.model.name, clip=row["clip"], speaker=row["speaker"],
        truth=row["emotion"], prediction=[predicted_label(values) for _, values in probabilities.iterrows()],
    )  # fmt: skip
    return head.join(probabilities)


def _warn_if_different(run: TrainedRun, predictions: pd.DataFrame) -> None:
    """Warn if undistorted clips are not predicted as they were when the run was made."""
    before = read_predictions(run.folder).query("model == @run.model.name and split == 'test' and copy == 0")
    now = predictions.loc[predictions["distortion"] == UNDISTORTED].set_index("clip")["prediction"]
    changed = now.ne(before.set_index("clip")["prediction"].fillna("").reindex(now.index))
    if changed.any():
        warnings.warn(
            f"{run.folder}: the predictions of {changed.sum()} of {len(now)} undistorted clips differ from those in "
            "predictions.csv. The audio files or a package have changed since the run.",
            stacklevel=4,
        )


def score_distortions(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of each model at each distortion.

    Args:
        predictions: What `distorted_predictions` returns.

    Returns:
        One row per model, distortion and level, with `distortion`, `level`, `unit`, `model`, `uar`, `uar_low`,
        `uar_high` (95%, over speakers), the same for `accuracy`, `chance` (1 divided by the number of emotions that
        occur), `speakers` and `rows`.
    """
    by = ["model", "distortion", "level"]
    groups = predictions.groupby(by, sort=False, dropna=False)
    return pd.DataFrame([_score_level(dict(zip(by, key, strict=True)), rows) for key, rows in groups])


def _score_level(head: dict, rows: pd.DataFrame) -> dict:
    # A missing prediction, which a network with ReLU outputs may give, counts as a wrong one.
    rows = rows.assign(prediction=rows["prediction"].fillna(""))
    labels = sorted({*rows["truth"], *rows["prediction"]})
    matrix = evaluation.confusion_matrix(rows["truth"].to_numpy(), rows["prediction"].to_numpy(), labels)
    intervals, scores = evaluation.speaker_interval(rows, labels), evaluation.compute_scores(matrix)
    row = {**head, "unit": audio.DISTORTIONS.get(head["distortion"], "")}
    for score in INTERVAL_SCORES:
        row |= {score: scores[score], f"{score}_low": intervals[score][0], f"{score}_high": intervals[score][1]}
    return {**row, "chance": 1 / rows["truth"].nunique(), "speakers": rows["speaker"].nunique(), "rows": len(rows)}
