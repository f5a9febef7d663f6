"""Find what the held-out rows share with the training data: speaker, augmented copy, audio, statement."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import audio
from sernb import corpora
from sernb import features
from sernb import utils

if TYPE_CHECKING:
    from IPython.display import HTML

LEAK_KINDS = ("speaker", "twin", "content", "statement")
# A statement in the training data is only information: most corpora have so few that it cannot be avoided.
LEAK_FAULTS = LEAK_KINDS[:3]
# The band of a telephone and of the oldest corpora: what copies at any rate have in common.
FINGERPRINT_RATE = 8000
FINGERPRINT_BAND = (150, 3400)  # Hz
FINGERPRINT_SIZE = 288
# Recordings with fingerprints this similar are compared as waveforms. Measured on RAVDESS: copies at other rates,
# levels and codecs 0.98 and more, two takes of one actor 0.956 and less; but 0.994 for two readings of a synthetic one.
FINGERPRINT_THRESHOLD = 0.95
# Waveforms with this correlation are one recording. Measured (benchmarks/altered_copies.py): copies at other rates,
# levels and codecs 0.84 and more; different clips with similar fingerprints 0.31 and less on RAVDESS, 0.58 for
# synthetic speech.
CORRELATION_THRESHOLD = 0.75
# Clips with this correlation where they overlap contain the same sound. Measured on RAVDESS speech (the same script):
# parts of a third of a clip, against the clip or a part that overlaps by half, 0.81 and more; 240 pairs of different
# clips of one speaker 0.27 and less.
OVERLAP_THRESHOLD = 0.5
OVERLAP_SECONDS = 0.3  # shorter overlaps are not compared
AUDIT_COLUMNS = (
    *("kind", "row", "clip", "copy", "split", "corpus", "speaker", "statement"),
    *("trained_clip", "trained_copy", "trained_speaker", "similarity", "rows", "trained_rows"),
)
LEAK_TEXT = {
    "speaker": "have their **speaker**",
    "twin": "have an augmented **copy**",
    "content": "have the **same recording**",
    "statement": "have their sentence",
}
REMEDIES = {
    "speaker": 'split by speaker: PROTOCOL "speaker", "folds" or "loso" (notebook 02: without the fault speaker-leak)',
    "twin": 'copy the training set only: AUGMENT "train-only" or "none"',
    "content": "remove one of the two clips from the corpus (`evaluation.find_leaks(rows)` lists them) or, if one "
    'speaker has both, PROTOCOL "speaker", "folds" or "loso" (notebook 02: without the fault validation-in-train)',
}
BANNER_COLOURS = {  # of text and background
    "LEAKS": ("#8b0000", "#fdecea"),
    "CLEAN": ("#14532d", "#eaf6ec"),
    "NOT FULLY CHECKED": ("#7a4a00", "#fff6e0"),
}


class LeakError(ValueError):
    """A split that leaks, with how many rows it concerns and which parameters avoid it."""


# one recording under several names


def fingerprint_clips(table: pd.DataFrame) -> np.ndarray:
    """Compute a fingerprint of each row that is the same for all copies of a recording; cached in the feature store.

    Args:
        table: `path` and, if there is one, `sha256` of each clip. Augmented copies have their recording's fingerprint.

    Returns:
        Unit vectors (see `features.audio_fingerprint`), or zeros for silence and for clips that no run can use;
        float32, shape (n, 288). Their dot products are the similarities.
    """
    clips = table[["path"]].assign(
        sha256=table["sha256"] if "sha256" in table else corpora.sha256_of_files(table["path"])
    )
    prints = np.zeros((len(clips), FINGERPRINT_SIZE), dtype=np.float32)
    try:
        usable, _ = features.split_usable(clips.assign(clip=clips["path"]), "fingerprint", sample_rate=FINGERPRINT_RATE)
    except audio.AudioError:  # no clip can be used
        return prints
    is_usable = clips["path"].isin(usable["path"]).to_numpy()
    prints[is_usable] = features.extract(clips[is_usable], "fingerprint", sample_rate=FINGERPRINT_RATE)
    return prints


def similar_pairs(
    prints: np.ndarray, others: np.ndarray, threshold: float = FINGERPRINT_THRESHOLD
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the pairs of fingerprints that are so similar that they may be of one recording.

    Args:
        prints: Shape (n, d).
        others: Shape (m, d).
        threshold: Smallest similarity (cosine).

    Returns:
        Indices into `prints`, indices into `others`, and similarities of the pairs; each of shape (pairs,).
    """
    pairs = []
    for start in range(0, len(prints), 512):  # 512 rows against 100,000 take 200 MB
        similarity = prints[start : start + 512] @ others.T
        i, j = np.nonzero(similarity >= threshold)
        pairs.append((start + i, j, similarity[i, j]))
    return tuple(np.concatenate(column) for column in zip(*pairs, strict=True)) if pairs else (np.empty(0, int),) * 3


def waveform_correlation(path: str, other: str) -> float:
    """Compute the largest cross-correlation of two clips at any delay, normalised by their energies: 1 for a copy.

    Level and polarity do not matter.

    Raises:
        AudioError: A clip cannot be decoded.
    """
    return _cached_correlation(path, _file_stamp(path), other, _file_stamp(other))


@functools.lru_cache(maxsize=100_000)  # a split is audited several times: for the banner, for metrics.json
def _cached_correlation(path: str, stamp: int, other: str, other_stamp: int) -> float:
    from scipy.signal import correlate

    first, second = _cached_waveform(path, stamp), _cached_waveform(other, other_stamp)
    energy = np.sqrt((first @ first) * (second @ second))
    return float(np.abs(correlate(first, second, method="fft")).max() / energy) if energy else 0.0


def shares_sound(path: str | Path, other: str | Path) -> bool:
    """Return whether two clips contain the same sound: a recording and a part of it, or two parts that overlap.

    Raises:
        AudioError: A clip cannot be decoded.
    """
    return overlap_correlation(path, other) >= OVERLAP_THRESHOLD


def overlap_correlation(path: str | Path, other: str | Path) -> float:
    """Return the largest correlation of two clips where they overlap, at any delay; 1 for the same file.

    Raises:
        AudioError: A clip cannot be decoded.
    """
    clips = sorted([(str(path), _file_stamp(path)), (str(other), _file_stamp(other))])
    return 1.0 if clips[0] == clips[1] else _cached_overlap_correlation(*clips[0], *clips[1])


@functools.lru_cache(maxsize=100_000)
def _cached_overlap_correlation(path: str, stamp: int, other: str, other_stamp: int) -> float:
    """Compute the largest cross-correlation of two clips at any delay, normalised by the energies of the overlap."""
    from scipy.signal import correlate

    first, second = _cached_waveform(path, stamp), _cached_waveform(other, other_stamp)
    delay = np.arange(1 - len(second), len(first))
    start, end = np.maximum(delay, 0), np.minimum(delay + len(second), len(first))
    sums, other_sums = (np.r_[0.0, np.cumsum(signal**2)] for signal in (first, second))
    energy = (sums[end] - sums[start]) * (other_sums[end - delay] - other_sums[start - delay])
    shortest = min(int(OVERLAP_SECONDS * FINGERPRINT_RATE), len(first), len(second))
    is_compared = (end - start >= shortest) & (energy > 1e-12 * sums[-1] * other_sums[-1])
    if not is_compared.any():
        return 0.0
    return float((np.abs(correlate(first, second, method="fft"))[is_compared] / np.sqrt(energy[is_compared])).max())


@functools.lru_cache(maxsize=256)
def _cached_waveform(path: str, stamp: int) -> np.ndarray:
    """Load a clip and keep the band of the fingerprint: an offset or mains hum must not make two clips similar."""
    from scipy.signal import butter
    from scipy.signal import sosfiltfilt

    band = butter(4, FINGERPRINT_BAND, btype="bandpass", fs=FINGERPRINT_RATE, output="sos")
    signal = audio.load(path, FINGERPRINT_RATE)
    return sosfiltfilt(band, np.pad(signal, 64)) if len(signal) else signal.astype(np.float64)


def _file_stamp(path: str) -> int:
    """Return a number that changes when the file does; 0 if there is no file, for which decoding raises the error."""
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0


# the audit of a split


def find_leaks(
    rows: pd.DataFrame, fitted: tuple[str, ...] = ("train",), held_out: tuple[str, ...] = ("val", "test")
) -> pd.DataFrame:
    """Find what the rows that a model is fitted on share with the held-out rows.

    Args:
        rows: One row per clip and copy, with `split` and any of `path`, `speaker`, `statement`, `copy`, `sha256`,
            `clip` and `corpus`: the table of `evaluation.make_split`, or one's own. Without `path`, audio is compared
            only byte by byte (`sha256`).
        fitted: The sets that the model is fitted on; `validation-in-train` fits on two.
        held_out: The sets that are audited.

    Returns:
        One row per pair for `content` (the same recording in the same copy, whatever its name, rate, level or codec)
        and `twin` (the same recording in another copy), with `row`, the held-out row's position in `rows`, and
        `similarity`, the correlation of the waveforms (1 for the same file). One row per speaker and per statement in
        both, with its number of rows (`rows` held out, `trained_rows`).

    Raises:
        LeakError: No row is fitted on, or none is held out.
        AudioError: A clip cannot be decoded.
    """
    table = _with_audit_columns(rows)
    held, trained = (_rows_of_sides(table, sides) for sides in (held_out, fitted))
    leaks = [
        _shared_values(held, trained, "speaker"),
        _same_audio(held, trained),
        _shared_values(held, trained, "statement"),
    ]
    leaks = pd.concat(leaks, ignore_index=True).reindex(columns=AUDIT_COLUMNS)
    return leaks.astype(dict.fromkeys(("row", "copy", "trained_copy", "rows", "trained_rows"), "Int64"))


def count_leaks(
    rows: pd.DataFrame, fitted: tuple[str, ...] = ("train",), held_out: tuple[str, ...] = ("val", "test")
) -> dict[str, int]:
    """Count the held-out rows whose `speaker`, `twin`, `content` or `statement` is among the rows fitted on.

    A row whose own recording is there is not counted as a twin too. Arguments as for `find_leaks`.
    """
    leaks = find_leaks(rows, fitted, held_out)
    by_kind = {kind: leaks[leaks["kind"] == kind] for kind in LEAK_KINDS}
    content = set(by_kind["content"]["row"])
    return {
        "speaker": int(by_kind["speaker"]["rows"].sum()),
        "twin": len(set(by_kind["twin"]["row"]) - content),
        "content": len(content),
        "statement": int(by_kind["statement"]["rows"].sum()),
    }


def leak_table(
    parts: Iterable[pd.DataFrame], fitted: tuple[str, ...] = ("train",), held_out: tuple[str, ...] = ("val", "test")
) -> pd.DataFrame:
    """Add up the counts of one or more splits (folds): `rows` of each kind, out of the rows that are `held_out`."""
    parts = list(parts)
    counts = [count_leaks(part, fitted, held_out) for part in parts]
    total = sum(int(part["split"].isin(held_out).sum()) for part in parts)
    leaks = {kind: sum(count[kind] for count in counts) for kind in LEAK_KINDS}
    return pd.DataFrame({"rows": leaks, "held_out": total}).rename_axis("kind")


def unchecked_leaks(
    rows: pd.DataFrame, fitted: tuple[str, ...] = ("train",), held_out: tuple[str, ...] = ("val", "test")
) -> dict[str, str]:
    """Return, for each kind of leak that cannot be checked on all rows, the reason as text; empty if all can be."""
    table = _with_audit_columns(rows)
    table = table[table["split"].isin((*fitted, *held_out))]
    reasons = {}
    for kind in ("speaker", "statement"):
        if missing := int((table[kind] == "").sum()):
            reasons[kind] = f"{missing} of {len(table)} rows have no {kind}"
    files = table["path"].drop_duplicates()
    if missing := int((table["path"] == "").sum()):
        reason = f"{missing} of {len(table)} rows have no path, so that only identical files were recognised"
    elif missing := sum(not os.path.isfile(path) for path in files):
        reason = f"{missing} of {len(files)} audio files do not exist"
    elif missing := int((~fingerprint_clips(table).any(axis=1)).sum()):
        reason = f"{missing} of {len(table)} rows are silent or cannot be decoded"
    else:
        return reasons
    return reasons | {"twin": reason, "content": reason}


# the banner


def leak_banner(
    parts: pd.DataFrame | Iterable[pd.DataFrame],
    fitted: tuple[str, ...] = ("train",),
    held_out: tuple[str, ...] = ("val", "test"),
    *,
    strict: bool = False,
) -> HTML:
    """Return a banner for the page: LEAKS, CLEAN or NOT FULLY CHECKED, with the counts of each kind.

    CLEAN means that every kind of fault was checked on all rows and none was found.

    Args:
        parts: The rows of a split, or of several (folds), whose counts are added up.
        fitted: As for `find_leaks`.
        held_out: As for `find_leaks`.
        strict: Raise an error for a split that leaks instead of showing it.

    Raises:
        LeakError: The split leaks, and `strict` is set.
    """
    from IPython.display import HTML

    parts = [parts] if isinstance(parts, pd.DataFrame) else list(parts)
    table = leak_table(parts, fitted, held_out)
    leaks, total = table["rows"].to_dict(), int(table["held_out"].iloc[0])
    if strict and any(leaks[kind] for kind in LEAK_FAULTS):
        raise LeakError(_leak_error(leaks, total))
    unchecked = {kind: why for part in parts for kind, why in unchecked_leaks(part, fitted, held_out).items()}
    return HTML(_banner_html(leaks, unchecked, total, f" in {len(parts)} folds" * (len(parts) > 1)))


def _leak_error(leaks: dict[str, int], total: int) -> str:
    faults = [kind for kind in LEAK_FAULTS if leaks[kind]]
    counts = utils.join_words(f"{leaks[kind]} {LEAK_TEXT[kind].replace('*', '')}" for kind in faults)
    remedies = "; ".join(f"{kind}: {REMEDIES[kind]}" for kind in faults)
    return (
        f"STRICT is set, and this split leaks: of {total} held-out rows {counts} in the training set. "
        f"To avoid this: {remedies}. Or set STRICT to False."
    )


def _banner_html(leaks: dict[str, int], unchecked: dict[str, str], total: int, folds: str) -> str:
    """Return the banner with its own colours for text and background, so that it is readable in a dark JupyterLab."""
    faults = [kind for kind in LEAK_FAULTS if leaks[kind]]
    not_checked = [kind for kind in LEAK_FAULTS if kind in unchecked]
    word = "LEAKS" if faults else "NOT FULLY CHECKED" if not_checked else "CLEAN"
    dark, light = BANNER_COLOURS[word]
    counts = utils.join_words(f"<b>{leaks[kind]}</b> {_bold(LEAK_TEXT[kind])}" for kind in faults or LEAK_FAULTS)
    return (
        f'<div role="note" class="audit" style="border:2px solid {dark};border-left-width:12px;background:{light};'
        f'color:#1a1a1a;padding:.6em .9em;margin:.5em 0"><b style="color:{dark}">{word}</b> &ensp; Of {total} '
        f"held-out rows{folds} (validation and test), {counts} in the training set. "
        f"{_unchecked_text(not_checked, unchecked)}<small>{_statement_text(leaks, unchecked)}</small></div>"
    )


def _unchecked_text(kinds: list[str], unchecked: dict[str, str]) -> str:
    names = {"speaker": "speaker", "twin": "augmented copies", "content": "same recording"}
    by_reason = {unchecked[kind]: [names[k] for k in kinds if unchecked[k] == unchecked[kind]] for kind in kinds}
    return "".join(f"Not fully checked: {' and '.join(names)} ({why}). " for why, names in by_reason.items())


def _statement_text(leaks: dict[str, int], unchecked: dict[str, str]) -> str:
    if "statement" in unchecked:
        return f"Sentences were not fully checked ({unchecked['statement']})."
    return f"For information: {leaks['statement']} {LEAK_TEXT['statement']} there."


def _bold(text: str) -> str:
    first, _, rest = text.partition("**")
    return f"{first}<b>{rest.replace('**', '</b>')}" if rest else text


# tables of any origin


def _with_audit_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that the audit reads; a column that is missing is empty text, which nothing shares."""
    if "split" not in rows:
        raise LeakError(f"the table has no column split; it has {', '.join(map(str, rows))}")
    table = pd.DataFrame({"row": np.arange(len(rows)), "split": rows["split"].to_numpy()})
    for column in ("path", "clip", "corpus", "speaker", "statement", "sha256"):
        table[column] = rows[column].fillna("").astype(str).to_numpy() if column in rows else ""
    table["copy"] = rows["copy"].to_numpy() if "copy" in rows else 0
    table["clip"] = table["clip"].where(table["clip"] != "", table["path"])
    if "sha256" not in rows and "path" in rows:
        digest = dict(zip(files := table["path"].unique(), corpora.sha256_of_files(files), strict=True))
        table["sha256"] = table["path"].map(digest)
    # Two folders of the user's own may both be called `local` and have a speaker S01: they are different people.
    local = (table["corpus"] == "local") & (table["path"] != "")
    folder = [path.removesuffix(clip) for path, clip in zip(table["path"], table["clip"], strict=True)]
    table["collection"] = table["corpus"].where(~local, "local " + pd.Series(folder, dtype=object))
    # Two clips of unknown content are the same only if they are one clip; rows without any of both never are.
    table["audio"] = table["sha256"].where(table["sha256"] != "", table["collection"] + ":" + table["clip"])
    table["audio"] = table["audio"].where(table["clip"] + table["sha256"] != "", "row " + table["row"].astype(str))
    return table


def _rows_of_sides(table: pd.DataFrame, sides: tuple[str, ...]) -> pd.DataFrame:
    rows = table[table["split"].isin(sides)]
    if rows.empty:
        present = ", ".join(map(repr, sorted(set(table["split"]), key=str)))
        raise LeakError(
            f"no row has the split {' or '.join(sides)}; the table has {present}. Name its sets with `fitted` and "
            "`held_out`."
        )
    return rows


def _shared_values(held: pd.DataFrame, trained: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return one row per speaker (or statement) of a collection that is in both; "01" of another corpus is another."""
    by = ["collection", kind]
    held_groups, trained_groups = (rows[rows[kind] != ""].groupby(by) for rows in (held, trained))
    shared = held_groups["split"].agg(lambda sides: ", ".join(dict.fromkeys(sides))).to_frame()
    shared = shared.assign(corpus=held_groups["corpus"].first(), rows=held_groups.size())
    return shared.join(trained_groups.size().rename("trained_rows"), how="inner").reset_index().assign(kind=kind)


def _same_audio(held: pd.DataFrame, trained: pd.DataFrame) -> pd.DataFrame:
    """Return one row per pair of a held-out row and a row fitted on that are the same recording."""
    trained_rows = trained[["audio", "clip", "copy", "speaker"]].rename(columns="trained_{}".format)
    pairs = held.merge(_similar_recordings(held, trained), on="audio").merge(trained_rows, on="trained_audio")
    kinds = np.where(pairs["copy"] == pairs["trained_copy"], "content", "twin")
    return pairs.assign(kind=kinds, rows=1, trained_rows=1)


def _similar_recordings(held: pd.DataFrame, trained: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of held-out recordings and recordings fitted on that are one: `audio`, `trained_audio`,
    `similarity`.
    """
    held, trained = (rows.drop_duplicates("audio") for rows in (held, trained))
    same = held.loc[held["audio"].isin(trained["audio"]), ["audio"]]
    same = same.assign(trained_audio=same["audio"], similarity=1.0)
    held, trained = (rows[rows["path"] != ""] for rows in (held, trained))
    if held.empty or trained.empty:
        return same
    prints = fingerprint_clips(pd.concat([held, trained]))
    i, j, _ = similar_pairs(prints[: len(held)], prints[len(held) :])
    candidates = trained[["audio", "path"]].iloc[j].add_prefix("trained_").reset_index(drop=True)
    candidates = held[["audio", "path"]].iloc[i].reset_index(drop=True).join(candidates)
    candidates = candidates[candidates["audio"] != candidates["trained_audio"]]
    paths = zip(candidates.pop("path"), candidates.pop("trained_path"), strict=True)
    candidates = candidates.assign(similarity=[waveform_correlation(*pair) for pair in paths])
    return pd.concat([same, candidates[candidates["similarity"] >= CORRELATION_THRESHOLD]], ignore_index=True)
