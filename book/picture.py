"""Draw the figure of the README from the results in `book/results`: `.venv/bin/python book/picture.py`."""

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


def draw_waterfall() -> Figure:
    """Return the waterfall of the first page."""
    plt.style.use(show.RC_PARAMS)
    steps = results.pool_runs(results.read_sweep(BOOK / "results", "waterfall"), "label")
    claim = studies.claimed_scores("ravdess")["mean test"]
    title = "The paper's accuracy as its faults are removed"
    return show.waterfall(steps, claim=claim, title=title).figure


if __name__ == "__main__":
    draw_waterfall().savefig(BOOK / "picture.png", dpi=DPI, metadata={"Software": None})
