"""The panel that browses a corpus: filter, listen, look, alter, compare."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as w
import pandas as pd

from sernb import audio
from sernb import corpora
from sernb.lab.widgets import AUTO_LAYOUT
from sernb.lab.widgets import ClipView
from sernb.lab.widgets import clip_title
from sernb.lab.widgets import load_cached
from sernb.lab.widgets import message_html
from sernb.lab.widgets import overview_item
from sernb.lab.widgets import report_errors

FILTER_COLUMNS = ("emotion", "speaker", "sex", "channel", "intensity", "statement", "condition")
ALL_VALUES = "all"


def browse_clips(
    corpus: str,
    data_dir: str = "",
    *,
    recorded: str | Path = "",
    sample_rate: int = 22050,
    max_clips: int = 0,
    seed: int = 42,
) -> w.Widget:
    """Filter a corpus, step through its clips by arrow keys, hear and see each, altered by sliders or beside another.

    Args:
        corpus: A name from `sernb corpora`; the panel also offers the other corpora on this machine.
        data_dir: Its folder; empty to look it up.
        recorded: Folder of the local corpus to offer, which may still be empty; that of `corpus` if it is `local`.
        sample_rate: Sample rate of players and figures, in Hz.
        max_clips: The maximum number of clips of a corpus; 0 for all.
        seed: Seed of the choice of clips.

    Returns:
        The panel; by its `state`, `predict_clip` follows the clip that is shown.
    """
    ui = _controls(corpus, _find_corpora(corpus, recorded))
    ui.folders = {"local": recorded, corpus: data_dir}
    ui.load_options = {"max_clips": max_clips, "seed": seed}
    ui.sample_rate, ui.row, ui.pinned, ui.is_updating = sample_rate, None, None, False
    ui.table = ui.selected = pd.DataFrame(columns=FILTER_COLUMNS)
    ui.corpus.observe(report_errors(ui, _load_corpus), "value")
    for name in FILTER_COLUMNS:
        ui.filters[name].observe(report_errors(ui, _apply_filter), "value")
    for control in (ui.number, ui.beside):
        control.observe(report_errors(ui, _show_clips), "value")
    for slider in ui.sliders.values():
        slider.observe(report_errors(ui, _move_slider), "value")
    ui.pin.on_click(report_errors(ui, _pin_clip))
    ui.reset.on_click(report_errors(ui, _reset_sliders))
    ui.refresh.on_click(report_errors(ui, _load_corpus))
    ui.view.on_msg(lambda _, message, __: report_errors(ui, lambda ui: _step(ui, message["step"]))())
    report_errors(ui, _load_corpus)()
    return _layout(ui)


def _controls(corpus: str, names: list[str]) -> SimpleNamespace:
    narrow = {"style": {"description_width": "5.5em"}, "layout": w.Layout(width="15em")}
    wide = {"style": {"description_width": "10em"}, "layout": w.Layout(width="29em"), "continuous_update": False}
    sliders = {
        "snr": w.FloatSlider(40, min=-5, max=40, step=1, description="noise SNR (dB)", readout_format=".0f", **wide),
        "semitones": w.FloatSlider(0, min=-10, max=10, step=0.5, description="pitch (semitones)", **wide),
        "speed": w.FloatSlider(1, min=0.5, max=2, step=0.05, description="speed (times)", **wide),
        "vocal_tract": w.FloatSlider(1, min=0.85, max=1.15, step=0.01, description="vocal tract", **wide),
    }
    for slider in sliders.values():
        slider.neutral = slider.value  # the value that alters nothing
    return SimpleNamespace(
        corpus=w.Dropdown(options=names, value=corpus, description="corpus", **narrow),
        filters={name: w.Dropdown(options=[ALL_VALUES], description=name, **narrow) for name in FILTER_COLUMNS},
        number=w.BoundedIntText(1, min=1, max=1, description="clip", **narrow),
        beside=w.ToggleButtons(options=["alone", "altered", "pinned"], style={"button_width": "6em"}),
        pin=w.Button(description="Pin this clip", icon="thumb-tack", layout=AUTO_LAYOUT),
        reset=w.Button(description="Reset sliders", icon="undo", layout=AUTO_LAYOUT),
        refresh=w.Button(description="Load again", icon="refresh", tooltip="with new clips", layout=AUTO_LAYOUT),
        sliders=sliders,
        view=ClipView(),
        message=w.HTML(),
    )


def _layout(ui: SimpleNamespace) -> w.Widget:
    row = functools.partial(w.HBox, layout=w.Layout(flex_flow="row wrap"))
    panel = w.VBox(
        [
            row([ui.corpus, *ui.filters.values(), ui.refresh]),
            row([ui.number, w.Label("beside it:"), ui.beside, ui.pin, ui.reset]),
            row(list(ui.sliders.values())),
            ui.view,
            ui.message,
        ]
    )
    panel.state = ui
    return panel


def _find_corpora(corpus: str, recorded: str | Path) -> list[str]:
    """Return the corpora to offer: those that were asked for, and those with a folder on this machine."""
    asked_for = {corpus, "local"} if recorded else {corpus}
    return [name for name in corpora.CORPORA if name in asked_for or _is_present(name)]


def _is_present(name: str) -> bool:
    try:
        return bool(corpora.locate(name))
    except (corpora.CorpusError, corpora.DemoError):
        return False


def _load_corpus(ui: SimpleNamespace) -> None:
    name = ui.corpus.value
    try:
        ui.table = _clip_table(name, ui.folders.get(name, ""), ui.load_options)
    except Exception:
        ui.table = ui.table.iloc[:0]  # or the previous corpus's clips would be shown under this one's name
        _set_options(ui)
        raise
    _set_options(ui)


def _clip_table(name: str, folder: str | Path, options: dict[str, int]) -> pd.DataFrame:
    if name == "local" and folder and not len(corpora.read_manifest(folder)):
        raise corpora.CorpusError(f"{folder} has no clips yet: record or import some, then load it again.")
    return corpora.load(name, folder, **options)


def _set_options(ui: SimpleNamespace) -> None:
    """Offer this corpus's values in the filters, and show its first clip."""
    ui.is_updating = True
    for column, choice in ui.filters.items():
        values = sorted(set(ui.table[column]) - {""})
        choice.options, choice.value = [ALL_VALUES, *values], ALL_VALUES
        choice.layout.display = None if len(values) > 1 else "none"
    ui.is_updating = False
    _apply_filter(ui)


def _apply_filter(ui: SimpleNamespace) -> None:
    if ui.is_updating:
        return
    selected = ui.table
    for name, choice in ui.filters.items():
        selected = selected if choice.value == ALL_VALUES else selected[selected[name] == choice.value]
    ui.selected = selected.reset_index(drop=True)
    ui.is_updating = True
    ui.number.max = max(1, len(ui.selected))
    ui.number.value = 1
    ui.is_updating = False
    _show_clips(ui)


def _step(ui: SimpleNamespace, step: int) -> None:
    ui.number.value = (ui.number.value - 1 + step) % max(1, len(ui.selected)) + 1


def _show_clips(ui: SimpleNamespace) -> None:
    if ui.is_updating:
        return
    start = time.perf_counter()
    if ui.selected.empty:
        ui.row = None
        ui.view.show()
        ui.message.value = message_html("No clip matches all filters; set one back to “all”.")
        return
    ui.row = ui.selected.iloc[ui.number.value - 1]
    try:
        ui.view.show(*_view_items(ui))
    except Exception:
        ui.view.show()  # or the previous clip would be shown beside this one's error
        raise
    position = f"Clip {ui.number.value} of {len(ui.selected)}; drawn in {time.perf_counter() - start:.2f} s."
    ui.message.value = message_html(
        f"{position} Click on the figure, then use the arrow keys for next and previous, space to play."
    )


def _view_items(ui: SimpleNamespace) -> list[dict[str, Any]]:
    items = [_clip_item(ui, ui.row)]
    if ui.beside.value == "altered":
        items.append(_altered_item(ui))
    elif ui.beside.value == "pinned" and ui.pinned is not None:
        items.append(_clip_item(ui, ui.pinned))
    return items


def _clip_item(ui: SimpleNamespace, row: pd.Series) -> dict[str, Any]:
    signal = load_cached(row["path"], ui.sample_rate)
    return overview_item(signal, ui.sample_rate, clip_title(row), row["emotion"])


def effect_settings(ui: SimpleNamespace) -> dict[str, float]:
    """Return the sliders' settings as arguments of `audio.apply_effects`."""
    return {name: slider.value for name, slider in ui.sliders.items() if slider.value != slider.neutral}


def _altered_item(ui: SimpleNamespace) -> dict[str, Any]:
    signal = load_cached(ui.row["path"], ui.sample_rate)
    altered = audio.apply_effects(signal, ui.sample_rate, **effect_settings(ui))
    moved = [slider for slider in ui.sliders.values() if slider.value != slider.neutral]
    text = ", ".join(f"{slider.description} {slider.value:g}" for slider in moved)
    title = f"altered: {text or 'nothing yet, move a slider'}"
    return overview_item(altered, ui.sample_rate, title, ui.row["emotion"])


def _move_slider(ui: SimpleNamespace) -> None:
    if ui.beside.value != "altered" and effect_settings(ui):
        ui.beside.value = "altered"
    else:
        _show_clips(ui)


def _pin_clip(ui: SimpleNamespace) -> None:
    if ui.row is None:
        return
    ui.pinned = ui.row
    if ui.beside.value == "pinned":
        _show_clips(ui)
    else:
        ui.beside.value = "pinned"


def _reset_sliders(ui: SimpleNamespace) -> None:
    for slider in ui.sliders.values():
        slider.value = slider.neutral
