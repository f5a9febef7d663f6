"""Labels of parts of a recording, read and written as Audacity label tracks and Praat TextGrids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

COLUMNS = ["tier", "start", "end", "label"]
TEXTGRID_SUFFIX = ".textgrid"


class AnnotationError(ValueError):
    """A file of labels that cannot be read; the message names the file and the line or the reason."""


def read_annotations(path: str | Path) -> pd.DataFrame:
    """Read the labels of a recording.

    Args:
        path: A Praat TextGrid (`.TextGrid`, long or short text format), or the text file that Audacity exports (*File >
            Export Other > Export Labels*).

    Returns:
        One row per label that is not empty, in the file's order, with `tier` (empty for Audacity), `start` and `end` in
        seconds, equal for a point, and `label`.

    Raises:
        AnnotationError: The file cannot be read as what its suffix says.
    """
    path = Path(path)
    rows = _textgrid_rows(path) if path.suffix.lower() == TEXTGRID_SUFFIX else _audacity_rows(path)
    table = pd.DataFrame(list(rows), columns=COLUMNS)
    return table[table["label"] != ""].reset_index(drop=True)


def _textgrid_rows(path: Path) -> Iterator[tuple[str, float, float, str]]:
    from praatio import textgrid

    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False, duplicateNamesMode="rename")
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # praatio's own, and those of parsing: there is no common class
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise AnnotationError(f"{path} is not a TextGrid in Praat's text format: {reason}") from error
    for tier in grid.tiers:
        for *times, label in tier.entries:  # one time for a point, two for an interval
            yield tier.name, float(times[0]), float(times[-1]), label.strip()


def _audacity_rows(path: Path) -> Iterator[tuple[str, float, float, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path} is not text in UTF-8: export the labels from Audacity again") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("\\"):  # a backslash begins the frequencies of a spectral selection
            continue
        start, end, label = [*line.split("\t", 2), "", ""][:3]
        try:
            yield "", float(start.replace(",", ".")), float(end.replace(",", ".")), label.strip()
        except ValueError as error:
            raise AnnotationError(
                f"{path}, line {number}: expected start, end and label, separated by tabs, the times in seconds "
                f"(got {line[:60]!r})"
            ) from error


def audacity_line(start: float, end: float, label: str) -> str:
    """Return a label as a line of an Audacity label track; the times are in seconds."""
    return f"{start:.6f}\t{end:.6f}\t{label}\n"


def write_annotations(path: str | Path, table: pd.DataFrame, seconds: float) -> None:
    """Write labels as a Praat TextGrid if the suffix is `.TextGrid`, or else as an Audacity label track.

    Args:
        path: A new file.
        table: `start` and `end` in seconds, `label` and, for a TextGrid, `tier`. Intervals of one tier
            must have a length and may not overlap.
        seconds: The length of the recording, which a TextGrid states.

    Raises:
        AnnotationError: The file exists already; its labels may have been set by hand.
    """
    path = Path(path)
    if path.exists():
        raise AnnotationError(f"{path} exists already: move it away, or choose another name for the labels")
    if path.suffix.lower() != TEXTGRID_SUFFIX:
        lines = [audacity_line(row.start, row.end, row.label) for row in table.itertuples()]
        path.write_text("".join(lines), encoding="utf-8")
        return
    from praatio import textgrid

    grid = textgrid.Textgrid(0, seconds)
    for name, rows in table.groupby("tier", sort=False):
        entries = list(rows[["start", "end", "label"]].itertuples(index=False, name=None))
        grid.addTier(textgrid.IntervalTier(str(name), entries, 0, seconds))
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)
