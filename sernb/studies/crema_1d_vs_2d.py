"""Study A, 1-D against 2-D features on CREMA-D: its networks, and its faults as switches."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import audio
from sernb import evaluation
from sernb import models

if TYPE_CHECKING:
    import keras

FAULTS = {
    "constant-validation": "the 1-D validation features are all one vector, that of the last test clip",
    "validation-in-train": "validation clips are cut from the training set, but the models are fitted on all of it",
    "label-order": "the confusion matrix is in alphabetical order, its axes are labelled in directory-listing order",
    "padded-means": "zero-crossing rate and RMS are averaged over the zero padding: they encode the clip's duration",
    "raw-power": "the spectrogram is fed as raw power, neither in dB nor scaled",
    "speaker-leak": "the split is by clip: the same actors are in the training and the test set",
    "unsorted-listing": "clips are taken in directory order: the seeded split differs between machines",
}
AS_PUBLISHED = "as-published"


def resolve_faults(names: Sequence[str]) -> list[str]:
    """Return the faults in force, in the order of `FAULTS`: `["as-published"]` is all of them, `[]` is none.

    Raises:
        ValueError: No fault has that name.
    """
    choices = (*FAULTS, AS_PUBLISHED)
    for name in names:
        if name not in choices:
            near = difflib.get_close_matches(name, choices, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it must be one of {', '.join(choices)}"
            raise ValueError(f"FAULTS: no fault is called {name!r}; {hint}")
    return [name for name in FAULTS if name in names or AS_PUBLISHED in names]


def fault_table(names: Sequence[str], protocol: str) -> pd.DataFrame:
    """Return every fault with what happened and whether the run has it; a split by clip always leaks speakers."""
    present = {*names, "speaker-leak"} if protocol in evaluation.SPLIT_BY_CLIP else set(names)
    rows = [
        {"fault": fault, "what happened": text, "here": "on" if fault in present else "off"}
        for fault, text in FAULTS.items()
    ]
    return pd.DataFrame(rows).set_index("fault")


def constant_validation(x: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Return the last test clip's input once for each validation row; shape (n_val, ...) for `x` of shape (n, ...)."""
    last_test = np.flatnonzero(rows["split"] == "test")[-1]
    return np.repeat(x[last_test : last_test + 1], (rows["split"] == "val").sum(), axis=0)


def padded_length(clips: pd.DataFrame, sample_rate: int, faults: Sequence[str]) -> int:
    """Return the longest clip's number of samples, to which `padded-means` pads every clip; 0 without that fault."""
    return int(audio.n_samples(clips["path"], sample_rate).max()) if "padded-means" in faults else 0


def listing_order(emotions: pd.Series) -> list[str]:
    """Return emotions in the order in which they first appear, as study A labelled its axes."""
    return list(dict.fromkeys(emotions))


@dataclass(frozen=True)
class NetworkConfig:
    """One of study A's networks: its feature, filters, kernel width, units of the dense layer, and epochs."""

    feature: str
    filters: tuple[int, ...]
    kernel: int
    dense: int
    epochs: int


NETWORKS = {
    "conv1d-a": NetworkConfig("zcr_rms", (32, 64, 128), 7, 256, 40),
    "conv1d-b": NetworkConfig("zcr_rms", (64, 128), 3, 128, 50),
    "conv2d-a": NetworkConfig("mel", (32, 64), 3, 128, 20),
    "conv1d-as-2d": NetworkConfig("zcr_rms", (32, 64), 3, 128, 20),
    "conv2d-as-1d": NetworkConfig("mel", (64, 128), 3, 128, 20),
}


def check_network_names(names: Sequence[str]) -> None:
    """Raise ValueError if a name is not one of study A's networks."""
    if unknown := [name for name in names if name not in NETWORKS]:
        raise ValueError(f"MODELS: no network is called {unknown[0]!r}; it must be one of {', '.join(NETWORKS)}")


def study_a_network(name: str, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Build a network of study A: convolutions each followed by max-pooling, one dense layer, softmax; Adam.

    Args:
        name: One of `NETWORKS`.
        input_shape: (2, 1) for the 1-D networks, (128, frames, 1) for the 2-D ones.
        classes: Number of emotions.

    Returns:
        A compiled model.
    """
    models.init_backend()
    import keras
    from keras import layers

    config = NETWORKS[name]
    is_1d = len(input_shape) == 2
    convolution, pooling = (layers.Conv1D, layers.MaxPooling1D) if is_1d else (layers.Conv2D, layers.MaxPooling2D)
    stack = [keras.Input(input_shape)]  # Keras rebuilds a model for every layer that is added to it
    for filters in config.filters:
        stack.append(convolution(filters, config.kernel, padding="same", activation="relu"))
        stack.append(pooling(2, strides=2, padding="same"))
    stack += [layers.Flatten(), layers.Dense(config.dense, activation="relu")]
    stack.append(layers.Dense(classes, activation="softmax", dtype="float32"))
    return models.compile_model(keras.Sequential(stack, name=name))
