"""Decode one audio file, or say why it cannot be used."""

from __future__ import annotations

import errno
import math
import os
import re
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import soundfile

# Training pads every clip to the longest: one of ten minutes would make a corpus's features hundreds of times as large.
MAX_SECONDS = 60.0
MIN_SECONDS = 0.02  # a period or two of a low voice: in less there is nothing to hear, and little to compute
ODD_SECONDS = 0.1  # a shorter clip gets a warning
SAMPLE_RATE_RANGE = (8000, 192_000)  # Hz
# Integers written as floats reach 2**31; larger samples are no audio, and their squares overflow.
MAX_PEAK = 2.0**31
FAINT_PEAK = 0.003  # of full scale, -50 dB: dither or a hum; speech is louder
MIN_COMPLETE = 0.99  # the part of what a header announces that must be there
CANCELLED = 0.01  # channels whose average is below this part of their peak cancel each other
# Programs that write to a pipe cannot know the length, and announce this many bytes or more.
UNKNOWN_LENGTH = 2**31 - 2**16
# Containers that can hold speech, but that libsndfile does not read.
UNREADABLE_SUFFIXES = set(
    ".m4a .m4b .mp4 .m4v .aac .webm .wma .amr .3gp .3g2 .mov .avi .mkv .mka .flv .mpg .mpeg .wmv .ac3 .ape .wv".split()
)
LFS_PREFIX = b"version https://git-lfs"
NO_SIGNAL = np.empty((0, 1), dtype=np.float32)


class AudioError(ValueError):
    """A clip cannot be used: its arguments are the file, and the reason, which names no folder."""

    @property
    def reason(self) -> str:
        """Return the reason, without the file."""
        return str(self.args[-1])

    def __str__(self) -> str:
        return ": ".join([*(escape_control_characters(str(part)) for part in self.args[:-1]), self.reason])


@dataclass(frozen=True)
class Recording:
    """Hold the samples of a file, or the reason why there are none.

    `signal` has the shape (frames, channels), float32, full scale at 1. `error` says why the file cannot be decoded,
    `unusable` why training leaves it out although it can be played, `warning` what is unusual about it and harmless.
    """

    signal: np.ndarray
    seconds: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    error: str = ""
    unusable: str = ""
    warning: str = ""


def decode(path: str | Path | IO[bytes], *, max_seconds: float = math.inf) -> Recording:
    """Decode a file of any container that libsndfile reads; a bad file is reported, not raised.

    Args:
        path: A file, or bytes in a file-like object.
        max_seconds: A longer clip is not decoded, and `unusable` says so.
    """
    import soundfile

    from sernb.audio.containers import open_audio

    if reason := access_problem(path):
        return Recording(NO_SIGNAL, error=reason)
    try:
        with open_audio(path) as file:
            return _read_recording(path, file, max_seconds)
    except (OSError, MemoryError, soundfile.LibsndfileError) as error:
        return Recording(NO_SIGNAL, error=_decoding_problem(path, error))


def _read_recording(path: str | Path | IO[bytes], file: soundfile.SoundFile, max_seconds: float) -> Recording:
    from sernb.audio.containers import has_length
    from sernb.audio.containers import read_frames

    max_frames = max_seconds * file.samplerate
    too_long = has_length(file) and file.frames > max_frames
    signal = NO_SIGNAL if too_long else read_frames(file, max_frames)
    frames = file.frames if has_length(file) else len(signal)
    facts = (frames / file.samplerate, file.samplerate, file.channels)
    if frames > max_frames:
        reason = (
            f"lasts too long: {facts[0]:.0f} s; cut it into clips of at most {max_seconds:.0f} s "
            "(all are padded to the longest)"
        )
        return Recording(NO_SIGNAL, *facts, unusable=reason)
    peak = float(np.abs(signal).max(initial=0))  # NaN if one of them is
    if error := _signal_error(signal, peak):
        return Recording(signal, *facts, error, _cut_off(path, signal, file))
    if unusable := _cut_off(path, signal, file) or _unusable_reason(signal, file, peak):
        return Recording(signal, *facts, unusable=unusable)
    return Recording(signal, *facts, warning=_warning_for(signal, file, peak))


def access_problem(path: str | Path | IO[bytes]) -> str:
    """Return why a file cannot be read at all, before its content is looked at; empty if it can."""
    if hasattr(path, "read"):
        return ""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file"  # opening a pipe would wait for its other end
        with open(path, "rb"):
            return "" if status.st_size else "cannot be decoded: it is empty (0 bytes)"
    except FileNotFoundError:
        return "is a link to nothing" if os.path.islink(path) else "does not exist any more"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads back to itself"
        return f"cannot be read: {error.strerror}"


def _decoding_problem(path: str | Path | IO[bytes], error: Exception) -> str:
    if reason := access_problem(path):  # it may have vanished since
        return reason
    if not hasattr(path, "read") and Path(path).read_bytes().startswith(LFS_PREFIX):
        return "is a Git LFS pointer in place of the audio: `git lfs pull` or `sernb fetch` downloads it"
    if not hasattr(path, "read") and Path(path).suffix.lower() in UNREADABLE_SUFFIXES:
        source, target = shlex.quote(Path(path).name), shlex.quote(f"{Path(path).stem}.wav")
        return f"is in a format that cannot be read: convert it first, for example with `ffmpeg -i {source} {target}`"
    # libsndfile's own message would name the machine's folders too.
    reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error) or "too large"
    return f"cannot be decoded: {reason.removeprefix('Error : ').rstrip(' .')}"


def _signal_error(signal: np.ndarray, peak: float) -> str:
    if not signal.size:
        return "holds no samples"
    if not math.isfinite(peak):
        return "holds NaN or infinite samples"
    return f"holds samples far beyond full scale: up to {peak:.0e} times" if peak > MAX_PEAK else ""


def _cut_off(path: str | Path | IO[bytes], signal: np.ndarray, file: soundfile.SoundFile) -> str:
    from sernb.audio.containers import has_length
    from sernb.audio.containers import is_unfinished_ogg

    seconds = len(signal) / file.samplerate
    fraction = _complete_fraction(signal, file) if has_length(file) else 1.0
    if fraction < MIN_COMPLETE:
        return f"is cut off: it holds {seconds:.2f} of {seconds / fraction:.2f} s" if fraction else "holds no samples"
    if file.format == "OGG" and is_unfinished_ogg(path):
        return f"is cut off: it holds {seconds:.2f} s, and the end of the stream is missing"
    return ""


def _complete_fraction(signal: np.ndarray, file: soundfile.SoundFile) -> float:
    """Return the part of what the header announces that the file holds; libsndfile says so only in its log."""
    sizes = re.search(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", file.extra_info)
    announced, present = map(int, sizes.groups()) if sizes else (0, 0)
    if 0 < announced < UNKNOWN_LENGTH:
        return present / announced
    return len(signal) / max(1, file.frames)


def _unusable_reason(signal: np.ndarray, file: soundfile.SoundFile, peak: float) -> str:
    if (seconds := len(signal) / file.samplerate) < MIN_SECONDS:
        return f"is too short: {seconds:.4f} s"
    mono = signal.mean(axis=1)
    if np.abs(mono).max() < CANCELLED * peak:
        return "is silent once its channels are averaged: they have opposite phase; keep one of them"
    if not np.ptp(mono):
        return f"holds the constant value {mono[0]:g} and no sound" if peak else "is silent throughout"
    return ""


def _warning_for(signal: np.ndarray, file: soundfile.SoundFile, peak: float) -> str:
    warnings = {
        f"lasts {len(signal) / file.samplerate:.3f} s": len(signal) / file.samplerate < ODD_SECONDS,
        f"{file.channels} channels, averaged": file.channels > 2,
        "8-bit samples": file.subtype in ("PCM_S8", "PCM_U8", "ULAW", "ALAW"),
        f"{file.samplerate:,} Hz": not SAMPLE_RATE_RANGE[0] <= file.samplerate <= SAMPLE_RATE_RANGE[1],
        f"samples of up to {peak:,.0f} times full scale": peak > 2,
        "next to no sound: dither, hum or a muted microphone": np.ptp(signal) < 2 * FAINT_PEAK,
    }
    return "; ".join(text for text, applies in warnings.items() if applies)


def escape_control_characters(text: str) -> str:
    r"""Return a name as one line that is safe in a terminal: control characters as ``\n``, ``\x1b`` or ``\u202e``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
