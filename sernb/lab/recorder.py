"""Record a local corpus in JupyterLab: the browser's microphone, one prompt after another."""

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

from sernb import audio
from sernb import corpora
from sernb.lab.widgets import AUTO_LAYOUT
from sernb.lab.widgets import JS_DIR
from sernb.lab.widgets import LABEL_STYLE
from sernb.lab.widgets import folder_field
from sernb.lab.widgets import message_html
from sernb.lab.widgets import report_errors

SEXES = ("", "female", "male", "other")
PARTIAL_TAKES = 8  # of which parts wait in memory; older ones were broken off


class Microphone(anywidget.AnyWidget):
    """The browser's microphone: level meter, countdown, take, retake, keep.

    A kept take comes in parts, as 16-bit samples at the device's rate; `on_take` gets it whole, with what the browser
    showed as folder, speaker, emotion and so on when its recording began, and returns what the panel is to say. If it
    raises, the browser still has the take. Each take has an id: every tab hears every answer, and a tab that got none
    sends the same take again.
    """

    _esm = JS_DIR / "microphone.js"
    _css = JS_DIR / "panels.css"
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
            while len(self._parts) > PARTIAL_TAKES:
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


def record_clips(
    root: str | Path,
    *,
    emotions: Sequence[str] = corpora.EMOTIONS[:-1],
    statements: Sequence[str] = corpora.STATEMENTS,
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
    ui.microphone = Microphone(lambda *take: _save_take(ui, *take))
    for name, react in (
        ("folder", _change_folder),
        ("speaker", _change_speaker),
        ("agreed", _store_consent),
        ("publish", _store_consent),
    ):
        getattr(ui, name).observe(report_errors(ui, react), "value")
    for name in ("emotion", "statement", "sex", "condition"):
        getattr(ui, name).observe(report_errors(ui, _refresh), "value")
    ui.skip.on_click(lambda _: _next_prompt(ui, skip=True))
    report_errors(ui, _change_folder)()
    panel = _layout(ui)
    panel.state = ui
    return panel


def _controls(root: str | Path, emotions: Sequence[str], statements: Sequence[str]) -> SimpleNamespace:
    wide = {"style": LABEL_STYLE, "layout": w.Layout(width="21em")}
    return SimpleNamespace(
        busy=False,
        new=False,
        skipped=0,
        folder=folder_field(root),
        speaker=w.Combobox(description="Speaker", continuous_update=False, ensure_option=False, **wide),
        sex=w.Dropdown(options=[(sex or "not given", sex) for sex in SEXES], description="Sex", **wide),
        condition=w.Text(description="Condition", placeholder="only if the study needs it", **wide),
        agreed=w.Checkbox(description="The speaker has read this and agrees", indent=False, layout=AUTO_LAYOUT),
        publish=w.Checkbox(description="... and may be heard on published pages", indent=False, layout=AUTO_LAYOUT),
        emotion=w.Dropdown(options=list(emotions), description="Emotion", **wide),
        statement=w.Combobox(options=list(statements), description="Sentence", ensure_option=False,
                             style=wide["style"], layout=w.Layout(width="32em")),
        skip=w.Button(description="Another prompt", icon="forward", layout=AUTO_LAYOUT),
        said=w.HTML(),
    )  # fmt: skip


def _layout(ui: SimpleNamespace) -> w.Widget:
    consent = w.HTML(f"<i>“{corpora.CONSENT_TEXT}”</i>")
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


def _change_folder(ui: SimpleNamespace) -> None:
    """Another corpus: its speakers, and a new pseudonym to begin with."""
    fresh = _offer_speakers(ui)
    if ui.speaker.value == fresh:
        _change_speaker(ui)
    else:
        ui.speaker.value = fresh


def _offer_speakers(ui: SimpleNamespace) -> str:
    """Offer the next free pseudonym, which is returned, and those who have agreed."""
    fresh = corpora.next_pseudonym(ui.folder.value)
    ui.speaker.options = (fresh, *sorted(set(corpora.active_consents(ui.folder.value)["speaker"])))
    return fresh


def _change_speaker(ui: SimpleNamespace) -> None:
    """Another speaker: what he or she has agreed to, and what is left to say."""
    told = corpora.active_consents(ui.folder.value).set_index("speaker")
    known = ui.speaker.value in told.index
    own = corpora.read_manifest(ui.folder.value).query("speaker == @ui.speaker.value")
    ui.busy = True
    ui.new = ui.speaker.value not in corpora.used_speaker_ids(ui.folder.value)
    ui.agreed.value, ui.agreed.disabled = known, known
    ui.publish.value = known and told.loc[ui.speaker.value, "publish"] == "yes"
    last = own.iloc[-1] if len(own) else {"sex": "", "condition": ""}  # never those of the speaker before
    ui.sex.value = last["sex"] if last["sex"] in SEXES else ""
    ui.condition.value = last["condition"]
    ui.busy, ui.skipped = False, 0
    _next_prompt(ui)


def _store_consent(ui: SimpleNamespace) -> None:
    """Store what was ticked; a tick for publication alone counts for nothing."""
    if not ui.busy and ui.agreed.value:
        try:
            # Another window or an import may have given a new speaker's pseudonym to somebody else by now.
            corpora.store_consent(ui.folder.value, ui.speaker.value, publish=ui.publish.value, new=ui.new)
        except (corpora.LocalError, OSError) as error:
            _consent_failed(ui, error)
            return
        ui.new, ui.agreed.disabled = False, True
        _offer_speakers(ui)
    _refresh(ui)


def _consent_failed(ui: SimpleNamespace, error: Exception) -> None:
    """Untick, say why, and offer the next pseudonym if this one is somebody else's by now."""
    ui.busy, ui.agreed.value, ui.busy = True, False, False
    _refresh(ui)
    if ui.new and ui.speaker.value in corpora.used_speaker_ids(ui.folder.value):
        ui.speaker.value = _offer_speakers(ui)
    ui.microphone.why = str(error)
    ui.said.value = message_html(str(error), bad=True)


def _next_prompt(ui: SimpleNamespace, *, skip: bool = False) -> None:
    left = corpora.remaining_prompts(ui.folder.value, ui.speaker.value, **ui.plan)
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
        corpora.check_pseudonym(speaker)
        why = "" if ui.agreed.value else "First the speaker reads the consent line above, and it is ticked."
    except corpora.LocalError as error:
        why = str(error)
    with ui.microphone.hold_sync():
        ui.microphone.speaker, ui.microphone.emotion = speaker, ui.emotion.value
        ui.microphone.statement, ui.microphone.why, ui.microphone.ready = ui.statement.value, why, not why
        ui.microphone.sex, ui.microphone.condition = ui.sex.value, ui.condition.value
        ui.microphone.folder = ui.folder.value


def _save_take(ui: SimpleNamespace, signal: np.ndarray, sample_rate: int, said: dict[str, str]) -> str:
    labels = dict(said)
    # Its own folder: S01 of the one that has been typed since may be somebody else.
    row = corpora.save_take(labels.pop("folder"), signal, int(sample_rate), **labels)
    found = audio.measure_levels(signal / np.float32(32768), int(sample_rate))
    advice = audio.level_advice(found)
    report_errors(ui, _next_prompt)()  # if it failed, the take would be kept and yet be sent again
    kept = f"Kept as {row['file']}: {found['seconds']:.1f} s, {sample_rate:.0f} Hz, level {found['level']:.0f} dB"
    return f"{kept}; {advice}." if advice else f"{kept}."
