"""The CSV files of a corpus: the manifest of a local corpus, and CREMA-D's table of actors."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterator
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from pathlib import PurePath

import pandas as pd

EMOTIONS = ("angry", "bored", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise", "unknown")
# Other words for them, in file names and in other databases.
EMOTION_WORDS = {
    "angry": "ang anger angry mad fury",
    "bored": "bor bored boredom",
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
LABEL_RE = re.compile(r"\w[\w '-]{0,39}")
# Columns of the package's tables, and the row of totals: an emotion of that name would be confused with them.
RESERVED_WORDS = frozenset(
    "all channel clip condition confidence copy corpus emotion fold intensity model path prediction rows sex sha256 "
    "speaker split statement truth".split()
)
LABEL_COLUMNS = "speaker sex emotion intensity statement channel condition".split()
MANIFEST_PATTERN = "file,emotion,speaker and optionally sex,condition,statement,intensity"
PACKED_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
MAX_LISTED = 5  # files or lines that a message lists


class CorpusError(ValueError):
    """A corpus cannot be read; the message names the file or value and says what would be right."""


class CorpusWarning(UserWarning):
    """A corpus can be read, but not all of its files are used, or its labels look wrong."""


def unpack_hint(root: Path) -> str:
    """Return a sentence on an archive that was left in a corpus folder, or ""."""
    packed = sorted(path.name for path in root.iterdir() if path.name.lower().endswith(PACKED_SUFFIXES))
    return f" {packed[0]} is not unpacked: unpack it in this folder." if packed else ""


def read_csv(file: Path) -> pd.DataFrame:
    """Read a CSV file as text, without blank lines, indexed so that the line in the file is index + 2.

    Columns are separated by commas, semicolons (as spreadsheets do in many European countries) or tabs.

    Raises:
        CorpusError: It is not such text in UTF-8, or two columns have the same name.
    """
    separator, above = csv_separator(file)
    try:
        lines = pd.read_csv(
            file, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True,
            index_col=False, skip_blank_lines=False, sep=separator, skiprows=above,
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise CorpusError(f"{file} cannot be read: {reason}. Save it as comma-separated text in UTF-8.") from error
    header = lines.iloc[0].str.strip()
    if (doubled := header[header.duplicated() & (header != "")]).size:
        name = doubled.iloc[0]
        raise CorpusError(f"{file}, line {above + 1}: two columns are called {name!r}; rename or delete one.")
    rows = lines.iloc[1:].set_axis([name or f"column {i + 1}" for i, name in enumerate(header)], axis=1)
    rows.index += above - 1
    return rows[(rows != "").any(axis=1)]


def csv_separator(file: Path) -> tuple[str, int]:
    """Return what separates a CSV file's columns, and how many lines are above its header.

    The separator is what the header has most of, or what a spreadsheet's line above it says (`sep=;`).
    """
    with open(file, encoding="utf-8-sig", errors="replace") as text:
        first = text.readline(4096).strip("\r\n")
    if setting := re.fullmatch(r"sep=([,;\t])\s*", first, re.IGNORECASE):
        return setting[1], 1
    return max(",;\t", key=first.count), 0


def read_demographics(root: Path) -> pd.DataFrame:
    """Read speaker, sex and age (years) from CREMA-D's `VideoDemographics.csv`.

    The file is looked up in the corpus folder, its parent and its subfolders; without it, the table is empty.

    Raises:
        CorpusError: The file lacks a column, contradicts itself, or is not comma-separated text.
    """
    below = sorted(path for path in root.iterdir() if path.is_dir())
    for file in (folder / "VideoDemographics.csv" for folder in (root, root.parent, *below)):
        if file.is_file():
            return _parse_demographics(file)
    return pd.DataFrame(columns=["speaker", "sex", "age"])


def _parse_demographics(file: Path) -> pd.DataFrame:
    remedy = "`sernb fetch crema` downloads the official file into an empty folder."
    rows = read_csv(file).rename(columns={"ActorID": "speaker", "Sex": "sex", "Age": "age"})
    if missing := {"speaker", "sex", "age"} - set(rows):
        raise CorpusError(f"{file}: no column for {', '.join(sorted(missing))}; expected ActorID, Age, Sex. {remedy}")
    rows = rows[["speaker", "sex", "age"]].apply(lambda column: column.str.strip())
    rows = rows.assign(sex=rows["sex"].str.lower(), age=pd.to_numeric(rows["age"], errors="coerce")).drop_duplicates()
    if (repeated := rows["speaker"].duplicated()).any():
        speaker = rows.loc[repeated, "speaker"].iloc[0]
        raise CorpusError(f"{file}: the lines of actor {speaker} contradict each other; keep one of them. {remedy}")
    return rows.reset_index(drop=True)


def read_manifest_rows(root: Path) -> list[dict]:
    """Return the path and the labels of each clip that a local corpus's manifest lists.

    Raises:
        CorpusError: The manifest is missing or has errors, which the message lists by line.
    """
    file = root / "manifest.csv"
    if not file.is_file():
        raise CorpusError(
            f"{file} is missing. A local corpus needs it, with the columns {MANIFEST_PATTERN}.{unpack_hint(root)}"
        )
    rows = read_csv(file)
    if missing := [column for column in ("file", "emotion", "speaker") if column not in rows]:
        raise CorpusError(
            f"{file}, line 1: missing from the columns: {', '.join(missing)}. The columns are "
            f"{', '.join(rows)}; expected {MANIFEST_PATTERN}."
        )
    rows["name"] = manifest_files(root, rows["file"])
    problems = list(_manifest_problems(root, rows))
    if rows.empty:
        problems = ["there is no line below the header: add one line for each clip."]
    if problems:
        more = f"\n... and {len(problems) - MAX_LISTED} more" if len(problems) > MAX_LISTED else ""
        raise CorpusError("\n".join([f"{file}:", *problems[:MAX_LISTED]]) + more)
    columns = [column for column in LABEL_COLUMNS if column in rows]
    return [{"path": root / row["name"], **{c: row[c].strip() for c in columns}} for row in rows.to_dict("records")]


def manifest_files(root: Path, names: Sequence[str]) -> list[str]:
    """Return file names of a manifest as posix paths relative to the corpus folder, spelt as on the disk.

    An absolute path inside the folder becomes relative. Accents may be encoded differently in the manifest and on the
    disk (NFC or NFD). A name that leads out of the folder, or to no file, is returned unchanged.
    """
    relative = [_relative_name(root, name) for name in names]
    if all(name.isascii() and _is_entry(root / name) for name in relative):
        return relative
    names_on_disk = set(_list_names(root))
    on_disk = {normalise_name(name): name for name in names_on_disk}
    return [name if name in names_on_disk else on_disk.get(normalise_name(name), name) for name in relative]


def _relative_name(root: Path, name: str) -> str:
    try:
        path, folder = Path(os.path.normpath(root.absolute() / name)), root.absolute()
        if not path.is_relative_to(folder):  # an absolute path may lead into the folder by way of a link
            path, folder = path.parent.resolve() / path.name, root.resolve()
        return path.relative_to(folder).as_posix() if path != folder else name
    except (OSError, ValueError):  # outside the folder, or a name that no file can have
        return name


def _list_names(root: Path) -> list[str]:
    return [Path(folder, name).relative_to(root).as_posix() for folder, _, names in os.walk(root) for name in names]


def normalise_name(name: str) -> str:
    """Return a name with its accents in NFC, as most systems write them; macOS may store NFD."""
    return unicodedata.normalize("NFC", name)


def _is_entry(path: Path) -> bool:
    """Return whether there is a file or a link (of a broken link, `check_files` says where it leads)."""
    try:
        return path.is_file() or path.is_symlink()
    except (OSError, ValueError):  # a name that no file can have
        return False


def label_problem(label: str) -> str:
    """Return why a word cannot be the emotion of a local corpus; "" if it can: one of `EMOTIONS`, or any other word.

    A word that is nearly one of `EMOTIONS` is refused as a misspelling.

    Example:
        >>> label_problem("anxious"), label_problem("Angry")
        ('', "unknown emotion 'Angry'; did you mean 'angry'?")
    """
    if label in EMOTIONS:
        return ""
    if not label:
        return "no emotion; write unknown if it is not known."
    # A strict limit: "Angst" means fear, and resembles "angry".
    if similar := difflib.get_close_matches(label.lower(), EMOTIONS, n=1, cutoff=0.75):
        return f"unknown emotion {label!r}; did you mean {similar[0]!r}?"
    if label.casefold() in RESERVED_WORDS:
        return f"{label!r} cannot be an emotion, because tables have a column or row of this name; use another word."
    if not LABEL_RE.fullmatch(label):
        return f"{label!r} cannot be an emotion; use a word of letters, digits, spaces or hyphens, such as anxious."
    return ""


def _manifest_problems(root: Path, rows: pd.DataFrame) -> Iterator[str]:
    first_line: dict[str, int] = {}
    spellings: dict[str, str] = {}
    on_disk = cache(lambda: {normalise_name(name).casefold(): name for name in _list_names(root)})
    for line, row in zip(rows.index + 2, rows.to_dict("records"), strict=True):
        path, emotion = PurePath(row["name"]), row["emotion"].strip()
        if path.is_absolute() or ".." in path.parts:
            yield f"line {line}: {row['file']!r} is outside the corpus folder; give a path inside {root}."
        elif not row["file"] or not _is_entry(root / path):
            yield f"line {line}: there is no file {row['file']!r} in {root}.{_file_hint(on_disk(), row['file'])}"
        elif row["name"] in first_line:
            yield f"line {line}: {row['file']!r} is already listed in line {first_line[row['name']]}; remove one."
        first_line.setdefault(row["name"], line)
        if problem := label_problem(emotion):
            yield f"line {line}: {problem}"
        elif (spelling := spellings.setdefault(emotion.casefold(), emotion)) != emotion:
            yield f"line {line}: emotion {emotion!r} was spelt {spelling!r} above; use one spelling."
        if not row["speaker"].strip():
            yield f"line {line}: no speaker; give a pseudonym, the same for all clips of one person."


def _file_hint(on_disk: dict[str, str], name: str) -> str:
    similar = on_disk.get(normalise_name(name.replace("\\", "/")).casefold())
    return f" Did you mean {similar!r}?" if similar else ""


def similar_speakers(table: pd.DataFrame) -> list[list[str]]:
    """Return groups of speaker ids that differ only in capitals, spaces, accents' encoding or number format."""
    groups: dict[str, list[str]] = {}
    for speaker in sorted(set(table["speaker"])):
        groups.setdefault(_loose_id(speaker), []).append(speaker)
    return [group for group in groups.values() if len(group) > 1]


def _loose_id(speaker: str) -> str:
    text = "".join(unicodedata.normalize("NFKC", speaker).casefold().split())
    return str(int(text.partition(".")[0])) if re.fullmatch(r"\d+(\.0*)?", text, re.ASCII) else text
