"""The claims of Zisad, Hossain and Andersson (2020) with a verdict on each, and the network of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pandas as pd

from sernb import evaluation
from sernb import models

if TYPE_CHECKING:
    import keras

# A claim counts as reached from this far below: no test set of the paper's size can tell closer scores apart.
TOLERANCE = 0.02


def claimed_scores(corpus: str) -> pd.Series:
    """Return the accuracies that the paper claims for a corpus (or its demo), by quantity, such as `mean test`.

    Empty for a corpus that the paper does not use.
    """
    table = pd.read_csv(files("sernb").joinpath("data/claims.csv"))
    return table[table["corpus"] == corpus.removeprefix("demo-")].set_index("quantity")["value"]


def compare_with_claims(result: Mapping[str, Any]) -> pd.DataFrame:
    """Return the paper's accuracies for a run's corpus beside those of the run, by set; NaN where one is missing."""
    claimed = claimed_scores(result["corpus"]["name"])
    if "tested" in result["split"]:  # the paper tested on the corpus that it trained on
        claimed = claimed.drop([name for name in claimed.index if name.endswith("test")])
    measured = next(iter(result["models"].values()))
    rows = {
        side: {
            "claimed, mean of its runs": claimed.get(f"mean {side}", np.nan),
            "claimed, best": claimed.get(f"best {side}", np.nan),
            "this run": measured.get(side, {}).get("accuracy", np.nan),
        }
        for side in evaluation.SIDES
    }
    return pd.DataFrame(rows).T


def verdict_table(tries: pd.DataFrame, published: pd.DataFrame, unseen: Mapping[str, float]) -> pd.DataFrame:
    """Return each claim of the paper with the score of the paper's method, that on unseen speakers, and a verdict.

    A claimed best is compared with the best of all `tries`, a claimed mean with the seeds of the best setting. The
    paper's mean is over its settings, but a mean in which an output activation that never learned counts as much as the
    others would judge the activation and not the recipe. The claims about the local corpus, which was never published,
    cannot be checked.

    Args:
        tries: Every run by the paper's method (split by clip, copies before the split), as rows of
            `results.read_sweep`.
        published: Those with the paper's best setting, one per seed, as `best_recipe_runs` selects them.
        unseen: `accuracy` and `val_accuracy` with no speaker in two sets and no copies, a row of `results.pool_runs`.

    Returns:
        `corpus`, `claim` (such as `best train`), `claimed`, `measured`, `unseen` (NaN where nothing was measured, or
        where the claim is about training clips), `verdict` and `why`.
    """
    unknown = {"measured": np.nan, "unseen": np.nan, "verdict": "cannot be checked", "why": "never published"}
    rows = []
    for quantity, value in claimed_scores("ravdess").items():
        measured = _verdict_row(quantity, value, tries, published, unseen)
        rows.append({"corpus": "RAVDESS", "claim": quantity, "claimed": value, **measured})
    for quantity, value in claimed_scores("local").items():
        rows.append({"corpus": "local", "claim": quantity, "claimed": value, **unknown})
    return pd.DataFrame(rows)


def best_recipe_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the recipe and number of epochs that do best on the validation set, one per seed.

    The paper says neither how nor for how long it trained, so its mean is compared with the best setting found here;
    settings with fewer seeds than another are left out.

    Args:
        runs: Rows of `results.read_sweep` with the name of the setting in `label`, and `val_accuracy`.
    """
    groups = [group for _, group in runs[runs["status"] == "finished"].groupby("label")]
    most = max(map(len, groups), default=0)
    complete = (group for group in groups if len(group) == most)
    return max(complete, key=lambda group: group["val_accuracy"].mean(), default=runs[:0])


def _verdict_row(
    quantity: str, value: float, tries: pd.DataFrame, published: pd.DataFrame, unseen: Mapping[str, float]
) -> dict[str, Any]:
    statistic, side = quantity.split()
    column = "accuracy" if side == "test" else f"{side}_accuracy"
    scores = (tries if statistic == "best" else published)[column].astype(float).dropna()
    measured = scores.max() if statistic == "best" else scores.mean()
    on_unseen = np.nan if side == "train" else unseen.get(column, np.nan)
    verdict, why = claim_verdict(value, measured, on_unseen, most=scores.max(), of_training=side == "train")
    if statistic == "best":
        basis = f"best of {len(scores)} runs"
    else:
        basis = f"{len(scores)} seeds, {scores.min():.3f} to {scores.max():.3f}"
    return {"measured": measured, "unseen": on_unseen, "verdict": verdict, "why": f"{basis}{why}" if verdict else why}


def claim_verdict(
    value: float, measured: float, unseen: float, *, most: float = np.nan, of_training: bool = False
) -> tuple[str, str]:
    """Return the verdict `holds`, `holds only with the leak` or `not reached`, and a remark on it.

    The verdict is empty where a measurement is missing.

    Args:
        value: The claimed accuracy.
        measured: The accuracy of the paper's method.
        unseen: The accuracy on unseen speakers.
        most: The accuracy of the best seed: a claim that one seed reaches counts as reached.
        of_training: Whether the claim is about the training set, which unseen speakers do not concern.
    """
    if np.isnan(measured) or (np.isnan(unseen) and not of_training):
        return "", "not measured yet"
    if not (measured >= value - TOLERANCE or most >= value):
        return "not reached", ""
    if of_training:
        return "holds", ", training clips"
    if unseen < value - TOLERANCE:
        return "holds only with the leak", ""
    return "holds", ", also for unseen speakers"


OUTPUT_ACTIVATIONS = ("relu", "sigmoid", "softmax", "softplus")
MIN_INPUT_SIZE = 31  # coefficients and frames


def paper_cnn(input_shape: tuple[int, ...], classes: int, *, output_activation: str = "softmax") -> keras.Model:
    """Build the network of Zisad, Hossain and Andersson (2020): four blocks of Conv2D, max-pooling and dropout.

    Args:
        input_shape: (coefficients, frames, 1).
        classes: Number of emotions.
        output_activation: One of `OUTPUT_ACTIVATIONS`. All but softmax work only because the loss divides each row
            by its sum.

    Returns:
        A compiled model; 44,344 weights for eight classes.

    Raises:
        ValueError: There is no such activation, or the input is smaller than `MIN_INPUT_SIZE` in a dimension.
    """
    models.init_backend()
    import keras
    from keras import layers

    if output_activation not in OUTPUT_ACTIVATIONS:
        choices = ", ".join(OUTPUT_ACTIVATIONS)
        raise ValueError(f"OUTPUT_ACTIVATION must be one of {choices} (got {output_activation!r})")
    if min(input_shape[:2]) < MIN_INPUT_SIZE:
        raise ValueError(
            f"the paper's network halves its input four times and needs at least {MIN_INPUT_SIZE} coefficients and "
            f"frames (got {input_shape[0]} coefficients and {input_shape[1]} frames): use longer clips, or raise "
            "SAMPLE_RATE or N_MFCC"
        )
    stack = [keras.Input(input_shape)]
    for filters in (16, 32, 64, 128):
        stack += [layers.Conv2D(filters, 2, activation="relu"), layers.MaxPooling2D(2), layers.Dropout(0.2)]
    stack.append(layers.GlobalAveragePooling2D())
    stack.append(layers.Dense(classes, activation=output_activation, dtype="float32"))  # whatever the precision
    loss = row_normalised_crossentropy if output_activation == "sigmoid" else "categorical_crossentropy"
    return models.compile_model(keras.Sequential(stack, name="paper-cnn"), loss)


def row_normalised_crossentropy(truth: keras.KerasTensor, outputs: keras.KerasTensor) -> keras.KerasTensor:
    """Compute the categorical cross-entropy of outputs, shape (n, classes), divided by the sum of their row; (n,).

    Keras divides them as well, except for its own sigmoid, whose logits it remembers and trains on as for softmax, so
    that both give the same network to the last digit. In the year of the paper it divided those too.
    """
    import keras

    shares = outputs / keras.ops.sum(outputs, axis=-1, keepdims=True)
    return keras.losses.categorical_crossentropy(truth, shares)
