"""audformat databases are read as corpora, and predictions are written as one."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write

from sernb import corpora
from sernb import lab
from sernb import results

FILES = ["wav/03a01Fa.wav", "wav/08a01Wa.wav", "wav/08a01Lb.wav"]


def make_database(root, *, segmented=False, emotions=("happiness", "anger", "boredom"), speakers=True, files=FILES):
    """A database as audEERING's emodb: the sex is a label of the speaker's, the emotion in another word."""
    audformat = pytest.importorskip("audformat", reason="the extra audformat is not installed")
    database = audformat.Database("emodb")
    database.schemes["emotion"] = audformat.Scheme(labels=sorted(set(emotions)))
    database.schemes["transcription"] = audformat.Scheme(labels={"a01": "Der Lappen liegt auf dem Eisschrank."})
    index = audformat.filewise_index(files)
    if segmented:
        index = audformat.segmented_index(files, starts=["0s", "0s", "1s"], ends=["1s", "1s", "2s"])
    table = database.tables["emotion"] = audformat.Table(index)
    table["emotion"] = audformat.Column(scheme_id="emotion")
    table["emotion"].set(list(emotions))
    by_file = database.tables["files"] = audformat.Table(audformat.filewise_index(files))
    if speakers:
        database.schemes["speaker"] = audformat.Scheme(labels={"03": {"gender": "male"}, "08": {"gender": "female"}})
        by_file["speaker"] = audformat.Column(scheme_id="speaker")
        by_file["speaker"].set(["03", "08", "08"])
    by_file["transcription"] = audformat.Column(scheme_id="transcription")
    by_file["transcription"].set(["a01"] * 3)
    for i, file in enumerate(files):
        write(root / file, tone(0.2, 16000, 200 + i), 16000)
    database.save(str(root))
    return root


def test_a_database_is_a_local_corpus(tmp_path):
    table = corpora.load("local", make_database(tmp_path))
    assert table["clip"].tolist() == sorted(FILES) and list(table) == corpora.CLIP_COLUMNS
    row = table.set_index("clip").loc["wav/08a01Wa.wav"]
    assert (row.speaker, row.sex, row.emotion) == ("08", "female", "angry") and row.statement.startswith("Der Lappen")
    assert set(table["emotion"]) == {"angry", "bored", "happy"}
    assert corpora.is_private(table), "its licence is not known"
    assert corpora.unmatched_files("local", tmp_path) == [] and (corpora.check_files(table)["problem"] == "").all()


def test_the_panels_read_a_database_and_offer_no_corrections_of_it(tmp_path):
    root = make_database(tmp_path)
    state = lab.browse_clips("local", str(root)).state
    assert state.row is not None and "Clip 1 of 3" in state.message.value
    assert state.corrections.layout.display == "none" and "is an audformat database" in state.read_only.value
    state.corpus.value = "demo-local"
    assert state.corrections.layout.display == "none" and not state.read_only.value
    assert "Clips by speaker and emotion" in lab.check_corpus(root).children[-1].value
    labels = [getattr(child, "label", "") for child in lab.train_model(None, root).children[2].children]
    assert labels[0].startswith("Default for 3 clips")


def test_words_of_a_databases_own_stay(tmp_path):
    table = corpora.load("local", make_database(tmp_path, emotions=("pain", "anger", "x/y")))
    assert table["emotion"].tolist() == ["pain", "unknown", "angry"]


def test_a_database_without_speakers_or_with_parts_of_files_is_refused(tmp_path):
    with pytest.raises(corpora.CorpusError, match="emodb has no speaker for 3 of 3 files: .* scheme speaker"):
        corpora.load("local", make_database(tmp_path / "a", speakers=False))
    with pytest.raises(corpora.CorpusError, match="emodb labels parts of files .*: cut them into files first"):
        corpora.load("local", make_database(tmp_path / "b", segmented=True))
    (tmp_path / "b" / "db.yaml").write_text("name: [")
    with pytest.raises(corpora.CorpusError, match="db.yaml cannot be read as an audformat database: "):
        corpora.load("local", tmp_path / "b")


def test_a_file_outside_the_folder_is_refused(tmp_path):
    root = make_database(tmp_path / "db", files=["../03a01Fa.wav", *FILES[1:]])
    with pytest.raises(corpora.CorpusError, match="03a01Fa.wav is outside the folder of its database"):
        corpora.load("local", root)


def test_without_the_package_the_message_names_it(tmp_path, monkeypatch):
    (tmp_path / "db.yaml").write_text("name: x\n")
    monkeypatch.setitem(sys.modules, "audformat", None)
    with pytest.raises(corpora.CorpusError, match=r"db.yaml: .* need the package audformat: .*sernb\[audformat\]"):
        corpora.load("local", tmp_path)
    with pytest.raises(ImportError, match="need the package audformat"):
        results.write_audformat(pd.DataFrame(), tmp_path / "new")


def test_predictions_are_written_as_a_database_and_read_by_audformat(tmp_path):
    audformat = pytest.importorskip("audformat", reason="the extra audformat is not installed")
    rows = {"clip": FILES, "copy": 0, "speaker": ["03", "08", "08"], "split": ["train", "test", "test"]}
    net = pd.DataFrame(rows).assign(
        model="net",
        truth=["sad", "calm", "sad"],
        prediction=["sad", "sad", ""],
        calm=[0.2, 0.3, None],
        fear=[0.0, 0.1, None],
        sad=[0.8, 0.6, None],
    )
    copies = net.assign(copy=1)
    guess = net.drop(columns=["calm", "fear", "sad"]).assign(model="guess", prediction="calm")
    header = results.write_audformat(pd.concat([net, copies, guess]), tmp_path / "out")
    assert header == tmp_path / "out" / "db.yaml"
    database = audformat.Database.load(str(header.parent), load_data=True)
    assert list(database.tables) == ["emotion", "predictions.guess", "predictions.net"]
    assert database.usage == "restricted"
    truth = database["emotion"].df
    assert truth.loc[FILES[1]].to_dict() == {"emotion": "calm", "speaker": "08", "split": "test"}
    predicted = database["predictions.net"].df
    assert predicted["emotion"].tolist()[:2] == ["sad", "sad"] and pd.isna(predicted["emotion"].iloc[2])
    assert predicted.loc[FILES[1], ["calm", "fear", "sad"]].tolist() == pytest.approx([0.3, 0.1, 0.6])
    assert database["predictions.guess"]["emotion"].scheme_id == "emotion"
    with pytest.raises(results.OutputError, match="is not an empty folder: name a new one"):
        results.write_audformat(net, tmp_path / "out")


def test_the_predictions_of_a_run_are_written_by_its_folder(tmp_path):
    audformat = pytest.importorskip("audformat", reason="the extra audformat is not installed")
    table = pd.DataFrame({"clip": FILES, "speaker": "007", "truth": "sad", "prediction": "sad"})
    table.to_csv(tmp_path / "predictions.csv", index=False)
    header = results.write_audformat(tmp_path, tmp_path / "out", name="mine")
    database = audformat.Database.load(str(header.parent))
    assert database.name == "mine" and database["emotion"].df["speaker"].tolist() == ["007"] * 3
