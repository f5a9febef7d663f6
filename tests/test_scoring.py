"""Predictions of other toolkits are scored, audited and compared, or refused in one sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from IPython.display import HTML
from IPython.display import Markdown
from matplotlib.figure import Figure

from sernb import corpora
from sernb import display
from sernb import evaluation
from sernb import results


@pytest.fixture(scope="module")
def clips():
    return corpora.load("demo-crema", max_clips=96)


@pytest.fixture
def theirs(clips):
    """Predictions of every clip, of which three in four are right, under the names of the files."""
    rng = np.random.default_rng(0)
    wrong = rng.choice(corpora.emotion_labels(clips), len(clips))
    prediction = np.where(rng.random(len(clips)) < 0.75, clips["emotion"], wrong)
    names = clips["clip"].str.rsplit("/", n=1).str[-1]
    columns = {"clip": names, "speaker": clips["speaker"], "truth": clips["emotion"], "prediction": prediction}
    return pd.DataFrame(columns)


def test_a_table_is_scored_with_intervals_over_speakers(theirs):
    scored = results.score_predictions(theirs)
    expected = evaluation.score_by(theirs.assign(model="x"), "model").iloc[0]
    row = scored.scores.loc["their model"]
    assert row["uar"] == expected["uar"] and row["uar_low"] == expected["uar_low"] < row["uar"] < row["uar_high"]
    assert scored.confusion.sum() == 96 and list(scored.by_emotion.index) == scored.labels
    assert scored.split is None and "leaks were not looked for" in " ".join(scored.remarks)


def test_a_csv_file_keeps_speakers_and_takes_missing_columns_from_the_clip_table(tmp_path, theirs, clips):
    file = tmp_path / "theirs.csv"
    theirs[["clip", "prediction"]].to_csv(file, index=False)
    scored = results.score_predictions(file, clips, model="toolkit")
    assert scored.scores.index.tolist() == ["toolkit"]
    assert scored.scores.drop(columns="note").equals(
        results.score_predictions(theirs, model="toolkit").scores.drop(columns="note")
    )
    theirs.assign(clip=clips["path"], speaker="007").to_csv(file, index=False)
    assert set(results.score_predictions(file).predictions["speaker"]) == {"007"}
    scored = results.score_predictions(file, clips)
    assert "The speaker of 96 of 96 clips differs from the clip table" in " ".join(scored.remarks)
    assert scored.predictions["clip"].tolist() == clips["clip"].tolist()


def test_categories_and_numbers_are_scored_as_text(theirs):
    text = results.score_predictions(theirs.assign(speaker=1)).scores
    categories = theirs.assign(speaker=1).astype({"truth": "category", "prediction": "category"})
    assert results.score_predictions(categories).scores.equals(text)


def test_what_the_model_was_trained_on_is_audited(theirs, clips):
    names = list(theirs["clip"])
    scored = results.score_predictions(theirs.iloc[48:], clips, trained_clips=names[:50])
    counts = evaluation.count_leaks(scored.split)
    assert counts["content"] == 2 and counts["speaker"] > 0
    own_split = theirs.assign(split=np.where(np.arange(96) < 48, "train", "test"))
    scored = results.score_predictions(own_split, clips)
    assert len(scored.predictions) == 48 and evaluation.count_leaks(scored.split)["content"] == 0
    assert evaluation.count_leaks(results.score_predictions(own_split).split)["content"] == 0


def test_it_is_compared_with_a_run_on_the_clips_of_both(tmp_path, theirs, clips):
    ours = theirs.assign(clip=clips["clip"], prediction=clips["emotion"], model="net", copy=0, split="test").iloc[:60]
    other = ours.assign(model="guess", prediction="sad")
    pd.concat([ours, other]).to_csv(tmp_path / "predictions.csv", index=False)
    scored = results.score_predictions(theirs, clips, ours=tmp_path)
    assert scored.comparison.rows == 60 and "for net" in scored.comparison.summary
    assert "on the 60 of 96 clips that both models were tested on" in " ".join(scored.remarks)
    assert results.score_predictions(theirs, clips, ours=ours).comparison.summary == scored.comparison.summary
    with pytest.raises(results.PredictionTableError, match="no clip is in both tables: .* Pass the clip table"):
        results.score_predictions(theirs, ours=ours)
    with pytest.raises(results.PredictionTableError, match="holds no finished run"):
        results.score_predictions(theirs, clips, ours=tmp_path / "nowhere")


def test_two_lines_show_it(theirs, clips, monkeypatch):
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda output, **_: outputs.append(output))
    scored = results.score_predictions(theirs, clips, trained_clips=list(theirs["clip"][:5]), model="toolkit")
    display.scored_predictions(scored)
    tables = [output for output in outputs if isinstance(output, pd.DataFrame)]
    assert tables[0].index.tolist() == ["toolkit"] and "UAR [95% CI]" in tables[0] and len(tables[1]) == 6
    text = " ".join(output.data for output in outputs if isinstance(output, Markdown | HTML))
    assert "LEAKS" in text and "Chance is a UAR of 0.167" in text
    assert any(isinstance(output, Figure) for output in outputs)


WRONG = [
    (
        lambda t: t.drop(columns="speaker"),
        "no column speaker; they have clip, truth, prediction. Rename .* clip table",
    ),
    (lambda t: t.rename(columns={"truth": "label"}), "no column truth; they have clip, speaker, label"),
    (lambda t: t.assign(prediction=t["prediction"].str.upper()), "contain 'ANGRY', the truth 'angry': spell"),
    (
        lambda t: t.assign(prediction="joy"),
        r"none of the predicted emotions \(joy\) is a true one \(angry, disgust",
    ),
    (lambda t: t.assign(prediction=None), "no row has a prediction"),
    (lambda t: t.assign(truth=t["truth"].where(t.index > 2)), "3 of 96 rows have no truth"),
    (lambda t: pd.concat([t, t.head(2)]), "2 clips are predicted more than once"),
    (lambda t: t.assign(model=["a", "b"] * 48), r"are of 2 models \(a, b\): choose one"),
    (lambda t: t.head(0), "the table is empty"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_other_tables_are_refused_in_one_sentence(theirs, change, message):
    with pytest.raises(results.PredictionTableError, match=message) as error:
        results.score_predictions(change(theirs))
    assert "\n" not in str(error.value)


def test_unknown_clips_and_files_are_named(tmp_path, theirs, clips):
    with pytest.raises(results.PredictionTableError, match=r"1 of 96 predicted clips are not in .* \(x.wav\)"):
        results.score_predictions(theirs.assign(clip=["x.wav", *theirs["clip"][1:]]), clips)
    with pytest.raises(results.PredictionTableError, match="theirs.csv is not a file: give a CSV file with"):
        results.score_predictions(tmp_path / "theirs.csv")
