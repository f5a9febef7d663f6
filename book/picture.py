"""The picture of the README, from the figures of `book/results`: `.venv/bin/python book/picture.py` draws it anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from sernb import charts
from sernb import claims
from sernb import plots
from sernb import results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOOK = Path(__file__).parent
DPI = 180


def picture() -> Figure:
    """The waterfall of the first page."""
    plt.style.use(plots.HOUSE)
    steps = results.pooled(results.swept(BOOK / "results", "waterfall"), "label")
    claim = claims.claimed("ravdess")["mean test"]
    return charts.waterfall(steps, claim=claim, chance=1 / 8, title="What is left of the paper's 81 %, fault by fault")


if __name__ == "__main__":
    picture().savefig(BOOK / "picture.png", dpi=DPI, metadata={"Software": None})
