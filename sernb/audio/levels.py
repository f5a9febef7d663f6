"""Measure a clip's level, clipping, silence and noise, and advise on them."""

from __future__ import annotations

import numpy as np

from sernb.audio.loading import pad

FRAME_SECONDS = 0.025
FULL_SCALE = 0.999  # 16-bit recordings clip at 32767/32768
LEVEL_LIMITS = {
    "shortest": 0.5,  # seconds
    "quietest": -45.0,  # dB, of a session
    "faintest": -65.0,  # dB, of a clip
    "noisiest": 15.0,  # dB of signal to noise, of a session
    "least speech": 5.0,  # dB of signal to noise, of a clip
    "most silent": 0.7,
}


def measure_levels(signal: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Measure level, clipping, silence and noise of one clip.

    Args:
        signal: Shape (n,), full scale at 1.
        sample_rate: In Hz.

    Returns:
        `seconds`; `peak` and `level` in dB of full scale, the level being that of the louder half of the frames of
        25 ms; `clipped`, the number of samples at full scale; `silent`, the fraction of frames more than 30 dB below
        the loudest; `snr`, the level in dB above the quietest tenth of the frames.
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


def level_advice(levels: dict[str, float]) -> str:
    """Return what to do about a clip, in a few words, given its `measure_levels`; empty if nothing.

    A quiet clip is no fault: sad or calm speech is quiet, and this is a cue to the emotion. `session_level_advice` says
    whether a whole session is too quiet or too noisy.
    """
    faults = {
        "clipped: turn the input down or step back": levels["clipped"] > 0,
        "too short": levels["seconds"] < LEVEL_LIMITS["shortest"],
        "next to no sound: is this the right microphone?": levels["level"] < LEVEL_LIMITS["faintest"],
        "mostly silence: trim it": levels["silent"] > LEVEL_LIMITS["most silent"],
        "without speech, or hardly louder than the noise": levels["snr"] < LEVEL_LIMITS["least speech"],
    }
    return _join_faults(faults)


def session_level_advice(level: float, snr: float, *, has_clipped: bool = False) -> str:
    """Return what to do about a session, in a few words; empty if nothing.

    The advice is for all clips alike: a level that is set anew for each emotion removes a cue to it. A quiet emotion is
    also nearer to the noise than a loud one in the same room.

    Args:
        level: The median level of its clips, in dB of full scale.
        snr: The median of their `snr`, in dB.
        has_clipped: Whether some are clipped, so that a higher level is no remedy.
    """
    faults = {
        "too quiet as a whole: move closer or raise the input level for all further clips": (
            level < LEVEL_LIMITS["quietest"] and not has_clipped
        ),
        "noisy as a whole: record further clips in a quieter room": snr < LEVEL_LIMITS["noisiest"],
    }
    return _join_faults(faults)


def _join_faults(faults: dict[str, bool]) -> str:
    return "; ".join(text for text, applies in faults.items() if applies)
