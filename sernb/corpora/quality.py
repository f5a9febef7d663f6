"""Whether a corpus is fit for training: levels, clipping, silence and noise, and duplicates with different labels."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sernb import audio
from sernb import utils
from sernb.corpora.local import read_manifest
from sernb.corpora.manifest import manifest_files
from sernb.corpora.table import find_audio_files

SESSION_CLIPS = 3  # of fewer clips, the median level of a session says little


def measure_clips(table: pd.DataFrame) -> pd.DataFrame:
    """Measure level, clipping, silence and noise of each clip of a clip table, at its own sample rate.

    Returns:
        One row per clip, with `clip`, `speaker`, `emotion`, the columns of `audio.measure_levels`, `sample_rate` (Hz)
        and `advice`. A clip that cannot be decoded has no numbers, and `advice` says so.
    """
    measured = pd.DataFrame(utils.map_files(_measure_clip, table["path"]))
    return pd.concat([table[["clip", "speaker", "emotion"]].reset_index(drop=True), measured], axis=1)


def _measure_clip(path: str) -> dict[str, float | str]:
    import soundfile

    try:
        rate = soundfile.info(path).samplerate
        levels = audio.measure_levels(audio.load(path, rate), rate)
    except (OSError, soundfile.LibsndfileError, audio.AudioError):
        return {"advice": "cannot be decoded: see `sernb check`"}
    return {**levels, "sample_rate": rate, "advice": audio.level_advice(levels)}


def session_advice(measured: pd.DataFrame) -> pd.DataFrame:
    """Return advice on each speaker's recordings as a whole; empty if none is needed.

    A sad or calm clip may be quiet: its level is a cue to the emotion. What counts is the median of all of a speaker's
    clips, which one setting of the microphone should serve. Speakers with fewer than three clips are left out.

    Args:
        measured: The table of `measure_clips`.

    Returns:
        One row per speaker with advice, with `clips`, `level` (dB of full scale) and `snr` (dB), both the median, and
        `advice`.
    """
    sessions = measured[measured["level"].notna()].groupby("speaker")
    table = sessions.agg(
        clips=("clip", "size"), level=("level", "median"), snr=("snr", "median"), clipped=("clipped", "sum")
    )
    table = table[table["clips"] >= SESSION_CLIPS]
    table["advice"] = [
        audio.session_level_advice(row.level, row.snr, has_clipped=row.clipped > 0) for row in table.itertuples()
    ]
    return table[table["advice"] != ""].drop(columns="clipped")


def level_summary(measured: pd.DataFrame) -> pd.DataFrame:
    """Summarise `measure_clips` per emotion and for all clips: counts, minutes, medians, and clips with advice."""

    def row(name: str, clips: pd.DataFrame) -> dict:
        """Return the summary of one group of clips."""
        medians = {
            title: clips[column].median()
            for column, title in {
                "seconds": "duration (s)",
                "peak": "peak (dB)",
                "level": "level (dB)",
                "snr": "SNR (dB)",
            }.items()
        }
        counts = {"clipped": int((clips["clipped"] > 0).sum()), "with advice": int((clips["advice"] != "").sum())}
        total = {"clips": len(clips), "minutes": clips["seconds"].sum() / 60}
        return {"emotion": name, **total, **medians, "silent (%)": 100 * clips["silent"].median(), **counts}

    rows = [row(emotion, clips) for emotion, clips in measured.groupby("emotion")]
    return pd.DataFrame([*rows, row("all", measured)]).set_index("emotion")


def count_by_speaker(table: pd.DataFrame) -> pd.DataFrame:
    """Count the clips of each speaker (rows) and emotion (columns), with totals."""
    return pd.crosstab(table["speaker"], table["emotion"], margins=True, margins_name="all")


def conflicting_copies(table: pd.DataFrame) -> pd.DataFrame:
    """Return the clips that have the same bytes as another clip, but another emotion or speaker.

    Returns:
        Rows of the clip table with `clip`, `emotion`, `speaker` and `sha256`, copies next to each other.
    """
    readable = table[table["sha256"] != ""]
    labels = readable.groupby("sha256")[["emotion", "speaker"]].transform("nunique")
    conflicts = readable.loc[(labels > 1).any(axis=1), ["clip", "emotion", "speaker", "sha256"]]
    return conflicts.sort_values(["sha256", "clip"], ignore_index=True)


def unlisted_files(root: str | Path) -> list[str]:
    """Return the recordings in a local corpus's folder that its manifest does not list: import or remove them."""
    listed = set(manifest_files(Path(root), list(read_manifest(root)["file"])))
    return sorted(
        name for path in find_audio_files(Path(root)) if (name := path.relative_to(root).as_posix()) not in listed
    )
