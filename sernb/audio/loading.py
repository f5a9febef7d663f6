"""Floor 1: decode, resample, pad and augment one clip."""

from __future__ import annotations

import hashlib
import io
import math
import random
import threading
import warnings
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import platformdirs

from sernb import decoding
from sernb import files
from sernb.decoding import AudioError

AUGMENTATIONS = ("noise", "pitch", "speed", "vtlp")
VOICE = "voice"
VOICES = (0.8, 1.25)  # how slowly and how fast a clip may be played to be another voice
_GENERATORS = threading.RLock()  # NumPy's and Python's, which all threads share


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Processes of one user wait for each other; not where the user's cache folder cannot be written."""
    from filelock import FileLock

    try:
        lock = FileLock(platformdirs.user_cache_path("sernb", ensure_exists=True) / "numba.lock")
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def warm() -> None:
    """Have numba compile librosa's loops before several processes need them: seconds, the first time, and then none.

    Numba keeps what it compiled beside librosa and has no lock of its own. Two processes that compile at once on a
    fresh machine can leave files that crash every process that reads them.
    """
    with _one_at_a_time():
        import librosa.core.pitch
        import librosa.effects
        import librosa.feature.spectral  # noqa: F401

        # Compiled when it is first called, by a change of pitch or speed.
        librosa.istft(librosa.stft(np.zeros(4096, dtype=np.float32)))


def load(path: str | Path | IO[bytes], sample_rate: int, *, training: bool = False) -> np.ndarray:
    """Decode a clip of any rate, container and number of channels to mono (channels averaged) at one rate.

    The same as `librosa.load(path, sr=sample_rate)`, with errors that name the file.

    Args:
        path: Any file that libsndfile reads.
        sample_rate: In Hz.
        training: Refuse what can be heard but not trained on too: silence, a clip that is cut off or lasts minutes.

    Returns:
        Samples, shape (n,), float32, full scale at 1.

    Raises:
        AudioError: The file cannot be decoded, or holds no or non-finite samples.
    """
    import librosa

    recording = decoding.read(path, longest=decoding.LONGEST if training else math.inf)
    if reason := recording.broken or (recording.unfit if training else ""):
        raise AudioError(path, reason)
    signal = recording.signal[:, 0] if recording.channels == 1 else librosa.to_mono(recording.signal.T)
    return signal if recording.sample_rate == sample_rate else resample(signal, recording.sample_rate, sample_rate)


def resample(signal: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """As `librosa.resample` does, without looking through each sample for NaN once more."""
    import librosa
    import soxr

    resampled = soxr.resample(signal, rate, sample_rate, quality="HQ")
    return librosa.util.fix_length(resampled, size=math.ceil(len(signal) * sample_rate / rate))


def lengths(paths: Iterable[str | Path], sample_rate: int) -> np.ndarray:
    """Samples each clip will have at a rate, read from the headers alone; shape (n,)."""
    import soundfile

    def header(path: str | Path) -> str:
        try:
            with soundfile.SoundFile(decoding.source(path)) as file:  # soundfile.info would gather more, and slowly
                return f"{file.frames} {file.samplerate}"
        except (OSError, soundfile.LibsndfileError) as error:
            raise AudioError(path, decoding.read(path).broken) from error

    told = [map(int, text.split()) for text in files.remembered("header", header, list(paths))]
    # librosa rounds up, and leaves a clip that has the rate already as it is.
    return np.array([math.ceil(frames * sample_rate / rate) for frames, rate in told], dtype=int)


def pad(signal: np.ndarray, length: int) -> np.ndarray:
    """Zero-pad a signal of shape (n,) at its end to `length` samples; a longer one is left as it is."""
    return np.pad(signal, (0, max(0, length - len(signal))))


def clip_seed(sha256: str, copy: int, seed: int) -> int:
    """A seed from a clip's content, the number of its copy and the run's seed, so that workers do not matter."""
    return int.from_bytes(hashlib.sha256(f"{sha256}:{copy}:{seed}".encode()).digest()[:4])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that nlpaug draws from, and put them back afterwards; one thread at a time."""
    with _GENERATORS:
        before = np.random.get_state(), random.getstate()
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before[0])
            random.setstate(before[1])


def augment(signal: np.ndarray, sample_rate: int, kind: str, *, seed: int) -> np.ndarray:
    """Augment a clip: with nlpaug at its defaults, over the middle 60 % of the clip.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz.
        kind: `noise` (NoiseAug: white, standard deviation 1/sqrt(samples), whatever the clip's level), `pitch`
            (PitchAug: up to 10 semitones either way), `speed` (SpeedAug: 0.5 to 2 times) or `vtlp` (VtlpAug: vocal
            tract length, factor 0.9 to 1.1, over the whole middle instead of nlpaug's tenth of it). And one that is
            not nlpaug's and takes the whole clip: `voice`, `played` 0.8 to 1.25 times as fast.
        seed: The same seed gives the same samples.

    Returns:
        Samples, float32; `speed` and `voice` change their number.
    """
    import nlpaug.augmenter.audio as naa

    if kind == VOICE:
        return played(signal, np.exp(np.random.default_rng(seed).uniform(*np.log(VOICES))))
    if kind not in AUGMENTATIONS:
        raise ValueError(f"no augmentation is called {kind!r}; there are {', '.join((*AUGMENTATIONS, VOICE))}.")
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make = {
            "noise": naa.NoiseAug,
            "pitch": lambda: naa.PitchAug(sampling_rate=sample_rate),
            "speed": naa.SpeedAug,
            "vtlp": lambda: naa.VtlpAug(sampling_rate=sample_rate, coverage=1.0),
        }[kind]
        augmented = make().augment(signal.astype(np.float32))
    # A list since nlpaug 1.1.11, an array before.
    return np.asarray(augmented[0] if isinstance(augmented, list) else augmented, dtype=np.float32)


def played(signal: np.ndarray, speed: float) -> np.ndarray:
    """A clip played faster (above 1) or slower: pitch, formants and tempo change together, as on a tape.

    Heard as somebody else who says the same (Ko et al. 2015, "Audio augmentation for speech recognition").

    Args:
        signal: Samples, shape (n,).
        speed: Rounded to a hundredth.

    Returns:
        float32, shape (about n / speed,).
    """
    from scipy.signal import resample_poly

    return resample_poly(signal, 100, round(100 * speed)).astype(np.float32)


def alter(
    signal: np.ndarray,
    sample_rate: int,
    *,
    snr: float | None = None,
    semitones: float = 0.0,
    speed: float = 1.0,
    vocal_tract: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """A clip altered over its whole length by as much as is asked for: what `augment` draws at random, to be turned.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz.
        snr: White noise so many dB below the clip; None adds none. (nlpaug's noise has a fixed level instead.)
        semitones: Pitch up or down.
        speed: 2 is twice as fast, at the same pitch.
        vocal_tract: nlpaug's factor of vocal tract length perturbation; below 1 sounds smaller.
        seed: Of the noise.

    Returns:
        Samples, float32; `speed` changes their number.
    """
    import librosa
    from nlpaug.model.audio import Vtlp

    out = signal.astype(np.float32)
    if vocal_tract != 1:
        out = Vtlp().manipulate(out, 0, len(out), sample_rate, vocal_tract)
    if semitones:
        out = librosa.effects.pitch_shift(out, sr=sample_rate, n_steps=semitones)
    if speed != 1:
        out = librosa.effects.time_stretch(out, rate=speed)
    if snr is not None:
        level = np.sqrt(np.square(out).mean()) * 10 ** (-snr / 20)
        out = out + level * np.random.default_rng(seed).standard_normal(len(out))
    return out.astype(np.float32)


def snr(clean: np.ndarray, noisy: np.ndarray) -> float:
    """Signal-to-noise ratio of a noisy copy, in dB, over the whole clip; both of shape (n,)."""
    return float(10 * np.log10(np.square(clean).mean() / np.square(noisy - clean).mean()))


# what may lie between a voice and a network, by a known amount

# What the level of each is counted in; nothing for those that only are, or are not.
DISTORTIONS = {
    "white noise": "dB SNR",
    "pink noise": "dB SNR",
    "babble": "dB SNR",
    "gain": "dB",
    "start cut": "s",
    "end cut": "s",
    **dict.fromkeys(("telephone", "mp3", "vorbis", "opus", "gsm", "u-law"), ""),
}
MARGIN = 15.9  # dB: how far below its own level ITU-T P.56 still calls speech active
HANGOVER = 0.2  # seconds, as in P.56: a pause no longer than this belongs to the speech
# Rates that a codec takes (none: any), libsndfile's names for it, and how hard it is pressed: measured on a spoken
# clip at 16 kHz, about 18 (MP3), 31 (Vorbis), 9.5 (Opus), 13 (GSM 6.10) and 64 (u-law) kbit/s.
CODECS = {
    "mp3": ((8000, 16000, 22050, 24000, 32000, 44100, 48000), "MP3", "MPEG_LAYER_III", {"bitrate_mode": "VARIABLE"}),
    "vorbis": ((), "OGG", "VORBIS", {}),
    "opus": ((8000, 12000, 16000, 24000, 48000), "OGG", "OPUS", {}),
    "gsm": ((8000,), "WAV", "GSM610", None),
    "u-law": ((8000,), "WAV", "ULAW", None),
}


def active(signal: np.ndarray, sample_rate: int, *, hangover: float = HANGOVER) -> np.ndarray:
    """Where a clip holds speech, by energy: in the spirit of ITU-T P.56, in frames of 20 ms instead of its envelope.

    A frame is active if it, or one up to `hangover` before it, is at most 15.9 dB below the mean power of the active
    frames. That is found by leaving frames out until none is to be left out any more; a silent clip is all active.

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
    held = np.lib.stride_tricks.sliding_window_view(np.pad(power, (before, 0)), before + 1).max(axis=1)
    spoken, fewer = None, np.ones(len(power), dtype=bool)
    while spoken is None or (fewer != spoken).any():
        spoken = fewer
        fewer = held >= power[spoken].mean() * 10 ** (-MARGIN / 10)
    return np.repeat(spoken, size)[: len(signal)]


def speech_level(signal: np.ndarray, sample_rate: int) -> float:
    """The mean power of a clip where it is `active`, in dB of full scale (a square wave at full scale has 0)."""
    return float(10 * np.log10(np.square(signal[active(signal, sample_rate)], dtype=np.float64).mean() + 1e-20))


def distort(
    signal: np.ndarray, sample_rate: int, kind: str, level: float = float("nan"), *, seed: int = 0
) -> np.ndarray:
    """A clip as it would be after a distortion of a known level.

    Args:
        signal: Samples, shape (n,), full scale at 1.
        sample_rate: In Hz.
        kind: One of `DISTORTIONS`. The noises are added over the whole clip at a level relative to its speech
            (`speech_level`), without clipping. `gain` clips at full scale. `start cut` and `end cut` take the silence
            on that side and so much of the speech, but never more than nine tenths of it. `telephone` and the codecs
            (`through`) have no level.
        level: In the unit that `DISTORTIONS` names.
        seed: Of the noise: the same at every level, only louder.

    Returns:
        Samples, float32; only the cuts change their number.
    """
    if kind not in DISTORTIONS:
        raise ValueError(f"no distortion is called {kind!r}; there are {', '.join(DISTORTIONS)}.")
    if DISTORTIONS[kind] == "dB SNR":
        noise = _noise(kind, len(signal), sample_rate, np.random.default_rng(seed))
        wanted = 10 ** ((speech_level(signal, sample_rate) - level) / 20)
        out = signal + noise * wanted / np.sqrt(np.square(noise).mean())
    elif kind == "gain":
        out = np.clip(signal * 10 ** (level / 20), -1, 1)
    elif kind.endswith("cut"):
        out = _cut(signal, sample_rate, kind, level)
    else:
        out = telephone(signal, sample_rate) if kind == "telephone" else through(signal, sample_rate, kind)
    return out.astype(np.float32)


def _noise(kind: str, length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of any level: white, pink (3 dB less an octave), or the babble of eight talkers who say nothing.

    A talker is noise with the long-term spectrum of speech (flat to 500 Hz, 9 dB less an octave above: roughly that of
    Byrne et al. 1994, doi 10.1121/1.410152), which swells and fades some four times a second as syllables do.
    """
    if kind == "white noise":
        return rng.standard_normal(length)
    if kind == "pink noise":
        return _shaped(rng.standard_normal(length), sample_rate, lambda hertz: 1 / np.sqrt(np.maximum(hertz, 20)))
    time = np.arange(length) / sample_rate
    knots = np.arange(0, length / sample_rate + 0.25, 0.125)
    talkers = (rng.standard_normal(length) * np.interp(time, knots, rng.random(len(knots)) ** 2) for _ in range(8))
    return _shaped(sum(talkers), sample_rate, _speech_spectrum)


def _speech_spectrum(hertz: np.ndarray) -> np.ndarray:
    return (hertz > 80) / (1 + (hertz / 500) ** 1.5)


def _shaped(noise: np.ndarray, sample_rate: int, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    from scipy.fft import irfft
    from scipy.fft import next_fast_len
    from scipy.fft import rfft

    size = next_fast_len(len(noise), real=True)
    hertz = np.fft.rfftfreq(size, 1 / sample_rate)
    return irfft(rfft(noise, size) * gain(hertz), size)[: len(noise)]


def _cut(signal: np.ndarray, sample_rate: int, kind: str, seconds: float) -> np.ndarray:
    spoken = np.flatnonzero(active(signal, sample_rate, hangover=0))
    begin, end = int(spoken[0]), int(spoken[-1]) + 1
    lost = min(int(seconds * sample_rate), int(0.9 * (end - begin)))
    return signal[begin + lost :] if kind == "start cut" else signal[: end - lost]


def telephone(signal: np.ndarray, sample_rate: int) -> np.ndarray:
    """A clip as a telephone of old passes it on: 300 to 3400 Hz, sampled at 8 kHz; at its own rate and length again."""
    import librosa
    from scipy.signal import butter
    from scipy.signal import sosfilt

    narrow = librosa.resample(signal, orig_sr=sample_rate, target_sr=8000)
    narrow = sosfilt(butter(8, (300, 3400), "bandpass", fs=8000, output="sos"), narrow)
    return _back(narrow, 8000, sample_rate, len(signal))


def through(signal: np.ndarray, sample_rate: int, codec: str) -> np.ndarray:
    """A clip encoded and decoded by one of `CODECS` at low quality, at its own rate and length again."""
    import librosa
    import soundfile

    rates, container, subtype, options = CODECS[codec]
    rate = next((rate for rate in rates if rate >= sample_rate), rates[-1]) if rates else sample_rate
    narrow = np.clip(librosa.resample(signal, orig_sr=sample_rate, target_sr=rate), -1, 1)
    pressed = {} if options is None else {"compression_level": 0.99, **options}
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, 1, subtype, format=container, **pressed) as file:
        for start in range(0, len(narrow), rate):  # libsndfile crashes when it is given minutes of Vorbis at once
            file.write(narrow[start : start + rate])
    buffer.seek(0)
    return _back(soundfile.read(buffer, dtype="float32")[0], rate, sample_rate, len(signal))


def _back(signal: np.ndarray, rate: int, sample_rate: int, length: int) -> np.ndarray:
    """A signal at its former rate and, but for what a codec's last block added, length."""
    import librosa

    return librosa.util.fix_length(librosa.resample(signal, orig_sr=rate, target_sr=sample_rate), size=length)
