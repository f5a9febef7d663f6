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
SPEED_RANGE = (0.8, 1.25)  # beyond it, a clip no longer sounds like another speaker
_GENERATORS = threading.RLock()  # NumPy's and Python's, which all threads share


def clip_seed(sha256: str, copy: int, seed: int) -> int:
    """Derive a seed from a clip's content, its copy's number and the run's seed, the same for any number of workers."""
    return int.from_bytes(hashlib.sha256(f"{sha256}:{copy}:{seed}".encode()).digest()[:4])


@contextmanager
def seeded_global_rng(seed: int) -> Iterator[None]:
    """Seed the global generators that nlpaug draws from, and restore them afterwards; one thread at a time."""
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
    """Augment a clip, with nlpaug at its defaults over the middle 60% of the clip, or by `perturb_speed`.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz.
        kind: `noise` (NoiseAug: white, standard deviation 1/sqrt(m) for the m samples of the middle, whatever
            the clip's level), `pitch` (PitchAug: up to 10 semitones up or down), `speed` (SpeedAug: 0.5 to 2 times),
            `vtlp` (VtlpAug: vocal tract length, factor 0.9 to 1.1, over the whole middle instead of nlpaug's tenth of
            it) or `voice` (`perturb_speed` of the whole clip by a random factor of 0.8 to 1.25).
        seed: The same seed gives the same samples.

    Returns:
        Samples, float32; `speed` and `voice` change their number.

    Raises:
        ValueError: There is no such kind.
    """
    import nlpaug.augmenter.audio as naa

    if kind == SPEED_PERTURBATION:
        return perturb_speed(signal, np.exp(np.random.default_rng(seed).uniform(*np.log(SPEED_RANGE))))
    if kind not in AUGMENTATIONS:
        names = ", ".join((*AUGMENTATIONS, SPEED_PERTURBATION))
        raise ValueError(f"the augmentation must be one of {names} (got {kind!r})")
    with seeded_global_rng(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        create = {
            "noise": naa.NoiseAug,
            "pitch": lambda: naa.PitchAug(sampling_rate=sample_rate),
            "speed": naa.SpeedAug,
            "vtlp": lambda: naa.VtlpAug(sampling_rate=sample_rate, coverage=1.0),
        }[kind]
        augmented = create().augment(signal.astype(np.float32))
    # nlpaug returns a list since 1.1.11, an array before.
    return np.asarray(augmented[0] if isinstance(augmented, list) else augmented, dtype=np.float32)


def perturb_speed(signal: np.ndarray, speed: float) -> np.ndarray:
    """Resample a clip to play faster (above 1) or slower: pitch, formants and tempo change together, as on a tape.

    It sounds like another speaker (Ko et al. 2015, "Audio augmentation for speech recognition").

    Args:
        signal: Samples, shape (n,).
        speed: 2 plays twice as fast; rounded to a hundredth.

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
    """Apply the effects of `augment` over the whole clip, each by a chosen amount instead of a random one.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz.
        snr: Signal-to-noise ratio in dB of added white noise; None adds none. (nlpaug's noise has a fixed level.)
        semitones: Shift of the pitch, up or down.
        speed: 2 plays twice as fast, at the same pitch.
        vocal_tract: nlpaug's factor of vocal tract length perturbation; below 1 lowers the frequencies,
            as a longer vocal tract does.
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
    """Return the signal-to-noise ratio of a noisy copy, in dB, over the whole clip; both have the shape (n,)."""
    return float(10 * np.log10(np.square(clean).mean() / np.square(noisy - clean).mean()))
