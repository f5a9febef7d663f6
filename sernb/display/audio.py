"""Figures of clips: waveforms, spectrograms, pitch, and probabilities over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import features
from sernb.display.style import FIGURE_WIDTH
from sernb.display.style import TRAIN_COLOUR
from sernb.display.style import allow_empty
from sernb.display.style import emotion_colour
from sernb.display.style import get_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# one clip


def waveform(signal: np.ndarray, sample_rate: int, emotion: str, *, ax: Axes | None = None) -> Axes:
    """Draw amplitude against time in the emotion's colour, with the emotion as the title."""
    ax = get_axes(ax, height=2.2)
    ax.plot(np.arange(len(signal)) / sample_rate, signal, color=emotion_colour(emotion), linewidth=0.5, rasterized=True)
    ax.set(title=emotion, xlabel="time (s)", ylabel="amplitude")
    return ax


@allow_empty
def mel_spectrogram(
    signal: np.ndarray, sample_rate: int, title: str, *, ax: Axes | None = None, bar: bool = True
) -> Axes:
    """Draw a mel spectrogram in dB relative to its maximum, against time and a logarithmic frequency axis.

    Each band is drawn at its own frequencies: `specshow(mel, y_axis="log")`, found in many notebooks, mistakes mel
    bands for FFT bins and labels them with wrong frequencies.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz.
        title: Above the axes.
        ax: Where to draw; a new figure by default.
        bar: Whether to add a colour bar.
    """
    import librosa

    ax = get_axes(ax)
    db = librosa.power_to_db(features.mel(signal, sample_rate), ref=np.max)
    hertz = librosa.mel_frequencies(n_mels=db.shape[0] + 1, fmax=sample_rate / 2)
    seconds = np.arange(db.shape[1] + 1) * features.HOP_LENGTH / sample_rate
    mesh = ax.pcolormesh(seconds, hertz, db, cmap="magma", vmin=-80, vmax=0, shading="flat", rasterized=True)
    ax.set(title=title, xlabel="time (s)", ylabel="frequency (Hz)", yscale="log", ylim=(64, sample_rate / 2))
    hertz = [hz for hz in (125, 250, 500, 1000, 2000, 4000, 8000) if hz <= sample_rate / 2]
    ax.set_yticks(hertz, [f"{hz / 1000:g}k" if hz > 999 else str(hz) for hz in hertz])
    ax.minorticks_off()
    ax.grid(visible=False)
    if bar:
        ax.figure.colorbar(mesh, ax=ax, format="%.0f dB")
    return ax


@allow_empty
def feature_map(feature: np.ndarray, *, title: str, ylabel: str, ax: Axes | None = None, unit: str = "") -> Axes:
    """Draw a feature as a network receives it, shape (bands, frames)."""
    ax = get_axes(ax)
    image = ax.imshow(feature, origin="lower", aspect="auto", cmap="magma", interpolation="nearest")
    ax.set(title=title, xlabel="frame", ylabel=ylabel)
    ax.grid(visible=False)
    ax.figure.colorbar(image, ax=ax, label=unit)
    return ax


@allow_empty
def waveforms_and_spectrograms(signals: Mapping[str, np.ndarray], sample_rate: int) -> Figure:
    """Draw a waveform and a mel spectrogram side by side for one clip per emotion, all with the same axes."""
    import matplotlib.pyplot as plt

    size = (FIGURE_WIDTH, 0.3 + 1.55 * len(signals))
    options = {"sharex": True, "sharey": "col", "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(len(signals), 2, figsize=size, **options)
    for row, (emotion, signal) in zip(axes, signals.items(), strict=True):
        waveform(signal, sample_rate, emotion, ax=row[0])
        mel_spectrogram(signal, sample_rate, emotion, ax=row[1], bar=False)
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    axes[0, 0].set_xlim(0, max(map(len, signals.values())) / sample_rate)
    _shared_colour_bar(axes[:, 1])
    return figure


def _shared_colour_bar(axes: np.ndarray) -> None:
    """Add one colour bar for several spectrograms, which all have the same scale."""
    first = axes.flat[0]
    first.figure.colorbar(first.collections[0], ax=list(axes.flat), format="%.0f dB", aspect=30)


TIME_AXIS_SPAN = (0.11, 0.985)  # where a figure's time axis begins and ends, as fractions of its width


def clip_overview(signal: np.ndarray, sample_rate: int, emotion: str = "unknown") -> Figure:
    """Draw waveform, mel spectrogram, MFCCs and pitch of one clip on a common time axis.

    The axis spans `TIME_AXIS_SPAN`, so that a player can mark the current position. The figure is independent of pyplot
    and drawn from images, which is fast: a panel draws one at each key press.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz.
        emotion: Sets the waveform's colour.
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
        ax.xaxis.set_visible(False)  # hidden ticks would take a third of the time
    for ax in axes:
        _small_labels(ax)
    return figure


def _small_labels(ax: Axes) -> None:
    ax.tick_params(labelsize=8, length=2, pad=2)
    ax.yaxis.label.set_size(8)
    ax.yaxis.set_label_coords(-0.085, 0.5)


def _draw_envelope(signal: np.ndarray, sample_rate: int, emotion: str, ax: Axes) -> None:
    """Draw a waveform as its extremes in about 600 columns; drawing every sample would take ten times as long."""
    step = max(1, len(signal) // 600)
    columns = signal[: len(signal) // step * step].reshape(-1, step)
    time = np.arange(len(columns)) * step / sample_rate
    ax.fill_between(time, columns.min(axis=1), columns.max(axis=1), color=emotion_colour(emotion), linewidth=0.3)
    ax.set(ylabel="amplitude")


def _draw_mel(power: np.ndarray, sample_rate: int, ax: Axes) -> None:
    import librosa

    _draw_image(librosa.power_to_db(power, ref=np.max), sample_rate, ax)
    hertz = [hz for hz in (500, 1000, 2000, 4000, 8000) if hz < 0.9 * sample_rate / 2]
    bands = librosa.mel_frequencies(n_mels=len(power), fmax=sample_rate / 2)
    ticks = np.interp(hertz, bands, np.arange(len(power)))
    ax.set_yticks(ticks, [f"{hz / 1000:g}k" if hz > 999 else str(hz) for hz in hertz])
    ax.set(ylabel="mel bands (Hz)")


def _draw_mfcc(power: np.ndarray, sample_rate: int, ax: Axes) -> None:
    import librosa

    # As `features.mfcc`, without the first coefficient (the level), which would dominate the colours.
    coefficients = librosa.feature.mfcc(S=librosa.power_to_db(power), n_mfcc=20)[1:]
    _draw_image(coefficients, sample_rate, ax)
    ax.set_yticks([0, 9, 18], ["1", "10", "19"])
    ax.set(ylabel="MFCC")


def _draw_image(feature: np.ndarray, sample_rate: int, ax: Axes) -> None:
    end = feature.shape[1] * features.HOP_LENGTH / sample_rate
    span = (0, end, -0.5, len(feature) - 0.5)
    ax.imshow(feature, origin="lower", aspect="auto", cmap="magma", interpolation="nearest", extent=span)
    ax.grid(visible=False)


def _draw_pitch(signal: np.ndarray, sample_rate: int, ax: Axes) -> None:
    f0 = features.pitch(signal, sample_rate)
    time = np.arange(len(f0)) * features.HOP_LENGTH / sample_rate
    # In octaves on a linear axis: matplotlib's logarithmic axis first creates dozens of ticks.
    ax.plot(time, np.log2(f0), ".-", color=TRAIN_COLOUR, markersize=3, linewidth=0.8)
    ax.set_yticks(np.log2([100, 200, 400]), ["100", "200", "400"])
    ax.set(ylabel="pitch (Hz)", ylim=np.log2([65, 600]))


@allow_empty
def probabilities_over_time(probabilities: pd.DataFrame, signal: np.ndarray, sample_rate: int) -> Figure:
    """Draw a clip's waveform and, below it, its probabilities over time; the time axis spans `TIME_AXIS_SPAN`.

    Args:
        probabilities: What `results.predict_windows` returns.
        signal: Samples, shape (n,).
        sample_rate: In Hz.
    """
    from matplotlib.figure import Figure as BareFigure

    figure = BareFigure(figsize=(6.2, 3.4))
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [1, 2.2]})
    figure.subplots_adjust(TIME_AXIS_SPAN[0], 0.26, TIME_AXIS_SPAN[1], 0.98, hspace=0.12)
    _draw_envelope(signal, sample_rate, "unknown", above)
    # The first window begins with the clip and the last one ends with it, so they extend to its ends.
    first = probabilities.iloc[[0]].set_axis([0.0])
    last = probabilities.iloc[[-1]].set_axis([len(signal) / sample_rate])
    points = pd.concat([first, probabilities, last])
    colours = [emotion_colour(name) for name in points]
    below.stackplot(
        points.index, points.to_numpy().T, labels=list(points), colors=colours, edgecolor="white", linewidth=0.4
    )
    below.set(xlabel="time (s), the middle of each window", ylabel="probability", ylim=(0, 1))
    below.set_xlim(0, len(signal) / sample_rate)
    below.legend(loc="upper center", bbox_to_anchor=(0.46, -0.24), ncols=4, frameon=False, fontsize=8)
    for ax in (above, below):
        _small_labels(ax)
    return figure


@allow_empty
def spectrograms_side_by_side(signals: Mapping[str, np.ndarray], sample_rate: int) -> Figure:
    """Draw mel spectrograms of several versions of a clip, two per row, titled with their names."""
    import matplotlib.pyplot as plt

    lines = -(-len(signals) // 2)
    size = (FIGURE_WIDTH, 0.3 + 1.75 * lines)
    options = {"sharex": True, "sharey": True, "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(lines, 2, figsize=size, **options)
    for ax, (name, signal) in zip(axes.flat, signals.items(), strict=False):
        mel_spectrogram(signal, sample_rate, name, ax=ax, bar=False)
    for ax in axes.flat[len(signals) :]:
        ax.set_axis_off()
    for ax in axes.flat:
        ax.label_outer()
    _shared_colour_bar(axes)
    return figure
