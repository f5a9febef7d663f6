"""Finding the notebooks, pages and sweep files that come with sernb."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def project_root() -> Path:
    """Return the folder of `notebooks/`, `book/` and `sweeps/`: the checkout, or a copy in the installed package."""
    installed = PACKAGE / "share"
    return installed if installed.is_dir() else PACKAGE.parent


def find_resource(path: str | Path) -> Path:
    """Return a file or folder as it is given or, where there is none, the one of that name that comes with sernb.

    Args:
        path: A path; a relative one is looked up in the working directory, then in `project_root()`.
    """
    path = Path(path)
    return path if path.exists() or not (project_root() / path).exists() else project_root() / path
