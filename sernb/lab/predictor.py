"""Train on a local corpus in JupyterLab, and let a finished run's network judge a clip."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as w
import numpy as np
import pandas as pd

from sernb import audio
from sernb import corpora
from sernb import display
from sernb import results
from sernb.lab.widgets import LABEL_STYLE
from sernb.lab.widgets import ClipView
from sernb.lab.widgets import clip_title
from sernb.lab.widgets import load_cached
from sernb.lab.widgets import message_html
from sernb.lab.widgets import report_errors
from sernb.lab.widgets import windows_item

SOURCES = ("the browsed clip", "a file", "a clip of my corpus")


def predict_clip(
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
    ui.run.observe(report_errors(ui, _load_run), "value")
    ui.source.observe(report_errors(ui, _show_prediction), "value")
    ui.upload.observe(lambda _: _choose_source(ui, SOURCES[1]), "value")
    ui.clip.observe(lambda _: _choose_source(ui, SOURCES[2]), "value")
    ui.now.on_click(report_errors(ui, _show_prediction))
    ui.other.observe(report_errors(ui, _choose_typed_run), "value")
    ui.again.on_click(report_errors(ui, _refresh))
    if (state := getattr(recorder, "state", None)) is not None:
        state.microphone.observe(report_errors(ui, _find_clips), "kept")
    report_errors(ui, _load_run)()
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
    style = LABEL_STYLE
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
        view=ClipView(layout=w.Layout(min_width="420px", flex="1 1 420px")),
        card=w.Output(),
        said=w.HTML(),
    )  # fmt: skip
    _refresh_runs(ui)
    return ui


def _refresh_runs(ui: SimpleNamespace) -> None:
    """Runs that can predict, and the clips of local corpora, the newest first."""
    _offer_runs(ui, map(str, results.find_runs(*ui.folders)))
    _find_clips(ui)


def _find_clips(ui: SimpleNamespace) -> None:
    """The clips of local corpora; the newest is chosen, unless one is looked at."""
    corpora_there = [Path(folder) for folder in ui.folders if Path(folder, corpora.MANIFEST).is_file()]
    clips = [(file, str(root / file)) for root in corpora_there for file in corpora.read_manifest(root)["file"][::-1]]
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


def _choose_typed_run(ui: SimpleNamespace) -> None:
    """A run whose folder was typed."""
    if folder := ui.other.value.strip():
        _offer_runs(ui, [folder])
        ui.run.value = folder


def _refresh(ui: SimpleNamespace) -> None:
    _refresh_runs(ui)
    _load_run(ui)


def _load_run(ui: SimpleNamespace) -> None:
    if ui.finding:
        return
    ui.finished = None  # or the old network's answers would stand below the new one's name
    _clear(ui)
    ui.card.outputs = ()
    ui.finished = results.load_run(ui.run.value.strip())
    shown = {"text/markdown": results.model_card(ui.finished), "text/plain": ""}
    ui.card.outputs = ({"output_type": "display_data", "data": shown, "metadata": {}},)
    _show_prediction(ui)


def _show_prediction(ui: SimpleNamespace) -> None:
    try:
        _predict_selected(ui)
    except Exception:
        _clear(ui)
        raise


def _clear(ui: SimpleNamespace) -> None:
    """No answer to an earlier clip, or of an earlier network, stays beside an error."""
    ui.bars.value = b""
    ui.view.show()


def _predict_selected(ui: SimpleNamespace) -> None:
    if ui.finished is None or (found := _selected_clip(ui)) is None:
        _clear(ui)
        ui.said.value = message_html("Choose a clip." if ui.finished else "Choose a run.")
        return
    (name, signal), rate = found, ui.finished.inputs.sample_rate
    whole, moments = results.predict_proba(ui.finished, signal), results.predict_windows(ui.finished, signal)
    ui.bars.value = _probability_picture(whole)
    ui.view.show(windows_item(signal, rate, name, moments))
    answer = results.predicted_label(whole) or "no answer: the network gives all zero"
    ui.said.value = message_html(f"{name}: {answer} ({whole.max():.2f}), the largest of {len(whole)} probabilities.")


def _choose_source(ui: SimpleNamespace, source: str) -> None:
    """Whoever chooses a clip wants it judged, wherever the clip before came from."""
    if ui.finding:
        return
    if ui.source.value == source:
        report_errors(ui, _show_prediction)()
    else:
        ui.source.value = source


def _probability_picture(whole: pd.Series) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 0.9 + 0.3 * len(whole)), layout="constrained")
    display.probability_bars(whole, ax=figure.subplots())
    return display.encode_png(figure)


def _selected_clip(ui: SimpleNamespace) -> tuple[str, np.ndarray] | None:
    """Name and samples, at the run's sample rate, of the clip to be judged."""
    rate = ui.finished.inputs.sample_rate
    if ui.source.value == SOURCES[0] and ui.browser is not None and ui.browser.row is not None:
        return clip_title(ui.browser.row), load_cached(ui.browser.row["path"], rate)
    if ui.source.value == SOURCES[1] and ui.upload.value:
        return _decode_upload(ui.upload.value[-1], rate)
    if ui.source.value == SOURCES[2] and ui.clip.value:
        return ui.clip.label, load_cached(ui.clip.value, rate)
    return None


def _decode_upload(upload: Any, sample_rate: int) -> tuple[str, np.ndarray]:
    try:
        return upload["name"], audio.load(io.BytesIO(bytes(upload["content"])), sample_rate)
    except audio.AudioError as error:
        known = "WAV, FLAC, Ogg, MP3, AIFF"
        raise audio.AudioError(f"{upload['name']} cannot be decoded; convert it to one of {known}.") from error
