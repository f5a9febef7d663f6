"""Floor 4: pictures of clips and corpora, and the one house style. Functions draw on `ax` if given and return it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import features

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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

HOUSE = Path(__file__).with_name("house.mplstyle")
WIDTH = 5.4  # inches of a figure: shrunk to a phone's width its type can still be read
CAPTIONED = "sernb_figure"  # the key of an output's metadata that holds a figure's caption


def style() -> None:
    """Set the house style once in a notebook: quiet grid, readable type, sharp pictures, tables with whole texts."""
    import matplotlib.pyplot as plt
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    plt.style.use(HOUSE)
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


def axes_or_new(ax: Axes | None, width: float = WIDTH, height: float = 3.2) -> Axes:
    """What was given, or the axes of a new figure of that size in inches."""
    import matplotlib.pyplot as plt

    return ax if ax is not None else plt.subplots(figsize=(width, height), layout="constrained")[1]


# one clip


def waveform(signal: np.ndarray, sample_rate: int, emotion: str, *, ax: Axes | None = None) -> Axes:
    """Amplitude against seconds in the emotion's colour, titled with the emotion."""
    ax = axes_or_new(ax, height=2.2)
    ax.plot(np.arange(len(signal)) / sample_rate, signal, color=COLOURS[emotion], linewidth=0.5, rasterized=True)
    ax.set(title=emotion, xlabel="time (s)", ylabel="amplitude")
    return ax


def mel(signal: np.ndarray, sample_rate: int, title: str, *, ax: Axes | None = None, bar: bool = True) -> Axes:
    """Mel spectrogram in dB below its maximum: seconds on x, frequency on y, logarithmic, with a colour bar.

    Each band is drawn at its own centre frequency: `specshow(mel, y_axis="log")`, seen in many notebooks, takes mel
    bands for FFT bins and labels them with the wrong frequencies.
    """
    import librosa

    ax = axes_or_new(ax)
    db = librosa.power_to_db(features.mel(signal, sample_rate), ref=np.max)
    hertz = librosa.mel_frequencies(n_mels=db.shape[0] + 1, fmax=sample_rate / 2)
    seconds = np.arange(db.shape[1] + 1) * features.HOP_LENGTH / sample_rate
    picture = ax.pcolormesh(seconds, hertz, db, cmap="magma", vmin=-80, vmax=0, shading="flat", rasterized=True)
    ax.set(title=title, xlabel="time (s)", ylabel="frequency (Hz)", yscale="log", ylim=(64, sample_rate / 2))
    ax.set_yticks([125, 250, 500, 1000, 2000, 4000], ["125", "250", "500", "1k", "2k", "4k"])
    ax.minorticks_off()
    ax.grid(visible=False)
    if bar:
        ax.figure.colorbar(picture, ax=ax, format="%+.0f dB")
    return ax


def heat(picture: np.ndarray, *, title: str, ylabel: str, ax: Axes | None = None, unit: str = "") -> Axes:
    """A picture as a network sees it, shape (bands, frames)."""
    ax = axes_or_new(ax)
    image = ax.imshow(picture, origin="lower", aspect="auto", cmap="magma", interpolation="nearest")
    ax.set(title=title, xlabel="frame", ylabel=ylabel)
    ax.grid(visible=False)
    ax.figure.colorbar(image, ax=ax, label=unit)
    return ax


def clips(signals: Mapping[str, np.ndarray], sample_rate: int) -> Figure:
    """Waveform and mel spectrogram of one clip of each emotion side by side, an emotion a row, all on the same axes."""
    import matplotlib.pyplot as plt

    size = (WIDTH, 0.3 + 1.55 * len(signals))
    how = {"sharex": True, "sharey": "col", "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(len(signals), 2, figsize=size, **how)
    for row, (emotion, signal) in zip(axes, signals.items(), strict=True):
        waveform(signal, sample_rate, emotion, ax=row[0])
        mel(signal, sample_rate, emotion, ax=row[1], bar=False)
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    axes[0, 0].set_xlim(0, max(map(len, signals.values())) / sample_rate)
    _one_bar(axes[:, 1])
    return figure


def _one_bar(axes: np.ndarray) -> None:
    """The colour bar of several spectrograms, which all have the same colours."""
    first = axes.flat[0]
    first.figure.colorbar(first.collections[0], ax=list(axes.flat), format="%+.0f dB", aspect=30)


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
    ax = axes_or_new(ax, 5.6, 0.7 + 0.28 * len(found))
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
    """Mel spectrograms of several versions of a clip, titled with their names, two in a row."""
    import matplotlib.pyplot as plt

    lines = -(-len(signals) // 2)
    size = (WIDTH, 0.3 + 1.75 * lines)
    how = {"sharex": True, "sharey": True, "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(lines, 2, figsize=size, **how)
    for ax, (name, signal) in zip(axes.flat, signals.items(), strict=False):
        mel(signal, sample_rate, name, ax=ax, bar=False)
    for ax in axes.flat[len(signals) :]:
        ax.set_axis_off()
    for ax in axes.flat:
        ax.label_outer()
    _one_bar(axes)
    return figure


# a corpus


def counts(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Clips of each emotion, with the number at each bar."""
    ax = axes_or_new(ax)
    sizes = table["emotion"].value_counts().sort_index()
    bars = ax.bar(sizes.index, sizes, color=[COLOURS[e] for e in sizes.index], edgecolor="black", linewidth=0.5)
    ax.bar_label(bars, padding=2)
    ax.margins(y=0.12)
    ax.set(title="Clips by emotion", ylabel="clips")
    ax.tick_params(axis="x", rotation=30)
    ax.grid(visible=False)
    return ax


def by_emotion(table: pd.DataFrame, column: str, label: str, *, ax: Axes | None = None) -> Axes:
    """How a number of each clip is spread within each emotion: quartiles, whiskers from 5 to 95 %."""
    import seaborn as sns

    ax = axes_or_new(ax)
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

    ax = axes_or_new(ax, height=4)
    names = sorted(table["emotion"].unique())
    sns.scatterplot(
        table, x="zcr", y="rms", hue="emotion", style="emotion", hue_order=names, style_order=names, palette=COLOURS,
        s=16, linewidth=0, alpha=0.75, ax=ax,
    )  # fmt: skip
    ax.set(title="Two numbers a clip", xlabel="zero-crossing rate (crossings per sample)", ylabel="RMS energy")
    log_scale(ax)
    ax.legend(title="", bbox_to_anchor=(1.01, 1), loc="upper left", frameon=False)
    return ax
