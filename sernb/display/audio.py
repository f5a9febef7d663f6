"""Pictures of clips and corpora, and the one house style. Functions draw on `ax` if given and return it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import features
from sernb.display.style import EMOTION_COLOURS
from sernb.display.style import FIGURE_WIDTH
from sernb.display.style import TRAIN_COLOUR
from sernb.display.style import get_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# one clip


def waveform(signal: np.ndarray, sample_rate: int, emotion: str, *, ax: Axes | None = None) -> Axes:
    """Amplitude against seconds in the emotion's colour, titled with the emotion."""
    ax = get_axes(ax, height=2.2)
    ax.plot(
        np.arange(len(signal)) / sample_rate, signal, color=EMOTION_COLOURS[emotion], linewidth=0.5, rasterized=True
    )
    ax.set(title=emotion, xlabel="time (s)", ylabel="amplitude")
    return ax


def mel_spectrogram(
    signal: np.ndarray, sample_rate: int, title: str, *, ax: Axes | None = None, bar: bool = True
) -> Axes:
    """Mel spectrogram in dB below its maximum: seconds on x, frequency on y, logarithmic, with a colour bar.

    Each band is drawn at its own centre frequency: `specshow(mel, y_axis="log")`, seen in many notebooks, takes mel
    bands for FFT bins and labels them with the wrong frequencies.
    """
    import librosa

    ax = get_axes(ax)
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


def feature_map(picture: np.ndarray, *, title: str, ylabel: str, ax: Axes | None = None, unit: str = "") -> Axes:
    """A picture as a network sees it, shape (bands, frames)."""
    ax = get_axes(ax)
    image = ax.imshow(picture, origin="lower", aspect="auto", cmap="magma", interpolation="nearest")
    ax.set(title=title, xlabel="frame", ylabel=ylabel)
    ax.grid(visible=False)
    ax.figure.colorbar(image, ax=ax, label=unit)
    return ax


def waveforms_and_spectrograms(signals: Mapping[str, np.ndarray], sample_rate: int) -> Figure:
    """Waveform and mel spectrogram of one clip of each emotion side by side, an emotion a row, all on the same axes."""
    import matplotlib.pyplot as plt

    size = (FIGURE_WIDTH, 0.3 + 1.55 * len(signals))
    how = {"sharex": True, "sharey": "col", "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(len(signals), 2, figsize=size, **how)
    for row, (emotion, signal) in zip(axes, signals.items(), strict=True):
        waveform(signal, sample_rate, emotion, ax=row[0])
        mel_spectrogram(signal, sample_rate, emotion, ax=row[1], bar=False)
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    axes[0, 0].set_xlim(0, max(map(len, signals.values())) / sample_rate)
    _shared_colour_bar(axes[:, 1])
    return figure


def _shared_colour_bar(axes: np.ndarray) -> None:
    """The colour bar of several spectrograms, which all have the same colours."""
    first = axes.flat[0]
    first.figure.colorbar(first.collections[0], ax=list(axes.flat), format="%+.0f dB", aspect=30)


TIME_AXIS_SPAN = (0.11, 0.985)  # where a picture's time axis begins and ends, as shares of its width


def clip_overview(signal: np.ndarray, sample_rate: int, emotion: str = "unknown") -> Figure:
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
    figure.subplots_adjust(TIME_AXIS_SPAN[0], 0.085, TIME_AXIS_SPAN[1], 0.99, hspace=0.12)
    power = features.mel(signal, sample_rate)
    _draw_envelope(signal, sample_rate, emotion, axes[0])
    _draw_mel(power, sample_rate, axes[1])
    _draw_mfcc(power, sample_rate, axes[2])
    _draw_pitch(signal, sample_rate, axes[3])
    axes[3].set(xlabel="time (s)", xlim=(0, len(signal) / sample_rate))
    for ax in axes[:3]:
        ax.xaxis.set_visible(False)  # ticks that nobody sees take a third of the time
    for ax in axes:
        _small_labels(ax)
    return figure


def _small_labels(ax: Axes) -> None:
    ax.tick_params(labelsize=8, length=2, pad=2)
    ax.yaxis.label.set_size(8)
    ax.yaxis.set_label_coords(-0.085, 0.5)


def _draw_envelope(signal: np.ndarray, sample_rate: int, emotion: str, ax: Axes) -> None:
    """The waveform as its extremes in each of 600 columns: tens of thousands of points would take ten times as long."""
    step = max(1, len(signal) // 600)
    columns = signal[: len(signal) // step * step].reshape(-1, step)
    time = np.arange(len(columns)) * step / sample_rate
    ax.fill_between(time, columns.min(axis=1), columns.max(axis=1), color=EMOTION_COLOURS[emotion], linewidth=0.3)
    ax.set(ylabel="amplitude")


def _draw_mel(power: np.ndarray, sample_rate: int, ax: Axes) -> None:
    import librosa

    _draw_image(librosa.power_to_db(power, ref=np.max), sample_rate, ax)
    hertz = [hz for hz in (500, 1000, 2000, 4000, 8000) if hz < 0.9 * sample_rate / 2]
    bands = librosa.mel_frequencies(n_mels=len(power), fmax=sample_rate / 2)
    places = np.interp(hertz, bands, np.arange(len(power)))
    ax.set_yticks(places, [f"{hz / 1000:g}k" if hz > 999 else str(hz) for hz in hertz])
    ax.set(ylabel="mel bands (Hz)")


def _draw_mfcc(power: np.ndarray, sample_rate: int, ax: Axes) -> None:
    import librosa

    # As `features.mfcc`; without the first, the level, which would drown the rest.
    coefficients = librosa.feature.mfcc(S=librosa.power_to_db(power), n_mfcc=20)[1:]
    _draw_image(coefficients, sample_rate, ax)
    ax.set_yticks([0, 9, 18], ["1", "10", "19"])
    ax.set(ylabel="MFCC")


def _draw_image(picture: np.ndarray, sample_rate: int, ax: Axes) -> None:
    end = picture.shape[1] * features.HOP_LENGTH / sample_rate
    span = (0, end, -0.5, len(picture) - 0.5)
    ax.imshow(picture, origin="lower", aspect="auto", cmap="magma", interpolation="nearest", extent=span)
    ax.grid(visible=False)


def _draw_pitch(signal: np.ndarray, sample_rate: int, ax: Axes) -> None:
    f0 = features.pitch(signal, sample_rate)
    time = np.arange(len(f0)) * features.HOP_LENGTH / sample_rate
    # In octaves on a plain axis: matplotlib's logarithmic one makes dozens of ticks first.
    ax.plot(time, np.log2(f0), ".-", color=TRAIN_COLOUR, markersize=3, linewidth=0.8)
    ax.set_yticks(np.log2([100, 200, 400]), ["100", "200", "400"])
    ax.set(ylabel="pitch (Hz)", ylim=np.log2([65, 600]))


def probabilities_over_time(found: pd.DataFrame, signal: np.ndarray, sample_rate: int) -> Figure:
    """A clip's waveform, and below it the probabilities from moment to moment; its time axis lies at `VOICE_SPAN`.

    Args:
        found: What `results.predict_windows` returns.
        signal: Shape (n,).
        sample_rate: In Hz.
    """
    from matplotlib.figure import Figure as BareFigure

    figure = BareFigure(figsize=(6.2, 3.4))
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [1, 2.2]})
    figure.subplots_adjust(TIME_AXIS_SPAN[0], 0.26, TIME_AXIS_SPAN[1], 0.98, hspace=0.12)
    _draw_envelope(signal, sample_rate, "unknown", above)
    # The first window begins with the clip and the last one ends with it: up to there they hold.
    ends = pd.concat([found.iloc[[0]].set_axis([0.0]), found, found.iloc[[-1]].set_axis([len(signal) / sample_rate])])
    colours = [EMOTION_COLOURS[name] for name in found]
    below.stackplot(ends.index, ends.to_numpy().T, labels=list(found), colors=colours, edgecolor="white", linewidth=0.4)
    below.set(xlabel="time (s), the middle of each window", ylabel="probability", ylim=(0, 1))
    below.set_xlim(0, len(signal) / sample_rate)
    below.legend(loc="upper center", bbox_to_anchor=(0.46, -0.24), ncols=4, frameon=False, fontsize=8)
    for ax in (above, below):
        _small_labels(ax)
    return figure


def spectrograms_side_by_side(signals: Mapping[str, np.ndarray], sample_rate: int) -> Figure:
    """Mel spectrograms of several versions of a clip, titled with their names, two in a row."""
    import matplotlib.pyplot as plt

    lines = -(-len(signals) // 2)
    size = (FIGURE_WIDTH, 0.3 + 1.75 * lines)
    how = {"sharex": True, "sharey": True, "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(lines, 2, figsize=size, **how)
    for ax, (name, signal) in zip(axes.flat, signals.items(), strict=False):
        mel_spectrogram(signal, sample_rate, name, ax=ax, bar=False)
    for ax in axes.flat[len(signals) :]:
        ax.set_axis_off()
    for ax in axes.flat:
        ax.label_outer()
    _shared_colour_bar(axes)
    return figure
