"""Files whose header does not say how long they are: MP3 of varying bitrate, FLAC written to a pipe, unfinished Ogg."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

BLOCK_FRAMES = 2**16
UNKNOWN_FRAMES = 2**62  # libsndfile gives at least as many for a FLAC stream without a length
OGG_END_BYTES = 2**17  # a page has at most 65,307 bytes: the last one begins within this many bytes of the end
# kbit/s of an MP3 frame by the index in its header, samples per second by version (MPEG 2.5, none, 2, 1) and index.
MPEG1_BITRATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_BITRATES = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MP3_SAMPLE_RATES = ((11025, 12000, 8000), (), (22050, 24000, 16000), (44100, 48000, 32000))
TAG_BITRATE = 9  # index: a frame of this bitrate has room for the tag


class _Stream(soundfile.SoundFile):
    """A file that is read to its end, wherever its header says that is."""

    def seekable(self) -> bool:
        """Return False, so that libsndfile reads the file to its end."""
        return False


def open_audio(path: str | Path | IO[bytes]) -> soundfile.SoundFile:
    """Open an audio file; the length of an MP3 of varying bitrate is right, also where its encoder did not write it."""
    # As bytes, since soundfile cannot encode every name that a file system holds.
    source = path if hasattr(path, "read") else os.fsencode(path)
    file = soundfile.SoundFile(source)
    if file.format == "MP3" and (tagged := _with_frame_count(_read_all(path))):
        file.close()
        return soundfile.SoundFile(io.BytesIO(tagged))
    if not has_length(file):
        file.close()
        if hasattr(path, "seek"):
            path.seek(0)
        return _Stream(source)
    return file


def has_length(file: soundfile.SoundFile) -> bool:
    """Return whether a file's header says how many frames it has."""
    return file.frames < UNKNOWN_FRAMES


def read_frames(file: soundfile.SoundFile, max_frames: float) -> np.ndarray:
    """Read all of a file, float32 of shape (frames, channels); of a stream without a length up to one block more."""
    if has_length(file):
        return file.read(dtype="float32", always_2d=True)
    blocks, frames = [], 0
    while not blocks or (len(blocks[-1]) == BLOCK_FRAMES and frames <= max_frames):
        blocks.append(file.read(BLOCK_FRAMES, dtype="float32", always_2d=True))
        frames += len(blocks[-1])
    return np.concatenate(blocks)


def count_samples(path: str | Path | IO[bytes]) -> tuple[int, int]:
    """Return a file's frames and sample rate, from its header where that has the length."""
    with open_audio(path) as file:
        if has_length(file):
            return file.frames, file.samplerate
        return len(read_frames(file, np.inf)), file.samplerate


def is_unfinished_ogg(path: str | Path | IO[bytes]) -> bool:
    """Return whether an Ogg file lacks the page that is marked as the stream's last, or a part of it."""
    end = _read_all(path)[-OGG_END_BYTES:]
    page = end[end.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    return not page[5] & 4 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _read_all(path: str | Path | IO[bytes]) -> bytes:
    """Return all bytes of a file, or of a stream, whose position is kept: libsndfile may be reading from it."""
    if not hasattr(path, "read"):
        return Path(path).read_bytes()
    position = path.tell()
    try:
        path.seek(0)
        return path.read()
    finally:
        path.seek(position)


# MP3


def _with_frame_count(data: bytes) -> bytes:
    """Return an MP3 of varying bitrate with a Xing tag, which holds its number of frames; empty if it needs none."""
    start = _audio_start(data)
    frames = list(_mp3_frames(data, start))
    if not frames or any(tag in data[start : frames[0][1]] for tag in (b"Xing", b"Info", b"VBRI")):
        return b""
    headers = [int.from_bytes(data[begin : begin + 4], "big") for begin, _ in frames]
    if len({header >> 12 & 15 for header in headers}) == 1:
        return b""  # of a constant bitrate: the length follows from the size
    header = headers[0] & ~0xF200 | TAG_BITRATE << 12 | 1 << 16  # without padding or checksum
    mono, mpeg1 = header >> 6 & 3 == 3, header >> 19 & 3 == 3
    side_info = bytes((17 if mono else 32) if mpeg1 else (9 if mono else 17))
    tag = header.to_bytes(4, "big") + side_info + b"Xing" + (1).to_bytes(4, "big") + len(frames).to_bytes(4, "big")
    return data[:start] + tag.ljust(_mp3_frame_bytes(header), b"\0") + data[start:]


def _audio_start(data: bytes) -> int:
    """Return where the first frame begins: after an ID3 tag."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = sum((byte & 127) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if data[5] & 16 else 0)


def _mp3_frames(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each complete frame, up to the first bytes that are none."""
    while start + 4 <= len(data):
        size = _mp3_frame_bytes(int.from_bytes(data[start : start + 4], "big"))
        if not size or start + size > len(data):
            return
        yield start, start + size
        start += size


def _mp3_frame_bytes(header: int) -> int:
    """Return the length of the layer III frame with this header; 0 if it is none."""
    version, layer, bitrate, rate = header >> 19 & 3, header >> 17 & 3, header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return 0
    kilobits = (MPEG1_BITRATES if version == 3 else MPEG2_BITRATES)[bitrate]
    samples = 144_000 if version == 3 else 72_000
    return samples * kilobits // MP3_SAMPLE_RATES[version][rate] + (header >> 9 & 1)
