"""Every bad input of the tests, with what is said of it: the table that the book shows.

python tests/refusals.py   # writes book/results/engine/refusals.csv
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import test_bad_audio
import test_corpora
import test_parameters
import test_sweeps
from support import small_notebooks

from sernb import corpora
from sernb import runs

TABLE = Path(__file__).parents[2] / "book" / "results" / "engine" / "refusals.csv"


def table() -> pd.DataFrame:
    """One row an input: `kind`, `input`, and what is `said` of it, in which no folder of this machine stands."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        kinds = {"clip": clips, "manifest": manifests, "parameter": parameters, "sweep": sweep_files}
        rows = [
            {"kind": kind, "input": given, "said": said.replace(f"{root}/", "").replace(str(root), "the folder")}
            for kind, each in kinds.items()
            for given, said in each(root / kind)
        ]
    return pd.DataFrame(rows)


def clips(root: Path) -> Iterator[tuple[str, str]]:
    """Files that are not the audio that their names promise, and odd ones that are used all the same."""
    root.mkdir()
    every = {**test_bad_audio.UNUSABLE, **test_bad_audio.ODD}
    for name, (make, _) in every.items():
        make(root / name)
    found = corpora.check_files(corpora.load("local", test_bad_audio.manifest(root, list(every)))).set_index("clip")
    for name in every:
        problem, odd = found.loc[name, ["problem", "odd"]]
        yield name, problem or f"used; {odd or 'nothing to say'}"


def manifests(root: Path) -> Iterator[tuple[str, str]]:
    """Manifests with a fault in one line."""
    for number, (rows, header, _) in enumerate(test_corpora.WRONG_MANIFESTS):
        header = header or "file,emotion,speaker"
        folder = test_corpora.local_corpus(root / str(number), rows, header)
        said = refused(lambda folder=folder: corpora.load("local", folder), corpora.CorpusError)
        yield (
            " / ".join([header, *rows]),
            said.replace(f"{folder}/", "").replace(f" in {folder}", "").replace(f" inside {folder}", ""),
        )


def parameters(root: Path) -> Iterator[tuple[str, str]]:
    """Values out of range, of the first notebook that has the parameter; then such as do not fit together."""
    root.mkdir()
    before = Path.cwd()
    os.chdir(root)
    try:
        for name, several in test_parameters.WRONG.items():
            path = next(path for path in test_parameters.NOTEBOOKS if name in runs.notebook_parameters(path))
            known = runs.notebook_parameters(path)
            partners = {key: of for key, of in test_parameters.PARTNERS.get(name, {}).items() if key in known}
            for value, _ in several:
                given = {**known, **partners, name: value}
                yield _here(f"{name}: {value!r}"), _plainly(lambda given=given: runs.check_notebook(given))
        known = runs.notebook_parameters(test_parameters.ROOT / "notebooks" / "03_paper_replication.ipynb")
        for _, values, _ in test_parameters.TOGETHER:
            told = ", ".join(f"{name}: {value!r}" for name, value in values.items())
            yield _here(told), _plainly(lambda values=values: runs.check_notebook({**known, **values}))
    finally:
        os.chdir(before)


def _plainly(work: Callable[[], object]) -> str:
    return _here(refused(work, runs.ParameterError))


def _here(text: str) -> str:
    """A file or folder of the project, as anybody would write it."""
    text = text.replace(f"{Path.cwd()}/", "")
    return text.replace(test_parameters.__file__, "a/file").replace(str(test_parameters.ROOT), "a/folder")


def sweep_files(root: Path) -> Iterator[tuple[str, str]]:
    """Sweep files with a fault."""
    small_notebooks.write(root / "notebooks" / "small.ipynb")
    path = root / "grid.yml"
    for text, _ in test_sweeps.WRONG_FILES:
        path.write_text(text)
        said = refused(lambda: runs.read_sweep_file(path), (runs.SweepError, runs.ParameterError))
        yield text.replace("\n", " / "), said.replace(f"{root}/", "")


def refused(work: Callable[[], object], errors: type[Exception] | tuple[type[Exception], ...]) -> str:
    """What the error says by which some work is refused, in one line."""
    try:
        work()
    except errors as error:
        return " / ".join(line.strip() for line in str(error).splitlines())
    raise AssertionError("it is not refused")


if __name__ == "__main__":
    table().to_csv(TABLE, index=False)
    print(TABLE)
