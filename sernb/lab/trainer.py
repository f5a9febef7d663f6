"""The panel that trains a model on a local corpus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as w

from sernb import corpora
from sernb.lab.widgets import LABEL_STYLE
from sernb.lab.widgets import WIDE_LAYOUT
from sernb.lab.widgets import folder_field
from sernb.lab.widgets import message_html
from sernb.lab.widgets import report_errors

# With fewer clips the paper's network stays at chance, where the discriminant already classifies most clips.
SMALL_CORPUS = 1000  # clips
MODELS = {
    "The better one for this many clips": "",
    "Discriminant of notebook 07 (seconds)": "discriminant",
    "The paper's network of notebook 03 (minutes)": "network",
}


def train_model(run: Callable[..., Path], root: str | Path, *, epochs: int = 20) -> w.Widget:
    """Train a model on a local corpus, split by speaker, while the other panels stay usable.

    Args:
        run: Called with `corpus`, `data_dir`, `epochs` and `model` (`discriminant` or `network`); makes the run and
            returns its folder. It runs in a thread of its own.
        root: The corpus folder.
        epochs: The initial number of epochs, for the network.
    """
    ui = SimpleNamespace(
        run=run,
        root=folder_field(root),
        model=w.Dropdown(options=MODELS, description="Model", style=LABEL_STYLE, layout=w.Layout(width="30em")),
        epochs=w.BoundedIntText(epochs, min=1, max=1000, description="Epochs", style=LABEL_STYLE),
        start=w.Button(description="Train", icon="play"),
        message=w.HTML(layout=WIDE_LAYOUT),
    )
    ui.start.on_click(lambda _: _start_training(ui))
    return w.VBox([ui.root, w.HBox([ui.model, ui.epochs, ui.start]), ui.message])


def _start_training(ui: SimpleNamespace) -> None:
    ui.start.disabled = True  # before the thread starts: a second click would start a second run
    threading.Thread(target=report_errors(ui, _run_training), daemon=True).start()


def _run_training(ui: SimpleNamespace) -> None:
    try:
        root, start = ui.root.value.strip(), time.perf_counter()
        model = ui.model.value or choose_model(root)
        ui.message.value = message_html(f"Training the {model} ...")
        folder = ui.run(corpus="local", data_dir=root, epochs=ui.epochs.value, model=model)
        seconds = time.perf_counter() - start
        ui.message.value = message_html(f"The {model} was trained in {seconds:.0f} s; its run is in {folder}.")
    finally:
        ui.start.disabled = False


def choose_model(root: str | Path) -> str:
    """Return `discriminant` for a small corpus, `network` for one of 1000 clips or more."""
    return "discriminant" if len(corpora.read_manifest(root)) < SMALL_CORPUS else "network"
