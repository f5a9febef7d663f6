"""Floor 1: a folder of existing recordings becomes rows of a local corpus.

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

from sernb import corpora
from sernb import local

FIELDS = ("speaker", "emotion", "sex", "condition", "statement", "intensity")
PATTERNS = (
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
WORDS = {
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
EMOTION_OF = {word: emotion for emotion, words in WORDS.items() for word in words.split()}
# What `corpora` reads off names of its own.
NAMED = {"ravdess": corpora.ravdess_fields, "crema": corpora.crema_fields}
OURS = {local.MANIFEST, local.CONSENTS, local.PUBLISHABLE}
BATCH = 16  # files; between batches other windows may write


class ImportPatternError(ValueError):
    """A pattern or a code that cannot be read, with what would be right."""


def listing(folder: str | Path) -> pd.DataFrame:
    """Every file in a folder and below it, opened once.

    Returns:
        One row a file, sorted, with `file` (posix path within the folder), `path`, `sha256`, `seconds`, `sample_rate`
        (Hz), `channels`, and `problem`, which is empty for a recording that can be used.

    Raises:
        LocalError: The folder is not there, or holds no file.
    """
    root = Path(folder).expanduser()
    files = sorted(path for path in root.rglob("*") if _counts(path, root))
    if not files:
        raise local.LocalError(f"{root}: {'no file lies in it' if root.is_dir() else 'there is no such folder'}.")
    table = pd.DataFrame({"file": [path.relative_to(root).as_posix() for path in files], "path": map(str, files)})
    looked = corpora.check(table.assign(clip=table["file"], emotion=""))
    found = table.assign(sha256=corpora.digests(table["path"])).join(looked.drop(columns=["clip", "emotion"]))
    return found.assign(problem=_also_twins(found))


def _counts(path: Path, root: Path) -> bool:
    """Files, without hidden ones (`.DS_Store`, `._a.wav`) and those that a local corpus keeps beside its clips."""
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.is_file() and not hidden and path.name not in OURS


def _also_twins(found: pd.DataFrame) -> list[str]:
    first = dict(zip(found["sha256"][::-1], found["file"][::-1], strict=True))
    return [
        row.problem or ("" if first[row.sha256] == row.file else f"is the same file as {first[row.sha256]}")
        for row in found.itertuples()
    ]


def codes(text: str) -> dict[str, str]:
    """`"W=angry, L=unknown"` as a mapping from codes in lower case to emotions.

    Raises:
        ImportPatternError: Not of this form, or no such emotion.
    """
    pairs = [part.partition("=") for part in re.split(r"[,;]", text) if part.strip()]
    for code, equals, emotion in pairs:
        if not equals or emotion.strip() not in corpora.EMOTIONS:
            raise ImportPatternError(
                f"{code.strip() + equals + emotion!r}: give code=emotion, the emotion one of "
                f"{', '.join(corpora.EMOTIONS)}."
            )
    return {code.strip().lower(): emotion.strip() for code, _, emotion in pairs}


def guess(files: Sequence[str], pattern: str, known: Mapping[str, str] | None = None) -> pd.DataFrame:
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
    emotions = EMOTION_OF | dict(known or {})
    read = NAMED.get(pattern.strip().lower()) or _reader(pattern.strip(), emotions)
    return pd.DataFrame([_guessed(read(file) or {}, emotions) for file in files], columns=[*FIELDS, "note"])


def _guessed(fields: Mapping[str, str], emotions: Mapping[str, str]) -> dict[str, str]:
    row = {name: fields.get(name, "") for name in FIELDS}
    code = row["emotion"].lower()
    row["emotion"] = code if code in corpora.EMOTIONS else emotions.get(code, "unknown")
    if not fields:
        return row | {"note": "the pattern does not fit"}
    missing = code and row["emotion"] == "unknown" and code != "unknown"
    return row | {"note": f"what is {fields['emotion']!r}?" if missing else "" if code else "no emotion"}


def _reader(pattern: str, emotions: Mapping[str, str]):
    """A function from a file to the pattern's fields; known words are tried first as the emotion."""
    words = "|".join(sorted(map(re.escape, {*emotions, *corpora.EMOTIONS}), key=len, reverse=True))
    strict, loose = (_expression(pattern, emotion) for emotion in (words, ".+?"))

    def read(file: str) -> dict[str, str] | None:
        path = Path(file).with_suffix("")
        name = path.as_posix() if "/" in pattern else path.name
        match = strict.fullmatch(name) or loose.fullmatch(name)
        return match and match.groupdict()

    return read


def _expression(pattern: str, emotion: str) -> re.Pattern:
    text, seen = "", set()
    for literal, field, width in re.findall(r"([^{}]+)|\{(\w*)(?::(\d+))?\}", pattern):
        if literal:
            text += re.escape(literal)
            continue
        if field in seen or field not in (*FIELDS, "n", "skip", ""):
            raise ImportPatternError(
                f"{{{field}}} {'stands twice' if field in seen else 'is no field'}: there are "
                f"{', '.join(FIELDS)}, each at most once, and n (a number) and skip (anything)."
            )
        anything = rf"[^/]{{{width}}}" if width else "[^/]+?"
        kinds = {"n": rf"\d{{{width}}}" if width else r"\d+", "emotion": anything if width else emotion}
        named = field in FIELDS
        text += f"({'?P<' + field + '>' if named else '?:'}{kinds.get(field, anything)})"
        seen |= {field} if named else set()
    # A path may have further folders above those that the pattern names.
    return re.compile((r"(?:.*/)?" if "/" in pattern else "") + text, re.IGNORECASE)


def suggest(files: Sequence[str]) -> str:
    """The pattern of `PATTERNS` that reads most emotions and speakers off the names."""

    def fits(pattern: str) -> int:
        found = guess(files, pattern)
        return int(((found["note"] == "") & (found["speaker"] != "")).sum())

    return max(PATTERNS, key=fits)


def pseudonyms(speakers: Sequence[str], root: str | Path) -> dict[str, str]:
    """A pseudonym for each speaker's id: itself where it cannot be a name, else the next free one of a corpus.

    None is one that the corpus has, or had: the S01 of another study is another person. The corpus does not keep who is
    who: whoever imports more of the same person later types the same pseudonym.
    """
    had = local.taken(root)
    unfree = had | set(speakers)
    free = (name for number in count(1) if (name := f"S{number:02}") not in unfree)
    return {
        speaker: speaker if local.PSEUDONYM.fullmatch(speaker) and speaker not in had else next(free)
        for speaker in sorted(set(speakers))
    }


@dataclass
class _Course:
    """What an import remembers from batch to batch: digests of the corpus's clips, and whom it wrote clips of."""

    digests: dict[str, str]
    touched: set[str]
    brought: set[str]


@dataclass
class _There:
    """What a corpus holds while it is locked: clips by digest, named or not, their paths, and ids."""

    named: dict[str, str]
    unnamed: dict[str, str]
    paths: set[Path]
    taken: set[str]
    withdrawn: set[str]


def take_in(found: pd.DataFrame, root: str | Path) -> pd.DataFrame:
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
    folder, rows, course, out = local.at(root), found.to_dict("records"), _Course({}, set(), set()), []
    _refuse_withdrawn(rows, folder)
    _look(folder, course)  # before it is locked: digests of a large corpus take long
    for start in range(0, len(rows), BATCH):
        batch = [_loaded(row, folder) for row in rows[start : start + BATCH]]
        with local.locked(folder):
            out += _batch(batch, folder, course)
    return pd.DataFrame(out)


def _refuse_withdrawn(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    if gone := sorted({row["speaker"] for row in rows if not row["problem"]} & local.withdrawn(folder)):
        raise local.LocalError(
            f"{', '.join(gone)} of {folder} withdrew from it: nothing is imported. If these are recordings of somebody "
            f"else, give another pseudonym, such as {local.next_pseudonym(folder)}."
        )


def _look(folder: Path, course: _Course) -> _There:
    """A corpus as it is now; digests are computed of files that are new to this import."""
    names = set(local.manifest(folder)["file"])
    strays = {path.relative_to(folder).as_posix() for path in corpora.walk(folder / "audio")} - names
    new = sorted((names | strays) - set(course.digests))
    course.digests.update(zip(new, corpora.digests([folder / name for name in new]), strict=True))
    named, unnamed = ({course.digests[name]: name for name in some} for some in (names, strays))
    paths = {(folder / name).resolve() for name in names}
    return _There(named, unnamed, paths, local.taken(folder), local.withdrawn(folder))


def _loaded(row: dict[str, Any], folder: Path) -> tuple[dict[str, Any], bytes]:
    """A file's bytes, read before the corpus is locked; none of one that lies in it, or cannot be read."""
    if row["problem"] or _inside(row, folder):
        return row, b""
    try:
        data = Path(row["path"]).read_bytes()
    except OSError as error:
        return row | {"problem": f"cannot be read: {error.strerror}"}, b""
    changed = hashlib.sha256(data).hexdigest() != row["sha256"]
    return row | {"problem": "has changed since it was listed: list the folder again" if changed else ""}, data


def _batch(batch: Sequence[tuple[dict[str, Any], bytes]], folder: Path, course: _Course) -> list[dict[str, Any]]:
    """Consents, then clips, then their rows in the manifest; the caller holds the folder."""
    there, done = _look(folder, course), []
    try:
        for row, data in batch:
            done.append(_taken_in(row, data, folder, there, course))
    finally:  # also of a kernel that is interrupted: a clip without its row would be nobody's
        _name(done, folder)
    return done


def _taken_in(row: dict[str, Any], data: bytes, folder: Path, there: _There, course: _Course) -> dict[str, Any]:
    problem, kept = row["problem"] or _unfit(row, there, course), ""
    if not problem:
        try:
            _consented(row["speaker"], folder, there, course)
            kept = _placed(row, data, folder, there)
            there.named[row["sha256"]] = kept
        except OSError as error:
            problem = f"cannot be kept: {error.strerror}"
    return row | {"kept": kept, "problem": problem}


def _unfit(row: Mapping[str, Any], there: _There, course: _Course) -> str:
    if row["sha256"] in there.named:
        return f"is in the corpus already, as {there.named[row['sha256']]}"
    if Path(row["path"]).resolve() in there.paths:
        return "is in the corpus already"
    if problem := whose(row, there.taken - course.brought, there.withdrawn):
        return problem
    return "" if row["emotion"] in corpora.EMOTIONS else f"has an unknown emotion {row['emotion']!r}"


def whose(row: Mapping[str, Any], taken: set[str], withdrawn: set[str]) -> str:
    """Why a row's speaker may not be taken in under this id; empty if it may (see `take_in`)."""
    speaker = row["speaker"]
    if not local.PSEUDONYM.fullmatch(speaker):
        what = f"has {speaker!r} as its speaker, which may be a name" if speaker else "has no speaker"
        return f"{what}: give a pseudonym such as S01"
    if speaker in withdrawn:
        return f"has {speaker} as its speaker, who withdrew: give another pseudonym"
    if speaker in taken and row.get("joins") is not True:
        return f"has {speaker} as its speaker, an id of the corpus: give a free one, or, for the same person, join it"
    return ""


def _consented(speaker: str, folder: Path, there: _There, course: _Course) -> None:
    """Once an import: what a speaker of the corpus agreed to before says nothing of these recordings."""
    if speaker not in course.touched:
        local.add_consents(folder, [speaker], local.IMPORTED, publish=False)
        course.touched.add(speaker)
        course.brought |= {speaker} - there.taken


def _inside(row: Mapping[str, Any], folder: Path) -> bool:
    return Path(row["path"]).resolve().is_relative_to(folder.resolve())


def _placed(row: Mapping[str, Any], data: bytes, folder: Path, there: _There) -> str:
    if _inside(row, folder):
        return Path(row["path"]).resolve().relative_to(folder.resolve()).as_posix()
    left = there.unnamed.get(row["sha256"], "")
    if left.startswith(f"audio/{row['speaker']}/{row['speaker']}_{row['emotion']}_"):
        return left  # copied by an import that a crash ended before it was named
    return local.new_file(folder, row["speaker"], row["emotion"], Path(row["path"]).suffix.lower(), data)


def _name(done: list[dict[str, Any]], folder: Path) -> None:
    """Add a batch to the manifest; where it cannot be written, the copies go and say so."""
    kept = [row for row in done if row["kept"]]
    if not kept:
        return
    try:
        local.add(folder, [{"file": row["kept"]} | {name: row.get(name, "") for name in FIELDS} for row in kept])
    except OSError as error:
        for row in kept:
            if not _inside(row, folder):
                (folder / row["kept"]).unlink(missing_ok=True)
            row |= {"kept": "", "problem": f"cannot be kept: {error.strerror}"}
