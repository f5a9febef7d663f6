"""Labels of Audacity and Praat: read, written, and used to cut a long recording into clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

from sernb import audio
from sernb import cli
from sernb import corpora
from sernb import results

AUDACITY = "0.500000\t1.500000\tangry\n\\\t100.0\t2000.0\n2,0\t3,25\tjoyful\n3.5\t3.5\tsad\n4\t5\t\n"
SHORT_TEXTGRID = """\
File type = "ooTextFile"
Object class = "TextGrid"

0
6
<exists>
2
"IntervalTier"
"S01"
0
6
3
0
1
""
1
2.5
"angry"
2.5
6
"a ""quoted"" word"
"TextTier"
"notes"
0
6
1
4
"cough"
"""
PARTS = pd.DataFrame(
    {"tier": ["S01", "S01", "S02"], "start": [0.5, 2.0, 1.0], "end": [1.5, 3.0, 2.0], "label": ["sad", "Ärger", "calm"]}
)


def session(folder: Path, seconds: float = 6.0) -> Path:
    """A long recording whose samples count up: each part tells where it was cut."""
    folder.mkdir(exist_ok=True)
    signal = np.arange(int(seconds * 8000), dtype=np.float32) / (seconds * 8000)
    soundfile.write(folder / "session.flac", signal, 8000)
    return folder / "session.flac"


def run_sernb(*words: str | Path):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def test_an_audacity_label_track_is_read(tmp_path: Path):
    (tmp_path / "labels.txt").write_text(AUDACITY, encoding="utf-8")
    table = audio.read_annotations(tmp_path / "labels.txt")
    assert table["label"].tolist() == ["angry", "joyful", "sad"], "without an empty label, and without frequencies"
    assert table[["start", "end"]].to_numpy().tolist() == [[0.5, 1.5], [2.0, 3.25], [3.5, 3.5]]
    (tmp_path / "wrong.txt").write_text("0.5\t1.5\tsad\nno times here\n")
    with pytest.raises(audio.AnnotationError, match=r"wrong.txt, line 2: expected start, end and label"):
        audio.read_annotations(tmp_path / "wrong.txt")
    with pytest.raises(audio.AnnotationError, match="cannot be read: No such file"):
        audio.read_annotations(tmp_path / "missing.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_textgrid_is_read_in_the_short_format_and_in_praats_encodings(tmp_path: Path, encoding: str):
    path = tmp_path / "a.TextGrid"
    path.write_text(SHORT_TEXTGRID.replace("angry", "Ärger"), encoding=encoding)
    table = audio.read_annotations(path)
    assert table.to_dict("list") == {
        "tier": ["S01", "S01", "notes"],
        "start": [1.0, 2.5, 4.0],
        "end": [2.5, 6.0, 4.0],
        "label": ["Ärger", 'a "quoted" word', "cough"],
    }


def test_a_file_that_is_no_textgrid_is_named(tmp_path: Path):
    for content in ("hello", ""):
        (tmp_path / "bad.TextGrid").write_text(content)
        with pytest.raises(audio.AnnotationError, match="bad.TextGrid is not a TextGrid"):
            audio.read_annotations(tmp_path / "bad.TextGrid")


@pytest.mark.parametrize("name", ["labels.txt", "labels.TextGrid"])
def test_labels_are_read_as_they_were_written_and_never_overwritten(tmp_path: Path, name: str):
    audio.write_annotations(tmp_path / name, PARTS, 6.0)
    table = audio.read_annotations(tmp_path / name)
    assert table[["start", "end", "label"]].equals(PARTS[["start", "end", "label"]])
    assert set(table["tier"]) == ({"S01", "S02"} if name.endswith("TextGrid") else {""})
    with pytest.raises(audio.AnnotationError, match="exists already"):
        audio.write_annotations(tmp_path / name, PARTS, 6.0)


def test_a_session_is_cut_into_a_corpus(tmp_path: Path):
    recording = session(tmp_path / "session")
    lines = ("1\t2\tang", "2.5\t3.0\tX", "3.5\t3.5\tsad", "5\t9\tsad", "4\t4.5\tz?z", "6.02\t6.05\tsad")
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    words = ("cut", recording, tmp_path / "labels.txt", tmp_path / "corpus", "--speaker", "S01", "--codes", "X=fear")
    result = run_sernb(*words)
    assert result.exit_code == 2 and "--agreed" in result.output and not (tmp_path / "corpus").exists()
    result = run_sernb(*words, "--agreed", "--tier", "mood")
    assert result.exit_code == 2 and "'mood'" in result.output and not (tmp_path / "corpus").exists()
    result = run_sernb(*words, "--agreed")
    assert result.exit_code == 0, result.output
    for reason in ("a point, without a length", "outside the recording, which is 6.00 s long", "2 of 6 labels"):
        assert reason in result.stdout
    table = corpora.load("local", tmp_path / "corpus")
    assert dict(zip(table["emotion"], table["speaker"], strict=True)) == {"angry": "S01", "fear": "S01"}
    signal, rate = soundfile.read(table.loc[table["emotion"] == "angry", "path"].iloc[0])
    assert rate == 8000 and len(signal) == 8000 and np.allclose(signal[[0, -1]], [1 / 6, 2 / 6], atol=1e-3)
    assert corpora.active_consents(tmp_path / "corpus")["publish"].tolist() == ["no"]
    assert "in the corpus already" in run_sernb(*words, "--agreed").stdout, "a repeated cut adds nothing"
    assert len(corpora.load("local", tmp_path / "corpus")) == 2


def test_each_tier_of_a_textgrid_is_a_speaker(tmp_path: Path):
    recording = session(tmp_path / "session")
    cut = corpora.cut_session(recording, PARTS.assign(label=["sad", "angry", "calm"]), tmp_path / "corpus")
    assert (cut["kept"] != "").all() and corpora.read_manifest(tmp_path / "corpus")["speaker"].tolist() == [
        "S01",
        "S01",
        "S02",
    ]
    cut = corpora.cut_session(recording, PARTS.assign(tier="Mary"), tmp_path / "other")
    assert cut["problem"].str.contains("may be a name").all()
    with pytest.raises(audio.AudioError, match="nothing.wav"):
        corpora.cut_session(tmp_path / "nothing.wav", PARTS, tmp_path / "other")


def test_windows_with_the_same_prediction_become_one_part():
    index = pd.Index([1.0, 1.25, 1.5, 1.75], name="seconds")
    windows = pd.DataFrame({"sad": [0.9, 0.7, 0.2, np.nan], "happy": [0.1, 0.3, 0.8, np.nan]}, index=index)
    parts = results.merge_windows(windows)
    assert parts.to_dict("list") == {
        "tier": ["prediction"] * 2,
        "start": [0.0, 1.375],
        "end": [1.375, 1.625],
        "label": ["sad", "happy"],
        "probability": [0.8, 0.8],
    }
    assert results.merge_windows(windows.iloc[:3])["end"].iloc[-1] == 2.5
