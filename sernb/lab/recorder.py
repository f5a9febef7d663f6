"""The panel that records a local corpus: the browser's microphone, one prompt after another."""

from __future__ import annotations

import html
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
from sernb import results
from sernb.lab.widgets import AUTO_LAYOUT
from sernb.lab.widgets import JS_DIR
from sernb.lab.widgets import LABEL_STYLE
from sernb.lab.widgets import error_html
from sernb.lab.widgets import error_text
from sernb.lab.widgets import folder_field
from sernb.lab.widgets import message_html
from sernb.lab.widgets import report_errors

SEXES = ("", "female", "male", "other")
PARTIAL_TAKES = 8  # incomplete takes that are kept in memory; older ones were broken off


class Microphone(anywidget.AnyWidget):
    """The browser's microphone: level meter, countdown, take, retake, keep.

    A take that the user keeps arrives in parts, as 16-bit samples at the device's sample rate. `on_take` gets it as a
    whole, with the labels that the browser showed when its recording began (folder, speaker, emotion and so on), and
    returns the message for the panel. If it raises, the browser still has the take. Each take has an id: every tab
    receives every answer, and a tab that got none sends the same take again.
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
    saved = traitlets.Int(0)  # number of takes, for other panels to observe

    def __init__(self, on_take: Callable[[np.ndarray, int, dict[str, str]], str], **options: Any) -> None:
        super().__init__(**options)
        self._on_take = on_take
        self._parts: dict[str, dict[int, bytes]] = {}  # of each take that is still incomplete
        self._answers: dict[str, str] = {}  # to the takes that were saved
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: dict[str, Any], buffers: list[Any]) -> None:
        take = message["take"]
        if take in self._answers:  # sent again, because the answer came late
            self.send({"kind": "saved", "take": take, "text": self._answers[take]})
        elif (samples := self._add_part(message, buffers)) is not None:
            self._finish(take, samples, message)

    def _add_part(self, message: dict[str, Any], buffers: list[Any]) -> np.ndarray | None:
        """Return the take's samples with its last part, None before; parts of several tabs may come in turn."""
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
            self._answers[take] = self._on_take(samples, message["rate"], message["labels"])
        except Exception as error:  # whatever it is, the user must learn that the take was not saved
            self.send({"kind": "failed", "take": take, "text": f"Not saved: {error_text(error)}"})
            return
        self.send({"kind": "saved", "take": take, "text": self._answers[take]})
        self.saved += 1


def record_clips(
    root: str | Path,
    *,
    emotions: Sequence[str] = corpora.PROMPT_EMOTIONS,
    statements: Sequence[str] = (),
    seed: int = 42,
    run_dirs: Sequence[str | Path] = (),
) -> w.Widget:
    """Record clips into a local corpus: speaker, consent, what to say and how, then the microphone.

    Args:
        root: The corpus folder, created with the first consent.
        emotions: The emotions to act: of `corpora.EMOTIONS`, or words of your own.
        statements: The sentences to say, each in each emotion; by default the corpus's (`corpora.read_statements`).
        seed: Seed of the order of the prompts, which differs between speakers.
        run_dirs: Where to look for runs that used the recordings of a speaker who withdraws.

    Returns:
        The panel; by its `state`, `predict_clip` learns of new clips.
    """
    ui = _controls(root, emotions)
    ui.own_statements, ui.run_dirs = statements, run_dirs
    ui.plan = {"emotions": emotions, "statements": statements, "seed": seed}
    ui.microphone = Microphone(lambda *take: _save_take(ui, *take))
    for name, react in (
        ("folder", _change_folder),
        ("speaker", _change_speaker),
        ("agreed", _change_consent),
        ("publish", _change_consent),
    ):
        getattr(ui, name).observe(report_errors(ui, react), "value")
    for name in ("emotion", "statement", "sex", "condition"):
        getattr(ui, name).observe(report_errors(ui, _refresh), "value")
    ui.skip.on_click(report_errors(ui, lambda ui: _next_prompt(ui, skip=True)))
    ui.withdraw.on_click(report_errors(ui, _withdraw))
    ui.delete_runs.on_click(report_errors(ui, _delete_runs))
    report_errors(ui, _change_folder)()
    panel = _layout(ui)
    panel.state = ui
    return panel


def _controls(root: str | Path, emotions: Sequence[str]) -> SimpleNamespace:
    wide = {"style": LABEL_STYLE, "layout": w.Layout(width="21em")}
    return SimpleNamespace(
        is_updating=False,
        is_new=False,
        skipped=0,
        consent_text="",
        withdrawable=set(),  # speakers
        runs=[],  # those that used the recordings of a speaker who has withdrawn
        levels={},  # of the takes of this session, by folder and speaker
        folder=folder_field(root),
        speaker=w.Combobox(description="Speaker", continuous_update=False, ensure_option=False, **wide),
        sex=w.Dropdown(options=[(sex or "not given", sex) for sex in SEXES], description="Sex", **wide),
        condition=w.Text(description="Condition", placeholder="only if the study needs it", **wide),
        consent=w.HTML(),
        agreed=w.Checkbox(description="The speaker has read this and agrees", indent=False, layout=AUTO_LAYOUT),
        publish=w.Checkbox(description="... and may be heard on published pages", indent=False, layout=AUTO_LAYOUT),
        withdraw=w.Button(icon="trash", layout=AUTO_LAYOUT),
        traces=w.HTML(),  # of a speaker who has withdrawn
        delete_runs=w.Button(icon="trash", button_style="danger", layout=w.Layout(width="auto", display="none")),
        emotion=w.Dropdown(options=list(emotions), description="Emotion", **wide),
        statement=w.Combobox(description="Sentence", ensure_option=False,
                             style=wide["style"], layout=w.Layout(width="32em")),
        skip=w.Button(description="Another prompt", icon="forward", layout=AUTO_LAYOUT),
        message=w.HTML(),
    )  # fmt: skip


def _layout(ui: SimpleNamespace) -> w.Widget:
    return w.VBox(
        [
            ui.folder,
            w.HBox([ui.speaker, ui.sex, ui.condition]),
            ui.consent,
            w.HBox([ui.agreed, w.HTML("&emsp;"), ui.publish, w.HTML("&emsp;"), ui.withdraw]),
            ui.traces,
            ui.delete_runs,
            w.HBox([ui.emotion, ui.statement, ui.skip]),
            ui.microphone,
            ui.message,
        ]
    )


def _change_folder(ui: SimpleNamespace) -> None:
    """Show another corpus: its sentences and speakers, and a new pseudonym to begin with."""
    ui.plan["statements"] = ui.own_statements or corpora.read_statements(ui.folder.value)
    ui.statement.options = tuple(ui.plan["statements"])
    _show_traces(ui, [])
    fresh = corpora.next_pseudonym(ui.folder.value)
    if ui.speaker.value == fresh:
        _change_speaker(ui)
    else:
        ui.speaker.value = fresh


def _offer_speakers(ui: SimpleNamespace) -> str:
    """Offer the next free pseudonym, which is returned, and the speakers who have agreed."""
    fresh = corpora.next_pseudonym(ui.folder.value)
    consenting = set(corpora.active_consents(ui.folder.value)["speaker"])
    ui.speaker.options = (fresh, *sorted(consenting))
    ui.withdrawable = consenting | set(corpora.read_manifest(ui.folder.value)["speaker"].str.strip())
    return fresh


def _change_speaker(ui: SimpleNamespace) -> None:
    """Show another speaker's consent, sex and condition, and the next prompt."""
    _offer_speakers(ui)
    ui.consent_text = corpora.consent_text(ui.folder.value)
    ui.consent.value = _consent_html(ui.consent_text)
    consents = corpora.active_consents(ui.folder.value).set_index("speaker")
    # An import, or an earlier form, is a consent to something else than the text above the tick.
    has_agreed = consents["consent"].get(ui.speaker.value) == ui.consent_text
    own = corpora.read_manifest(ui.folder.value).query("speaker == @ui.speaker.value")
    ui.is_updating = True
    ui.is_new = ui.speaker.value not in corpora.used_speaker_ids(ui.folder.value)
    ui.agreed.value = has_agreed
    ui.publish.value = has_agreed and consents.loc[ui.speaker.value, "publish"] == "yes"
    last = own.iloc[-1] if len(own) else {"sex": "", "condition": ""}  # never those of the previous speaker
    ui.sex.value = last["sex"] if last["sex"] in SEXES else ""
    ui.condition.value = last["condition"]
    ui.is_updating, ui.skipped = False, 0
    _next_prompt(ui)


def _consent_html(text: str) -> str:
    hint = f"<br><small>To use another text, save it as {corpora.CONSENT_FORM} in the corpus folder.</small>"
    return f"<i>“{html.escape(text)}”</i>{hint if text == corpora.CONSENT_TEXT else ''}"


def _change_consent(ui: SimpleNamespace) -> None:
    """Store what was ticked, or undo it; a tick for publication alone has no effect."""
    if ui.is_updating:
        return
    try:
        if ui.agreed.value:
            # Another window or an import may have given a new speaker's pseudonym to somebody else by now.
            options = {"publish": ui.publish.value, "text": ui.consent_text, "new": ui.is_new}
            corpora.store_consent(ui.folder.value, ui.speaker.value, **options)
            ui.is_new = False
        elif ui.speaker.value in set(corpora.active_consents(ui.folder.value)["speaker"]):
            corpora.undo_consent(ui.folder.value, ui.speaker.value)
            ui.is_new = ui.speaker.value not in corpora.used_speaker_ids(ui.folder.value)
    except (corpora.LocalError, OSError) as error:
        _consent_failed(ui, error)
        return
    _offer_speakers(ui)
    _show_progress(ui)
    _refresh(ui)


def _consent_failed(ui: SimpleNamespace, error: Exception) -> None:
    """Show the consent as it was, say why, and offer the next pseudonym if this one is somebody else's by now."""
    was_new = ui.is_new
    ui.is_updating, ui.agreed.value, ui.is_updating = True, not ui.agreed.value, False
    _refresh(ui)
    if was_new and ui.speaker.value in corpora.used_speaker_ids(ui.folder.value):
        ui.speaker.value = _offer_speakers(ui)
    if not ui.agreed.value:
        ui.microphone.why = error_text(error)
    ui.message.value = message_html(error_text(error), bad=True)


def _withdraw(ui: SimpleNamespace) -> None:
    """Delete all clips and stored features of the speaker, after a second click; show which runs used them."""
    speaker, question = ui.speaker.value, f"Delete all clips of {ui.speaker.value}?"
    if ui.withdraw.description != question:
        ui.withdraw.description, ui.withdraw.button_style = question, "danger"
        ui.message.value = message_html(f"This cannot be undone. Click again to delete {speaker}'s clips.", bad=True)
        return
    removal = results.remove_speaker(ui.folder.value, speaker, ui.run_dirs)
    _change_folder(ui)
    ui.message.value = message_html(
        f"{speaker} has withdrawn: {len(removal.files)} files and {removal.n_features} stored features deleted."
    )
    _show_traces(ui, removal.runs, speaker)


def _show_traces(ui: SimpleNamespace, runs: Sequence[Path], speaker: str = "") -> None:
    """Show which runs used a speaker's recordings, with a button that deletes them."""
    ui.runs = list(dict.fromkeys(run.resolve() for run in runs))
    names = "".join(f"<li>{html.escape(str(run))}</li>" for run in ui.runs)
    text = f"Models and predictions of these runs were made with {speaker}'s recordings:"
    ui.traces.value = f"{html.escape(text)}<ul>{names}</ul>" if ui.runs else ""
    ui.delete_runs.description, ui.delete_runs.button_style = f"Delete these runs ({len(ui.runs)})", ""
    ui.delete_runs.layout.display = None if ui.runs else "none"


def _delete_runs(ui: SimpleNamespace) -> None:
    """Delete the runs that used the recordings of a speaker who has withdrawn, after a second click."""
    n_runs = len(ui.runs)
    question = f"Delete {n_runs} run{'s' * (n_runs != 1)}? This cannot be undone"
    if ui.delete_runs.description != question:
        ui.delete_runs.description, ui.delete_runs.button_style = question, "danger"
        return
    while ui.runs:
        results.remove_run(ui.runs[0])
        del ui.runs[0]
    _show_traces(ui, [])
    ui.message.value = message_html(f"The files of {n_runs} run{'s' * (n_runs != 1)} were deleted.")


def _next_prompt(ui: SimpleNamespace, *, skip: bool = False) -> None:
    left = corpora.remaining_prompts(ui.folder.value, ui.speaker.value, **ui.plan)
    ui.skipped += skip
    if len(left):
        emotion, statement = left.iloc[ui.skipped % len(left)]
        ui.emotion.value, ui.statement.value = emotion, statement
    _show_progress(ui)
    _refresh(ui)


def _show_progress(ui: SimpleNamespace) -> None:
    """Show how many prompts the speaker has recorded, or that the speaker has withdrawn."""
    folder, speaker = ui.folder.value, ui.speaker.value
    if speaker in corpora.withdrawn_speakers(folder):
        text = (
            f"{speaker} withdrew from this corpus. Tick the consent line only if this person agrees anew; "
            f"for somebody else, use {corpora.next_pseudonym(folder)}."
        )
        ui.message.value = message_html(text, bad=True)
        return
    total = len(ui.plan["emotions"]) * len(ui.plan["statements"])
    n_recorded = total - len(corpora.remaining_prompts(folder, speaker, **ui.plan))
    ui.message.value = message_html(f"{speaker}: {n_recorded} of {total} prompts recorded.")


def _refresh(ui: SimpleNamespace) -> None:
    """Update the microphone's labels, and the reason if it may not record."""
    speaker = ui.speaker.value
    try:
        corpora.check_pseudonym(speaker)
        why = "" if ui.agreed.value else "The speaker must first read the consent line above; then tick it."
    except corpora.LocalError as error:
        why = str(error)
    ui.withdraw.description, ui.withdraw.button_style = "Withdraw this speaker", ""
    ui.withdraw.disabled = speaker not in ui.withdrawable
    with ui.microphone.hold_sync():
        ui.microphone.speaker, ui.microphone.emotion = speaker, ui.emotion.value
        ui.microphone.statement, ui.microphone.why, ui.microphone.ready = ui.statement.value, why, not why
        ui.microphone.sex, ui.microphone.condition = ui.sex.value, ui.condition.value
        ui.microphone.folder = ui.folder.value


def _save_take(ui: SimpleNamespace, signal: np.ndarray, sample_rate: int, labels: dict[str, str]) -> str:
    """Save a take under the labels and in the folder that it was recorded for; return the message for the user."""
    folder = labels["folder"]  # S01 of a folder that has been typed since may be somebody else
    try:
        row = corpora.save_take(
            folder, signal, int(sample_rate), **{name: text for name, text in labels.items() if name != "folder"}
        )
    except Exception as error:
        ui.message.value = error_html(error)
        raise
    levels = audio.measure_levels(signal / np.float32(32768), int(sample_rate))
    report_errors(ui, _next_prompt)()  # if it failed here, the take would be saved and yet be sent again
    text = f"Saved as {row['file']}: {levels['seconds']:.1f} s, {sample_rate:.0f} Hz, level {levels['level']:.0f} dB"
    advice = _advise(ui.levels.setdefault((folder, labels["speaker"]), []), levels)
    return f"{text}; {advice}." if advice else f"{text}."


def _advise(session: list[dict[str, float]], levels: dict[str, float]) -> str:
    """Add a take to its session; return advice on the take, or else on the whole session."""
    session.append(levels)
    advice = audio.level_advice(levels)
    if advice or len(session) < corpora.SESSION_CLIPS:
        return advice
    level, snr = (float(np.median([take[name] for take in session])) for name in ("level", "snr"))
    advice = audio.session_level_advice(level, snr, has_clipped=any(take["clipped"] for take in session))
    return f"this session is {advice}" if advice else ""
