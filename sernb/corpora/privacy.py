"""Floor 1: what of a private corpus may stand on a page.

A local corpus is private until its user sets it publishable (`local.publish`). In a run that nobody watches, whose
output becomes a page, its players, file names and speaker ids are withheld, and so are pictures of single clips and
what was written freely of them. In JupyterLab they are shown, players only as widgets, whose content JupyterLab does
not write into the notebook's file.
"""

from __future__ import annotations

from pathlib import Path
from pathlib import PurePosixPath

import pandas as pd

from sernb import local
from sernb.progress import headless

WITHHELD = "withheld"
COLUMNS = ("clip", "file", "path", "speaker", "sha256", "trained_clip", "trained_speaker")
NOTICE = (
    "Private corpus: its players, file names and speaker ids, pictures of single clips and free text such as a "
    "condition are withheld from this page. "
    "`local.publish` sets a corpus publishable once its speakers have agreed."
)


def private(table: pd.DataFrame) -> bool:
    """Whether a clip table holds clips of a local corpus that is not publishable."""
    return any(not local.publishable(root) for root in _roots(table))


def _roots(table: pd.DataFrame) -> set[Path]:
    own = table[table["corpus"] == "local"]
    # A clip's id is its path within the corpus.
    return {
        Path(path).parents[len(PurePosixPath(clip).parts) - 1]
        for path, clip in zip(own["path"], own["clip"], strict=True)
    }


def withheld(table: pd.DataFrame) -> bool:
    """Whether what is shown now would become a page, and the clips are private."""
    return headless() and private(table)


def notice(table: pd.DataFrame) -> str:
    """What a page says of what it withholds; empty where it withholds nothing."""
    return NOTICE if withheld(table) else ""


def shown(frame: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """A table for display, about the clips of a clip table: its columns of names and ids are withheld if they must be.

    An index that is named as one of them becomes row numbers.
    """
    if not withheld(table):
        return frame
    hidden = frame.reset_index(drop=True) if set(frame.index.names) & set(COLUMNS) else frame.copy()
    for column in set(COLUMNS) & set(hidden):
        hidden[column] = WITHHELD
    return hidden
