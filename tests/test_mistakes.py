"""Players of the largest confusions."""

from __future__ import annotations

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from support.audio_files import tone
from support.audio_files import write

from sernb import corpora
from sernb import display

# clip, truth, prediction and the probability of the prediction
ANSWERS = [
    ("a1", "angry", "happy", 0.6),
    ("a2", "angry", "happy", 0.9),
    ("a3", "angry", "happy", 0.7),
    ("a4", "angry", "angry", 0.8),
    ("h1", "happy", "angry", 0.5),
    ("h2", "happy", "angry", 0.4),
    ("h3", "happy", "sad", 0.99),
    ("s1", "sad", "happy", 0.45),
    ("s2", "sad", "sad", 0.95),
]


def predict(answers=ANSWERS) -> pd.DataFrame:
    labels = ["angry", "happy", "sad"]
    rows = [
        {"clip": clip, "speaker": "01", "truth": truth, "prediction": prediction}
        | {label: p if label == prediction else (1 - p) / 2 for label in labels}
        for clip, truth, prediction, p in answers
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> pd.DataFrame:
    """Return a clip table of a public corpus with a tone for each clip."""
    folder = tmp_path_factory.mktemp("clips")
    names = [answer[0] for answer in ANSWERS]
    paths = [write(folder / f"{name}.wav", tone(0.1, 16000), 16000) for name in names]
    return pd.DataFrame({"clip": names, "path": map(str, paths), "corpus": "emodb"})


def listed(output) -> list[list[str]]:
    rows = BeautifulSoup(output.data, "html.parser").select("tbody tr")
    return [[row("td")[i].get_text() for i in (0, 1, 3, 4)] for row in rows]


def test_the_largest_confusions_come_first_each_with_its_most_certain_clips(clips):
    output = display.listen_to_mistakes(predict(), clips)
    assert listed(output) == [
        ["angry", "happy", "0.90", "3 of 4"],
        ["angry", "happy", "0.70", "3 of 4"],
        ["happy", "angry", "0.50", "2 of 3"],
        ["happy", "angry", "0.40", "2 of 3"],
        ["happy", "sad", "0.99", "1 of 3"],
    ]
    assert output.data.count("<audio") == 5
    one = display.listen_to_mistakes(predict(), clips, n_confusions=1, n_clips=1)
    assert listed(one) == [["angry", "happy", "0.90", "3 of 4"]]


def test_only_recordings_of_the_test_set_are_played(clips):
    sides = predict().assign(split=["test", "train", "val"] * 3, copy=[0, 0, 0, 1, 0, 0, 0, 0, 0])
    other = clips.assign(path="not there", split="train")
    output = display.listen_to_mistakes(sides, pd.concat([other, clips.assign(split="test")]))
    assert listed(output) == [["angry", "happy", "0.60", "1 of 1"], ["happy", "sad", "0.99", "1 of 1"]]


def test_a_clip_without_prediction_is_no_confusion(clips):
    unanswered = predict(ANSWERS[:1]).assign(prediction=None)
    assert display.listen_to_mistakes(unanswered, clips).data == "No clip is misclassified."


def test_a_perfect_model_makes_no_mistakes(clips):
    perfect = predict([(clip, truth, truth, 0.9) for clip, truth, *_ in ANSWERS])
    assert display.listen_to_mistakes(perfect, clips).data == "No clip is misclassified."


@pytest.mark.parametrize("column", ["clip", "speaker", "truth", "prediction", "happy"])
def test_a_missing_column_is_named(clips, column):
    with pytest.raises(ValueError, match=f"no column {column}; they have "):
        display.listen_to_mistakes(predict().drop(columns=column), clips)


def test_predictions_that_cannot_be_played_are_refused(clips):
    with pytest.raises(ValueError, match=r"several models \(a, b\); select one"):
        display.listen_to_mistakes(pd.concat([predict().assign(model="a"), predict().assign(model="b")]), clips)
    with pytest.raises(ValueError, match="no clip 'a2'"):
        display.listen_to_mistakes(predict(), clips.query("clip != 'a2'"))


def test_a_page_withholds_the_players_of_a_private_corpus(tmp_path):
    corpora.store_consent(tmp_path, "S01")
    for emotion in ("angry", "sad"):
        corpora.save_take(tmp_path, tone(1.0, 16000), 16000, speaker="S01", emotion=emotion)
    table = corpora.load("local", tmp_path)
    answers = [(clip, truth, "happy", 0.8) for clip, truth in zip(table["clip"], table["emotion"], strict=True)]
    output = display.listen_to_mistakes(predict(answers).assign(speaker="S01"), table)
    assert [row[2] for row in listed(output)] == ["0.80", "0.80"]
    assert "<audio" not in output.data and "S01" not in output.data and output.data.count(corpora.WITHHELD) == 2
