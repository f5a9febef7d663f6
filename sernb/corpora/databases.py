"""Read a corpus from the folder of an audformat database, as audb writes it: a header `db.yaml` and its tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sernb.corpora.manifest import EMOTION_BY_WORD
from sernb.corpora.manifest import CorpusError
from sernb.corpora.manifest import label_problem

if TYPE_CHECKING:
    import audformat
    import pandas as pd

HEADER = "db.yaml"
# Columns of the clip table, and the schemes (or labels of schemes) of the database that may hold them.
SCHEMES = {"speaker": ("speaker",), "sex": ("gender", "sex"), "statement": ("transcription", "sentence", "statement")}
NO_AUDFORMAT = "audformat databases need the package audformat: `pip install audformat`, or `sernb[audformat]`."


def is_database(root: Path) -> bool:
    """Return whether a folder holds an audformat database."""
    return (root / HEADER).is_file()


def read_database_rows(root: Path) -> list[dict]:
    """Return the path and the labels of each clip of an audformat database.

    The emotion is that of the scheme `emotion`, in this package's words (anger is angry) or in its own; the speaker,
    the sex and the statement are those of the schemes `speaker`, `gender` and `transcription`.

    Raises:
        CorpusError: The package audformat is not installed, or the database cannot be read, has no emotions, has no
            speaker for a file, or labels a file twice or in parts.
    """
    try:
        import audformat
    except ImportError as error:
        raise CorpusError(f"{root / HEADER}: {NO_AUDFORMAT}") from error
    try:
        database = audformat.Database.load(str(root), load_data=True)
        labels = _read_labels(database)
    except CorpusError:
        raise
    except Exception as error:  # of YAML, CSV, parquet, or of audformat, which checks what it reads; no common class
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorpusError(f"{root / HEADER} cannot be read as an audformat database: {reason}") from error
    return [{"path": _resolve(root, file), "channel": "speech", **row} for file, row in labels.iterrows()]


def _read_labels(database: audformat.Database) -> pd.DataFrame:
    """Return the labels of each file, as text, with the columns of the clip table."""
    schemes = [name for names in SCHEMES.values() for name in names]
    frame = database.get("emotion", schemes)
    if frame.empty or frame["emotion"].isna().all():
        schemes = ", ".join(database.schemes) or "none"
        raise CorpusError(
            f"the database {database.name} has no emotions: no column has the scheme emotion (its schemes: {schemes})."
        )
    table = _whole_files(database.name, frame)
    table = table.astype(object).where(table.notna(), "").astype(str)
    for column, names in SCHEMES.items():
        present = [name for name in names if name in table and (table[name] != "").any()]
        table[column] = table[present[0]] if present else ""
    table["emotion"] = table["emotion"].map(_emotion_of)
    if missing := int((table["speaker"] == "").sum()):
        raise CorpusError(
            f"the database {database.name} has no speaker for {missing} of {len(table)} files: it needs a column "
            "with the scheme speaker, because splits and intervals are by speaker."
        )
    return table[["emotion", *SCHEMES]]


def _whole_files(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table by file; refuse one of parts of files."""
    if frame.index.nlevels == 1:
        return frame
    index = frame.index.to_frame(index=False)
    parts = (index["start"] != index["start"].iloc[0] * 0) | index["end"].notna()
    if parts.any() or index["file"].duplicated().any():
        raise CorpusError(
            f"the database {name} labels parts of files ({int(parts.sum())} of {len(index)} rows have a start or an "
            "end): cut them into files first."
        )
    return frame.set_axis(index["file"])


def _emotion_of(word: str) -> str:
    """Return this package's word for an emotion, the database's own if there is none, or `unknown`."""
    word = word.strip()
    known = EMOTION_BY_WORD.get(word.lower())
    return known or (word if not label_problem(word) else "unknown")


def _resolve(root: Path, file: str) -> Path:
    """Return the path of a file within the folder; audb may give it with the folder."""
    path = Path(os.path.normpath(root / file))
    if not path.is_relative_to(os.path.normpath(root)):
        raise CorpusError(f"{file} is outside the folder of its database, {root}.")
    return path
