"""Augmented copies of a clip: noise, pitch, speed and vocal tract length."""

from __future__ import annotations

import hashlib
import random
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

AUGMENTATIONS = ("noise", "pitch", "speed", "vtlp")
SPEED_PERTURBATION = "voice"
SPEED_RANGE = (0.8, 1.25)  # how slowly and how fast a clip may be played to be another voice
_GENERATORS = threading.RLock()  # NumPy's and Python's, which all threads share


def clip_seed(sha256: str, copy: int, seed: int) -> int:
    """A seed from a clip's content, the number of its copy and the run's seed, so that workers do not matter."""
    return int.from_bytes(hashlib.sha256(f"{sha256}:{copy}:{seed}".encode()).digest()[:4])


@contextmanager
def seeded_global_rng(seed: int) -> Iterator[None]:
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

    if kind == SPEED_PERTURBATION:
        return perturb_speed(signal, np.exp(np.random.default_rng(seed).uniform(*np.log(SPEED_RANGE))))
    if kind not in AUGMENTATIONS:
        raise ValueError(
            f"no augmentation is called {kind!r}; there are {', '.join((*AUGMENTATIONS, SPEED_PERTURBATION))}."
        )
    with seeded_global_rng(seed), warnings.catch_warnings():
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


def perturb_speed(signal: np.ndarray, speed: float) -> np.ndarray:
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


def apply_effects(
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
