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
TAKES_BEGUN = 8  # of which parts wait in memory; older ones were broken off


class Microphone(anywidget.AnyWidget):
    """The browser's microphone: level meter, countdown, take, retake, keep.

    A kept take comes in parts, as 16-bit samples at the device's rate; `on_take` gets it whole, with what the browser
    showed as folder, speaker, emotion and so on when its recording began, and returns what the panel is to say. If it
    raises, the browser still has the take. Each take has an id: every tab hears every answer, and a tab that got none
    sends the same take again.
    """

    _esm = JS / "microphone.js"
    _css = JS / "panels.css"
    ready = traitlets.Bool(False).tag(sync=True)
    why = traitlets.Unicode("").tag(sync=True)
    folder = traitlets.Unicode("").tag(sync=True)
    speaker = traitlets.Unicode("").tag(sync=True)
    emotion = traitlets.Unicode("").tag(sync=True)
    statement = traitlets.Unicode("").tag(sync=True)
    sex = traitlets.Unicode("").tag(sync=True)
    condition = traitlets.Unicode("").tag(sync=True)
    countdown = traitlets.Int(3).tag(sync=True)
    max_seconds = traitlets.Float(30.0).tag(sync=True)
    patience = traitlets.Float(20.0).tag(sync=True)  # seconds without an answer before "Keep" is offered again
    kept = traitlets.Int(0)  # how many takes, for other panels to observe

    def __init__(self, on_take: Callable[[np.ndarray, int, dict[str, str]], str], **options: Any) -> None:
        super().__init__(**options)
        self._on_take = on_take
        self._parts: dict[str, dict[int, bytes]] = {}  # of each take, as far as it has come
        self._answers: dict[str, str] = {}  # to the takes that were kept
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: dict[str, Any], buffers: list[Any]) -> None:
        take = message["take"]
        if take in self._answers:  # sent again, because the answer came late
            self.send({"kind": "kept", "take": take, "text": self._answers[take]})
        elif (samples := self._whole(message, buffers)) is not None:
            self._finish(take, samples, message)

    def _whole(self, message: dict[str, Any], buffers: list[Any]) -> np.ndarray | None:
        """The take's samples once its last part is there; parts of several tabs may come in turn."""
        parts = self._parts.setdefault(message["take"], {})
        parts[message["part"]] = bytes(buffers[0])
        if len(parts) < message["parts"]:
            while len(self._parts) > TAKES_BEGUN:
                del self._parts[next(iter(self._parts))]
            return None
        del self._parts[message["take"]]
        return np.frombuffer(b"".join(parts[i] for i in range(message["parts"])), "<i2")

    def _finish(self, take: str, samples: np.ndarray, message: dict[str, Any]) -> None:
        try:
            self._answers[take] = self._on_take(samples, message["rate"], message["said"])
        except Exception as error:  # whatever it is, the user must learn that the take was not kept
            self.send({"kind": "failed", "take": take, "text": f"Not kept: {error}"})
            return
        self.send({"kind": "kept", "take": take, "text": self._answers[take]})
        self.kept += 1


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

    Returns:
        The panel; its `state` is what `predict` follows to know of new clips.
    """
    ui = _controls(root, emotions, statements)
    ui.plan = {"emotions": emotions, "statements": statements, "seed": seed}
    ui.microphone = Microphone(lambda *take: _keep(ui, *take))
    for name, react in (("folder", _folder), ("speaker", _speaker), ("agreed", _agree), ("publish", _agree)):
        getattr(ui, name).observe(widgets.guarded(ui, react), "value")
    for name in ("emotion", "statement", "sex", "condition"):
        getattr(ui, name).observe(widgets.guarded(ui, _refresh), "value")
    ui.skip.on_click(lambda _: _next_prompt(ui, skip=True))
    widgets.guarded(ui, _folder)()
    panel = _arranged(ui)
    panel.state = ui
    return panel


def _controls(root: str | Path, emotions: Sequence[str], statements: Sequence[str]) -> SimpleNamespace:
    wide = {"style": widgets.LABELS, "layout": w.Layout(width="21em")}
    return SimpleNamespace(
        busy=False,
        new=False,
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
    fresh = _offer_speakers(ui)
    if ui.speaker.value == fresh:
        _speaker(ui)
    else:
        ui.speaker.value = fresh


def _offer_speakers(ui: SimpleNamespace) -> str:
    """Offer the next free pseudonym, which is returned, and those who have agreed."""
    fresh = local.next_pseudonym(ui.folder.value)
    ui.speaker.options = (fresh, *sorted(set(local.consents(ui.folder.value)["speaker"])))
    return fresh


def _speaker(ui: SimpleNamespace) -> None:
    """Another speaker: what he or she has agreed to, and what is left to say."""
    told = local.consents(ui.folder.value).set_index("speaker")
    known = ui.speaker.value in told.index
    own = local.manifest(ui.folder.value).query("speaker == @ui.speaker.value")
    ui.busy = True
    ui.new = ui.speaker.value not in local.taken(ui.folder.value)
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
            # Another window or an import may have given a new speaker's pseudonym to somebody else by now.
            local.consent(ui.folder.value, ui.speaker.value, publish=ui.publish.value, new=ui.new)
        except (local.LocalError, OSError) as error:
            _not_agreed(ui, error)
            return
        ui.new, ui.agreed.disabled = False, True
        _offer_speakers(ui)
    _refresh(ui)


def _not_agreed(ui: SimpleNamespace, error: Exception) -> None:
    """Untick, say why, and offer the next pseudonym if this one is somebody else's by now."""
    ui.busy, ui.agreed.value, ui.busy = True, False, False
    _refresh(ui)
    if ui.new and ui.speaker.value in local.taken(ui.folder.value):
        ui.speaker.value = _offer_speakers(ui)
    ui.microphone.why = str(error)
    ui.said.value = widgets.said(str(error), bad=True)


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
        ui.microphone.sex, ui.microphone.condition = ui.sex.value, ui.condition.value
        ui.microphone.folder = ui.folder.value


def _keep(ui: SimpleNamespace, signal: np.ndarray, sample_rate: int, said: dict[str, str]) -> str:
    labels = dict(said)
    # Its own folder: S01 of the one that has been typed since may be somebody else.
    row = local.keep(labels.pop("folder"), signal, int(sample_rate), **labels)
    found = quality.levels(signal / np.float32(32768), int(sample_rate))
    advice = quality.advice(found)
    widgets.guarded(ui, _next_prompt)()  # if it failed, the take would be kept and yet be sent again
    kept = f"Kept as {row['file']}: {found['seconds']:.1f} s, {sample_rate:.0f} Hz, level {found['level']:.0f} dB"
    return f"{kept}; {advice}." if advice else f"{kept}."
