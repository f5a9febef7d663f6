"""Progress bars that are shown in JupyterLab and a terminal, and switched off in a headless run."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


def is_headless() -> bool:
    """Return whether nobody is watching: no terminal, or a kernel that cannot ask for input, as under papermill."""
    if "ipykernel" not in sys.modules:
        return not sys.stderr.isatty()
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    return kernel is None or not getattr(kernel, "_allow_stdin", False)


def progress_bar(steps: Iterable | None = None, **options: Any) -> Any:
    """Return a tqdm bar over some steps, switched off when the run is headless; the options are tqdm's."""
    from tqdm.auto import tqdm

    return tqdm(steps, disable=is_headless(), leave=False, **options)
