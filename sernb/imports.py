"""Floor 1: a folder of existing recordings becomes rows of a local corpus.

`listing` opens every file once; `guess` reads labels and speakers off the names by a pattern, quick enough to be called
at each key that a user presses; `take_in` writes what was guessed, and corrected by hand, into a corpus.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

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


class ImportPatternError(ValueError):
    """A pattern or a code that cannot be read, with what would be right."""


def listing(folder: str | Path) -> pd.DataFrame:
    """Every file in a folder and below it, opened once.

    Returns:
        One row a file, sorted: `file` (posix path within the folder), `path`, `sha256`, `seconds`, `sample_rate` (Hz),
        `channels`, and `problem`, which is empty for a recording that can be used.

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
        One row a file: the columns of `FIELDS`, empty where the pattern has no such field, and `note`, which says
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

    The corpus does not keep who is who: whoever imports more of the same person later types the same pseudonym.
    """
    number = int(local.next_pseudonym(root)[1:])
    found = {}
    for speaker in sorted(set(speakers)):
        while (name := f"S{number:02}") in {*speakers, *found.values()}:
            number += 1
        found[speaker] = speaker if local.PSEUDONYM.fullmatch(speaker) else name
    return found


def take_in(found: pd.DataFrame, root: str | Path) -> pd.DataFrame:
    """Write recordings into a local corpus; none is changed.

    A file that lies in the corpus's folder already is only named in its manifest; any other is copied to
    `audio/<speaker>/`, byte for byte, under a name that tells nothing but pseudonym, emotion and number.

    Args:
        found: A `listing` with the columns of a `guess`, corrected by hand.
        root: The corpus's folder, made where it is missing.

    Returns:
        The listing with `kept`, the path within the corpus (empty if rejected), and `problem`, the reason.
    """
    with local.locked(root) as folder:
        there = local.manifest(folder)
        audio = set(corpora.digests([folder / file for file in there["file"]]))
        named = {(folder / file).resolve() for file in there["file"]}
        rows, out = [], []
        for row in found.to_dict("records"):
            problem = row["problem"] or _unfit(row, audio, named)
            kept = "" if problem else _placed(row, folder)
            out.append(row | {"kept": kept, "problem": problem})
            if kept:
                rows.append({"file": kept} | {name: row.get(name, "") for name in FIELDS})
                audio.add(row["sha256"])
        if rows:
            _consented(folder, {row["speaker"] for row in rows})
            local.add(folder, rows)
    return pd.DataFrame(out)


def _unfit(row: Mapping[str, str], audio: set[str], named: set[Path]) -> str:
    if row["sha256"] in audio or Path(row["path"]).resolve() in named:
        return "is in the corpus already"
    if not local.PSEUDONYM.fullmatch(row["speaker"]):
        return f"has {row['speaker']!r} as its speaker, which may be a name" if row["speaker"] else "has no speaker"
    return "" if row["emotion"] in corpora.EMOTIONS else f"has an unknown emotion {row['emotion']!r}"


def _placed(row: Mapping[str, str], folder: Path) -> str:
    path = Path(row["path"]).resolve()
    if path.is_relative_to(folder.resolve()):
        return path.relative_to(folder.resolve()).as_posix()
    data, suffix = path.read_bytes(), path.suffix.lower()
    return local.new_file(folder, row["speaker"], row["emotion"], suffix, data)


def _consented(folder: Path, speakers: set[str]) -> None:
    local.add_consents(folder, sorted(speakers - set(local.consents(folder)["speaker"])), local.IMPORTED)
