"""Floor 4: panels for JupyterLab. Each wraps helpers that the notebook also calls, so that its page is not dead.

What a panel shows lives in the browser and in the kernel: JupyterLab writes none of it into the notebook's file.
"""

from __future__ import annotations

import functools
import html
import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anywidget
import ipywidgets as w
import numpy as np
import pandas as pd
import traitlets

from sernb import audio
from sernb import corpora
from sernb import demo
from sernb import imports
from sernb import local
from sernb import plots
from sernb import prediction
from sernb import quality
from sernb.progress import headless
from sernb.recorder import JS

FILTERS = ("emotion", "speaker", "sex", "channel")
ALL = "all"
AUTO = w.Layout(width="auto")


def live(panel: Callable[..., w.Widget], *args: Any, **options: Any) -> Any:
    """The panel where somebody can use it; on a page, or in a run without a user, a note that says what it does."""
    if not headless():
        return panel(*args, **options)
    from IPython.display import Markdown

    purpose = (panel.__doc__ or "").strip().split("\n")[0]
    return Markdown(f"> **In JupyterLab a panel stands here.** {purpose}")


class ClipView(anywidget.AnyWidget):
    """Clips beside one another, each a player and a picture with a line at the moment that is heard."""

    _esm = JS / "viewer.js"
    _css = JS / "panels.css"
    clips = traitlets.List([]).tag(sync=True)
    count = traitlets.Int(0).tag(sync=True)
    autoplay = traitlets.Bool(False).tag(sync=True)

    def show(self, *clips: dict[str, Any]) -> None:
        """Show other clips (see `voice` and `course`), in one message."""
        with self.hold_sync():
            self.count += 1
            self.clips = list(clips)


class EditTable(anywidget.AnyWidget):
    """A table to be corrected by hand; a row may carry `mark` (a CSS class) and `locked`."""

    _esm = JS / "table.js"
    _css = JS / "panels.css"
    columns = traitlets.List([]).tag(sync=True)
    rows = traitlets.List([]).tag(sync=True)


def html_table(frame: pd.DataFrame, *, digits: int = 2) -> str:
    """A table as JupyterLab would show it, for a panel."""
    return (
        f'<div class="jp-RenderedHTMLCommon" style="width: fit-content">{frame.round(digits).to_html(border=0)}</div>'
    )


def _said(text: str, *, bad: bool = False) -> str:
    """A line of a panel."""
    return f'<span style="color: #b3261e">{html.escape(text)}</span>' if bad else html.escape(text)


def _guarded(ui: SimpleNamespace, act: Callable[[SimpleNamespace], None]) -> Callable[..., None]:
    """A callback that says in `ui.said` what went wrong: a panel's errors would otherwise end in a log."""

    def call(*_: Any) -> None:
        try:
            act(ui)
        except Exception as error:
            ui.said.value = _said(f"{error}", bad=True)

    return call


# a clip in a view


@functools.lru_cache(maxsize=64)
def _sound(path: str, stamp: int, sample_rate: int) -> np.ndarray:
    return audio.load(path, sample_rate)


def sound(path: str, sample_rate: int) -> np.ndarray:
    """A clip's samples; the last 64 are remembered until their files change."""
    return _sound(path, Path(path).stat().st_mtime_ns, sample_rate)


def voice(signal: np.ndarray, sample_rate: int, title: str, emotion: str = "unknown") -> dict[str, Any]:
    """A clip for `ClipView`, with `plots.voice` as its picture."""
    return _clip(
        signal,
        sample_rate,
        title,
        "waveform, mel spectrogram, MFCC and pitch",
        _voice(signal.tobytes(), sample_rate, emotion),
    )  # noqa: E501


@functools.lru_cache(maxsize=64)
def _voice(samples: bytes, sample_rate: int, emotion: str) -> bytes:
    return plots.png(plots.voice(np.frombuffer(samples, np.float32), sample_rate, emotion))


def course(signal: np.ndarray, sample_rate: int, title: str, found: pd.DataFrame) -> dict[str, Any]:
    """A clip for `ClipView`, with `plots.course` as its picture."""
    picture = plots.png(plots.course(found, signal, sample_rate))
    return _clip(signal, sample_rate, title, "probabilities from moment to moment", picture)


def _clip(signal: np.ndarray, sample_rate: int, title: str, alt: str, picture: bytes) -> dict[str, Any]:
    left, right = plots.VOICE_SPAN
    span = {"left": left, "right": right, "seconds": len(signal) / sample_rate}
    return {"title": title, "alt": alt, "wav": local.wav(signal, sample_rate), "png": picture, **span}


# browse


def browse(
    corpus: str, data_dir: str = "", *, sample_rate: int = 22050, max_clips: int = 0, seed: int = 42
) -> w.Widget:
    """Filter a corpus, go from clip to clip by arrow keys, hear and see each, altered by sliders or beside another.

    Args:
        corpus: A name from `sernb corpora`; the panel offers the others that can be found, too.
        data_dir: Its folder; empty to look it up.
        sample_rate: At which clips are heard and seen, in Hz.
        max_clips: At most so many clips of a corpus.
        seed: Of the choice of clips.

    Returns:
        The panel; its `state` is what `predict` follows to know the clip that is shown.
    """
    ui = _browser(corpus)
    ui.places = {corpus: data_dir}
    ui.given = {"max_clips": max_clips, "seed": seed}
    ui.rate, ui.row, ui.pinned, ui.filtering = sample_rate, None, None, False
    ui.corpus.observe(_guarded(ui, _load_corpus), "value")
    for name in FILTERS:
        ui.filters[name].observe(_guarded(ui, _filter), "value")
    for control in (ui.place, ui.beside, *ui.sliders.values()):
        control.observe(_guarded(ui, _draw), "value")
    ui.pin.on_click(_guarded(ui, _pin))
    ui.reset.on_click(_guarded(ui, _reset))
    ui.view.on_msg(lambda _, message, __: _step(ui, message["step"]))
    _guarded(ui, _load_corpus)()
    return _browser_arranged(ui)


def _browser(corpus: str) -> SimpleNamespace:
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
        corpus=w.Dropdown(options=_findable(corpus), value=corpus, description="corpus", **slim),
        filters={name: w.Dropdown(options=[ALL], description=name, **slim) for name in FILTERS},
        place=w.BoundedIntText(1, min=1, max=1, description="clip", **slim),
        beside=w.ToggleButtons(options=["alone", "altered", "pinned"], style={"button_width": "6em"}),
        pin=w.Button(description="Pin this clip", icon="thumb-tack", layout=AUTO),
        reset=w.Button(description="Reset sliders", icon="undo", layout=AUTO),
        sliders=sliders,
        view=ClipView(),
        said=w.HTML(),
    )


def _browser_arranged(ui: SimpleNamespace) -> w.Widget:
    row = functools.partial(w.HBox, layout=w.Layout(flex_flow="row wrap"))
    panel = w.VBox(
        [
            row([ui.corpus, *ui.filters.values()]),
            row([ui.place, w.Label("beside it:"), ui.beside, ui.pin, ui.reset]),
            row(list(ui.sliders.values())),
            ui.view,
            ui.said,
        ]
    )
    panel.state = ui
    return panel


def _findable(corpus: str) -> list[str]:
    def there(name: str) -> bool:
        try:
            return bool(corpora.locate(name))
        except (corpora.CorpusError, demo.DemoError):
            return False

    return [name for name in corpora.CORPORA if name == corpus or there(name)]


def _load_corpus(ui: SimpleNamespace) -> None:
    name = ui.corpus.value
    ui.table = corpora.load(name, ui.places.get(name, ""), **ui.given)
    ui.filtering = True
    for column in FILTERS:
        ui.filters[column].options = [ALL, *sorted(set(ui.table[column]) - {""})]
        ui.filters[column].value = ALL
    ui.filtering = False
    _filter(ui)


def _filter(ui: SimpleNamespace) -> None:
    if ui.filtering:
        return
    wanted = {name: choice.value for name, choice in ui.filters.items() if choice.value != ALL}
    fits = np.logical_and.reduce(
        [ui.table[name] == value for name, value in wanted.items()] or [ui.table["clip"] != ""]
    )
    ui.chosen = ui.table[fits].reset_index(drop=True)
    ui.filtering = True
    ui.place.max = max(1, len(ui.chosen))
    ui.place.value = 1
    ui.filtering = False
    _draw(ui)


def _step(ui: SimpleNamespace, step: int) -> None:
    ui.place.value = (ui.place.value - 1 + step) % max(1, len(ui.chosen)) + 1


def _draw(ui: SimpleNamespace) -> None:
    if ui.filtering:
        return
    start = time.perf_counter()
    if ui.chosen.empty:
        ui.view.show()
        ui.said.value = _said("No clip has all of this; set a filter back to “all”.")
        return
    ui.row = ui.chosen.iloc[ui.place.value - 1]
    shown = [_shown(ui, ui.row)]
    if ui.beside.value == "altered":
        shown.append(_altered(ui))
    elif ui.beside.value == "pinned" and ui.pinned is not None:
        shown.append(_shown(ui, ui.pinned))
    ui.view.show(*shown)
    place = f"Clip {ui.place.value} of {len(ui.chosen)}; drawn in {time.perf_counter() - start:.2f} s."
    ui.said.value = _said(f"{place} Click on the picture, then: arrow keys for next and previous, space to play.")


def _shown(ui: SimpleNamespace, row: pd.Series) -> dict[str, Any]:
    return voice(sound(row["path"], ui.rate), ui.rate, title(row), row["emotion"])


def title(row: pd.Series) -> str:
    """A clip's emotion, speaker and name, and what else its corpus tells."""
    told = [row[name] for name in ("intensity", "channel", "sex", "condition") if row[name]]
    return f"{row['emotion']}, speaker {row['speaker']} ({', '.join([*told, row['clip'].rsplit('/', 1)[-1]])})"


def alterations(ui: SimpleNamespace) -> dict[str, float]:
    """What the sliders ask for, as arguments of `audio.alter`."""
    return {name: slider.value for name, slider in ui.sliders.items() if slider.value != slider.rest}


def _altered(ui: SimpleNamespace) -> dict[str, Any]:
    asked = alterations(ui)
    changed = audio.alter(sound(ui.row["path"], ui.rate), ui.rate, **asked)
    moved = [slider for slider in ui.sliders.values() if slider.value != slider.rest]
    told = ", ".join(f"{slider.description} {slider.value:g}" for slider in moved)
    return voice(changed, ui.rate, f"altered: {told or 'nothing yet, move a slider'}", ui.row["emotion"])


def _pin(ui: SimpleNamespace) -> None:
    ui.pinned = ui.row
    if ui.beside.value == "pinned":
        _draw(ui)
    else:
        ui.beside.value = "pinned"


def _reset(ui: SimpleNamespace) -> None:
    for slider in ui.sliders.values():
        slider.value = slider.rest


# import


def import_folder(root: str | Path, folder: str | Path = "") -> w.Widget:
    """Bring in a folder of recordings: labels guessed from names by a pattern, corrected by hand, then written.

    Args:
        root: The local corpus to write to.
        folder: Where the recordings lie; to be typed if empty.
    """
    ui = _importer(root, folder)
    ui.listed, ui.edits = pd.DataFrame(), {}
    ui.folder.observe(_guarded(ui, _list_files), "value")
    for control in (ui.pattern, ui.codes, ui.anonymous, ui.agreed, ui.root):
        control.observe(_guarded(ui, _guess), "value")
    ui.table.on_msg(lambda _, message, __: _edit(ui, message))
    ui.write.on_click(_guarded(ui, _take_in))
    _guarded(ui, _list_files)()
    return w.VBox(
        [ui.folder, w.HBox([ui.pattern, ui.codes]), ui.table, ui.said, ui.root, ui.anonymous, ui.agreed, ui.write]
    )


def _importer(root: str | Path, folder: str | Path) -> SimpleNamespace:
    style, layout = {"description_width": "6.5em"}, w.Layout(width="63em")
    half = w.Layout(width="31em")
    return SimpleNamespace(
        folder=w.Text(str(folder), description="Recordings", placeholder="folder of existing recordings",
                      continuous_update=False, style=style, layout=layout),
        pattern=w.Text("", description="Pattern", placeholder="{speaker}_{emotion}_{n}", style=style, layout=half),
        codes=w.Text("", description="Codes", placeholder="W=angry, T=sad", style=style, layout=half),
        table=EditTable(),
        said=w.HTML(),
        root=w.Text(str(Path(root).expanduser().absolute()), description="Corpus", continuous_update=False,
                    style=style, layout=layout),
        anonymous=w.Checkbox(True, description="Pseudonyms in place of what may be names", indent=False, layout=layout),
        agreed=w.Checkbox(description="Each of these speakers has agreed to this use of the recordings", indent=False,
                          layout=layout),
        write=w.Button(description="Write to the corpus", icon="save", disabled=True, layout=AUTO),
    )  # fmt: skip


def _list_files(ui: SimpleNamespace) -> None:
    if not ui.folder.value.strip():
        ui.said.value = _said("Type the folder of the recordings, then Enter.")
        return
    ui.listed, ui.edits = imports.listing(ui.folder.value.strip()), {}
    suggested = imports.suggest(list(ui.listed["file"]))
    if ui.pattern.value == suggested:
        _guess(ui)
    else:
        ui.pattern.value = suggested


def _edit(ui: SimpleNamespace, message: dict[str, Any]) -> None:
    ui.edits[ui.listed["file"].iloc[message["index"]], message["column"]] = message["value"].strip()
    _guarded(ui, _guess)()


def guessed(ui: SimpleNamespace) -> pd.DataFrame:
    """The listing with labels: guessed, then pseudonyms, then what was corrected by hand."""
    labels = imports.guess(list(ui.listed["file"]), ui.pattern.value, imports.codes(ui.codes.value))
    if ui.anonymous.value:
        names = imports.pseudonyms([name for name in labels["speaker"] if name], ui.root.value)
        labels["speaker"] = labels["speaker"].map(lambda name: names.get(name, name))
    found = ui.listed.join(labels)
    for (file, column), value in ui.edits.items():
        found.loc[found["file"] == file, [column, "note"]] = value, ""
    return found


def _guess(ui: SimpleNamespace) -> None:
    if ui.listed.empty:
        return
    found = guessed(ui)
    _show_guess(ui, found)
    usable = (found["problem"] == "") & found["speaker"].str.fullmatch(local.PSEUDONYM)
    unknown = int((usable & (found["emotion"] == "unknown")).sum())
    speakers = found.loc[usable, "speaker"].nunique()
    hint = f", {unknown} of them of unknown emotion" if unknown else ""
    ui.said.value = _said(f"{usable.sum()} of {len(found)} files can be taken in{hint}; {speakers} speakers.")
    ui.write.disabled = not (usable.any() and ui.agreed.value)


def _show_guess(ui: SimpleNamespace, found: pd.DataFrame) -> None:
    given = [name for name in imports.FIELDS if name in ("speaker", "emotion") or (found[name] != "").any()]
    choices = {"emotion": list(corpora.EMOTIONS)}
    columns = [{"name": name, "editable": True, "choices": choices.get(name)} for name in given]
    ui.table.columns = [{"name": "file"}, *columns, {"name": "note"}]
    ui.table.rows = [_guess_row(row, given) for row in found.to_dict("records")]


def _guess_row(row: dict[str, Any], given: list[str]) -> dict[str, Any]:
    told, kept = {name: row[name] for name in ("file", *given)}, row.get("kept", "")
    if kept or row["problem"]:
        note, mark = (f"kept as {kept}", "kept") if kept else (row["problem"], "bad")
        return {**told, "note": note, "mark": mark, "locked": True}
    note = row["note"] or ("" if local.PSEUDONYM.fullmatch(row["speaker"]) else "needs a pseudonym such as S01")
    return {**told, "note": note, "mark": "doubt" if note else "", "locked": False}


def _take_in(ui: SimpleNamespace) -> None:
    done = imports.take_in(guessed(ui), ui.root.value.strip())
    ui.listed["problem"] = done["problem"].mask(done["kept"] != "", "is in the corpus already")
    rejected = [f"{row.file}: {row.problem}" for row in done[done["kept"] == ""].itertuples()]
    _show_guess(ui, done)
    kept = f"{(done['kept'] != '').sum()} clips written to {ui.root.value}. "
    ui.said.value = _said(kept) + _said(f"Rejected: {'; '.join(rejected)}" if rejected else "", bad=True)
    ui.write.disabled = True


# check


def check(root: str | Path) -> w.Widget:
    """Look at a local corpus as it is now: counts, levels, clipping, silence, noise, and what a speaker split lacks.

    Args:
        root: The corpus's folder.
    """
    ui = SimpleNamespace(
        root=w.Text(str(Path(root).expanduser().absolute()), description="Corpus", layout=w.Layout(width="63em"),
                    continuous_update=False, style={"description_width": "6.5em"}),
        look=w.Button(description="Look again", icon="refresh"),
        said=w.HTML(),
    )  # fmt: skip
    ui.look.on_click(_guarded(ui, _check))
    ui.root.observe(_guarded(ui, _check), "value")
    _guarded(ui, _check)()
    return w.VBox([ui.root, ui.look, ui.said])


def _check(ui: SimpleNamespace) -> None:
    root = ui.root.value.strip()
    if not len(local.manifest(root)):
        ui.said.value = _said("No clip is in this corpus yet: record or import some.")
        return
    table = corpora.load("local", root)
    measured = quality.measure(table)
    poor = measured[measured["advice"] != ""][["clip", "advice"]]
    strays = quality.strays(root)
    parts = {
        "": f"<p>{quality.verdict(table).replace('**', '')}</p>",
        "Clips by speaker and emotion": html_table(quality.counts(table)),
        "Still missing": html_table(quality.missing(table)),
        "Levels": html_table(quality.summary(measured), digits=1),
        "Better recorded again": html_table(poor.set_index("clip")) if len(poor) else "<p>none</p>",
        "Not in the manifest": f"<p>{html.escape(', '.join(strays)) or 'none'}</p>",
    }
    ui.said.value = "".join(f"<h4>{head}</h4>{body}" if head else body for head, body in parts.items())


# train


def train(run: Callable[..., Path], root: str | Path, *, epochs: int = 20) -> w.Widget:
    """Train chapter 3's network on a local corpus, split by speaker, while the other panels stay usable.

    Args:
        run: Makes the run, given `corpus`, `data_dir` and `epochs`, and returns its folder.
        root: The corpus's folder.
        epochs: To begin with.
    """
    style = {"description_width": "6.5em"}
    ui = SimpleNamespace(
        run=run,
        root=w.Text(str(Path(root).expanduser().absolute()), description="Corpus", layout=w.Layout(width="63em"),
                    style=style),
        epochs=w.BoundedIntText(epochs, min=1, max=1000, description="Epochs", style=style),
        start=w.Button(description="Train", icon="play"),
        said=w.HTML(),
    )  # fmt: skip
    ui.start.on_click(lambda _: threading.Thread(target=_guarded(ui, _train), daemon=True).start())
    return w.VBox([ui.root, w.HBox([ui.epochs, ui.start]), ui.said])


def _train(ui: SimpleNamespace) -> None:
    ui.start.disabled = True
    ui.said.value = _said("Training: from half a minute to some minutes ...")
    try:
        start = time.perf_counter()
        folder = ui.run(corpus="local", data_dir=ui.root.value.strip(), epochs=ui.epochs.value)
        ui.said.value = _said(f"Trained in {time.perf_counter() - start:.0f} s; the run lies in {folder}.")
    finally:
        ui.start.disabled = False


# predict


def predict(run: str | Path, *, folders: tuple[str | Path, ...] = (), browser: w.Widget | None = None) -> w.Widget:
    """Let a finished run's network judge a clip: browsed, uploaded or of the local corpus; with the model's card.

    Args:
        run: The run to begin with.
        folders: Where to look for others, and for a local corpus (a folder with a manifest).
        browser: The panel of `browse` whose clip is judged.
    """
    ui = _predictor(run, folders, browser)
    ui.finished = None
    ui.run.observe(_guarded(ui, _load_run), "value")
    ui.source.observe(_guarded(ui, _predict), "value")
    ui.upload.observe(lambda _: _from(ui, SOURCES[1]), "value")
    ui.clip.observe(lambda _: _from(ui, SOURCES[2]), "value")
    ui.now.on_click(_guarded(ui, _predict))
    ui.again.on_click(_guarded(ui, _again))
    _guarded(ui, _load_run)()
    return w.VBox(
        [
            w.HBox([ui.run, ui.again]),
            w.HBox([ui.source, ui.upload, ui.clip, ui.now], layout=w.Layout(flex_flow="row wrap")),
            ui.said,
            w.HBox([ui.bars, ui.view], layout=w.Layout(flex_flow="row wrap")),
            ui.card,
        ]
    )


SOURCES = ("the browsed clip", "a file", "a clip of my corpus")


def _predictor(run: str | Path, folders: tuple[str | Path, ...], browser: w.Widget | None) -> SimpleNamespace:
    style = {"description_width": "6.5em"}
    ui = SimpleNamespace(
        folders=folders,
        browser=getattr(browser, "state", None),
        run=w.Combobox(value=str(run), description="Run", style=style, layout=w.Layout(width="52em"),
                       continuous_update=False),
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
    _find(ui)
    return ui


def _find(ui: SimpleNamespace) -> None:
    """Runs that can predict, and the clips of local corpora, the newest first."""
    ui.run.options = tuple(map(str, prediction.find(*ui.folders)))
    corpora_there = [Path(folder) for folder in ui.folders if Path(folder, local.MANIFEST).is_file()]
    clips = [(file, str(root / file)) for root in corpora_there for file in local.manifest(root)["file"][::-1]]
    if clips and list(ui.clip.options) != clips:
        ui.clip.options, ui.clip.index = clips, 0


def _again(ui: SimpleNamespace) -> None:
    _find(ui)
    _load_run(ui)


def _load_run(ui: SimpleNamespace) -> None:
    ui.finished = prediction.load(ui.run.value.strip())
    shown = {"text/markdown": prediction.card(ui.finished), "text/plain": ""}
    ui.card.outputs = ({"output_type": "display_data", "data": shown, "metadata": {}},)
    _predict(ui)


def _predict(ui: SimpleNamespace) -> None:
    found = _heard(ui)
    if found is None or ui.finished is None:
        ui.view.show()
        ui.said.value = _said("Choose a clip.")
        return
    name, signal, rate = found[0], found[1], ui.finished.inputs.sample_rate
    whole, moments = prediction.probabilities(ui.finished, signal), prediction.course(ui.finished, signal)
    ui.bars.value = _bars(whole)
    ui.view.show(course(signal, rate, name, moments))
    ui.said.value = _said(f"{name}: {whole.idxmax()} ({whole.max():.2f}), the largest of {len(whole)} probabilities.")


def _from(ui: SimpleNamespace, source: str) -> None:
    """Whoever chooses a clip wants it judged, wherever the clip before came from."""
    if ui.source.value == source:
        _guarded(ui, _predict)()
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
        return title(ui.browser.row), sound(ui.browser.row["path"], rate)
    if ui.source.value == SOURCES[1] and ui.upload.value:
        return _uploaded(ui.upload.value[-1], rate)
    if ui.source.value == SOURCES[2] and ui.clip.value:
        return ui.clip.label, sound(ui.clip.value, rate)
    return None


def _uploaded(upload: Any, sample_rate: int) -> tuple[str, np.ndarray]:
    try:
        return upload["name"], audio.load(io.BytesIO(bytes(upload["content"])), sample_rate)
    except audio.AudioError as error:
        known = "WAV, FLAC, Ogg, MP3, AIFF"
        raise audio.AudioError(f"{upload['name']} cannot be decoded; convert it to one of {known}.") from error
