import os

import numpy as np
import pytest
from support.audio_files import tone
from support.audio_files import write

from sernb import corpora


def crema_folder(root, names, suffix=".wav"):
    for i, name in enumerate(names):
        write(root / f"{name}{suffix}", tone(0.1, 16000, 200 + i), 16000)
    return root


def test_crema_names_become_rows(tmp_path):
    names = ["1002_IWW_SAD_XX", "1001_IEO_ANG_HI", "1001_DFA_XYZ_XX", "1040_ITH_SAD_X"]
    table = corpora.load("crema", crema_folder(tmp_path / "AudioWAV", names))
    assert list(table) == corpora.CLIP_COLUMNS
    assert list(table["clip"]) == sorted(f"{name}.wav" for name in names)
    row = table.set_index("clip").loc["1001_IEO_ANG_HI.wav"]
    assert (row.emotion, row.speaker, row.statement, row.intensity, row.channel) == (
        "angry", "1001", "IEO", "high", "speech",
    )  # fmt: skip
    assert table.set_index("clip").loc["1001_DFA_XYZ_XX.wav", "emotion"] == "unknown"


def test_unknown_is_counted_but_not_trained_on(tmp_path):
    table = corpora.load("crema", crema_folder(tmp_path, ["1001_IEO_ANG_HI", "1001_DFA_XYZ_XX"]))
    assert corpora.count_by_emotion(table).loc["unknown", "clips"] == 1
    assert corpora.emotion_labels(table) == ["angry"]
    assert len(corpora.drop_unknown(table)) == 1


@pytest.mark.parametrize(("root", "beside"), [("AudioWAV", "."), ("AudioWAV", ".."), (".", "."), (".", "AudioWAV")])
def test_crema_demographics_beside_or_above_the_audio(tmp_path, root, beside):
    crema_folder(tmp_path / "AudioWAV", ["1001_IEO_ANG_HI", "1002_IEO_ANG_HI"])
    audio = tmp_path / root
    sheet = '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","x","y"\n1002,21,"Female","x","y"\n'
    (tmp_path / root / beside / "VideoDemographics.csv").write_text(sheet)
    table = corpora.load("crema", audio)
    assert list(table["sex"]) == ["male", "female"]
    assert list(corpora.speaker_table(table, audio)["age"]) == [51, 21]


def test_every_field_of_a_ravdess_name():
    fields = corpora.parse_ravdess_name("03-02-05-02-01-02-16.wav")
    assert fields == {
        "modality": "audio", "channel": "song", "emotion": "angry", "intensity": "strong", "statement": "kids",
        "repetition": "02", "actor": "16", "speaker": "16", "sex": "female",
    }  # fmt: skip
    assert corpora.parse_ravdess_name("03-01-01-01-02-01-07.wav")["intensity"] == ""
    assert corpora.parse_ravdess_name("03-01-09-01-02-01-07.wav")["emotion"] == "unknown"
    assert corpora.parse_ravdess_name("03-01-09-01-02-01.wav") is None


def test_names_decide_whatever_the_folder_and_container(tmp_path):
    write(tmp_path / "a" / "b c" / "03-01-03-01-01-01-01.flac", tone(0.1, 48000), 48000)
    write(tmp_path / "03-01-04-01-01-01-02.ogg", np.stack([tone(0.1, 16000)] * 2, axis=1), 16000)
    (tmp_path / "a" / "._03-01-04-01-01-01-02.wav").write_bytes(b"resource fork")
    table = corpora.load("ravdess", tmp_path)
    assert list(table["clip"]) == ["03-01-04-01-01-01-02.ogg", "a/b c/03-01-03-01-01-01-01.flac"]
    assert list(corpora.check_files(table)["channels"]) == [2, 1]


def test_the_table_does_not_depend_on_the_machine(tmp_path, monkeypatch):
    crema_folder(tmp_path, [f"10{i:02}_IEO_ANG_HI" for i in range(1, 9)])
    first = corpora.load("crema", tmp_path)
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda root, **_: ((f, d, n[::-1]) for f, d, n in walk(root)))
    assert corpora.load("crema", tmp_path).equals(first)


def test_a_corpus_that_lies_in_its_folder_twice_is_read_once(tmp_path):
    crema_folder(tmp_path, ["1001_IEO_ANG_HI"])
    crema_folder(tmp_path / "again", ["1001_IEO_ANG_HI"])
    with pytest.warns(UserWarning, match="1 clips lie here twice"):
        assert len(corpora.load("crema", tmp_path)) == 1


def test_a_folder_without_clips_shows_what_it_found_and_what_is_expected(tmp_path):
    crema_folder(tmp_path, ["one", "two", "three"])
    with pytest.raises(corpora.CorpusError, match=r"one.wav.*three.wav.*1001_IEO_ANG_HI.wav"):
        corpora.load("crema", tmp_path)


def test_errors_name_the_remedy(tmp_path, monkeypatch):
    monkeypatch.delenv("SERNB_DATA", raising=False)
    with pytest.raises(corpora.CorpusError, match="crema, ravdess, local"):
        corpora.load("cremad")
    with pytest.raises(corpora.CorpusError, match="SERNB_DATA"):
        corpora.load("ravdess")
    with pytest.raises(corpora.CorpusError, match="no such folder"):
        corpora.load("ravdess", tmp_path / "nowhere")
    crema_folder(tmp_path, ["1001_IEO_ANG_HI"])
    with pytest.raises(corpora.CorpusError, match="all, speech, song"):
        corpora.load("crema", tmp_path, channel="sung")
    with pytest.raises(corpora.CorpusError, match="angry, calm"):
        corpora.load("crema", tmp_path, emotions=["anger"])


def local_corpus(root, rows, header="file,emotion,speaker"):
    for name in ("a.wav", "b.wav", "ü 1.wav"):
        write(root / name, tone(0.1, 16000, len(name)), 16000)
    (root / "manifest.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig")
    return root


def test_local_manifest(tmp_path):
    rows = ["ü 1.wav,sad,P1,stroke", 'a.wav,calm,P2,"a, b"']
    table = corpora.load("local", local_corpus(tmp_path, rows, "file,emotion,speaker,condition"))
    assert list(table["clip"]) == ["a.wav", "ü 1.wav"]
    assert list(table["condition"]) == ["a, b", "stroke"]
    assert list(table["sex"]) == ["", ""]


WRONG_MANIFESTS = [
    (["a.wav,sad"], "file,emotion", r"line 1: no column speaker.*file,emotion,speaker"),
    (["a.wav,sad,P1", "z.wav,sad,P1"], None, r"line 3: there is no file 'z.wav'"),
    (["a.wav,sadd,P1"], None, r"line 2: unknown emotion 'sadd'; did you mean 'sad'"),
    (["a.wav,xyz,P1"], None, r"line 2: unknown emotion 'xyz'; one of angry"),
    (["a.wav,sad,P1", "b.wav,sad,P1", "a.wav,sad,P1"], None, r"line 4: 'a.wav' stands already in line 2"),
    (["../a.wav,sad,P1"], None, r"line 2: '../a.wav' leaves the corpus folder"),
    (["a.wav,sad, "], None, r"line 2: no speaker"),
    (["", "", "a.wav,sadd,P1"], None, r"line 4: unknown emotion"),
    ([], None, r"no row below the header"),
    (["a.wav,sad,P1", "b.wav,sad,P1,x,y,z"], None, r"manifest.csv cannot be read.*line 3"),
]


@pytest.mark.parametrize(("rows", "header", "message"), WRONG_MANIFESTS)
def test_a_wrong_manifest_says_which_line_and_what_is_right(tmp_path, rows, header, message):
    with pytest.raises(corpora.CorpusError, match=message):
        corpora.load("local", local_corpus(tmp_path, rows, header or "file,emotion,speaker"))


def test_a_missing_manifest(tmp_path):
    with pytest.raises(corpora.CorpusError, match="file,emotion,speaker"):
        corpora.load("local", tmp_path)


def test_directory_order_is_the_file_systems(tmp_path, monkeypatch):
    names = [f"10{i:02}_IEO_ANG_HI" for i in range(1, 6)]
    table = corpora.load("crema", crema_folder(tmp_path, names))
    listed = [f"{name}.wav" for name in (names[3], names[0], names[4], names[2], names[1])]
    monkeypatch.setattr(os, "walk", lambda root, **_: [(str(root), [], listed)])
    assert list(corpora.sort_by_listing(table, tmp_path.resolve())["clip"]) == listed


def test_max_clips_keeps_the_emotions_balanced():
    table = corpora.load("demo-crema", max_clips=32, seed=3)
    sizes = table["emotion"].value_counts()
    assert len(table) == 32 and sizes.max() - sizes.min() <= 1
    assert table["clip"].is_monotonic_increasing
    assert table.equals(corpora.load("demo-crema", max_clips=32, seed=3))
    assert not table.equals(corpora.load("demo-crema", max_clips=32, seed=4))


def test_the_fingerprint_changes_with_label_and_content():
    table = corpora.load("demo-local", max_clips=40)
    shuffled = table.sample(frac=1, random_state=0)
    assert corpora.corpus_fingerprint(shuffled) == corpora.corpus_fingerprint(table)
    for column, value in (("emotion", "unknown"), ("speaker", "X"), ("sha256", "0")):
        changed = table.copy()
        changed.loc[0, column] = value
        assert corpora.corpus_fingerprint(changed) != corpora.corpus_fingerprint(table)


def test_check_gives_a_reason_for_each_unusable_clip(tmp_path):
    write(tmp_path / "1001_IEO_ANG_HI.wav", tone(0.2, 16000), 16000)
    write(tmp_path / "1001_IEO_DIS_HI.wav", np.zeros(1600, dtype=np.float32), 16000)
    write(tmp_path / "1001_IEO_FEA_HI.wav", np.full(1600, np.nan, dtype=np.float32), 16000, subtype="FLOAT")
    (tmp_path / "1001_IEO_HAP_HI.wav").write_text("not audio")
    (tmp_path / "1001_IEO_NEU_XX.wav").touch()
    problems = list(corpora.check_files(corpora.load("crema", tmp_path))["problem"])
    assert problems[0] == "" and "silent" in problems[1] and "NaN" in problems[2]
    assert "cannot be decoded" in problems[3] and "cannot be decoded" in problems[4]


@pytest.mark.real
def test_all_of_ravdess(real):
    table = corpora.load("ravdess", real("ravdess"))
    assert (table["channel"].value_counts()[["speech", "song"]] == [1440, 1012]).all()
    assert table["speaker"].nunique() == 24
    song = table[table["channel"] == "song"]
    assert not {"disgust", "surprise"} & set(song["emotion"]) and "18" not in set(song["speaker"])
    original = corpora.load("ravdess", real("ravdess_48k"))
    assert set(corpora.check_files(original)["sample_rate"]) == {48000}


@pytest.mark.real
def test_crema_clips(real):
    table = corpora.load("crema", real("crema"))
    assert len(table) == 314 and table["speaker"].nunique() == 88
    assert set(table["sex"]) == {"male", "female"}
    assert (corpora.check_files(table)["problem"] == "").all()


def test_a_demo_corpus_does_not_lie_in_a_folder_of_the_users(tmp_path):
    with pytest.raises(corpora.CorpusError, match="built in, .*crema, ravdess, local.*give no folder"):
        corpora.load("demo-ravdess", tmp_path)
