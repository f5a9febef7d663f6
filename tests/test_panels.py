"""The panels' own logic, without a browser: what their controls do to the corpus and to one another."""

from __future__ import annotations

from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest
from conftest import tone
from conftest import write

from sernb import browser
from sernb import corpora
from sernb import curator
from sernb import local
from sernb import predictor
from sernb import recorder
from sernb import widgets


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


def send(microphone, signal: np.ndarray, parts: int, order=None, **said) -> None:
    told = {name: getattr(microphone, name) for name in ("speaker", "emotion", "statement")} | said
    pieces = np.array_split(signal, parts)
    for part in order or range(parts):
        message = {"kind": "part", "take": 1, "part": part, "parts": parts, "rate": 44100, "said": told}
        microphone._receive(None, message, [memoryview(pieces[part].astype("<i2").tobytes())])


@pytest.fixture
def recording(tmp_path, monkeypatch):
    panel = recorder.record(tmp_path)
    (microphone,) = (one for one in controls(panel) if isinstance(one, recorder.Microphone))
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
    send(microphone, TAKE[:100], 3, order=[0, 1])  # the sending breaks off
    send(microphone, TAKE, 3)
    assert [message["kind"] for message in recording.sent] == ["kept"]
    (row,) = local.manifest(recording.root).to_dict("records")
    assert (row["emotion"], row["statement"]) == prompt != (microphone.emotion, microphone.statement)
    assert np.array_equal(local_samples(recording.root / row["file"]), TAKE)
    assert "1 of 32" in said(recording.panel)


def local_samples(path):
    import soundfile

    return soundfile.read(path, dtype="int16")[0]


def test_a_take_is_labelled_as_the_browser_showed_it(recording):
    recording.agreed.value = True
    send(recording.microphone, TAKE, 1, emotion="calm", statement="what another tab shows")
    (row,) = local.manifest(recording.root).to_dict("records")
    assert (row["emotion"], row["statement"]) == ("calm", "what another tab shows")


def test_another_speaker_inherits_nothing(recording):
    recording.agreed.value = True
    control(recording.panel, "Sex").value, control(recording.panel, "Condition").value = "female", "stroke"
    send(recording.microphone, TAKE, 1)
    recording.speaker.value = local.next_pseudonym(recording.root)
    assert recording.microphone.speaker == "S02" and not recording.microphone.ready
    assert control(recording.panel, "Sex").value == control(recording.panel, "Condition").value == ""
    recording.speaker.value = "S01"
    assert recording.agreed.value and recording.microphone.ready
    assert (control(recording.panel, "Sex").value, control(recording.panel, "Condition").value) == ("female", "stroke")


def test_a_broken_manifest_is_said_and_the_take_stays(recording):
    recording.agreed.value = True
    (recording.root / "manifest.csv").write_text("file,emotion,speaker\na,b,c,d,e\n")
    send(recording.microphone, TAKE, 1)
    assert recording.sent[-1]["kind"] == "failed" and "cannot be read" in recording.sent[-1]["text"]
    assert "cannot be read" in said(recorder.record(recording.root))


def test_browse_filters_steps_and_alters():
    panel = browser.browse("demo-ravdess", max_clips=16)
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
    assert browser.alterations(ui) == {}
    ui.corpus.value = "demo-local"
    assert ui.chosen["corpus"].unique() == ["demo-local"] and ui.filters["emotion"].value == "all"


def test_a_filter_that_leaves_nothing_says_so():
    ui = browser.browse("demo-local", max_clips=8).state
    ui.filters["emotion"].value = "sad"
    ui.filters["speaker"].value = next(s for s in ui.filters["speaker"].options[1:] if s != ui.row["speaker"])
    assert ui.view.clips == [] and "No clip" in ui.said.value


def test_an_import_corrected_by_hand(tmp_path):
    for i, name in enumerate(["Ann_sad_1.wav", "Ann_xyz_2.wav", "what.wav"]):
        write(tmp_path / "old" / name, tone(0.3, 8000, 200 + i), 8000)
    panel = curator.import_folder(tmp_path / "mine", tmp_path / "old")
    table = next(one for one in controls(panel) if isinstance(one, widgets.EditTable))
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


def test_check_and_predict_say_what_is_missing(tmp_path):
    assert "No clip is in this corpus yet" in said(curator.check(tmp_path))
    assert "holds no finished run" in said(predictor.predict(tmp_path / "none"))
    panel = predictor.predict(tmp_path / "none", folders=(tmp_path,))
    other = next(one for one in controls(panel) if getattr(one, "placeholder", "").startswith("or the folder"))
    other.value = str(tmp_path / "typed")
    assert control(panel, "Run").value == str(tmp_path / "typed") and "typed holds no finished run" in said(panel)


def test_train_says_what_went_wrong(tmp_path):
    def fails(**given):
        raise ValueError(f"no such corpus: {given['data_dir']}")

    ui = SimpleNamespace(
        run=fails, root=SimpleNamespace(value="x"), epochs=SimpleNamespace(value=1),
        start=SimpleNamespace(disabled=False), said=SimpleNamespace(value=""),
    )  # fmt: skip
    widgets.guarded(ui, predictor._train)()
    assert "no such corpus: x" in ui.said.value and not ui.start.disabled


def test_a_private_corpus_plays_in_jupyterlab_only_by_widget(tmp_path, monkeypatch):
    from sernb import players
    from sernb import privacy

    local.consent(tmp_path, "S01")
    local.keep(tmp_path, TAKE, 44100, speaker="S01", emotion="sad")
    table = corpora.load("local", tmp_path)
    rows = [{"emotion": "sad", "speaker": "S01", "listen": (tone(0.3, 8000), 8000)}]
    page = players.table(rows, of=table).data
    assert "<audio" not in page and "S01" not in page and page.count("withheld") == 2
    monkeypatch.setattr(privacy, "headless", lambda: False)
    monkeypatch.setattr(players, "headless", lambda: False)
    shown = players.table(rows, of=table)
    assert isinstance(shown, ipywidgets.HTML) and "<audio" in shown.value and "S01" in shown.value
    assert "base64" not in str(shown._repr_mimebundle_()), "what JupyterLab writes into the notebook's file"
