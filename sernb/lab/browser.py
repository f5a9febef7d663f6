"""Browse a corpus in JupyterLab: filter, listen, look, alter, compare."""

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

FILTER_COLUMNS = ("emotion", "speaker", "sex", "channel")
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
    """Filter a corpus, go from clip to clip by arrow keys, hear and see each, altered by sliders or beside another.

    Args:
        corpus: A name from `sernb corpora`; the panel offers the others that can be found, too.
        data_dir: Its folder; empty to look it up.
        recorded: Folder of the local corpus to offer, which may still be empty; that of `corpus` if it is `local`.
        sample_rate: At which clips are heard and seen, in Hz.
        max_clips: At most so many clips of a corpus.
        seed: Of the choice of clips.

    Returns:
        The panel; its `state` is what `predict` follows to know the clip that is shown.
    """
    ui = _controls(corpus, _find_corpora(corpus, recorded))
    ui.places = {"local": recorded, corpus: data_dir}
    ui.given = {"max_clips": max_clips, "seed": seed}
    ui.rate, ui.row, ui.pinned, ui.filtering = sample_rate, None, None, False
    ui.table = pd.DataFrame(columns=FILTER_COLUMNS)
    ui.corpus.observe(report_errors(ui, _load_corpus), "value")
    for name in FILTER_COLUMNS:
        ui.filters[name].observe(report_errors(ui, _apply_filter), "value")
    for control in (ui.place, ui.beside, *ui.sliders.values()):
        control.observe(report_errors(ui, _show_clips), "value")
    ui.pin.on_click(report_errors(ui, _pin_clip))
    ui.reset.on_click(report_errors(ui, _reset_sliders))
    ui.again.on_click(report_errors(ui, _load_corpus))
    ui.view.on_msg(lambda _, message, __: _step(ui, message["step"]))
    report_errors(ui, _load_corpus)()
    return _layout(ui)


def _controls(corpus: str, offered: list[str]) -> SimpleNamespace:
    slim = {"style": {"description_width": "5.5em"}, "layout": w.Layout(width="15em")}
    slide = {"style": {"description_width": "10em"}, "layout": w.Layout(width="29em"), "continuous_update": False}
    sliders = {
        "snr": w.FloatSlider(40, min=-5, max=40, step=1, description="noise SNR (dB)", readout_format=".0f", **slide),
        "semitones": w.FloatSlider(0, min=-10, max=10, step=0.5, description="pitch (semitones)", **slide),
        "speed": w.FloatSlider(1, min=0.5, max=2, step=0.05, description="speed (times)", **slide),
        "vocal_tract": w.FloatSlider(1, min=0.85, max=1.15, step=0.01, description="vocal tract", **slide),
    }
    for slider in sliders.values():
        slider.rest = slider.value  # where it alters nothing
    return SimpleNamespace(
        corpus=w.Dropdown(options=offered, value=corpus, description="corpus", **slim),
        filters={name: w.Dropdown(options=[ALL_VALUES], description=name, **slim) for name in FILTER_COLUMNS},
        place=w.BoundedIntText(1, min=1, max=1, description="clip", **slim),
        beside=w.ToggleButtons(options=["alone", "altered", "pinned"], style={"button_width": "6em"}),
        pin=w.Button(description="Pin this clip", icon="thumb-tack", layout=AUTO_LAYOUT),
        reset=w.Button(description="Reset sliders", icon="undo", layout=AUTO_LAYOUT),
        again=w.Button(description="Read again", icon="refresh", tooltip="new clips of the corpus", layout=AUTO_LAYOUT),
        sliders=sliders,
        view=ClipView(),
        said=w.HTML(),
    )


def _layout(ui: SimpleNamespace) -> w.Widget:
    row = functools.partial(w.HBox, layout=w.Layout(flex_flow="row wrap"))
    panel = w.VBox(
        [
            row([ui.corpus, *ui.filters.values(), ui.again]),
            row([ui.place, w.Label("beside it:"), ui.beside, ui.pin, ui.reset]),
            row(list(ui.sliders.values())),
            ui.view,
            ui.said,
        ]
    )
    panel.state = ui
    return panel


def _find_corpora(corpus: str, recorded: str | Path) -> list[str]:
    always = {corpus, "local"} if recorded else {corpus}

    def there(name: str) -> bool:
        try:
            return bool(corpora.locate(name))
        except (corpora.CorpusError, corpora.DemoError):
            return False

    return [name for name in corpora.CORPORA if name in always or there(name)]


def _load_corpus(ui: SimpleNamespace) -> None:
    name = ui.corpus.value
    try:
        ui.table = _clip_table(name, ui.places.get(name, ""), ui.given)
    except Exception:
        ui.table = ui.table.iloc[:0]  # or the clips of the corpus before would stand below this one's name
        _set_options(ui)
        raise
    _set_options(ui)


def _clip_table(name: str, folder: str | Path, given: dict[str, int]) -> pd.DataFrame:
    if name == "local" and folder and not len(corpora.read_manifest(folder)):
        raise corpora.CorpusError(f"No clip is in {folder} yet: record or import some, then read it again.")
    return corpora.load(name, folder, **given)


def _set_options(ui: SimpleNamespace) -> None:
    """What the filters may be set to, and the first clip."""
    ui.filtering = True
    for column in FILTER_COLUMNS:
        ui.filters[column].options = [ALL_VALUES, *sorted(set(ui.table[column]) - {""})]
        ui.filters[column].value = ALL_VALUES
    ui.filtering = False
    _apply_filter(ui)


def _apply_filter(ui: SimpleNamespace) -> None:
    if ui.filtering:
        return
    chosen = ui.table
    for name, choice in ui.filters.items():
        chosen = chosen if choice.value == ALL_VALUES else chosen[chosen[name] == choice.value]
    ui.chosen = chosen.reset_index(drop=True)
    ui.filtering = True
    ui.place.max = max(1, len(ui.chosen))
    ui.place.value = 1
    ui.filtering = False
    _show_clips(ui)


def _step(ui: SimpleNamespace, step: int) -> None:
    ui.place.value = (ui.place.value - 1 + step) % max(1, len(ui.chosen)) + 1


def _show_clips(ui: SimpleNamespace) -> None:
    if ui.filtering:
        return
    start = time.perf_counter()
    if ui.chosen.empty:
        ui.row = None
        ui.view.show()
        ui.said.value = message_html("No clip has all of this; set a filter back to “all”.")
        return
    ui.row = ui.chosen.iloc[ui.place.value - 1]
    shown = [_clip_item(ui, ui.row)]
    if ui.beside.value == "altered":
        shown.append(_apply_effects(ui))
    elif ui.beside.value == "pinned" and ui.pinned is not None:
        shown.append(_clip_item(ui, ui.pinned))
    ui.view.show(*shown)
    place = f"Clip {ui.place.value} of {len(ui.chosen)}; drawn in {time.perf_counter() - start:.2f} s."
    ui.said.value = message_html(
        f"{place} Click on the picture, then: arrow keys for next and previous, space to play."
    )


def _clip_item(ui: SimpleNamespace, row: pd.Series) -> dict[str, Any]:
    return overview_item(load_cached(row["path"], ui.rate), ui.rate, clip_title(row), row["emotion"])


def effect_settings(ui: SimpleNamespace) -> dict[str, float]:
    """What the sliders ask for, as arguments of `audio.apply_effects`."""
    return {name: slider.value for name, slider in ui.sliders.items() if slider.value != slider.rest}


def _apply_effects(ui: SimpleNamespace) -> dict[str, Any]:
    asked = effect_settings(ui)
    changed = audio.apply_effects(load_cached(ui.row["path"], ui.rate), ui.rate, **asked)
    moved = [slider for slider in ui.sliders.values() if slider.value != slider.rest]
    told = ", ".join(f"{slider.description} {slider.value:g}" for slider in moved)
    return overview_item(changed, ui.rate, f"altered: {told or 'nothing yet, move a slider'}", ui.row["emotion"])


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
        slider.value = slider.rest
