"""Make as many clips as a benchmark needs, under names like CREMA-D's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sernb import audio
from sernb import corpora

NATIVE = 16_000  # Hz


def make_clips(folder: Path, count: int, *, seconds: float = 0.0, first: int = 0) -> Path:
    """Write `count` clips with names like CREMA-D's, no two with equal bytes: real or demo clips, rotated.

    Args:
        folder: Gets `AudioWAV`.
        count: How many.
        seconds: Cut or repeated to this length; 0 leaves each clip its own.
        first: The number of the first one.
    """
    import soundfile

    sources = list(_sources())
    names = itertools.islice(_names(), first, first + count)
    (folder / "AudioWAV").mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names, first):
        signal = np.roll(sources[i % len(sources)], 1 + i // len(sources))
        signal = np.resize(signal, int(seconds * NATIVE)) if seconds else signal
        soundfile.write(folder / "AudioWAV" / name, signal, NATIVE, subtype="PCM_16")
    return folder


def _sources() -> Iterator[np.ndarray]:
    try:
        table = corpora.load("crema")
    except corpora.CorpusError:
        table = corpora.load("demo-crema")
    for path in table["path"]:
        yield audio.load(path, NATIVE)


def _names() -> Iterator[str]:
    """Yield more names than CREMA-D has clips: its actors, sentences, emotions and levels, then more actors."""
    sentences = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
    levels = ("XX", "LO", "MD", "HI")
    for level, actor, sentence, emotion in itertools.product(
        levels, range(1001, 9999), sentences, corpora.CREMA_EMOTIONS
    ):
        yield f"{actor}_{sentence}_{emotion}_{level}.wav"
