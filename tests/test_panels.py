"""The panels' own logic, without a browser: what their controls do to the corpus and to one another."""

from __future__ import annotations

from types import SimpleNamespace

import ipywidgets
import numpy as np
import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write

from sernb import corpora
from sernb import lab
from sernb.lab import browser
from sernb.lab import trainer


def controls(panel) -> list:
    """Every control of a panel, in reading order."""
    found = [panel]
    for child in getattr(panel, "children", ()):
        found += controls(child)
    return found


def control(panel, description: str):
    (found,) = (one for one in controls(panel) if getattr(one, "description", "") == description)
    return found


def said(panel) -> str:
    return " ".join(one.value for one in controls(panel) if isinstance(one, ipywidgets.HTML))


def answers(microphone, monkeypatch) -> list[dict]:
    """What a microphone tells its browser."""
    sent = []
    monkeypatch.setattr(microphone, "send", lambda message, buffers=None: sent.append(message))
    return sent


LABELS = ("folder", "speaker", "emotion", "statement", "sex", "condition")


def send(microphone, signal: np.ndarray, parts: int, order=None, take="a", **said) -> None:
    told = {name: getattr(microphone, name) for name in LABELS} | said
    pieces = np.array_split(signal, parts)
    for part in order or range(parts):
        message = {"kind": "part", "take": take, "part": part, "parts": parts, "rate": 44100, "said": told}
        microphone._receive(None, message, [memoryview(pieces[part].astype("<i2").tobytes())])


@pytest.fixture
def recording(tmp_path, monkeypatch):
    panel = lab.record_clips(tmp_path)
    (microphone,) = (one for one in controls(panel) if isinstance(one, lab.Microphone))
    return SimpleNamespace(
        root=tmp_path, panel=panel, microphone=microphone, sent=answers(microphone, monkeypatch),
        speaker=control(panel, "Speaker"), agreed=control(panel, "The speaker has read this and agrees"),
    )  # fmt: skip


TAKE = (np.random.default_rng(0).normal(0, 3000, 44100)).astype("int16")


def test_no_take_without_consent_and_none_under_a_name(recording):
    assert not recording.microphone.ready and "ticked" in recording.microphone.why
    send(recording.microphone, TAKE, 2)
    assert recording.sent[-1]["kind"] == "failed" and "has not agreed" in recording.sent[-1]["text"]
    recording.speaker.value = "Anna"
    assert "may be a name" in recording.microphone.why
    recording.agreed.value = True
    assert not recording.agreed.value and "may be a name" in recording.microphone.why
    assert not (recording.root / "consent.csv").exists() and not (recording.root / "manifest.csv").exists()


def test_a_take_in_parts_is_kept_once_and_the_next_prompt_comes(recording):
    recording.agreed.value = True
    microphone = recording.microphone
    assert microphone.ready and microphone.speaker == "S01"
    prompt = microphone.emotion, microphone.statement
    send(microphone, TAKE, 3, order=[0, 1])  # the sending breaks off
    send(microphone, TAKE, 3)
    assert {(message["kind"], message["take"]) for message in recording.sent} == {("kept", "a")}
    (row,) = corpora.read_manifest(recording.root).to_dict("records")
    assert (row["emotion"], row["statement"]) == prompt != (microphone.emotion, microphone.statement)
    assert np.array_equal(local_samples(recording.root / row["file"]), TAKE)
    assert "1 of 32" in said(recording.panel)


def test_parts_of_two_tabs_are_not_spliced(recording):
    recording.agreed.value = True
    send(recording.microphone, TAKE, 2, order=[0], take="tab 1", emotion="sad")
    send(recording.microphone, -TAKE, 3, take="tab 2", emotion="calm")
    send(recording.microphone, TAKE, 2, order=[1], take="tab 1", emotion="sad")
    assert [message["take"] for message in recording.sent] == ["tab 2", "tab 1"]
    kept = corpora.read_manifest(recording.root).set_index("emotion")["file"]
    assert np.array_equal(local_samples(recording.root / kept["sad"]), TAKE)
    assert np.array_equal(local_samples(recording.root / kept["calm"]), -TAKE)


def test_a_take_that_is_sent_again_is_kept_once_and_one_that_failed_can_be(recording):
    send(recording.microphone, TAKE, 2)
    assert recording.sent[-1]["kind"] == "failed" and recording.sent[-1]["take"] == "a"
    recording.agreed.value = True
    for _ in range(2):  # the second time, because the answer came late
        send(recording.microphone, TAKE, 2)
    assert {message["text"] for message in recording.sent[1:]} == {recording.sent[1]["text"]}
    assert recording.sent[1]["kind"] == "kept" and len(corpora.read_manifest(recording.root)) == 1


def test_a_kept_take_whose_next_prompt_fails_is_not_said_to_be_lost(recording, monkeypatch):
    recording.agreed.value = True

    def fails(*_, **__):
        raise OSError("no prompts")

    monkeypatch.setattr("sernb.corpora.remaining_prompts", fails)
    send(recording.microphone, TAKE, 1)
    assert recording.sent[-1]["kind"] == "kept" and "no prompts" in said(recording.panel)


def test_broken_off_takes_do_not_fill_the_memory(recording):
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


def test_consent_is_not_stored_for_whoever_got_the_pseudonym_meanwhile(recording):
    corpora.store_consent(recording.root, "S01")  # another window, or an import
    recording.agreed.value = True
    assert len((recording.root / "consent.csv").read_text().splitlines()) == 2, "the heading and the other person"
    assert recording.speaker.value == "S02" and not recording.agreed.value and not recording.microphone.ready
    assert "S01" in recording.microphone.why and "S01" in said(recording.panel)
    recording.agreed.value = True
    assert recording.microphone.ready and set(corpora.active_consents(recording.root)["speaker"]) == {"S01", "S02"}
    assert recording.speaker.options == ("S03", "S01", "S02"), "the next speaker can be chosen"
    control(recording.panel, "... and may be heard on published pages").value = True
    told = corpora.active_consents(recording.root).set_index("speaker")["publish"]
    assert recording.microphone.ready and told.to_dict() == {"S01": "no", "S02": "yes"}


def test_a_take_goes_to_the_corpus_that_it_was_recorded_for(recording, tmp_path_factory):
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
    send(recording.microphone, TAKE, 1, **waiting)  # recorded before, kept now
    (row,) = corpora.read_manifest(recording.root).to_dict("records")
    assert waiting.pop("folder") and row | waiting == row
    assert (waiting["condition"], waiting["sex"]) == ("stroke", "female")
    recording.speaker.value = "S01"
    assert recording.agreed.value and recording.microphone.ready
    assert (control(recording.panel, "Sex").value, control(recording.panel, "Condition").value) == ("female", "stroke")


def test_a_broken_manifest_is_said_and_the_take_stays(recording):
    recording.agreed.value = True
    (recording.root / "manifest.csv").write_text("file,emotion,speaker\na,b,c,d,e\n")
    send(recording.microphone, TAKE, 1)
    assert recording.sent[-1]["kind"] == "failed" and "cannot be read" in recording.sent[-1]["text"]
    assert "cannot be read" in said(lab.record_clips(recording.root))


def test_browse_filters_steps_and_alters(monkeypatch):
    monkeypatch.delenv("SERNB_DATA", raising=False)
    panel = lab.browse_clips("demo-ravdess", max_clips=16)
    ui = panel.state
    assert len(ui.chosen) == 16 and "ravdess" not in ui.corpus.options
    ui.filters["emotion"].value = "sad"
    assert set(ui.chosen["emotion"]) == {"sad"} and ui.row["emotion"] == "sad"
    first = ui.row["clip"]
    browser._step(ui, -1)
    assert ui.place.value == len(ui.chosen) and ui.row["clip"] != first
    ui.beside.value = "altered"
    ui.sliders["speed"].value = 2.0
    original, altered = ui.view.clips
    assert altered["seconds"] == pytest.approx(original["seconds"] / 2, rel=0.05)
    control(panel, "Reset sliders").click()
    assert lab.effect_settings(ui) == {}
    ui.corpus.value = "demo-local"
    assert ui.chosen["corpus"].unique() == ["demo-local"] and ui.filters["emotion"].value == "all"


def test_a_filter_that_leaves_nothing_says_so():
    ui = lab.browse_clips("demo-local", max_clips=8).state
    ui.filters["emotion"].value = "sad"
    ui.filters["speaker"].value = next(s for s in ui.filters["speaker"].options[1:] if s != ui.row["speaker"])
    assert ui.view.clips == [] and "No clip" in ui.said.value


def test_the_recorded_corpus_can_be_browsed_and_read_again(recording):
    panel = lab.browse_clips("demo-local", recorded=recording.root, max_clips=8)
    ui = panel.state
    ui.corpus.value = "local"
    assert ui.view.clips == [] and ui.row is None and "No clip is in" in ui.said.value
    recording.agreed.value = True
    send(recording.microphone, TAKE, 1, emotion="calm")
    control(panel, "Read again").click()
    assert ui.row["emotion"] == "calm" and len(ui.view.clips) == 1 and "Clip 1 of 1" in ui.said.value
    assert "local" not in lab.browse_clips("demo-local", max_clips=8).state.corpus.options


def test_an_import_corrected_by_hand(tmp_path):
    for i, name in enumerate(["Ann_sad_1.wav", "Ann_xyz_2.wav", "what.wav"]):
        write(tmp_path / "old" / name, tone(0.3, 8000, 200 + i), 8000)
    panel = lab.import_folder(tmp_path / "mine", tmp_path / "old")
    table = next(one for one in controls(panel) if isinstance(one, lab.EditTable))
    assert [row["mark"] for row in table.rows] == ["", "doubt", "doubt"] and "Ann is S01" in said(panel)
    control(panel, "Codes").value = "xyz=calm"
    assert table.rows[1]["emotion"] == "calm" and table.rows[1]["mark"] == ""
    control(panel, "Codes").value = "xyz=happily"
    assert "code=emotion" in said(panel)
    control(panel, "Codes").value = ""
    ui_edit = {"kind": "edit", "index": 2, "column": "speaker", "value": "S07"}
    table._handle_custom_msg(ui_edit, [])
    table._handle_custom_msg(ui_edit | {"column": "emotion", "value": "fear"}, [])
    write_button = control(panel, "Write to the corpus")
    assert write_button.disabled
    control(panel, "Each of these speakers has agreed to this use of the recordings").value = True
    write_button.click()
    found = corpora.load("local", tmp_path / "mine").set_index("emotion")["speaker"]
    assert found.to_dict() == {"sad": "S01", "unknown": "S01", "fear": "S07"}
    assert [row["mark"] for row in table.rows] == ["kept"] * 3 and write_button.disabled


def importing(tmp_path, *names: str, root=None) -> SimpleNamespace:
    for i, name in enumerate(names):
        write(tmp_path / "old" / name, tone(0.3, 8000, 200 + i), 8000)
    panel = lab.import_folder(tmp_path / "mine" if root is None else root, tmp_path / "old")
    table = next(one for one in controls(panel) if isinstance(one, lab.EditTable))
    control(panel, "Each of these speakers has agreed to this use of the recordings").value = True
    return SimpleNamespace(
        panel=panel, table=table, write=control(panel, "Write to the corpus"), root=tmp_path / "mine",
        anonymous=control(panel, "Pseudonyms in place of what may be names"),
    )  # fmt: skip


def type_speaker(table, index: int, value: str) -> None:
    table._handle_custom_msg({"kind": "edit", "index": index, "column": "speaker", "value": value}, [])


def test_an_import_joins_a_speaker_of_the_corpus_only_by_hand(tmp_path):
    corpora.store_consent(tmp_path / "mine", "S01", publish=True)
    corpora.save_take(tmp_path / "mine", TAKE, 44100, speaker="S01", emotion="sad")
    ui = importing(tmp_path, "S01_angry_1.wav", "S01_angry_2.wav")
    assert [row["speaker"] for row in ui.table.rows] == ["S02", "S02"] and "S01 is S02" in said(ui.panel)
    ui.anonymous.value = False
    assert ui.write.disabled and "an id of the corpus" in ui.table.rows[0]["note"] and "0 of 2" in said(ui.panel)
    ui.anonymous.value = True
    type_speaker(ui.table, 0, "S01")
    assert [row["note"] for row in ui.table.rows] == ["joins S01 of the corpus", ""]
    ui.write.click()
    assert list(corpora.read_manifest(ui.root)["speaker"]) == ["S01", "S01", "S02"]
    assert set(corpora.active_consents(ui.root)["publish"]) == {"no"}


def test_an_import_of_who_withdrew_is_refused(tmp_path):
    corpora.store_consent(tmp_path / "mine", "S01")
    corpora.withdraw_speaker(tmp_path / "mine", "S01")
    ui = importing(tmp_path, "Ann_angry_1.wav", "Bea_sad_1.wav")
    assert [row["speaker"] for row in ui.table.rows] == ["S02", "S03"]
    type_speaker(ui.table, 0, "S01")
    assert "withdrew" in ui.table.rows[0]["note"] and "1 of 2" in said(ui.panel)
    ui.write.click()
    assert "S01 of" in said(ui.panel) and "nothing is imported" in said(ui.panel)
    assert corpora.read_manifest(ui.root).empty


def test_what_an_import_rejects_is_corrected_and_keeps_its_speaker(tmp_path):
    ui = importing(tmp_path, "Ann_angry_1.wav", "Ann_sad_2.wav", "Bea_sad_1.wav")
    (tmp_path / "old" / "Ann_sad_2.wav").rename(tmp_path / "away.wav")
    ui.write.click()
    assert [row["mark"] for row in ui.table.rows] == ["kept", "bad", "kept"] and "No such file" in said(ui.panel)
    (tmp_path / "away.wav").rename(tmp_path / "old" / "Ann_sad_2.wav")
    assert not ui.write.disabled
    ui.write.click()
    speakers = corpora.read_manifest(ui.root).set_index("emotion")["speaker"]
    assert list(speakers["angry":"angry"]) == ["S01"] and sorted(speakers["sad"]) == ["S01", "S02"]
    assert ui.write.disabled


def test_a_cleared_corpus_field_writes_nowhere(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    ui = importing(tmp_path, "Ann_angry_1.wav")
    control(ui.panel, "Corpus").value = ""
    assert ui.write.disabled and "no corpus folder is given" in said(ui.panel)
    ui.write.click()
    assert not list((tmp_path / "work").iterdir()) and not ui.root.exists()
    assert "no corpus folder is given" in said(lab.check_corpus(""))


def test_a_corpus_typed_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    ui = importing(tmp_path, "Ann_angry_1.wav")
    control(ui.panel, "Corpus").value = "~/mine"
    ui.write.click()
    assert list(corpora.read_manifest(ui.root)["speaker"]) == ["S01"]
    panel = lab.check_corpus(tmp_path / "none")
    control(panel, "Corpus").value = "~/mine"
    assert "Not in the manifest</h4><p>none" in said(panel)


def test_check_and_predict_say_what_is_missing(tmp_path):
    assert "No clip is in this corpus yet" in said(lab.check_corpus(tmp_path))
    assert "holds no finished run" in said(lab.predict_clip(tmp_path / "none"))
    panel = lab.predict_clip(tmp_path / "none", folders=(tmp_path,))
    other = next(one for one in controls(panel) if getattr(one, "placeholder", "").startswith("or the folder"))
    other.value = str(tmp_path / "typed")
    assert control(panel, "Run").value == str(tmp_path / "typed") and "typed holds no finished run" in said(panel)


def test_predict_lists_a_clip_as_soon_as_it_is_kept(recording):
    panel = lab.predict_clip("none", folders=(recording.root,), recorder=recording.panel)
    (clip,) = (one for one in controls(panel) if isinstance(one, ipywidgets.Dropdown) and not one.description)
    assert clip.options == ()
    recording.agreed.value = True
    send(recording.microphone, TAKE, 1, emotion="calm")
    assert clip.label == "audio/S01/S01_calm_1.wav"
    next(one for one in controls(panel) if isinstance(one, ipywidgets.ToggleButtons)).value = lab.SOURCES[2]
    send(recording.microphone, TAKE, 1, take="b", emotion="sad")
    assert len(clip.options) == 2 and clip.label == "audio/S01/S01_calm_1.wav", "the clip that is looked at stays"


@pytest.fixture
def judged(monkeypatch):
    """A panel of `predict` beside an answer of the run `good`; the run `bad` cannot be loaded."""

    def load(run):
        if run == "bad":
            raise ValueError("bad cannot be loaded")
        return SimpleNamespace(inputs=SimpleNamespace(sample_rate=8000))

    monkeypatch.setattr("sernb.results.load_run", load)
    monkeypatch.setattr("sernb.results.model_card", lambda _: "the good one's card")
    monkeypatch.setattr("sernb.results.predict_proba", lambda *_: pd.Series({"calm": 0.9, "sad": 0.1}))
    monkeypatch.setattr("sernb.results.predict_windows", lambda *_: None)
    monkeypatch.setattr("sernb.lab.predictor.windows_item", lambda *_: {"title": "heard"})
    monkeypatch.setattr("sernb.lab.predictor._selected_clip", lambda _: ("clip", tone(0.3, 8000)))
    panel = lab.predict_clip("good")
    found = {type(one).__name__: one for one in controls(panel)}
    shown = SimpleNamespace(
        panel=panel, bars=found["Image"], view=found["ClipView"], card=found["Output"], run=control(panel, "Run"),
        other=next(one for one in controls(panel) if getattr(one, "placeholder", "").startswith("or the folder")),
    )  # fmt: skip
    assert shown.bars.value and shown.view.clips and "good" in str(shown.card.outputs) and "0.90" in said(panel)
    return shown


def test_no_earlier_networks_answer_stays_beside_a_run_that_cannot_be_loaded(judged):
    judged.other.value = "bad"
    assert "bad cannot be loaded" in said(judged.panel)
    assert judged.bars.value == b"" and judged.view.clips == [] and judged.card.outputs == ()


def test_no_earlier_clips_answer_stays_beside_a_clip_that_cannot_be_judged(judged, monkeypatch):
    def fails(*_):
        raise ValueError("no sound")

    monkeypatch.setattr("sernb.results.predict_proba", fails)
    control(judged.panel, "Predict").click()
    assert "no sound" in said(judged.panel) and judged.bars.value == b"" and judged.view.clips == []
    assert "good" in str(judged.card.outputs), "the network is there"


def test_train_says_what_went_wrong(tmp_path):
    def fails(**given):
        raise ValueError(f"no such corpus: {given['data_dir']}")

    ui = SimpleNamespace(
        run=fails, root=SimpleNamespace(value="x"), epochs=SimpleNamespace(value=1),
        start=SimpleNamespace(disabled=False), said=SimpleNamespace(value=""),
    )  # fmt: skip
    lab.report_errors(ui, trainer._run_training)()
    assert "no such corpus: x" in ui.said.value and not ui.start.disabled


def test_a_private_corpus_plays_in_jupyterlab_only_by_widget(tmp_path, monkeypatch):
    from sernb import corpora
    from sernb import display

    corpora.store_consent(tmp_path, "S01")
    corpora.save_take(tmp_path, TAKE, 44100, speaker="S01", emotion="sad")
    table = corpora.load("local", tmp_path)
    rows = [{"emotion": "sad", "speaker": "S01", "listen": (tone(0.3, 8000), 8000)}]
    page = display.audio_table(rows, clips=table).data
    assert "<audio" not in page and "S01" not in page and page.count("withheld") == 2
    monkeypatch.setattr("sernb.utils.is_headless", lambda: False)
    monkeypatch.setattr("sernb.utils.is_headless", lambda: False)
    shown = display.audio_table(rows, clips=table)
    assert isinstance(shown, ipywidgets.HTML) and "<audio" in shown.value and "S01" in shown.value
    assert "base64" not in str(shown._repr_mimebundle_()), "what JupyterLab writes into the notebook's file"
