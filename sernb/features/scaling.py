"""Scale features, and prepare the inputs of clips that were not in the training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

import numpy as np

from sernb import utils
from sernb.features.extraction import FEATURES
from sernb.features.extraction import default_parameters
from sernb.features.extraction import extract_signal
from sernb.features.spectral import HOP_LENGTH
from sernb.features.store import allocate_features


def to_db(power: np.ndarray) -> np.ndarray:
    """Return power spectrograms, shape (n, bands, frames), in dB relative to each clip's maximum, limited to -80."""
    import librosa

    db = allocate_features(power.shape)
    for i, clip in enumerate(power):
        db[i] = librosa.power_to_db(clip, ref=np.max)
    return db


def max_minus(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return each clip's maximum minus each value, and 0 in the padding: one reading of Zisad et al.'s normalisation.

    Args:
        x: Spectrograms or MFCCs, shape (n, bands, frames).
        lengths: Number of samples of each clip before padding, at the feature's sample rate; shape (n,).

    Returns:
        An array of the same shape.
    """
    out = allocate_features(x.shape)
    for i, frames in enumerate(1 + lengths // HOP_LENGTH):
        own = x[i, :, :frames]
        out[i, :, :frames] = own.max() - own
    return out


def fit_scaler(x: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of each band (or number) over the training rows alone.

    Args:
        x: Shape (n, bands, frames) or (n, numbers).
        train: Boolean, shape (n,).

    Returns:
        Two float32 arrays of shape (bands,) or (numbers,); a deviation of 0 is replaced by 1.
    """
    axes, rows = tuple(axis for axis in range(x.ndim) if axis != 1), np.flatnonzero(train)
    count = len(rows) * x[:1].size // x.shape[1]
    mean = sum(x[block].sum(axis=axes, dtype=np.float64) for block in utils.row_blocks(x, rows)) / count
    centre = mean.reshape(-1, *(1,) * (x.ndim - 2))
    squares = (np.square(x[block] - centre).sum(axis=axes) for block in utils.row_blocks(x, rows))
    deviation = np.sqrt(sum(squares) / count).astype(np.float32)
    return mean.astype(np.float32), np.where(deviation > 0, deviation, np.float32(1))


def apply_scaler(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Subtract the mean of each band from rows of shape (n, bands, frames) or (n, numbers); divide by its deviation."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    out = allocate_features(x.shape)
    for rows in utils.row_blocks(x):
        out[rows] = (x[rows] - mean.reshape(shape)) / deviation.reshape(shape)
    return out


@dataclass(frozen=True)
class InputSpec:
    """Hold how a network's inputs were computed, so that new clips can be prepared in the same way.

    `scale` is `db`, `max-minus`, or anything else for neither; `frames` is the width of a spectrogram, 0 for a vector;
    `mean` and `deviation` are those of `fit_scaler`, None where the inputs were not standardised. Where a speaker can
    be enrolled, `mean` is that of the training speakers and counts as `prior_clips` clips, which is 0 elsewhere.
    `beside` holds the parameters of further features, whose numbers follow those of `feature`.
    """

    feature: str
    sample_rate: int
    parameters: dict[str, int | str]
    scale: str = ""
    frames: int = 0
    mean: np.ndarray | None = None
    deviation: np.ndarray | None = None
    prior_clips: int = 0
    beside: dict[str, dict[str, int | str]] = field(default_factory=dict)

    @property
    def features(self) -> dict[str, dict[str, int | str]]:
        """The parameters of each feature, in the order of their numbers."""
        return {self.feature: self.parameters, **self.beside}


def make_inputs(signals: Sequence[np.ndarray], inputs: InputSpec) -> np.ndarray:
    """Return a network's inputs for new clips; a clip longer than those of the training run is cut.

    Args:
        signals: Each of shape (n,), at the inputs' sample rate.
        inputs: As stored by the network's run.

    Returns:
        float32, shape (n, bands, frames) or (n, numbers).
    """
    recipes = [
        {"feature": name, "sample_rate": inputs.sample_rate, **default_parameters(FEATURES[name]), **parameters}
        for name, parameters in inputs.features.items()
    ]
    x = np.stack([_pad_to(_extract_all(signal, recipes), inputs.frames) for signal in signals])
    if inputs.scale == "db":
        x = to_db(x)
    elif inputs.scale == "max-minus":
        x = max_minus(x, np.array([len(signal) for signal in signals]))
    return x if inputs.mean is None else apply_scaler(x, inputs.mean, inputs.deviation)


def _extract_all(signal: np.ndarray, recipes: Sequence[dict]) -> np.ndarray:
    return np.concatenate([extract_signal(signal, recipe)[1] for recipe in recipes])


def _pad_to(array: np.ndarray, frames: int) -> np.ndarray:
    """Return a stored spectrogram, tail of silence included, at another width; a vector (0 frames) as it is."""
    if not frames:
        return array
    return np.pad(array[:, :frames], ((0, 0), (0, max(0, frames - array.shape[1]))), mode="edge")
