"""Figures of results and corpora. A function returns the axes that it drew on, or the figure if it has several."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import evaluation
from sernb import results
from sernb.display.style import CLAIM_COLOUR
from sernb.display.style import FIGURE_WIDTH
from sernb.display.style import TRAIN_COLOUR
from sernb.display.style import VALIDATION_COLOUR
from sernb.display.style import allow_empty
from sernb.display.style import emotion_colour
from sernb.display.style import get_axes
from sernb.display.style import log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_WIDTH = 3.1  # inches, of panels side by side: on a phone, a wide figure scrolls instead of shrinking
SCORE_LABELS = {"accuracy": "accuracy (clips classified correctly)", "uar": "UAR (mean recall over emotions)"}

# a model


@allow_empty
def training_history(history: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw training and validation accuracy and loss against epoch, for one model's rows of `history.csv`."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(FIGURE_WIDTH, 4.2), sharex=True, layout="constrained")
    for ax, measure in zip(axes, ("accuracy", "loss"), strict=True):
        for side, name, colour, line in (
            ("train", "training", TRAIN_COLOUR, "-"),
            ("val", "validation", VALIDATION_COLOUR, "--"),
        ):
            ax.plot(history["epoch"], history[f"{side}_{measure}"], line, color=colour, label=name)
        ax.set(ylabel=measure)
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set(title=title, ylim=(-0.03, 1.03))
    axes[0].legend(loc="best", framealpha=0.9)
    axes[1].set_xlabel("epoch")
    return figure


@allow_empty
def confusion_heatmap(
    matrix: np.ndarray, labels: Sequence[str], *, title: str = "", size: float = 9, ax: Axes | None = None
) -> Axes:
    """Draw a confusion matrix: the truth in rows, the prediction in columns, both in the order of `labels`.

    The numbers are clips; the shade is a cell's share of its row, so that rare emotions are readable too.

    Args:
        matrix: Counts, shape (n_labels, n_labels).
        labels: The names of rows and columns.
        title: Above the axes.
        size: Font size of the numbers in points.
        ax: Where to draw; a new figure by default.
    """
    ax = get_axes(ax, 4.6, 4.4)
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # seaborn's heat map would redraw the whole figure for each matrix.
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), number in np.ndenumerate(matrix):
        colour = "white" if share[row, column] > 0.5 else "black"
        ax.text(column, row, f"{number:d}", ha="center", va="center", color=colour, fontsize=size)
    ax.set_xticks(range(len(labels)), labels, rotation=90)
    ax.set_yticks(range(len(labels)), labels)
    ax.set(title=title, xlabel="predicted", ylabel="true")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return ax


@allow_empty
def confusion_heatmaps(matrices: Mapping[str, np.ndarray], labels: Sequence[str]) -> Figure:
    """Draw a confusion matrix for each model, two per row, titled with the model's name."""
    import matplotlib.pyplot as plt

    columns = min(2, len(matrices))
    lines = -(-len(matrices) // columns)
    size = (PANEL_WIDTH * columns, 3.3 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(h_pad=0.1)  # otherwise a title touches the label above it
    for ax, (name, matrix) in zip(axes.flat, matrices.items(), strict=False):
        confusion_heatmap(matrix, labels, title=name, size=6.5 if np.max(matrix) > 99 and len(labels) > 6 else 8, ax=ax)
    for ax in axes.flat[len(matrices) :]:
        ax.set_axis_off()
    return figure


@allow_empty
def score_intervals(
    scores: pd.DataFrame,
    *,
    label: str,
    chance: float = 0.0,
    marks: Mapping[str, float] | None = None,
    mark: str = "claimed",
    ax: Axes | None = None,
) -> Axes:
    """Draw scores with their intervals, one per row, beside chance and a second value.

    Args:
        scores: Indexed by name, with the columns `score`, `low` and `high`; NaN bounds are not drawn.
        label: Label of the x axis.
        chance: Drawn as a dotted line if above 0.
        marks: The second value of some rows, by row name, drawn as a diamond.
        mark: What the second value is, for the legend.
        ax: Where to draw; a new figure by default.
    """
    ax = get_axes(ax, height=0.9 + 0.38 * len(scores))
    heights = np.arange(len(scores))[::-1]
    error = np.abs(scores[["low", "high"]].to_numpy().T - scores["score"].to_numpy())
    ax.errorbar(
        scores["score"], heights, xerr=np.nan_to_num(error), fmt="o", color=TRAIN_COLOUR, capsize=3, label="measured"
    )
    if marks:
        marked = {name: height for name, height in zip(scores.index, heights, strict=True) if name in marks}
        ax.plot(
            [marks[name] for name in marked],
            list(marked.values()),
            "D",
            color=VALIDATION_COLOUR,
            mfc="none",
            label=mark,
        )
    if chance:
        ax.axvline(chance, color=CLAIM_COLOUR, linestyle=":", label=f"chance {chance:.3g}")
    ax.set(yticks=heights, yticklabels=scores.index, xlim=(0, 1), xlabel=label, ylim=(-0.6, len(scores) - 0.4))
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return ax


# many runs


@allow_empty
def waterfall(
    steps: pd.DataFrame,
    *,
    claim: float,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how a claimed accuracy falls as its faults are removed one by one: a bar per step, with its interval.

    The dotted line is the accuracy of always predicting the most frequent emotion of a step's test clips.

    Args:
        steps: What `results.pool_runs` returns, in the order of the steps.
        claim: The claimed accuracy, drawn as a dashed line.
        title: Above the figure.
        ax: Where to draw; a new figure by default.
    """
    ax = get_axes(ax, 5.2, 1.25 + 0.68 * len(steps))
    heights, values = np.arange(len(steps))[::-1], steps["accuracy"].to_numpy()
    ax.barh(heights, values, height=0.5, color=[VALIDATION_COLOUR, *[TRAIN_COLOUR] * (len(steps) - 1)], alpha=0.88)
    ends = np.abs(steps[["accuracy_low", "accuracy_high"]].to_numpy().T - values)
    ax.errorbar(values, heights, xerr=ends, fmt="none", ecolor="black", capsize=3, linewidth=1.2)
    changes = np.diff(values, prepend=np.nan)
    for height, name, value, change in zip(heights, steps.index, values, changes, strict=True):
        points = "" if np.isnan(change) else f"   {evaluation.format_points(change)} points"
        ax.text(0.012, height, f"{value:.3f}{points}", va="center", color="white", weight="bold", fontsize=11)
        # Above its bar and not left of it: a narrow figure can still be read on a phone.
        text = ax.text(0, height + 0.28, f"{name[0].upper()}{name[1:]}", va="bottom", fontsize=11)
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    ax.axvline(claim, ymax=0.945, color="black", linestyle="--", linewidth=1, zorder=0.9)
    ax.text(claim, len(steps) - 0.32, f"claimed: {claim:.3f}", va="bottom", ha="center", fontsize=10)
    largest = steps["largest_class"]
    ax.vlines(largest, heights - 0.4, heights + 0.6, color="black", linestyle=":", linewidth=1, zorder=0.9)
    ax.text(largest.iloc[0], len(steps) - 0.32, "largest class", va="bottom", ha="center", fontsize=10)
    ax.set(yticks=[], xlim=(0, 1), ylim=(-0.4, len(steps)))
    ax.set_xlabel(SCORE_LABELS["accuracy"])
    ax.grid(visible=False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.figure.suptitle(title, x=0.01, ha="left", weight="bold")
    return ax


@allow_empty
def learning_curves(histories: Mapping[str, pd.DataFrame], *, claim: float = 0.0, ax: Axes | None = None) -> Axes:
    """Draw validation accuracy against epoch for several runs, those of one name in one colour.

    Args:
        histories: Rows of `history.csv` of one or more runs, by name (four at most); a new run begins at each epoch 1.
        claim: Drawn as a dashed line if above 0.
        ax: Where to draw; a new figure by default.
    """
    ax = get_axes(ax, height=3.6)
    styles = zip((VALIDATION_COLOUR, TRAIN_COLOUR, CLAIM_COLOUR, "black"), ("-", "--", ":", "-."), strict=True)
    for (name, history), (colour, line) in zip(histories.items(), styles, strict=False):
        for i, (_, run) in enumerate(history.groupby((history["epoch"] == 1).cumsum())):
            label = name if i == 0 else None
            ax.plot(run["epoch"], run["val_accuracy"], line, color=colour, linewidth=1.2, label=label)
    if claim:
        ax.axhline(claim, color="black", linestyle="--", linewidth=1, label=f"claimed test accuracy: {claim:.3f}")
    ax.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1))
    ax.legend(frameon=False, loc="lower right")
    return ax


@allow_empty
def score_grid(
    scores: pd.DataFrame, failed: pd.DataFrame, *, label: str, xlabel: str, ylabel: str, ax: Axes | None = None
) -> Axes:
    """Draw a score for each combination of two settings, as a shaded table.

    Args:
        scores: Shape (rows, columns); NaN where a run failed or is missing.
        failed: Boolean, of the same shape: which runs failed.
        label: The name of the score.
        xlabel: The setting that varies over columns.
        ylabel: The setting that varies over rows.
        ax: Where to draw; a new figure by default.
    """
    import seaborn as sns

    ax = get_axes(ax, min(FIGURE_WIDTH, 1.4 + 1.25 * scores.shape[1]), 1.2 + 0.5 * scores.shape[0])
    sns.heatmap(
        scores, annot=True, fmt=".3f", cmap="Blues", vmin=0, vmax=1, ax=ax, cbar_kws={"label": label}, linewidths=1,
        linecolor="white",
    )  # fmt: skip
    for row, column in np.argwhere(scores.isna().to_numpy()):
        text = "failed" if failed.to_numpy()[row, column] else "\N{EN DASH}"
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", style="italic")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(visible=False)
    ax.tick_params(axis="y", rotation=0)
    return ax


# scores with their intervals


@allow_empty
def scores_with_intervals(
    cells: pd.DataFrame,
    *,
    score: str = "uar",
    chance: float = 0.0,
    others: Sequence[str] = (),
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one score with its interval per row: models with baselines and listeners, or subgroups of one model.

    Args:
        cells: What `evaluation.score_by` returns. Rows with a `note` rest on too little data and are drawn hollow; a
            NaN score or interval is not drawn.
        score: `accuracy` or `uar`.
        chance: Drawn as a dotted line if above 0.
        others: Rows that are not trained networks (`guess`, `mfcc-svm`, `listeners`), drawn as orange diamonds.
        title: Above the figure.
        ax: Where to draw; a new figure by default.
    """
    ax = get_axes(ax, height=0.9 + 0.38 * len(cells))
    for height, (name, cell) in zip(range(len(cells))[::-1], cells.iterrows(), strict=True):
        colour, marker = (VALIDATION_COLOUR, "D") if name in others else (TRAIN_COLOUR, "o")
        ends = np.nan_to_num(np.abs(cell[[f"{score}_low", f"{score}_high"]].to_numpy(dtype=float) - cell[score]))
        fill = "white" if cell["note"] else colour
        ax.errorbar(cell[score], height, xerr=ends[:, None], fmt=marker, color=colour, markerfacecolor=fill, capsize=3)
    if chance:
        ax.axvline(chance, color=CLAIM_COLOUR, linestyle=":")
    notes = [f"dotted: chance, {chance:.3g}"] if chance else []
    notes += ["hollow: too little data"] if cells["note"].any() else []
    ax.set(yticks=range(len(cells)), yticklabels=cells.index[::-1], xlim=(-0.02, 1.02), ylim=(-0.6, len(cells) - 0.4))
    ax.set(xlabel="\n".join([SCORE_LABELS[score], "; ".join(notes)]).strip(), title=title)
    ax.grid(visible=False, axis="y")
    return ax


@allow_empty
def score_curves(
    curves: Mapping[str, pd.DataFrame], *, xlabel: str, score: str = "uar", ax: Axes | None = None
) -> Axes:
    """Draw a score with its interval against a number, such as that of enrolment clips, for one or more curves.

    Args:
        curves: By name, each indexed by the number, with the columns `<score>`, `<score>_low` and `<score>_high`.
        xlabel: What the number counts; the numbers are drawn at equal distances.
        score: `uar` or `accuracy`.
        ax: Where to draw; a new figure by default.

    Raises:
        ValueError: There are more curves than line styles.
    """
    if len(curves) > len(DISTORTION_LINES):
        raise ValueError(f"at most {len(DISTORTION_LINES)} curves can be told apart (got {len(curves)})")
    ax = get_axes(ax, height=3.8)
    numbers = sorted(set().union(*(curve.index for curve in curves.values())))
    for i, ((name, curve), (colour, line, marker)) in enumerate(zip(curves.items(), DISTORTION_LINES, strict=False)):
        places = np.searchsorted(numbers, curve.index) + 0.08 * (i - (len(curves) - 1) / 2)  # bars beside each other
        ends = np.abs(curve[[f"{score}_low", f"{score}_high"]].to_numpy(dtype=float).T - curve[score].to_numpy())
        ends = np.nan_to_num(ends)
        ax.errorbar(places, curve[score], yerr=ends, ls=line, marker=marker, color=colour, capsize=3, label=name)
    ax.set(xticks=range(len(numbers)), xticklabels=numbers, xlabel=xlabel, ylabel=SCORE_LABELS[score])
    ax.legend(frameon=False, loc="upper left")
    return ax


# robustness and explanation

DISTORTION_LINES = (
    (TRAIN_COLOUR, "-", "o"),
    (VALIDATION_COLOUR, "--", "s"),
    ("black", ":", "^"),
    (CLAIM_COLOUR, "-.", "D"),
)
LEVEL_UNITS = {
    "dB SNR": "SNR against the speech (dB)",
    "dB": "gain (dB)",
    "s": "speech removed (s)",
}


@allow_empty
def robustness_curves(curves: pd.DataFrame, *, score: str = "uar") -> Figure:
    """Draw a score with its interval against the level of each distortion, beside the undistorted score and chance.

    Models differ in colour, line style and marker; the thin horizontal line is a model's undistorted score.
    Distortions without levels share the last panel.

    Args:
        curves: What `results.score_distortions` returns.
        score: `uar` or `accuracy`.
    """
    import matplotlib.pyplot as plt

    levelled = curves[curves["level"].notna()]
    single = curves[curves["level"].isna()]
    panels = list(levelled.groupby("distortion", sort=False))
    if (single["distortion"] != "none").any() or not panels:
        panels.append(("other distortions", single))
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    size = (PANEL_WIDTH * columns, 0.7 + 2.4 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharey=True, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)  # otherwise a title touches the label above it
    axes = np.atleast_1d(axes).ravel()
    for ax, (name, part) in zip(axes, panels, strict=False):
        _robustness_panel(part, curves, score, ax)
        ax.set_title(name[0].upper() + name[1:])
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax in axes[::columns]:
        ax.set_ylabel({"uar": "UAR"}.get(score, score))
    axes[0].set_ylim(0, min(1, 1.08 * curves[[score, f"{score}_high"]].max(axis=None)))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _robustness_panel(part: pd.DataFrame, curves: pd.DataFrame, score: str, ax: Axes) -> None:
    names = list(part["distortion"].unique())
    levelled = part["level"].notna().any()
    positions = part["level"] if levelled else part["distortion"].map(names.index)
    width = positions.max() - positions.min() or 1
    models = curves["model"].unique()
    for i, model in enumerate(models):
        colour, line, mark = DISTORTION_LINES[i % len(DISTORTION_LINES)]
        rows = part[part["model"] == model]
        x = positions[rows.index] + 0.02 * width * (i - (len(models) - 1) / 2)
        ends = np.nan_to_num(np.abs(rows[[f"{score}_low", f"{score}_high"]].to_numpy().T - rows[score].to_numpy()))
        style = {"color": colour, "linestyle": line if levelled else "", "marker": mark, "markersize": 4}
        ax.errorbar(x, rows[score], yerr=ends, capsize=2, linewidth=1.2, elinewidth=0.8, label=model, **style)
        clean = curves[(curves["model"] == model) & (curves["distortion"] == "none")]
        for height in clean[score]:
            ax.axhline(height, color=colour, linestyle=line, linewidth=0.6, label=f"{model}, undistorted")
    ax.axhline(part["chance"].iloc[0], color="black", linestyle=(0, (1, 2)), linewidth=1.2, label="chance")
    if levelled:
        unit = part["unit"].iloc[0]
        ax.set(xlabel=LEVEL_UNITS.get(unit, unit), xticks=sorted(part["level"].unique()))
        if unit == "dB SNR":
            ax.invert_xaxis()  # in every panel, stronger distortion is further right
    else:
        ticks = ["undistorted" if name == "none" else name for name in names]
        ax.set_xticks(range(len(names)), ticks, rotation=90)
        ax.grid(visible=False, axis="x")


def attribution_map(attribution: results.Attribution, *, title: str = "") -> Figure:
    """Draw a network's input and, below it, the effect of each part on the predicted probability.

    Orange with solid outlines marks evidence for the prediction, purple with dashed outlines evidence against it; the
    outlines are at half of the largest effect. A vertical line marks the end of a padded clip. Gradients are smoothed.

    Args:
        attribution: What `results.occlusion_map` or `results.integrated_gradients` returns.
        title: Shown before the prediction and its probability, such as the true emotion.
    """
    import matplotlib.pyplot as plt
    from scipy.ndimage import gaussian_filter

    size = (FIGURE_WIDTH, 4.9)
    figure, (above, below) = plt.subplots(2, 1, figsize=size, sharex=True, sharey=True, layout="constrained")
    seconds, effect = attribution.attribution.columns.to_numpy(), attribution.attribution.to_numpy()
    effect = effect if attribution.method == "occlusion" else gaussian_filter(effect, 2)
    span = (0, seconds[-1] + seconds[1], -0.5, len(effect) - 0.5)
    options = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "extent": span}
    strongest = np.abs(effect).max() or 1
    # Percentiles: the first coefficient, the level, would dominate the colours.
    low, high = np.percentile(attribution.input, (1, 99))
    input_image = above.imshow(attribution.input, cmap="magma", vmin=low, vmax=high, **options)
    effect_image = below.imshow(effect, cmap="PuOr_r", vmin=-strongest, vmax=strongest, **options)
    _draw_half_lines(effect, strongest, span, (above, below))
    figure.colorbar(input_image, ax=above)
    figure.colorbar(effect_image, ax=below, label="effect on the probability")
    above.set_title("Input of the network", fontsize=10)
    below.set_title(f"Effect of each part ({attribution.method})", fontsize=10)
    for ax in (above, below):
        ax.grid(visible=False)
        if attribution.seconds < span[1]:
            ax.axvline(attribution.seconds, color="white" if ax is above else "black", linewidth=1)
    below.set_xlabel("time (s)")
    for ax in (above, below):
        _label_bands(attribution.attribution.index, ax)
    prediction = f"predicted {attribution.label} ({attribution.probability:.2f})"
    figure.suptitle(f"{title}, {prediction}" if title else prediction, weight="bold", fontsize=10)
    return figure


@allow_empty
def mean_attribution_map(cells: pd.DataFrame) -> Figure:
    """Draw the mean effect of each part of a clip, for correct and incorrect predictions; colours as `attribution_map`.

    Args:
        cells: What `results.mean_occlusion_map` returns.
    """
    import matplotlib.pyplot as plt

    groups = {prediction: part for prediction, part in cells.groupby("prediction", sort=False)}
    size = (FIGURE_WIDTH, 0.7 + 2.1 * len(groups))
    figure, axes = plt.subplots(len(groups), 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
    strongest = cells["effect"].abs().max() or 1
    for ax, (prediction, part) in zip(axes[:, 0], groups.items(), strict=True):
        effect = part.pivot(index="band", columns="part", values="effect")
        effect = effect.reindex(index=part["band"].unique(), columns=cells["part"].unique())
        options = {"cmap": "PuOr_r", "vmin": -strongest, "vmax": strongest, "origin": "lower", "aspect": "auto"}
        image = ax.imshow(effect, interpolation="nearest", **options)
        for edge in (0.5, effect.shape[1] - 1.5):
            ax.axvline(edge, color="black", linewidth=1)
        ax.set_xticks(range(effect.shape[1]), effect.columns)
        ax.set_yticks(range(len(effect)), effect.index)
        ax.set_ylabel(cells["axis"].iloc[0])
        clips = part["clips"].max()
        ax.set_title(f"{prediction} predictions ({clips} clip{'s' * bool(clips != 1)})", fontsize=10)
        ax.grid(visible=False)
    axes[-1, 0].set_xlabel("time: before the speech, equal parts of it, after it")
    figure.colorbar(image, ax=list(axes.flat), label="effect on the probability")
    return figure


def _draw_half_lines(effect: np.ndarray, strongest: float, span: tuple[float, ...], axes: Sequence[Axes]) -> None:
    """Outline what has at least half of the strongest effect."""
    bands, frames = effect.shape
    x = span[0] + (np.arange(frames) + 0.5) * (span[1] - span[0]) / frames
    for ax, colour in zip(axes, ("white", "black"), strict=True):
        for sign, line in ((1, "solid"), (-1, "dashed")):
            if (sign * effect).max() > strongest / 2:
                ax.contour(
                    x, np.arange(bands), sign * effect, [strongest / 2], colors=colour, linestyles=line, linewidths=0.9
                )


def _label_bands(bands: pd.Index, ax: Axes) -> None:
    ax.set_ylabel(bands.name)
    if "Hz" not in bands.name:
        return
    hertz = [hz for hz in (500, 1000, 2000, 4000, 8000) if hz < bands[-1]]
    ticks = np.interp(hertz, bands, np.arange(len(bands)))
    ax.set_yticks(ticks, [f"{hz / 1000:g}k" if hz > 999 else str(hz) for hz in hertz])


@allow_empty
def contribution_heatmap(contributions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw means of `models.logit_contributions` in nats: a row per predicted emotion, a column per feature group."""
    import seaborn as sns

    ax = get_axes(ax, height=0.5 + 0.34 * len(contributions))
    most = float(np.abs(contributions.to_numpy()).max()) or 1.0
    contributions = contributions.round(1) + 0.0  # no "-0.0"
    texts = contributions.map("{:.1f}".format).replace("-", "\N{MINUS SIGN}", regex=True)
    sns.heatmap(contributions, annot=texts, fmt="", cmap="PuOr_r", vmin=-most, vmax=most, cbar=False, ax=ax)
    ax.set(xlabel="", ylabel="predicted")
    ax.tick_params(axis="x", rotation=40)
    ax.tick_params(axis="y", rotation=0)
    return ax


# time


@allow_empty
def time_breakdown(time: pd.Series, *, label: str, bounds: pd.Series | None = None, ax: Axes | None = None) -> Axes:
    """Draw how long each step of some work takes, the longest on top, with its share of the total.

    Args:
        time: Indexed by step.
        label: Label of the axis, with the unit.
        bounds: Lower bounds for some steps, drawn as lines across their bars.
        ax: Where to draw; a new figure by default.
    """
    time = time.sort_values()
    ax = get_axes(ax, 5.2, 0.9 + 0.38 * len(time))
    ax.barh(time.index, time, height=0.6, color=TRAIN_COLOUR, alpha=0.88)
    for height, (value, share) in enumerate(zip(time, time / time.sum(), strict=True)):
        text = f"{value:.0f}" if value >= 10 else f"{value:.2g}"
        ax.text(value, height, f" {text} ({100 * share:.0f}%)", va="center", fontsize=9)
    if bounds is not None:
        heights = [time.index.get_loc(step) for step in bounds.index]
        ax.plot(bounds, heights, "|", color=VALIDATION_COLOUR, markersize=15, markeredgewidth=3, label="lower bound")
        ax.legend(frameon=False, loc="lower right")
    ax.set(xlabel=label, xlim=(0, 1.3 * time.max()))
    ax.grid(visible=False)
    return ax


@allow_empty
def probability_bars(probabilities: pd.Series, *, ax: Axes | None = None) -> Axes:
    """Draw a clip's probability of each emotion as bars, beside chance."""
    ax, chance = get_axes(ax, 5.6, 0.7 + 0.28 * len(probabilities)), 1 / len(probabilities)
    colours = [emotion_colour(name) for name in probabilities.index]
    bars = ax.barh(probabilities.index, probabilities, color=colours, edgecolor="black", linewidth=0.5)
    ax.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    ax.axvline(chance, color=CLAIM_COLOUR, linestyle=":")
    ax.set(xlim=(0, 1.08), xlabel=f"probability (dotted: chance, {chance:.2g})", title="The whole clip")
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    return ax


# a corpus


@allow_empty
def clip_counts(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the number of clips per emotion."""
    ax = get_axes(ax)
    sizes = table["emotion"].value_counts().sort_index()
    bars = ax.bar(sizes.index, sizes, color=[emotion_colour(e) for e in sizes.index], edgecolor="black", linewidth=0.5)
    ax.bar_label(bars, padding=2)
    ax.margins(y=0.12)
    ax.set(title="Clips by emotion", ylabel="clips")
    ax.tick_params(axis="x", rotation=30)
    ax.grid(visible=False)
    return ax


@allow_empty
def boxes_by_emotion(table: pd.DataFrame, column: str, label: str, *, ax: Axes | None = None) -> Axes:
    """Draw the distribution of a column within each emotion: quartiles, and whiskers at 5th and 95th percentiles."""
    import seaborn as sns

    ax = get_axes(ax)
    names = sorted(table["emotion"].unique())
    sns.boxplot(
        table, x="emotion", y=column, hue="emotion", order=names, hue_order=names, whis=(5, 95), ax=ax,
        palette={name: emotion_colour(name) for name in names}, legend=False, fliersize=1.5, linewidth=0.8,
    )  # fmt: skip
    name, _, unit = label.partition(" (")
    ax.set(title=name[0].upper() + name[1:], xlabel="", ylabel=label if len(label) < 20 else unit.rstrip(")"))
    return ax


@allow_empty
def zcr_rms_scatter(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw mean RMS energy against mean zero-crossing rate per clip: the input of study A's 1-D networks."""
    import seaborn as sns

    ax = get_axes(ax, height=4)
    names = sorted(table["emotion"].unique())
    sns.scatterplot(
        table, x="zcr", y="rms", hue="emotion", style="emotion", hue_order=names, style_order=names,
        palette={name: emotion_colour(name) for name in names}, s=16, linewidth=0, alpha=0.75, ax=ax,
    )  # fmt: skip
    ax.set(title="Two features per clip", xlabel="zero-crossing rate (crossings per sample)", ylabel="RMS energy")
    log_scale(ax)
    ax.legend(title="", bbox_to_anchor=(1.01, 1), loc="upper left", frameon=False)
    return ax
