"""Scores with their doubt are drawn as they were counted."""

import numpy as np
import pandas as pd
import pytest

from sernb import metrics
from sernb import plots


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"speaker": np.tile(list("abcdefgh"), 25), "truth": np.repeat(["happy", "sad"], 100)})
    told = [
        frame.assign(model=model, prediction=np.where(rng.random(200) < share, frame["truth"], "none"))
        for model, share in (("net", 0.7), ("listeners", 0.5))
    ]
    few = told[0].head(10).assign(model="few")
    return metrics.by(pd.concat([*told, few]), "model")


def test_models_stand_in_their_order_with_their_intervals(cells):
    ax = plots.doubt(cells, chance=0.5, others=["listeners"], title="CREMA-D")
    shown = [label.get_text() for label in ax.get_yticklabels()][::-1]
    assert shown == ["net", "listeners", "few"]
    points, bars = [c.lines[0] for c in ax.containers], [c.lines[2][0] for c in ax.containers]
    for (_, cell), point, bar in zip(cells.iterrows(), points, bars, strict=True):
        assert point.get_xdata()[0] == cell["uar"] or np.isnan(cell["uar"])
        if not np.isnan(cell["uar_low"]):
            assert bar.get_segments()[0][:, 0] == pytest.approx([cell["uar_low"], cell["uar_high"]])
    assert [point.get_ydata()[0] for point in points] == [2, 1, 0]
    assert [point.get_marker() for point in points] == ["o", "D", "o"]
    assert [point.get_markerfacecolor() for point in points] == [plots.TRAIN, plots.VALIDATION, "white"]
    assert "chance, 0.5" in ax.get_xlabel() and "hollow" in ax.get_xlabel() and ax.get_title() == "CREMA-D"


def test_without_doubtful_cells_nothing_is_said_of_them(cells):
    ax = plots.doubt(cells.head(2), score="accuracy")
    assert ax.get_xlabel() == "clips recognised (accuracy)"
