"""Figures of results show the values they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sernb import display
from sernb import evaluation
from sernb import results


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_confusion_ticks_are_the_labels_in_their_order():
    ax = display.confusion_heatmap([[1, 2], [0, 3]], ["happy", "angry"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["happy", "angry"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["happy", "angry"]
    assert [t.get_text() for t in ax.texts] == ["1", "2", "0", "3"]


def test_a_training_history_shows_both_sets_for_both_measures():
    history = pd.DataFrame(
        {"epoch": [1, 2], **{f"{s}_{w}": [0.1, 0.2] for s in ("train", "val") for w in ("loss", "accuracy")}}
    )
    assert [len(ax.lines) for ax in display.training_history(history).axes] == [2, 2]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_waterfall_shows_each_score_and_its_change():
    steps = pd.DataFrame(
        {
            "accuracy": [0.8, 0.5],
            "accuracy_low": [0.7, 0.4],
            "accuracy_high": [0.9, 0.6],
            "largest_class": [0.15, 0.13],
        },
        index=["first", "then"],
    )
    ax = display.waterfall(steps, claim=0.813)
    expected = ["0.800", "First", "0.500   \N{MINUS SIGN}30.0 points", "Then", "claimed: 0.813", "largest class"]
    assert texts(ax) == expected
    assert [bar.get_width() for bar in ax.containers[0]] == [0.8, 0.5]
    tops = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert tops["First"] > tops["0.800"] > tops["Then"], "the first step is above, its name over its bar"


def test_each_run_is_a_line():
    run = pd.DataFrame({"epoch": [1, 2], "val_accuracy": [0.2, 0.4]})
    ax = display.learning_curves({"quick": pd.concat([run, run]), "plain": run}, claim=0.8)
    curves = [line for line in ax.lines if len(line.get_xdata()) == 2 and list(line.get_xdata()) == [1, 2]]
    assert len(curves) == 3 and curves[0].get_color() == curves[1].get_color() != curves[2].get_color()
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["quick", "plain", "claimed test accuracy: 0.800"]


def test_no_curve_is_left_out():
    curve = pd.DataFrame({"uar": [0.5], "uar_low": [0.4], "uar_high": [0.6]}, index=[1])
    ax = display.score_curves({str(i): curve for i in range(4)}, xlabel="clips")
    assert len(ax.get_legend_handles_labels()[1]) == 4
    with pytest.raises(ValueError, match="at most 4 curves"):
        display.score_curves({str(i): curve for i in range(5)}, xlabel="clips")


def test_a_failed_run_differs_from_a_missing_one():
    scores = pd.DataFrame([[0.7, np.nan], [np.nan, 0.6]], index=["a", "b"], columns=["relu", "softmax"])
    failed = pd.DataFrame([[False, True], [False, False]], index=scores.index, columns=scores.columns)
    ax = display.score_grid(scores, failed, label="accuracy", xlabel="activation", ylabel="split")
    cells = {(text.get_position()[1] - 0.5, text.get_position()[0] - 0.5): text.get_text() for text in ax.texts}
    assert cells == {(0, 0): "0.700", (0, 1): "failed", (1, 0): "\N{EN DASH}", (1, 1): "0.600"}


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"speaker": np.tile(list("abcdefgh"), 25), "truth": np.repeat(["happy", "sad"], 100)})
    models = [
        frame.assign(model=model, prediction=np.where(rng.random(200) < share, frame["truth"], "none"))
        for model, share in (("net", 0.7), ("listeners", 0.5))
    ]
    few = models[0].head(10).assign(model="few")
    return evaluation.score_by(pd.concat([*models, few]), "model")


def test_models_are_in_order_with_their_intervals(cells):
    ax = display.scores_with_intervals(cells, chance=0.5, others=["listeners"], title="CREMA-D")
    names = [label.get_text() for label in ax.get_yticklabels()][::-1]
    assert names == ["net", "listeners", "few"]
    points, bars = [c.lines[0] for c in ax.containers], [c.lines[2][0] for c in ax.containers]
    for (_, cell), point, bar in zip(cells.iterrows(), points, bars, strict=True):
        assert point.get_xdata()[0] == cell["uar"] or np.isnan(cell["uar"])
        if not np.isnan(cell["uar_low"]):
            assert bar.get_segments()[0][:, 0] == pytest.approx([cell["uar_low"], cell["uar_high"]])
    assert [point.get_ydata()[0] for point in points] == [2, 1, 0]
    assert [point.get_marker() for point in points] == ["o", "D", "o"]
    assert [point.get_markerfacecolor() for point in points] == [
        display.TRAIN_COLOUR,
        display.VALIDATION_COLOUR,
        "white",
    ]
    assert "chance, 0.5" in ax.get_xlabel() and "hollow" in ax.get_xlabel() and ax.get_title() == "CREMA-D"


def test_the_label_explains_hollow_points_only_if_there_are_any(cells):
    ax = display.scores_with_intervals(cells.head(2), score="accuracy")
    assert ax.get_xlabel() == "accuracy (clips classified correctly)"


def levels(models=("one",), kinds=("white noise", "gain", "gsm")):
    steps = {"white noise": (20, 0), "gain": (-6, 0, 6), "gsm": (np.nan,), "none": (np.nan,)}
    units = {"white noise": "dB SNR", "gain": "dB"}
    rows = [
        (model, kind, level, units.get(kind, ""), 0.6 - 0.1 * i - 0.05 * j)
        for i, model in enumerate(models)
        for kind in ("none", *kinds)
        for j, level in enumerate(steps[kind])
    ]
    table = pd.DataFrame(rows, columns=["model", "distortion", "level", "unit", "uar"])
    return table.assign(uar_low=table["uar"] - 0.1, uar_high=table["uar"] + 0.15, chance=0.25)


def points(ax):
    return [np.column_stack(bar.lines[0].get_data(orig=False)) for bar in ax.containers]


def test_each_distortion_has_a_panel_and_those_without_a_level_share_the_last():
    figure = display.robustness_curves(levels())
    noise, gain, single = (ax for ax in figure.axes if ax.axison)
    assert [ax.get_title() for ax in (noise, gain, single)] == ["White noise", "Gain", "Other distortions"]
    np.testing.assert_allclose(points(noise)[0], [[20, 0.6], [0, 0.55]])
    assert noise.xaxis_inverted() and not gain.xaxis_inverted()
    assert noise.get_xlabel() == "SNR against the speech (dB)" and noise.get_ylabel() == "UAR"
    assert [t.get_text() for t in single.get_xticklabels()] == ["undistorted", "gsm"]
    ends = noise.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([end[:, 1] for end in ends], [[0.5, 0.75], [0.45, 0.7]])


def test_chance_and_the_undistorted_score_are_drawn_in_every_panel():
    for ax in filter(lambda ax: ax.axison, display.robustness_curves(levels()).axes):
        heights = {line.get_label(): line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1}
        assert heights["chance"] == 0.25 and heights["one, undistorted"] == 0.6
        assert ax.get_ylim()[0] == 0


def test_models_differ_without_colour():
    ax = display.robustness_curves(levels(models=("one", "two", "three"))).axes[0]
    lines = [bar.lines[0] for bar in ax.containers]
    assert len({line.get_marker() for line in lines}) == len({line.get_linestyle() for line in lines}) == 3
    assert len({line.get_xdata()[0] for line in lines}) == 3, "their intervals are side by side"


@pytest.mark.parametrize(("kinds", "panels"), [(("gain",), 1), ((), 1), (("gsm",), 1), (("gain", "gsm"), 2)])
def test_any_choice_of_distortions_can_be_drawn(kinds, panels):
    assert sum(ax.axison for ax in display.robustness_curves(levels(kinds=kinds)).axes) == panels


def test_missing_intervals_are_not_drawn():
    table = levels().assign(uar_low=np.nan, uar_high=np.nan)
    assert display.encode_png(display.robustness_curves(table)).startswith(b"\x89PNG")


def attribution(method="occlusion", sign=1):
    bands, seconds = pd.Index(np.geomspace(100, 7000, 20), name="mel band (Hz)"), pd.Index(np.arange(50) * 0.032)
    effect = np.zeros((20, 50))
    effect[4:8, 10:20] = 0.3 * sign
    picture = np.random.default_rng(0).normal(size=effect.shape)
    frames = (pd.DataFrame(values, bands, seconds) for values in (picture, effect))
    return results.Attribution("sad", 0.81, *frames, 1.2, method)


def test_an_input_and_its_attribution_share_their_axes():
    figure = display.attribution_map(attribution(), title="true emotion calm")
    above, below = figure.axes[:2]
    assert above.get_xlim() == below.get_xlim() == pytest.approx((0, 50 * 0.032))
    assert below.get_xlabel() == "time (s)" and above.get_ylabel() == below.get_ylabel() == "mel band (Hz)"
    np.testing.assert_array_equal(below.images[0].get_array(), attribution().attribution)
    low, high = below.images[0].get_clim()
    assert -low == high == pytest.approx(0.3), "white is no effect"
    assert figure.get_suptitle() == "true emotion calm, predicted sad (0.81)"
    assert [line.get_xdata()[0] for line in below.lines] == [1.2], "the clip's end"


@pytest.mark.parametrize(("sign", "line"), [(1, "solid"), (-1, "dashed")])
def test_the_strongest_parts_are_outlined_where_they_are(sign, line):
    outline = display.attribution_map(attribution(sign=sign)).axes[1].collections[0]
    inside = outline.get_paths()[0].vertices
    assert [inside[:, 0].min(), inside[:, 0].max()] == pytest.approx([10 * 0.032, 20 * 0.032])
    assert [inside[:, 1].min(), inside[:, 1].max()] == pytest.approx([3.5, 7.5])
    dashed = outline.get_linestyles()[0][1] is not None
    assert dashed == (line == "dashed")


def test_gradients_are_smoothed_and_zeros_can_be_drawn():
    blurred = display.attribution_map(attribution("integrated gradients")).axes[1].images[0].get_array()
    assert blurred.sum() == pytest.approx(attribution().attribution.to_numpy().sum(), rel=0.01) and blurred[9, 15] > 0
    empty = attribution()
    empty.attribution.iloc[:] = 0
    assert display.encode_png(display.attribution_map(empty)).startswith(b"\x89PNG")


def test_a_time_breakdown_is_sorted_with_shares_and_bounds():
    seconds = pd.Series({"decode": 1.0, "fit": 30.0, "draw": 9.0})
    ax = display.time_breakdown(seconds, label="s", bounds=pd.Series({"decode": 0.5}))
    assert [bar.get_width() for bar in ax.patches] == [1.0, 9.0, 30.0]
    assert [text.get_text() for text in ax.texts] == [" 1 (2%)", " 9 (22%)", " 30 (75%)"]
    (bound,) = ax.lines
    assert (bound.get_xdata()[0], bound.get_ydata()[0]) == (0.5, 0)


def test_a_name_with_dollar_signs_is_text(tmp_path):
    cells = pd.DataFrame({"uar": [0.5], "uar_low": [0.4], "uar_high": [0.6], "note": [""]}, index=["$\\frac{$ Ann$e"])
    with plt.rc_context():
        plt.style.use(display.RC_PARAMS)
        display.scores_with_intervals(cells).figure.savefig(tmp_path / "names.png")
