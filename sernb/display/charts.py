"""Figures of results. Each function draws on `ax` if given and returns what it drew on."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import results
from sernb.display.style import CLAIM_COLOUR
from sernb.display.style import EMOTION_COLOURS
from sernb.display.style import FIGURE_WIDTH
from sernb.display.style import TRAIN_COLOUR
from sernb.display.style import VALIDATION_COLOUR
from sernb.display.style import get_axes
from sernb.display.style import log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# a model


def training_history(history: pd.DataFrame, *, title: str = "") -> Figure:
    """Accuracy and loss against epoch, train and validation, for one model's rows of `history.csv`."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(FIGURE_WIDTH, 4.2), sharex=True, layout="constrained")
    for ax, what in zip(axes, ("accuracy", "loss"), strict=True):
        for side, name, colour, line in (
            ("train", "train", TRAIN_COLOUR, "-"),
            ("val", "validation", VALIDATION_COLOUR, "--"),
        ):
            ax.plot(history["epoch"], history[f"{side}_{what}"], line, color=colour, label=name)
        ax.set(ylabel=what)
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set(title=title, ylim=(-0.03, 1.03))
    axes[0].legend(loc="best", framealpha=0.9)
    axes[1].set_xlabel("epoch")
    return figure


def confusion_heatmap(
    matrix: np.ndarray, labels: Sequence[str], *, title: str = "", size: float = 9, ax: Axes | None = None
) -> Axes:
    """Annotated confusion heat map: rows the truth, columns the prediction, both in the order of `labels`.

    The number is the clips, in a type of `size` points, the shade the share of the row, so that rare emotions can be
    read too.
    """
    ax = get_axes(ax, 4.6, 4.4)
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # seaborn's heat map would draw the whole figure anew for each of its matrices.
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


def confusion_heatmaps(matrices: Mapping[str, np.ndarray], labels: Sequence[str]) -> Figure:
    """A confusion heat map for each model, titled with its name, two in a row."""
    import matplotlib.pyplot as plt

    columns = min(2, len(matrices))
    lines = -(-len(matrices) // columns)
    size = (FIGURE_WIDTH * columns / 2, 3.0 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(h_pad=0.1)  # or a title touches the label above it
    for ax, (name, matrix) in zip(axes.flat, matrices.items(), strict=False):
        confusion_heatmap(matrix, labels, title=name, size=6.5 if np.max(matrix) > 99 and len(labels) > 6 else 8, ax=ax)
    for ax in axes.flat[len(matrices) :]:
        ax.set_axis_off()
    return figure


def score_intervals(
    scores: pd.DataFrame,
    *,
    label: str,
    chance: float = 0.0,
    marks: Mapping[str, float] | None = None,
    mark: str = "claimed",
    ax: Axes | None = None,
) -> Axes:
    """Scores with their intervals, one row each, against chance and against a second figure.

    Args:
        scores: Indexed by name, with the columns `score`, `low` and `high`; NaN bounds are not drawn.
        label: Of the x axis.
        chance: Drawn as a dotted line if above 0.
        marks: The second figure, by name of a row, drawn as a diamond.
        mark: What it is.
        ax: Where to draw.
    """
    ax = get_axes(ax, height=0.9 + 0.38 * len(scores))
    places = np.arange(len(scores))[::-1]
    error = np.abs(scores[["low", "high"]].to_numpy().T - scores["score"].to_numpy())
    ax.errorbar(
        scores["score"], places, xerr=np.nan_to_num(error), fmt="o", color=TRAIN_COLOUR, capsize=3, label="measured"
    )
    if marks:
        at = {name: place for name, place in zip(scores.index, places, strict=True) if name in marks}
        ax.plot([marks[name] for name in at], list(at.values()), "D", color=VALIDATION_COLOUR, mfc="none", label=mark)
    if chance:
        ax.axvline(chance, color=CLAIM_COLOUR, linestyle=":", label=f"chance {chance:.3g}")
    ax.set(yticks=places, yticklabels=scores.index, xlim=(0, 1), xlabel=label, ylim=(-0.6, len(scores) - 0.4))
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return ax


# many runs


def waterfall(steps: pd.DataFrame, *, claim: float, chance: float, score: str = "accuracy", title: str = "") -> Figure:
    """What is left of a claimed score as one fault after another is taken away: a bar a step, with its interval.

    Args:
        steps: What `results.pool_runs` returns, in the order of the steps.
        claim: The claimed score, drawn as a line.
        chance: Drawn as a dotted line.
        score: `accuracy` or `uar`.
        title: Above the figure.
    """
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(5.2, 1.25 + 0.68 * len(steps)), layout="constrained")
    places, values = np.arange(len(steps))[::-1], steps[score].to_numpy()
    ax.barh(places, values, height=0.5, color=[VALIDATION_COLOUR, *[TRAIN_COLOUR] * (len(steps) - 1)], alpha=0.88)
    ends = np.abs(steps[[f"{score}_low", f"{score}_high"]].to_numpy().T - values)
    ax.errorbar(values, places, xerr=ends, fmt="none", ecolor="black", capsize=3, linewidth=1.2)
    changes = np.diff(values, prepend=np.nan)
    for place, name, value, lost in zip(places, steps.index, values, changes, strict=True):
        change = "" if np.isnan(lost) else f"   {100 * lost:+.0f} points".replace("-", "\N{MINUS SIGN}")
        ax.text(0.012, place, f"{100 * value:.0f} %{change}", va="center", color="white", weight="bold", fontsize=11)
        # Above its bar and not left of it: a narrow figure can still be read on a phone.
        told = ax.text(0, place + 0.28, f"{name[0].upper()}{name[1:]}", va="bottom", fontsize=11)
        told.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    for value, name, line in ((claim, f"claimed: {100 * claim:.0f} %", "--"), (chance, "chance", ":")):
        ax.axvline(value, ymax=0.945, color="black", linestyle=line, linewidth=1, zorder=0.9)
        ax.text(value, len(steps) - 0.32, name, va="bottom", ha="center", fontsize=10)
    ax.set(yticks=[], xlim=(0, 1), ylim=(-0.4, len(steps)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    ax.set_xlabel({"accuracy": "clips recognised (accuracy)", "uar": "mean recall of the emotions (UAR)"}[score])
    ax.grid(visible=False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    return figure


def learning_curves(histories: Mapping[str, pd.DataFrame], *, claim: float = 0.0, ax: Axes | None = None) -> Axes:
    """Validation accuracy against epoch of several runs, those of one name in one colour.

    Args:
        histories: Rows of `history.csv` of one or more runs by name; a run begins where the epochs begin anew.
        claim: Drawn as a dashed line if above 0.
        ax: Where to draw.
    """
    ax = get_axes(ax, height=3.6)
    styles = zip((VALIDATION_COLOUR, TRAIN_COLOUR, CLAIM_COLOUR, "black"), ("-", "--", ":", "-."), strict=True)
    for (name, history), (colour, line) in zip(histories.items(), styles, strict=False):
        for i, (_, run) in enumerate(history.groupby((history["epoch"] == 1).cumsum())):
            label = name if i == 0 else None
            ax.plot(run["epoch"], run["val_accuracy"], line, color=colour, linewidth=1.2, label=label)
    if claim:
        ax.axhline(claim, color="black", linestyle="--", linewidth=1)
        ax.text(1, claim + 0.01, f"claimed for test: {claim:.3f}", fontsize=9, va="bottom")
    ax.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1))
    ax.legend(frameon=False, loc="lower right")
    return ax


def score_grid(
    scores: pd.DataFrame, failed: pd.DataFrame, *, label: str, xlabel: str, ylabel: str, ax: Axes | None = None
) -> Axes:
    """A score for each pair of two settings, shape (rows, columns), as a shaded table.

    Args:
        scores: NaN where a run failed or was not made.
        failed: Boolean, of the same shape: which of them failed.
        label: Of the score.
        xlabel: What the columns are.
        ylabel: What the rows are.
        ax: Where to draw.
    """
    import seaborn as sns

    ax = get_axes(ax, min(FIGURE_WIDTH, 1.4 + 1.25 * scores.shape[1]), 1.2 + 0.5 * scores.shape[0])
    sns.heatmap(
        scores, annot=True, fmt=".3f", cmap="Blues", vmin=0, vmax=1, ax=ax, cbar_kws={"label": label}, linewidths=1,
        linecolor="white",
    )  # fmt: skip
    for row, column in np.argwhere(scores.isna().to_numpy()):
        word = "failed" if failed.to_numpy()[row, column] else "\N{EN DASH}"
        ax.text(column + 0.5, row + 0.5, word, ha="center", va="center", style="italic")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(visible=False)
    ax.tick_params(axis="y", rotation=0)
    return ax


# scores with their doubt


def scores_with_intervals(
    cells: pd.DataFrame,
    *,
    score: str = "uar",
    chance: float = 0.0,
    others: Sequence[str] = (),
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """What `evaluation.score_by` returns, a row each with its interval: models beside baselines and listeners, or cells of one.

    Args:
        cells: Rows with a `note` are drawn hollow: they are too little to go by. A NaN score or interval is not drawn.
        score: `accuracy` or `uar`.
        chance: Drawn as a dotted line if above 0.
        others: Rows that are no trained network (`guess`, `mfcc-svm`, `listeners`), drawn as orange diamonds.
        title: Above the figure.
        ax: Where to draw.
    """
    ax = get_axes(ax, height=0.9 + 0.38 * len(cells))
    for place, (name, cell) in zip(range(len(cells))[::-1], cells.iterrows(), strict=True):
        colour, marker = (VALIDATION_COLOUR, "D") if name in others else (TRAIN_COLOUR, "o")
        ends = np.nan_to_num(np.abs(cell[[f"{score}_low", f"{score}_high"]].to_numpy(dtype=float) - cell[score]))
        fill = "white" if cell["note"] else colour
        ax.errorbar(cell[score], place, xerr=ends[:, None], fmt=marker, color=colour, markerfacecolor=fill, capsize=3)
    if chance:
        ax.axvline(chance, color=CLAIM_COLOUR, linestyle=":")
    names = {"accuracy": "clips recognised (accuracy)", "uar": "mean recall of the emotions (UAR)"}
    told = [f"dotted: chance, {chance:.3g}"] * bool(chance) + ["hollow: too little to go by"] * bool(
        cells["note"].any()
    )
    ax.set(yticks=range(len(cells)), yticklabels=cells.index[::-1], xlim=(-0.02, 1.02), ylim=(-0.6, len(cells) - 0.4))
    ax.set(xlabel="\n".join([names[score], "; ".join(told)]).strip(), title=title)
    ax.grid(visible=False, axis="y")
    return ax


# what a score and an answer hang on

DISTORTION_LINES = (
    (TRAIN_COLOUR, "-", "o"),
    (VALIDATION_COLOUR, "--", "s"),
    ("black", ":", "^"),
    (CLAIM_COLOUR, "-.", "D"),
)
LEVEL_UNITS = {
    "dB SNR": "SNR against the speech (dB)",
    "dB": "gain (dB), clipped at full scale",
    "s": "speech lost (s); 0: silence alone",
}


def robustness_curves(curves: pd.DataFrame, *, score: str = "uar") -> Figure:
    """A score against the level of each distortion, with its interval, the undistorted score and chance.

    A line a model, told apart by colour, dashes and marks; thin and level is its undistorted score. What has no level
    shares the last panel.

    Args:
        curves: What `results.measure_robustness` returns.
        score: `uar` or `accuracy`.
    """
    import matplotlib.pyplot as plt

    levelled = curves[curves["level"].notna()]
    single = curves[curves["level"].isna()]
    panels = list(levelled.groupby("distortion", sort=False))
    if (single["distortion"] != "none").any() or not panels:
        panels.append(("without a level", single))
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    size = (FIGURE_WIDTH, 0.7 + 2.3 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharey=True, layout="constrained")
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
    places = part["level"] if levelled else part["distortion"].map(names.index)
    width = places.max() - places.min() or 1
    models = curves["model"].unique()
    for i, model in enumerate(models):
        colour, line, mark = DISTORTION_LINES[i % len(DISTORTION_LINES)]
        own = part[part["model"] == model]
        x = places[own.index] + 0.02 * width * (i - (len(models) - 1) / 2)
        ends = np.nan_to_num(np.abs(own[[f"{score}_low", f"{score}_high"]].to_numpy().T - own[score].to_numpy()))
        how = {"color": colour, "linestyle": line if levelled else "", "marker": mark, "markersize": 4}
        ax.errorbar(x, own[score], yerr=ends, capsize=2, linewidth=1.2, elinewidth=0.8, label=model, **how)
        clean = curves[(curves["model"] == model) & (curves["distortion"] == "none")]
        for height in clean[score]:
            ax.axhline(height, color=colour, linestyle=line, linewidth=0.6, label=f"{model}, undistorted")
    ax.axhline(part["chance"].iloc[0], color="black", linestyle=(0, (1, 2)), linewidth=1.2, label="chance")
    if levelled:
        unit = part["unit"].iloc[0]
        ax.set(xlabel=LEVEL_UNITS.get(unit, unit), xticks=sorted(part["level"].unique()))
        if unit == "dB SNR":
            ax.invert_xaxis()  # as everywhere else, worse is further right
    else:
        said = ["undistorted" if name == "none" else name for name in names]
        ax.set_xticks(range(len(names)), said, rotation=90)
        ax.grid(visible=False, axis="x")


def attribution_map(told: results.Attribution, *, title: str = "") -> Figure:
    """What a network was given of a clip, and below it which parts of that its answer hangs on.

    Orange with solid lines speaks for the answer, purple with dashed ones against it; the lines are at half of the
    strongest effect. A clip that was padded ends at the upright line. A map of points is drawn blurred.

    Args:
        told: What `results.occlusion_map` or `results.integrated_gradients` returns.
        title: Above both, such as the true emotion; the answer and its probability stand there anyway.
    """
    import matplotlib.pyplot as plt
    from scipy.ndimage import gaussian_filter

    size = (FIGURE_WIDTH, 4.9)
    figure, (above, below) = plt.subplots(2, 1, figsize=size, sharex=True, sharey=True, layout="constrained")
    seconds, effect = told.effect.columns.to_numpy(), told.effect.to_numpy()
    effect = effect if told.method == "occlusion" else gaussian_filter(effect, 2)
    span = (0, seconds[-1] + seconds[1], -0.5, len(effect) - 0.5)
    how = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "extent": span}
    strongest = np.abs(effect).max() or 1
    low, high = np.percentile(told.picture, (1, 99))  # the first coefficient, the level, would drown the others
    given = above.imshow(told.picture, cmap="magma", vmin=low, vmax=high, **how)
    lost = below.imshow(effect, cmap="PuOr_r", vmin=-strongest, vmax=strongest, **how)
    _draw_half_lines(effect, strongest, span, (above, below))
    figure.colorbar(given, ax=above)
    figure.colorbar(lost, ax=below, label="probability lost without it")
    above.set_title("As the network is given it", fontsize=10)
    below.set_title(f"What the answer hangs on: {told.method}", fontsize=10)
    for ax in (above, below):
        ax.grid(visible=False)
        if told.seconds < span[1]:
            ax.axvline(told.seconds, color="white" if ax is above else "black", linewidth=1)
    below.set_xlabel("time (s)")
    for ax in (above, below):
        _name_bands(told.effect.index, ax)
    said = f"answer {told.label} ({told.probability:.2f})"
    figure.suptitle(f"{title}: {said}" if title else said, weight="bold", fontsize=10)
    return figure


def mean_attribution_map(cells: pd.DataFrame) -> Figure:
    """What right and what wrong answers hang on, on average; the colours are those of `heard`.

    Args:
        cells: What `results.mean_occlusion_map` returns.
    """
    import matplotlib.pyplot as plt

    groups = {answer: part for answer, part in cells.groupby("answer", sort=False)}
    size = (FIGURE_WIDTH, 0.7 + 2.1 * len(groups))
    figure, axes = plt.subplots(len(groups), 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
    strongest = cells["effect"].abs().max() or 1
    for ax, (answer, part) in zip(axes[:, 0], groups.items(), strict=True):
        effect = part.pivot(index="band", columns="part", values="effect")
        effect = effect.reindex(index=part["band"].unique(), columns=cells["part"].unique())
        how = {"cmap": "PuOr_r", "vmin": -strongest, "vmax": strongest, "origin": "lower", "aspect": "auto"}
        image = ax.imshow(effect, interpolation="nearest", **how)
        for edge in (0.5, effect.shape[1] - 1.5):
            ax.axvline(edge, color="black", linewidth=1)
        ax.set_xticks(range(effect.shape[1]), effect.columns)
        ax.set_yticks(range(len(effect)), effect.index)
        ax.set_ylabel(cells["axis"].iloc[0])
        clips = part["clips"].max()
        ax.set_title(f"{answer} answers ({clips} clip{'s' * bool(clips != 1)})", fontsize=10)
        ax.grid(visible=False)
    axes[-1, 0].set_xlabel("equal parts of the speech, before and after it")
    figure.colorbar(image, ax=list(axes.flat), label="probability lost without it")
    return figure


def _draw_half_lines(effect: np.ndarray, strongest: float, span: tuple[float, ...], axes: Sequence[Axes]) -> None:
    """Lines around what has at least half of the strongest effect."""
    bands, frames = effect.shape
    x = span[0] + (np.arange(frames) + 0.5) * (span[1] - span[0]) / frames
    for ax, colour in zip(axes, ("white", "black"), strict=True):
        for sign, line in ((1, "solid"), (-1, "dashed")):
            if (sign * effect).max() > strongest / 2:
                where = (x, np.arange(bands), sign * effect, [strongest / 2])
                ax.contour(*where, colors=colour, linestyles=line, linewidths=0.9)


def _name_bands(bands: pd.Index, ax: Axes) -> None:
    ax.set_ylabel(bands.name)
    if "Hz" not in bands.name:
        return
    hertz = [hz for hz in (500, 1000, 2000, 4000, 8000) if hz < bands[-1]]
    places = np.interp(hertz, bands, np.arange(len(bands)))
    ax.set_yticks(places, [f"{hz / 1000:g}k" if hz > 999 else str(hz) for hz in hertz])


def contribution_heatmap(evidence: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What speaks for each answer: a row an emotion, a column a group of numbers, in nats (`models.logit_contributions`)."""
    import seaborn as sns

    ax = get_axes(ax, height=0.5 + 0.34 * len(evidence))
    most = float(np.abs(evidence.to_numpy()).max()) or 1.0
    evidence = evidence.round(1) + 0.0  # no "-0.0"
    sns.heatmap(evidence, annot=True, fmt=".1f", cmap="PuOr_r", vmin=-most, vmax=most, cbar=False, ax=ax)
    ax.set(xlabel="", ylabel="answer")
    ax.tick_params(axis="x", rotation=40)
    ax.tick_params(axis="y", rotation=0)
    return ax


# time


def time_breakdown(time: pd.Series, *, label: str, bounds: pd.Series | None = None, ax: Axes | None = None) -> Axes:
    """How long each kind of work takes, the longest on top, with its share of all.

    Args:
        time: Indexed by the kind of work.
        label: Of the axis, with the unit.
        bounds: What some of it would take at the least, drawn as a line across the bar.
        ax: Where to draw.
    """
    time = time.sort_values()
    ax = get_axes(ax, 5.2, 0.9 + 0.38 * len(time))
    ax.barh(time.index, time, height=0.6, color=TRAIN_COLOUR, alpha=0.88)
    for place, (value, share) in enumerate(zip(time, time / time.sum(), strict=True)):
        said = f"{value:.0f}" if value >= 10 else f"{value:.2g}"
        ax.text(value, place, f" {said}, {100 * share:.0f} %", va="center", fontsize=9)
    if bounds is not None:
        places = [time.index.get_loc(kind) for kind in bounds.index]
        ax.plot(bounds, places, "|", color=VALIDATION_COLOUR, markersize=15, markeredgewidth=3, label="at the least")
        ax.legend(frameon=False, loc="lower right")
    ax.set(xlabel=label, xlim=(0, 1.3 * time.max()))
    ax.grid(visible=False)
    return ax


def probability_bars(found: pd.Series, *, ax: Axes | None = None) -> Axes:
    """One clip's probability of each emotion as bars, against chance."""
    ax = get_axes(ax, 5.6, 0.7 + 0.28 * len(found))
    bars = ax.barh(
        found.index, found, color=[EMOTION_COLOURS[name] for name in found.index], edgecolor="black", linewidth=0.5
    )
    ax.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    ax.axvline(1 / len(found), color=CLAIM_COLOUR, linestyle=":")
    ax.set(xlim=(0, 1.08), xlabel=f"probability (dotted: chance, {1 / len(found):.2g})", title="The whole clip")
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    return ax


# a corpus


def clip_counts(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Clips of each emotion, with the number at each bar."""
    ax = get_axes(ax)
    sizes = table["emotion"].value_counts().sort_index()
    bars = ax.bar(sizes.index, sizes, color=[EMOTION_COLOURS[e] for e in sizes.index], edgecolor="black", linewidth=0.5)
    ax.bar_label(bars, padding=2)
    ax.margins(y=0.12)
    ax.set(title="Clips by emotion", ylabel="clips")
    ax.tick_params(axis="x", rotation=30)
    ax.grid(visible=False)
    return ax


def boxes_by_emotion(table: pd.DataFrame, column: str, label: str, *, ax: Axes | None = None) -> Axes:
    """How a number of each clip is spread within each emotion: quartiles, whiskers from 5 to 95 %."""
    import seaborn as sns

    ax = get_axes(ax)
    names = sorted(table["emotion"].unique())
    sns.boxplot(
        table, x="emotion", y=column, hue="emotion", order=names, hue_order=names, whis=(5, 95), ax=ax,
        palette=EMOTION_COLOURS, legend=False, fliersize=1.5, linewidth=0.8,
    )  # fmt: skip
    name, _, unit = label.partition(" (")
    ax.set(title=name[0].upper() + name[1:], xlabel="", ylabel=label if len(label) < 20 else unit.rstrip(")"))
    return ax


def zcr_rms_scatter(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Each clip's mean RMS energy against its mean zero-crossing rate: all that study A's 1-D networks see."""
    import seaborn as sns

    ax = get_axes(ax, height=4)
    names = sorted(table["emotion"].unique())
    sns.scatterplot(
        table, x="zcr", y="rms", hue="emotion", style="emotion", hue_order=names, style_order=names, palette=EMOTION_COLOURS,
        s=16, linewidth=0, alpha=0.75, ax=ax,
    )  # fmt: skip
    ax.set(title="Two numbers a clip", xlabel="zero-crossing rate (crossings per sample)", ylabel="RMS energy")
    log_scale(ax)
    ax.legend(title="", bbox_to_anchor=(1.01, 1), loc="upper left", frameon=False)
    return ax
