"""Floor 3: the architectures of both studies, written against `keras` alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@dataclass(frozen=True)
class StudyA:
    """One of study A's networks: its feature, filters, kernel width, units of the dense layer, and epochs."""

    feature: str
    filters: tuple[int, ...]
    kernel: int
    dense: int
    epochs: int


STUDY_A = {
    "conv1d-a": StudyA("zcr_rms", (32, 64, 128), 7, 256, 40),
    "conv1d-b": StudyA("zcr_rms", (64, 128), 3, 128, 50),
    "conv2d-a": StudyA("mel", (32, 64), 3, 128, 20),
    "conv1d-as-2d": StudyA("zcr_rms", (32, 64), 3, 128, 20),
    "conv2d-as-1d": StudyA("mel", (64, 128), 3, 128, 20),
}
OUTPUT_ACTIVATIONS = ("relu", "sigmoid", "softmax", "softplus")
PRECISIONS = ("float32", "mixed_bfloat16")
SMALLEST = 31  # of the paper's pictures, both ways


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted: `epochs` is what the paper's network gets by default, `peak` 0 is Adam's own rate."""

    epochs: int
    batch_size: int
    peak: float = 0.0
    warmup: int = 0


RECIPES = {"plain": Recipe(120, 32), "quick": Recipe(80, 16, peak=4e-3, warmup=3)}


def check_names(names: Sequence[str]) -> None:
    """Refuse names that are none of study A's networks.

    Raises:
        ValueError: Naming the first of them and those that there are.
    """
    if strangers := [name for name in names if name not in STUDY_A]:
        raise ValueError(f"MODELS: no network is called {strangers[0]!r}; there are {', '.join(STUDY_A)}.")


def wake_backend() -> None:
    """Import Keras and let its backend look for devices, without the chatter that would stand on every page.

    TensorFlow writes some of it past every log level, straight to the process's standard error.
    """
    with _deaf_stderr():
        import keras

        keras.ops.zeros(1)


def set_precision(precision: str) -> None:
    """Let the models built from now on compute in `float32`, or in `bfloat16` with weights kept in float32.

    The second takes about half the time on processors that multiply bfloat16 themselves (AVX512-BF16, AMX) and more
    on those that do not.

    Raises:
        ValueError: Another precision.
    """
    import keras

    if precision not in PRECISIONS:
        raise ValueError(f"PRECISION is {precision!r}; give one of {', '.join(PRECISIONS)}.")
    keras.config.set_dtype_policy(precision)


@contextmanager
def _deaf_stderr() -> Iterator[None]:
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def study_a(name: str, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """A network of study A: convolutions each followed by max-pooling, one dense layer, softmax; Adam.

    Args:
        name: One of `STUDY_A`.
        input_shape: (2, 1) for the 1-D networks, (128, frames, 1) for the 2-D ones.
        classes: Number of emotions.

    Returns:
        A compiled model.
    """
    import keras
    from keras import layers

    spec = STUDY_A[name]
    flat = len(input_shape) == 2
    convolution, pooling = (layers.Conv1D, layers.MaxPooling1D) if flat else (layers.Conv2D, layers.MaxPooling2D)
    stack = [keras.Input(input_shape)]  # a model that gets its layers one by one is built anew for each
    for filters in spec.filters:
        stack.append(convolution(filters, spec.kernel, padding="same", activation="relu"))
        stack.append(pooling(2, strides=2, padding="same"))
    stack += [layers.Flatten(), layers.Dense(spec.dense, activation="relu")]
    stack.append(layers.Dense(classes, activation="softmax", dtype="float32"))
    return compiled(keras.Sequential(stack, name=name))


def paper_cnn(input_shape: tuple[int, ...], classes: int, *, output_activation: str = "softmax") -> keras.Model:
    """The network of Zisad, Hossain and Andersson (2020): four blocks of Conv2D, max-pooling and dropout.

    Args:
        input_shape: (coefficients, frames, 1).
        classes: Number of emotions.
        output_activation: One of `OUTPUT_ACTIVATIONS`. All but softmax are numerical accidents: the loss divides
            each row by its sum.

    Returns:
        A compiled model; 44,344 weights for eight classes.
    """
    import keras
    from keras import layers

    if output_activation not in OUTPUT_ACTIVATIONS:
        raise ValueError(f"output_activation is {output_activation!r}; give one of {', '.join(OUTPUT_ACTIVATIONS)}.")
    if min(input_shape[:2]) < SMALLEST:
        raise ValueError(
            f"the pictures have {input_shape[0]} coefficients and {input_shape[1]} frames; the paper's network halves "
            f"both four times and takes {SMALLEST} of each: use longer clips, or raise SAMPLE_RATE or N_MFCC."
        )
    stack = [keras.Input(input_shape)]
    for filters in (16, 32, 64, 128):
        stack += [layers.Conv2D(filters, 2, activation="relu"), layers.MaxPooling2D(2), layers.Dropout(0.2)]
    stack.append(layers.GlobalAveragePooling2D())
    stack.append(layers.Dense(classes, activation=output_activation, dtype="float32"))  # whatever the precision
    model = keras.Sequential(stack, name="paper-cnn")
    return compiled(model, divided_crossentropy if output_activation == "sigmoid" else "categorical_crossentropy")


def divided_crossentropy(truth: keras.KerasTensor, outputs: keras.KerasTensor) -> keras.KerasTensor:
    """Categorical cross-entropy of outputs, shape (n, classes), divided by their row's sum; shape (n,).

    Keras divides too, but not what comes of its own sigmoid: that one's logits it remembers, and trains on them as if
    it were softmax, so that both give the same network to the last digit. In the year of the paper it divided.
    """
    import keras

    shares = outputs / keras.ops.sum(outputs, axis=-1, keepdims=True)
    return keras.losses.categorical_crossentropy(truth, shares)


def compiled(model: keras.Model, loss: str | Callable = "categorical_crossentropy") -> keras.Model:
    """The model with what all are trained by here: Adam at its default rate, a loss, accuracy."""
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model


def without_optimizer(model: keras.Model) -> keras.Model:
    """The model to be kept: Adam's moments would make its file three times as large, and nobody trains on from it."""
    # Not clone_model: it compiles the clone, optimizer and all.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    return bare


def summary(model: keras.Model) -> str:
    """The table of a model's layers, output shapes and weights as plain text."""
    from IPython.utils.capture import capture_output

    lines: list[str] = []
    with capture_output():  # in a notebook, Keras displays an empty output beside what it prints
        model.summary(print_fn=lambda line, **_: lines.append(line), line_length=78)
    return "\n".join(lines)
