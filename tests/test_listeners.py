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
    table = pd.DataFrame([{"clip": clip, **corpora.parse_crema_name(clip)} for clip in clips])
    table = table.assign(copy=0, split="test")
    copies = table.iloc[[1]].assign(copy=1)
    unlisted = table.iloc[[0]].assign(clip="9999_IEO_ANG_HI.wav")
    return pd.concat([table, copies, unlisted], ignore_index=True)


@pytest.mark.parametrize("subfolder", ["", "AudioWAV"])
def test_votes_are_joined_to_the_clips(folder, rows, subfolder):
    voted = evaluation.load_votes("crema", folder / subfolder)
    predictions = evaluation.listener_predictions(rows, voted)
    assert list(predictions)[:7] == ["model", "clip", "copy", "speaker", "split", "truth", "prediction"]
    assert predictions["clip"].tolist() == rows["clip"].tolist()[:4]  # neither the copy nor the clip without a vote
    answers = predictions.set_index("clip")["prediction"]
    assert answers["1001_IEO_SAD_HI.flac"] == "sad" and answers["AudioWAV/1002_IEO_ANG_HI.wav"] == "angry"
    assert answers["1002_IEO_HAP_HI.wav"] == "neutral"
    tie = predictions.set_index("clip").loc["1001_IEO_ANG_HI.wav"]
    assert (tie["angry"], tie["neutral"], tie["sad"]) == (0.5, 0.5, 0) and tie["prediction"] in ("angry", "neutral")


def test_listeners_compare_with_a_model(folder, rows):
    voted = evaluation.load_votes("crema", folder)
    model = rows.head(4).rename(columns={"emotion": "truth"}).assign(model="net", prediction="angry")
    votes = evaluation.listener_predictions(model, voted, ["angry", "happy", "sad"])
    assert list(votes)[-3:] == ["angry", "happy", "sad"]
    comparison = evaluation.compare_models(model, votes)
    assert comparison.rows == 4 and "for listeners" in comparison.summary
    assert evaluation.score_by(pd.concat([model, votes]), "model").index.tolist() == ["net", "listeners"]


def test_the_description_names_the_listeners_and_their_six_emotions(folder):
    voted = evaluation.load_votes("crema", folder)
    text = evaluation.describe_votes("crema", voted)
    assert "majority vote" in text and "easier" not in text
    text = evaluation.describe_votes("crema", voted, ["angry", "disgust", "happy", "sad"])
    assert "A model without fear and neutral has an easier task" in text


def test_ties_are_broken_evenly_and_repeatably():
    answers = pd.Series([listeners._break_tie(["angry", "neutral"], f"1001_IEO_ANG_{i}") for i in range(2000)])
    assert answers.value_counts(normalize=True).between(0.46, 0.54).all()
    assert listeners._break_tie(["angry", "neutral"], "1001_IEO_ANG_7") == answers[7]


def test_truth_is_replaced_by_what_listeners_heard(folder, rows):
    voted = evaluation.load_votes("crema", folder)
    model = rows.rename(columns={"emotion": "truth"}).assign(prediction="neutral")
    relabelled = evaluation.relabel_as_heard(model, voted)
    truth = relabelled.set_index(["clip", "copy"])["truth"]
    assert truth["1002_IEO_HAP_HI.wav", 0] == "neutral" and truth["1001_IEO_SAD_HI.flac", 1] == "sad"
    assert "1001_IEO_ANG_HI.wav" not in truth  # the vote is tied
    assert model["truth"].tolist().count("neutral") == 0  # the argument is not changed
    assert "neutral" not in set(evaluation.relabel_as_heard(model, voted, ["angry", "happy", "sad"])["truth"])


@pytest.mark.parametrize("corpus", ["ravdess", "demo-crema", "local"])
def test_other_corpora_have_no_listeners(rows, corpus):
    voted = evaluation.load_votes(corpus)
    assert voted.empty and "there is no row for them" in evaluation.describe_votes(corpus, voted)
    predictions = evaluation.listener_predictions(rows, voted)
    assert (
        predictions.empty
        and list(predictions) == list(evaluation.listener_predictions(rows, voted))
        and "prediction" in predictions
    )
    assert evaluation.relabel_as_heard(rows.rename(columns={"emotion": "truth"}), voted).empty


def test_the_description_says_where_a_missing_file_comes_from(tmp_path):
    voted = evaluation.load_votes("crema", tmp_path)
    assert voted.empty
    text = evaluation.describe_votes("crema", voted)
    assert "`summaryTable.csv`" in text and "CheyneyComputerScience" in text


def test_a_file_with_other_contents_is_refused(folder):
    file = folder / "summaryTable.csv"
    file.write_text(VOTES.replace('"A:N"', '"A:X"'))
    with pytest.raises(corpora.CorpusError, match="'X'; expected the letters A, D, F, H, N, S"):
        evaluation.load_votes("crema", folder)
    file.write_text("FileName,Vote\n")
    with pytest.raises(corpora.CorpusError, match="no column VoiceVote"):
        evaluation.load_votes("crema", folder)


@pytest.mark.real
def test_the_published_majority_is_reproduced_on_crema(real):
    voted = evaluation.load_votes("crema", real("crema"))
    rows = pd.DataFrame([{"clip": f"{name}.wav", **corpora.parse_crema_name(f"{name}.wav")} for name in voted.index])
    predictions = evaluation.listener_predictions(rows, voted)
    scores = evaluation.score_by(predictions, "model").loc["listeners"]
    assert (scores["rows"], scores["speakers"]) == (7442, 91)
    assert scores["accuracy"] == pytest.approx(0.45, abs=0.01)
    shared = (
        sum(predictions[emotion][predictions["truth"] == emotion].sum() for emotion in evaluation.VOTE_LETTERS.values())
        / 7442
    )
    assert scores["accuracy"] == pytest.approx(shared, abs=0.005)  # as if ties were shared out


def test_a_repeated_line_counts_its_clip_once(folder, rows):
    (folder / "summaryTable.csv").write_text(VOTES + VOTES.splitlines()[1] + "\n")
    voted = evaluation.load_votes("crema", folder)
    assert voted.index.is_unique
    assert len(evaluation.listener_predictions(rows, voted)) == 4


EMODB_VOTES = (
    "Nr.\tSatz\terkannt\tnatuerlich\n1\xa0\t03a01Fa.wav\t90,00\xa0\t75,00\n"
    "2\t03a01Wa.wav\t96,67\t80,00\n3\t03a01Lb.wav\t70,00\t35,00\n"
)


@pytest.mark.parametrize("subfolder", ["", "wav"])
def test_emodbs_listeners_are_described_and_are_no_model(tmp_path, subfolder):
    (tmp_path / "wav").mkdir()
    (tmp_path / "erkennung.txt").write_bytes(EMODB_VOTES.encode("latin-1"))
    voted = evaluation.load_votes("emodb", tmp_path / subfolder)
    assert voted.loc["03a01Wa"].to_dict() == {
        "vote": "angry", "answer": "angry", "recognised": pytest.approx(0.9667), "natural": 0.8,
    }  # fmt: skip
    text = evaluation.describe_votes("emodb", voted, ["angry", "bored", "happy"])
    assert "in 93% of cases" in text and "from 90% for happy to 97% for angry" in text and "no row" in text
    assert "judged none of the emotions" in evaluation.describe_votes("emodb", voted, ["calm", "surprise"])
    rows = pd.DataFrame([{"clip": "wav/03a01Fa.wav", "speaker": "03", "emotion": "happy"}])
    assert evaluation.listener_predictions(rows, voted, ["angry", "happy"]).empty


def test_emodb_without_its_listeners_and_with_another_table(tmp_path):
    (tmp_path / "wav").mkdir()
    voted = evaluation.load_votes("emodb", tmp_path)
    assert voted.empty and "is in download.zip of emodb.bilderbar.info" in evaluation.describe_votes("emodb", voted)
    for content in ("FileName,VoiceVote\n", "Satz\terkannt\tnatuerlich\n03a01Fa.wav\tviel\t1\n", ""):
        (tmp_path / "erkennung.txt").write_text(content)
        with pytest.raises(corpora.CorpusError, match=r"erkennung.txt: not the table of EmoDB's listeners"):
            evaluation.load_votes("emodb", tmp_path)


@pytest.mark.real
def test_the_listeners_of_all_of_emodb(real):
    voted = evaluation.load_votes("emodb", real("emodb"))
    clips = corpora.load("emodb", real("emodb"))
    shares = voted.loc[clips["clip"].map(lambda clip: Path(clip).stem), "recognised"]
    assert len(shares) == 535 and shares.min() == 0.8 and shares.mean() == pytest.approx(0.935, abs=0.001)
