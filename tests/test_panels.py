"""The panels' own logic, without a browser: what their controls do to the corpus and to one another."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write

from sernb import corpora
from sernb import display
from sernb import features
from sernb import lab
from sernb.lab import browser
from sernb.lab import trainer


def controls(panel) -> list:
    """Return every control of a panel, in reading order."""
    return [panel, *(control for child in getattr(panel, "children", ()) for control in controls(child))]


def control(panel, description: str):
    (match,) = (control for control in controls(panel) if getattr(control, "description", "") == description)
    return match


def control_of_type(panel, kind: type):
    return next(control for control in controls(panel) if isinstance(control, kind))


def typed_run_field(panel):
    return next(field for field in controls(panel) if getattr(field, "placeholder", "").startswith("or the folder"))


def messages(panel) -> str:
    return " ".join(control.value for control in controls(panel) if isinstance(control, ipywidgets.HTML))


def sent_messages(microphone, monkeypatch) -> list[dict]:
    """Return the list to which a microphone's messages to its browser are added."""
    sent = []
    monkeypatch.setattr(microphone, "send", lambda message, buffers=None: sent.append(message))
    return sent


LABELS = ("folder", "speaker", "emotion", "statement", "sex", "condition")


def send(microphone, signal: np.ndarray, parts: int, order=None, take="a", **changes) -> None:
    labels = {name: getattr(microphone, name) for name in LABELS} | changes
    pieces = np.array_split(signal, parts)
    for part in order or range(parts):
        message = {"kind": "part", "take": take, "part": part, "parts": parts, "rate": 44100, "labels": labels}
        microphone._receive(None, message, [memoryview(pieces[part].astype("<i2").tobytes())])


@pytest.fixture
def recording(tmp_path, monkeypatch):
    panel = lab.record_clips(tmp_path)
    microphone = control_of_type(panel, lab.Microphone)
    return SimpleNamespace(
        root=tmp_path, panel=panel, microphone=microphone, sent=sent_messages(microphone, monkeypatch),
        speaker=control(panel, "Speaker"), agreed=control(panel, "The speaker has read this and agrees"),
    )  # fmt: skip


TAKE = (np.random.default_rng(0).normal(0, 3000, 44100)).astype("int16")


def test_no_take_is_saved_without_consent_or_under_a_name(recording):
    assert not recording.microphone.ready and "then tick it" in recording.microphone.why
    send(recording.microphone, TAKE, 2)
    assert recording.sent[-1]["kind"] == "failed" and "has not agreed" in recording.sent[-1]["text"]
    recording.speaker.value = "Anna"
    assert "may be a name" in recording.microphone.why
    recording.agreed.value = True
    assert not recording.agreed.value and "may be a name" in recording.microphone.why
    assert not (recording.root / "consent.csv").exists() and not (recording.root / "manifest.csv").exists()


def test_a_take_in_parts_is_saved_once_and_the_next_prompt_is_shown(recording):
    recording.agreed.value = True
    microphone = recording.microphone
    assert microphone.ready and microphone.speaker == "S01"
    prompt = microphone.emotion, microphone.statement
    send(microphone, TAKE, 3, order=[0, 1])  # the sending breaks off
    send(microphone, TAKE, 3)
    assert {(message["kind"], message["take"]) for message in recording.sent} == {("saved", "a")}
    (row,) = corpora.read_manifest(recording.root).to_dict("records")
    assert (row["emotion"], row["statement"]) == prompt != (microphone.emotion, microphone.statement)
    assert np.array_equal(local_samples(recording.root / row["file"]), TAKE)
    assert "1 of 32" in messages(recording.panel)


def test_parts_of_two_tabs_are_not_spliced(recording):
    recording.agreed.value = True
    send(recording.microphone, TAKE, 2, order=[0], take="tab 1", emotion="sad")
    send(recording.microphone, -TAKE, 3, take="tab 2", emotion="calm")
    send(recording.microphone, TAKE, 2, order=[1], take="tab 1", emotion="sad")
    assert [message["take"] for message in recording.sent] == ["tab 2", "tab 1"]
    files = corpora.read_manifest(recording.root).set_index("emotion")["file"]
    assert np.array_equal(local_samples(recording.root / files["sad"]), TAKE)
    assert np.array_equal(local_samples(recording.root / files["calm"]), -TAKE)


def test_a_take_that_is_sent_twice_is_saved_once_and_a_failed_one_can_be_sent_again(recording):
    send(recording.microphone, TAKE, 2)
    assert recording.sent[-1]["kind"] == "failed" and recording.sent[-1]["take"] == "a"
    recording.agreed.value = True
    for _ in range(2):  # the second time, because the answer came late
        send(recording.microphone, TAKE, 2)
    assert {message["text"] for message in recording.sent[1:]} == {recording.sent[1]["text"]}
    assert recording.sent[1]["kind"] == "saved" and len(corpora.read_manifest(recording.root)) == 1


def test_a_saved_take_is_not_reported_as_lost_if_the_next_prompt_fails(recording, monkeypatch):
    recording.agreed.value = True

    def fails(*_, **__):
        raise OSError("no prompts")

    monkeypatch.setattr("sernb.corpora.remaining_prompts", fails)
    send(recording.microphone, TAKE, 1)
    assert recording.sent[-1]["kind"] == "saved" and "no prompts" in messages(recording.panel)


def test_incomplete_takes_do_not_fill_the_memory(recording):
    for i in range(3 * lab.PARTIAL_TAKES):
        send(recording.microphone, TAKE, 2, order=[0], take=f"take {i}")
    assert len(recording.microphone._parts) <= lab.PARTIAL_TAKES


def local_samples(path):
    import soundfile

    return soundfile.read(path, dtype="int16")[0]


def test_a_take_is_labelled_as_the_browser_showed_it(recording):
    recording.agreed.value = True
    send(recording.microphone, TAKE, 1, emotion="calm", statement="what another tab shows")
    (row,) = corpora.read_manifest(recording.root).to_dict("records")
    assert (row["emotion"], row["statement"]) == ("calm", "what another tab shows")


def test_consent_is_not_stored_for_another_person_with_the_same_pseudonym(recording):
    corpora.store_consent(recording.root, "S01")  # another window, or an import
    recording.agreed.value = True
    assert len((recording.root / "consent.csv").read_text().splitlines()) == 2, "the heading and the other person"
    assert recording.speaker.value == "S02" and not recording.agreed.value and not recording.microphone.ready
    assert "S01" in recording.microphone.why and "S01" in messages(recording.panel)
    recording.agreed.value = True
    assert recording.microphone.ready and set(corpora.active_consents(recording.root)["speaker"]) == {"S01", "S02"}
    assert recording.speaker.options == ("S03", "S01", "S02"), "the next speaker can be chosen"
    control(recording.panel, "... and may be heard on published pages").value = True
    publish = corpora.active_consents(recording.root).set_index("speaker")["publish"]
    assert recording.microphone.ready and publish.to_dict() == {"S01": "no", "S02": "yes"}


def test_a_take_is_saved_in_the_corpus_that_it_was_recorded_for(recording, tmp_path_factory):
    recording.agreed.value = True
    waiting = {name: getattr(recording.microphone, name) for name in LABELS}
    other = tmp_path_factory.mktemp("other")
    corpora.store_consent(other, "S01")  # somebody else
    control(recording.panel, "Corpus").value = str(other)
    send(recording.microphone, TAKE, 1, **waiting)
    assert len(corpora.read_manifest(recording.root)) == 1 and corpora.read_manifest(other).empty


def test_another_speaker_inherits_nothing(recording):
    recording.agreed.value = True
    control(recording.panel, "Sex").value, control(recording.panel, "Condition").value = "female", "stroke"
    waiting = {name: getattr(recording.microphone, name) for name in LABELS}
    recording.speaker.value = corpora.next_pseudonym(recording.root)
    assert recording.microphone.speaker == "S02" and not recording.microphone.ready
    assert control(recording.panel, "Sex").value == control(recording.panel, "Condition").value == ""
    send(recording.microphone, TAKE, 1, **waiting)  # recorded before, saved now
    (row,) = corpora.read_manifest(recording.root).to_dict("records")
    assert waiting.pop("folder") and row | waiting == row
    assert (waiting["condition"], waiting["sex"]) == ("stroke", "female")
    recording.speaker.value = "S01"
    assert recording.agreed.value and recording.microphone.ready
    assert (control(recording.panel, "Sex").value, control(recording.panel, "Condition").value) == ("female", "stroke")


def test_a_broken_manifest_is_reported_and_the_take_stays(recording):
    recording.agreed.value = True
    (recording.root / "manifest.csv").write_text("file,emotion,speaker\na,b,c,d,e\n")
    send(recording.microphone, TAKE, 1)
    assert recording.sent[-1]["kind"] == "failed" and "cannot be read" in recording.sent[-1]["text"]
    assert "cannot be read" in messages(lab.record_clips(recording.root))


def test_browse_filters_steps_and_alters(monkeypatch):
    monkeypatch.delenv("SERNB_DATA", raising=False)
    panel = lab.browse_clips("demo-ravdess", max_clips=16)
    ui = panel.state
    assert len(ui.selected) == 16 and "ravdess" not in ui.corpus.options
    ui.filters["emotion"].value = "sad"
    assert set(ui.selected["emotion"]) == {"sad"} and ui.row["emotion"] == "sad"
    first = ui.row["clip"]
    browser._step(ui, -1)
    assert ui.number.value == len(ui.selected) and ui.row["clip"] != first
    ui.beside.value = "altered"
    ui.sliders["speed"].value = 2.0
    original, altered = ui.view.clips
    assert altered["seconds"] == pytest.approx(original["seconds"] / 2, rel=0.05)
    control(panel, "Reset sliders").click()
    assert lab.effect_settings(ui) == {}
    ui.corpus.value = "demo-local"
    assert ui.selected["corpus"].unique() == ["demo-local"] and ui.filters["emotion"].value == "all"


def test_only_filters_with_a_choice_are_shown():
    ui = lab.browse_clips("demo-ravdess", max_clips=16).state
    visible = [name for name, choice in ui.filters.items() if choice.layout.display is None]
    assert visible == ["emotion", "speaker", "sex", "intensity", "statement"], "RAVDESS has no conditions"
    assert ui.corpus.layout.display is None and ui.number.layout.display is None
    assert ("Kids are talking by the door", "kids") in ui.filters["statement"].options
    ui.filters["statement"].value = "dogs"
    assert set(ui.selected["statement"]) == {"dogs"}


def test_filters_that_no_clip_matches_are_reported():
    ui = lab.browse_clips("demo-local", max_clips=8).state
    ui.filters["emotion"].value = "sad"
    ui.filters["speaker"].value = next(s for s in ui.filters["speaker"].options[1:] if s != ui.row["speaker"])
    assert ui.view.clips == [] and "No clip matches" in ui.message.value


def test_the_recorded_corpus_can_be_browsed_and_loaded_again(recording):
    panel = lab.browse_clips("demo-local", recorded=recording.root, max_clips=8)
    ui = panel.state
    ui.corpus.value = "local"
    assert ui.view.clips == [] and ui.row is None and "has no clips yet" in ui.message.value
    recording.agreed.value = True
    send(recording.microphone, TAKE, 1, emotion="calm")
    control(panel, "Load again").click()
    assert ui.row["emotion"] == "calm" and len(ui.view.clips) == 1 and "Clip 1 of 1" in ui.message.value
    assert "local" not in lab.browse_clips("demo-local", max_clips=8).state.corpus.options


def test_an_import_is_corrected_by_hand(tmp_path):
    for i, name in enumerate(["Ann_sad_1.wav", "Ann_xyz_2.wav", "what.wav"]):
        write(tmp_path / "old" / name, tone(0.3, 8000, 200 + i), 8000)
    panel = lab.import_folder(tmp_path / "mine", tmp_path / "old")
    table = control_of_type(panel, lab.EditTable)
    assert [row["mark"] for row in table.rows] == ["", "doubt", "doubt"] and "Ann is S01" in messages(panel)
    control(panel, "Codes").value = "xyz=calm"
    assert table.rows[1]["emotion"] == "calm" and table.rows[1]["mark"] == ""
    control(panel, "Codes").value = "xyz=happily"
    assert "code=emotion" in messages(panel)
    control(panel, "Codes").value = ""
    ui_edit = {"kind": "edit", "index": 2, "column": "speaker", "value": "S07"}
    table._handle_custom_msg(ui_edit, [])
    table._handle_custom_msg(ui_edit | {"column": "emotion", "value": "fear"}, [])
    write_button = control(panel, "Write to the corpus")
    assert write_button.disabled
    control(panel, "Each of these speakers has agreed to this use of the recordings").value = True
    write_button.click()
    speakers = corpora.load("local", tmp_path / "mine").set_index("emotion")["speaker"]
    assert speakers.to_dict() == {"sad": "S01", "unknown": "S01", "fear": "S07"}
    assert [row["mark"] for row in table.rows] == ["written"] * 3 and write_button.disabled


def import_panel(tmp_path, *names: str, root=None, lowest=200) -> SimpleNamespace:
    for i, name in enumerate(names):
        write(tmp_path / "old" / name, tone(0.3, 8000, lowest + i), 8000)
    panel = lab.import_folder(tmp_path / "mine" if root is None else root, tmp_path / "old")
    table = control_of_type(panel, lab.EditTable)
    (agreed := control(panel, "Each of these speakers has agreed to this use of the recordings")).value = True
    return SimpleNamespace(
        panel=panel, table=table, agreed=agreed, write=control(panel, "Write to the corpus"), root=tmp_path / "mine",
        anonymous=control(panel, "Replace what may be names by pseudonyms"),
    )  # fmt: skip


def type_speaker(table, index: int, value: str) -> None:
    table._handle_custom_msg({"kind": "edit", "index": index, "column": "speaker", "value": value}, [])


def test_an_import_joins_a_speaker_of_the_corpus_only_by_hand(tmp_path):
    corpora.store_consent(tmp_path / "mine", "S01", publish=True)
    corpora.save_take(tmp_path / "mine", TAKE, 44100, speaker="S01", emotion="sad")
    ui = import_panel(tmp_path, "S01_angry_1.wav", "S01_angry_2.wav")
    assert [row["speaker"] for row in ui.table.rows] == ["S02", "S02"] and "S01 is S02" in messages(ui.panel)
    ui.anonymous.value = False
    assert ui.write.disabled and "an id of the corpus" in ui.table.rows[0]["note"] and "0 of 2" in messages(ui.panel)
    ui.anonymous.value = True
    type_speaker(ui.table, 0, "S01")
    assert ui.table.rows[0]["note"] == "joins S01 of the corpus"
    assert ui.table.rows[1]["note"] == "the same person as S01? then type S01"
    ui.write.click()
    assert list(corpora.read_manifest(ui.root)["speaker"]) == ["S01", "S01", "S02"]
    assert set(corpora.active_consents(ui.root)["publish"]) == {"no"}


def test_an_import_rejects_a_speaker_who_withdrew_and_takes_the_others(tmp_path):
    corpora.store_consent(tmp_path / "mine", "S01")
    corpora.withdraw_speaker(tmp_path / "mine", "S01")
    ui = import_panel(tmp_path, "Ann_angry_1.wav", "Bea_sad_1.wav")
    assert [row["speaker"] for row in ui.table.rows] == ["S02", "S03"]
    type_speaker(ui.table, 0, "S01")
    assert "withdrew" in ui.table.rows[0]["note"] and "1 of 2" in messages(ui.panel)
    ui.write.click()
    assert "Ann_angry_1.wav: has S01 as its speaker, who withdrew" in messages(ui.panel)
    assert list(corpora.read_manifest(ui.root)["speaker"]) == ["S03"]


def test_a_rejected_clip_can_be_imported_again_under_the_same_speaker(tmp_path):
    ui = import_panel(tmp_path, "Ann_angry_1.wav", "Ann_sad_2.wav", "Bea_sad_1.wav")
    (tmp_path / "old" / "Ann_sad_2.wav").rename(tmp_path / "away.wav")
    ui.write.click()
    assert [row["mark"] for row in ui.table.rows] == ["written", "bad", "written"] and "No such file" in messages(
        ui.panel
    )
    (tmp_path / "away.wav").rename(tmp_path / "old" / "Ann_sad_2.wav")
    assert ui.write.disabled and not ui.agreed.value, "each import has a tick of its own"
    ui.agreed.value = True
    ui.write.click()
    speakers = corpora.read_manifest(ui.root).set_index("emotion")["speaker"]
    assert list(speakers["angry":"angry"]) == ["S01"] and sorted(speakers["sad"]) == ["S01", "S02"]
    assert ui.write.disabled


def test_a_cleared_corpus_field_writes_nowhere(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    ui = import_panel(tmp_path, "Ann_angry_1.wav")
    control(ui.panel, "Corpus").value = ""
    assert ui.write.disabled and "no corpus folder is given" in messages(ui.panel)
    ui.write.click()
    assert not list((tmp_path / "work").iterdir()) and not ui.root.exists()
    assert "no corpus folder is given" in messages(lab.check_corpus(""))


def test_a_corpus_typed_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    ui = import_panel(tmp_path, "Ann_angry_1.wav")
    control(ui.panel, "Corpus").value = "~/mine"
    ui.write.click()
    assert list(corpora.read_manifest(ui.root)["speaker"]) == ["S01"]
    panel = lab.check_corpus(tmp_path / "none")
    control(panel, "Corpus").value = "~/mine"
    assert "Files that are not in the manifest</h4><p>none" in messages(panel)


def test_check_and_predict_report_what_is_missing(tmp_path):
    assert "This corpus has no clips yet" in messages(lab.check_corpus(tmp_path))
    assert "holds no finished run" in messages(lab.predict_clip(tmp_path / "none"))
    panel = lab.predict_clip(tmp_path / "none", folders=(tmp_path,))
    typed_run_field(panel).value = str(tmp_path / "typed")
    assert control(panel, "Run").value == str(tmp_path / "typed") and "typed holds no finished run" in messages(panel)


def test_predict_lists_a_clip_as_soon_as_it_is_saved(recording):
    panel = lab.predict_clip("none", folders=(recording.root,), recorder=recording.panel)
    (clip,) = (box for box in controls(panel) if isinstance(box, ipywidgets.Dropdown) and not box.description)
    assert clip.options == ()
    recording.agreed.value = True
    send(recording.microphone, TAKE, 1, emotion="calm")
    assert clip.label == "audio/S01/S01_calm_1.wav"
    control_of_type(panel, ipywidgets.ToggleButtons).value = lab.SOURCES[2]
    send(recording.microphone, TAKE, 1, take="b", emotion="sad")
    assert len(clip.options) == 2 and clip.label == "audio/S01/S01_calm_1.wav", "the clip that is looked at stays"


@pytest.fixture
def prediction(monkeypatch):
    """A panel of `predict_clip` that shows a prediction of the run `good`; the run `bad` cannot be loaded."""

    def load(run):
        if run == "bad":
            raise corpora.CorpusError("bad cannot be loaded")
        return SimpleNamespace(inputs=SimpleNamespace(sample_rate=8000))

    monkeypatch.setattr("sernb.results.load_run", load)
    monkeypatch.setattr("sernb.results.model_card", lambda _: "the good one's card")
    monkeypatch.setattr("sernb.results.predict_proba", lambda *_: pd.Series({"calm": 0.9, "sad": 0.1}))
    monkeypatch.setattr("sernb.results.predict_windows", lambda *_: None)
    monkeypatch.setattr("sernb.lab.predictor.windows_item", lambda *_: {"title": "heard"})
    monkeypatch.setattr("sernb.lab.predictor._selected_clip", lambda _: ("clip", tone(0.3, 8000)))
    panel = lab.predict_clip("good")
    by_type = {type(control).__name__: control for control in controls(panel)}
    ui = SimpleNamespace(
        panel=panel, bars=by_type["Image"], view=by_type["ClipView"], card=by_type["Output"], run=control(panel, "Run"),
        typed_run=typed_run_field(panel),
    )  # fmt: skip
    assert ui.bars.value and ui.bars.layout.display is None
    assert ui.view.clips and "good" in str(ui.card.outputs) and "0.90" in messages(panel)
    return ui


def test_a_run_is_listed_once_however_its_folder_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (run := tmp_path / "runs" / "first").mkdir(parents=True)
    for name in ("inputs.json", "metrics.json"):
        (run / name).write_text("{}")
    folders = ("runs", tmp_path / "runs", f"../{tmp_path.name}/runs")
    panel = lab.predict_clip(run, folders=folders)
    typed_run_field(panel).value = "./runs/first"
    assert control(panel, "Run").options == (os.path.join("runs", "first"),)


def test_an_earlier_prediction_is_removed_if_a_run_cannot_be_loaded(prediction):
    prediction.typed_run.value = "bad"
    assert "bad cannot be loaded" in messages(prediction.panel)
    assert prediction.bars.value == b"" and prediction.view.clips == [] and prediction.card.outputs == ()


def test_an_earlier_prediction_is_removed_if_a_clip_cannot_be_predicted(prediction, monkeypatch):
    def fails(*_):
        raise ValueError("no sound")

    monkeypatch.setattr("sernb.results.predict_proba", fails)
    control(prediction.panel, "Predict").click()
    assert "no sound" in messages(prediction.panel) and prediction.bars.value == b"" and prediction.view.clips == []
    assert prediction.bars.layout.display == "none", "browsers mark an empty image as broken"
    assert "good" in str(prediction.card.outputs), "the network is there"


def test_train_reports_an_error(tmp_path):
    def fails(**options):
        raise corpora.CorpusError(f"no such corpus: {options['data_dir']}")

    panel = lab.train_model(fails, speakers_corpus(tmp_path, sad="abc", angry="abc"))
    (button := control(panel, "Train")).click()
    wait_until(lambda: not button.disabled)
    assert f"no such corpus: {tmp_path}" in messages(panel)


def test_a_private_corpus_plays_in_jupyterlab_only_by_widget(tmp_path, monkeypatch):
    corpora.store_consent(tmp_path, "S01")
    corpora.save_take(tmp_path, TAKE, 44100, speaker="S01", emotion="sad")
    table = corpora.load("local", tmp_path)
    rows = [{"emotion": "sad", "speaker": "S01", "listen": (tone(0.3, 8000), 8000)}]
    page = display.audio_table(rows, clips=table).data
    assert "<audio" not in page and "S01" not in page and page.count("withheld") == 2
    monkeypatch.setattr("sernb.utils.is_headless", lambda: False)
    table_widget = display.audio_table(rows, clips=table)
    assert isinstance(table_widget, ipywidgets.HTML) and "<audio" in table_widget.value and "S01" in table_widget.value
    assert "base64" not in str(table_widget._repr_mimebundle_()), "what JupyterLab writes into the notebook's file"


MARKUP = "<img src=x onerror=alert(1)>"


def test_text_from_files_is_escaped_in_every_panel(recording):
    (recording.root / "consent.csv").write_text(f"speaker,consent\n{MARKUP},yes\n")
    (recording.root / "consent-text.txt").write_text(f"I agree {MARKUP}")
    panel = lab.record_clips(recording.root)
    control(panel, "Speaker").value = MARKUP
    assert "I agree &lt;img" in messages(panel) and "&lt;img" in messages(panel) and "<img" not in messages(panel)
    (name,) = [write(recording.root / f"{MARKUP}.wav", tone(0.6, 8000), 8000) or f"{MARKUP}.wav"]
    text = f"file,emotion,speaker,sex,condition\n{name},sad,{MARKUP},{MARKUP},{MARKUP}\n"
    (recording.root / "manifest.csv").write_text(text)
    write(recording.root / f"{MARKUP} 2.wav", tone(0.7, 8000), 8000)
    for panel in (
        lab.check_corpus(recording.root),
        lab.import_folder(recording.root / "mine", recording.root),
        lab.browse_clips("local", recording.root),
        lab.predict_clip(MARKUP, folders=(recording.root,)),
    ):
        assert "<img" not in messages(panel)
    assert "&lt;img" in messages(lab.check_corpus(recording.root))


def test_a_models_card_cannot_bring_markup(prediction, monkeypatch):
    monkeypatch.setattr("sernb.results.model_card", lambda _: f"trained by {MARKUP}")
    control(prediction.panel, "Search again").click()
    (card,) = prediction.card.outputs
    assert card["data"]["text/markdown"] == "trained by &lt;img src=x onerror=alert(1)>"


def test_an_unexpected_error_shows_its_type_and_a_traceback_and_an_expected_one_a_line():
    def fails_with(error):
        def act(_):
            raise error

        ui = SimpleNamespace(message=SimpleNamespace(value=""))
        lab.report_errors(ui, act)()
        return ui.message.value

    text = fails_with(KeyError("<clip>"))
    assert "KeyError: &#x27;&lt;clip&gt;&#x27;" in text and "<details>" in text and "in act" in text
    assert "<clip>" not in text
    for error, line in (
        (corpora.LocalError("type a folder"), ">type a folder<"),
        (PermissionError(13, "Permission denied", "/a/b"), ">Permission denied: /a/b<"),
    ):
        assert line in fails_with(error) and "<details>" not in fails_with(error)


def test_an_unexpected_error_while_a_take_is_saved_is_shown_with_its_type(recording, monkeypatch):
    def fails(*_, **__):
        raise KeyError("clip")

    recording.agreed.value = True
    monkeypatch.setattr("sernb.corpora.save_take", fails)
    send(recording.microphone, TAKE, 1)
    assert recording.sent[-1]["text"] == "Not saved: KeyError: 'clip'" and "<details>" in messages(recording.panel)


def local_corpus(root, rows: list[str]):
    """Write a manifest and a clip for each of its rows."""
    for i, row in enumerate(rows):
        write(root / row.split(",")[0], tone(0.6, 8000, 200 + 20 * i), 8000)
    (root / "manifest.csv").write_text("\n".join(["file,emotion,speaker", *rows]) + "\n")
    return root


@pytest.mark.parametrize("rows", [[], ["a.wav,sad,S01"], ["a.wav,sad,S01", "b.wav,angry,S02"]])
def test_panels_open_on_a_corpus_with_at_most_one_clip_per_emotion(tmp_path, rows):
    local_corpus(tmp_path, rows)
    panels = [lab.browse_clips("local", tmp_path), lab.check_corpus(tmp_path), lab.record_clips(tmp_path)]
    panels += [lab.predict_clip("none", folders=(tmp_path,), browser=panels[0]), lab.train_model(print, tmp_path)]
    for panel in panels:
        assert "<details>" not in messages(panel)
    assert ("Not yet" if rows else "has no clips yet") in messages(panels[1])


def test_own_clips_are_relabelled_and_deleted_where_they_are_heard(tmp_path, monkeypatch):
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "cache"))
    root = speakers_corpus(tmp_path / "mine", sad="ab", angry="a")
    panel = lab.browse_clips("local", root)
    ui = panel.state
    ui.filters["emotion"].value = "sad"
    browser._step(ui, 1)
    assert ui.row["clip"] == "1.wav" and ui.label.value == "sad" and ui.corrections.layout.display is None
    ui.label.value = "angry"
    ui.relabel.click()
    assert "1.wav is now labelled angry" in messages(panel)
    assert ui.filters["emotion"].value == "sad" and ui.row["clip"] == "0.wav", "the filter stays"
    assert corpora.load("local", root).set_index("clip")["emotion"]["1.wav"] == "angry"
    ui.delete.click()
    assert len(corpora.read_manifest(root)) == 3 and ui.delete.description == "Delete it? This cannot be undone"
    ui.filters["emotion"].value = "all"
    assert ui.delete.description == "Delete this clip", "another clip is not deleted by one click"
    for _ in range(3):
        ui.delete.click()
        ui.delete.click()
    assert corpora.read_manifest(root).empty and not list(root.glob("*.wav"))
    assert "was deleted." in messages(panel) and "has no clips yet" in messages(panel) and ui.view.clips == []
    ui.corpus.value = "demo-local"
    assert ui.corrections.layout.display == "none"


def own_clips(root):
    """Make a corpus of two takes, one of whose labels is a word of its own; return the panel that browses it."""
    corpora.store_consent(root, "S01", publish=True)
    labels = {"speaker": "S01", "condition": "stroke", "statement": "Kids are talking", "sex": "female"}
    corpora.save_take(root, tone(2.0, 8000), 8000, emotion="anxious", **labels)
    corpora.save_take(root, tone(1.0, 8000, 300), 8000, emotion="sad", **labels)
    return lab.browse_clips("local", root)


def test_a_relabelled_clip_stays_in_view(tmp_path):
    corpora.store_consent(tmp_path, "S01")
    for i in range(3):
        corpora.save_take(tmp_path, tone(0.5, 8000, 200 + 50 * i), 8000, speaker="S01", emotion="angry")
    ui = lab.browse_clips("local", tmp_path).state
    ui.label.value = "sad"
    ui.relabel.click()
    assert ui.row["clip"] == "audio/S01/S01_sad_1.wav" and ui.number.value == 3


def test_a_part_of_an_own_clip_is_heard_and_saved_once_as_a_clip(tmp_path):
    ui = own_clips(tmp_path).state
    clip, consents = ui.row["clip"], (tmp_path / "consent.csv").read_bytes()
    assert ui.label.value == "anxious" and ui.part.value == (0, 2) and "part" not in ui.view.clips[0]
    ui.cut.click()
    assert "this is the whole clip" in ui.message.value
    ui.label.value = "angry"
    ui.part.value = (0.5, 1.25)
    whole, part = ui.view.clips
    assert ui.beside.value == "part" and whole["part"] == [0.5, 1.25] and part["seconds"] == pytest.approx(0.75, 1e-3)
    ui.cut.click()
    assert "The part is now audio/S01/S01_angry_1.wav, labelled angry" in ui.message.value
    ui.cut.click()
    ui.label.value = "calm"
    ui.cut.click()
    assert f"this part of {clip} is in the corpus already, as audio/S01/S01_angry_1.wav" in ui.message.value
    manifest = corpora.read_manifest(tmp_path)
    assert len(manifest) == 3
    same = manifest.drop(columns=["file", "emotion", "time"]).drop_duplicates()
    assert len(same) == 1, "the other labels are those of the clip"
    expected = local_samples(tmp_path / clip)[4000:10000]
    assert np.allclose(local_samples(tmp_path / "audio/S01/S01_angry_1.wav"), expected, atol=1)
    assert (tmp_path / "consent.csv").read_bytes() == consents
    ui.refresh.click()
    assert len(ui.selected) == 3
    ui.part.value = (0.3, 0.3)
    ui.cut.click()
    assert "is a point, without a length" in ui.message.value
    browser._step(ui, 1)
    assert ui.part.value == (0, ui.part.max) and len(ui.view.clips) == 1, "another clip, another part"


def test_no_part_is_saved_of_a_speaker_who_has_not_agreed(tmp_path):
    local_corpus(tmp_path, ["a.wav,sad,S01"])
    ui = lab.browse_clips("local", tmp_path).state
    ui.part.value = (0.1, 0.3)
    ui.cut.click()
    assert "has not agreed yet" in ui.message.value and not (tmp_path / "audio").exists()


def test_notes_on_parts_are_labels_for_audacity_and_stay_with_their_clip(tmp_path):
    panel = own_clips(tmp_path)
    ui = panel.state
    clip = ui.row["clip"]
    ui.add_note.click()
    assert "the note is empty" in ui.message.value and not (tmp_path / "notes").exists()
    ui.part.value = (0.5, 1.25)
    ui.note.value = "voice <b>breaks</b>\there"
    ui.add_note.click()
    file = tmp_path / "notes" / f"{clip}.txt"
    assert file.read_text() == "0.500000\t1.250000\tvoice <b>breaks</b> here\n" and ui.note.value == ""
    assert "voice &lt;b&gt;breaks&lt;/b&gt; here" in ui.notes.value and str(file) in ui.message.value
    file.write_text(file.read_text() + "1,5\t1,5\tby hand")  # as Audacity writes a point in some countries
    ui.note.value = "pause"
    ui.add_note.click()
    assert corpora.read_notes(tmp_path, clip)["label"].tolist() == ["voice <b>breaks</b> here", "by hand", "pause"]
    browser._step(ui, 1)
    assert ui.notes.value == ""
    browser._step(ui, 1)
    assert "by hand" in ui.notes.value
    assert len(corpora.load("local", tmp_path)) == 2 and corpora.unlisted_files(tmp_path) == []
    assert len(corpora.list_recordings(tmp_path)) == 2, "a note is not a recording"
    file.write_bytes(b"\xff\xfe0")
    ui.note.value = "lost"
    ui.add_note.click()
    assert "is not text in UTF-8" in ui.message.value and file.read_bytes() == b"\xff\xfe0"
    control(panel, "Load again").click()
    assert len(ui.view.clips) == 1 and "is not text in UTF-8" in ui.notes.value, "the clip is shown all the same"


def test_of_a_public_corpus_a_part_is_heard_and_nothing_is_written(tmp_path):
    ui = lab.browse_clips("demo-ravdess", recorded=tmp_path, max_clips=8).state
    ui.part.value = (0.2, 0.6)
    assert len(ui.view.clips) == 2 and ui.corrections.layout.display == "none"
    ui.note.value = "a note"
    ui.cut.click()
    ui.add_note.click()
    assert not [path for path in tmp_path.rglob("*") if path.name != ".lock"]
    ui.reset.click()
    assert len(ui.view.clips) == 1 and ui.beside.value == "part"


def test_an_undecodable_clip_does_not_stop_the_panels(tmp_path):
    local_corpus(tmp_path, ["a.wav,sad,S01", "b.wav,sad,S02"])
    (tmp_path / "a.wav").write_text("no audio")
    ui = lab.browse_clips("local", tmp_path).state
    assert ui.view.clips == [] and "cannot be decoded" in ui.message.value
    browser._step(ui, 1)
    assert len(ui.view.clips) == 1
    browser._step(ui, 1)
    assert ui.view.clips == [], "the clip before is not shown beside the error"
    assert "cannot be decoded" in messages(lab.check_corpus(tmp_path))


def test_check_reports_copies_with_other_labels_and_similar_speakers(tmp_path):
    local_corpus(tmp_path, ["a.wav,sad,P03", "b.wav,angry,p03", "c.wav,sad,P04"])
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    text = messages(lab.check_corpus(tmp_path))
    conflicts = text[text.index("The same recording with different labels") : text.index("Speaker IDs")]
    assert "a.wav" in conflicts and "b.wav" in conflicts and "c.wav" not in conflicts
    assert "P03 and p03" in text


def test_a_slider_shows_the_altered_clip():
    ui = lab.browse_clips("demo-local", max_clips=8).state
    ui.sliders["speed"].value = 2.0
    assert ui.beside.value == "altered" and len(ui.view.clips) == 2


def test_speakers_of_an_earlier_import_are_recognised(tmp_path):
    first = import_panel(tmp_path, "P01_angry_1.wav", "Ann_sad_1.wav")
    first.write.click()
    assert not first.agreed.value
    for path in (tmp_path / "old").iterdir():
        path.unlink()
    second = import_panel(tmp_path, "P01_sad_2.wav", "ann_angry_22.wav", "p01_sad_23.wav", lowest=300)
    assert [row["speaker"] for row in second.table.rows] == ["P01", "S01", "p01"]
    assert [row["note"] for row in second.table.rows][:2] == ["joins P01 of the corpus", "joins S01 of the corpus"]
    assert second.table.rows[2]["note"] == "the same person as P01? then type P01"
    assert [row["mark"] for row in second.table.rows] == ["joined", "joined", "doubt"], "joining is no warning"
    type_speaker(second.table, 2, "P01")
    second.write.click()
    table = corpora.read_manifest(second.root)
    assert table["speaker"].value_counts().to_dict() == {"P01": 3, "S01": 2}
    assert "Ann" not in (second.root / "identities.csv").read_text()


def test_recognising_speakers_can_be_declined(tmp_path):
    first = import_panel(tmp_path, "P01_angry_1.wav")
    text = "Recognise the speakers of earlier imports (the corpus keeps identities.csv, private, without names)"
    control(first.panel, text).value = False
    first.write.click()
    assert len(corpora.read_manifest(first.root)) == 1 and not (first.root / "identities.csv").exists()
    (tmp_path / "old" / "P01_angry_1.wav").unlink()
    write(tmp_path / "old" / "P01_sad_2.wav", tone(0.4, 8000), 8000)
    (row,) = control_of_type(lab.import_folder(first.root, tmp_path / "old"), lab.EditTable).rows
    assert row["speaker"] == "S01" and row["note"] == "the same person as P01? then type P01"


def test_an_import_with_a_speaker_per_clip_is_questioned(tmp_path):
    ui = import_panel(tmp_path, *(f"x{i}y_sad_1.wav" for i in range(6)))
    assert "6 speakers in 6 clips are too many" in messages(ui.panel)


def test_a_consent_can_be_undone_until_there_are_clips(recording):
    recording.agreed.value = True
    recording.agreed.value = False
    assert corpora.active_consents(recording.root).empty and corpora.next_pseudonym(recording.root) == "S01"
    recording.agreed.value = True
    send(recording.microphone, TAKE, 1)
    recording.agreed.value = False
    assert recording.agreed.value and "S01 has 1 clips" in messages(recording.panel)
    assert list(corpora.active_consents(recording.root)["speaker"]) == ["S01"]


def test_a_speaker_is_withdrawn_by_two_clicks(recording):
    recording.agreed.value = True
    send(recording.microphone, TAKE, 1)
    button = control(recording.panel, "Withdraw this speaker")
    button.click()
    assert button.description == "Delete all clips of S01?" and len(corpora.read_manifest(recording.root)) == 1
    button.click()
    assert corpora.read_manifest(recording.root).empty and "S01 has withdrawn: 1 files" in messages(recording.panel)
    assert recording.speaker.value == "S02"
    recording.speaker.value = "S01"
    assert "S01 withdrew from this corpus" in messages(recording.panel) and not recording.microphone.ready


def test_a_withdrawal_lists_the_runs_that_used_the_recordings_and_deletes_them_when_told_to(tmp_path, monkeypatch):
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "cache"))
    root = local_corpus(tmp_path / "mine", ["a.wav,sad,S01", "b.wav,angry,S02"])
    features.extract(corpora.load("local", root), "zcr_rms", sample_rate=8000)
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    metrics = {"parameters": {"CORPUS": "local", "DATA_DIR": str(root)}, "models": {}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "predictions.csv").write_text("speaker,truth\nS01,sad\nS02,angry\n")
    (run / "run.json").write_text(json.dumps({"files": ["metrics.json", "predictions.csv"]}))
    panel = lab.record_clips(root, run_dirs=[tmp_path / "runs", run])
    button = control(panel, "Withdraw this speaker")
    assert button.disabled
    control(panel, "Speaker").value = "S01"  # from a manifest made by hand, without a consent
    button.click()
    button.click()
    assert "S01 has withdrawn: 1 files and 1 stored features deleted" in messages(panel)
    assert messages(panel).count(str(run)) == 1 and (run / "metrics.json").is_file()
    delete_runs = control(panel, "Delete these runs (1)")
    assert delete_runs.layout.display is None
    delete_runs.click()
    assert list(run.iterdir()) and delete_runs.description == "Delete 1 run? This cannot be undone"
    delete_runs.click()
    assert not run.exists() and str(run) not in messages(panel) and delete_runs.layout.display == "none"


def test_who_withdrew_may_agree_anew(recording):
    corpora.store_consent(recording.root, "S01")
    corpora.withdraw_speaker(recording.root, "S01")
    recording.speaker.value = "S02"
    recording.speaker.value = "S01"
    assert "S01 withdrew" in messages(recording.panel)
    recording.agreed.value = True
    assert recording.microphone.ready and "S01 withdrew" not in messages(recording.panel)
    recording.agreed.value = False
    assert not recording.microphone.ready and "S01 withdrew" in messages(recording.panel)


def test_the_text_of_an_ethics_board_is_shown_and_stored(recording):
    recording.agreed.value = True
    assert "save it as consent-text.txt" in messages(recording.panel)
    (recording.root / "consent-text.txt").write_text("Ethics vote 12/2026:\nI take part.\n")
    recording.agreed.value = False
    recording.agreed.value = True
    assert set(corpora.active_consents(recording.root)["consent"]) == {corpora.CONSENT_TEXT}, "the text that was shown"
    panel = lab.record_clips(recording.root)
    assert "“Ethics vote 12/2026: I take part.”" in messages(panel) and "save it as" not in messages(panel)
    control(panel, "Speaker").value = "S01"
    agreed = control(panel, "The speaker has read this and agrees")
    assert not agreed.value, "S01 has read another text"
    agreed.value = True
    assert list(corpora.active_consents(recording.root)["consent"]) == ["Ethics vote 12/2026: I take part."]


def test_the_speaker_of_an_import_has_not_read_the_consent_line(recording, tmp_path):
    import_panel(tmp_path, "S01_sad_1.wav", root=recording.root).write.click()
    recording.speaker.value = "S02"
    recording.speaker.value = "S01"
    assert not recording.agreed.value and not recording.microphone.ready
    assert not control(recording.panel, "Withdraw this speaker").disabled


def test_own_sentences_are_read_from_a_file(recording, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "statements.txt").write_text("\ufeffHeute ist Montag.\n\n  Das  Fenster ist offen. \nHeute ist Montag.\n")
    control(recording.panel, "Corpus").value = str(other)
    sentence = control(recording.panel, "Sentence")
    assert sentence.options == ("Heute ist Montag.", "Das Fenster ist offen.") and sentence.value in sentence.options
    assert "0 of 16 prompts" in messages(recording.panel)
    (other / "statements.txt").write_bytes(b"\xfcber\n")
    assert "statements.txt is not text in UTF-8" in messages(lab.record_clips(other))
    (other / "statements.txt").write_text("\n")
    assert "statements.txt holds no sentence" in messages(lab.record_clips(other))
    control(recording.panel, "Corpus").value = str(recording.root)
    assert sentence.options == corpora.STATEMENTS


def test_a_quiet_take_is_no_fault_but_a_quiet_session_is(recording):
    recording.agreed.value = True
    for i in range(3):
        quiet = np.concatenate([np.zeros(4410), TAKE // 100, np.zeros(4410)]).astype("int16")
        send(recording.microphone, quiet, 1, take=str(i), emotion="sad")
    texts = [message["text"] for message in recording.sent]
    assert not any("quiet" in text for text in texts[:2]) and "this session is too quiet as a whole" in texts[2]


def wait_until(condition) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("nothing has happened for 5 s")


def speakers_corpus(root, **speakers: str):
    """Write a corpus with a clip of each emotion by each of its speakers, a letter each."""
    pairs = [(emotion, speaker) for emotion in speakers for speaker in speakers[emotion]]
    return local_corpus(root, [f"{i}.wav,{emotion},{speaker}" for i, (emotion, speaker) in enumerate(pairs)])


def test_training_runs_once_and_leaves_the_environment(tmp_path):
    speakers_corpus(tmp_path, sad="abc", angry="abc")
    calls, before = [], dict(os.environ)

    def run(**options):
        calls.append(options)
        time.sleep(0.2)
        return tmp_path / "run"

    panel = lab.train_model(run, tmp_path, epochs=3)
    button = control(panel, "Train")
    button.click()
    assert button.disabled
    wait_until(lambda: not button.disabled)
    (call,) = calls
    assert callable(call.pop("on_cell")) and not call.pop("cancelled").is_set()
    options = {"corpus": "local", "data_dir": str(tmp_path), "epochs": 3, "model": "discriminant"}
    assert call == options | {"emotions": ["angry", "sad"]}
    assert "The discriminant was trained" in messages(panel) and dict(os.environ) == before
    control(panel, "Model").value = "network"
    button.click()
    wait_until(lambda: not button.disabled)
    assert calls[-1]["model"] == "network"


def test_an_emotion_of_one_speaker_is_not_trained_unless_it_is_ticked(tmp_path):
    calls = []
    speakers_corpus(tmp_path / "mine", disgust="a", sad="abc", angry="abcd")
    panel = lab.train_model(lambda **options: calls.append(options), tmp_path / "mine")
    button = control(panel, "Train")

    def trained_emotions() -> list[str]:
        button.click()
        wait_until(lambda: not button.disabled)
        return calls[-1]["emotions"]

    assert "fewer of disgust" in messages(panel) and trained_emotions() == ["angry", "sad"]
    control(panel, "disgust (clips: 1, speakers: 1)").value = True
    assert trained_emotions() == ["angry", "disgust", "sad"]
    control(panel, "angry (clips: 4, speakers: 4)").value = False
    speakers_corpus(tmp_path / "mine", disgust="abc", sad="abc", angry="abcd", fear="abc")
    assert trained_emotions() == ["disgust", "fear", "sad"], "the new one, too"
    control(panel, "Corpus").value = str(speakers_corpus(tmp_path / "other", calm="a", angry="abc"))
    button.click()
    wait_until(lambda: not button.disabled)
    assert "Tick at least two emotions" in messages(panel) and len(calls) == 3


def test_training_shows_its_progress_and_can_be_cancelled(tmp_path):
    def run(on_cell, cancelled, **_):
        on_cell(3, 12)
        cancelled.wait(30)
        raise RuntimeError("cancelled")

    panel = lab.train_model(run, speakers_corpus(tmp_path, sad="abc", angry="abc"))
    button, cancel, bar = (
        control(panel, "Train"),
        control(panel, "Cancel"),
        control_of_type(panel, ipywidgets.IntProgress),
    )
    assert cancel.disabled and bar.layout.display == "none"
    button.click()
    wait_until(lambda: bar.description == "cell 4 of 12")
    assert bar.layout.display is None and (bar.value, bar.max) == (3, 12) and not cancel.disabled
    cancel.click()
    wait_until(lambda: not button.disabled)
    assert "Cancelled after" in messages(panel) and bar.layout.display == "none" and cancel.disabled


def test_the_model_for_a_number_of_clips_is_named(tmp_path):
    assert trainer.choose_model(trainer.SMALL_CORPUS - 1) == "discriminant"
    assert trainer.choose_model(trainer.SMALL_CORPUS) == "network"
    panel = lab.train_model(None, speakers_corpus(tmp_path, sad="abc", angry="abc"))
    model = control(panel, "Model")
    assert next(iter(trainer._model_options(0))) == "Default: the discriminant of notebook 07 (a minute or two)"
    assert model.label == "Default for 6 clips: the discriminant of notebook 07 (a minute or two)"
    model.value = "network"
    speakers_corpus(tmp_path, sad="abcd", angry="abc")
    control(panel, "Look again").click()
    assert next(iter(model.options)).startswith("Default for 7 clips") and model.value == "network"


def test_the_import_panel_says_why_it_cannot_write_yet(tmp_path):
    panel = lab.import_folder(tmp_path / "mine")
    write_button, folder = control(panel, "Write to the corpus"), control(panel, "Recordings")
    agreed = control(panel, "Each of these speakers has agreed to this use of the recordings")
    assert write_button.disabled and "Not yet: type the folder" in messages(panel)
    write(tmp_path / "old" / "Ann_sad_1.wav", tone(0.4, 8000), 8000)
    folder.value = str(tmp_path / "old")
    assert write_button.disabled and "Not yet: tick the line above" in messages(panel)
    control(panel, "Pattern").value = "{mood}"
    assert write_button.disabled and "Not yet: the labels cannot be read" in messages(panel)
    control(panel, "Pattern").value = "{skip}"
    assert write_button.disabled and "Not yet: no file can be imported" in messages(panel)
    control(panel, "Pattern").value = "{speaker}_{emotion}_{n}"
    agreed.value = True
    assert not write_button.disabled and "Not yet" not in messages(panel)
    write_button.click()
    assert write_button.disabled and "Done. Type another folder" in messages(panel)


@pytest.mark.parametrize("is_ticked", [True, False])
def test_a_person_who_withdrew_is_noticed_in_a_later_import(tmp_path, is_ticked):
    first = import_panel(tmp_path, "Ann_angry_1.wav", "Bea_sad_1.wav")
    first.write.click()
    corpora.withdraw_speaker(first.root, "S01")
    assert "S01" in (first.root / "identities.csv").read_text(), "kept, or Ann would come back as somebody new"
    for path in (tmp_path / "old").iterdir():
        path.unlink()
    second = import_panel(tmp_path, "Ann_sad_3.wav", lowest=300)
    recognise = next(c for c in controls(second.panel) if getattr(c, "description", "").startswith("Recognise"))
    recognise.value = is_ticked
    (row,) = second.table.rows
    assert row["note"].startswith("has S01 as its speaker, who withdrew") and second.write.disabled
    lines = (first.root / "identities.csv").read_text().splitlines()
    (first.root / "identities.csv").write_text("\n".join(line for line in lines if not line.endswith("S01")) + "\n")
    recognise.value = not is_ticked
    assert second.table.rows[0]["speaker"] == "S03" and second.table.rows[0]["note"] == "", "forgotten altogether"
