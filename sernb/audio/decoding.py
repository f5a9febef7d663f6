"""One audio file becomes samples, or the reason why it cannot be used."""

from __future__ import annotations

import errno
import math
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import soundfile

# Training pads every clip to the longest: one of ten minutes would make a corpus's features hundreds of times as large.
MAX_SECONDS = 60.0  # seconds
MIN_SECONDS = 0.02  # seconds: a period or two of a low voice; of less nothing can be heard, and little computed
ODD_SECONDS = 0.1
SAMPLE_RATE_RANGE = (8000, 192_000)  # Hz
# Integers written as floats reach 2**31; what is beyond is no audio, and its squares overflow.
MAX_PEAK = 2.0**31
MIN_COMPLETE = 0.99  # the share of what a header announces that must be there
# What programs announce that write to a pipe and cannot know the length.
UNKNOWN_LENGTH = 2**31 - 2**16
LFS_PREFIX = b"version https://git-lfs"


class AudioError(ValueError):
    """A clip that cannot be used: its file, and the reason, which names no folder."""

    @property
    def reason(self) -> str:
        """The last thing that was said; the file stands before it."""
        return str(self.args[-1])

    def __str__(self) -> str:
        return ": ".join([*(escape_control_characters(str(part)) for part in self.args[:-1]), self.reason])


@dataclass(frozen=True)
class Recording:
    """What a file holds.

    `signal` has the shape (frames, channels), float32, full scale at 1. `broken` says why nothing can be made of the
    file, `unfit` why training leaves it out although it can be heard, `odd` what is unusual about it and harmless.
    """

    signal: np.ndarray
    seconds: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    broken: str = ""
    unfit: str = ""
    odd: str = ""


def decode(path: str | Path | IO[bytes], *, longest: float = math.inf) -> Recording:
    """Decode a file of any container that libsndfile reads; a bad one is an answer, not an error.

    Args:
        path: A file, or bytes in a file-like object.
        longest: A clip of more seconds is not decoded, and `unfit`.
    """
    import soundfile

    nothing = np.empty((0, 1), dtype=np.float32)
    if reason := access_problem(path):
        return Recording(nothing, broken=reason)
    try:
        with soundfile.SoundFile(encode_path(path)) as file:
            facts = (file.frames / file.samplerate, file.samplerate, file.channels)
            if facts[0] > longest:
                return Recording(nothing, *facts, unfit=_refuse_too_long(facts[0], longest))
            signal = file.read(dtype="float32", always_2d=True)
            peak = float(np.abs(signal).max(initial=0))  # NaN if one of them is
            broken, unfit = _signal_error(signal, peak), _unusable_reason(signal, file, peak)
            return Recording(signal, *facts, broken, unfit, "" if broken or unfit else _warning_for(signal, file, peak))
    except (OSError, MemoryError, soundfile.LibsndfileError) as error:
        return Recording(nothing, broken=_decoding_problem(path, error))


def encode_path(path: str | Path | IO[bytes]) -> bytes | IO[bytes]:
    """What soundfile opens; as bytes, since it cannot encode every name that a file system holds."""
    return path if hasattr(path, "read") else os.fsencode(path)


def access_problem(path: str | Path | IO[bytes]) -> str:
    """Why a file cannot be read at all, before anything looks into it; empty if it can."""
    if hasattr(path, "read"):
        return ""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            return "is no regular file"  # opening a pipe would wait for its other end
        with open(path, "rb"):
            return "" if found.st_size else "cannot be decoded: it is empty (0 bytes)"
    except FileNotFoundError:
        return "is a link to nothing" if os.path.islink(path) else "is not there any more"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads back to itself"
        return f"cannot be read: {error.strerror}"


def _decoding_problem(path: str | Path | IO[bytes], error: Exception) -> str:
    if reason := access_problem(path):  # it may have vanished since
        return reason
    if not hasattr(path, "read") and Path(path).read_bytes().startswith(LFS_PREFIX):
        return "is a Git LFS pointer in place of the audio: `git lfs pull` or `sernb fetch` brings it"
    # libsndfile's own message would name the machine's folders too.
    reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error) or "too large"
    return f"cannot be decoded: {reason.removeprefix('Error : ').rstrip(' .')}"


def _refuse_too_long(seconds: float, longest: float) -> str:
    return (
        f"lasts too long: {seconds:.0f} s; cut it into clips of at most {longest:.0f} s (all are padded to the longest)"
    )


def _signal_error(signal: np.ndarray, peak: float) -> str:
    if not signal.size:
        return "holds no samples"
    if not math.isfinite(peak):
        return "holds NaN or infinite samples"
    return f"holds samples far beyond full scale: {peak:.0e} times it" if peak > MAX_PEAK else ""


def _unusable_reason(signal: np.ndarray, file: soundfile.SoundFile, peak: float) -> str:
    if (share := _complete_fraction(signal, file)) < MIN_COMPLETE:
        seconds = len(signal) / file.samplerate
        return f"is cut off: {seconds:.2f} of {seconds / share:.2f} s are there" if share else "holds no samples"
    if (seconds := len(signal) / file.samplerate) < MIN_SECONDS:
        return f"is too short: {seconds:.4f} s"
    return "" if peak else "is silent throughout"


def _complete_fraction(signal: np.ndarray, file: soundfile.SoundFile) -> float:
    """The share of what the header announces that the file holds: libsndfile says so in its log alone."""
    sizes = re.search(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", file.extra_info)
    announced, found = map(int, sizes.groups()) if sizes else (0, 0)
    if 0 < announced < UNKNOWN_LENGTH:
        return found / announced
    return len(signal) / max(1, file.frames)


def _warning_for(signal: np.ndarray, file: soundfile.SoundFile, peak: float) -> str:
    found = {
        f"lasts {len(signal) / file.samplerate:.3f} s": len(signal) / file.samplerate < ODD_SECONDS,
        f"{file.channels} channels, averaged": file.channels > 2,
        "8-bit samples": file.subtype in ("PCM_S8", "PCM_U8", "ULAW", "ALAW"),
        f"{file.samplerate} Hz": not SAMPLE_RATE_RANGE[0] <= file.samplerate <= SAMPLE_RATE_RANGE[1],
        f"samples of up to {peak:.0f} times full scale": peak > 2,
    }
    return "; ".join(text for text, there in found.items() if there)


def escape_control_characters(text: str) -> str:
    r"""A name in one line that a terminal shows as it is: control characters as ``\n``, ``\x1b`` or ``\u202e``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
