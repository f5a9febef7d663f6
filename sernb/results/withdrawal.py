"""Remove the recordings and stored features of a speaker who has withdrawn, and find the runs that used them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sernb import corpora
from sernb import features
from sernb.results.files import runs_of_speaker


@dataclass(frozen=True)
class Removal:
    """What was removed of a speaker, and the runs that still hold models and predictions."""

    files: list[str]  # paths within the corpus folder
    n_features: int
    runs: list[Path]


def remove_speaker(root: str | Path, speaker: str, run_dirs: Iterable[str | Path] = ()) -> Removal:
    """Store that a speaker has withdrawn, delete the recordings and their stored features, and look for runs.

    Runs are not deleted: see `remove_run`.

    Args:
        root: The folder of the local corpus.
        speaker: The speaker's id.
        run_dirs: Where to look for runs that used the recordings; subfolders are searched, too.

    Raises:
        LocalError: The corpus has no such speaker.
    """
    folder = corpora.corpus_path(root)
    table = corpora.read_manifest(folder)
    own = corpora.manifest_files(folder, list(table.loc[table["speaker"].str.strip() == speaker, "file"]))
    digests = set(corpora.sha256_of_files([folder / name for name in own])) - {""}
    files = corpora.withdraw_speaker(folder, speaker)
    return Removal(files, features.forget_recordings(digests), runs_of_speaker(run_dirs, folder, speaker))
