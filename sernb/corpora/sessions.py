"""Cut clips of a local corpus: out of a long recording, by labels set in Audacity or Praat, or out of another clip."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from sernb import audio
from sernb.corpora.importing import import_recordings
from sernb.corpora.importing import list_recordings
from sernb.corpora.local import LocalError
from sernb.corpora.local import add_clip
from sernb.corpora.local import corpus_lock
from sernb.corpora.local import corpus_path
from sernb.corpora.local import encode_wav
from sernb.corpora.local import read_manifest
from sernb.corpora.local import refuse_emotion
from sernb.corpora.local import row_of_clip
from sernb.corpora.manifest import EMOTION_BY_WORD
from sernb.corpora.manifest import manifest_files

OVERHANG_SECONDS = 0.1  # by which a label may end after the recording: editors round to a frame or a pixel


def cut_session(
    recording: str | Path,
    labels: pd.DataFrame,
    root: str | Path,
    *,
    speaker: str = "",
    codes: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Cut a recording into clips and import them into a local corpus, each as a 16-bit WAV file at its sample rate.

    Consents, repeated imports and rejected clips are treated as by `import_recordings`, but a speaker whom the corpus
    knows gets more clips.

    Args:
        recording: A file that libsndfile reads; only the parts with labels are decoded.
        labels: What `audio.read_annotations` returns: emotions, or words such as `ang` or `joyful` for them.
        root: The corpus folder, created if it is missing.
        speaker: The pseudonym of the person who speaks; by default each tier is a speaker, with the tier's name as
            pseudonym.
        codes: Emotions by further words in lower case (`parse_codes`).

    Returns:
        `labels` with `kept`, the path within the corpus (empty if left out), and `problem`, the reason.

    Raises:
        AudioError: The recording cannot be read.
        CorpusError, LocalError: As in `import_recordings`.
    """
    words = {**EMOTION_BY_WORD, **(codes or {})}
    with tempfile.TemporaryDirectory() as folder:
        problems = _write_clips(recording, labels, Path(folder))
        results = labels.assign(kept="", problem=problems)
        cut = results.index[results["problem"] == ""]
        if len(cut):
            rows = list_recordings(folder).set_index(cut)
            rows["speaker"] = speaker or labels.loc[cut, "tier"]
            rows["emotion"] = [words.get(label.lower(), label) for label in labels.loc[cut, "label"]]
            imported = import_recordings(rows.assign(joins=True), root).set_index(cut)
            results.loc[cut, ["kept", "problem"]] = imported[["kept", "problem"]]
    return results


def _write_clips(recording: str | Path, labels: pd.DataFrame, folder: Path) -> list[str]:
    """Write the part of each label as a WAV file, in an order that sorting keeps; return why others were not."""
    problems = []
    for number, (signal, sample_rate, problem) in enumerate(_read_parts(recording, labels)):
        problems.append(problem)
        if not problem:
            (folder / f"{number:06}.wav").write_bytes(encode_wav(signal, sample_rate))
    return problems


def _read_parts(recording: str | Path, labels: pd.DataFrame) -> Iterable[tuple[np.ndarray, int, str]]:
    import soundfile

    if reason := audio.access_problem(recording):
        raise audio.AudioError(str(recording), reason)
    try:
        with soundfile.SoundFile(recording) as file:
            rate, total = file.samplerate, file.frames / file.samplerate
            for row in labels.itertuples():
                problem = _part_problem(row.start, row.end, total)
                file.seek(0 if problem else round(row.start * rate))
                frames = 0 if problem else round((row.end - row.start) * rate)
                yield file.read(frames, dtype="float32"), rate, problem
    except soundfile.LibsndfileError as error:
        raise audio.AudioError(str(recording), f"cannot be decoded: {error.error_string}") from error


def _part_problem(start: float, end: float, total: float) -> str:
    if start < 0 or start >= total or end > total + OVERHANG_SECONDS:
        return f"is outside the recording, which is {total:.2f} s long"
    if start >= end:
        return "is a point, without a length"
    if end - start > audio.MAX_SECONDS:
        return f"is longer than {audio.MAX_SECONDS:.0f} s: divide it"
    return ""


def cut_clip(root: str | Path, clip: str, start: float, end: float, emotion: str) -> str:
    """Save a part of a clip as another clip of the same speaker; return its path within the corpus.

    The part is a 16-bit WAV file at the clip's sample rate, with the clip's other labels. The clip is kept: split by
    speaker, or delete it, so that the same sound is not in both the training and the test set.

    Args:
        root: The corpus folder.
        clip: The clip's id, its path within the folder.
        start: Where the part begins, in seconds.
        end: Where it ends, in seconds.
        emotion: One of `corpora.EMOTIONS`, or a word of the corpus's own.

    Raises:
        AudioError: The clip cannot be decoded.
        LocalError: The manifest has no such clip, its speaker has not agreed, the word cannot be an emotion, or the
            part has no length or no sound, is the whole clip, or is in the corpus already.
    """
    refuse_emotion(emotion)
    data = _encode_part(corpus_path(root) / clip, start, end)
    with corpus_lock(root) as folder:
        table = read_manifest(folder)
        labels = table.loc[row_of_clip(folder, table, clip)].str.strip().to_dict()
        own = table["speaker"].str.strip() == labels["speaker"]
        for name in manifest_files(folder, list(table.loc[own, "file"])):
            if _has_content(folder / name, data):
                raise LocalError(f"this part of {clip} is in the corpus already, as {name}.")
        return add_clip(folder, data, labels | {"emotion": emotion})["file"]


def _encode_part(path: Path, start: float, end: float) -> bytes:
    recording = audio.decode(path)
    if recording.error:
        raise audio.AudioError(str(path), recording.error)
    if problem := _part_problem(start, end, recording.seconds):
        raise LocalError(f"the part from {start:.2f} to {end:.2f} s {problem}.")
    first, last = (round(time * recording.sample_rate) for time in (start, end))
    signal = recording.signal[first:last]
    if len(signal) == len(recording.signal):
        raise LocalError("this is the whole clip: choose a part of it.")
    if not np.any(signal):
        raise LocalError(f"the part from {start:.2f} to {end:.2f} s holds no sound.")
    return encode_wav(signal, recording.sample_rate)


def _has_content(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
