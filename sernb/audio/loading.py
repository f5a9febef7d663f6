"""Load, resample and pad one clip."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
import platformdirs

from sernb import utils
from sernb.audio.decoding import MAX_SECONDS
from sernb.audio.decoding import AudioError
from sernb.audio.decoding import decode


@contextmanager
def _numba_lock() -> Iterator[None]:
    """Let one process of this user in at a time; all of them where the user's cache folder cannot be written."""
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


def compile_librosa() -> None:
    """Let numba compile librosa's loops before several processes need them; this takes seconds the first time only.

    Numba caches compiled code beside librosa without a lock. Two processes that compile at once on a fresh machine can
    leave files that crash every process that reads them.
    """
    marker = _compiled_marker()
    if marker.exists():
        return
    with _numba_lock():
        if marker.exists():  # another process has compiled them meanwhile
            return
        import librosa.core.pitch
        import librosa.effects
        import librosa.feature.spectral  # noqa: F401

        # Compiled at the first call, by a change of pitch or speed.
        librosa.istft(librosa.stft(np.zeros(4096, dtype=np.float32)))
        with suppress(OSError):  # numba then keeps its code elsewhere, and this is done again
            marker.touch()


def _compiled_marker() -> Path:
    """Return the file, beside numba's, that marks the loops as compiled on this machine and for these versions."""
    origin = Path(find_spec("librosa").origin)
    facts = [version(name) for name in ("librosa", "numba", "llvmlite")]
    facts += [sys.implementation.cache_tag, platform.node(), str(origin), str(origin.stat().st_mtime_ns)]
    folder = os.environ.get("NUMBA_CACHE_DIR") or origin.parent / "core" / "__pycache__"
    return Path(folder) / f"sernb-compiled-{utils.text_digest(' '.join(facts))[:16]}"


def load(path: str | Path | IO[bytes], sample_rate: int, *, training: bool = False) -> np.ndarray:
    """Decode a clip of any rate, container and number of channels to mono (channels averaged) at one rate.

    The same as `librosa.load(path, sr=sample_rate)`, with errors that name the file.

    Args:
        path: Any file that libsndfile reads.
        sample_rate: In Hz.
        training: Also refuse what can be played but not trained on: silence, or a clip that is cut off, too short or
            longer than `MAX_SECONDS`.

    Returns:
        Samples, shape (n,), float32, full scale at 1.

    Raises:
        AudioError: The file cannot be decoded, holds no samples or some that are not finite, or is refused.
    """
    import librosa

    recording = decode(path, max_seconds=MAX_SECONDS if training else math.inf)
    if reason := recording.error or (recording.unusable if training else ""):
        raise AudioError(path, reason)
    signal = recording.signal[:, 0] if recording.channels == 1 else librosa.to_mono(recording.signal.T)
    return signal if recording.sample_rate == sample_rate else resample(signal, recording.sample_rate, sample_rate)


def resample(signal: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Resample from `rate` to `sample_rate` (Hz) like `librosa.resample`, but without checking every sample for NaN."""
    import librosa
    import soxr

    resampled = soxr.resample(signal, rate, sample_rate, quality="HQ")
    return librosa.util.fix_length(resampled, size=math.ceil(len(signal) * sample_rate / rate))


def n_samples(paths: Iterable[str | Path], sample_rate: int) -> np.ndarray:
    """Return the number of samples that each clip will have at a sample rate, from the headers where they have it.

    Returns:
        Integers, shape (number of clips,).

    Raises:
        AudioError: A file cannot be read.
    """
    import soundfile

    from sernb.audio.containers import count_samples

    def header(path: str | Path) -> str:
        """Return a file's sample count and rate as text, which the cache can store."""
        try:
            return "{} {}".format(*count_samples(path))
        except (OSError, soundfile.LibsndfileError) as error:
            raise AudioError(path, decode(path).error) from error

    lengths = [map(int, text.split()) for text in utils.cached_per_file("length", header, list(paths))]
    # librosa rounds up, and leaves a clip that has the rate already as it is.
    return np.array([math.ceil(frames * sample_rate / rate) for frames, rate in lengths], dtype=int)


def pad(signal: np.ndarray, length: int) -> np.ndarray:
    """Zero-pad a signal of shape (n,) at its end to `length` samples; a longer one is left as it is."""
    return np.pad(signal, (0, max(0, length - len(signal))))
