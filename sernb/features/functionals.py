"""Compute 824 functionals of a clip: statistics of its pitch, level, spectrum and cepstrum.

They resemble openSMILE's sets (ComParE: Schuller et al. 2013; eGeMAPS: Eyben et al. 2016, doi
10.1109/TAFFC.2015.2457417), but need librosa alone, so that no licence restricts their use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from functools import cached_property
from typing import Any

import numpy as np

from sernb import audio
from sernb.features.spectral import mel_filters
from sernb.features.spectral import power_spectrogram
from sernb.features.spectral import squared_magnitude

SPEEDS = (0.9, 1.0, 1.1)
WINDOW, HOP = 0.064, 0.016  # seconds: long enough to resolve the harmonics of a low voice
PITCH_HOP = 0.01
MIN_PITCH, MAX_PITCH = 60.0, 700.0  # Hz, of the voice
FULL_BAND = 8000.0  # Hz: the bandwidth of a recording at 16 kHz
BANDS, COEFFICIENTS, WIDE_BANDS = 80, 25, 20
SILENCE = 35.0  # dB below the loudest frame: quieter frames at the ends are trimmed
FLOOR = 70.0  # dB below the loudest band: anything fainter is background noise
VOICED = 30.0  # dB below the loudest frame
PERIODIC = 0.45  # correlation with itself one period later
TROUGH = 0.1  # YIN: the first trough below this is the period
STATISTICS = (
    *("mean", "standard deviation", "5th percentile", "median", "95th percentile", "interquartile range", "slope"),
)
SPECTRUM_TRACKS = (
    *("centroid", "bandwidth", "rolloff", "flatness", "alpha ratio", "Hammarberg index"),
    *("0-500 Hz above 500-1500 Hz", "5-8 kHz above 1-5 kHz", "level"),
)


@dataclass(frozen=True)
class Spectrogram:
    """Hold the spectra of a clip.

    `power` has the shape (frames, bins), and `hertz` the frequency of each bin; `bands`, shape (bands, frames), are mel
    bands in dB.
    """

    power: np.ndarray
    hertz: np.ndarray
    bands: np.ndarray

    @cached_property
    def total(self) -> np.ndarray:
        """The power of each frame."""
        return self.power.sum(axis=1)

    @cached_property
    def level(self) -> np.ndarray:
        """The power of each frame in dB."""
        return _decibels(self.total)


def compute_functionals(signal: np.ndarray, sample_rate: int, *, speeds: int = 3) -> np.ndarray:
    """Return the functionals of `feature_names`, averaged over the clip played at three speeds.

    A clip played a tenth slower or faster sounds like another speaker; averaging removes differences between the three.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz, at least 8,000; the bands, their flux and the cepstrum are limited to 8 kHz.
        speeds: 3, or 1 for the clip as it is.

    Returns:
        float32, shape (824,); zeros for what silence does not define.
    """
    vectors = [
        np.hstack(list(_measure(audio.perturb_speed(signal, speed), sample_rate).values()))
        for speed in (SPEEDS if speeds > 1 else (1.0,))
    ]
    return np.nan_to_num(np.mean(vectors, axis=0), posinf=0, neginf=0).astype(np.float32)


def egemaps(signal: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the 88 functionals of eGeMAPSv02 by openSMILE, an optional package; shape (88,), float32.

    openSMILE gives NaN for a clip of less than 0.06 s; here they are zeros.
    """
    return np.nan_to_num(_opensmile().process_signal(signal, sample_rate).to_numpy(dtype=np.float32)[0])


@cache
def _opensmile() -> Any:
    import opensmile

    return opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)


@cache
def feature_names() -> tuple[str, ...]:
    """Return the name of each feature, as `group: measure`, in the order of `compute_functionals`."""
    noise = np.random.default_rng(0).normal(size=16000)
    names: list[str] = []
    for name, values in _measure(noise, 16000).items():
        names += [f"{name} {i}" for i in range(len(values))] if np.ndim(values) else [name]
    return tuple(names)


def feature_groups() -> np.ndarray:
    """Return the group of each feature (pitch, level, rhythm ...); shape (features,)."""
    return np.array([name.split(":")[0] for name in feature_names()])


def _measure(signal: np.ndarray, sample_rate: int) -> dict[str, float | np.ndarray]:
    """Return one value for each name, or an array of values that `feature_names` numbers."""
    import librosa

    frame, hop = int(WINDOW * sample_rate), int(HOP * sample_rate)
    voice, _ = librosa.effects.trim(signal, top_db=SILENCE, frame_length=frame, hop_length=hop)
    voice = np.pad(voice, (0, max(0, 8 * hop - len(voice))))  # at least eight frames, for the statistics
    spectra = _spectra(voice, sample_rate, frame, hop)
    return {
        **_pitch_statistics(voice, sample_rate),
        **_level_statistics(spectra),
        **_spectrum_statistics(spectra),
        **_band_statistics(spectra),
        **_cepstrum_statistics(spectra),
    }


def _spectra(signal: np.ndarray, sample_rate: int, frame: int, hop: int) -> Spectrogram:
    power = power_spectrogram(signal, frame, hop)
    filters = mel_filters(sample_rate, frame, BANDS, fmin=50, fmax=min(FULL_BAND, sample_rate / 2))
    bands = _decibels(filters @ power.T)
    return Spectrogram(power, np.fft.rfftfreq(frame, 1 / sample_rate), np.maximum(bands, bands.max() - FLOOR))


def _decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power + 1e-9)


def _statistics(group: str, tracks: np.ndarray) -> dict[str, np.ndarray]:
    """Return seven statistics of each track, shape (tracks, frames), over its frames."""
    low, quarter, middle, three, high = _percentiles(tracks, [5, 25, 50, 75, 95])
    time = np.linspace(-1, 1, tracks.shape[1], dtype=tracks.dtype)
    slope = tracks @ time / np.square(time).sum()
    values = (tracks.mean(axis=1), tracks.std(axis=1), low, middle, high, three - quarter, slope)
    return {f"{group}: {name}": value for name, value in zip(STATISTICS, values, strict=True)}


def _percentiles(values: np.ndarray, percent: list[float]) -> np.ndarray:
    """Return percentiles over the last axis as `np.percentile` does, but several times as fast for short arrays."""
    ordered = np.sort(values, axis=-1)
    position = np.array(percent) / 100 * (values.shape[-1] - 1)
    below = position.astype(int)
    above = np.minimum(below + 1, values.shape[-1] - 1)
    low = ordered[..., below]
    return (low + (ordered[..., above] - low) * (position - below)).T


# pitch


@dataclass(frozen=True)
class VoiceTrack:
    """Hold each frame's pitch in semitones above 100 Hz, level in dB and periodicity, and whether it is voiced.

    A quiet frame has neither pitch (NaN) nor periodicity (0).
    """

    pitch: np.ndarray
    level: np.ndarray
    periodicity: np.ndarray
    voiced: np.ndarray


def _track_voice(signal: np.ndarray, sample_rate: int) -> VoiceTrack:
    """Track pitch by YIN; a frame is voiced where it is loud and resembles itself one period later."""
    import librosa

    frame, hop = int(WINDOW * sample_rate), int(PITCH_HOP * sample_rate)
    signal = np.pad(np.asarray(signal, dtype=np.float32), frame // 2)
    frames = librosa.util.frame(signal, frame_length=frame, hop_length=hop, axis=0)
    level = _decibels(np.einsum("ij,ij->i", frames, frames) / frame)
    loud = level > level.max() - VOICED
    hertz, periodicity = np.full(len(frames), np.nan), np.zeros(len(frames))
    loud_frames = frames[loud]
    period = _yin_period(loud_frames, int(sample_rate / MAX_PITCH), int(np.ceil(sample_rate / MIN_PITCH)))
    hertz[loud] = sample_rate / period
    periodicity[loud] = _periodicity(loud_frames, np.round(period).astype(int))
    voiced = periodicity > PERIODIC
    voiced &= (hertz > MIN_PITCH + 1) & (hertz < MAX_PITCH - 10)  # at the limits YIN has no result
    return VoiceTrack(12 * np.log2(hertz / 100), level, periodicity, voiced)


def _yin_period(frames: np.ndarray, shortest: int, longest: int) -> np.ndarray:
    """Return each frame's period in samples by YIN (de Cheveigné and Kawahara 2002).

    The values are those of `librosa.yin`, in less of the time: here each frame is a contiguous row.
    """
    correlation = _autocorrelation(frames, longest)
    lags = np.arange(1, longest + 1, dtype=frames.dtype)
    difference = 2 * (correlation[:, :1] - correlation[:, 1:]) - np.cumsum(np.square(frames[:, :longest]), axis=1)
    mean = np.cumsum(difference, axis=1) / lags
    normalized = difference[:, shortest - 1 :] / (mean[:, shortest - 1 :] + np.finfo(frames.dtype).tiny)

    falling = normalized[:, :-1] > normalized[:, 1:]
    trough = np.empty(normalized.shape, dtype=bool)
    trough[:, 0], trough[:, -1] = normalized[:, 0] < normalized[:, 1], falling[:, -1]
    trough[:, 1:-1] = falling[:, :-1] & ~falling[:, 1:]
    trough &= normalized < TROUGH
    best = np.where(trough.any(axis=1), trough.argmax(axis=1), normalized.argmin(axis=1))

    row, last = np.arange(len(frames)), normalized.shape[1] - 1
    at = normalized[row, best]
    before, after = normalized[row, np.maximum(best - 1, 0)], normalized[row, np.minimum(best + 1, last)]
    curvature = before + after - 2 * at  # of the parabola through the trough and its neighbours
    slope = (after - before) / 2
    inside = (np.abs(slope) < np.abs(curvature)) & (best > 0) & (best < last)
    return shortest + best - np.where(inside, slope / np.where(inside, curvature, 1), 0)


def _autocorrelation(frames: np.ndarray, longest: int) -> np.ndarray:
    """Return the autocorrelation of each row for lags from 0 to `longest`."""
    from scipy import fft

    size = 2 * fft.next_fast_len((frames.shape[1] + longest + 1) // 2, real=True)
    power = squared_magnitude(fft.rfft(frames, size))
    # Equals `irfft(power)`, in half the time: the spectrum is real and even.
    return fft.dct(power, type=1, overwrite_x=True)[:, : longest + 1] / size


def _periodicity(frames: np.ndarray, period: np.ndarray) -> np.ndarray:
    """Return each frame's autocorrelation at its period, corrected for the window (Boersma)."""
    length = frames.shape[1]
    window, expected = _window_and_autocorrelation(length)
    windowed = frames * window
    later = np.array([row[: length - lag] @ row[lag:] for row, lag in zip(windowed, period, strict=True)])
    own = later / (np.einsum("ij,ij->i", windowed, windowed) + 1e-12)
    return np.clip(own / expected[period], -1, 0.999)


@cache
def _window_and_autocorrelation(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a Hann window and its autocorrelation at each lag, 1 at lag 0."""
    window = np.hanning(length).astype(np.float32)
    correlation = _autocorrelation(window[np.newaxis], length - 1)[0]
    return window, correlation / correlation[0]


def _pitch_statistics(signal: np.ndarray, sample_rate: int) -> dict[str, float | np.ndarray]:
    from scipy.ndimage import median_filter

    voice = _track_voice(signal, sample_rate)
    if voice.voiced.sum() < 6:  # a whisper has no pitch
        return _no_pitch(sample_rate)
    at = np.flatnonzero(voice.voiced)
    contour = np.interp(np.arange(len(voice.pitch)), at, median_filter(voice.pitch[at], 5))
    spoken = slice(at[0], at[-1] + 1)
    return {
        **_contour_statistics(contour[spoken], voice.level[spoken] - voice.level.max()),
        **_range_statistics(contour[at], voice.level[at]),
        **_movement_statistics(contour, at),
        **_voicing_statistics(voice, spoken),
    }


@cache
def _no_pitch(sample_rate: int) -> dict[str, float | np.ndarray]:
    hum = np.sin(2 * np.pi * 100 * np.arange(sample_rate) / sample_rate)
    return {name: np.zeros_like(values) for name, values in _pitch_statistics(hum, sample_rate).items()}


def _contour_statistics(pitch: np.ndarray, level: np.ndarray) -> dict[str, float | np.ndarray]:
    """Return ten DCT coefficients of the contours of pitch and level each, and the pitch in parts of its contour.

    The pitch of a part is relative to the mean pitch, in semitones.
    """
    from scipy.fft import dct

    contour = lambda track: dct(np.interp(np.linspace(0, 1, 64), np.linspace(0, 1, len(track)), track), norm="ortho")  # noqa: E731
    first, second, last = [part.mean() - pitch.mean() for part in np.array_split(pitch, 3)]
    return {
        "pitch: DCT coefficient": contour(pitch)[:10],
        "level: DCT coefficient": contour(level)[:10],
        "pitch: mean of first third": first,
        "pitch: mean of second third": second,
        "pitch: mean of last third": last,
        "pitch: mean of first 0.1 s": pitch[:10].mean() - pitch.mean(),
        "pitch: mean of last 0.1 s": pitch[-10:].mean() - pitch.mean(),
        "pitch: mean of last 0.1 s below maximum": pitch[-10:].mean() - pitch.max(),
        "pitch: position of maximum": pitch.argmax() / len(pitch),
        "pitch: position of minimum": pitch.argmin() / len(pitch),
    }


def _range_statistics(pitch: np.ndarray, level: np.ndarray) -> dict[str, float]:
    low, tenth, quarter, median, three_quarters, ninetieth, high = _percentiles(pitch, [2, 10, 25, 50, 75, 90, 98])
    standard = (pitch - pitch.mean()) / (pitch.std() or np.nan)
    by_level = np.argsort(level)
    loudest = pitch[by_level[-max(3, len(pitch) // 4) :]].mean()
    median_level = np.median(level)
    return {
        "pitch: 2nd percentile": low,
        "pitch: 10th percentile": tenth,
        "pitch: 25th percentile": quarter,
        "pitch: median": median,
        "pitch: 75th percentile": three_quarters,
        "pitch: 90th percentile": ninetieth,
        "pitch: 98th percentile": high,
        "pitch: mean": pitch.mean(),
        "pitch: standard deviation": pitch.std(),
        "pitch: range from 2nd to 98th percentile": high - low,
        "pitch: range from 10th to 90th percentile": ninetieth - tenth,
        "pitch: range from median to 98th percentile": high - median,
        "pitch: skewness": np.mean(standard**3),
        "pitch: kurtosis": np.mean(standard**4) - 3,
        "pitch: mean of the loudest quarter": loudest,
        "pitch: loudest quarter above mean": loudest - pitch.mean(),
        "pitch: correlation with level": np.corrcoef(pitch, level)[0, 1],
        "level: maximum": level.max(),
        "level: median": median_level,
        "level: standard deviation": level.std(),
        "level: loudest frames above median": level[by_level[-5:]].mean() - median_level,
    }


def _movement_statistics(contour: np.ndarray, voiced: np.ndarray) -> dict[str, float]:
    """Return the slope of the pitch contour, in semitones per frame, and its jumps between frames."""
    slope = np.gradient(contour)[voiced]
    up, down, jumps = slope[slope > 0], -slope[slope < 0], np.abs(np.diff(contour[voiced]))
    middle, high = _percentiles(np.abs(slope), [50, 90])
    return {
        "pitch: rising slope": up.mean() if len(up) else 0,
        "pitch: falling slope": down.mean() if len(down) else 0,
        "pitch: median of absolute slope": middle,
        "pitch: 90th percentile of absolute slope": high,
        "pitch: mean of jumps": jumps.mean(),
        "pitch: 90th percentile of jumps": _percentiles(jumps, [90])[0],
    }


def _voicing_statistics(voice: VoiceTrack, spoken: slice) -> dict[str, float]:
    """Return the voiced share of the clip, the length of its voiced segments, and their periodicity (low if breathy).

    Speech is what lies between the first and the last voiced frame.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voice.voiced, [0]])))
    segments, periodic = edges[1::2] - edges[::2], voice.periodicity[voice.voiced]
    harmonics_to_noise = 10 * np.log10(np.maximum(periodic, 0.01) / (1 - np.maximum(periodic, 0.01)))
    low, high = _percentiles(periodic, [10, 90])
    return {
        "rhythm: duration": len(voice.pitch) * PITCH_HOP,
        "rhythm: duration of speech": (spoken.stop - spoken.start) * PITCH_HOP,
        "rhythm: voiced share": voice.voiced.mean(),
        "rhythm: voiced share of speech": voice.voiced[spoken].mean(),
        "rhythm: voiced segments per frame": len(segments) / len(voice.pitch),
        "rhythm: mean length of voiced segments": segments.mean(),
        "rhythm: maximum length of voiced segments": segments.max(),
        "voice: mean periodicity": periodic.mean(),
        "voice: standard deviation of periodicity": periodic.std(),
        "voice: 10th percentile of periodicity": low,
        "voice: 90th percentile of periodicity": high,
        "voice: mean harmonics-to-noise ratio": harmonics_to_noise.mean(),
        "voice: standard deviation of harmonics-to-noise ratio": harmonics_to_noise.std(),
    }


# spectrum


def _level_statistics(spectra: Spectrogram) -> dict[str, float]:
    """Return how the level rises and falls from frame to frame."""
    change = np.diff(spectra.level)
    up, down = change[change > 0], -change[change < 0]
    low, high = _percentiles(change, [5, 95])
    return {
        "level: mean rise": up.mean() if len(up) else 0,
        "level: mean fall": down.mean() if len(down) else 0,
        "level: standard deviation of change": change.std(),
        "level: 5th percentile of change": low,
        "level: 95th percentile of change": high,
    }


def _spectrum_statistics(spectra: Spectrogram) -> dict[str, float]:
    """Return how power is distributed in the spectrum: a pressed voice has more of it above 1 kHz than a soft one."""
    power, hertz, total = spectra.power, spectra.hertz, spectra.total + 1e-12
    # In double precision, because the variance is a small difference of large numbers. The weights of a frame's bins
    # add up to 1, except in silence.
    weight, centre, square = np.stack([np.ones_like(hertz), hertz, np.square(hertz)]) @ power.T.astype(float) / total
    width = np.sqrt(np.maximum(square - np.square(centre) * (2 - weight), 0))
    below = np.minimum((np.cumsum(power, axis=1) < 0.85 * total[:, np.newaxis]).sum(axis=1), len(hertz) - 1)
    flatness = np.log(power + 1e-12).mean(axis=1) - np.log(power.mean(axis=1) + 1e-12)
    level = spectra.level - spectra.level.max()
    tracks = np.stack([centre / 1000, width / 1000, hertz[below] / 1000, flatness, *_spectral_balances(spectra), level])
    change = np.abs(np.diff(tracks, axis=1))
    arrays = {
        **_statistics("spectrum", tracks),
        "spectrum: mean change": change.mean(axis=1),
        "spectrum: standard deviation of change": change.std(axis=1),
    }
    return {
        f"{statistic} of {track}": value
        for statistic, values in arrays.items()
        for track, value in zip(SPECTRUM_TRACKS, values, strict=True)
    }


def _spectral_balances(spectra: Spectrogram) -> Iterable[np.ndarray]:
    """Yield level differences between parts of the spectrum in dB: alpha ratio, Hammarberg index, and two more."""

    def level(low: float, high: float, combine=np.sum) -> np.ndarray:
        """Return the level in dB of a band of frequencies in each frame."""
        band = slice(*np.searchsorted(spectra.hertz, [low, high]))
        return _decibels(combine(spectra.power[:, band], axis=1))

    high_level = level(1000, 5000)
    yield level(50, 1000) - high_level
    yield level(0, 2000, np.max) - level(2000, 5000, np.max)
    yield level(0, 500) - level(500, 1500)
    yield level(5000, 8000) - high_level


def _band_statistics(spectra: Spectrogram) -> dict[str, np.ndarray]:
    """Return statistics of twenty wide mel bands in dB, and of how much they change from frame to frame."""
    wide = spectra.bands.reshape(WIDE_BANDS, -1, spectra.bands.shape[1]).mean(axis=1)
    return {**_statistics("bands", wide), **_statistics("flux", np.abs(np.diff(wide, axis=1)))}


def _cepstrum_statistics(spectra: Spectrogram) -> dict[str, np.ndarray]:
    """Return statistics of cepstral coefficients and their slopes, and how they differ in soft and loud frames."""
    from scipy.fft import dct
    from scipy.ndimage import correlate1d

    cepstrum = dct(spectra.bands, axis=0, norm="ortho")[:COEFFICIENTS]
    slopes = correlate1d(cepstrum, np.arange(-2, 3) / 10, mode="nearest")  # equals librosa.feature.delta with width 5
    order, third = np.argsort(spectra.bands.mean(axis=0)), max(1, spectra.bands.shape[1] // 3)
    usual = cepstrum.mean(axis=1)
    soft, loud = (
        cepstrum[:WIDE_BANDS, part].mean(axis=1) - usual[:WIDE_BANDS] for part in (order[:third], order[-third:])
    )
    return {
        **_statistics("cepstrum", cepstrum),
        **_statistics("cepstral slope", slopes),
        "cepstrum: soft frames": soft,
        "cepstrum: loud frames": loud,
    }
