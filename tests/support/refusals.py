"""Collect the message for every bad input of the tests: the table that the book shows.

`PYTHONPATH=tests python -m support.refusals` writes `book/results/engine/refusals.csv`.
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
    """Return one row per input: `kind`, `input` and the message (`said`), without any folder of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        kinds = {"clip": clips, "manifest": manifests, "parameter": parameters, "sweep": sweep_files}
        rows = [
            {"kind": kind, "input": text, "said": message.replace(f"{root}/", "").replace(str(root), "the folder")}
            for kind, messages in kinds.items()
            for text, message in messages(root / kind)
        ]
    return pd.DataFrame(rows)


def clips(root: Path) -> Iterator[tuple[str, str]]:
    """Yield name and message of files that are not the audio that their names promise, and of odd but usable ones."""
    root.mkdir()
    writers = {**test_bad_audio.UNUSABLE, **test_bad_audio.ODD}
    for name, (write, _) in writers.items():
        write(root / name)
    checked = corpora.check_files(corpora.load("local", test_bad_audio.manifest(root, list(writers)))).set_index("clip")
    for name in writers:
        problem, odd = checked.loc[name, ["problem", "odd"]]
        yield name, problem or (f"accepted; {odd}" if odd else "accepted")


def manifests(root: Path) -> Iterator[tuple[str, str]]:
    """Yield text and message of manifests with an error."""
    for number, (rows, header, _) in enumerate(test_corpora.WRONG_MANIFESTS):
        header = header or "file,emotion,speaker"
        folder = test_corpora.local_corpus(root / str(number), rows, header)
        message = refused(lambda folder=folder: corpora.load("local", folder), corpora.CorpusError)
        message = (
            message.replace(f"{folder}/", "").replace(f" in {folder}", "").replace(str(folder), "the corpus folder")
        )
        yield " / ".join([header, *rows]), message


def parameters(root: Path) -> Iterator[tuple[str, str]]:
    """Yield parameter and message of invalid values, in the first notebook that has the parameter, and of conflicts."""
    root.mkdir()
    before = Path.cwd()
    os.chdir(root)
    try:
        for name, cases in test_parameters.WRONG.items():
            path = next(path for path in test_parameters.NOTEBOOKS if name in runs.notebook_parameters(path))
            defaults = runs.notebook_parameters(path)
            partners = {k: v for k, v in test_parameters.PARTNERS.get(name, {}).items() if k in defaults}
            for value, _ in cases:
                yield _check({**defaults, **partners}, {name: value})
        defaults = runs.notebook_parameters(test_parameters.ROOT / "notebooks" / "03_paper_replication.ipynb")
        for _, values, _ in test_parameters.TOGETHER:
            yield _check(defaults, values)
    finally:
        os.chdir(before)


def _check(defaults: dict, values: dict) -> tuple[str, str]:
    message = refused(lambda: runs.check_notebook({**defaults, **values}), runs.ParameterError)
    return _anonymise(", ".join(f"{name}: {value!r}" for name, value in values.items())), _anonymise(message)


def _anonymise(text: str) -> str:
    """Replace the paths of this machine."""
    text = text.replace(f"{Path.cwd()}/", "")
    return text.replace(test_parameters.__file__, "a/file").replace(str(test_parameters.ROOT), "a/folder")


def sweep_files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield text and message of sweep files with an error."""
    small_notebooks.write(root / "notebooks" / "small.ipynb")
    path = root / "grid.yml"
    for text, _ in test_sweeps.WRONG_FILES:
        path.write_text(text)
        message = refused(lambda: runs.read_sweep_file(path), (runs.SweepError, runs.ParameterError))
        yield text.replace("\n", " / "), message.replace(f"{root}/", "")


def refused(work: Callable[[], object], errors: type[Exception] | tuple[type[Exception], ...]) -> str:
    """Return the message of the error that some work raises, in one line."""
    try:
        work()
    except errors as error:
        return " / ".join(line.strip() for line in str(error).splitlines())
    raise AssertionError("it is not refused")


if __name__ == "__main__":
    table().to_csv(TABLE, index=False)
    print(TABLE)
