"""Floor 4: record a local corpus in JupyterLab: the browser's microphone, one prompt after another."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anywidget
import ipywidgets as w
import numpy as np
import traitlets

from sernb import corpora
from sernb import local
from sernb import quality
from sernb import widgets
from sernb.widgets import AUTO
from sernb.widgets import JS

SEXES = ("", "female", "male", "other")


class Microphone(anywidget.AnyWidget):
    """The browser's microphone: level meter, countdown, take, retake, keep.

    A kept take comes in parts, as 16-bit samples at the device's rate; `on_take` gets it whole, with what the browser
    showed as speaker, emotion and statement, and returns what the panel is to say. If it raises, the browser still has
    the take.
    """

    _esm = JS / "microphone.js"
    _css = JS / "panels.css"
    ready = traitlets.Bool(False).tag(sync=True)
    why = traitlets.Unicode("").tag(sync=True)
    speaker = traitlets.Unicode("").tag(sync=True)
    emotion = traitlets.Unicode("").tag(sync=True)
    statement = traitlets.Unicode("").tag(sync=True)
    countdown = traitlets.Int(3).tag(sync=True)
    max_seconds = traitlets.Float(30.0).tag(sync=True)

    def __init__(self, on_take: Callable[[np.ndarray, int, dict[str, str]], str], **options: Any) -> None:
        super().__init__(**options)
        self._on_take = on_take
        self._parts: dict[int, bytes] = {}
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: dict[str, Any], buffers: list[Any]) -> None:
        if message["part"] == 0:
            self._parts.clear()  # of a take whose sending broke off
        self._parts[message["part"]] = bytes(buffers[0])
        if len(self._parts) < message["parts"]:
            return
        signal = np.frombuffer(b"".join(self._parts[i] for i in range(message["parts"])), "<i2")
        try:
            answer = {"kind": "kept", "text": self._on_take(signal, message["rate"], message["said"])}
        except Exception as error:  # whatever it is, the user must learn that the take was not kept
            answer = {"kind": "failed", "text": f"Not kept: {error}"}
        self.send(answer)


def record(
    root: str | Path,
    *,
    emotions: Sequence[str] = corpora.EMOTIONS[:-1],
    statements: Sequence[str] = local.STATEMENTS,
    seed: int = 42,
) -> w.Widget:
    """Record clips into a local corpus: who speaks, consent, what to say and how, then the microphone.

    Args:
        root: The corpus folder, made with the first consent.
        emotions: To be acted.
        statements: To be said, each in each emotion.
        seed: Of the order of the prompts, which differs between speakers.
    """
    ui = _controls(root, emotions, statements)
    ui.plan = {"emotions": emotions, "statements": statements, "seed": seed}
    ui.microphone = Microphone(lambda *take: _keep(ui, *take))
    for name, react in (("folder", _folder), ("speaker", _speaker), ("agreed", _agree), ("publish", _agree)):
        getattr(ui, name).observe(widgets.guarded(ui, react), "value")
    for name in ("emotion", "statement"):
        getattr(ui, name).observe(widgets.guarded(ui, _refresh), "value")
    ui.skip.on_click(lambda _: _next_prompt(ui, skip=True))
    widgets.guarded(ui, _folder)()
    return _arranged(ui)


def _controls(root: str | Path, emotions: Sequence[str], statements: Sequence[str]) -> SimpleNamespace:
    wide = {"style": widgets.LABELS, "layout": w.Layout(width="21em")}
    return SimpleNamespace(
        busy=False,
        skipped=0,
        folder=widgets.folder(root),
        speaker=w.Combobox(description="Speaker", continuous_update=False, ensure_option=False, **wide),
        sex=w.Dropdown(options=[(sex or "not given", sex) for sex in SEXES], description="Sex", **wide),
        condition=w.Text(description="Condition", placeholder="only if the study needs it", **wide),
        agreed=w.Checkbox(description="The speaker has read this and agrees", indent=False, layout=AUTO),
        publish=w.Checkbox(description="... and may be heard on published pages", indent=False, layout=AUTO),
        emotion=w.Dropdown(options=list(emotions), description="Emotion", **wide),
        statement=w.Combobox(options=list(statements), description="Sentence", ensure_option=False,
                             style=wide["style"], layout=w.Layout(width="32em")),
        skip=w.Button(description="Another prompt", icon="forward", layout=AUTO),
        said=w.HTML(),
    )  # fmt: skip


def _arranged(ui: SimpleNamespace) -> w.Widget:
    consent = w.HTML(f"<i>“{local.CONSENT}”</i>")
    return w.VBox(
        [
            ui.folder,
            w.HBox([ui.speaker, ui.sex, ui.condition]),
            consent,
            w.HBox([ui.agreed, w.HTML("&emsp;"), ui.publish]),
            w.HBox([ui.emotion, ui.statement, ui.skip]),
            ui.microphone,
            ui.said,
        ]
    )


def _folder(ui: SimpleNamespace) -> None:
    """Another corpus: its speakers, and a new pseudonym to begin with."""
    fresh = local.next_pseudonym(ui.folder.value)
    ui.speaker.options = (fresh, *sorted(set(local.consents(ui.folder.value)["speaker"])))
    if ui.speaker.value == fresh:
        _speaker(ui)
    else:
        ui.speaker.value = fresh


def _speaker(ui: SimpleNamespace) -> None:
    """Another speaker: what he or she has agreed to, and what is left to say."""
    told = local.consents(ui.folder.value).set_index("speaker")
    known = ui.speaker.value in told.index
    own = local.manifest(ui.folder.value).query("speaker == @ui.speaker.value")
    ui.busy = True
    ui.agreed.value, ui.agreed.disabled = known, known
    ui.publish.value = known and told.loc[ui.speaker.value, "publish"] == "yes"
    last = own.iloc[-1] if len(own) else {"sex": "", "condition": ""}  # never those of the speaker before
    ui.sex.value = last["sex"] if last["sex"] in SEXES else ""
    ui.condition.value = last["condition"]
    ui.busy, ui.skipped = False, 0
    _next_prompt(ui)


def _agree(ui: SimpleNamespace) -> None:
    """Store what was ticked; a tick for publication alone counts for nothing."""
    if not ui.busy and ui.agreed.value:
        try:
            local.consent(ui.folder.value, ui.speaker.value, publish=ui.publish.value)
            ui.agreed.disabled = True
        except (local.LocalError, OSError) as error:
            ui.busy, ui.agreed.value, ui.busy = True, False, False
            _refresh(ui)
            ui.microphone.why = str(error)
            return
    _refresh(ui)


def _next_prompt(ui: SimpleNamespace, *, skip: bool = False) -> None:
    left = local.prompts(ui.folder.value, ui.speaker.value, **ui.plan)
    ui.skipped += skip
    if len(left):
        emotion, statement = left.iloc[ui.skipped % len(left)]
        ui.emotion.value, ui.statement.value = emotion, statement
    total = len(ui.plan["emotions"]) * len(ui.plan["statements"])
    ui.said.value = f"{ui.speaker.value}: {total - len(left)} of {total} prompts recorded."
    _refresh(ui)


def _refresh(ui: SimpleNamespace) -> None:
    """What the microphone shows, and why it may not record."""
    speaker = ui.speaker.value
    try:
        local.check_pseudonym(speaker)
        why = "" if ui.agreed.value else "First the speaker reads the consent line above, and it is ticked."
    except local.LocalError as error:
        why = str(error)
    with ui.microphone.hold_sync():
        ui.microphone.speaker, ui.microphone.emotion = speaker, ui.emotion.value
        ui.microphone.statement, ui.microphone.why, ui.microphone.ready = ui.statement.value, why, not why


def _keep(ui: SimpleNamespace, signal: np.ndarray, sample_rate: int, said: dict[str, str]) -> str:
    told = {**said, "condition": ui.condition.value, "sex": ui.sex.value}
    row = local.keep(ui.folder.value, signal, int(sample_rate), **told)
    found = quality.levels(signal / np.float32(32768), int(sample_rate))
    advice = quality.advice(found)
    _next_prompt(ui)
    kept = f"Kept as {row['file']}: {found['seconds']:.1f} s, {sample_rate:.0f} Hz, level {found['level']:.0f} dB"
    return f"{kept}; {advice}." if advice else f"{kept}."
