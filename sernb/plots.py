"""Floor 4: the report's figures, one house style. Each function draws on `ax` if given and returns what it drew on."""

from __future__ import annotations

import io
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import features

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sernb.attribution import Attribution

# Study A's colours; calm, which it lacks, is a teal that keeps clear of neutral's green and sad's blue.
COLOURS = {
    "angry": "#C00808",
    "calm": "#2FA39A",
    "disgust": "#804E2D",
    "fear": "#7D55AA",
    "happy": "#F19C0E",
    "neutral": "#4CB847",
    "sad": "#478FB8",
    "surprise": "#EE00FF",
    "unknown": "#777777",
}
# Blue and orange: told apart by the colour-blind, and by their lines in greyscale.
TRAIN, VALIDATION, CLAIM = "#1B4F72", "#D35400", "#777777"

CAPTIONED = "sernb_figure"  # the key of an output's metadata that holds a figure's caption


def style() -> None:
    """Set the house style once in a notebook: quiet grid, readable type, sharp pictures, tables with whole texts."""
    import seaborn as sns
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    sns.set_theme(style="whitegrid", font_scale=0.9, rc={"axes.titleweight": "bold", "figure.dpi": 96})
    set_matplotlib_formats("retina")
    pd.set_option("display.max_colwidth", None)


def caption(text: str, *, alt: str = "", figure: Figure | None = None) -> None:
    """Show a figure here, with a caption under it; `report` makes it a numbered figure of the book.

    The text is written by the cell that drew the figure, so it can hold what was measured there.

    Args:
        text: Markdown: what there is to see, in a sentence or two.
        alt: What is drawn, for those who do not see it; if not given, what the cell's metadata say (`mystnb`, `image`).
        figure: The pyplot figure that was drawn last, if not given.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Markdown
    from IPython.display import display

    text, alt = (" ".join(told.split()) for told in (text, alt))
    shown = figure or plt.gcf()
    display(shown, metadata={CAPTIONED: {"caption": text, "alt": alt}})
    display(Markdown(f"*Figure.* {text}"), metadata={CAPTIONED: {}})
    plt.close(shown)


def _axes(ax: Axes | None, width: float = 5.8, height: float = 3.2) -> Axes:
    import matplotlib.pyplot as plt

    return ax if ax is not None else plt.subplots(figsize=(width, height), layout="constrained")[1]


# one clip


def waveform(signal: np.ndarray, sample_rate: int, emotion: str, *, ax: Axes | None = None) -> Axes:
    """Amplitude against seconds in the emotion's colour, titled with the emotion."""
    ax = _axes(ax, height=2.2)
    ax.plot(np.arange(len(signal)) / sample_rate, signal, color=COLOURS[emotion], linewidth=0.5, rasterized=True)
    ax.set(title=emotion, xlabel="time (s)", ylabel="amplitude")
    return ax


def mel(signal: np.ndarray, sample_rate: int, title: str, *, ax: Axes | None = None, bar: bool = True) -> Axes:
    """Mel spectrogram in dB below its maximum: seconds on x, frequency on y, logarithmic, with a colour bar.

    Each band is drawn at its own centre frequency: `specshow(mel, y_axis="log")`, seen in many notebooks, takes mel
    bands for FFT bins and labels them with the wrong frequencies.
    """
    import librosa

    ax = _axes(ax)
    db = librosa.power_to_db(features.mel(signal, sample_rate), ref=np.max)
    hertz = librosa.mel_frequencies(n_mels=db.shape[0] + 1, fmax=sample_rate / 2)
    seconds = np.arange(db.shape[1] + 1) * features.HOP_LENGTH / sample_rate
    picture = ax.pcolormesh(seconds, hertz, db, cmap="magma", shading="flat", rasterized=True)
    ax.set(title=title, xlabel="time (s)", ylabel="frequency (Hz)", yscale="log", ylim=(64, sample_rate / 2))
    ax.set_yticks([125, 250, 500, 1000, 2000, 4000], ["125", "250", "500", "1k", "2k", "4k"])
    ax.minorticks_off()
    ax.grid(visible=False)
    if bar:
        ax.figure.colorbar(picture, ax=ax, format="%+.0f dB")
    return ax


def heat(picture: np.ndarray, *, title: str, ylabel: str, ax: Axes | None = None, unit: str = "") -> Axes:
    """A picture as a network sees it, shape (bands, frames)."""
    ax = _axes(ax)
    image = ax.imshow(picture, origin="lower", aspect="auto", cmap="magma", interpolation="nearest")
    ax.set(title=title, xlabel="frame", ylabel=ylabel)
    ax.grid(visible=False)
    ax.figure.colorbar(image, ax=ax, label=unit)
    return ax


def clips(signals: Mapping[str, np.ndarray], sample_rate: int) -> Figure:
    """Waveform and mel spectrogram of one clip of each emotion side by side, an emotion a row."""
    import matplotlib.pyplot as plt

    size = (7.2, 1.8 * len(signals))
    figure, axes = plt.subplots(len(signals), 2, figsize=size, layout="constrained", squeeze=False)
    for row, (emotion, signal) in zip(axes, signals.items(), strict=True):
        waveform(signal, sample_rate, emotion, ax=row[0])
        mel(signal, sample_rate, emotion, ax=row[1])
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    return figure


VOICE_SPAN = (0.11, 0.985)  # where a picture's time axis begins and ends, as shares of its width


def voice(signal: np.ndarray, sample_rate: int, emotion: str = "unknown") -> Figure:
    """Waveform, mel spectrogram, MFCC and pitch of one clip below one another, on one time axis.

    The axis lies at `VOICE_SPAN`, so that a player can draw a line at the moment that is heard. The figure is no
    pyplot figure and its pictures are images: a panel draws one at each key that is pressed.

    Args:
        signal: Shape (n,).
        sample_rate: In Hz.
        emotion: For the waveform's colour.
    """
    from matplotlib.figure import Figure as BareFigure

    figure = BareFigure(figsize=(6.2, 5.4))
    axes = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": [1, 1.7, 1.1, 1.1]})
    figure.subplots_adjust(VOICE_SPAN[0], 0.085, VOICE_SPAN[1], 0.99, hspace=0.12)
    power = features.mel(signal, sample_rate)
    _envelope(signal, sample_rate, emotion, axes[0])
    _mel_image(power, sample_rate, axes[1])
    _mfcc_image(power, sample_rate, axes[2])
    _pitch_line(signal, sample_rate, axes[3])
    axes[3].set(xlabel="time (s)", xlim=(0, len(signal) / sample_rate))
    for ax in axes[:3]:
        ax.xaxis.set_visible(False)  # ticks that nobody sees take a third of the time
    for ax in axes:
        _small(ax)
    return figure


def _small(ax: Axes) -> None:
    ax.tick_params(labelsize=8, length=2, pad=2)
    ax.yaxis.label.set_size(8)
    ax.yaxis.set_label_coords(-0.085, 0.5)


def _envelope(signal: np.ndarray, sample_rate: int, emotion: str, ax: Axes) -> None:
    """The waveform as its extremes in each of 600 columns: tens of thousands of points would take ten times as long."""
    step = max(1, len(signal) // 600)
    columns = signal[: len(signal) // step * step].reshape(-1, step)
    time = np.arange(len(columns)) * step / sample_rate
    ax.fill_between(time, columns.min(axis=1), columns.max(axis=1), color=COLOURS[emotion], linewidth=0.3)
    ax.set(ylabel="amplitude")


def _mel_image(power: np.ndarray, sample_rate: int, ax: Axes) -> None:
    import librosa

    _image(librosa.power_to_db(power, ref=np.max), sample_rate, ax)
    hertz = [hz for hz in (500, 1000, 2000, 4000, 8000) if hz < 0.9 * sample_rate / 2]
    bands = librosa.mel_frequencies(n_mels=len(power), fmax=sample_rate / 2)
    places = np.interp(hertz, bands, np.arange(len(power)))
    ax.set_yticks(places, [f"{hz / 1000:g}k" if hz > 999 else str(hz) for hz in hertz])
    ax.set(ylabel="mel bands (Hz)")


def _mfcc_image(power: np.ndarray, sample_rate: int, ax: Axes) -> None:
    import librosa

    # As `features.mfcc`; without the first, the level, which would drown the rest.
    coefficients = librosa.feature.mfcc(S=librosa.power_to_db(power), n_mfcc=20)[1:]
    _image(coefficients, sample_rate, ax)
    ax.set_yticks([0, 9, 18], ["1", "10", "19"])
    ax.set(ylabel="MFCC")


def _image(picture: np.ndarray, sample_rate: int, ax: Axes) -> None:
    end = picture.shape[1] * features.HOP_LENGTH / sample_rate
    span = (0, end, -0.5, len(picture) - 0.5)
    ax.imshow(picture, origin="lower", aspect="auto", cmap="magma", interpolation="nearest", extent=span)
    ax.grid(visible=False)


def _pitch_line(signal: np.ndarray, sample_rate: int, ax: Axes) -> None:
    f0 = features.pitch(signal, sample_rate)
    time = np.arange(len(f0)) * features.HOP_LENGTH / sample_rate
    # In octaves on a plain axis: matplotlib's logarithmic one makes dozens of ticks first.
    ax.plot(time, np.log2(f0), ".-", color=TRAIN, markersize=3, linewidth=0.8)
    ax.set_yticks(np.log2([100, 200, 400]), ["100", "200", "400"])
    ax.set(ylabel="pitch (Hz)", ylim=np.log2([65, 600]))


def probabilities(found: pd.Series, *, ax: Axes | None = None) -> Axes:
    """One clip's probability of each emotion as bars, against chance."""
    ax = _axes(ax, 5.6, 0.7 + 0.28 * len(found))
    bars = ax.barh(found.index, found, color=[COLOURS[name] for name in found.index], edgecolor="black", linewidth=0.5)
    ax.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    ax.axvline(1 / len(found), color=CLAIM, linestyle=":")
    ax.set(xlim=(0, 1.08), xlabel=f"probability (dotted: chance, {1 / len(found):.2g})", title="The whole clip")
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    return ax


def course(found: pd.DataFrame, signal: np.ndarray, sample_rate: int) -> Figure:
    """A clip's waveform, and below it the probabilities from moment to moment; its time axis lies at `VOICE_SPAN`.

    Args:
        found: What `prediction.course` returns.
        signal: Shape (n,).
        sample_rate: In Hz.
    """
    from matplotlib.figure import Figure as BareFigure

    figure = BareFigure(figsize=(6.2, 3.4))
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [1, 2.2]})
    figure.subplots_adjust(VOICE_SPAN[0], 0.26, VOICE_SPAN[1], 0.98, hspace=0.12)
    _envelope(signal, sample_rate, "unknown", above)
    # The first window begins with the clip and the last one ends with it: up to there they hold.
    ends = pd.concat([found.iloc[[0]].set_axis([0.0]), found, found.iloc[[-1]].set_axis([len(signal) / sample_rate])])
    colours = [COLOURS[name] for name in found]
    below.stackplot(ends.index, ends.to_numpy().T, labels=list(found), colors=colours, edgecolor="white", linewidth=0.4)
    below.set(xlabel="time (s), the middle of each window", ylabel="probability", ylim=(0, 1))
    below.set_xlim(0, len(signal) / sample_rate)
    below.legend(loc="upper center", bbox_to_anchor=(0.46, -0.24), ncols=4, frameon=False, fontsize=8)
    for ax in (above, below):
        _small(ax)
    return figure


def png(figure: Figure, *, dpi: int = 110) -> bytes:
    """A figure as PNG, weakly compressed: it goes no further than the browser of this machine."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def side_by_side(signals: Mapping[str, np.ndarray], sample_rate: int) -> Figure:
    """Mel spectrograms of several versions of a clip, titled with their names, three in a row."""
    import matplotlib.pyplot as plt

    lines = -(-len(signals) // 3)
    figure, axes = plt.subplots(lines, 3, figsize=(9.5, 2.4 * lines), layout="constrained", squeeze=False)
    for ax, (name, signal) in zip(axes.flat, signals.items(), strict=False):
        mel(signal, sample_rate, name, ax=ax)
    for ax in axes.flat[len(signals) :]:
        ax.set_axis_off()
    return figure


# a corpus


def counts(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Clips of each emotion, with the number at each bar."""
    ax = _axes(ax)
    sizes = table["emotion"].value_counts().sort_index()
    bars = ax.bar(sizes.index, sizes, color=[COLOURS[e] for e in sizes.index], edgecolor="black", linewidth=0.5)
    ax.bar_label(bars, padding=2)
    ax.margins(y=0.12)
    ax.set(title="Clips by emotion", ylabel="clips")
    ax.grid(visible=False, axis="x")
    return ax


def by_emotion(table: pd.DataFrame, column: str, label: str, *, ax: Axes | None = None) -> Axes:
    """How a number of each clip is spread within each emotion: quartiles, whiskers from 5 to 95 %."""
    import seaborn as sns

    ax = _axes(ax)
    names = sorted(table["emotion"].unique())
    sns.boxplot(
        table, x="emotion", y=column, hue="emotion", order=names, hue_order=names, whis=(5, 95), ax=ax,
        palette=COLOURS, legend=False, fliersize=1.5, linewidth=0.8,
    )  # fmt: skip
    name, _, unit = label.partition(" (")
    ax.set(title=name[0].upper() + name[1:], xlabel="", ylabel=label if len(label) < 20 else unit.rstrip(")"))
    return ax


def log_scale(ax: Axes) -> Axes:
    """A logarithmic y axis labelled in plain numbers."""
    from matplotlib.ticker import LogLocator
    from matplotlib.ticker import NullFormatter
    from matplotlib.ticker import StrMethodFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    return ax


def two_numbers(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Each clip's mean RMS energy against its mean zero-crossing rate: all that study A's 1-D networks see."""
    import seaborn as sns

    ax = _axes(ax, height=4)
    names = sorted(table["emotion"].unique())
    sns.scatterplot(
        table, x="zcr", y="rms", hue="emotion", style="emotion", hue_order=names, style_order=names, palette=COLOURS,
        s=16, linewidth=0, alpha=0.75, ax=ax,
    )  # fmt: skip
    ax.set(title="Two numbers a clip", xlabel="zero-crossing rate (crossings per sample)", ylabel="RMS amplitude")
    log_scale(ax)
    ax.legend(title="", bbox_to_anchor=(1.01, 1), loc="upper left", frameon=False)
    return ax


# a model


def curves(history: pd.DataFrame, *, title: str = "") -> Figure:
    """Accuracy and loss against epoch, train and validation, for one model's rows of `history.csv`."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9.5, 2.8), layout="constrained")
    for ax, what in zip(axes, ("accuracy", "loss"), strict=True):
        for side, name, colour, line in (("train", "train", TRAIN, "-"), ("val", "validation", VALIDATION, "--")):
            ax.plot(history["epoch"], history[f"{side}_{what}"], line, color=colour, label=name)
        ax.set(title=f"{title} {what}".strip(), xlabel="epoch", ylabel=what)
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylim(0, 1)
    axes[0].legend(frameon=False)
    return figure


def confusion(matrix: np.ndarray, labels: Sequence[str], *, title: str = "", ax: Axes | None = None) -> Axes:
    """Annotated confusion heat map: rows the truth, columns the prediction, both in the order of `labels`.

    The number is the clips, the shade the share of the row, so that rare emotions can be read too.
    """
    import seaborn as sns

    ax = _axes(ax, 4.6, 4.4)
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    sns.heatmap(
        share, annot=matrix, fmt="d", cmap="Blues", vmin=0, vmax=1, square=True, cbar=False, ax=ax,
        xticklabels=labels, yticklabels=labels, annot_kws={"size": 9},
    )  # fmt: skip
    ax.set(title=title, xlabel="predicted", ylabel="true")
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(axis="y", rotation=0)
    return ax


def confusions(matrices: Mapping[str, np.ndarray], labels: Sequence[str]) -> Figure:
    """A confusion heat map for each model, titled with its name, three in a row."""
    import matplotlib.pyplot as plt

    columns = min(3, len(matrices))
    lines = -(-len(matrices) // columns)
    size = (3.4 * columns, 3.5 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)
    for ax, (name, matrix) in zip(axes.flat, matrices.items(), strict=False):
        confusion(matrix, labels, title=name, ax=ax)
    for ax in axes.flat[len(matrices) :]:
        ax.set_axis_off()
    return figure


def intervals(
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
    ax = _axes(ax, height=0.9 + 0.38 * len(scores))
    places = np.arange(len(scores))[::-1]
    error = np.abs(scores[["low", "high"]].to_numpy().T - scores["score"].to_numpy())
    ax.errorbar(scores["score"], places, xerr=np.nan_to_num(error), fmt="o", color=TRAIN, capsize=3, label="measured")
    if marks:
        at = {name: place for name, place in zip(scores.index, places, strict=True) if name in marks}
        ax.plot([marks[name] for name in at], list(at.values()), "D", color=VALIDATION, mfc="none", label=mark)
    if chance:
        ax.axvline(chance, color=CLAIM, linestyle=":", label=f"chance {chance:.3g}")
    ax.set(yticks=places, yticklabels=scores.index, xlim=(0, 1), xlabel=label, ylim=(-0.6, len(scores) - 0.4))
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return ax


# many runs


def waterfall(steps: pd.DataFrame, *, claim: float, chance: float, score: str = "accuracy", title: str = "") -> Figure:
    """What is left of a claimed score as one fault after another is taken away: a bar a step, with its interval.

    Args:
        steps: What `results.pooled` returns, in the order of the steps.
        claim: The claimed score, drawn as a line.
        chance: Drawn as a dotted line.
        score: `accuracy` or `uar`.
        title: Above the figure.
    """
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(5.2, 1.25 + 0.68 * len(steps)), layout="constrained")
    places, values = np.arange(len(steps))[::-1], steps[score].to_numpy()
    ax.barh(places, values, height=0.5, color=[VALIDATION, *[TRAIN] * (len(steps) - 1)], alpha=0.88)
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


def learning(histories: Mapping[str, pd.DataFrame], *, claim: float = 0.0, ax: Axes | None = None) -> Axes:
    """Validation accuracy against epoch of several runs, those of one name in one colour.

    Args:
        histories: Rows of `history.csv` of one or more runs by name; a run begins where the epochs begin anew.
        claim: Drawn as a dashed line if above 0.
        ax: Where to draw.
    """
    ax = _axes(ax, 8.6, 3.4)
    styles = zip((VALIDATION, TRAIN, CLAIM, "black"), ("-", "--", ":", "-."), strict=True)
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


def grid(
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

    ax = _axes(ax, 1.4 + 1.25 * scores.shape[1], 1.2 + 0.5 * scores.shape[0])
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


def doubt(
    cells: pd.DataFrame,
    *,
    score: str = "uar",
    chance: float = 0.0,
    others: Sequence[str] = (),
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """What `metrics.by` returns, a row each with its interval: models beside baselines and listeners, or cells of one.

    Args:
        cells: Rows with a `note` are drawn hollow: they are too little to go by. A NaN score or interval is not drawn.
        score: `accuracy` or `uar`.
        chance: Drawn as a dotted line if above 0.
        others: Rows that are no trained network (`chance`, `mfcc-svm`, `listeners`), drawn as orange diamonds.
        title: Above the figure.
        ax: Where to draw.
    """
    ax = _axes(ax, height=0.9 + 0.38 * len(cells))
    for place, (name, cell) in zip(range(len(cells))[::-1], cells.iterrows(), strict=True):
        colour, marker = (VALIDATION, "D") if name in others else (TRAIN, "o")
        ends = np.nan_to_num(np.abs(cell[[f"{score}_low", f"{score}_high"]].to_numpy(dtype=float) - cell[score]))
        fill = "white" if cell["note"] else colour
        ax.errorbar(cell[score], place, xerr=ends[:, None], fmt=marker, color=colour, markerfacecolor=fill, capsize=3)
    if chance:
        ax.axvline(chance, color=CLAIM, linestyle=":")
    names = {"accuracy": "clips recognised (accuracy)", "uar": "mean recall of the emotions (UAR)"}
    told = [f"dotted: chance, {chance:.3g}"] * bool(chance) + ["hollow: too little to go by"] * bool(
        cells["note"].any()
    )
    ax.set(yticks=range(len(cells)), yticklabels=cells.index[::-1], xlim=(-0.02, 1.02), ylim=(-0.6, len(cells) - 0.4))
    ax.set(xlabel="\n".join([names[score], "; ".join(told)]).strip(), title=title)
    ax.grid(visible=False, axis="y")
    return ax


# what a score and an answer hang on

LINES = ((TRAIN, "-", "o"), (VALIDATION, "--", "s"), ("black", ":", "^"), (CLAIM, "-.", "D"))
LEVEL = {
    "dB SNR": "SNR against the speech (dB)",
    "dB": "gain (dB), clipped at full scale",
    "s": "speech lost (s); 0: silence alone",
}


def robustness(curves: pd.DataFrame, *, score: str = "uar") -> Figure:
    """A score against the level of each distortion, with its interval, the undistorted score and chance.

    A line a model, told apart by colour, dashes and marks; thin and level is its undistorted score. What has no level
    shares the last panel.

    Args:
        curves: What `robustness.curves` returns.
        score: `uar` or `accuracy`.
    """
    import matplotlib.pyplot as plt

    levelled = curves[curves["level"].notna()]
    single = curves[curves["level"].isna()]
    panels = list(levelled.groupby("distortion", sort=False))
    if (single["distortion"] != "none").any() or not panels:
        panels.append(("without a level", single))
    lines = -(-len(panels) // 3)
    size = (9.5, 0.5 + 2.5 * lines)
    figure, axes = plt.subplots(lines, min(3, len(panels)), figsize=size, sharey=True, layout="constrained")
    axes = np.atleast_1d(axes).ravel()
    for ax, (name, part) in zip(axes, panels, strict=False):
        _robustness_panel(part, curves, score, ax)
        ax.set_title(name[0].upper() + name[1:])
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax in axes[:: min(3, len(panels))]:
        ax.set_ylabel({"uar": "UAR"}.get(score, score))
    axes[0].set_ylim(0, min(1, 1.08 * curves[[score, f"{score}_high"]].max(axis=None)))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _robustness_panel(part: pd.DataFrame, curves: pd.DataFrame, score: str, ax: Axes) -> None:
    names = list(part["distortion"].unique())
    levelled = part["level"].notna().any()
    places = part["level"] if levelled else part["distortion"].map(names.index)
    width = places.max() - places.min() or 1
    models = curves["model"].unique()
    for i, model in enumerate(models):
        colour, line, mark = LINES[i % len(LINES)]
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
        ax.set(xlabel=LEVEL.get(unit, unit), xticks=sorted(part["level"].unique()))
        if unit == "dB SNR":
            ax.invert_xaxis()  # as everywhere else, worse is further right
    else:
        said = ["undistorted" if name == "none" else name for name in names]
        ax.set_xticks(range(len(names)), said, rotation=35, ha="right")
        ax.grid(visible=False, axis="x")


def heard(told: Attribution, *, title: str = "") -> Figure:
    """What a network was given of a clip, and beside it which parts of that its answer hangs on.

    Orange with solid lines speaks for the answer, purple with dashed ones against it; the lines are at half of the
    strongest effect. A clip that was padded ends at the upright line. A map of points is drawn blurred.

    Args:
        told: What `attribution.occlusion` or `attribution.gradient` returns.
        title: Above both, such as the true emotion; the answer and its probability stand there anyway.
    """
    import matplotlib.pyplot as plt
    from scipy.ndimage import gaussian_filter

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 2.9), sharex=True, sharey=True, layout="constrained")
    seconds, effect = told.effect.columns.to_numpy(), told.effect.to_numpy()
    effect = effect if told.method == "occlusion" else gaussian_filter(effect, 2)
    span = (0, seconds[-1] + seconds[1], -0.5, len(effect) - 0.5)
    how = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "extent": span}
    strongest = np.abs(effect).max() or 1
    low, high = np.percentile(told.picture, (1, 99))  # the first coefficient, the level, would drown the others
    given = left.imshow(told.picture, cmap="magma", vmin=low, vmax=high, **how)
    lost = right.imshow(effect, cmap="PuOr_r", vmin=-strongest, vmax=strongest, **how)
    _half_lines(effect, strongest, span, (left, right))
    figure.colorbar(given, ax=left)
    figure.colorbar(lost, ax=right, label="probability lost without it")
    left.set_title("As the network is given it", fontsize=10)
    right.set_title(f"What the answer hangs on: {told.method}", fontsize=10)
    for ax in (left, right):
        ax.grid(visible=False)
        ax.set(xlabel="time (s)")
        if told.seconds < span[1]:
            ax.axvline(told.seconds, color="white" if ax is left else "black", linewidth=1)
    _name_bands(told.effect.index, left)
    said = f"answer {told.label} ({told.probability:.2f})"
    figure.suptitle(f"{title}: {said}" if title else said, weight="bold", fontsize=10)
    return figure


def mean_map(cells: pd.DataFrame) -> Figure:
    """What right and what wrong answers hang on, on average; the colours are those of `heard`.

    Args:
        cells: What `attribution.mean_map` returns.
    """
    import matplotlib.pyplot as plt

    groups = {answer: part for answer, part in cells.groupby("answer", sort=False)}
    size = (1.4 + 4.1 * len(groups), 2.9)
    figure, axes = plt.subplots(1, len(groups), figsize=size, sharey=True, squeeze=False, layout="constrained")
    strongest = cells["effect"].abs().max() or 1
    for ax, (answer, part) in zip(axes[0], groups.items(), strict=True):
        effect = part.pivot(index="band", columns="part", values="effect")
        effect = effect.reindex(index=part["band"].unique(), columns=cells["part"].unique())
        how = {"cmap": "PuOr_r", "vmin": -strongest, "vmax": strongest, "origin": "lower", "aspect": "auto"}
        image = ax.imshow(effect, interpolation="nearest", **how)
        for edge in (0.5, effect.shape[1] - 1.5):
            ax.axvline(edge, color="black", linewidth=1)
        ax.set_xticks(range(effect.shape[1]), effect.columns)
        ax.set(xlabel="equal parts of the speech, before and after it")
        clips = part["clips"].max()
        ax.set_title(f"{answer} answers ({clips} clip{'s' * bool(clips != 1)})", fontsize=10)
        ax.grid(visible=False)
    axes[0][0].set_yticks(range(len(effect)), effect.index)
    axes[0][0].set_ylabel(cells["axis"].iloc[0])
    figure.colorbar(image, ax=axes[0], label="probability lost without it")
    return figure


def _half_lines(effect: np.ndarray, strongest: float, span: tuple[float, ...], axes: Sequence[Axes]) -> None:
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
