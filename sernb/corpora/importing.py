"""A folder of existing recordings becomes rows of a local corpus.

`listing` opens every file once; `guess` reads labels and speakers off the names by a pattern, quick enough to be called
at each key that a user presses; `take_in` writes what was guessed, and corrected by hand, into a corpus.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from sernb.corpora.filenames import parse_crema_name
from sernb.corpora.filenames import parse_ravdess_name
from sernb.corpora.local import CONSENTS
from sernb.corpora.local import IMPORTED_TEXT
from sernb.corpora.local import MANIFEST
from sernb.corpora.local import PSEUDONYM_RE
from sernb.corpora.local import PUBLISHABLE
from sernb.corpora.local import LocalError
from sernb.corpora.local import add_consents
from sernb.corpora.local import append_rows
from sernb.corpora.local import corpus_lock
from sernb.corpora.local import corpus_path
from sernb.corpora.local import create_clip
from sernb.corpora.local import next_pseudonym
from sernb.corpora.local import read_manifest
from sernb.corpora.local import used_speaker_ids
from sernb.corpora.local import withdrawn_speakers
from sernb.corpora.table import EMOTIONS
from sernb.corpora.table import check_files
from sernb.corpora.table import find_audio_files
from sernb.corpora.table import sha256_of_files

PATTERN_FIELDS = ("speaker", "emotion", "sex", "condition", "statement", "intensity")
NAME_PATTERNS = (
    "ravdess",
    "crema",
    "{speaker}_{emotion}_{n}",
    "{speaker}-{emotion}-{n}",
    "{speaker}_{emotion}",
    "{speaker}-{emotion}",
    "{speaker}_{n}_{emotion}",
    "{emotion}_{speaker}_{n}",
    "{speaker}_{skip}_{emotion}_{skip}",
    "{speaker}_{skip}_{emotion}",
    "{speaker}/{emotion}_{skip}",
    "{speaker}/{emotion}{n}",
    "{speaker}/{emotion}/{skip}",
    "{emotion}/{speaker}_{skip}",
)
EMOTION_WORDS = {
    "angry": "ang anger angry mad fury",
    "calm": "cal calm relaxed",
    "disgust": "dis disgust disgusted",
    "fear": "fea fear fearful afraid scared",
    "happy": "hap happy happiness joy joyful",
    "neutral": "neu neutral normal",
    "sad": "sad sadness sorrow",
    "surprise": "sur surprise surprised pleasant_surprise ps",
    "unknown": "unknown",
}
EMOTION_BY_WORD = {word: emotion for emotion, words in EMOTION_WORDS.items() for word in words.split()}
# What `corpora` reads off names of its own.
NAME_PARSERS = {"ravdess": parse_ravdess_name, "crema": parse_crema_name}
CORPUS_FILES = {MANIFEST, CONSENTS, PUBLISHABLE}
BATCH_CLIPS = 16  # files; between batches other windows may write


class ImportPatternError(ValueError):
    """A pattern or a code that cannot be read, with what would be right."""


def list_recordings(folder: str | Path) -> pd.DataFrame:
    """Every file in a folder and below it, opened once.

    Returns:
        One row a file, sorted, with `file` (posix path within the folder), `path`, `sha256`, `seconds`, `sample_rate`
        (Hz), `channels`, and `problem`, which is empty for a recording that can be used.

    Raises:
        LocalError: The folder is not there, or holds no file.
    """
    root = Path(folder).expanduser()
    files = sorted(path for path in root.rglob("*") if _is_recording(path, root))
    if not files:
        raise LocalError(f"{root}: {'no file lies in it' if root.is_dir() else 'there is no such folder'}.")
    table = pd.DataFrame({"file": [path.relative_to(root).as_posix() for path in files], "path": map(str, files)})
    looked = check_files(table.assign(clip=table["file"], emotion=""))
    found = table.assign(sha256=sha256_of_files(table["path"])).join(looked.drop(columns=["clip", "emotion"]))
    return found.assign(problem=_flag_duplicates(found))


def _is_recording(path: Path, root: Path) -> bool:
    """Files, without hidden ones (`.DS_Store`, `._a.wav`) and those that a local corpus keeps beside its clips."""
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.is_file() and not hidden and path.name not in CORPUS_FILES


def _flag_duplicates(found: pd.DataFrame) -> list[str]:
    first = dict(zip(found["sha256"][::-1], found["file"][::-1], strict=True))
    return [
        row.problem or ("" if first[row.sha256] == row.file else f"is the same file as {first[row.sha256]}")
        for row in found.itertuples()
    ]


def parse_codes(text: str) -> dict[str, str]:
    """`"W=angry, L=unknown"` as a mapping from codes in lower case to emotions.

    Raises:
        ImportPatternError: Not of this form, or no such emotion.
    """
    pairs = [part.partition("=") for part in re.split(r"[,;]", text) if part.strip()]
    for code, equals, emotion in pairs:
        if not equals or emotion.strip() not in EMOTIONS:
            raise ImportPatternError(
                f"{code.strip() + equals + emotion!r}: give code=emotion, the emotion one of {', '.join(EMOTIONS)}."
            )
    return {code.strip().lower(): emotion.strip() for code, _, emotion in pairs}


def parse_names(files: Sequence[str], pattern: str, known: Mapping[str, str] | None = None) -> pd.DataFrame:
    """What a pattern reads off the names of files.

    Args:
        files: Paths within the folder.
        pattern: `{speaker}_{emotion}_{n}`: fields in braces (those of `FIELDS`; `n` for a number; `skip` for
            anything), each with as many characters as it takes, or as `{speaker:2}` says; the rest as it stands,
            capitals or not. With a slash it reads the path, without one the name alone; neither its suffix. Or
            `ravdess` or `crema`, for names of those corpora.
        known: Emotion by code, before those that are known anyway (`EMOTION_OF`).

    Returns:
        One row a file, with the columns of `FIELDS`, empty where the pattern has no such field, and `note`, which says
        what could not be read.

    Raises:
        ImportPatternError: The pattern has another field, or one twice.
    """
    emotions = EMOTION_BY_WORD | dict(known or {})
    read = NAME_PARSERS.get(pattern.strip().lower()) or _pattern_reader(pattern.strip(), emotions)
    return pd.DataFrame([_labels_of(read(file) or {}, emotions) for file in files], columns=[*PATTERN_FIELDS, "note"])


def _labels_of(fields: Mapping[str, str], emotions: Mapping[str, str]) -> dict[str, str]:
    row = {name: fields.get(name, "") for name in PATTERN_FIELDS}
    code = row["emotion"].lower()
    row["emotion"] = code if code in EMOTIONS else emotions.get(code, "unknown")
    if not fields:
        return row | {"note": "the pattern does not fit"}
    missing = code and row["emotion"] == "unknown" and code != "unknown"
    return row | {"note": f"what is {fields['emotion']!r}?" if missing else "" if code else "no emotion"}


def _pattern_reader(pattern: str, emotions: Mapping[str, str]):
    """A function from a file to the pattern's fields; known words are tried first as the emotion."""
    words = "|".join(sorted(map(re.escape, {*emotions, *EMOTIONS}), key=len, reverse=True))
    strict, loose = (_pattern_expression(pattern, emotion) for emotion in (words, ".+?"))

    def read(file: str) -> dict[str, str] | None:
        path = Path(file).with_suffix("")
        name = path.as_posix() if "/" in pattern else path.name
        match = strict.fullmatch(name) or loose.fullmatch(name)
        return match and match.groupdict()

    return read


def _pattern_expression(pattern: str, emotion: str) -> re.Pattern:
    text, seen = "", set()
    for literal, field, width in re.findall(r"([^{}]+)|\{(\w*)(?::(\d+))?\}", pattern):
        if literal:
            text += re.escape(literal)
            continue
        if field in seen or field not in (*PATTERN_FIELDS, "n", "skip", ""):
            raise ImportPatternError(
                f"{{{field}}} {'stands twice' if field in seen else 'is no field'}: there are "
                f"{', '.join(PATTERN_FIELDS)}, each at most once, and n (a number) and skip (anything)."
            )
        anything = rf"[^/]{{{width}}}" if width else "[^/]+?"
        kinds = {"n": rf"\d{{{width}}}" if width else r"\d+", "emotion": anything if width else emotion}
        named = field in PATTERN_FIELDS
        text += f"({'?P<' + field + '>' if named else '?:'}{kinds.get(field, anything)})"
        seen |= {field} if named else set()
    # A path may have further folders above those that the pattern names.
    return re.compile((r"(?:.*/)?" if "/" in pattern else "") + text, re.IGNORECASE)


def suggest_pattern(files: Sequence[str]) -> str:
    """The pattern of `PATTERNS` that reads most emotions and speakers off the names."""

    def fits(pattern: str) -> int:
        found = parse_names(files, pattern)
        return int(((found["note"] == "") & (found["speaker"] != "")).sum())

    return max(NAME_PATTERNS, key=fits)


def assign_pseudonyms(speakers: Sequence[str], root: str | Path) -> dict[str, str]:
    """A pseudonym for each speaker's id: itself where it cannot be a name, else the next free one of a corpus.

    None is one that the corpus has, or had: the S01 of another study is another person. The corpus does not keep who is
    who: whoever imports more of the same person later types the same pseudonym.
    """
    had = used_speaker_ids(root)
    unfree = had | set(speakers)
    free = (name for number in count(1) if (name := f"S{number:02}") not in unfree)
    return {
        speaker: speaker if PSEUDONYM_RE.fullmatch(speaker) and speaker not in had else next(free)
        for speaker in sorted(set(speakers))
    }


@dataclass
class _ImportState:
    """What an import remembers from batch to batch: digests of the corpus's clips, and whom it wrote clips of."""

    digests: dict[str, str]
    touched: set[str]
    brought: set[str]


@dataclass
class _CorpusState:
    """What a corpus holds while it is locked: clips by digest, named or not, their paths, and ids."""

    named: dict[str, str]
    unnamed: dict[str, str]
    paths: set[Path]
    taken: set[str]
    withdrawn: set[str]


def import_recordings(found: pd.DataFrame, root: str | Path) -> pd.DataFrame:
    """Write recordings into a local corpus; none is changed.

    A file that lies in the corpus's folder already is only named in its manifest; any other is copied to
    `audio/<speaker>/`, byte for byte, under a name that tells nothing but pseudonym, emotion and number. Each speaker
    gets a consent that allows no publication. What breaks off can be repeated: what is in is not copied again.

    Args:
        found: A `listing` with the columns of a `guess`, corrected by hand. An id that the corpus has, or had, is taken
            as another person's and rejected, but for rows whose column `joins` is True: the user says it is the same.
        root: The corpus's folder, made where it is missing.

    Returns:
        The listing with `kept`, the path within the corpus (empty if rejected), and `problem`, the reason.

    Raises:
        LocalError: A speaker has withdrawn, or the corpus cannot be read; nothing is written.
    """
    folder, rows, course, out = corpus_path(root), found.to_dict("records"), _ImportState({}, set(), set()), []
    _refuse_withdrawn(rows, folder)
    _corpus_state(folder, course)  # before it is locked: digests of a large corpus take long
    for start in range(0, len(rows), BATCH_CLIPS):
        batch = [_read_bytes(row, folder) for row in rows[start : start + BATCH_CLIPS]]
        with corpus_lock(folder):
            out += _import_batch(batch, folder, course)
    return pd.DataFrame(out)


def _refuse_withdrawn(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    if gone := sorted({row["speaker"] for row in rows if not row["problem"]} & withdrawn_speakers(folder)):
        raise LocalError(
            f"{', '.join(gone)} of {folder} withdrew from it: nothing is imported. If these are recordings of somebody "
            f"else, give another pseudonym, such as {next_pseudonym(folder)}."
        )


def _corpus_state(folder: Path, course: _ImportState) -> _CorpusState:
    """A corpus as it is now; digests are computed of files that are new to this import."""
    names = set(read_manifest(folder)["file"])
    strays = {path.relative_to(folder).as_posix() for path in find_audio_files(folder / "audio")} - names
    new = sorted((names | strays) - set(course.digests))
    course.digests.update(zip(new, sha256_of_files([folder / name for name in new]), strict=True))
    named, unnamed = ({course.digests[name]: name for name in some} for some in (names, strays))
    paths = {(folder / name).resolve() for name in names}
    return _CorpusState(named, unnamed, paths, used_speaker_ids(folder), withdrawn_speakers(folder))


def _read_bytes(row: dict[str, Any], folder: Path) -> tuple[dict[str, Any], bytes]:
    """A file's bytes, read before the corpus is locked; none of one that lies in it, or cannot be read."""
    if row["problem"] or _is_inside(row, folder):
        return row, b""
    try:
        data = Path(row["path"]).read_bytes()
    except OSError as error:
        return row | {"problem": f"cannot be read: {error.strerror}"}, b""
    changed = hashlib.sha256(data).hexdigest() != row["sha256"]
    return row | {"problem": "has changed since it was listed: list the folder again" if changed else ""}, data


def _import_batch(
    batch: Sequence[tuple[dict[str, Any], bytes]], folder: Path, course: _ImportState
) -> list[dict[str, Any]]:
    """Consents, then clips, then their rows in the manifest; the caller holds the folder."""
    there, done = _corpus_state(folder, course), []
    try:
        for row, data in batch:
            done.append(_import_one(row, data, folder, there, course))
    finally:  # also of a kernel that is interrupted: a clip without its row would be nobody's
        _append_imported(done, folder)
    return done


def _import_one(
    row: dict[str, Any], data: bytes, folder: Path, there: _CorpusState, course: _ImportState
) -> dict[str, Any]:
    problem, kept = row["problem"] or _problem_of(row, there, course), ""
    if not problem:
        try:
            _ensure_consent(row["speaker"], folder, there, course)
            kept = _copy_or_reuse(row, data, folder, there)
            there.named[row["sha256"]] = kept
        except OSError as error:
            problem = f"cannot be kept: {error.strerror}"
    return row | {"kept": kept, "problem": problem}


def _problem_of(row: Mapping[str, Any], there: _CorpusState, course: _ImportState) -> str:
    if row["sha256"] in there.named:
        return f"is in the corpus already, as {there.named[row['sha256']]}"
    if Path(row["path"]).resolve() in there.paths:
        return "is in the corpus already"
    if problem := speaker_problem(row, there.taken - course.brought, there.withdrawn):
        return problem
    return "" if row["emotion"] in EMOTIONS else f"has an unknown emotion {row['emotion']!r}"


def speaker_problem(row: Mapping[str, Any], taken: set[str], withdrawn: set[str]) -> str:
    """Why a row's speaker may not be taken in under this id; empty if it may (see `take_in`)."""
    speaker = row["speaker"]
    if not PSEUDONYM_RE.fullmatch(speaker):
        what = f"has {speaker!r} as its speaker, which may be a name" if speaker else "has no speaker"
        return f"{what}: give a pseudonym such as S01"
    if speaker in withdrawn:
        return f"has {speaker} as its speaker, who withdrew: give another pseudonym"
    if speaker in taken and row.get("joins") is not True:
        return f"has {speaker} as its speaker, an id of the corpus: give a free one, or, for the same person, join it"
    return ""


def _ensure_consent(speaker: str, folder: Path, there: _CorpusState, course: _ImportState) -> None:
    """Once an import: what a speaker of the corpus agreed to before says nothing of these recordings."""
    if speaker not in course.touched:
        add_consents(folder, [speaker], IMPORTED_TEXT, publish=False)
        course.touched.add(speaker)
        course.brought |= {speaker} - there.taken


def _is_inside(row: Mapping[str, Any], folder: Path) -> bool:
    return Path(row["path"]).resolve().is_relative_to(folder.resolve())


def _copy_or_reuse(row: Mapping[str, Any], data: bytes, folder: Path, there: _CorpusState) -> str:
    if _is_inside(row, folder):
        return Path(row["path"]).resolve().relative_to(folder.resolve()).as_posix()
    left = there.unnamed.get(row["sha256"], "")
    if left.startswith(f"audio/{row['speaker']}/{row['speaker']}_{row['emotion']}_"):
        return left  # copied by an import that a crash ended before it was named
    return create_clip(folder, row["speaker"], row["emotion"], Path(row["path"]).suffix.lower(), data)


def _append_imported(done: list[dict[str, Any]], folder: Path) -> None:
    """Add a batch to the manifest; where it cannot be written, the copies go and say so."""
    kept = [row for row in done if row["kept"]]
    if not kept:
        return
    try:
        append_rows(
            folder, [{"file": row["kept"]} | {name: row.get(name, "") for name in PATTERN_FIELDS} for row in kept]
        )
    except OSError as error:
        for row in kept:
            if not _is_inside(row, folder):
                (folder / row["kept"]).unlink(missing_ok=True)
            row |= {"kept": "", "problem": f"cannot be kept: {error.strerror}"}
