"""Import Keras with the run's own settings, compile models and describe them."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sernb import utils

if TYPE_CHECKING:
    import keras

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PRECISIONS = ("float32", "mixed_bfloat16")


def init_backend() -> None:
    """Import Keras, let its backend look for devices, and set the options that change a result.

    The options come first from the user's `~/.keras/keras.json`, which a run must not depend on. TensorFlow writes
    messages past every log level, straight to the standard error of the process: they are discarded.

    Raises:
        ImportError: The package that `KERAS_BACKEND` names is not installed.
    """
    with _silenced_stderr():
        try:
            import keras
        except (ImportError, ValueError) as error:
            backend = os.environ["KERAS_BACKEND"]
            raise ImportError(
                f"KERAS_BACKEND is {backend!r}, and Keras cannot import that backend ({error}). Unset KERAS_BACKEND "
                f"to use TensorFlow, or install {backend}."
            ) from error
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")
        keras.ops.zeros(1)
    # TensorFlow warns when a notebook trains several networks, since it compiles each of them.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Discard what the process writes to standard error, which may be closed."""
    try:
        stderr = os.dup(2)
    except OSError:  # closed, as under some services: there is nothing to silence
        stderr = None
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        if stderr is not None:
            os.dup2(stderr, 2)
            os.close(stderr)
        if devnull != 2:
            os.close(devnull)


def set_precision(precision: str) -> None:
    """Let the models built from now on compute in `float32`, or by `mixed_bfloat16` in bfloat16 with float32 weights.

    The second takes about half the time on processors that multiply bfloat16 themselves (AVX512-BF16, AMX), and several
    times as long on those that do not; then there is a warning.

    Raises:
        ValueError: There is no such precision.
    """
    import keras

    if precision not in PRECISIONS:
        raise ValueError(f"PRECISION must be one of {', '.join(PRECISIONS)} (got {precision!r})")
    keras.config.set_dtype_policy(precision)
    if precision != "float32" and not utils.multiplies_bfloat16() and not keras.distribution.list_devices("gpu"):
        warnings.warn(
            f"This processor has no instructions for bfloat16, so that {precision} takes several times as long "
            "as float32. Set PRECISION to float32; the scores then differ slightly.",
            stacklevel=2,
        )


def compile_model(model: keras.Model, loss: str | Callable = "categorical_crossentropy") -> keras.Model:
    """Compile a model with Adam at its default rate, a loss, and accuracy; return the model."""
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model


def strip_optimizer(model: keras.Model) -> keras.Model:
    """Return a copy of a model without its optimizer, whose moments would make the saved file three times as large."""
    # Not clone_model: it compiles the clone, optimizer and all.
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def model_summary(model: keras.Model) -> str:
    """Return the table of a model's layers, output shapes and weights as plain text."""
    from IPython.utils.capture import capture_output

    lines: list[str] = []
    with capture_output():  # in a notebook, Keras displays an empty output beside what it prints
        model.summary(print_fn=lambda line, **_: lines.append(line), line_length=78)
    return "\n".join(lines)
