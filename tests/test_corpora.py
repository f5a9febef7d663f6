import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from support.audio_files import tone
from support.audio_files import write
from typer.testing import CliRunner

from sernb import cli
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


def test_unknown_emotions_are_counted_and_dropped(tmp_path):
    table = corpora.load("crema", crema_folder(tmp_path, ["1001_IEO_ANG_HI", "1001_DFA_XYZ_XX"]))
    assert corpora.count_by_emotion(table).loc["unknown", "clips"] == 1
    assert corpora.emotion_labels(table) == ["angry"]
    assert len(corpora.drop_unknown(table)) == 1


@pytest.mark.parametrize(("root", "beside"), [("AudioWAV", "."), ("AudioWAV", ".."), (".", "."), (".", "AudioWAV")])
def test_crema_demographics_in_the_audio_folder_or_around_it(tmp_path, root, beside):
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


@pytest.mark.parametrize(
    ("corpus", "name", "speaker", "sex", "statement", "emotion"),
    [
        ("emodb", "03a01Fa.wav", "03", "male", "a01", "happy"),
        ("emodb", "16b10Lb.flac", "16", "female", "b10", "bored"),
        ("emodb", "11a02Xc.wav", "11", "male", "a02", "unknown"),
        ("emodb", "99a02A.wav", "99", "", "a02", "fear"),
        ("tess", "OAF_back_angry.wav", "OAF", "female", "back", "angry"),
        ("tess", "YAF_food_ps.wav", "YAF", "female", "food", "surprise"),
        ("tess", "OA_bite_neutral.wav", "OAF", "female", "bite", "neutral"),
        ("tess", "YAF_food_xyz.wav", "YAF", "female", "food", "unknown"),
        ("savee", "ALL/DC_a01.wav", "DC", "male", "a01", "angry"),
        ("savee", "AudioData/KL/su15.wav", "KL", "male", "su15", "surprise"),
        ("savee", "JE/n30.wav", "JE", "male", "n30", "neutral"),
        ("savee", "JK_q01.wav", "JK", "male", "q01", "unknown"),
    ],
)
def test_names_of_emodb_tess_and_savee(corpus, name, speaker, sex, statement, emotion):
    fields = corpora.get_corpus(corpus).parse(name)
    assert (fields["speaker"], fields["sex"]) == (speaker, sex)
    assert (fields["statement"], fields["emotion"], fields["channel"]) == (statement, emotion, "speech")


@pytest.mark.parametrize(
    ("corpus", "names"),
    [
        ("emodb", ["3a01Fa.wav", "03c01Fa.wav", "03a01fa.wav", "03a01Fab.wav", "03a1Fa.wav"]),
        ("tess", ["OAF_angry.wav", "XAF_back_angry.wav", "OAF-back-angry.wav", "MOAF_back_angry.wav"]),
        ("savee", ["a01.wav", "XX/a01.wav", "DC_a1.wav", "DC_a011.wav", "ABDC_a01.wav", "DC/x/a01.wav"]),
    ],
)
def test_names_that_are_nearly_those_of_emodb_tess_and_savee(corpus, names):
    assert not [name for name in names if corpora.get_corpus(corpus).parse(name)]


def test_the_speakers_of_savee_are_told_apart_by_their_folders(tmp_path):
    for i, name in enumerate(["DC/a01.wav", "JE/a01.wav", "ALL/DC_a01.wav", "DC/sa01.wav"]):
        write(tmp_path / name, tone(0.1, 44100, 200 + i), 44100)
    with pytest.warns(corpora.CorpusWarning, match="1 of 4 files are not used: further copies"):
        table = corpora.load("savee", tmp_path)
    assert list(table["speaker"]) == ["DC", "DC", "JE"]
    assert corpora.unmatched_files("savee", tmp_path) == []


KAGGLE = {
    "crema": "Crema/1001_DFA_ANG_XX.wav",
    "ravdess": "Ravdess/audio_speech_actors_01-24/Actor_01/03-01-03-01-01-01-01.wav",
    "savee": "Savee/DC_a01.wav",
    "tess": "Tess/OAF_Pleasant_surprise/OAF_back_ps.wav",
}


@pytest.mark.parametrize("above", ["", "archive", "Speech Emotion/archive"])
@pytest.mark.parametrize("change", [str, str.upper, str.lower])
def test_the_corpora_in_one_archive_are_found(tmp_path, monkeypatch, above, change):
    for name in KAGGLE.values():
        folder, _, rest = name.partition("/")
        write(tmp_path / above / change(folder) / rest, tone(0.1, 16000), 16000)
    monkeypatch.setenv("SERNB_DATA", str(tmp_path))
    for corpus in KAGGLE:
        assert len(corpora.load(corpus)) == 1
    listed = CliRunner().invoke(cli.app, ["corpora"]).stdout
    assert listed.count(str(tmp_path)) == 4 and listed.count("not found") == 2  # emodb and local


def test_a_corpus_in_folders_of_its_name_within_each_other_is_read_once(tmp_path, monkeypatch):
    for folder in ("Tess", "Tess/Tess"):
        write(tmp_path / folder / "OAF_angry" / "OAF_back_angry.wav", tone(0.1, 24414), 24414)
    monkeypatch.setenv("SERNB_DATA", str(tmp_path))
    with pytest.warns(corpora.CorpusWarning, match="1 of 2 files are not used"):
        assert len(corpora.load("tess")) == 1
    write(tmp_path / "tess" / "YAF_back_angry.wav", tone(0.1, 24414), 24414)
    assert list(corpora.load("tess")["speaker"]) == ["YAF"], "the folder with the corpus's own name comes first"


def test_labels_come_from_names_in_any_folder_and_container(tmp_path):
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


def test_a_corpus_that_is_in_its_folder_twice_is_read_once(tmp_path):
    crema_folder(tmp_path, ["1001_IEO_ANG_HI"])
    crema_folder(tmp_path / "again", ["1001_IEO_ANG_HI"])
    with pytest.warns(UserWarning, match="1 of 2 files are not used: further copies"):
        assert len(corpora.load("crema", tmp_path)) == 1


def take_folder(root):
    """One take in two folders and four files: a low sample rate, a lossy format, and a broken file."""
    name = "1001_IEO_ANG_HI"
    write(root / "AudioMP3" / f"{name}.mp3", tone(0.3, 16000), 16000)
    write(root / "a16k" / f"{name}.wav", tone(0.3, 16000), 16000)
    write(root / "b48k" / f"{name}.wav", tone(0.3, 48000), 48000)
    (root / "AudioWAV").mkdir()
    (root / "AudioWAV" / f"{name}.wav").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    write(root / "b48k" / "1002_IEO_SAD_LO.wav", tone(0.3, 48000, 300), 48000)
    return root


def test_one_file_per_take_is_used_the_readable_lossless_one_of_the_highest_rate(tmp_path):
    expected = "3 of 5 files are not used: .* b48k/1001_IEO_ANG_HI.wav is used and AudioMP3/1001_IEO_ANG_HI.mp3 is not"
    with pytest.warns(corpora.CorpusWarning, match=expected):
        table = corpora.load("crema", take_folder(tmp_path))
    assert list(table["clip"]) == ["b48k/1001_IEO_ANG_HI.wav", "b48k/1002_IEO_SAD_LO.wav"]


def test_the_modalities_of_a_ravdess_take_are_one_clip(tmp_path):
    for i, name in enumerate(["01-01-05-01-02-01-16", "02-01-05-01-02-01-16", "03-01-05-01-02-01-16"]):
        write(tmp_path / f"{name}.wav", tone(0.3, 48000, 200 + i), 48000)
    write(tmp_path / "01-01-05-01-02-02-16.wav", tone(0.3, 48000, 300), 48000)
    with pytest.warns(corpora.CorpusWarning, match="2 of 4 files are not used"):
        table = corpora.load("ravdess", tmp_path)
    assert list(table["clip"]) == ["01-01-05-01-02-02-16.wav", "03-01-05-01-02-01-16.wav"]


def test_a_local_corpus_keeps_every_line_of_its_manifest_but_identical_files_of_one_name(tmp_path):
    for name in ("x/a.wav", "y/a.wav", "b.wav"):
        write(tmp_path / name, tone(0.1, 16000), 16000)
    write(tmp_path / "b.flac", tone(0.1, 16000), 16000)
    lines = [f"{name},sad,P1" for name in ("x/a.wav", "y/a.wav", "b.wav", "b.flac")]
    (tmp_path / "manifest.csv").write_text("\n".join(["file,emotion,speaker", *lines]))
    with pytest.warns(corpora.CorpusWarning, match=r"1 of 4 files are not used: [^.]*\.$"):
        table = corpora.load("local", tmp_path)
    assert list(table["clip"]) == ["b.flac", "b.wav", "x/a.wav"]


@pytest.mark.slow
def test_a_warning_shows_neither_code_nor_a_path(tmp_path):
    code = f"from sernb import corpora; corpora.load('crema', {str(take_folder(tmp_path))!r})"
    error = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert error.startswith("sernb.corpora.load:0: CorpusWarning: 3 of 5 files are not used")
    assert len(error.splitlines()) == 1 and str(tmp_path) not in error
    command = [sys.executable, "-m", "sernb", "check", "crema", "--data-dir", str(tmp_path)]
    error = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert error.startswith("sernb: 3 of 5 files are not used") and len(error.splitlines()) == 1


@pytest.mark.parametrize("suffix", [".m4a", ".webm", ".aac", ".wma", ".MP4"])
def test_clips_in_formats_that_cannot_be_read_are_listed_with_the_command_that_converts_them(tmp_path, suffix):
    name = f"a b/03-01-05-01-02-01-16{suffix}"
    (tmp_path / "a b").mkdir()
    (tmp_path / name).write_bytes(b"ftyp")
    (tmp_path / f"holiday{suffix}").write_bytes(b"ftyp")
    command = f"`ffmpeg -i '{name}' 'a b/03-01-05-01-02-01-16.wav'`"
    with pytest.raises(corpora.CorpusError, match=f"no readable clip. 1 file is named like .*: {name}. .*{command}"):
        corpora.load("ravdess", tmp_path)
    write(tmp_path / "03-01-01-01-01-01-01.wav", tone(0.3, 16000), 16000)
    with pytest.warns(corpora.CorpusWarning, match=f"1 file is named like .*{name}. Convert to WAV.*{command}"):
        assert len(corpora.load("ravdess", tmp_path)) == 1
    with pytest.warns(corpora.CorpusWarning):
        result = CliRunner().invoke(cli.app, ["check", "ravdess", "--data-dir", str(tmp_path)])
    assert f"  holiday{suffix}" in result.stdout and name not in result.stdout


def test_videos_of_takes_that_can_be_read_are_not_mentioned(tmp_path, recwarn):
    write(tmp_path / "03-01-05-01-02-01-16.wav", tone(0.3, 48000), 48000)
    for name in ("01-01-05-01-02-01-16.mp4", "02-01-05-01-02-02-16.mp4"):
        (tmp_path / name).write_bytes(b"ftyp")
    assert len(corpora.load("ravdess", tmp_path)) == 1 and not recwarn.list


def test_recordings_of_a_local_corpus_that_cannot_be_read_are_listed_as_unmatched(tmp_path):
    local_corpus(tmp_path, ["a.wav,sad,P1", "b.wav,sad,P1", "ü 1.wav,sad,P1"])
    (tmp_path / "phone.m4a").write_bytes(b"ftyp")
    assert corpora.unmatched_files("local", tmp_path) == ["phone.m4a"]


def test_a_folder_that_still_contains_the_archive_gets_a_hint(tmp_path):
    (tmp_path / "Audio_Speech_Actors_01-24.zip").touch()
    with pytest.raises(corpora.CorpusError, match=r"Audio_Speech_Actors_01-24.zip is not unpacked: unpack it in this"):
        corpora.load("ravdess", tmp_path)
    with pytest.raises(corpora.CorpusError, match=r"is a file, not a folder: unpack it"):
        corpora.load("ravdess", tmp_path / "Audio_Speech_Actors_01-24.zip")


SHEET = "ActorID,Age,Sex,Race,Ethnicity"
WRONG_SHEETS = [
    ((SHEET + "\n1001,51,Male,Español,y\n").encode("cp1252"), "cannot be read: 'utf-8' codec.*Save it as"),
    (b"", "cannot be read: No columns.*Save it as"),
    (f"{SHEET}\n1001,51,Male,x,y,z,z\n".encode(), "cannot be read: Expected 5 fields in line 2, saw 7"),
    (f"{SHEET}\n1001,51,Male,x,y\n1001,51,Female,x,y\n".encode(), "lines of actor 1001 contradict each other"),
    (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "no column for age, sex, speaker; expected ActorID",
    ),
]


@pytest.mark.parametrize(("content", "message"), WRONG_SHEETS)
def test_a_wrong_table_of_actors_is_refused_in_one_sentence(tmp_path, content, message):
    crema_folder(tmp_path, ["1001_IEO_ANG_HI"])
    (tmp_path / "VideoDemographics.csv").write_bytes(content)
    with pytest.raises(corpora.CorpusError, match=f"VideoDemographics.csv.*{message}"):
        corpora.load("crema", tmp_path)


def test_a_repeated_or_short_line_in_the_table_of_actors_counts_no_clip_twice(tmp_path):
    crema_folder(tmp_path, ["1001_IEO_ANG_HI", "1001_IEO_SAD_HI", "1002_IEO_ANG_HI"])
    (tmp_path / "VideoDemographics.csv").write_text(f"{SHEET}\n1001,51,Male,x,y\n\n1001,51,Male,x,y\n1002,21\n")
    table = corpora.load("crema", tmp_path)
    assert list(table["sex"]) == ["male", "male", ""]
    assert list(corpora.speaker_table(table, tmp_path)["clips"]) == [2, 1]


def test_a_folder_without_clips_is_described_with_what_is_expected(tmp_path):
    crema_folder(tmp_path, ["one", "two", "three"])
    with pytest.raises(corpora.CorpusError, match=r"one.wav.*three.wav.*1001_IEO_ANG_HI.wav"):
        corpora.load("crema", tmp_path)


def test_errors_say_what_would_be_right(tmp_path, monkeypatch):
    monkeypatch.delenv("SERNB_DATA", raising=False)
    with pytest.raises(corpora.CorpusError, match="crema, ravdess, emodb, tess, savee, local"):
        corpora.load("cremad")
    with pytest.raises(corpora.CorpusError, match="SERNB_DATA.*`sernb fetch ravdess` downloads it"):
        corpora.load("ravdess")
    with pytest.raises(corpora.CorpusError, match="SERNB_DATA.*import one with 06_listen.ipynb.$"):
        corpora.load("local")
    with pytest.raises(corpora.CorpusError, match="no such folder"):
        corpora.load("ravdess", tmp_path / "nowhere")
    crema_folder(tmp_path, ["1001_IEO_ANG_HI"])
    with pytest.raises(corpora.CorpusError, match="all, speech, song"):
        corpora.load("crema", tmp_path, channel="sung")
    with pytest.raises(corpora.CorpusError, match="angry, bored, calm"):
        corpora.load("crema", tmp_path, emotions=["anger"])


def test_an_emotion_that_no_clip_has_is_refused(tmp_path):
    crema_folder(tmp_path, ["1001_IEO_ANG_HI", "1001_IEO_SAD_HI", "1002_IEO_HAP_HI"])
    selected = corpora.load("crema", tmp_path, emotions=["angry", "sad", "unknown"], max_clips=1)
    assert len(selected) == 1, "fewer clips than emotions were asked for"
    with pytest.raises(corpora.CorpusError, match="no clip of crema is surprise. Its emotions: angry, happy, sad."):
        corpora.load("crema", tmp_path, emotions=["angry", "surprise"])
    with pytest.raises(corpora.CorpusError, match="no clip of crema with CHANNEL 'speech' is calm or surprise. "):
        corpora.load("crema", tmp_path, emotions=["calm", "sad", "surprise"], channel="speech")


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


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("has_setting", [False, True])
def test_a_manifest_of_a_european_spreadsheet_is_read(tmp_path, separator, has_setting):
    lines = ["file;emotion;speaker;condition", 'ü 1.wav;sad;P1;"mild; early"', "a.wav;calm;P2;a, b"]
    lines = [line.replace(";", separator) for line in lines]
    header, *rows = [f"sep={separator}"] * has_setting + lines
    table = corpora.load("local", local_corpus(tmp_path, rows, header)).set_index("clip")
    assert table["condition"].to_dict() == {"a.wav": "a, b", "ü 1.wav": f"mild{separator} early"}
    assert table["speaker"].to_dict() == {"a.wav": "P2", "ü 1.wav": "P1"}


WRONG_MANIFESTS = [
    (["a.wav,sad"], "file,emotion", r"line 1: missing from the columns: speaker\. .*file,emotion,speaker"),
    (["a.wav,sad,P1", "z.wav,sad,P1"], None, r"line 3: there is no file 'z.wav'"),
    (["a.wav,sadd,P1"], None, r"line 2: unknown emotion 'sadd'; did you mean 'sad'"),
    (["a.wav,,P1"], None, r"line 2: no emotion; write unknown if it is not known"),
    (["a.wav,truth,P1"], None, r"line 2: 'truth' cannot be an emotion, because tables have a column"),
    (["a.wav,x/y,P1"], None, r"line 2: 'x/y' cannot be an emotion; use a word of letters"),
    (["a.wav,Pain,P1", "b.wav,pain,P1"], None, r"line 3: emotion 'pain' was spelt 'Pain' above"),
    (["a.wav,sad,P1", "b.wav,sad,P1", "a.wav,sad,P1"], None, r"line 4: 'a.wav' is already listed in line 2"),
    (["../a.wav,sad,P1"], None, r"line 2: '../a.wav' is outside the corpus folder"),
    (["a.wav,sad, "], None, r"line 2: no speaker"),
    (["", "", "a.wav,sadd,P1"], None, r"line 4: unknown emotion"),
    ([], None, r"there is no line below the header"),
    (["a.wav,sad,P1", "b.wav,sad,P1,x,y,z"], None, r"manifest.csv cannot be read.*line 3"),
    (
        ["a.wav,sad,P1,P2"],
        "file,emotion,speaker,speaker",
        r"line 1: two columns are called 'speaker'; rename or delete",
    ),
    (["file;emotion;speaker", "a.wav;sadd;P1"], "sep=;", r"line 3: unknown emotion 'sadd'"),
    (
        ["a.wav|sad|P1"],
        "file|emotion|speaker",
        r"line 1: missing from the columns: file, emotion, speaker\. The columns are file",
    ),
    (["A.WAV,sad,P1"], None, r"line 2: there is no file 'A.WAV' in .*Did you mean 'a.wav'\?"),
    ([r".\a.wav,sad,P1"], None, r"line 2: there is no file '.\\\\a.wav'"),
    (["a.wav,anger,P1"], None, r"line 2: unknown emotion 'anger'; did you mean 'angry'"),
    (["a.wav,suprise,P1"], None, r"line 2: unknown emotion 'suprise'; did you mean 'surprise'"),
]


@pytest.mark.parametrize(("rows", "header", "message"), WRONG_MANIFESTS)
def test_a_wrong_manifest_is_refused_with_the_line_and_what_would_be_right(tmp_path, rows, header, message):
    with pytest.raises(corpora.CorpusError, match=message):
        corpora.load("local", local_corpus(tmp_path, rows, header or "file,emotion,speaker"))


def test_a_manifest_may_use_words_of_its_own(tmp_path):
    table = corpora.load("local", local_corpus(tmp_path, ["a.wav,pain,P1", "b.wav,sad,P1", "ü 1.wav,Ängstlich,P2"]))
    assert corpora.emotion_labels(table) == ["pain", "sad", "Ängstlich"]
    chosen = corpora.load("local", tmp_path, emotions=["pain", "sad"])
    assert list(chosen["emotion"]) == ["pain", "sad"]
    with pytest.raises(corpora.CorpusError, match="'joy'; use angry, .*, unknown, pain, Ängstlich"):
        corpora.load("local", tmp_path, emotions=["joy"])


def test_a_missing_manifest(tmp_path):
    (tmp_path / "corpus.zip").touch()
    with pytest.raises(corpora.CorpusError, match="file,emotion,speaker.* corpus.zip is not unpacked"):
        corpora.load("local", tmp_path)


def test_backslashes_in_a_manifest_get_a_hint(tmp_path):
    write(tmp_path / "audio" / "a.wav", tone(0.1, 16000), 16000)
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker\naudio\\a.wav,sad,P1\n")
    with pytest.raises(corpora.CorpusError, match=r"Did you mean 'audio/a.wav'\?"):
        corpora.load("local", tmp_path)


def test_a_manifest_may_name_files_by_absolute_path_or_other_accents(tmp_path):
    """The manifest has NFC or NFD, the disk the other; one path goes through a link to the corpus folder."""
    folder, link = tmp_path / "corpus", tmp_path / "link"
    names = [unicodedata.normalize("NFD", "é/ü 1.wav"), unicodedata.normalize("NFC", "é2.wav"), "c.wav", "d.wav"]
    for i, name in enumerate(names):
        write(folder / name, tone(0.1, 16000, 200 + i), 16000)
    link.symlink_to(folder)
    listed = [
        unicodedata.normalize("NFC", names[0]), unicodedata.normalize("NFD", names[1]), folder / "c.wav",
        link / "x" / ".." / "d.wav",
    ]  # fmt: skip
    lines = [f"{name},sad,P{i}" for i, name in enumerate(listed)]
    (folder / "manifest.csv").write_text("\n".join(["file,emotion,speaker", *lines]), encoding="utf-8")
    table = corpora.load("local", folder)
    assert list(table["clip"]) == ["c.wav", "d.wav", *sorted(["é/ü 1.wav", "é2.wav"])]
    assert (corpora.check_files(table)["channels"] == 1).all()
    assert corpora.unmatched_files("local", folder) == []


def test_a_clips_id_does_not_depend_on_the_accents_of_the_file_system(tmp_path):
    tables = []
    for form in ("NFC", "NFD"):
        crema_folder(tmp_path / form / unicodedata.normalize(form, "Aufnähmen"), ["1001_IEO_ANG_HI"])
        tables.append(corpora.load("crema", tmp_path / form))
    assert tables[0]["clip"].equals(tables[1]["clip"])
    assert corpora.corpus_fingerprint(tables[0]) == corpora.corpus_fingerprint(tables[1])


def test_the_fingerprint_does_not_depend_on_the_systems_line_separator(monkeypatch):
    table = corpora.load("demo-local", max_clips=9)
    fingerprint = corpora.corpus_fingerprint(table)
    monkeypatch.setattr(os, "linesep", "\r\n")
    assert corpora.corpus_fingerprint(table) == fingerprint


@pytest.mark.parametrize("speakers", [("Anna", "anna"), ("3", "3.0"), ("3", "03"), ("A b", "Ab"), ("é", "e\u0301")])
def test_similar_speaker_ids_are_reported(tmp_path, speakers):
    rows = [
        f"{name},sad,{speaker}" for name, speaker in zip(("a.wav", "b.wav", "ü 1.wav"), (*speakers, "x"), strict=True)
    ]
    with pytest.warns(
        corpora.CorpusWarning, match="2 speaker IDs differ only in .* `sernb check local` lists them"
    ) as log:
        table = corpora.load("local", local_corpus(tmp_path, rows))
    assert corpora.similar_speakers(table) == [sorted(speakers)]
    assert "anna" not in str(log[0].message).lower(), "the ids may be private"
    result = CliRunner().invoke(cli.app, ["check", "local", "--data-dir", str(tmp_path)])
    assert (
        f"similar speaker IDs, counted as different speakers: {', '.join(map(repr, sorted(speakers)))}" in result.stdout
    )


@pytest.mark.parametrize("speaker", ["NA", "null", "None", "nan", "N/A", "<NA>", "-", "0"])
def test_any_text_is_a_speaker(tmp_path, speaker):
    table = corpora.load("local", local_corpus(tmp_path, [f"a.wav,sad,{speaker}", "b.wav,sad,P1"]))
    assert list(table["speaker"]) == [speaker, "P1"]
    assert corpora.count_by_emotion(table).loc["all", "speakers"] == 2


def test_directory_order_is_that_of_the_file_system(tmp_path, monkeypatch):
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


@pytest.mark.slow
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
def test_all_of_emodb(real):
    table = corpora.load("emodb", real("emodb"))
    assert len(table) == 535 and table["speaker"].nunique() == 10 and table["statement"].nunique() == 10
    assert table["emotion"].value_counts().to_dict() == {
        "angry": 127, "bored": 81, "neutral": 79, "happy": 71, "fear": 69, "sad": 62, "disgust": 46,
    }  # fmt: skip
    assert table["sex"].value_counts().to_dict() == {"female": 302, "male": 233}
    ages = corpora.speaker_table(table, real("emodb")).set_index("speaker")["age"]
    assert ages["09"] == 21 and ages["14"] == 35
    assert (corpora.check_files(table)["problem"] == "").all()
    assert corpora.describe_official(table).startswith("official: 535 of 535 files are present, 0 of them")


@pytest.mark.real
def test_crema_clips(real):
    table = corpora.load("crema", real("crema"))
    assert len(table) == 314 and table["speaker"].nunique() == 88
    assert set(table["sex"]) == {"male", "female"}
    assert (corpora.check_files(table)["problem"] == "").all()


def test_a_demo_corpus_is_not_read_from_a_folder(tmp_path):
    with pytest.raises(corpora.CorpusError, match="built in .*crema, ravdess, emodb, .*local.*give no folder"):
        corpora.load("demo-ravdess", tmp_path)
