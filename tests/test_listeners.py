"""Listeners as a row: their votes for the very clips that a model was tested on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sernb import corpora
from sernb import evaluation
from sernb.evaluation import listeners

VOTES = """"","FileName","VoiceVote","VoiceLevel"
"1","1001_IEO_SAD_HI","S","69.1"
"2","1001_IEO_ANG_HI","A:N","71.6"
"3","1002_IEO_HAP_HI","N","50"
"4","1002_IEO_ANG_HI","A","90"
"""


@pytest.fixture
def folder(tmp_path: Path):
    (tmp_path / "AudioWAV").mkdir()
    (tmp_path / "summaryTable.csv").write_text(VOTES)
    return tmp_path


@pytest.fixture
def rows():
    clips = ["AudioWAV/1002_IEO_ANG_HI.wav", "1001_IEO_SAD_HI.flac", "1001_IEO_ANG_HI.wav", "1002_IEO_HAP_HI.wav"]
    told = pd.DataFrame([{"clip": clip, **corpora.parse_crema_name(clip)} for clip in clips]).assign(
        copy=0, split="test"
    )
    copies = told.iloc[[1]].assign(copy=1)
    stranger = told.iloc[[0]].assign(clip="9999_IEO_ANG_HI.wav")
    return pd.concat([told, copies, stranger], ignore_index=True)


@pytest.mark.parametrize("given", ["", "AudioWAV"])
def test_the_votes_are_of_the_very_clips(folder, rows, given):
    voted = evaluation.load_votes("crema", folder / given)
    told = evaluation.listener_predictions(rows, voted)
    assert list(told)[:7] == ["model", "clip", "copy", "speaker", "split", "truth", "prediction"]
    assert told["clip"].tolist() == rows["clip"].tolist()[:4]  # neither the copy nor the clip without a vote
    answers = told.set_index("clip")["prediction"]
    assert answers["1001_IEO_SAD_HI.flac"] == "sad" and answers["AudioWAV/1002_IEO_ANG_HI.wav"] == "angry"
    assert answers["1002_IEO_HAP_HI.wav"] == "neutral"
    tie = told.set_index("clip").loc["1001_IEO_ANG_HI.wav"]
    assert (tie["angry"], tie["neutral"], tie["sad"]) == (0.5, 0.5, 0) and tie["prediction"] in ("angry", "neutral")


def test_listeners_compare_with_a_model(folder, rows):
    voted = evaluation.load_votes("crema", folder)
    model = rows.head(4).rename(columns={"emotion": "truth"}).assign(model="net", prediction="angry")
    heard = evaluation.listener_predictions(model, voted, ["angry", "happy", "sad"])
    assert list(heard)[-3:] == ["angry", "happy", "sad"]
    found = evaluation.compare_models(model, heard)
    assert found.rows == 4 and "for listeners" in found.said
    assert evaluation.score_by(pd.concat([model, heard]), "model").index.tolist() == ["net", "listeners"]


def test_the_page_says_who_listened_and_that_they_had_six_emotions(folder):
    voted = evaluation.load_votes("crema", folder)
    assert "majority vote" in evaluation.describe_votes("crema", voted) and "easier" not in evaluation.describe_votes(
        "crema", voted
    )
    assert "no fear and no neutral has an easier" in evaluation.describe_votes(
        "crema", voted, ["angry", "disgust", "happy", "sad"]
    )


def test_a_tie_gives_each_emotion_its_share_and_a_clip_always_the_same():
    answers = pd.Series([listeners._break_tie(["angry", "neutral"], f"1001_IEO_ANG_{i}") for i in range(2000)])
    assert answers.value_counts(normalize=True).between(0.46, 0.54).all()
    assert listeners._break_tie(["angry", "neutral"], "1001_IEO_ANG_7") == answers[7]


def test_what_was_heard_takes_the_place_of_what_was_meant(folder, rows):
    voted = evaluation.load_votes("crema", folder)
    model = rows.rename(columns={"emotion": "truth"}).assign(prediction="neutral")
    heard = evaluation.relabel_as_heard(model, voted)
    truth = heard.set_index(["clip", "copy"])["truth"]
    assert truth["1002_IEO_HAP_HI.wav", 0] == "neutral" and truth["1001_IEO_SAD_HI.flac", 1] == "sad"
    assert "1001_IEO_ANG_HI.wav" not in truth  # listeners were divided
    assert model["truth"].tolist().count("neutral") == 0  # the table given is left as it was
    assert "neutral" not in set(evaluation.relabel_as_heard(model, voted, ["angry", "happy", "sad"])["truth"])


@pytest.mark.parametrize("corpus", ["ravdess", "demo-crema", "local"])
def test_other_corpora_have_no_listeners_and_the_page_says_so(rows, corpus):
    voted = evaluation.load_votes(corpus)
    assert voted.empty and "no row for them" in evaluation.describe_votes(corpus, voted)
    told = evaluation.listener_predictions(rows, voted)
    assert told.empty and list(told) == list(evaluation.listener_predictions(rows, voted)) and "prediction" in told
    assert evaluation.relabel_as_heard(rows.rename(columns={"emotion": "truth"}), voted).empty


def test_where_the_file_is_missing_the_page_says_where_it_comes_from(tmp_path):
    voted = evaluation.load_votes("crema", tmp_path)
    assert voted.empty
    assert (
        "`summaryTable.csv`" in (said := evaluation.describe_votes("crema", voted)) and "CheyneyComputerScience" in said
    )


def test_another_file_of_that_name_is_refused(folder):
    file = folder / "summaryTable.csv"
    file.write_text(VOTES.replace('"A:N"', '"A:X"'))
    with pytest.raises(corpora.CorpusError, match="'X'; expected the letters A, D, F, H, N, S"):
        evaluation.load_votes("crema", folder)
    file.write_text("FileName,Vote\n")
    with pytest.raises(corpora.CorpusError, match="no column VoiceVote"):
        evaluation.load_votes("crema", folder)


@pytest.mark.real
def test_the_published_majority_comes_out_on_all_of_crema(real):
    voted = evaluation.load_votes("crema", real("crema"))
    rows = pd.DataFrame([{"clip": f"{name}.wav", **corpora.parse_crema_name(f"{name}.wav")} for name in voted.index])
    told = evaluation.listener_predictions(rows, voted)
    found = evaluation.score_by(told, "model").loc["listeners"]
    assert (found["rows"], found["speakers"]) == (7442, 91)
    assert found["accuracy"] == pytest.approx(0.45, abs=0.01)
    shared = sum(told[emotion][told["truth"] == emotion].sum() for emotion in evaluation.VOTE_LETTERS.values()) / 7442
    assert found["accuracy"] == pytest.approx(shared, abs=0.005)  # as if ties were shared out


def test_a_repeated_line_counts_its_clip_once(folder, rows):
    (folder / "summaryTable.csv").write_text(VOTES + VOTES.splitlines()[1] + "\n")
    voted = evaluation.load_votes("crema", folder)
    assert voted.index.is_unique
    assert len(evaluation.listener_predictions(rows, voted)) == 4
