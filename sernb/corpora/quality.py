"""Floor 3: is a corpus fit for training: levels, clipping, silence and noise of its clips, and who is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sernb import audio
from sernb import corpora
from sernb import files
from sernb import local
from sernb import splits

FRAME_SECONDS = 0.025
FULL_SCALE = 0.999  # 16-bit recordings clip at 32767/32768
LIMITS = {"shortest": 0.5, "quietest": -45.0, "noisiest": 15.0, "most silent": 0.7}
SIDES = 3  # train, validation, test: a speaker split takes a speaker of each emotion for each


def levels(signal: np.ndarray, sample_rate: int) -> dict[str, float]:
    """What can be measured of one clip.

    Args:
        signal: Shape (n,), full scale at 1.
        sample_rate: In Hz.

    Returns:
        `seconds`; `peak` and `level` in dB of full scale, the level being that of the louder half of the frames of
        25 ms; `clipped`, the samples at full scale; `silent`, the share of frames 30 dB or more below the loudest;
        `snr`, how many dB the level is above the quietest tenth of the frames.
    """
    size = max(1, int(FRAME_SECONDS * sample_rate))
    frames = audio.pad(signal, size)[: max(1, len(signal) // size) * size].reshape(-1, size)
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


def advice(found: dict[str, float]) -> str:
    """What to do about a clip's `levels`, in a few words; empty where nothing need be done."""
    faults = {
        "clipped: step back or turn the input down": found["clipped"] > 0,
        "too short": found["seconds"] < LIMITS["shortest"],
        "too quiet: come nearer or turn the input up": found["level"] < LIMITS["quietest"],
        "mostly silence: trim it": found["silent"] > LIMITS["most silent"],
        "noisy: find a quieter room": found["snr"] < LIMITS["noisiest"],
    }
    return "; ".join(text for text, there in faults.items() if there)


def measure(table: pd.DataFrame) -> pd.DataFrame:
    """The `levels` and `advice` of each clip of a clip table, at its own sample rate.

    Returns:
        One row a clip, with `clip`, `speaker`, `emotion`, those of `levels`, `sample_rate`, `advice`. A clip that
        cannot be decoded says so in `advice` and has no numbers.
    """
    found = pd.DataFrame(files.each(_measured, table["path"]))
    return pd.concat([table[["clip", "speaker", "emotion"]].reset_index(drop=True), found], axis=1)


def _measured(path: str) -> dict[str, float | str]:
    import soundfile

    try:
        rate = soundfile.info(path).samplerate
        found = levels(audio.load(path, rate), rate)
    except (OSError, soundfile.LibsndfileError, audio.AudioError):
        return {"advice": "cannot be decoded: see `sernb check`"}
    return {**found, "sample_rate": rate, "advice": advice(found)}


def summary(measured: pd.DataFrame) -> pd.DataFrame:
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


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Clips of each speaker (rows) and emotion (columns), with totals."""
    return pd.crosstab(table["speaker"], table["emotion"], margins=True, margins_name="all")


def missing(table: pd.DataFrame) -> pd.DataFrame:
    """What a speaker split still lacks: each emotion takes three speakers, one for each side.

    Returns:
        One row an emotion, with `speakers` who have it, `speakers to add`, `clips`, and `not yet by`, those who lack
        it.
    """
    voices = sorted(table["speaker"].unique())
    rows = []
    for emotion in corpora.labels(table):
        own = table[table["emotion"] == emotion]
        have = set(own["speaker"])
        lacking = ", ".join(voice for voice in voices if voice not in have)
        told = {"speakers": len(have), "speakers to add": max(0, SIDES - len(have)), "clips": len(own)}
        rows.append({"emotion": emotion, **told, "not yet by": lacking})
    return pd.DataFrame(rows).set_index("emotion")


def verdict(table: pd.DataFrame, *, ratio: str = "60:20:20", seed: int = 42) -> str:
    """Whether the corpus can be split by speaker now, as a sentence, and if not, what is in the way."""
    known = corpora.trainable(table)
    if known["emotion"].nunique() < 2:
        return "**Not yet:** there is nothing to tell apart; record at least two emotions."
    try:
        rows = splits.prepare(known, "speaker", ratio=ratio, seed=seed)
    except splits.SplitError as error:
        return f"**Not yet:** {error}"
    sides = rows.groupby("split")["speaker"].nunique()
    shares = ", ".join(f"{sides[side]} for {name}" for side, name in zip(splits.SIDES, _NAMES, strict=True))
    short = missing(known).query("`speakers to add` > 0")
    lacking = ", ".join(f"{row['speakers to add']} of {emotion}" for emotion, row in short.iterrows())
    more = f" To have each emotion on each side it takes more speakers: {lacking}." if lacking else ""
    return f"**Yes:** the {known['speaker'].nunique()} speakers can be split: {shares}.{more}"


_NAMES = ("training", "validation", "test")


def strays(root: str | Path) -> list[str]:
    """Recordings in a local corpus's folder that its manifest does not name: import them, or remove them."""
    named = set(local.manifest(root)["file"])
    return sorted(name for path in corpora.walk(Path(root)) if (name := path.relative_to(root).as_posix()) not in named)
