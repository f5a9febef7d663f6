"""Which part of a clip's picture an answer of a finished run hangs on.

Two ways that ask the same: how much less probable is the answer if this part is taken away? `occlusion` takes patches
away one by one and works with every Keras backend; `gradient` goes there by small steps and is finer. Neither says
*why*, and a map that a network with random weights gives as well (`sanity`) says nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from sernb import audio
from sernb import corpora
from sernb import features
from sernb import utils
from sernb.results.prediction import TrainedRun
from sernb.results.prediction import test_clips

PATCH_SIZE = (0.125, 0.2)  # a patch's height as a share of the picture, and its length in seconds
AXES = {"mel": "mel band (Hz)", "mfcc": "MFCC coefficient"}


class AttributionError(ValueError):
    """An answer that cannot be traced to a part of a picture, with the reason."""


@dataclass(frozen=True)
class Attribution:
    """What an answer hangs on.

    `picture` is what the network was given and `effect` how much each part of it adds to the probability of `label`:
    both with a row a mel band or coefficient and a column a frame, named by its seconds. What lies beyond `seconds`,
    the clip's own length, is padding; to a network that is part of the picture.
    """

    label: str
    probability: float
    picture: pd.DataFrame
    effect: pd.DataFrame
    seconds: float
    method: str


def occlusion_map(
    run: TrainedRun, signal: np.ndarray, label: str = "", *, patch: tuple[float, float] = PATCH_SIZE
) -> Attribution:
    """How much of an answer's probability goes when a patch of the picture is replaced by what is usual there.

    Zeiler and Fergus 2014, doi 10.1007/978-3-319-10590-1_53. Usual is the mean of each band over the training rows or,
    for a network whose inputs were not standardised, over the clip. Patches overlap by half; each part of the map is
    the mean over the patches that cover it. A network that is very sure loses little by any one patch: look at the
    scale, and try larger ones.

    Args:
        run: What `results.load_run` returns.
        signal: Shape (n,), at the run's sample rate; what is longer than the run's longest clip is cut.
        label: The emotion asked about; by default the one that the network answers.
        patch: Height as a share of the picture, length in seconds.

    Raises:
        AttributionError: The network is given two numbers, or does not know the label.
    """
    x, usual = _input_and_baseline(run, signal)
    label, before = _label_outputs(run, x, label)
    high = max(1, round(patch[0] * x.shape[0]))
    long = max(1, round(patch[1] * run.inputs.sample_rate / features.HOP_LENGTH))
    places = [(i, j) for i in _patch_starts(x.shape[0], high) for j in _patch_starts(x.shape[1], long)]
    lost, times = np.zeros(x.shape), np.zeros(x.shape)
    for begin in range(0, len(places), 64):
        some = [np.s_[i : i + high, j : j + long] for i, j in places[begin : begin + 64]]
        hidden = np.repeat(x[None], len(some), axis=0)
        for one, place in zip(hidden, some, strict=True):
            one[place] = usual[place]
        for place, after in zip(some, _label_probability(run, hidden, label), strict=True):
            lost[place] += before - after
            times[place] += 1
    return _make_attribution(run, signal, label, before, x, lost / times, "occlusion")


def _patch_starts(size: int, patch: int) -> list[int]:
    """Where patches begin that overlap by half; the last one ends with the picture."""
    last = max(0, size - patch)
    return [*range(0, last, max(1, patch // 2)), last]


def integrated_gradients(run: TrainedRun, signal: np.ndarray, label: str = "", *, steps: int = 64) -> Attribution:
    """What each point of the picture adds to an answer's probability, by integrated gradients.

    Sundararajan, Taly and Yan 2017, arXiv 1703.01365: the gradient, averaged on the straight way from the usual picture
    to the clip's own, times the difference of both. The map's sum is the difference of the two probabilities.

    Args:
        run: What `results.load_run` returns.
        signal: Shape (n,), at the run's sample rate; what is longer than the run's longest clip is cut.
        label: The emotion asked about; by default the one that the network answers.
        steps: On the way.

    Raises:
        AttributionError: As `occlusion`, or Keras does not run on TensorFlow.
    """
    x, usual = _input_and_baseline(run, signal)
    label, before = _label_outputs(run, x, label)
    shares = (np.arange(steps, dtype=np.float32) + 0.5) / steps
    way = [usual + shares[i : i + 32, None, None] * (x - usual) for i in range(0, steps, 32)]
    slope = np.concatenate([_gradients(run, part, label) for part in way]).mean(axis=0, dtype=np.float64)
    return _make_attribution(run, signal, label, before, x, slope * (x - usual), "integrated gradients")


def _gradients(run: TrainedRun, pictures: np.ndarray, label: str) -> np.ndarray:
    """The gradient of a label's probability at each point of some pictures, shape (n, bands, frames)."""
    import keras

    if (backend := keras.backend.backend()) != "tensorflow":
        raise AttributionError(f"gradients are taken with TensorFlow, and Keras runs on {backend}: use `occlusion`.")
    import tensorflow as tf

    given = tf.convert_to_tensor(pictures[..., None])
    with tf.GradientTape() as tape:
        tape.watch(given)
        outputs = tf.cast(run.model(given, training=False), tf.float32)
        wanted = outputs[:, run.labels.index(label)] / tf.reduce_sum(outputs, axis=1)
    return tape.gradient(wanted, given).numpy()[..., 0].astype(np.float32)


def _input_and_baseline(run: TrainedRun, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A clip's picture as the network is given it, and the usual one; both of shape (bands, frames)."""
    if not run.inputs.frames:
        raise AttributionError(
            f"{run.model.name} of {run.folder} is given {run.inputs.feature}, numbers and no picture to point at. "
            "Choose a model with mel or mfcc (of functionals, `models.logit_contributions` tells all)."
        )
    x = features.make_inputs([signal], run.inputs)[0]
    # Standardised inputs have a mean of 0 over the training rows, band by band.
    usual = np.zeros_like(x) if run.inputs.mean is not None else np.repeat(x.mean(axis=1, keepdims=True), x.shape[1], 1)
    return x, usual


def _label_outputs(run: TrainedRun, x: np.ndarray, label: str) -> tuple[str, float]:
    if label and label not in run.labels:
        raise AttributionError(f"{run.model.name} knows no emotion {label!r}; it knows {', '.join(run.labels)}.")
    outputs = _raw_outputs(run, x[None])
    label = label or run.labels[int(np.argmax(outputs[0]))]
    return label, float(_normalise_outputs(outputs)[0, run.labels.index(label)])


def _label_probability(run: TrainedRun, pictures: np.ndarray, label: str) -> np.ndarray:
    return _normalise_outputs(_raw_outputs(run, pictures))[:, run.labels.index(label)]


def _normalise_outputs(outputs: np.ndarray) -> np.ndarray:
    """Probabilities; where all outputs are zero there is no answer, and nothing of its probability is left."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(outputs / outputs.sum(axis=1, keepdims=True))


def _raw_outputs(run: TrainedRun, pictures: np.ndarray) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(run.model(pictures[..., None], training=False)).astype(np.float64)


def _make_attribution(
    run: TrainedRun,
    signal: np.ndarray,
    label: str,
    probability: float,
    x: np.ndarray,
    effect: np.ndarray,
    method: str,
) -> Attribution:
    rate = run.inputs.sample_rate
    bands = pd.Index(_band_values(run, len(x)), name=AXES[run.inputs.feature])
    seconds = pd.Index(np.arange(x.shape[1]) * features.HOP_LENGTH / rate, name="seconds")
    picture, told = (pd.DataFrame(one, bands, seconds) for one in (x, effect))
    return Attribution(label, probability, picture, told, len(signal) / rate, method)


def _band_values(run: TrainedRun, number: int) -> np.ndarray:
    """The centre of each mel band in Hz, or the number of each coefficient."""
    import librosa

    if run.inputs.feature != "mel":
        return np.arange(number)
    # A filter bank's triangles stand between two outer edges, which librosa counts too.
    return librosa.mel_frequencies(n_mels=number + 2, fmax=run.inputs.sample_rate / 2)[1:-1].round(1)


# of many clips


def mean_occlusion_map(
    folds: Sequence[TrainedRun],
    *,
    bands: int = 8,
    parts: int = 5,
    max_clips: int = 0,
    seed: int = 0,
    data_dir: str = "",
) -> pd.DataFrame:
    """What the answers to all tested clips hang on, on average: the right ones, and the wrong ones.

    Clips differ in length, so that their maps cannot be laid upon one another. Here each picture is cut into cells: so
    many bands, and so many equal parts of the *speech*, from its first to its last active frame (`audio.active_speech`), with
    what lies before and after it (padding included) as one part each. Each cell in turn is replaced by what is usual
    there, as by `occlusion`. `results.mean_occlusion_map(prediction.folds("runs/try"))` is all it takes.

    Args:
        folds: What `results.load_folds` returns: one run, or the folds of one that pooled them.
        bands: Into which the mel bands or coefficients are put together.
        parts: Of the speech.
        max_clips: At most so many of each fold, balanced over the emotions; 0 for all that were tested.
        seed: Of their choice.
        data_dir: Where the corpus lies; empty to look it up.

    Returns:
        One row for each `answer` (right, wrong), `band` and `part` (before, 1, 2, ..., after), with `effect`, by how
        much the probability of the answer falls, the mean over clips; `error`, its standard error over speakers; how
        many `clips` and `speakers` these are; and `axis`, what the bands are.

    Raises:
        AttributionError: As `occlusion`.
    """
    tested = [test_clips(run, data_dir).query("prediction.notna()") for run in folds]
    chosen = [corpora.select_clips(rows, max_clips=max_clips, seed=seed).to_dict("records") for rows in tested]
    jobs = [(run, row) for run, rows in zip(folds, chosen, strict=True) for row in rows]
    bar = utils.progress_bar(jobs, total=len(jobs), desc=f"what {len(jobs)} answers hang on")
    return _average_cells(pd.concat([_cell_effects(run, row, bands, parts) for run, row in bar])).assign(
        axis=AXES[folds[0].inputs.feature]
    )


def _average_cells(told: pd.DataFrame) -> pd.DataFrame:
    by = ["answer", "band", "part"]
    voices = told.groupby([*by, "speaker"], sort=False)["effect"].mean().groupby(by, sort=False).sem()
    cells = told.dropna().groupby(by, sort=False)
    found = cells.agg(effect=("effect", "mean"), clips=("effect", "size"), speakers=("speaker", "nunique"))
    return found.join(voices.rename("error")).reset_index().sort_values("answer", kind="stable", ignore_index=True)


def _cell_effects(run: TrainedRun, row: dict, bands: int, parts: int) -> pd.DataFrame:
    """The effect of each cell of a clip's picture, one row each; NaN where a cell is empty."""
    signal = audio.load(row["path"], run.inputs.sample_rate)
    x, usual = _input_and_baseline(run, signal)
    high = np.linspace(0, len(x), bands + 1).round().astype(int)
    long = [0, *_part_edges(signal, run.inputs.sample_rate, parts).clip(max=x.shape[1]), x.shape[1]]
    places = [np.s_[a:b, c:d] for a, b in pairwise(high) for c, d in pairwise(long)]
    pictures = np.repeat(x[None], 1 + len(places), axis=0)  # the first one stays whole
    for hidden, place in zip(pictures[1:], places, strict=True):
        hidden[place] = usual[place]
    shares = _normalise_outputs(_raw_outputs(run, pictures))
    answer = int(np.argmax(shares[0]))
    lost = shares[0, answer] - shares[1:, answer]
    told = pd.MultiIndex.from_product(
        [_band_ranges(_band_values(run, len(x)), high), ["before", *map(str, range(1, parts + 1)), "after"]],
        names=["band", "part"],
    ).to_frame(index=False)
    there = [usual[place].size > 0 for place in places]
    judged = "right" if run.labels[answer] == row["emotion"] else "wrong"
    return told.assign(answer=judged, speaker=row["speaker"], effect=np.where(there, lost, np.nan))


def _part_edges(signal: np.ndarray, sample_rate: int, parts: int) -> np.ndarray:
    """The frames at which each part of a clip's speech begins, and the one after its last; shape (parts + 1,)."""
    spoken = np.flatnonzero(audio.active_speech(signal, sample_rate, hangover=0))
    begin, end = spoken[0] / features.HOP_LENGTH, (spoken[-1] + 1) / features.HOP_LENGTH
    return np.linspace(begin, end, parts + 1).round().astype(int)


def _band_ranges(bands: np.ndarray, edges: np.ndarray) -> list[str]:
    return [f"{bands[first]:.0f} to {bands[after - 1]:.0f}" for first, after in pairwise(edges)]


# is the map worth a look?


def with_random_weights(run: TrainedRun, *, seed: int = 0) -> TrainedRun:
    """The same run with a network of the same shape whose weights were never trained."""
    with audio.seeded_global_rng(seed):  # Keras draws the seeds of its initial weights from Python's generator
        return replace(run, model=type(run.model).from_config(run.model.get_config()))


def map_correlation(one: Attribution, other: Attribution) -> float:
    """Spearman's correlation of the effects of two maps of one clip: 1 for the same order of all parts."""
    from scipy.stats import spearmanr

    return float(spearmanr(one.effect.to_numpy().ravel(), other.effect.to_numpy().ravel()).statistic)


def sanity_check(run: TrainedRun, signal: np.ndarray, label: str = "", *, networks: int = 5) -> pd.Series:
    """How `alike` the occlusion maps of a network and of some untrained ones are: near 0 if training made the map.

    Adebayo et al. 2018, arXiv 1810.03292.
    """
    trained = occlusion_map(run, signal, label)
    maps = {seed: occlusion_map(with_random_weights(run, seed=seed), signal, trained.label) for seed in range(networks)}
    return pd.Series(
        {seed: map_correlation(trained, one) for seed, one in maps.items()}, name="correlation"
    ).rename_axis("seed")


def most_confident(predictions: pd.DataFrame, number: int = 3) -> pd.DataFrame:
    """The answers that a network was surest of, some right and some wrong, of as many emotions as there are.

    Args:
        predictions: Rows of one model with `truth`, `prediction` and a probability for each label, such as
            `results.test_clips` returns.
        number: Of each.

    Returns:
        The rows, the right ones first, with `right` and `confidence`, the probability of the answer.
    """
    answered = predictions[predictions["prediction"].fillna("") != ""]
    told = answered.assign(
        right=answered["truth"] == answered["prediction"],
        confidence=[row[row["prediction"]] for row in answered.to_dict("records")],
    ).sort_values("confidence", ascending=False, kind="stable")
    turn = told.groupby(["right", "truth"]).cumcount()
    chosen = told.assign(turn=turn).sort_values(["right", "turn", "confidence"], ascending=[False, True, False])
    return chosen.groupby("right", sort=False).head(number).drop(columns="turn").reset_index(drop=True)
