"""Is a corpus fit for training: levels, clipping, silence and noise of its clips, and who is missing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sernb import audio
from sernb import utils
from sernb.corpora.local import read_manifest
from sernb.corpora.table import find_audio_files


def measure_clips(table: pd.DataFrame) -> pd.DataFrame:
    """The `levels` and `advice` of each clip of a clip table, at its own sample rate.

    Returns:
        One row a clip, with `clip`, `speaker`, `emotion`, those of `levels`, `sample_rate`, `advice`. A clip that
        cannot be decoded says so in `advice` and has no numbers.
    """
    found = pd.DataFrame(utils.map_files(_measure_clip, table["path"]))
    return pd.concat([table[["clip", "speaker", "emotion"]].reset_index(drop=True), found], axis=1)


def _measure_clip(path: str) -> dict[str, float | str]:
    import soundfile

    try:
        rate = soundfile.info(path).samplerate
        found = audio.measure_levels(audio.load(path, rate), rate)
    except (OSError, soundfile.LibsndfileError, audio.AudioError):
        return {"advice": "cannot be decoded: see `sernb check`"}
    return {**found, "sample_rate": rate, "advice": audio.level_advice(found)}


def level_summary(measured: pd.DataFrame) -> pd.DataFrame:
    """For each emotion and for all: clips, minutes, median of the numbers of `measure`, and clips with advice."""

    def row(name: str, clips: pd.DataFrame) -> dict:
        medians = {
            f"{column} ({unit})": clips[column].median()
            for column, unit in (("seconds", "s"), ("peak", "dB"), ("level", "dB"), ("snr", "dB"))
        }
        counts = {"clipped": int((clips["clipped"] > 0).sum()), "with advice": int((clips["advice"] != "").sum())}
        total = {"clips": len(clips), "minutes": clips["seconds"].sum() / 60}
        return {"emotion": name, **total, **medians, "silent (%)": 100 * clips["silent"].median(), **counts}

    rows = [row(emotion, clips) for emotion, clips in measured.groupby("emotion")]
    return pd.DataFrame([*rows, row("all", measured)]).set_index("emotion")


def count_by_speaker(table: pd.DataFrame) -> pd.DataFrame:
    """Clips of each speaker (rows) and emotion (columns), with totals."""
    return pd.crosstab(table["speaker"], table["emotion"], margins=True, margins_name="all")


def unlisted_files(root: str | Path) -> list[str]:
    """Recordings in a local corpus's folder that its manifest does not name: import them, or remove them."""
    named = set(read_manifest(root)["file"])
    return sorted(
        name for path in find_audio_files(Path(root)) if (name := path.relative_to(root).as_posix()) not in named
    )
