"""What is left of a finished run's score when its test clips are distorted by a known amount.

What a chapter does with a finished run::

    curves = robustness.curves("runs/try")
    charts.robustness(curves)
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
NO_LEVEL = (float("nan"),)  # for what has no level
DISTORTION_LEVELS: dict[str, Sequence[float]] = {
    "white noise": (20, 15, 10, 5, 0),
    "babble": (20, 15, 10, 5, 0),
    "gain": (-12, -6, 0, 6, 12),
    "start cut": (0, 0.1, 0.2, 0.4),
    "end cut": (0, 0.1, 0.2, 0.4),
    **dict.fromkeys(("telephone", "mp3", "vorbis", "opus", "gsm", "u-law"), NO_LEVEL),
}


def measure_robustness(
    run: str | Path | TrainedRun,
    rows: pd.DataFrame | None = None,
    *,
    distortions: Mapping[str, Sequence[float]] = DISTORTION_LEVELS,
    max_clips: int = 0,
    seed: int = 0,
    data_dir: str | Path = "",
) -> pd.DataFrame:
    """The scores of a run's models on distorted clips; `none` is the undistorted ones.

    Args:
        run: A run's folder, for all its models, or one model of it (`results.load_run`).
        rows: A clip table; by default the recordings that the run was tested on (`results.test_clips`).
        distortions: The levels of each of `audio.DISTORTIONS`.
        max_clips: At most so many clips, balanced over the emotions; 0 for all.
        seed: Of the noise and of the choice of clips.
        data_dir: Where the corpus of the test clips lies; empty to look it up.

    Returns:
        What `scored` makes of `predictions`.
    """
    told = distorted_predictions(run, rows, distortions=distortions, max_clips=max_clips, seed=seed, data_dir=data_dir)
    return score_distortions(told)


def distorted_predictions(
    run: str | Path | TrainedRun,
    rows: pd.DataFrame | None = None,
    *,
    distortions: Mapping[str, Sequence[float]] = DISTORTION_LEVELS,
    max_clips: int = 0,
    seed: int = 0,
    data_dir: str | Path = "",
) -> pd.DataFrame:
    """What a run's models answer to each clip and distortion; the arguments are those of `curves`.

    The noise of a clip is the same for every model, level and run of this function, so that answers can be paired.
    Clips whose emotion a model does not know are left out.

    Returns:
        The columns of `predictions.csv` without `copy` and `split`, after `distortion` and `level` (NaN for none).
    """
    loaded = [run] if isinstance(run, TrainedRun) else _run_models(run)
    return pd.concat(
        [_predict_model(one, rows, distortions, max_clips, seed, data_dir) for one in loaded], ignore_index=True
    )


def _run_models(folder: str | Path) -> list[TrainedRun]:
    """The models of a run that did not fail; of each fold, where it pooled several."""
    names = [name for name, entry in read_metrics(folder)["models"].items() if "failed" not in entry]
    return [one for name in names for one in load_folds(folder, name)]


def _predict_model(
    run: TrainedRun,
    rows: pd.DataFrame | None,
    distortions: Mapping[str, Sequence[float]],
    max_clips: int,
    seed: int,
    data_dir: str | Path,
) -> pd.DataFrame:
    own = test_clips(run, data_dir) if rows is None else rows
    own = corpora.select_clips(own, emotions=run.labels, max_clips=max_clips, seed=seed)
    steps = [(UNDISTORTED, float("nan")), *((kind, level) for kind, many in distortions.items() for level in many)]
    bar = utils.progress_bar(
        _predict_all(run, own, steps, seed), total=len(own), desc=f"{run.model.name}: {len(steps)} distortions"
    )
    told = pd.concat(bar, ignore_index=True)
    told = told.sort_values("step", kind="stable", ignore_index=True).drop(columns="step")
    if rows is None:
        _warn_if_different(run, told)
    return told


def _predict_all(
    run: TrainedRun, rows: pd.DataFrame, steps: Sequence[tuple[str, float]], seed: int
) -> Iterator[pd.DataFrame]:
    """One clip after another: its answers to all steps."""
    from joblib import Parallel
    from joblib import delayed
    from threadpoolctl import threadpool_limits

    audio.compile_librosa()
    jobs = (delayed(_predict_clip)(run, row, steps, seed) for row in rows.to_dict("records"))
    with threadpool_limits(1, user_api="blas"):  # each thread has a clip of its own
        yield from Parallel(n_jobs=-1, prefer="threads", return_as="generator")(jobs)


def _predict_clip(run: TrainedRun, row: dict[str, str], steps: Sequence[tuple[str, float]], seed: int) -> pd.DataFrame:
    """One clip's answers, one row a step."""
    rate, own_seed = run.inputs.sample_rate, audio.clip_seed(row["sha256"], 0, seed)
    clean = audio.load(row["path"], rate)
    signals = [
        clean if kind == UNDISTORTED else audio.distort(clean, rate, kind, level, seed=own_seed)
        for kind, level in steps
    ]
    found = predict_batch(run, signals)
    head = pd.DataFrame(steps, columns=["distortion", "level"]).assign(
        step=range(len(steps)), model=run.model.name, clip=row["clip"], speaker=row["speaker"],
        truth=row["emotion"], prediction=[predicted_label(one) for _, one in found.iterrows()],
    )  # fmt: skip
    return head.join(found)


def _warn_if_different(run: TrainedRun, told: pd.DataFrame) -> None:
    """Warn if the undistorted clips are not answered as they were when the run was made."""
    then = read_predictions(run.folder).query("model == @run.model.name and split == 'test' and copy == 0")
    now = told.loc[told["distortion"] == UNDISTORTED].set_index("clip")["prediction"]
    other = now.ne(then.set_index("clip")["prediction"].fillna("").reindex(now.index))
    if other.any():
        warnings.warn(
            f"{run.folder}: {other.sum()} of {len(now)} undistorted clips are no longer answered as in "
            "predictions.csv. Their audio, or a package, is not the one that the run was made with.",
            stacklevel=4,
        )


def score_distortions(answers: pd.DataFrame) -> pd.DataFrame:
    """The scores of each model at each distortion.

    Args:
        answers: What `predictions` returns.

    Returns:
        One row each, with `distortion`, `level`, `unit`, `model`, `uar`, `uar_low`, `uar_high` (95 %, resampling
        speakers), the same for `accuracy`, `chance` (one over the emotions that occur), `speakers` and `rows`.
    """
    by = ["model", "distortion", "level"]
    return pd.DataFrame(
        [
            _score_level(dict(zip(by, key, strict=True)), part)
            for key, part in answers.groupby(by, sort=False, dropna=False)
        ]
    )


def _score_level(head: dict, answers: pd.DataFrame) -> dict:
    # No answer, which a network of ReLU outputs may give, is an answer that is never right.
    labels = sorted({*answers["truth"], *answers["prediction"].fillna("")})
    told = answers.assign(prediction=answers["prediction"].fillna(""))
    matrix = evaluation.confusion_matrix(told["truth"].to_numpy(), told["prediction"].to_numpy(), labels)
    ends, found = evaluation.speaker_interval(told, labels), evaluation.compute_scores(matrix)
    row = {**head, "unit": audio.DISTORTIONS.get(head["distortion"], "")}
    for score in INTERVAL_SCORES:
        row |= {score: found[score], f"{score}_low": ends[score][0], f"{score}_high": ends[score][1]}
    counts = {"speakers": told["speaker"].nunique(), "rows": len(told)}
    return {**row, "chance": 1 / told["truth"].nunique(), **counts}
