"""Attribution maps: which part of a clip's spectrogram a prediction of a finished run depends on.

Two methods answer the same question, how much less probable the prediction is without a part of the input:
`occlusion_map` replaces patches one by one and works with every Keras backend, `integrated_gradients` is finer. A map
shows where the network looks, not why; if an untrained network gives the same map, it is uninformative (Adebayo et al.
2018, arXiv 1810.03292).
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

PATCH_SIZE = (0.125, 0.2)  # height as a fraction of the spectrogram's, length in seconds
AXES = {"mel": "mel band (Hz)", "mfcc": "MFCC coefficient"}


class AttributionError(ValueError):
    """A prediction that cannot be attributed to parts of a spectrogram, with the reason."""


@dataclass(frozen=True)
class Attribution:
    """What a prediction depends on.

    `input` is the network's input and `attribution` what each part of it adds to the probability of `label`: both with
    a row per mel band or coefficient and a column per frame, named by its seconds. What lies beyond `seconds`, the
    clip's own length, is padding, which is part of the network's input.
    """

    label: str
    probability: float
    input: pd.DataFrame
    attribution: pd.DataFrame
    seconds: float
    method: str


def occlusion_map(
    run: TrainedRun, signal: np.ndarray, label: str = "", *, patch: tuple[float, float] = PATCH_SIZE
) -> Attribution:
    """Return how much of a prediction's probability is lost when a patch of the input is replaced by a usual value.

    Zeiler and Fergus 2014, doi 10.1007/978-3-319-10590-1_53. The usual value is the mean of each band over the
    training rows or, for a network whose inputs were not standardised, over the clip. Patches overlap by half; each
    value of the map is the mean over the patches that cover it. A network that is very sure loses little by any single
    patch: check the scale, and try larger patches.

    Args:
        run: What `results.load_run` returns.
        signal: Shape (n,), at the run's sample rate; it is cut to the length of the run's longest clip.
        label: The emotion in question; by default the predicted one.
        patch: Height as a fraction of the spectrogram's, length in seconds.

    Raises:
        AttributionError: The input is not a spectrogram, or the network does not know the label.
    """
    x, usual = _input_and_baseline(run, signal)
    label, before = _label_outputs(run, x, label)
    height = max(1, round(patch[0] * x.shape[0]))
    width = max(1, round(patch[1] * run.inputs.sample_rate / features.HOP_LENGTH))
    corners = [(i, j) for i in _patch_starts(x.shape[0], height) for j in _patch_starts(x.shape[1], width)]
    lost, times = np.zeros(x.shape), np.zeros(x.shape)
    for begin in range(0, len(corners), 64):
        patches = [np.s_[i : i + height, j : j + width] for i, j in corners[begin : begin + 64]]
        occluded = np.repeat(x[None], len(patches), axis=0)
        for copy, area in zip(occluded, patches, strict=True):
            copy[area] = usual[area]
        for area, after in zip(patches, _label_probability(run, occluded, label), strict=True):
            lost[area] += before - after
            times[area] += 1
    return _make_attribution(run, signal, label, before, x, lost / times, "occlusion")


def _patch_starts(size: int, patch: int) -> list[int]:
    """Return where patches begin that overlap by half; the last one ends with the input."""
    last = max(0, size - patch)
    return [*range(0, last, max(1, patch // 2)), last]


def integrated_gradients(run: TrainedRun, signal: np.ndarray, label: str = "", *, steps: int = 64) -> Attribution:
    """Return what each point of the input adds to a prediction's probability, by integrated gradients.

    Sundararajan, Taly and Yan 2017, arXiv 1703.01365: the gradient, averaged along the straight line from the usual
    input to the clip's own, times the difference between the two. The map's sum is approximately the
    difference between the two probabilities.

    Args:
        run: What `results.load_run` returns.
        signal: Shape (n,), at the run's sample rate; it is cut to the length of the run's longest clip.
        label: The emotion in question; by default the predicted one.
        steps: Number of points along the line.

    Raises:
        AttributionError: As `occlusion_map`, or Keras does not run on TensorFlow.
    """
    x, usual = _input_and_baseline(run, signal)
    label, before = _label_outputs(run, x, label)
    fractions = (np.arange(steps, dtype=np.float32) + 0.5) / steps
    line = [usual + fractions[i : i + 32, None, None] * (x - usual) for i in range(0, steps, 32)]
    slope = np.concatenate([_gradients(run, part, label) for part in line]).mean(axis=0, dtype=np.float64)
    return _make_attribution(run, signal, label, before, x, slope * (x - usual), "integrated gradients")


def _gradients(run: TrainedRun, inputs: np.ndarray, label: str) -> np.ndarray:
    """Return the gradient of a label's probability at each point of some inputs, shape (n, bands, frames)."""
    import keras

    if (backend := keras.backend.backend()) != "tensorflow":
        raise AttributionError(
            f"integrated_gradients needs TensorFlow, and Keras runs on {backend}: use `occlusion_map`."
        )
    import tensorflow as tf

    x = tf.convert_to_tensor(inputs[..., None])
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = tf.cast(run.model(x, training=False), tf.float32)
        probability = outputs[:, run.labels.index(label)] / tf.reduce_sum(outputs, axis=1)
    return tape.gradient(probability, x).numpy()[..., 0].astype(np.float32)


def _input_and_baseline(run: TrainedRun, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip's input to the network and the usual one; both of shape (bands, frames)."""
    if not run.inputs.frames:
        raise AttributionError(
            f"the input of {run.model.name} of {run.folder} is {run.inputs.feature}, not a spectrogram. "
            "Choose a model with mel or mfcc (for functionals, use `models.logit_contributions`)."
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


def _label_probability(run: TrainedRun, inputs: np.ndarray, label: str) -> np.ndarray:
    return _normalise_outputs(_raw_outputs(run, inputs))[:, run.labels.index(label)]


def _normalise_outputs(outputs: np.ndarray) -> np.ndarray:
    """Return probabilities; where all outputs are zero there is no prediction, and its probability is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(outputs / outputs.sum(axis=1, keepdims=True))


def _raw_outputs(run: TrainedRun, inputs: np.ndarray) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(run.model(inputs[..., None], training=False)).astype(np.float64)


def _make_attribution(
    run: TrainedRun,
    signal: np.ndarray,
    label: str,
    probability: float,
    x: np.ndarray,
    attribution: np.ndarray,
    method: str,
) -> Attribution:
    rate = run.inputs.sample_rate
    bands = pd.Index(_band_values(run, len(x)), name=AXES[run.inputs.feature])
    seconds = pd.Index(np.arange(x.shape[1]) * features.HOP_LENGTH / rate, name="seconds")
    tables = (pd.DataFrame(values, bands, seconds) for values in (x, attribution))
    return Attribution(label, probability, *tables, len(signal) / rate, method)


def _band_values(run: TrainedRun, number: int) -> np.ndarray:
    """Return the centre of each mel band in Hz, or the number of each coefficient."""
    import librosa

    if run.inputs.feature != "mel":
        return np.arange(number)
    # librosa also counts the two outer edges of the filter bank.
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
    """Return what the predictions of all test clips depend on, on average, for correct and for incorrect ones.

    Clips differ in length, so that their maps cannot be averaged point by point. Here each input is cut into cells: a
    number of bands, and a number of equal parts of the *speech*, from its first to its last active frame
    (`audio.active_speech`), with what lies before and after it (padding included) as one part each. Each cell in turn
    is replaced by what is usual there, as in `occlusion_map`. An example:
    `results.mean_occlusion_map(results.load_folds("runs/try"))`.

    Args:
        folds: What `results.load_folds` returns: one run, or the folds of one that pooled them.
        bands: Number of groups of mel bands or coefficients.
        parts: Number of parts of the speech.
        max_clips: The largest number of clips of each fold, balanced over the emotions; 0 for all that were tested.
        seed: Seed of the choice of clips.
        data_dir: The folder of the corpus; empty to look it up.

    Returns:
        One row for each `prediction` (correct, incorrect), `band` and `part` (before, 1, 2, ..., after), with `effect`,
        by how much the probability of the prediction falls, the mean over clips; `error`, its standard error over
        speakers; how many `clips` and `speakers` these are; and `axis`, what the bands are.

    Raises:
        AttributionError: As `occlusion_map`.
    """
    tested = [test_clips(run, data_dir).query("prediction.notna()") for run in folds]
    selected = [corpora.select_clips(clips, max_clips=max_clips, seed=seed).to_dict("records") for clips in tested]
    jobs = [(run, clip) for run, clips in zip(folds, selected, strict=True) for clip in clips]
    bar = utils.progress_bar(jobs, total=len(jobs), desc=f"maps of {len(jobs)} clips")
    return _average_cells(pd.concat([_cell_effects(run, clip, bands, parts) for run, clip in bar])).assign(
        axis=AXES[folds[0].inputs.feature]
    )


def _average_cells(effects: pd.DataFrame) -> pd.DataFrame:
    by = ["prediction", "band", "part"]
    errors = effects.groupby([*by, "speaker"], sort=False)["effect"].mean().groupby(by, sort=False).sem()
    cells = effects.dropna().groupby(by, sort=False)
    means = cells.agg(effect=("effect", "mean"), clips=("effect", "size"), speakers=("speaker", "nunique"))
    table = means.join(errors.rename("error")).reset_index()
    return table.sort_values("prediction", kind="stable", ignore_index=True)


def _cell_effects(run: TrainedRun, clip: dict, bands: int, parts: int) -> pd.DataFrame:
    """Return the effect of each cell of a clip's input, one row each; NaN where a cell is empty."""
    signal = audio.load(clip["path"], run.inputs.sample_rate)
    x, usual = _input_and_baseline(run, signal)
    band_edges = np.linspace(0, len(x), bands + 1).round().astype(int)
    part_edges = [0, *_part_edges(signal, run.inputs.sample_rate, parts).clip(max=x.shape[1]), x.shape[1]]
    cells = [np.s_[a:b, c:d] for a, b in pairwise(band_edges) for c, d in pairwise(part_edges)]
    inputs = np.repeat(x[None], 1 + len(cells), axis=0)  # the first one stays as it is
    for occluded, cell in zip(inputs[1:], cells, strict=True):
        occluded[cell] = usual[cell]
    probabilities = _normalise_outputs(_raw_outputs(run, inputs))
    predicted = int(np.argmax(probabilities[0]))
    lost = probabilities[0, predicted] - probabilities[1:, predicted]
    table = pd.MultiIndex.from_product(
        [_band_ranges(_band_values(run, len(x)), band_edges), ["before", *map(str, range(1, parts + 1)), "after"]],
        names=["band", "part"],
    ).to_frame(index=False)
    not_empty = [usual[cell].size > 0 for cell in cells]
    prediction = "correct" if run.labels[predicted] == clip["emotion"] else "incorrect"
    return table.assign(prediction=prediction, speaker=clip["speaker"], effect=np.where(not_empty, lost, np.nan))


def _part_edges(signal: np.ndarray, sample_rate: int, parts: int) -> np.ndarray:
    """Return the first frame of each part of a clip's speech, and the one after its last; shape (parts + 1,)."""
    active = np.flatnonzero(audio.active_speech(signal, sample_rate, hangover=0))
    begin, end = active[0] / features.HOP_LENGTH, (active[-1] + 1) / features.HOP_LENGTH
    return np.linspace(begin, end, parts + 1).round().astype(int)


def _band_ranges(bands: np.ndarray, edges: np.ndarray) -> list[str]:
    return [f"{bands[first]:.0f} to {bands[after - 1]:.0f}" for first, after in pairwise(edges)]


# is the map informative?


def with_random_weights(run: TrainedRun, *, seed: int = 0) -> TrainedRun:
    """Return the same run with an untrained network of the same architecture."""
    with audio.seeded_global_rng(seed):  # Keras draws the seeds of its initial weights from Python's generator
        return replace(run, model=type(run.model).from_config(run.model.get_config()))


def map_correlation(first: Attribution, second: Attribution) -> float:
    """Return Spearman's correlation of two maps of one clip: 1 if all their values have the same order."""
    from scipy.stats import spearmanr

    values = (attribution.attribution.to_numpy().ravel() for attribution in (first, second))
    return float(spearmanr(*values).statistic)


def most_confident(predictions: pd.DataFrame, number: int = 3) -> pd.DataFrame:
    """Return the predictions with the highest probability, some correct and some incorrect, of many different emotions.

    Args:
        predictions: Rows of one model with `truth`, `prediction` and a probability for each label, such as
            `results.test_clips` returns.
        number: How many correct and how many incorrect ones.

    Returns:
        The rows, the correct ones first, with `right` and `confidence`, the probability of the prediction.
    """
    answered = predictions[predictions["prediction"].fillna("") != ""]
    table = answered.assign(
        right=answered["truth"] == answered["prediction"],
        confidence=[row[row["prediction"]] for row in answered.to_dict("records")],
    ).sort_values("confidence", ascending=False, kind="stable")
    rank = table.groupby(["right", "truth"]).cumcount()
    ordered = table.assign(rank=rank).sort_values(["right", "rank", "confidence"], ascending=[False, True, False])
    return ordered.groupby("right", sort=False).head(number).drop(columns="rank").reset_index(drop=True)
