"""Floor 2: study A's faults as switches, each named as on the errata page."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import pandas as pd

FAULTS = {
    "constant-validation": "the 1-D validation features are all one vector, that of the last test clip",
    "validation-in-train": "validation is cut from train, but the models are fitted on all of train",
    "label-order": "the confusion matrix is in alphabetical order, its axes are labelled in directory-listing order",
    "padded-means": "zero-crossing rate and RMS are averaged over the zero padding: they encode the clip's duration",
    "raw-power": "the spectrogram is fed as raw power, neither in dB nor scaled",
    "speaker-leak": "the split is by clip: actors are in train and in test",
    "unsorted-listing": "clips are taken in directory order: the seeded split differs between machines",
}
AS_PUBLISHED = "as-published"


def chosen(names: Sequence[str]) -> list[str]:
    """The faults in force, in the order of `FAULTS`: `["as-published"]` is all of them, `[]` is none.

    Raises:
        ValueError: No fault has that name.
    """
    for name in names:
        if name not in (*FAULTS, AS_PUBLISHED):
            near = difflib.get_close_matches(name, (*FAULTS, AS_PUBLISHED), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {AS_PUBLISHED}, {', '.join(FAULTS)}."
            raise ValueError(f"FAULTS: no fault is called {name!r}; {hint}")
    return [name for name in FAULTS if name in names or AS_PUBLISHED in names]


def table(names: Sequence[str], protocol: str) -> pd.DataFrame:
    """Every fault with what happened and whether the run has it; a protocol by clip leaks speakers by itself."""
    present = {*names, "speaker-leak"} if protocol in ("random", "published") else set(names)
    rows = [
        {"fault": fault, "what happened": text, "here": "on" if fault in present else "off"}
        for fault, text in FAULTS.items()
    ]
    return pd.DataFrame(rows).set_index("fault")


def constant_validation(x: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Validation inputs that are all the last test clip's; shape as of the validation rows of `x`."""
    last_test = np.flatnonzero(rows["split"] == "test")[-1]
    return np.repeat(x[last_test : last_test + 1], (rows["split"] == "val").sum(), axis=0)


def listing_order(emotions: pd.Series) -> list[str]:
    """Emotions in the order in which they first appear: how study A labelled its axes."""
    return list(dict.fromkeys(emotions))
