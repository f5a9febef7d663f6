"""What is drawn of robustness and attribution is what was measured."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sernb import plots
from sernb.attribution import Attribution


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def curves(models=("one",), kinds=("white noise", "gain", "gsm")):
    levels = {"white noise": (20, 0), "gain": (-6, 0, 6), "gsm": (np.nan,), "none": (np.nan,)}
    units = {"white noise": "dB SNR", "gain": "dB"}
    rows = [
        (model, kind, level, units.get(kind, ""), 0.6 - 0.1 * i - 0.05 * j)
        for i, model in enumerate(models)
        for kind in ("none", *kinds)
        for j, level in enumerate(levels[kind])
    ]
    table = pd.DataFrame(rows, columns=["model", "distortion", "level", "unit", "uar"])
    return table.assign(uar_low=table["uar"] - 0.1, uar_high=table["uar"] + 0.15, chance=0.25)


def points(ax):
    return [np.column_stack(bar.lines[0].get_data(orig=False)) for bar in ax.containers]


def test_each_distortion_has_a_panel_and_what_has_no_level_the_last():
    figure = plots.robustness(curves())
    assert [ax.get_title() for ax in figure.axes] == ["White noise", "Gain", "Without a level"]
    noise, gain, single = figure.axes
    np.testing.assert_allclose(points(noise)[0], [[20, 0.6], [0, 0.55]])
    assert noise.xaxis_inverted() and not gain.xaxis_inverted()
    assert noise.get_xlabel() == "SNR against the speech (dB)" and noise.get_ylabel() == "UAR"
    assert [t.get_text() for t in single.get_xticklabels()] == ["undistorted", "gsm"]
    ends = noise.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([end[:, 1] for end in ends], [[0.5, 0.75], [0.45, 0.7]])


def test_chance_and_the_undistorted_score_are_drawn_in_every_panel():
    for ax in plots.robustness(curves()).axes:
        heights = {line.get_label(): line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1}
        assert heights["chance"] == 0.25 and heights["one, undistorted"] == 0.6
        assert ax.get_ylim()[0] == 0


def test_models_are_told_apart_without_colour():
    ax = plots.robustness(curves(models=("one", "two", "three"))).axes[0]
    drawn = [bar.lines[0] for bar in ax.containers]
    assert len({line.get_marker() for line in drawn}) == len({line.get_linestyle() for line in drawn}) == 3
    assert len({line.get_xdata()[0] for line in drawn}) == 3, "their intervals lie beside one another"


@pytest.mark.parametrize(("kinds", "panels"), [(("gain",), 1), ((), 1), (("gsm",), 1), (("gain", "gsm"), 2)])
def test_any_choice_of_distortions_can_be_drawn(kinds, panels):
    assert sum(ax.axison for ax in plots.robustness(curves(kinds=kinds)).axes) == panels


def test_intervals_that_there_are_not_are_not_drawn():
    table = curves().assign(uar_low=np.nan, uar_high=np.nan)
    assert plots.png(plots.robustness(table)).startswith(b"\x89PNG")


def told(method="occlusion", sign=1):
    bands, seconds = pd.Index(np.geomspace(100, 7000, 20), name="mel band (Hz)"), pd.Index(np.arange(50) * 0.032)
    effect = np.zeros((20, 50))
    effect[4:8, 10:20] = 0.3 * sign
    picture = np.random.default_rng(0).normal(size=effect.shape)
    frames = (pd.DataFrame(one, bands, seconds) for one in (picture, effect))
    return Attribution("sad", 0.81, *frames, 1.2, method)


def test_a_picture_and_its_map_share_their_axes():
    figure = plots.heard(told(), title="true emotion calm")
    left, right = figure.axes[:2]
    assert left.get_xlim() == right.get_xlim() == pytest.approx((0, 50 * 0.032))
    assert left.get_xlabel() == "time (s)" and left.get_ylabel() == "mel band (Hz)"
    np.testing.assert_array_equal(right.images[0].get_array(), told().effect)
    low, high = right.images[0].get_clim()
    assert -low == high == pytest.approx(0.3), "white is no effect"
    assert figure.get_suptitle() == "true emotion calm: answer sad (0.81)"
    assert [line.get_xdata()[0] for line in right.lines] == [1.2], "the clip's end"


@pytest.mark.parametrize(("sign", "line"), [(1, "solid"), (-1, "dashed")])
def test_the_strongest_parts_are_outlined_where_they_are(sign, line):
    right = plots.heard(told(sign=sign)).axes[1]
    outline = right.collections[0]
    inside = outline.get_paths()[0].vertices
    assert [inside[:, 0].min(), inside[:, 0].max()] == pytest.approx([10 * 0.032, 20 * 0.032])
    assert [inside[:, 1].min(), inside[:, 1].max()] == pytest.approx([3.5, 7.5])
    dashed = outline.get_linestyles()[0][1] is not None
    assert dashed == (line == "dashed")


def test_a_map_of_points_is_blurred_and_an_empty_one_drawn():
    blurred = plots.heard(told("integrated gradients")).axes[1].images[0].get_array()
    assert blurred.sum() == pytest.approx(told().effect.to_numpy().sum(), rel=0.01) and blurred[9, 15] > 0
    empty = told()
    empty.effect.iloc[:] = 0
    assert plots.png(plots.heard(empty)).startswith(b"\x89PNG")
