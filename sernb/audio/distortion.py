"""Distort clips by a known amount: noise at a given SNR, gain, cuts, a telephone's bandwidth, codecs."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

from sernb.audio.loading import pad

# The unit of each distortion's level; empty for those without a level.
DISTORTIONS = {
    "white noise": "dB SNR",
    "pink noise": "dB SNR",
    "babble": "dB SNR",
    "gain": "dB",
    "start cut": "s",
    "end cut": "s",
    **dict.fromkeys(("telephone", "mp3", "vorbis", "opus", "gsm", "u-law"), ""),
}
P56_MARGIN_DB = 15.9  # ITU-T P.56: speech is active down to this far below its own level
HANGOVER_SECONDS = 0.2  # as in P.56: a shorter pause belongs to the speech
# Sample rates that a codec accepts (none: any), libsndfile's names for it, and its compression: measured on a spoken
# clip at 16 kHz, about 18 (MP3), 31 (Vorbis), 9.5 (Opus), 13 (GSM 6.10) and 64 (u-law) kbit/s.
CODECS = {
    "mp3": ((8000, 16000, 22050, 24000, 32000, 44100, 48000), "MP3", "MPEG_LAYER_III", {"bitrate_mode": "VARIABLE"}),
    "vorbis": ((), "OGG", "VORBIS", {}),
    "opus": ((8000, 12000, 16000, 24000, 48000), "OGG", "OPUS", {}),
    "gsm": ((8000,), "WAV", "GSM610", None),
    "u-law": ((8000,), "WAV", "ULAW", None),
}


def active_speech(signal: np.ndarray, sample_rate: int, *, hangover: float = HANGOVER_SECONDS) -> np.ndarray:
    """Return which samples of a clip are speech, by energy: ITU-T P.56 with frames of 20 ms instead of an envelope.

    A frame is active if it, or one up to `hangover` before it, is at most 15.9 dB below the mean power of the active
    frames. The set is found by dropping frames until it no longer changes; all of a silent clip is active.

    Args:
        signal: Shape (n,).
        sample_rate: In Hz.
        hangover: Seconds.

    Returns:
        Boolean, shape (n,).
    """
    size = max(1, int(0.02 * sample_rate))
    power = np.square(pad(signal, -(-len(signal) // size) * size).reshape(-1, size), dtype=np.float64).mean(axis=1)
    before = round(hangover / 0.02)
    recent = np.lib.stride_tricks.sliding_window_view(np.pad(power, (before, 0)), before + 1).max(axis=1)
    active, remaining = None, np.ones(len(power), dtype=bool)
    while active is None or (remaining != active).any():
        active = remaining
        remaining = recent >= power[active].mean() * 10 ** (-P56_MARGIN_DB / 10)
    return np.repeat(active, size)[: len(signal)]


def speech_level(signal: np.ndarray, sample_rate: int) -> float:
    """Return the mean power of a clip's active speech in dB of full scale (a square wave at full scale has 0)."""
    return float(10 * np.log10(np.square(signal[active_speech(signal, sample_rate)], dtype=np.float64).mean() + 1e-20))


def distort(
    signal: np.ndarray, sample_rate: int, kind: str, level: float = float("nan"), *, seed: int = 0
) -> np.ndarray:
    """Return a clip with a distortion of a known level.

    Args:
        signal: Samples, shape (n,), full scale at 1.
        sample_rate: In Hz.
        kind: One of `DISTORTIONS`. The noises are added over the whole clip at a level relative to its speech
            (`speech_level`), without clipping. `gain` clips at full scale. `start cut` and `end cut` remove the silence
            on that side and `level` seconds of the speech, but at most nine tenths of it. `telephone` and the codecs
            (`apply_codec`) have no level.
        level: In the unit that `DISTORTIONS` names.
        seed: Of the noise, which is the same at every level, only louder.

    Returns:
        Samples, float32; only the cuts change their number.

    Raises:
        ValueError: There is no such distortion.
    """
    if kind not in DISTORTIONS:
        raise ValueError(f"the distortion must be one of {', '.join(DISTORTIONS)} (got {kind!r})")
    if DISTORTIONS[kind] == "dB SNR":
        noise = _make_noise(kind, len(signal), sample_rate, np.random.default_rng(seed))
        rms = 10 ** ((speech_level(signal, sample_rate) - level) / 20)
        out = signal + noise * rms / np.sqrt(np.square(noise).mean())
    elif kind == "gain":
        out = np.clip(signal * 10 ** (level / 20), -1, 1)
    elif kind.endswith("cut"):
        out = _cut_speech(signal, sample_rate, kind, level)
    elif kind == "telephone":
        out = apply_telephone_band(signal, sample_rate)
    else:
        out = apply_codec(signal, sample_rate, kind)
    return out.astype(np.float32)


def _make_noise(kind: str, length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise of any level: white, pink (falling by 3 dB per octave), or a babble of eight talkers.

    A talker is noise with the long-term spectrum of speech (flat from 80 to 500 Hz, falling by 9 dB per octave above:
    roughly that of Byrne et al. 1994, doi 10.1121/1.410152), whose level changes some four times a second as in
    syllables.
    """
    if kind == "white noise":
        return rng.standard_normal(length)
    if kind == "pink noise":
        white = rng.standard_normal(length)
        return _shape_spectrum(white, sample_rate, lambda hertz: 1 / np.sqrt(np.maximum(hertz, 20)))
    time = np.arange(length) / sample_rate
    knots = np.arange(0, length / sample_rate + 0.25, 0.125)
    talkers = (rng.standard_normal(length) * np.interp(time, knots, rng.random(len(knots)) ** 2) for _ in range(8))
    return _shape_spectrum(sum(talkers), sample_rate, _speech_spectrum)


def _speech_spectrum(hertz: np.ndarray) -> np.ndarray:
    return (hertz > 80) / (1 + (hertz / 500) ** 1.5)


def _shape_spectrum(noise: np.ndarray, sample_rate: int, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    from scipy.fft import irfft
    from scipy.fft import next_fast_len
    from scipy.fft import rfft

    size = next_fast_len(len(noise), real=True)
    hertz = np.fft.rfftfreq(size, 1 / sample_rate)
    return irfft(rfft(noise, size) * gain(hertz), size)[: len(noise)]


def _cut_speech(signal: np.ndarray, sample_rate: int, kind: str, seconds: float) -> np.ndarray:
    active = np.flatnonzero(active_speech(signal, sample_rate, hangover=0))
    begin, end = int(active[0]), int(active[-1]) + 1
    size = min(int(seconds * sample_rate), int(0.9 * (end - begin)))
    return signal[begin + size :] if kind == "start cut" else signal[: end - size]


def apply_telephone_band(signal: np.ndarray, sample_rate: int) -> np.ndarray:
    """Limit a clip to a telephone's band, 300 to 3,400 Hz sampled at 8 kHz; restore its sample rate and length."""
    import librosa
    from scipy.signal import butter
    from scipy.signal import sosfilt

    narrow = librosa.resample(signal, orig_sr=sample_rate, target_sr=8000)
    narrow = sosfilt(butter(8, (300, 3400), "bandpass", fs=8000, output="sos"), narrow)
    return _to_original_rate(narrow, 8000, sample_rate, len(signal))


def apply_codec(signal: np.ndarray, sample_rate: int, codec: str) -> np.ndarray:
    """Encode and decode a clip with one of `CODECS` at low quality; restore its sample rate and length."""
    import librosa
    import soundfile

    rates, container, subtype, options = CODECS[codec]
    rate = next((rate for rate in rates if rate >= sample_rate), rates[-1]) if rates else sample_rate
    narrow = np.clip(librosa.resample(signal, orig_sr=sample_rate, target_sr=rate), -1, 1)
    compression = {} if options is None else {"compression_level": 0.99, **options}
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, 1, subtype, format=container, **compression) as file:
        for start in range(0, len(narrow), rate):  # libsndfile crashes on minutes of Vorbis at once
            file.write(narrow[start : start + rate])
    buffer.seek(0)
    return _to_original_rate(soundfile.read(buffer, dtype="float32")[0], rate, sample_rate, len(signal))


def _to_original_rate(signal: np.ndarray, rate: int, sample_rate: int, length: int) -> np.ndarray:
    """Return a signal at its former rate and length, without what a codec's last block added."""
    import librosa

    return librosa.util.fix_length(librosa.resample(signal, orig_sr=rate, target_sr=sample_rate), size=length)
