"""What Zisad, Hossain and Andersson (2020) claim, beside what was measured, and a verdict for each claim."""

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

# No test set of this size tells figures apart that are nearer; a claim counts as reached from so far below it.
TOLERANCE = 0.02


def claimed_scores(corpus: str) -> pd.Series:
    """The accuracies that the paper claims for a corpus (or its demo), by quantity: `mean test` and the like.

    Empty for a corpus that the paper does not treat.
    """
    table = pd.read_csv(files("sernb").joinpath("data/claims.csv"))
    return table[table["corpus"] == corpus.removeprefix("demo-")].set_index("quantity")["value"]


def compare_with_claims(result: Mapping[str, Any]) -> pd.DataFrame:
    """The paper's accuracies for a run's corpus beside the run's own, by side; NaN where either is mute."""
    known = claimed_scores(result["corpus"]["name"])
    if "tested" in result["split"]:  # the paper tested on the corpus that it trained on
        known = known.drop([name for name in known.index if name.endswith("test")])
    measured = next(iter(result["models"].values()))
    rows = {
        side: {
            "claimed, mean of its runs": known.get(f"mean {side}", np.nan),
            "claimed, best": known.get(f"best {side}", np.nan),
            "this run": measured.get(side, {}).get("accuracy", np.nan),
        }
        for side in evaluation.SIDES
    }
    return pd.DataFrame(rows).T


def verdict_table(tries: pd.DataFrame, published: pd.DataFrame, unseen: pd.DataFrame) -> pd.DataFrame:
    """Each claim of the paper, what the paper's way gives, what is left of it on unseen speakers, and a verdict.

    A claimed best is held against the best of all `tries`, a claimed mean against the seeds of the best setting. The
    paper's mean is over its settings, but a mean in which an output activation that never learnt weighs as much as the
    others would judge the activation and not the recipe. Nobody can check the claims about the local corpus, which was
    never published.

    Args:
        tries: Every run in the paper's way (split by clip, copies before the split), as rows of `results.read_sweep`.
        published: Those of them with the paper's best setting, one a seed, as `best_training` picks them.
        unseen: Runs with no speaker on two sides and no copies, one a seed.

    Returns:
        `corpus`, `claim` (`best train` and the like), `claimed`, `measured`, `unseen` (mean over seeds; NaN where
        nothing was measured, or where the claim is about training clips), `verdict` and `why`.
    """
    rows = [
        {
            "corpus": "RAVDESS",
            "claim": quantity,
            "claimed": value,
            **_verdict_row(quantity, value, tries, published, unseen),
        }
        for quantity, value in claimed_scores("ravdess").items()
    ]
    lost = {"measured": np.nan, "unseen": np.nan, "verdict": "cannot be checked"}
    why = "never published"
    rows += [
        {"corpus": "local", "claim": quantity, "claimed": value, **lost, "why": why}
        for quantity, value in claimed_scores("local").items()
    ]
    return pd.DataFrame(rows)


def best_recipe_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Of runs of one setting, those trained the way that does best on validation, one a seed.

    The paper says neither how nor for how long it trained, so its mean is held against the best way known here; ways
    with fewer seeds than another has are left out.

    Args:
        runs: Rows of `results.read_sweep` with `RECIPE`, `epochs` and `val_accuracy`.
    """
    ways = [way for _, way in runs[runs["status"] == "finished"].groupby(["RECIPE", "epochs"])]
    most = max(map(len, ways), default=0)
    return max((way for way in ways if len(way) == most), key=lambda way: way["val_accuracy"].mean(), default=runs[:0])


def _verdict_row(
    quantity: str, value: float, tries: pd.DataFrame, published: pd.DataFrame, unseen: pd.DataFrame
) -> dict[str, Any]:
    how, side = quantity.split()
    column = "accuracy" if side == "test" else f"{side}_accuracy"
    found = (tries if how == "best" else published)[column].astype(float).dropna()
    measured = found.max() if how == "best" else found.mean()
    honest = np.nan if side == "train" else unseen[column].astype(float).mean()
    verdict, why = claim_verdict(value, measured, honest, most=found.max(), of_training=side == "train")
    if how == "best":
        told = f"best of {len(found)} runs"
    else:
        told = f"{len(found)} seeds: {found.min():.3f} to {found.max():.3f}"
    return {"measured": measured, "unseen": honest, "verdict": verdict, "why": f"{told}{why}" if verdict else why}


def claim_verdict(
    value: float, measured: float, honest: float, *, most: float = np.nan, of_training: bool = False
) -> tuple[str, str]:
    """`holds`, `holds only with the leak` or `not reached`, and what else to know of it.

    Where a measurement is missing, the verdict is empty; of what nobody can measure, `table` says `cannot be checked`.

    Args:
        value: The claimed accuracy.
        measured: The accuracy that the paper's way gives.
        honest: The accuracy on unseen speakers.
        most: That of the best seed: a claim that one seed reaches is reached.
        of_training: Whether the claim is about the clips trained on: then unseen speakers have no part in it.
    """
    if np.isnan(measured) or (np.isnan(honest) and not of_training):
        return "", "not measured yet"
    measured, most = round(measured, 3), round(most, 3)  # the claims have three digits
    if not (measured >= round(value - TOLERANCE, 3) or most >= value):
        return "not reached", ""
    if of_training:
        return "holds", ", known clips"
    if honest < value - TOLERANCE:
        return "holds only with the leak", ""
    return "holds", ", unseen speakers too"


OUTPUT_ACTIVATIONS = ("relu", "sigmoid", "softmax", "softplus")
MIN_INPUT_SIZE = 31  # of the paper's pictures, both ways


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
    if min(input_shape[:2]) < MIN_INPUT_SIZE:
        raise ValueError(
            f"the pictures have {input_shape[0]} coefficients and {input_shape[1]} frames; the paper's network halves "
            f"both four times and takes {MIN_INPUT_SIZE} of each: use longer clips, or raise SAMPLE_RATE or N_MFCC."
        )
    stack = [keras.Input(input_shape)]
    for filters in (16, 32, 64, 128):
        stack += [layers.Conv2D(filters, 2, activation="relu"), layers.MaxPooling2D(2), layers.Dropout(0.2)]
    stack.append(layers.GlobalAveragePooling2D())
    stack.append(layers.Dense(classes, activation=output_activation, dtype="float32"))  # whatever the precision
    model = keras.Sequential(stack, name="paper-cnn")
    return models.compile_model(
        model, row_normalised_crossentropy if output_activation == "sigmoid" else "categorical_crossentropy"
    )


def row_normalised_crossentropy(truth: keras.KerasTensor, outputs: keras.KerasTensor) -> keras.KerasTensor:
    """Categorical cross-entropy of outputs, shape (n, classes), divided by their row's sum; shape (n,).

    Keras divides too, but not what comes of its own sigmoid: that one's logits it remembers, and trains on them as if
    it were softmax, so that both give the same network to the last digit. In the year of the paper it divided.
    """
    import keras

    shares = outputs / keras.ops.sum(outputs, axis=-1, keepdims=True)
    return keras.losses.categorical_crossentropy(truth, shares)
