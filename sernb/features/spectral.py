"""Features computed from the spectrum or the waveform of one clip."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from sernb import audio

HOP_LENGTH = 512
N_FFT = 2048
SILENT_POWER = 1e-10  # an amplitude that librosa takes for zero when it looks for crossings


def zcr_rms(signal: np.ndarray, sample_rate: int, *, length: int = 0) -> np.ndarray:
    """Return the mean zero-crossing rate and mean RMS energy over librosa's frames of 2048 samples, 512 apart.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz; neither number depends on it.
        length: Zero-pad the clip to this number of samples first, as study A does: both means then depend on the clip's
            duration. 0 leaves the clip as it is.

    Returns:
        Crossings per sample and RMS energy, shape (2,).
    """
    frames = 1 + max(len(signal), length) // HOP_LENGTH
    # Frames within the padding are zero in both, and need only be counted.
    padded = audio.pad(signal, min(length, len(signal) + N_FFT))
    return np.array([_zero_crossing_rate(padded).sum() / frames, _rms(padded).sum() / frames], dtype=np.float32)


def _zero_crossing_rate(signal: np.ndarray) -> np.ndarray:
    """Return librosa's rate of each frame, searching each crossing once instead of once for each of its four frames."""
    below = signal < -SILENT_POWER
    crossings = 1 + np.flatnonzero(below[1:] != below[:-1])
    starts = np.arange(0, len(signal) + 1, HOP_LENGTH) - N_FFT // 2
    # The first sample of a frame has no predecessor that it could differ from.
    return (np.searchsorted(crossings, starts + N_FFT) - np.searchsorted(crossings, starts + 1)) / N_FFT


def _rms(signal: np.ndarray) -> np.ndarray:
    """Return librosa's RMS of each frame, squaring each sample once: a frame is four hops, which others share."""
    whole, rest = np.split(signal, [len(signal) // HOP_LENGTH * HOP_LENGTH])
    hops = whole.reshape(-1, HOP_LENGTH)
    energy = np.concatenate([[0, 0], np.einsum("ij,ij->i", hops, hops), [rest @ rest, 0]])
    return np.sqrt(np.lib.stride_tricks.sliding_window_view(energy, N_FFT // HOP_LENGTH).sum(axis=1) / N_FFT)


def mel(signal: np.ndarray, sample_rate: int, *, n_mels: int = 128) -> np.ndarray:
    """Return librosa's mel spectrogram as power (Slaney's mel scale, n_fft 2048, hop 512); shape (n_mels, frames).

    Single precision and sparse filters make it three times as fast as `librosa.feature.melspectrogram`, from which it
    differs by less than a millionth of the clip's maximum.
    """
    return mel_filters(sample_rate, N_FFT, n_mels) @ power_spectrogram(signal, N_FFT, HOP_LENGTH).T


def power_spectrogram(signal: np.ndarray, n_fft: int, hop_length: int) -> np.ndarray:
    """Return the power of librosa's STFT (a Hann window, frames centred), in single precision; shape (frames, bins)."""
    from scipy.fft import rfft

    centred = np.pad(signal.astype(np.float32, copy=False), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(centred, n_fft)[::hop_length]
    return squared_magnitude(rfft(frames * _window(n_fft), axis=1))


def squared_magnitude(spectrum: np.ndarray) -> np.ndarray:
    """Return |z|² of complex numbers."""
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    return power


@functools.cache
def mel_filters(sample_rate: int, n_fft: int, n_mels: int, *, fmin: float = 0.0, fmax: float | None = None) -> Any:
    """Return librosa's mel filters as a sparse matrix; shape (n_mels, bins)."""
    import librosa
    from scipy.sparse import csr_array

    return csr_array(librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax))


@functools.cache
def _window(n_fft: int) -> np.ndarray:
    import librosa

    return librosa.filters.get_window("hann", n_fft).astype(np.float32)


def mfcc(signal: np.ndarray, sample_rate: int, *, n_mfcc: int = 100) -> np.ndarray:
    """Return librosa's mel-frequency cepstral coefficients (128 bands, n_fft 2048, hop 512); shape (n_mfcc, frames)."""
    import librosa

    return librosa.feature.mfcc(S=librosa.power_to_db(mel(signal, sample_rate)), n_mfcc=n_mfcc)


def audio_fingerprint(signal: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return a vector that stays nearly the same at another sample rate, level or codec, or with silence at the ends.

    It is the Fourier transform over time, at 12 modulation frequencies up to 9 Hz, of a mel spectrogram of 12 bands
    (150 to 3,400 Hz, a frame every 10 ms) clipped to its upper 30 dB. Time is counted from the spectrogram's centre of
    gravity, so that nothing depends on where the sound begins.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz, at least 8,000.

    Returns:
        A vector of length 1, or of zeros for silence; shape (288,), float32.
    """
    import librosa

    window, hop = sample_rate * 32 // 1000, sample_rate // 100
    power = librosa.feature.melspectrogram(
        y=audio.pad(signal, window), sr=sample_rate, n_fft=window, hop_length=hop, n_mels=12, fmin=150, fmax=3400
    )
    if not power.max() > 1e-10:
        return np.zeros(288, dtype=np.float32)
    loud = np.maximum(0, 30 + librosa.power_to_db(power, ref=np.max, amin=1e-20))
    seconds = np.arange(power.shape[1]) * hop / sample_rate
    seconds -= loud.sum(axis=0) @ seconds / loud.sum()
    waves = loud @ np.exp(-2j * np.pi * np.outer(seconds, 0.75 * np.arange(1, 13)))
    vector = np.concatenate([waves.real.ravel(), waves.imag.ravel()])
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def pitch(signal: np.ndarray, sample_rate: int, *, low: float = 65.0, high: float = 600.0) -> np.ndarray:
    """Return each frame's fundamental frequency by YIN, from `low` to `high` Hz, NaN if unvoiced; shape (frames,).

    A frame is voiced if it is less than 35 dB below the loudest one and its normalised correlation with itself one
    period later is above 0.5. A frame that differs by more than half an octave from the median of the nine voiced
    frames around it is left out: there YIN has found another multiple of the period. This is cruder than librosa's pYIN
    and thirty times as fast.
    """
    import librosa
    from scipy.ndimage import median_filter

    size = 2 * int(np.ceil(sample_rate / low))
    f0 = librosa.yin(signal, fmin=low, fmax=high, sr=sample_rate, frame_length=size, hop_length=HOP_LENGTH)
    frames = librosa.util.frame(np.pad(signal, size // 2), frame_length=size, hop_length=HOP_LENGTH).T[: len(f0)]
    level = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-10)
    lags = np.round(sample_rate / f0[: len(frames)]).astype(int)
    periodicity = [_correlate(frame[lag:], frame[:-lag]) for frame, lag in zip(frames, lags, strict=True)]
    voiced = (level > level.max() - 35) & (np.array(periodicity) > 0.5)
    octaves = np.log2(f0[: len(frames)])
    if voiced.any():
        voiced[voiced] = np.abs(octaves[voiced] - median_filter(octaves[voiced], 9, mode="mirror")) <= 0.5
    return np.where(voiced, f0[: len(frames)], np.nan)


def _correlate(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt(max((a @ a) * (b @ b), 1e-20)))
