"""Scaling of features, and inputs for clips that were not in the training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sernb import utils
from sernb.features.extraction import FEATURES
from sernb.features.extraction import default_parameters
from sernb.features.extraction import extract_signal
from sernb.features.spectral import HOP_LENGTH
from sernb.features.store import allocate_features


def to_db(power: np.ndarray) -> np.ndarray:
    """Power spectrograms, shape (n, bands, frames), in dB below each clip's own maximum, at most 80 of them."""
    import librosa

    db = allocate_features(power.shape)
    for i, clip in enumerate(power):
        db[i] = librosa.power_to_db(clip, ref=np.max)
    return db


def max_minus(pictures: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Each clip's maximum minus each of its values, then padded with zeros: one reading of the paper's normalisation.

    Args:
        pictures: Shape (n, bands, frames).
        lengths: Samples of each clip before it was padded, at the rate of the feature; shape (n,).

    Returns:
        An array of the same shape.
    """
    out = allocate_features(pictures.shape)
    for i, frames in enumerate(1 + lengths // HOP_LENGTH):
        own = pictures[i, :, :frames]
        out[i, :, :frames] = own.max() - own
    return out


def fit_scaler(x: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each band (or number), learnt from the training rows alone.

    Args:
        x: Shape (n, bands, frames) or (n, numbers).
        train: Boolean, shape (n,): the rows to learn from.

    Returns:
        Two float32 arrays of shape (bands,) or (numbers,); a deviation of 0 is given as 1.
    """
    axes, rows = tuple(axis for axis in range(x.ndim) if axis != 1), np.flatnonzero(train)
    count = len(rows) * x[:1].size // x.shape[1]
    mean = sum(x[some].sum(axis=axes, dtype=np.float64) for some in utils.row_blocks(x, rows)) / count
    centre = mean.reshape(-1, *(1,) * (x.ndim - 2))
    squares = (np.square(x[some] - centre).sum(axis=axes) for some in utils.row_blocks(x, rows))
    deviation = np.sqrt(sum(squares) / count).astype(np.float32)
    return mean.astype(np.float32), np.where(deviation > 0, deviation, np.float32(1))


def apply_scaler(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Rows, shape (n, bands, frames) or (n, numbers), less the mean of each band, in units of its deviation."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    out = allocate_features(x.shape)
    for rows in utils.row_blocks(x):
        out[rows] = (x[rows] - mean.reshape(shape)) / deviation.reshape(shape)
    return out


@dataclass(frozen=True)
class InputSpec:
    """How a network's inputs were made of clips: what it takes to prepare one that it has never seen.

    `scale` is `db`, `max-minus`, or anything else for neither; `frames` is the width of a picture, 0 for numbers;
    `mean` and `deviation` are those of `scaling`, None where the inputs were not standardised.
    """

    feature: str
    sample_rate: int
    parameters: dict[str, int]
    scale: str = ""
    frames: int = 0
    mean: np.ndarray | None = None
    deviation: np.ndarray | None = None


def make_inputs(signals: Sequence[np.ndarray], inputs: InputSpec) -> np.ndarray:
    """New clips as a network was given those that it was trained on; one longer than those is cut.

    Args:
        signals: Each of shape (n,), at the inputs' sample rate.
        inputs: What the network's run has kept.

    Returns:
        float32, shape (n, bands, frames) or (n, numbers).
    """
    settings = {"feature": inputs.feature, "sample_rate": inputs.sample_rate}
    recipe = settings | default_parameters(FEATURES[inputs.feature]) | inputs.parameters
    x = np.stack([_pad_to(extract_signal(signal, recipe)[1], inputs.frames) for signal in signals])
    if inputs.scale == "db":
        x = to_db(x)
    elif inputs.scale == "max-minus":
        x = max_minus(x, np.array([len(signal) for signal in signals]))
    return x if inputs.mean is None else apply_scaler(x, inputs.mean, inputs.deviation)


def _pad_to(array: np.ndarray, frames: int) -> np.ndarray:
    """A stored picture, its tail of silence included, at another width; numbers (0 frames) as they are."""
    if not frames:
        return array
    return np.pad(array[:, :frames], ((0, 0), (0, max(0, frames - array.shape[1]))), mode="edge")
