"""A clip's level, clipping, silence and noise, and advice on them."""

from __future__ import annotations

import numpy as np

from sernb.audio.loading import pad

FRAME_SECONDS = 0.025
FULL_SCALE = 0.999  # 16-bit recordings clip at 32767/32768
LEVEL_LIMITS = {"shortest": 0.5, "quietest": -45.0, "noisiest": 15.0, "most silent": 0.7}


def measure_levels(signal: np.ndarray, sample_rate: int) -> dict[str, float]:
    """What can be measured of one clip.

    Args:
        signal: Shape (n,), full scale at 1.
        sample_rate: In Hz.

    Returns:
        `seconds`; `peak` and `level` in dB of full scale, the level being that of the louder half of the frames of
        25 ms; `clipped`, the samples at full scale; `silent`, the share of frames 30 dB or more below the loudest;
        `snr`, how many dB the level is above the quietest tenth of the frames.
    """
    size = max(1, int(FRAME_SECONDS * sample_rate))
    frames = pad(signal, size)[: max(1, len(signal) // size) * size].reshape(-1, size)
    power = np.sort(10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-10))
    level, noise = power[len(power) // 2 :].mean(), power[: max(1, len(power) // 10)].mean()
    return {
        "seconds": len(signal) / sample_rate,
        "peak": float(20 * np.log10(np.abs(signal).max(initial=0) + 1e-5)),
        "level": float(level),
        "clipped": int((np.abs(signal) >= FULL_SCALE).sum()),
        "silent": float((power < power[-1] - 30).mean()),
        "snr": float(level - noise),
    }


def level_advice(found: dict[str, float]) -> str:
    """What to do about a clip's `levels`, in a few words; empty where nothing need be done."""
    faults = {
        "clipped: step back or turn the input down": found["clipped"] > 0,
        "too short": found["seconds"] < LEVEL_LIMITS["shortest"],
        "too quiet: come nearer or turn the input up": found["level"] < LEVEL_LIMITS["quietest"],
        "mostly silence: trim it": found["silent"] > LEVEL_LIMITS["most silent"],
        "noisy: find a quieter room": found["snr"] < LEVEL_LIMITS["noisiest"],
    }
    return "; ".join(text for text, there in faults.items() if there)
