"""Measure how similar altered copies of a recording are for the audit, and how similar different clips are.

    python benchmarks/altered_copies.py ravdess              # 40 clips in each of `WAYS`, all clips against each other
    python benchmarks/altered_copies.py crema --clips 10

The first table gives, for each way of altering, the similarity of the fingerprints (a pair is compared further from
`evaluation.FINGERPRINT_THRESHOLD`) and the correlation of the waveforms (a pair is reported from
`evaluation.CORRELATION_THRESHOLD`): minimum, median, and the share that the audit finds. The other tables show
different clips with similar fingerprints: how many there are, and how far they correlate. The last table is for
`evaluation.shares_sound`: the correlation where they overlap of parts cut out of a clip, and of different clips of one
speaker.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from sernb import audio
from sernb import corpora
from sernb import evaluation

WAYS = (
    *("gain12", "gain-12", "gain-30", "rate48000", "rate44100", "rate22050", "rate8000", "stereo", "silence"),
    *("upside down", "24 bit", "8 bit", "flac", "ogg", "mp3", "offset 0.02", "offset 0.1", "hum", "telephone"),
    *("pressed mp3", "pressed vorbis", "pressed opus", "pressed gsm", "pressed u-law"),
    *("start cut 0", "end cut 0", "start cut 0.1", "end cut 0.1", "start cut 0.2", "end cut 0.2", "end cut 0.4"),
    *("clipped 12", "white noise 20", "white noise 10"),
)


def alter(path: Path, folder: Path, how: str) -> Path:
    """Write a copy of a clip, altered in one of `WAYS`, into a folder of its own and return its path."""
    import librosa

    signal, rate = soundfile.read(path, dtype="float32", always_2d=True)
    signal = signal.mean(axis=1)
    name, options = "copy.wav", {}
    if how.startswith("gain"):  # without clipping, where the file can hold it
        signal, options = signal * 10 ** (float(how[4:]) / 20), {"subtype": "FLOAT" if how[4] != "-" else "PCM_16"}
    elif how.startswith("rate"):
        signal, rate = librosa.resample(signal, orig_sr=rate, target_sr=int(how[4:])), int(how[4:])
    elif how == "stereo":
        signal = np.stack([signal, 0.6 * signal], axis=1)
    elif how == "silence":
        signal = np.concatenate([np.zeros(rate // 3, np.float32), signal, np.zeros(rate // 2, np.float32)])
    elif how == "upside down":
        signal = -signal
    elif how.startswith("offset"):
        signal = signal + float(how[7:])
    elif how == "hum":  # of the mains, as loud as the speech
        level = np.sqrt(2) * 10 ** (audio.speech_level(signal, rate) / 20)
        signal = signal + level * np.sin(2 * np.pi * 50 * np.arange(len(signal)) / rate)
    elif how.endswith("bit"):
        options = {"subtype": {"24 bit": "PCM_24", "8 bit": "PCM_U8"}[how]}
    elif how in ("flac", "ogg", "mp3"):
        name = f"copy.{how}"
    else:
        kind, _, level = how.removeprefix("pressed ").replace("clipped", "gain").rpartition(" ")
        signal = audio.distort(signal, rate, *((kind, float(level)) if kind else (level,)))
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, signal, rate, **options)
    return folder / name


def compare_copies(table: pd.DataFrame, ways: tuple[str, ...] = WAYS) -> pd.DataFrame:
    """Return similarity and correlation of each clip with an altered copy, one row per clip and way."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for how in ways:
            paths = [alter(path, Path(folder, how, str(i)), how) for i, path in enumerate(table["path"])]
            ours, theirs = (
                evaluation.fingerprint_clips(table),
                evaluation.fingerprint_clips(pd.DataFrame({"path": list(map(str, paths))})),
            )
            correlations = [
                evaluation.waveform_correlation(*pair) for pair in zip(table["path"], map(str, paths), strict=True)
            ]
            rows.append(
                pd.DataFrame({"way": how, "similarity": (ours * theirs).sum(axis=1), "correlation": correlations})
            )
    return pd.concat(rows, ignore_index=True)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarise what `compare_copies` returns per way of altering."""
    caught = (rows["similarity"] >= evaluation.FINGERPRINT_THRESHOLD) & (
        rows["correlation"] >= evaluation.CORRELATION_THRESHOLD
    )
    ways = rows.assign(found=caught).groupby("way", sort=False)
    return pd.concat(
        [
            ways[["similarity", "correlation"]].min().add_prefix("least "),
            ways[["similarity", "correlation"]].median().add_prefix("median "),
            ways["found"].mean(),
        ],
        axis=1,
    )


def similar_clips(table: pd.DataFrame, threshold: float = 0.8, number: int = 3000) -> pd.DataFrame:
    """Return the pairs of different clips with the most similar fingerprints, by decreasing correlation."""
    table = table.drop_duplicates("sha256")
    prints = evaluation.fingerprint_clips(table)
    i, j, similarity = evaluation.similar_pairs(prints, prints, threshold)
    pairs = pd.DataFrame({"i": i, "j": j, "similarity": similarity}).query("i < j").nlargest(number, "similarity")
    clip, path = table["clip"].to_numpy(), table["path"].to_numpy()
    pairs["clip"], pairs["other"] = clip[pairs["i"]], clip[pairs["j"]]
    pairs["correlation"] = [
        evaluation.waveform_correlation(path[i], path[j]) for i, j in zip(pairs["i"], pairs["j"], strict=True)
    ]
    return pairs.drop(columns=["i", "j"]).sort_values("correlation", ascending=False, ignore_index=True)


def count_by_similarity(pairs: pd.DataFrame) -> pd.DataFrame:
    """Count the pairs of `similar_clips` by similarity, with their correlation."""
    bins = pd.cut(pairs["similarity"], [0.8, 0.9, evaluation.FINGERPRINT_THRESHOLD, 1.01], right=False)
    return pairs.groupby(bins, observed=True)["correlation"].describe()[["count", "50%", "max"]]


def compare_parts(table: pd.DataFrame, pairs_per_clip: int = 6) -> pd.DataFrame:
    """Return the overlap correlation of parts of each clip, and of the clip with others of its speaker."""
    rng, rows = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as folder:
        for i, clip in enumerate(table.itertuples()):
            signal, rate = soundfile.read(clip.path)
            length, start = len(signal) // 3, len(signal) // 4  # parts of a third, which overlap by half
            parts = [Path(folder, f"{i}-{k}.wav") for k in range(2)]
            for k, part in enumerate(parts):
                begin = start + k * length // 2
                soundfile.write(part, signal[begin : begin + length], rate)
            others = table.loc[(table["speaker"] == clip.speaker) & (table["path"] != clip.path), "path"].to_numpy()
            others = rng.choice(others, min(pairs_per_clip, len(others)), replace=False)
            kinds = [("part and clip", parts[0], clip.path), ("overlapping parts", *parts)]
            kinds += [("different clips of a speaker", clip.path, other) for other in others]
            rows += [{"kind": kind, "correlation": evaluation.overlap_correlation(a, b)} for kind, a, b in kinds]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--clips", type=int, default=40, help="number of clips to copy; 0: none [default: 40]")
    options = parser.parse_args()
    corpus = corpora.load(options.corpus, options.data_dir)
    pd.set_option("display.width", 200, "display.max_colwidth", 70)
    if number := min(options.clips, len(corpus)):
        print(summarise(compare_copies(corpus.sample(number, random_state=0))).round(3).to_string(), end="\n\n")
    pairs = similar_clips(corpus)
    print(count_by_similarity(pairs).round(3).to_string(), end="\n\n")
    print(pairs.head(8).round(3).to_string(), end="\n\n")
    speakers = corpus["speaker"].drop_duplicates().head(4)
    parts = compare_parts(corpus[corpus["speaker"].isin(speakers)].groupby("speaker").sample(10, random_state=0))
    print(parts.groupby("kind", sort=False)["correlation"].describe()[["count", "min", "50%", "max"]].round(3))
