from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import tone
from conftest import write

from sernb import corpora
from sernb import imports
from sernb import local

EMOTIONS = ("angry", "sad", "happy")


def odd_folder(folder: Path) -> Path:
    """27 files as people have them: other containers, rates, capitals, spaces and accents; and five unusable."""
    kinds = [(".wav", 44100), (".WAV", 8000), (".flac", 48000), (".ogg", 16000), (".aiff", 22050), (".mp3", 44100)]
    names = ["Zoë", "José María", "p3", "Li"]
    for i in range(22):
        (suffix, rate), name = kinds[i % 6], names[i % 4]
        write(folder / f"{name}_{EMOTIONS[i % 3][:3].upper()}_{i:02}{suffix}", tone(0.3, rate, 150 + 10 * i), rate)
    (folder / "p3_SAD_90.wav").write_text("no audio")
    (folder / "p3_SAD_91.wav").touch()
    (folder / "p3_SAD_92.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    (folder / "notes on the patients.txt").write_text("private")
    shutil.copy(folder / "p3_HAP_02.flac", folder / "p3_HAP_93.flac")
    (folder / ".DS_Store").write_text("of the system's")
    return folder


def test_an_odd_folder_comes_in_whole_and_rejects_by_name(tmp_path):
    listed = imports.listing(odd_folder(tmp_path / "old"))
    assert len(listed) == 27
    pattern = imports.suggest(listed["file"])
    assert pattern == "{speaker}_{emotion}_{n}"
    labels = imports.guess(listed["file"], pattern)
    names = imports.pseudonyms([name for name in labels["speaker"] if name], tmp_path / "mine")
    assert sorted(names) == ["José María", "Li", "Zoë", "p3"] and names["p3"] == "p3"
    labels["speaker"] = labels["speaker"].map(names).fillna("")
    done = imports.take_in(listed.join(labels), tmp_path / "mine")
    table = corpora.load("local", tmp_path / "mine")
    assert len(table) == 22 and (corpora.check(table)["problem"] == "").all()
    assert set(table["emotion"]) == set(EMOTIONS) and table["speaker"].nunique() == 4
    assert not table["clip"].str.contains("Zo|Jos|Li_").any(), "a file's name tells no person's name"
    rejected = done[done["kept"] == ""].set_index("file")["problem"]
    assert len(rejected) == 5
    for file in ("p3_SAD_90.wav", "p3_SAD_92.m4a", "notes on the patients.txt"):
        assert "cannot be decoded" in rejected[file] and str(tmp_path) not in rejected[file]
    assert "p3_HAP_02.flac" in rejected["p3_HAP_93.flac"]
    kept = done[done["kept"] != ""]
    assert corpora.digests([tmp_path / "mine" / file for file in kept["kept"]]) == list(kept["sha256"])
    assert set(local.consents(tmp_path / "mine")["speaker"]) == set(table["speaker"])
    again = imports.take_in(listed.join(labels), tmp_path / "mine")
    assert (again["kept"] == "").all() and len(corpora.load("local", tmp_path / "mine")) == 22


def test_a_folder_becomes_a_corpus_where_it_lies(tmp_path):
    write(tmp_path / "P1" / "ang_1.wav", tone(0.2, 8000), 8000)
    write(tmp_path / "P2" / "sad_1.wav", tone(0.2, 8000, 300), 8000)
    listed = imports.listing(tmp_path)
    found = listed.join(imports.guess(listed["file"], imports.suggest(listed["file"])))
    assert list(imports.take_in(found, tmp_path)["kept"]) == ["P1/ang_1.wav", "P2/sad_1.wav"]
    assert list(corpora.load("local", tmp_path)["speaker"]) == ["P1", "P2"]
    assert len(list(tmp_path.rglob("*.wav"))) == 2, "nothing is copied"


@pytest.mark.parametrize(
    ("name", "pattern", "speaker", "emotion"),
    [
        ("P_01_sad_3.wav", "{speaker}_{emotion}_{n}", "P_01", "sad"),
        ("OAF_back_ps.wav", "{speaker}_{skip}_{emotion}", "OAF", "surprise"),
        ("03a01Fa.wav", "{speaker:2}{statement:3}{emotion:1}{skip}", "03", "happy"),
        ("deep/er/S7/Anger 2.WAV", "{speaker}/{emotion} {n}", "S7", "angry"),
        ("03-01-06-01-02-01-12.wav", "ravdess", "12", "fear"),
        ("1001_DFA_DIS_XX.wav", "crema", "1001", "disgust"),
        ("x (copy).wav", "{speaker}_{emotion}", "", "unknown"),
    ],
)
def test_patterns_read_names(name, pattern, speaker, emotion):
    (row,) = imports.guess([name], pattern, imports.codes("F=happy; W=angry")).to_dict("records")
    assert (row["speaker"], row["emotion"]) == (speaker, emotion)
    assert bool(row["note"]) == (speaker == "")


def test_an_unknown_code_is_asked_about():
    (row,) = imports.guess(["S1_XYZ_1.wav"], "{speaker}_{emotion}_{n}").to_dict("records")
    assert row["emotion"] == "unknown" and "'XYZ'" in row["note"]


@pytest.mark.parametrize("pattern", ["{speaker}_{mood}", "{speaker}_{speaker}"])
def test_a_wrong_pattern_is_refused_in_words(pattern):
    with pytest.raises(imports.ImportPatternError, match="speaker, emotion, sex"):
        imports.guess(["a.wav"], pattern)


@pytest.mark.parametrize("text", ["W", "W=angr"])
def test_a_wrong_code_is_refused_in_words(text):
    with pytest.raises(imports.ImportPatternError, match="code=emotion"):
        imports.codes(text)


def test_a_missing_or_empty_folder(tmp_path):
    for folder, says in ((tmp_path, "no file"), (tmp_path / "x", "no such folder")):
        with pytest.raises(local.LocalError, match=says):
            imports.listing(folder)


def test_a_name_in_the_speakers_column_is_not_written(tmp_path):
    write(tmp_path / "a.wav", tone(0.2, 8000), 8000)
    found = imports.listing(tmp_path).join(pd.DataFrame([{"speaker": "Anna", "emotion": "sad"}]))
    (problem,) = imports.take_in(found, tmp_path / "mine")["problem"]
    assert "'Anna'" in problem and not (tmp_path / "mine" / "manifest.csv").exists()
