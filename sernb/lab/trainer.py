"""The panel that trains a model on a local corpus."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as w
import pandas as pd

from sernb import corpora
from sernb import evaluation
from sernb.lab.widgets import AUTO_LAYOUT
from sernb.lab.widgets import LABEL_STYLE
from sernb.lab.widgets import WIDE_LAYOUT
from sernb.lab.widgets import folder_field
from sernb.lab.widgets import message_html
from sernb.lab.widgets import report_errors

# With fewer clips the paper's network stays at chance; the discriminant already classifies most correctly.
SMALL_CORPUS = 1000  # clips
MODELS = {
    "discriminant": "the discriminant of notebook 07 (a minute or two)",
    "network": "the paper's network of notebook 03 (minutes)",
}


def train_model(run: Callable[..., Path], root: str | Path, *, epochs: int = 20) -> w.Widget:
    """Train a model on a local corpus, split by speaker, while the other panels stay usable.

    Args:
        run: Called with `corpus`, `data_dir`, `epochs`, `model` (`discriminant` or `network`) and `emotions`, and with
            the options `on_cell` and `cancelled` of `runs.run_notebook`; makes the run and returns its folder. It runs
            in a thread of its own.
        root: The corpus folder.
        epochs: The initial number of epochs, for the network.
    """
    ui = _controls(run, root, epochs)
    ui.root.observe(report_errors(ui, _change_corpus), "value")
    ui.refresh.on_click(report_errors(ui, _offer_emotions))
    ui.model.observe(lambda change: _show_epochs(ui), "value")
    ui.start.on_click(lambda _: _start_training(ui))
    ui.cancel.on_click(lambda _: _cancel_training(ui))
    report_errors(ui, _offer_emotions)()
    wrapped = w.Layout(flex_flow="row wrap")
    buttons = w.HBox([ui.model, ui.epochs, ui.start, ui.cancel], layout=wrapped)
    return w.VBox([ui.root, w.HBox([ui.emotions, ui.refresh], layout=wrapped), buttons, ui.bar, ui.message])


def _controls(run: Callable[..., Path], root: str | Path, epochs: int) -> SimpleNamespace:
    return SimpleNamespace(
        run=run,
        cancelled=threading.Event(),
        n_clips=0,
        root=folder_field(root),
        emotions=w.HBox(layout=w.Layout(flex_flow="row wrap")),
        refresh=w.Button(description="Look again", icon="refresh", tooltip="for new clips", layout=AUTO_LAYOUT),
        model=w.Dropdown(options=_model_options(0), description="Model", style=LABEL_STYLE,
                         layout=w.Layout(width="54em")),
        epochs=w.BoundedIntText(epochs, min=1, max=1000, description="Epochs",
                                layout=w.Layout(width="10em", display="none")),
        start=w.Button(description="Train", icon="play", layout=AUTO_LAYOUT),
        cancel=w.Button(description="Cancel", icon="stop", disabled=True, layout=AUTO_LAYOUT),
        bar=w.IntProgress(style=LABEL_STYLE, layout=w.Layout(width="40em", display="none")),
        message=w.HTML(layout=WIDE_LAYOUT),
    )  # fmt: skip


def _change_corpus(ui: SimpleNamespace) -> None:
    ui.emotions.children = ()  # what was ticked was for the other corpus
    _offer_emotions(ui)


def _offer_emotions(ui: SimpleNamespace) -> None:
    """Offer the corpus's emotions; those with enough speakers for a split are ticked, unless the user changed that."""
    root = corpora.corpus_path(ui.root.value)
    changed = {box.emotion: box.value for box in ui.emotions.children if box.value != box.is_complete}
    if not corpora.has_clips(root):
        ui.emotions.children = ()
        ui.message.value = message_html("This corpus has no clips yet: record or import some, then look again.")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", corpora.CorpusWarning)  # the Check panel shows them
        clips = corpora.drop_unknown(corpora.load("local", root))
    ui.n_clips, chosen = len(clips), ui.model.value
    ui.model.options, ui.model.value = _model_options(ui.n_clips), chosen
    _show_epochs(ui)
    counts = evaluation.missing_speakers(clips)
    ui.emotions.children = tuple(_emotion_box(emotion, row, changed) for emotion, row in counts.iterrows())
    short = ", ".join(counts.index[counts["speakers to add"] > 0])
    text = f"A split by speaker needs at least three speakers of each emotion; this corpus has fewer of {short}."
    ui.message.value = message_html(text if short else "")


def _chosen_model(ui: SimpleNamespace) -> str:
    return ui.model.value or choose_model(ui.n_clips)


def _show_epochs(ui: SimpleNamespace) -> None:
    """Show the number of epochs if the network is chosen: the discriminant has none."""
    ui.epochs.layout.display = None if _chosen_model(ui) == "network" else "none"


def _emotion_box(emotion: str, counts: pd.Series, changed: Mapping[str, bool]) -> w.Checkbox:
    is_complete = counts["speakers to add"] == 0
    description = f"{emotion} (clips: {counts['clips']}, speakers: {counts['speakers']})"
    box = w.Checkbox(
        changed.get(emotion, is_complete), description=description, indent=False, layout=w.Layout(width="18em")
    )
    box.emotion, box.is_complete = emotion, is_complete
    return box


def _start_training(ui: SimpleNamespace) -> None:
    ui.start.disabled = True  # before the thread starts: a second click would start a second run
    ui.cancelled.clear()
    threading.Thread(target=report_errors(ui, _run_training), daemon=True).start()


def _cancel_training(ui: SimpleNamespace) -> None:
    ui.cancelled.set()
    ui.cancel.disabled = True
    ui.message.value = message_html("Cancelling ...")


def _run_training(ui: SimpleNamespace) -> None:
    start = time.perf_counter()
    try:
        _offer_emotions(ui)  # clips may have been recorded since
        emotions = [box.emotion for box in ui.emotions.children if box.value]
        if len(emotions) < 2:
            ui.message.value = message_html("Tick at least two emotions.", bad=True)
            return
        model = _chosen_model(ui)
        folder = _train(ui, model, emotions)
        seconds = time.perf_counter() - start
        ui.message.value = message_html(
            f"The {model} was trained in {seconds:.0f} s; its run is in {folder}. “Search again” in "
            "the Predict panel lists it."
        )
    except Exception:
        if not ui.cancelled.is_set():
            raise
        ui.message.value = message_html(f"Cancelled after {time.perf_counter() - start:.0f} s.")
    finally:
        ui.start.disabled = False


def _train(ui: SimpleNamespace, model: str, emotions: Sequence[str]) -> Path:
    """Run the training, with a progress bar and a button that cancels it."""

    def show_progress(index: int, n_cells: int) -> None:
        """Show which cell of the notebook is running."""
        ui.bar.max, ui.bar.value = n_cells, index
        ui.bar.description = f"cell {index + 1} of {n_cells}"

    ui.message.value = message_html(f"Training the {model} on {', '.join(emotions)} ...")
    ui.bar.value, ui.bar.description, ui.bar.layout.display, ui.cancel.disabled = 0, "starting", None, False
    try:
        return ui.run(
            corpus="local", data_dir=ui.root.value.strip(), epochs=ui.epochs.value, model=model, emotions=emotions,
            on_cell=show_progress, cancelled=ui.cancelled,
        )  # fmt: skip
    finally:
        ui.bar.layout.display, ui.cancel.disabled = "none", True


def choose_model(n_clips: int) -> str:
    """Return `discriminant` for a small corpus, `network` for one of 1,000 clips or more."""
    return "discriminant" if n_clips < SMALL_CORPUS else "network"


def _model_options(n_clips: int) -> dict[str, str]:
    """Return the models by what the panel calls them; the first is the one for this number of clips."""
    names = {f"{text[0].upper()}{text[1:]}": model for model, text in MODELS.items()}
    default = f"Default for {n_clips} clips" if n_clips else "Default"
    return {f"{default}: {MODELS[choose_model(n_clips)]}": "", **names}
