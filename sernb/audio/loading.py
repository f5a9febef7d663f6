"""Decode, resample, pad and augment one clip."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import platformdirs

from sernb import utils
from sernb.audio.decoding import MAX_SECONDS
from sernb.audio.decoding import AudioError
from sernb.audio.decoding import decode
from sernb.audio.decoding import encode_path


@contextmanager
def _numba_lock() -> Iterator[None]:
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


def compile_librosa() -> None:
    """Have numba compile librosa's loops before several processes need them: seconds, the first time, and then none.

    Numba keeps what it compiled beside librosa and has no lock of its own. Two processes that compile at once on a
    fresh machine can leave files that crash every process that reads them.
    """
    with _numba_lock():
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

    recording = decode(path, longest=MAX_SECONDS if training else math.inf)
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


def n_samples(paths: Iterable[str | Path], sample_rate: int) -> np.ndarray:
    """Samples each clip will have at a rate, read from the headers alone; shape (n,)."""
    import soundfile

    def header(path: str | Path) -> str:
        try:
            with soundfile.SoundFile(encode_path(path)) as file:  # soundfile.info would gather more, and slowly
                return f"{file.frames} {file.samplerate}"
        except (OSError, soundfile.LibsndfileError) as error:
            raise AudioError(path, decode(path).broken) from error

    told = [map(int, text.split()) for text in utils.cached_per_file("header", header, list(paths))]
    # librosa rounds up, and leaves a clip that has the rate already as it is.
    return np.array([math.ceil(frames * sample_rate / rate) for frames, rate in told], dtype=int)


def pad(signal: np.ndarray, length: int) -> np.ndarray:
    """Zero-pad a signal of shape (n,) at its end to `length` samples; a longer one is left as it is."""
    return np.pad(signal, (0, max(0, length - len(signal))))
