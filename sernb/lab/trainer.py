"""The panel that trains a network on a local corpus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as w

from sernb.lab.widgets import LABEL_STYLE
from sernb.lab.widgets import folder_field
from sernb.lab.widgets import message_html
from sernb.lab.widgets import report_errors


def train_network(run: Callable[..., Path], root: str | Path, *, epochs: int = 20) -> w.Widget:
    """Train the network of notebook 03 on a local corpus, split by speaker, while the other panels stay usable.

    Args:
        run: Makes the run, given `corpus`, `data_dir` and `epochs`, and returns its folder.
        root: The corpus's folder.
        epochs: To begin with.
    """
    style = LABEL_STYLE
    ui = SimpleNamespace(
        run=run,
        root=folder_field(root),
        epochs=w.BoundedIntText(epochs, min=1, max=1000, description="Epochs", style=style),
        start=w.Button(description="Train", icon="play"),
        said=w.HTML(),
    )
    ui.start.on_click(lambda _: threading.Thread(target=report_errors(ui, _run_training), daemon=True).start())
    return w.VBox([ui.root, w.HBox([ui.epochs, ui.start]), ui.said])


def _run_training(ui: SimpleNamespace) -> None:
    ui.start.disabled = True
    ui.said.value = message_html("Training: from half a minute to some minutes ...")
    try:
        start = time.perf_counter()
        folder = ui.run(corpus="local", data_dir=ui.root.value.strip(), epochs=ui.epochs.value)
        ui.said.value = message_html(f"Trained in {time.perf_counter() - start:.0f} s; the run lies in {folder}.")
    finally:
        ui.start.disabled = False
