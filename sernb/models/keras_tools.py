"""The architectures of both studies, written against `keras` alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PRECISIONS = ("float32", "mixed_bfloat16")


def init_backend() -> None:
    """Import Keras and let its backend look for devices, without the chatter that would stand on every page.

    TensorFlow writes some of it past every log level, straight to the process's standard error.
    """
    with _silenced_stderr():
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
def _silenced_stderr() -> Iterator[None]:
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def compile_model(model: keras.Model, loss: str | Callable = "categorical_crossentropy") -> keras.Model:
    """The model with what all are trained by here: Adam at its default rate, a loss, accuracy."""
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model


def strip_optimizer(model: keras.Model) -> keras.Model:
    """The model to be kept: Adam's moments would make its file three times as large, and nobody trains on from it."""
    # Not clone_model: it compiles the clone, optimizer and all.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    return bare


def model_summary(model: keras.Model) -> str:
    """The table of a model's layers, output shapes and weights as plain text."""
    from IPython.utils.capture import capture_output

    lines: list[str] = []
    with capture_output():  # in a notebook, Keras displays an empty output beside what it prints
        model.summary(print_fn=lambda line, **_: lines.append(line), line_length=78)
    return "\n".join(lines)
