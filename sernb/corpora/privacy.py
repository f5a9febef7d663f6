"""Which content of a private corpus may appear on a page.

A local corpus is private until its user marks it as publishable (`corpora.mark_publishable`). In a run without a user,
whose output becomes a page, its players, file names and speaker IDs are withheld, and so are figures of single clips
and free text. In JupyterLab they are shown, players only as widgets, whose content JupyterLab does not write into the
notebook's file.
"""

from __future__ import annotations

from pathlib import Path
from pathlib import PurePosixPath

import pandas as pd

from sernb import utils
from sernb.corpora.local import is_publishable

WITHHELD = "withheld"
PRIVATE_COLUMNS = ("clip", "file", "path", "speaker", "sha256", "trained_clip", "trained_speaker")
NOTICE_TEXT = (
    "Private corpus: its players, file names and speaker IDs, figures of single clips and free text such as a "
    "condition are withheld from this page. "
    "`corpora.mark_publishable` makes a corpus publishable once its speakers have agreed."
)


def is_private(table: pd.DataFrame) -> bool:
    """Return whether a clip table holds clips of a local corpus that is not publishable."""
    return any(not is_publishable(root) for root in _corpus_roots(table))


def _corpus_roots(table: pd.DataFrame) -> set[Path]:
    own = table[table["corpus"] == "local"]
    # A clip's id is its path within the corpus.
    return {
        Path(path).parents[len(PurePosixPath(clip).parts) - 1]
        for path, clip in zip(own["path"], own["clip"], strict=True)
    }


def must_redact(table: pd.DataFrame) -> bool:
    """Return whether the output would become a page and the clips are private."""
    return utils.is_headless() and is_private(table)


def privacy_notice(table: pd.DataFrame) -> str:
    """Return the notice of a page that withholds content; empty if it withholds nothing."""
    return NOTICE_TEXT if must_redact(table) else ""
