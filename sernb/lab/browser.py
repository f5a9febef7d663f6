"""The panel that browses a corpus: filter, listen, look, alter, compare; correct, cut and annotate your recordings."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as w
import pandas as pd

from sernb import audio
from sernb import corpora
from sernb import features
from sernb.lab.widgets import AUTO_LAYOUT
from sernb.lab.widgets import ClipView
from sernb.lab.widgets import clip_title
from sernb.lab.widgets import error_html
from sernb.lab.widgets import html_table
from sernb.lab.widgets import load_cached
from sernb.lab.widgets import message_html
from sernb.lab.widgets import overview_item
from sernb.lab.widgets import report_errors

FILTER_COLUMNS = ("emotion", "speaker", "sex", "channel", "intensity", "statement", "condition")
ALL_VALUES = "all"
DATABASE_TEXT = (
    "This corpus is an audformat database, so its clips cannot be relabelled, cut, deleted or given notes here: "
    "change the tables of the database with audformat."
)


def browse_clips(
    corpus: str,
    data_dir: str = "",
    *,
    recorded: str | Path = "",
    sample_rate: int = 22050,
    max_clips: int = 0,
    seed: int = 42,
) -> w.Widget:
    """Filter a corpus, step through its clips with the arrow keys, hear and see each, altered or beside another.

    Args:
        corpus: A name from `sernb corpora`; the panel also offers the other corpora on this machine.
        data_dir: Its folder; empty to look it up.
        recorded: Folder of the local corpus to offer too, which may still be empty; not used if `corpus` is `local`.
        sample_rate: Sample rate of players and figures, in Hz.
        max_clips: The maximum number of clips of a corpus; 0 for all.
        seed: Seed of the choice of clips.

    Returns:
        The panel; by its `state`, `predict_clip` follows the clip that is shown.
    """
    ui = _controls(corpus, _find_corpora(corpus, recorded))
    ui.folders = {"local": recorded, corpus: data_dir}
    ui.load_options = {"max_clips": max_clips, "seed": seed}
    ui.sample_rate, ui.row, ui.pinned, ui.shown, ui.is_updating = sample_rate, None, None, (), False
    ui.table = ui.selected = pd.DataFrame(columns=FILTER_COLUMNS)
    ui.corpus.observe(report_errors(ui, _load_corpus), "value")
    for name in FILTER_COLUMNS:
        ui.filters[name].observe(report_errors(ui, _apply_filter), "value")
    for control in (ui.number, ui.beside):
        control.observe(report_errors(ui, _show_clips), "value")
    for slider in ui.sliders.values():
        slider.observe(report_errors(ui, _move_slider), "value")
    ui.part.observe(report_errors(ui, _move_part), "value")
    ui.pin.on_click(report_errors(ui, _pin_clip))
    ui.reset.on_click(report_errors(ui, _reset_sliders))
    ui.refresh.on_click(report_errors(ui, _reload))
    ui.relabel.on_click(report_errors(ui, _relabel_clip))
    ui.cut.on_click(report_errors(ui, _cut_clip))
    ui.add_note.on_click(report_errors(ui, _add_note))
    ui.delete.on_click(report_errors(ui, _delete_clip))
    ui.view.on_msg(lambda _, message, __: report_errors(ui, lambda ui: _step(ui, message["step"]))())
    report_errors(ui, _load_corpus)()
    return _layout(ui)


def _controls(corpus: str, names: list[str]) -> SimpleNamespace:
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
        corpus=w.Dropdown(options=names, value=corpus, description="corpus", **_narrow()),
        filters={name: w.Dropdown(options=[ALL_VALUES], description=name, **_narrow()) for name in FILTER_COLUMNS},
        number=w.BoundedIntText(1, min=1, max=1, description="clip", **_narrow()),
        beside=w.ToggleButtons(options=["alone", "altered", "part", "pinned"], style={"button_width": "6em"}),
        pin=w.Button(description="Pin this clip", icon="thumb-tack", layout=AUTO_LAYOUT),
        reset=w.Button(description="Reset sliders", icon="undo", layout=AUTO_LAYOUT),
        refresh=w.Button(description="Load again", icon="refresh", tooltip="with new clips", layout=AUTO_LAYOUT),
        sliders=sliders,
        part=w.FloatRangeSlider(value=(0, 1), min=0, max=1, step=0.01, description="part (s)", **wide),
        label=w.Dropdown(options=list(corpora.EMOTIONS), description="label", **_narrow()),
        relabel=w.Button(description="Change the label", icon="tag", layout=AUTO_LAYOUT),
        cut=w.Button(description="Save the part as a clip", icon="cut", layout=AUTO_LAYOUT),
        delete=w.Button(description="Delete this clip", icon="trash", layout=AUTO_LAYOUT),
        note=w.Text(placeholder="what you hear in this part", description="note", **_narrow("31em")),
        add_note=w.Button(description="Add the note", icon="sticky-note", layout=AUTO_LAYOUT),
        notes=w.HTML(),
        view=ClipView(),
        corrections=w.VBox(),
        read_only=w.HTML(),  # why there are no corrections
        message=w.HTML(),
    )


def _narrow(width: str = "15em") -> dict[str, Any]:
    """Return the style of a narrow control; its layout is its own, so that one can be hidden without the others."""
    return {"style": {"description_width": "5.5em"}, "layout": w.Layout(width=width)}


def _layout(ui: SimpleNamespace) -> w.Widget:
    row = functools.partial(w.HBox, layout=w.Layout(flex_flow="row wrap"))
    ui.corrections.children = (
        row([ui.label, ui.relabel, ui.cut, ui.delete]),
        row([ui.note, ui.add_note]),
        ui.notes,
    )
    panel = w.VBox(
        [
            row([ui.corpus, *ui.filters.values(), ui.refresh]),
            row([ui.number, w.Label("beside it:"), ui.beside, ui.pin, ui.reset]),
            row([*ui.sliders.values(), ui.part]),
            ui.view,
            ui.corrections,
            ui.read_only,
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


def _load_corpus(ui: SimpleNamespace, filters: Mapping[str, str] | None = None, number: int = 1) -> None:
    """Load the selected corpus; show one of its clips, the first by default, with these filters if they still fit."""
    name = ui.corpus.value
    try:
        ui.table = _clip_table(name, ui.folders.get(name, ""), ui.load_options)
    except Exception:
        ui.table = ui.table.iloc[:0]  # or the previous corpus's clips would be shown under this one's name
        _set_options(ui, {})
        raise
    _set_options(ui, filters or {}, number)


def _reload(ui: SimpleNamespace) -> None:
    _load_corpus(ui, {name: choice.value for name, choice in ui.filters.items()}, ui.number.value)


def _clip_table(name: str, folder: str | Path, options: dict[str, int]) -> pd.DataFrame:
    if name == "local" and folder and not corpora.has_clips(folder):
        raise corpora.CorpusError(f"{folder} has no clips yet: record or import some, then load it again.")
    return corpora.load(name, folder, **options)


def _set_options(ui: SimpleNamespace, filters: Mapping[str, str], number: int = 1) -> None:
    """Offer this corpus's values in the filters, and show a clip."""
    ui.is_updating = True
    for column, choice in ui.filters.items():
        values = sorted(set(ui.table[column]) - {""})
        selected = filters.get(column) if filters.get(column) in values else ALL_VALUES
        options = [ALL_VALUES, *values]
        if column == "statement":  # some corpora have codes of sentences
            options = [(corpora.STATEMENT_TEXTS.get(value, value), value) for value in options]
        choice.options, choice.value = options, selected
        choice.layout.display = None if len(values) > 1 else "none"
    ui.is_updating = False
    _apply_filter(ui, number)


def _apply_filter(ui: SimpleNamespace, number: int = 1) -> None:
    if ui.is_updating:
        return
    selected = ui.table
    for name, choice in ui.filters.items():
        selected = selected if choice.value == ALL_VALUES else selected[selected[name] == choice.value]
    ui.selected = selected.reset_index(drop=True)
    ui.is_updating = True
    ui.number.max = max(1, len(ui.selected))
    ui.number.value = min(number, ui.number.max)
    ui.is_updating = False
    _show_clips(ui)


def _step(ui: SimpleNamespace, step: int) -> None:
    ui.number.value = (ui.number.value - 1 + step) % max(1, len(ui.selected)) + 1


def _show_clips(ui: SimpleNamespace) -> None:
    if ui.is_updating:
        return
    start = time.perf_counter()
    ui.row = None if ui.selected.empty else ui.selected.iloc[ui.number.value - 1]
    _show_corrections(ui)
    if ui.row is None:
        ui.view.show()
        ui.message.value = message_html("No clip matches all filters; set one back to “all”.")
        return
    try:
        _start_clip(ui)
        ui.view.show(*_view_items(ui))
    except Exception:
        ui.view.show()  # or the previous clip would be shown beside this one's error
        raise
    position = f"Clip {ui.number.value} of {len(ui.selected)}; drawn in {time.perf_counter() - start:.2f} s."
    ui.message.value = message_html(
        f"{position} Click on the figure, then use the arrow keys for next and previous, space to play."
    )


def _show_corrections(ui: SimpleNamespace) -> None:
    """Offer to correct, cut and note a clip if it is the user's own, and list its notes."""
    is_local = ui.corpus.value == "local" and ui.row is not None
    is_database = is_local and not (_own_folder(ui) / corpora.MANIFEST).is_file()
    ui.read_only.value = message_html(DATABASE_TEXT if is_database else "")
    is_own = is_local and not is_database
    ui.corrections.layout.display = None if is_own else "none"
    ui.delete.description, ui.delete.button_style = "Delete this clip", ""
    ui.notes.value = _notes_html(ui) if is_own else ""


def _notes_html(ui: SimpleNamespace) -> str:
    try:
        notes = corpora.read_notes(_own_folder(ui), ui.row["clip"])
    except audio.AnnotationError as error:  # the clip can be shown all the same
        return error_html(error)
    table = notes[["start", "end", "label"]].set_axis(["from (s)", "to (s)", "note"], axis=1)
    return html_table(table.set_axis(range(1, len(table) + 1))) if len(table) else ""


def _start_clip(ui: SimpleNamespace) -> None:
    """If the clip is another one than before, show its label, no note, and all of it as the part."""
    clip = tuple(ui.row[["path", "sha256", "emotion"]])
    if clip == ui.shown:
        return
    ui.shown = clip
    ui.label.options = sorted({*corpora.EMOTIONS, *ui.table["emotion"]})  # a corpus may have words of its own
    ui.label.value, ui.note.value = ui.row["emotion"], ""
    seconds = len(load_cached(ui.row["path"], ui.sample_rate)) / ui.sample_rate
    ui.is_updating = True
    ui.part.max = max(round(seconds, 2), ui.part.step)
    ui.part.value = (0, ui.part.max)
    ui.is_updating = False


def _own_folder(ui: SimpleNamespace) -> Path:
    return corpora.locate("local", ui.folders.get("local", ""))


def _relabel_clip(ui: SimpleNamespace) -> None:
    before, emotion = ui.row["clip"], ui.label.value
    clip = corpora.relabel_clip(_own_folder(ui), before, emotion)
    _reload(ui)
    if len(places := ui.selected.index[ui.selected["clip"] == clip]):  # its name, and so its place, may have changed
        ui.number.value = int(places[0]) + 1
    ui.message.value = message_html(f"{before} is now labelled {emotion}{f', as {clip}' * (clip != before)}.")


def _cut_clip(ui: SimpleNamespace) -> None:
    emotion = ui.label.value
    clip = corpora.cut_clip(_own_folder(ui), ui.row["clip"], *ui.part.value, emotion)
    ui.message.value = message_html(f"The part is now {clip}, labelled {emotion}. “Load again” shows it.")


def _add_note(ui: SimpleNamespace) -> None:
    file = corpora.add_note(_own_folder(ui), ui.row["clip"], *ui.part.value, ui.note.value)
    ui.note.value = ""
    _show_corrections(ui)
    ui.message.value = message_html(f"The note is in {file}, which Audacity opens as labels.")


def _delete_clip(ui: SimpleNamespace) -> None:
    """Delete the clip and its stored features, after a second click."""
    clip, question = ui.row["clip"], "Delete it? This cannot be undone"
    if ui.delete.description != question:
        ui.delete.description, ui.delete.button_style = question, "danger"
        return
    corpora.delete_clip(_own_folder(ui), clip)
    features.forget_recordings([ui.row["sha256"]])
    report_errors(ui, _reload)()  # of a corpus that has no clips left, it says so
    ui.message.value = f"{message_html(f'{clip} was deleted.')} {ui.message.value}"


def _view_items(ui: SimpleNamespace) -> list[dict[str, Any]]:
    items = [_clip_item(ui, ui.row)]
    if _is_part_chosen(ui):
        items[0]["part"] = list(ui.part.value)  # shaded
        if ui.beside.value == "part":
            items.append(_part_item(ui))
    if ui.beside.value == "altered":
        items.append(_altered_item(ui))
    elif ui.beside.value == "pinned" and ui.pinned is not None:
        items.append(_clip_item(ui, ui.pinned))
    return items


def _clip_item(ui: SimpleNamespace, row: pd.Series) -> dict[str, Any]:
    signal = load_cached(row["path"], ui.sample_rate)
    return overview_item(signal, ui.sample_rate, clip_title(row), row["emotion"])


def effect_settings(ui: SimpleNamespace) -> dict[str, float]:
    """Return the settings of the moved sliders of a panel's `state`, as arguments of `audio.apply_effects`."""
    return {name: slider.value for name, slider in ui.sliders.items() if slider.value != slider.neutral}


def _altered_item(ui: SimpleNamespace) -> dict[str, Any]:
    signal = load_cached(ui.row["path"], ui.sample_rate)
    altered = audio.apply_effects(signal, ui.sample_rate, **effect_settings(ui))
    moved = [slider for slider in ui.sliders.values() if slider.value != slider.neutral]
    text = ", ".join(f"{slider.description} {slider.value:g}" for slider in moved)
    title = f"altered: {text or 'nothing yet, move a slider'}"
    return overview_item(altered, ui.sample_rate, title, ui.row["emotion"])


def _is_part_chosen(ui: SimpleNamespace) -> bool:
    start, end = ui.part.value
    return start < end and (start > 0 or end < ui.part.max)


def _part_item(ui: SimpleNamespace) -> dict[str, Any]:
    start, end = ui.part.value
    signal = load_cached(ui.row["path"], ui.sample_rate)
    part = signal[round(start * ui.sample_rate) : round(end * ui.sample_rate)]
    return overview_item(part, ui.sample_rate, f"part: {start:.2f} to {end:.2f} s", ui.row["emotion"])


def _move_part(ui: SimpleNamespace) -> None:
    if ui.beside.value != "part" and _is_part_chosen(ui) and not ui.is_updating:
        ui.beside.value = "part"
    else:
        _show_clips(ui)


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
    ui.part.value = (0, ui.part.max)
    for slider in ui.sliders.values():
        slider.value = slider.neutral
