"""Floor 1: decode, resample, pad and augment one clip."""

from __future__ import annotations

import hashlib
import math
import random
import warnings
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import platformdirs

from sernb import decoding
from sernb.decoding import AudioError

AUGMENTATIONS = ("noise", "pitch", "speed", "vtlp")


def warm() -> None:
    """Have numba compile librosa's loops before several processes need them: seconds, the first time, and then none.

    Numba keeps what it compiled beside librosa and has no lock of its own. Two processes that compile at once on a
    fresh machine can leave files that crash every process that reads them.
    """
    from filelock import FileLock

    with FileLock(platformdirs.user_cache_path("sernb", ensure_exists=True) / "numba.lock"):
        import librosa.core.pitch
        import librosa.effects
        import librosa.feature.spectral  # noqa: F401


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
    signal = librosa.to_mono(recording.signal.T)
    return librosa.resample(signal, orig_sr=recording.sample_rate, target_sr=sample_rate)


def lengths(paths: Iterable[str | Path], sample_rate: int) -> np.ndarray:
    """Samples each clip will have at a rate, read from the headers alone; shape (n,)."""
    import soundfile

    def length(path: str | Path) -> int:
        try:
            info = soundfile.info(decoding.source(path))
        except (OSError, soundfile.LibsndfileError) as error:
            raise AudioError(path, decoding.read(path).broken) from error
        # librosa rounds up, and leaves a clip that has the rate already as it is.
        return math.ceil(info.frames * sample_rate / info.samplerate)

    with ThreadPoolExecutor() as pool:
        return np.array(list(pool.map(length, paths)), dtype=int)


def pad(signal: np.ndarray, length: int) -> np.ndarray:
    """Zero-pad a signal of shape (n,) at its end to `length` samples; a longer one is left as it is."""
    return np.pad(signal, (0, max(0, length - len(signal))))


def clip_seed(sha256: str, copy: int, seed: int) -> int:
    """A seed from a clip's content, the number of its copy and the run's seed, so that workers do not matter."""
    return int.from_bytes(hashlib.sha256(f"{sha256}:{copy}:{seed}".encode()).digest()[:4])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that nlpaug draws from, and put them back afterwards."""
    before = np.random.get_state(), random.getstate()
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])


def augment(signal: np.ndarray, sample_rate: int, kind: str, *, seed: int) -> np.ndarray:
    """Augment a clip with nlpaug at its defaults, over the middle 60 % of the clip.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz.
        kind: `noise` (NoiseAug: white, standard deviation 1/sqrt(samples), whatever the clip's level), `pitch`
            (PitchAug: up to 10 semitones either way), `speed` (SpeedAug: 0.5 to 2 times) or `vtlp` (VtlpAug: vocal
            tract length, factor 0.9 to 1.1, over the whole middle instead of nlpaug's tenth of it).
        seed: The same seed gives the same samples.

    Returns:
        Samples, float32; `speed` changes their number.
    """
    import nlpaug.augmenter.audio as naa

    if kind not in AUGMENTATIONS:
        raise ValueError(f"no augmentation is called {kind!r}; there are {', '.join(AUGMENTATIONS)}.")
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
