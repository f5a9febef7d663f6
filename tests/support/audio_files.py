"""Sounds and audio files for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def tone(seconds: float, rate: int, hertz: float = 220.0, level: float = 0.3) -> np.ndarray:
    """A decaying tone with a little noise: unlike a pure one it has energy in every mel band."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(int(hertz)).normal(0, 0.01, len(time))
    return (level * np.exp(-time) * np.sin(2 * np.pi * hertz * time) + noise).astype(np.float32)


def write(path: Path, signal: np.ndarray, rate: int, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal, rate, **options)
    return path
