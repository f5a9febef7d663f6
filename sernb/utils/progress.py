"""Progress bars that are shown in JupyterLab and a terminal, and switched off in a headless run."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
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
    options = {"disable": is_headless(), "leave": False, **options}
    if "ipykernel" in sys.modules and not options["disable"]:
        return _notebook_bar()(steps, **options)
    from tqdm.auto import tqdm

    return tqdm(steps, **options)


@cache
def _notebook_bar() -> type:
    """Return tqdm's bar of notebooks, without the widget that it leaves in the saved notebook."""
    from IPython.display import display
    from tqdm.notebook import tqdm

    class NotebookBar(tqdm):
        """A bar that leaves nothing when complete, and its last state as text otherwise.

        JupyterLab saves the bar's output without its widget, and would show an error in its place when the notebook is
        opened again.
        """

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, display=False, **options)
            self.output = display(self.container, display_id=True)

        def close(self) -> None:
            """Close the bar, and replace its widget by text."""
            is_first = not self.disable  # tqdm disables a bar that it closes
            super().close()
            if is_first:
                is_complete = self.total is None or self.n >= self.total
                self.output.update({"text/plain": "" if is_complete else str(self)}, raw=True)

    return NotebookBar
