"""The panel that predicts the emotion of a clip with a finished run's model."""

from __future__ import annotations

import io
import os
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
from sernb import evaluation
from sernb import results
from sernb.lab.widgets import LABEL_STYLE
from sernb.lab.widgets import ClipView
from sernb.lab.widgets import clip_title
from sernb.lab.widgets import load_cached
from sernb.lab.widgets import message_html
from sernb.lab.widgets import report_errors
from sernb.lab.widgets import windows_item

MAX_ENROLLED = 16  # each clip takes a tenth of a second
SOURCES = ("the browsed clip", "a file", "a clip of my corpus")


def predict_clip(
    run: str | Path,
    *,
    folders: tuple[str | Path, ...] = (),
    browser: w.Widget | None = None,
    recorder: w.Widget | None = None,
) -> w.Widget:
    """Predict the emotion of a clip (browsed, uploaded or of the local corpus) with a run's model; show the model card.

    Args:
        run: The run to begin with.
        folders: Where to look for other runs, and for a local corpus (a folder with a manifest).
        browser: The panel of `browse_clips` whose clip is used.
        recorder: The panel of `record_clips` whose clips are listed as soon as they are saved.
    """
    ui = _controls(run, folders, browser)
    ui.trained_run = None
    ui.run.observe(report_errors(ui, _load_run), "value")
    ui.source.observe(report_errors(ui, _show_prediction), "value")
    ui.upload.observe(report_errors(ui, lambda ui: _choose_source(ui, SOURCES[1])), "value")
    ui.clip.observe(report_errors(ui, lambda ui: _choose_source(ui, SOURCES[2])), "value")
    ui.enrol.observe(report_errors(ui, _show_prediction), "value")
    ui.predict.on_click(report_errors(ui, _show_prediction))
    ui.typed_run.observe(report_errors(ui, _choose_typed_run), "value")
    ui.refresh.on_click(report_errors(ui, _refresh))
    if (state := getattr(recorder, "state", None)) is not None:
        state.microphone.observe(report_errors(ui, _find_clips), "saved")
    report_errors(ui, _load_run)()
    return w.VBox(
        [
            w.HBox([ui.run, ui.typed_run, ui.refresh], layout=w.Layout(flex_flow="row wrap")),
            w.HBox([ui.source, ui.upload, ui.clip, ui.enrol, ui.predict], layout=w.Layout(flex_flow="row wrap")),
            ui.message,
            w.HBox([ui.bars, ui.view], layout=w.Layout(flex_flow="row wrap")),
            ui.card,
        ]
    )


def _controls(run: str | Path, folders: tuple[str | Path, ...], browser: w.Widget | None) -> SimpleNamespace:
    style = LABEL_STYLE
    ui = SimpleNamespace(
        is_updating=False,
        folders=folders,
        browser=getattr(browser, "state", None),
        run=w.Dropdown(options=[_run_name(run)], description="Run", style=style, layout=w.Layout(width="42em")),
        typed_run=w.Text(placeholder="or the folder of another run, then Enter", continuous_update=False,
                     layout=w.Layout(width="20em")),
        refresh=w.Button(description="Search again", icon="refresh"),
        source=w.ToggleButtons(options=SOURCES, style={"button_width": "13em"}),
        upload=w.FileUpload(accept="audio/*,.wav,.flac,.ogg,.mp3", description="Choose a file"),
        clip=w.Dropdown(options=[], layout=w.Layout(width="22em")),
        predict=w.Button(description="Predict", icon="play"),
        enrol=w.Checkbox(True, description="Enrol other clips of the speaker, without their emotions", indent=False,
                         layout=w.Layout(width="auto", display="none")),
        bars=w.Image(format="png", layout=w.Layout(width="430px", object_fit="contain", display="none")),
        view=ClipView(layout=w.Layout(min_width="420px", flex="1 1 420px")),
        card=w.Output(),
        message=w.HTML(),
    )  # fmt: skip
    _refresh_runs(ui)
    return ui


def _refresh_runs(ui: SimpleNamespace) -> None:
    """Offer the runs that can predict, and the clips of local corpora, the latest first."""
    _offer_runs(ui, results.find_runs(*ui.folders))
    _find_clips(ui)


def _find_clips(ui: SimpleNamespace) -> None:
    """Offer the clips of local corpora; the latest is selected, unless one is being looked at."""
    roots = _corpus_folders(ui)
    clips = [(file, str(root / file)) for root in roots for file in corpora.read_manifest(root)["file"][::-1]]
    if list(ui.clip.options) != clips:
        current = ui.clip.value if ui.source.value == SOURCES[2] else None
        paths = [path for _, path in clips]
        ui.is_updating = True  # nobody has selected this clip
        ui.clip.options = clips
        if clips:
            ui.clip.index = paths.index(current) if current in paths else 0
        ui.is_updating = False


def _corpus_folders(ui: SimpleNamespace) -> list[Path]:
    folders = [Path(folder).expanduser() for folder in ui.folders]
    return [folder for folder in folders if (folder / corpora.MANIFEST).is_file()]


def _offer_runs(ui: SimpleNamespace, runs: Iterable[str | Path]) -> None:
    """Offer more runs; the selected one stays the first, so that this changes nothing."""
    names = map(_run_name, runs)
    ui.is_updating = True
    ui.run.options, ui.run.index = list(dict.fromkeys([ui.run.value, *ui.run.options, *names])), 0
    ui.is_updating = False


def _run_name(run: str | Path) -> str:
    """Return a run's folder in one spelling: relative to the working folder if it is in there, otherwise absolute."""
    path = Path(os.path.abspath(Path(run).expanduser()))
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _choose_typed_run(ui: SimpleNamespace) -> None:
    if folder := ui.typed_run.value.strip():
        _offer_runs(ui, [folder])
        ui.run.value = _run_name(folder)


def _refresh(ui: SimpleNamespace) -> None:
    _refresh_runs(ui)
    _load_run(ui)


def _load_run(ui: SimpleNamespace) -> None:
    if ui.is_updating:
        return
    ui.trained_run = None  # or the previous model's prediction would be shown under this one's name
    _clear(ui)
    ui.card.outputs = ()
    ui.trained_run = results.load_run(ui.run.value.strip())
    _show_card(ui, ui.trained_run)
    _show_prediction(ui)


def _show_card(ui: SimpleNamespace, run: results.TrainedRun) -> None:
    data = {"text/markdown": _escape_markup(results.model_card(run)), "text/plain": ""}
    ui.card.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)


def _escape_markup(markdown: str) -> str:
    """Escape HTML in Markdown: a run's files may come from somebody else, and JupyterLab trusts a widget's output."""
    return markdown.replace("&", "&amp;").replace("<", "&lt;")


def _show_prediction(ui: SimpleNamespace) -> None:
    try:
        _predict_selected(ui)
    except Exception:
        _clear(ui)
        raise


def _clear(ui: SimpleNamespace) -> None:
    """Remove the prediction for an earlier clip, or by an earlier model."""
    _show_bars(ui, b"")
    ui.view.show()


def _show_bars(ui: SimpleNamespace, png: bytes) -> None:
    ui.bars.value, ui.bars.layout.display = png, None if png else "none"  # browsers mark an empty image as broken


def _predict_selected(ui: SimpleNamespace) -> None:
    can_enrol = ui.trained_run is not None and ui.source.value == SOURCES[2] and results.can_enrol(ui.trained_run)
    ui.enrol.layout.display = None if can_enrol else "none"
    if ui.trained_run is None or (clip := _selected_clip(ui)) is None:
        _clear(ui)
        ui.message.value = message_html("Choose a clip." if ui.trained_run else "Choose a run.")
        return
    (name, signal), rate = clip, ui.trained_run.inputs.sample_rate
    _clear(ui)  # enrolment may take seconds
    ui.message.value = message_html(f"{name}: predicting ...")
    enrolled, same = _enrolment_clips(ui) if can_enrol and ui.enrol.value else ([], 0)
    run = results.enrol_speaker(ui.trained_run, enrolled)
    _show_card(ui, run)  # enrolment has a model of its own
    probabilities = results.predict_proba(run, signal)
    windows = results.predict_windows(run, signal)
    _show_bars(ui, _probability_png(probabilities))
    ui.view.show(windows_item(signal, rate, name, windows))
    label = results.predicted_label(probabilities) or "no prediction, as all outputs are zero"
    ui.message.value = message_html(
        f"{name}: {label} ({probabilities.max():.2f}), the highest of {len(probabilities)} probabilities."
        + f" Enrolled: {len(enrolled)} other clip{'s' * (len(enrolled) != 1)} of the speaker." * (len(enrolled) > 0)
        + f" Left out, since they contain sound of this clip: {same}." * (same > 0)
    )


def _enrolment_clips(ui: SimpleNamespace) -> tuple[list[Path], int]:
    """Return the latest other clips of the speaker, and how many were left out: they contain sound of the clip."""
    path, enrolled, same = Path(ui.clip.value), [], 0
    root = next(root for root in _corpus_folders(ui) if root / ui.clip.label == path)
    clips = corpora.read_manifest(root).iloc[::-1]
    speaker = clips.loc[clips["file"] == ui.clip.label, "speaker"].iloc[0]
    for file in clips.loc[(clips["speaker"] == speaker) & (clips["file"] != ui.clip.label), "file"]:
        if evaluation.shares_sound(path, root / file):  # such as a part cut out of it
            same += 1
        elif len(enrolled) < MAX_ENROLLED:
            enrolled.append(root / file)
        else:
            break
    return enrolled, same


def _choose_source(ui: SimpleNamespace, source: str) -> None:
    """Predict a clip as soon as it is chosen, wherever the previous clip came from."""
    if ui.is_updating:
        return
    if ui.source.value == source:
        _show_prediction(ui)
    else:
        ui.source.value = source


def _probability_png(probabilities: pd.Series) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 0.9 + 0.3 * len(probabilities)), layout="constrained")
    display.probability_bars(probabilities, ax=figure.subplots())
    return display.encode_png(figure)


def _selected_clip(ui: SimpleNamespace) -> tuple[str, np.ndarray] | None:
    """Return name and samples of the selected clip, at the run's sample rate."""
    rate = ui.trained_run.inputs.sample_rate
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
        raise audio.AudioError(
            f"{upload['name']} cannot be decoded; convert it to WAV, FLAC, Ogg, MP3 or AIFF."
        ) from error
