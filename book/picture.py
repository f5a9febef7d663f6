"""The picture of the README, from the figures of `book/results`: `.venv/bin/python book/picture.py` draws it anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from sernb import display as show
from sernb import results
from sernb import studies

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOOK = Path(__file__).parent
DPI = 180


def picture() -> Figure:
    """The waterfall of the first page."""
    plt.style.use(show.RC_PARAMS)
    steps = results.pool_runs(results.read_sweep(BOOK / "results", "waterfall"), "label")
    claim = studies.claimed_scores("ravdess")["mean test"]
    return show.waterfall(steps, claim=claim, chance=1 / 8, title="What is left of the paper's 81 %, fault by fault")


if __name__ == "__main__":
    picture().savefig(BOOK / "picture.png", dpi=DPI, metadata={"Software": None})
