"""Floor 4: train on a local corpus in JupyterLab, and let a finished run's network judge a clip."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as w
import numpy as np
import pandas as pd

from sernb import audio
from sernb import local
from sernb import plots
from sernb import prediction
from sernb import widgets

SOURCES = ("the browsed clip", "a file", "a clip of my corpus")


def train(run: Callable[..., Path], root: str | Path, *, epochs: int = 20) -> w.Widget:
    """Train the network of notebook 03 on a local corpus, split by speaker, while the other panels stay usable.

    Args:
        run: Makes the run, given `corpus`, `data_dir` and `epochs`, and returns its folder.
        root: The corpus's folder.
        epochs: To begin with.
    """
    style = widgets.LABELS
    ui = SimpleNamespace(
        run=run,
        root=widgets.folder(root),
        epochs=w.BoundedIntText(epochs, min=1, max=1000, description="Epochs", style=style),
        start=w.Button(description="Train", icon="play"),
        said=w.HTML(),
    )
    ui.start.on_click(lambda _: threading.Thread(target=widgets.guarded(ui, _train), daemon=True).start())
    return w.VBox([ui.root, w.HBox([ui.epochs, ui.start]), ui.said])


def _train(ui: SimpleNamespace) -> None:
    ui.start.disabled = True
    ui.said.value = widgets.said("Training: from half a minute to some minutes ...")
    try:
        start = time.perf_counter()
        folder = ui.run(corpus="local", data_dir=ui.root.value.strip(), epochs=ui.epochs.value)
        ui.said.value = widgets.said(f"Trained in {time.perf_counter() - start:.0f} s; the run lies in {folder}.")
    finally:
        ui.start.disabled = False


def predict(
    run: str | Path,
    *,
    folders: tuple[str | Path, ...] = (),
    browser: w.Widget | None = None,
    recorder: w.Widget | None = None,
) -> w.Widget:
    """Let a finished run's network judge a clip: browsed, uploaded or of the local corpus; with the model's card.

    Args:
        run: The run to begin with.
        folders: Where to look for others, and for a local corpus (a folder with a manifest).
        browser: The panel of `browse` whose clip is judged.
        recorder: The panel of `record` whose clips are listed as soon as they are kept.
    """
    ui = _controls(run, folders, browser)
    ui.finished = None
    ui.run.observe(widgets.guarded(ui, _load_run), "value")
    ui.source.observe(widgets.guarded(ui, _predict), "value")
    ui.upload.observe(lambda _: _from(ui, SOURCES[1]), "value")
    ui.clip.observe(lambda _: _from(ui, SOURCES[2]), "value")
    ui.now.on_click(widgets.guarded(ui, _predict))
    ui.other.observe(widgets.guarded(ui, _another), "value")
    ui.again.on_click(widgets.guarded(ui, _again))
    if (state := getattr(recorder, "state", None)) is not None:
        state.microphone.observe(widgets.guarded(ui, _find_clips), "kept")
    widgets.guarded(ui, _load_run)()
    return w.VBox(
        [
            w.HBox([ui.run, ui.other, ui.again], layout=w.Layout(flex_flow="row wrap")),
            w.HBox([ui.source, ui.upload, ui.clip, ui.now], layout=w.Layout(flex_flow="row wrap")),
            ui.said,
            w.HBox([ui.bars, ui.view], layout=w.Layout(flex_flow="row wrap")),
            ui.card,
        ]
    )


def _controls(run: str | Path, folders: tuple[str | Path, ...], browser: w.Widget | None) -> SimpleNamespace:
    style = widgets.LABELS
    ui = SimpleNamespace(
        finding=False,
        folders=folders,
        browser=getattr(browser, "state", None),
        run=w.Dropdown(options=[str(run)], description="Run", style=style, layout=w.Layout(width="42em")),
        other=w.Text(placeholder="or the folder of another run, then Enter", continuous_update=False,
                     layout=w.Layout(width="20em")),
        again=w.Button(description="Look again", icon="refresh"),
        source=w.ToggleButtons(options=SOURCES, style={"button_width": "13em"}),
        upload=w.FileUpload(accept="audio/*,.wav,.flac,.ogg,.mp3", description="Choose a file"),
        clip=w.Dropdown(options=[], layout=w.Layout(width="22em")),
        now=w.Button(description="Predict", icon="play"),
        bars=w.Image(format="png", layout=w.Layout(width="430px", object_fit="contain")),
        view=widgets.ClipView(layout=w.Layout(min_width="420px", flex="1 1 420px")),
        card=w.Output(),
        said=w.HTML(),
    )  # fmt: skip
    _find(ui)
    return ui


def _find(ui: SimpleNamespace) -> None:
    """Runs that can predict, and the clips of local corpora, the newest first."""
    _offer_runs(ui, map(str, prediction.find(*ui.folders)))
    _find_clips(ui)


def _find_clips(ui: SimpleNamespace) -> None:
    """The clips of local corpora; the newest is chosen, unless one is looked at."""
    corpora_there = [Path(folder) for folder in ui.folders if Path(folder, local.MANIFEST).is_file()]
    clips = [(file, str(root / file)) for root in corpora_there for file in local.manifest(root)["file"][::-1]]
    if clips and list(ui.clip.options) != clips:
        looked_at = ui.clip.value if ui.source.value == SOURCES[2] else None
        places = [place for _, place in clips]
        ui.finding = True  # nobody has chosen this clip
        ui.clip.options, ui.clip.index = clips, places.index(looked_at) if looked_at in places else 0
        ui.finding = False


def _offer_runs(ui: SimpleNamespace, found: Iterable[str]) -> None:
    """The run that is chosen stays the first, so that offering others changes nothing."""
    ui.finding = True
    ui.run.options, ui.run.index = list(dict.fromkeys([ui.run.value, *ui.run.options, *found])), 0
    ui.finding = False


def _another(ui: SimpleNamespace) -> None:
    """A run whose folder was typed."""
    if folder := ui.other.value.strip():
        _offer_runs(ui, [folder])
        ui.run.value = folder


def _again(ui: SimpleNamespace) -> None:
    _find(ui)
    _load_run(ui)


def _load_run(ui: SimpleNamespace) -> None:
    if ui.finding:
        return
    ui.finished = None  # or the old network's answers would stand below the new one's name
    _clear(ui)
    ui.card.outputs = ()
    ui.finished = prediction.load(ui.run.value.strip())
    shown = {"text/markdown": prediction.card(ui.finished), "text/plain": ""}
    ui.card.outputs = ({"output_type": "display_data", "data": shown, "metadata": {}},)
    _predict(ui)


def _predict(ui: SimpleNamespace) -> None:
    try:
        _judge(ui)
    except Exception:
        _clear(ui)
        raise


def _clear(ui: SimpleNamespace) -> None:
    """No answer to an earlier clip, or of an earlier network, stays beside an error."""
    ui.bars.value = b""
    ui.view.show()


def _judge(ui: SimpleNamespace) -> None:
    if ui.finished is None or (found := _heard(ui)) is None:
        _clear(ui)
        ui.said.value = widgets.said("Choose a clip." if ui.finished else "Choose a run.")
        return
    (name, signal), rate = found, ui.finished.inputs.sample_rate
    whole, moments = prediction.probabilities(ui.finished, signal), prediction.course(ui.finished, signal)
    ui.bars.value = _bars(whole)
    ui.view.show(widgets.course(signal, rate, name, moments))
    answer = prediction.answer(whole) or "no answer: the network gives all zero"
    ui.said.value = widgets.said(f"{name}: {answer} ({whole.max():.2f}), the largest of {len(whole)} probabilities.")


def _from(ui: SimpleNamespace, source: str) -> None:
    """Whoever chooses a clip wants it judged, wherever the clip before came from."""
    if ui.finding:
        return
    if ui.source.value == source:
        widgets.guarded(ui, _predict)()
    else:
        ui.source.value = source


def _bars(whole: pd.Series) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 0.9 + 0.3 * len(whole)), layout="constrained")
    plots.probabilities(whole, ax=figure.subplots())
    return plots.png(figure)


def _heard(ui: SimpleNamespace) -> tuple[str, np.ndarray] | None:
    """Name and samples, at the run's sample rate, of the clip to be judged."""
    rate = ui.finished.inputs.sample_rate
    if ui.source.value == SOURCES[0] and ui.browser is not None and ui.browser.row is not None:
        return widgets.title(ui.browser.row), widgets.sound(ui.browser.row["path"], rate)
    if ui.source.value == SOURCES[1] and ui.upload.value:
        return _uploaded(ui.upload.value[-1], rate)
    if ui.source.value == SOURCES[2] and ui.clip.value:
        return ui.clip.label, widgets.sound(ui.clip.value, rate)
    return None


def _uploaded(upload: Any, sample_rate: int) -> tuple[str, np.ndarray]:
    try:
        return upload["name"], audio.load(io.BytesIO(bytes(upload["content"])), sample_rate)
    except audio.AudioError as error:
        known = "WAV, FLAC, Ogg, MP3, AIFF"
        raise audio.AudioError(f"{upload['name']} cannot be decoded; convert it to one of {known}.") from error
