"""What of the held-out rows a model has met before: the speaker, an augmented twin, the audio, the words."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import audio
from sernb import corpora
from sernb import features

if TYPE_CHECKING:
    from IPython.display import HTML

LEAK_KINDS = ("speaker", "twin", "content", "statement")
# A statement that was trained on is worth knowing; most corpora have so few that it is no fault by itself.
LEAK_FAULTS = LEAK_KINDS[:3]
# All that a telephone and the oldest corpora keep, so that copies at any rate are compared by what they have in common.
FINGERPRINT_RATE = 8000
FINGERPRINT_BAND = (150, 3400)  # Hz
FINGERPRINT_SIZE = 288  # numbers of a fingerprint
# What is as near as this by fingerprint is listened to. Measured on RAVDESS: copies at other rates, levels and codecs
# 0.98 and more, two takes of one actor 0.956 and less; but a synthetic voice reaches 0.994 with another reading.
FINGERPRINT_THRESHOLD = 0.95
# What correlates so as a waveform is one recording. Measured (tests/same.py): copies at other rates, levels and codecs
# do by 0.84 and more, different clips that are near by 0.31 and less on RAVDESS, by 0.58 among synthetic voices.
CORRELATION_THRESHOLD = 0.75
AUDIT_COLUMNS = (
    *("kind", "row", "clip", "copy", "split", "corpus", "speaker", "statement"),
    *("trained_clip", "trained_copy", "trained_speaker", "similarity", "rows", "trained_rows"),
)
LEAK_TEXT = {
    "speaker": "have their **speaker**",
    "twin": "have an augmented **twin**",
    "content": "have the **same recording**",
    "statement": "have their statement",
}
REMEDIES = {
    "speaker": 'split by speaker: PROTOCOL "speaker", "folds" or "loso" (notebook 02: without the fault speaker-leak)',
    "twin": 'make copies of what is trained on alone: AUGMENT "train-only" or "none"',
    "content": "take one of the two clips out of the corpus (`evaluation.find_leaks(rows)` names them), or, if one person speaks "
    'both, PROTOCOL "speaker", "folds" or "loso" (notebook 02: without the fault validation-in-train)',
}


class LeakError(ValueError):
    """A split that gives held-out rows away, with how many and which parameters mend it."""


def fingerprint_clips(table: pd.DataFrame) -> np.ndarray:
    """What is the same in all copies of a recording, for each row: see `features.audio_fingerprint`; kept in the store.

    Args:
        table: `path` and, if there, `sha256` of each clip. Augmented copies have their recording's fingerprint.

    Returns:
        Unit vectors, or zeros, which are like nothing, for silence and what else no run can use; float32, shape
        (n, 288). Their products are the similarities.
    """
    clips = table[["path"]].assign(
        sha256=table["sha256"] if "sha256" in table else corpora.sha256_of_files(table["path"])
    )
    prints = np.zeros((len(clips), FINGERPRINT_SIZE), dtype=np.float32)
    try:
        kept, _ = features.split_usable(clips.assign(clip=clips["path"]), "fingerprint", sample_rate=FINGERPRINT_RATE)
    except audio.AudioError:  # none of them can be used
        return prints
    heard = clips["path"].isin(kept["path"]).to_numpy()
    prints[heard] = features.extract(clips[heard], "fingerprint", sample_rate=FINGERPRINT_RATE)
    return prints


def similar_pairs(
    prints: np.ndarray, others: np.ndarray, threshold: float = FINGERPRINT_THRESHOLD
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of some fingerprints are so near to which of others that one recording may be behind both.

    Args:
        prints: Shape (n, d).
        others: Shape (m, d).
        threshold: Least similarity (cosine).

    Returns:
        Places in `prints`, places in `others`, and similarities of the pairs found; each of shape (pairs,).
    """
    found = []
    for start in range(0, len(prints), 512):  # 512 rows against 100,000 take 200 MB
        similarity = prints[start : start + 512] @ others.T
        i, j = np.nonzero(similarity >= threshold)
        found.append((start + i, j, similarity[i, j]))
    return tuple(np.concatenate(column) for column in zip(*found, strict=True)) if found else (np.empty(0, int),) * 3


def waveform_correlation(path: str, other: str) -> float:
    """How far two clips are one waveform, wherever it begins, however loud or turned over: 0 to 1, 1 for a copy.

    The largest cross-correlation at any delay, normalised by the energy of both.

    Raises:
        AudioError: A clip cannot be decoded.
    """
    return _cached_correlation(path, _file_stamp(path), other, _file_stamp(other))


@functools.lru_cache(maxsize=100_000)  # a split is looked at several times: for the banner, for metrics.json
def _cached_correlation(path: str, stamp: int, other: str, other_stamp: int) -> float:
    from scipy.signal import correlate

    first, second = _cached_waveform(path, stamp), _cached_waveform(other, other_stamp)
    energy = np.sqrt((first @ first) * (second @ second))
    return float(np.abs(correlate(first, second, method="fft")).max() / energy) if energy else 0.0


@functools.lru_cache(maxsize=256)
def _cached_waveform(path: str, stamp: int) -> np.ndarray:
    """The band that the fingerprint looks at too: an offset, or the hum of the mains, makes no two clips alike."""
    from scipy.signal import butter
    from scipy.signal import sosfiltfilt

    band = butter(4, FINGERPRINT_BAND, btype="bandpass", fs=FINGERPRINT_RATE, output="sos")
    signal = audio.load(path, FINGERPRINT_RATE)
    return sosfiltfilt(band, np.pad(signal, 64)) if len(signal) else signal.astype(np.float64)


def _file_stamp(path: str) -> int:
    """Tells a file from what lay there before; 0 where none lies there, which decoding says better."""
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0


def find_leaks(
    rows: pd.DataFrame, fitted: tuple[str, ...] = ("train",), held_out: tuple[str, ...] = ("val", "test")
) -> pd.DataFrame:
    """What the rows that are fitted on give away of the held-out rows.

    Args:
        rows: One row a clip and copy, with `split` and what there is of `path`, `speaker`, `statement`, `copy`,
            `sha256`, `clip` and `corpus`: what `evaluation.make_split` returns, or a table of one's own. Without `path` audio
            is compared byte by byte alone (`sha256`).
        fitted: The sides that the model is fitted on; `validation-in-train` fits on two.
        held_out: The sides that are looked at.

    Returns:
        One row a pair for `content` (the same recording in the same copy, under whatever name, rate, level or codec)
        and `twin` (the same recording in another copy), with `row`, the held-out row's position in `rows`, and
        `similarity`, their `correlation` (1 for the same file). One row a speaker and one a statement on both sides,
        with the number of rows there are of them (`rows` held out, `trained_rows`).

    Raises:
        LeakError: No row is fitted on, or none is held out.
        AudioError: A clip cannot be decoded.
    """
    told = _with_audit_columns(rows)
    held, trained = (_rows_of_sides(told, sides) for sides in (held_out, fitted))
    found = [
        _shared_values(held, trained, "speaker"),
        _same_audio(held, trained),
        _shared_values(held, trained, "statement"),
    ]
    table = pd.concat(found, ignore_index=True).reindex(columns=AUDIT_COLUMNS)
    return table.astype(dict.fromkeys(("row", "copy", "trained_copy", "rows", "trained_rows"), "Int64"))


def count_leaks(
    rows: pd.DataFrame, fitted: tuple[str, ...] = ("train",), held_out: tuple[str, ...] = ("val", "test")
) -> dict[str, int]:
    """How many held-out rows have their `speaker`, a `twin`, their `content` or `statement` among those fitted on.

    A row whose very recording is there is not counted as a twin too. Arguments as of `pairs`.
    """
    found = find_leaks(rows, fitted, held_out)
    of = dict(list(found.groupby("kind")))
    none = found.iloc[:0]
    content = set(of.get("content", none)["row"])
    return {
        "speaker": int(of.get("speaker", none)["rows"].sum()),
        "twin": len(set(of.get("twin", none)["row"]) - content),
        "content": len(content),
        "statement": int(of.get("statement", none)["rows"].sum()),
    }


def leak_banner(
    parts: pd.DataFrame | Iterable[pd.DataFrame],
    fitted: tuple[str, ...] = ("train",),
    held_out: tuple[str, ...] = ("val", "test"),
    *,
    strict: bool = False,
) -> HTML:
    """A banner for the page: LEAKS or CLEAN, which kinds, and how many of how many held-out rows.

    Args:
        parts: The rows of a split, or those of several (folds), whose counts are added up.
        fitted: As of `pairs`.
        held_out: As of `pairs`.
        strict: Refuse a split that leaks instead of showing it.

    Raises:
        LeakError: The split leaks, and `strict` is set.
    """
    from IPython.display import HTML

    parts = [parts] if isinstance(parts, pd.DataFrame) else list(parts)
    found = leak_table(parts, fitted, held_out)
    leaks, number = found["rows"].to_dict(), int(found["held_out"].iloc[0])
    if strict and any(leaks[kind] for kind in LEAK_FAULTS):
        raise LeakError(_leak_error(leaks, number))
    return HTML(_banner_html(leaks, number, f" in {len(parts)} folds" * (len(parts) > 1)))


def leak_table(
    parts: Iterable[pd.DataFrame], fitted: tuple[str, ...] = ("train",), held_out: tuple[str, ...] = ("val", "test")
) -> pd.DataFrame:
    """The counts of one or more splits (folds) together: `rows` of each kind, of how many that are `held_out`."""
    parts = list(parts)
    each = [count_leaks(part, fitted, held_out) for part in parts]
    number = sum(int(part["split"].isin(held_out).sum()) for part in parts)
    leaks = {kind: sum(one[kind] for one in each) for kind in LEAK_KINDS}
    return pd.DataFrame({"rows": leaks, "held_out": number}).rename_axis("kind")


def _leak_error(leaks: dict[str, int], number: int) -> str:
    faults = [kind for kind in LEAK_FAULTS if leaks[kind]]
    told = ", ".join(f"{leaks[kind]} {LEAK_TEXT[kind].replace('*', '')}" for kind in faults)
    mend = "; ".join(f"{kind}: {REMEDIES[kind]}" for kind in faults)
    return (
        f"STRICT is set, and this split leaks: of {number} held-out rows {told} also in the training data. "
        f"What mends it: {mend}. Or set STRICT to False."
    )


def _banner_html(leaks: dict[str, int], number: int, where: str) -> str:
    """Colours of its own for text and ground, so that it can be read in a dark JupyterLab and on paper."""
    bad = any(leaks[kind] for kind in LEAK_FAULTS)
    word, dark, light = ("LEAKS", "#8b0000", "#fdecea") if bad else ("CLEAN", "#14532d", "#eaf6ec")
    shown = [kind for kind in LEAK_FAULTS if leaks[kind]] or LEAK_FAULTS
    told = ", ".join(f"<b>{leaks[kind]}</b> {_bold(LEAK_TEXT[kind])}" for kind in shown)
    return (
        f'<div role="note" class="audit" style="border:2px solid {dark};border-left-width:12px;background:{light};'
        f'color:#1a1a1a;padding:.6em .9em;margin:.5em 0"><b style="color:{dark}">{word}</b> &ensp; Of {number} '
        f"held-out rows{where} (validation and test) {told} also in the training data. "
        f"<small>For information: {leaks['statement']} {LEAK_TEXT['statement']} there too.</small></div>"
    )


def _bold(text: str) -> str:
    first, _, rest = text.partition("**")
    return f"{first}<b>{rest.replace('**', '</b>')}" if rest else text


# one's own tables


def _with_audit_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that the audit reads, where a table lacks some: empty text is what nobody shares."""
    if "split" not in rows:
        raise LeakError(f"the table has no column split; it has {', '.join(map(str, rows))}.")
    table = pd.DataFrame({"row": np.arange(len(rows)), "split": rows["split"].to_numpy()})
    for column in ("path", "clip", "corpus", "speaker", "statement", "sha256"):
        table[column] = rows[column].fillna("").astype(str).to_numpy() if column in rows else ""
    table["copy"] = rows["copy"].to_numpy() if "copy" in rows else 0
    table["clip"] = table["clip"].where(table["clip"] != "", table["path"])
    if "sha256" not in rows and "path" in rows:
        digest = dict(zip(files := table["path"].unique(), corpora.sha256_of_files(files), strict=True))
        table["sha256"] = table["path"].map(digest)
    # Two clips of unknown bytes are the same only if they are one clip; rows of which nothing is known never are.
    table["audio"] = table["sha256"].where(table["sha256"] != "", table["corpus"] + ":" + table["clip"])
    table["audio"] = table["audio"].where(table["clip"] + table["sha256"] != "", "row " + table["row"].astype(str))
    return table


def _rows_of_sides(table: pd.DataFrame, sides: tuple[str, ...]) -> pd.DataFrame:
    part = table[table["split"].isin(sides)]
    if part.empty:
        has = ", ".join(map(repr, sorted(set(table["split"]), key=str)))
        raise LeakError(f"no row's split is {' or '.join(sides)}; there are {has}; name them by fitted and held_out.")
    return part


def _shared_values(held: pd.DataFrame, trained: pd.DataFrame, kind: str) -> pd.DataFrame:
    """One row for each speaker (or statement) of a corpus that is on both sides; two corpora may both have an "01"."""
    by = ["corpus", kind]
    here, there = (part[part[kind] != ""].groupby(by) for part in (held, trained))
    seen = here["split"].agg(lambda sides: ", ".join(dict.fromkeys(sides))).to_frame()
    seen = seen.assign(rows=here.size()).join(there.size().rename("trained_rows"), how="inner").reset_index()
    return seen.assign(kind=kind)


def _same_audio(held: pd.DataFrame, trained: pd.DataFrame) -> pd.DataFrame:
    """One row for each held-out row and row fitted on that are the same recording."""
    theirs = trained[["audio", "clip", "copy", "speaker"]].rename(columns="trained_{}".format)
    found = held.merge(_similar_recordings(held, trained), on="audio").merge(theirs, on="trained_audio")
    kinds = np.where(found["copy"] == found["trained_copy"], "content", "twin")
    return found.assign(kind=kinds, rows=1, trained_rows=1)


def _similar_recordings(held: pd.DataFrame, trained: pd.DataFrame) -> pd.DataFrame:
    """Which recordings of one side are which of the other: `audio`, `trained_audio`, `similarity`."""
    here, there = (part.drop_duplicates("audio") for part in (held, trained))
    same = here.loc[here["audio"].isin(there["audio"]), ["audio"]]
    same = same.assign(trained_audio=same["audio"], similarity=1.0)
    here, there = (part[part["path"] != ""] for part in (here, there))
    if here.empty or there.empty:
        return same
    prints = fingerprint_clips(pd.concat([here, there]))
    i, j, _ = similar_pairs(prints[: len(here)], prints[len(here) :])
    theirs = there[["audio", "path"]].iloc[j].add_prefix("trained_").reset_index(drop=True)
    close = here[["audio", "path"]].iloc[i].reset_index(drop=True).join(theirs)
    close = close[close["audio"] != close["trained_audio"]]
    both = zip(close.pop("path"), close.pop("trained_path"), strict=True)
    close = close.assign(similarity=[waveform_correlation(*paths) for paths in both])
    return pd.concat([same, close[close["similarity"] >= CORRELATION_THRESHOLD]], ignore_index=True)
