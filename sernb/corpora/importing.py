"""Import a folder of existing recordings into a local corpus.

`list_recordings` decodes every file; `parse_names` reads labels from file names by a pattern, fast enough to be called
at every keystroke; `import_recordings` writes the labelled recordings into a corpus.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from sernb.corpora.local import CONSENT_FORM
from sernb.corpora.local import CONSENTS
from sernb.corpora.local import IDENTITIES
from sernb.corpora.local import IMPORTED_TEXT
from sernb.corpora.local import MANIFEST
from sernb.corpora.local import NOTES
from sernb.corpora.local import PSEUDONYM_RE
from sernb.corpora.local import PUBLISHABLE
from sernb.corpora.local import STATEMENTS_FILE
from sernb.corpora.local import LocalError
from sernb.corpora.local import add_consents
from sernb.corpora.local import append_rows
from sernb.corpora.local import corpus_lock
from sernb.corpora.local import corpus_path
from sernb.corpora.local import create_clip
from sernb.corpora.local import read_manifest
from sernb.corpora.local import used_speaker_ids
from sernb.corpora.local import withdrawn_speakers
from sernb.corpora.manifest import EMOTION_BY_WORD
from sernb.corpora.manifest import EMOTIONS
from sernb.corpora.manifest import label_problem
from sernb.corpora.manifest import manifest_files
from sernb.corpora.table import CORPORA
from sernb.corpora.table import check_files
from sernb.corpora.table import find_audio_files
from sernb.corpora.table import sha256_of_files

NAME_PARSERS = {name: facts.parse for name, facts in CORPORA.items() if facts.parse and not name.startswith("demo-")}
PATTERN_FIELDS = ("speaker", "emotion", "sex", "condition", "statement", "intensity")
NAME_PATTERNS = (
    *NAME_PARSERS,
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
CORPUS_FILES = {MANIFEST, CONSENTS, PUBLISHABLE, CONSENT_FORM, STATEMENTS_FILE, IDENTITIES}
BATCH_CLIPS = 16  # files; between batches other windows may write


class ImportPatternError(ValueError):
    """A pattern or a code that cannot be read; the message says what would be right."""


def list_recordings(folder: str | Path) -> pd.DataFrame:
    """List the files in a folder and its subfolders, without hidden files and the tables and notes of a local corpus.

    Returns:
        One row per file, sorted, with `file` (posix path within the folder), `path`, `sha256`, `seconds`, `sample_rate`
        (Hz), `channels`, `problem` (empty for a recording that can be used) and `odd` (something unusual but harmless).

    Raises:
        LocalError: The folder does not exist, or holds no file.
    """
    root = Path(folder).expanduser()
    files = sorted(path for path in root.rglob("*") if _is_recording(path, root))
    if not files:
        raise LocalError(f"{root}: {'there is no file in it' if root.is_dir() else 'there is no such folder'}.")
    table = pd.DataFrame({"file": [path.relative_to(root).as_posix() for path in files], "path": map(str, files)})
    reports = check_files(table.assign(clip=table["file"], emotion=""))
    listed = table.assign(sha256=sha256_of_files(table["path"])).join(reports.drop(columns=["clip", "emotion"]))
    return listed.assign(problem=_flag_duplicates(listed))


def _is_recording(path: Path, root: Path) -> bool:
    """Return whether a file is neither hidden (`.DS_Store`, `._a.wav`) nor a table or a note of a local corpus."""
    parts = path.relative_to(root).parts
    hidden = any(part.startswith(".") for part in parts)
    is_note = parts[0] == NOTES and path.suffix == ".txt"
    return path.is_file() and not hidden and not is_note and path.name not in CORPUS_FILES


def _flag_duplicates(listed: pd.DataFrame) -> list[str]:
    first = dict(zip(listed["sha256"][::-1], listed["file"][::-1], strict=True))
    return [
        row.problem or ("" if first[row.sha256] == row.file else f"is the same file as {first[row.sha256]}")
        for row in listed.itertuples()
    ]


def parse_codes(text: str) -> dict[str, str]:
    """Parse `"W=angry, P=pain"` into a mapping from codes in lower case to emotions: `EMOTIONS` or other words.

    Raises:
        ImportPatternError: The text has another form, or a word cannot be an emotion.
    """
    pairs = [part.partition("=") for part in re.split(r"[,;]", text) if part.strip()]
    for code, equals, emotion in pairs:
        problem = label_problem(emotion.strip())
        if not equals or problem:
            hint = f" ({problem.rstrip('.')})" if equals else ""
            raise ImportPatternError(
                f"{code.strip() + equals + emotion!r}: write code=emotion, the emotion one of {', '.join(EMOTIONS)}, "
                f"or a word of your own{hint}."
            )
    return {code.strip().lower(): emotion.strip() for code, _, emotion in pairs}


def parse_names(files: Sequence[str], pattern: str, codes: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read labels from file names by a pattern.

    Args:
        files: Paths within the folder.
        pattern: Such as `{speaker}_{emotion}_{n}`: fields in braces (those of `PATTERN_FIELDS`, `n` for a number, and
            `skip` for anything), of any length, or of two characters as in `{speaker:2}`; the other characters
            stand for themselves, in capitals or not. With a slash the pattern reads the path, without one the name
            alone; never the suffix. Or the name of a corpus, such as `ravdess`, for names like that corpus's.
        codes: Emotions by code in lower case; they come before usual words such as `ang`, not before `EMOTIONS`.

    Returns:
        One row per file, with the columns of `PATTERN_FIELDS`, empty if the pattern has no such field, and `note`,
        which says what could not be read.

    Raises:
        ImportPatternError: The pattern has an unknown field, or one of `PATTERN_FIELDS` twice.
    """
    emotions = EMOTION_BY_WORD | dict(codes or {})
    read = NAME_PARSERS.get(pattern.strip().lower()) or _pattern_reader(pattern.strip(), emotions)
    return pd.DataFrame([_labels_of(read(file) or {}, emotions) for file in files], columns=[*PATTERN_FIELDS, "note"])


def _labels_of(fields: Mapping[str, str], emotions: Mapping[str, str]) -> dict[str, str]:
    row = {name: fields.get(name, "") for name in PATTERN_FIELDS}
    code = row["emotion"].lower()
    row["emotion"] = code if code in EMOTIONS else emotions.get(code, "unknown")
    if not fields:
        return row | {"note": "the pattern does not fit"}
    is_unknown = code and row["emotion"] == "unknown" and code != "unknown"
    return row | {"note": f"what is {fields['emotion']!r}?" if is_unknown else "" if code else "no emotion"}


def _pattern_reader(pattern: str, emotions: Mapping[str, str]) -> Callable[[str], dict[str, str] | None]:
    """Return a function from a file to the pattern's fields; as the emotion, known words are tried first."""
    words = "|".join(sorted(map(re.escape, {*emotions, *EMOTIONS}), key=len, reverse=True))
    strict, loose = (_pattern_expression(pattern, emotion) for emotion in (words, ".+?"))

    def read(file: str) -> dict[str, str] | None:
        """Return the fields of one file name; None if it does not match."""
        path = Path(file).with_suffix("")
        name = path.as_posix() if "/" in pattern else path.name
        match = strict.fullmatch(name) or loose.fullmatch(name)
        return match and match.groupdict()

    return read


def _pattern_expression(pattern: str, emotion: str) -> re.Pattern:
    text, used = "", set()
    for literal, name, width in re.findall(r"([^{}]+)|\{(\w*)(?::(\d+))?\}", pattern):
        if literal:
            text += re.escape(literal)
            continue
        if name in used or name not in (*PATTERN_FIELDS, "n", "skip", ""):
            raise ImportPatternError(
                f"{{{name}}} {'is used twice' if name in used else 'is not a field'}: the fields are "
                f"{', '.join(PATTERN_FIELDS)}, each at most once, and n (a number) and skip (anything)."
            )
        anything = rf"[^/]{{{width}}}" if width else "[^/]+?"
        kinds = {"n": rf"\d{{{width}}}" if width else r"\d+", "emotion": anything if width else emotion}
        is_label = name in PATTERN_FIELDS
        text += f"({'?P<' + name + '>' if is_label else '?:'}{kinds.get(name, anything)})"
        used |= {name} if is_label else set()
    # A path may have further folders above those that the pattern names.
    return re.compile((r"(?:.*/)?" if "/" in pattern else "") + text, re.IGNORECASE)


def suggest_pattern(files: Sequence[str]) -> str:
    """Return the pattern of `NAME_PATTERNS` that reads an emotion and a speaker from most names; empty if none does.

    Of patterns that fit equally many names, the one with the fewest speakers is chosen: TESS's `OAF_back_angry.wav` is
    by the speaker OAF, not OAF_back. A single letter, as in `P_01_sad_3.wav`, is no speaker's id.
    """

    def rank(pattern: str) -> tuple[int, bool, int]:
        """Return how well a pattern fits: files that match, plausible speakers, few speakers."""
        labels = parse_names(files, pattern)
        speakers = set(labels["speaker"][(labels["note"] == "") & (labels["speaker"] != "")])
        fits = int(((labels["note"] == "") & (labels["speaker"] != "")).sum())
        return fits, any(len(speaker) > 1 or speaker.isdigit() for speaker in speakers), -len(speakers)

    best = max(NAME_PATTERNS, key=rank)
    return best if rank(best)[0] else ""


def speaker_warning(speakers: Sequence[str]) -> str:
    """Return a warning if there are more than half as many speakers as clips (four or more); otherwise an empty string.

    A pattern that takes the sentence for a part of the speaker's id would put one person into training and test sets.

    Args:
        speakers: The speaker of each clip.
    """
    clips, ids = len(speakers), len(set(speakers))
    if clips < 4 or ids <= clips / 2:
        return ""
    return f"{ids} speakers in {clips} clips are too many: check that {{speaker}} reads the id of a person and no more."


def assign_pseudonyms(
    speakers: Sequence[str], root: str | Path, *, remembered: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return a pseudonym for each speaker's id: itself if it cannot be a name, otherwise the next free one of a corpus.

    An id that the corpus has, or had, counts as another person's: the S01 of another study is not the S01 here.

    Args:
        speakers: Ids or names, as the recordings have them.
        root: The corpus folder.
        remembered: Pseudonyms that names got in earlier imports (see `known_speakers`); they stay the same.
    """
    used, remembered = used_speaker_ids(root), dict(remembered or {})
    not_free = used | set(speakers) | set(remembered.values())
    free = (name for number in count(1) if (name := f"S{number:02}") not in not_free)
    new = sorted(set(speakers) - set(remembered))
    return {
        speaker: speaker if PSEUDONYM_RE.fullmatch(speaker) and speaker not in used else next(free) for speaker in new
    } | {speaker: remembered[speaker] for speaker in speakers if speaker in remembered}


@dataclass
class _ImportState:
    """What an import keeps from batch to batch."""

    digests: dict[str, str] = field(default_factory=dict)  # SHA-256 by path, of the corpus's clips
    consented: set[str] = field(default_factory=set)  # speakers whose consent this import has stored
    new_speakers: set[str] = field(default_factory=set)  # those of them who are new to the corpus


@dataclass
class _CorpusState:
    """What a corpus holds while it is locked."""

    listed: dict[str, str]  # path by SHA-256, of the clips in the manifest
    unlisted: dict[str, str]  # the same for clips without a row
    paths: set[Path]  # of the clips in the manifest
    used_ids: set[str]
    withdrawn: set[str]


def import_recordings(labelled: pd.DataFrame, root: str | Path) -> pd.DataFrame:
    """Write recordings into a local corpus; the recordings themselves are not changed.

    A file inside the corpus folder is only added to the manifest. Any other file is copied to `audio/<speaker>/`, byte
    for byte, under a name that holds only pseudonym, emotion and number. Each speaker gets a consent that does not
    allow publication. An import that broke off can be repeated: clips that are in the corpus are not copied again.

    Args:
        labelled: The table of `list_recordings` with the columns of `parse_names`, corrected by hand. An id that the
            corpus has, or had, counts as another person's and is rejected, except in rows whose column `joins` is True:
            there the user says that it is the same person.
        root: The corpus folder, created if it is missing.

    Returns:
        The table with `kept`, the path within the corpus (empty if rejected), and `problem`, the reason.

    Raises:
        CorpusError, LocalError: The corpus cannot be read, and nothing is written.
        LocalError: Another window has held the corpus for 30 s; the batches before that are written.
    """
    folder, rows, state, results = corpus_path(root), labelled.to_dict("records"), _ImportState(), []
    _read_corpus(folder, state)  # before it is locked: digests of a large corpus take long
    for start in range(0, len(rows), BATCH_CLIPS):
        batch = [_read_bytes(row, folder) for row in rows[start : start + BATCH_CLIPS]]
        with corpus_lock(folder):
            results += _import_batch(batch, folder, state)
    return pd.DataFrame(results)


def _read_corpus(folder: Path, state: _ImportState) -> _CorpusState:
    """Return the corpus's present state; digests are computed of files that are new to this import."""
    names = set(manifest_files(folder, list(read_manifest(folder)["file"])))
    unlisted_names = {path.relative_to(folder).as_posix() for path in find_audio_files(folder / "audio")} - names
    new = sorted((names | unlisted_names) - set(state.digests))
    state.digests.update(zip(new, sha256_of_files([folder / name for name in new]), strict=True))
    listed, unlisted = ({state.digests[name]: name for name in group} for group in (names, unlisted_names))
    paths = {(folder / name).resolve() for name in names}
    return _CorpusState(listed, unlisted, paths, used_speaker_ids(folder), withdrawn_speakers(folder))


def _read_bytes(row: dict[str, Any], folder: Path) -> tuple[dict[str, Any], bytes]:
    """Read a file before the corpus is locked; no bytes for one that is inside the corpus, or cannot be read."""
    if row["problem"] or _is_inside(row, folder):
        return row, b""
    try:
        data = Path(row["path"]).read_bytes()
    except OSError as error:
        return row | {"problem": f"cannot be read: {error.strerror}"}, b""
    changed = hashlib.sha256(data).hexdigest() != row["sha256"]
    return row | {"problem": "has changed since it was listed: list the folder again" if changed else ""}, data


def _import_batch(
    batch: Sequence[tuple[dict[str, Any], bytes]], folder: Path, state: _ImportState
) -> list[dict[str, Any]]:
    """Write consents, then clips, then their rows of the manifest; the caller holds the lock."""
    corpus, results = _read_corpus(folder, state), []
    try:
        for row, data in batch:
            results.append(_import_one(row, data, folder, corpus, state))
    finally:  # also if the kernel is interrupted: a clip without its row would belong to nobody
        _append_imported(results, folder, corpus)
    return results


def _import_one(
    row: dict[str, Any], data: bytes, folder: Path, corpus: _CorpusState, state: _ImportState
) -> dict[str, Any]:
    problem, path = row["problem"] or _problem_of(row, corpus, state), ""
    if not problem:
        try:
            _ensure_consent(row["speaker"], folder, corpus, state)
            path = _copy_or_reuse(row, data, folder, corpus)
            corpus.listed[row["sha256"]] = path
        except OSError as error:
            problem = f"cannot be written: {error.strerror}"
    return row | {"kept": path, "problem": problem}


def _problem_of(row: Mapping[str, Any], corpus: _CorpusState, state: _ImportState) -> str:
    if row["sha256"] in corpus.listed:
        return f"is in the corpus already, as {corpus.listed[row['sha256']]}"
    if Path(row["path"]).resolve() in corpus.paths:
        return "is in the corpus already"
    if problem := speaker_problem(row, corpus.used_ids - state.new_speakers, corpus.withdrawn):
        return problem
    return f"has {problem.rstrip('.')}" if (problem := label_problem(row["emotion"])) else ""


def speaker_problem(row: Mapping[str, Any], used_ids: set[str], withdrawn: set[str]) -> str:
    """Return why a row's speaker may not be imported under this id; empty if it may (see `import_recordings`)."""
    speaker = row["speaker"]
    if not PSEUDONYM_RE.fullmatch(speaker):
        fault = f"has {speaker!r} as its speaker, which may be a name" if speaker else "has no speaker"
        return f"{fault}: give a pseudonym such as S01"
    if speaker in withdrawn:
        return f"has {speaker} as its speaker, who withdrew: if this is somebody else, give another pseudonym"
    if speaker in used_ids and row.get("joins") is not True:
        return f"has {speaker} as its speaker, an id of the corpus: give a free one, or, for the same person, join it"
    return ""


def _ensure_consent(speaker: str, folder: Path, corpus: _CorpusState, state: _ImportState) -> None:
    """Store a consent once per import: what a speaker agreed to before does not cover these recordings."""
    if speaker not in state.consented:
        add_consents(folder, [speaker], IMPORTED_TEXT, publish=False)
        state.consented.add(speaker)
        state.new_speakers |= {speaker} - corpus.used_ids


def _is_inside(row: Mapping[str, Any], folder: Path) -> bool:
    return Path(row["path"]).resolve().is_relative_to(folder.resolve())


def _copy_or_reuse(row: Mapping[str, Any], data: bytes, folder: Path, corpus: _CorpusState) -> str:
    if _is_inside(row, folder):
        return Path(row["path"]).resolve().relative_to(folder.resolve()).as_posix()
    copy = corpus.unlisted.get(row["sha256"], "")
    if copy.startswith(f"audio/{row['speaker']}/{row['speaker']}_{row['emotion']}_"):
        return copy  # written by an import that a crash ended before the manifest was
    return create_clip(folder, row["speaker"], row["emotion"], Path(row["path"]).suffix.lower(), data)


def _append_imported(results: list[dict[str, Any]], folder: Path, corpus: _CorpusState) -> None:
    """Add a batch to the manifest; if it cannot be written, remove the new copies and report the problem."""
    imported = [row for row in results if row["kept"]]
    if not imported:
        return
    try:
        append_rows(
            folder, [{"file": row["kept"]} | {name: row.get(name, "") for name in PATTERN_FIELDS} for row in imported]
        )
    except OSError as error:
        for row in imported:
            if not _is_inside(row, folder) and row["kept"] not in corpus.unlisted.values():
                (folder / row["kept"]).unlink(missing_ok=True)
            row |= {"kept": "", "problem": f"cannot be written: {error.strerror}"}
