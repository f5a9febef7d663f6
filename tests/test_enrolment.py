from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.trained_runs import demo_clips
from support.trained_runs import functionals_of
from typer.testing import CliRunner

from sernb import cli
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import lab
from sernb import models
from sernb import results

LABELS = ["angry", "neutral", "sad"]
CLIPS = 3


@pytest.fixture(scope="module")
def table():
    return demo_clips(LABELS)


@pytest.fixture(scope="module")
def split(table):
    return functionals_of(table, copies=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory, table, split):
    folder = tmp_path_factory.mktemp("run")
    enrolled = models.enrol_speakers(split, CLIPS, prior_clips=2, seed=1)
    trained = [
        models.fit_discriminant(split, LABELS),
        models.fit_discriminant(enrolled, LABELS, name=models.ENROLLED),
    ]
    mean, spec = models.training_mean(split), features.InputSpec("functionals", 16000, {})
    inputs = {
        models.DISCRIMINANT: spec,
        models.ENROLLED: replace(spec, mean=mean, deviation=np.ones_like(mean), prior_clips=2),
    }
    results.save_run(
        folder, {fit_result.model.name: fit_result for fit_result in trained}, notebook="07_unseen_speakers",
        parameters={"SEED": 1, "ENROL_CLIPS": CLIPS}, table=table, rows=split.rows, labels=LABELS, protocol="speaker",
        inputs=inputs,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def tested(split):
    """The last row of the test set, and the rows that were enrolled for it."""
    row = int(np.flatnonzero(split.side("test"))[-1])
    return split.rows.iloc[row], split.rows.iloc[models.draw_enrolment(split.rows, CLIPS, seed=1)[row]]


def sernb(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def test_the_prior_counts_for_so_many_clips():
    x = np.arange(6.0).reshape(3, 2)
    prior = np.array([10.0, 20.0])
    np.testing.assert_allclose(models.speaker_mean(x, prior, 1), np.vstack([x, prior]).mean(axis=0))
    np.testing.assert_allclose(models.speaker_mean(x[:0], prior, 5), prior)
    np.testing.assert_allclose(models.speaker_mean(np.repeat(x, 10000, axis=0), prior, 1), x.mean(axis=0), atol=1e-2)


@pytest.mark.parametrize("source", models.ENROLMENT_SOURCES)
def test_a_clip_is_enrolled_with_other_clips_of_its_speaker_alone(source):
    rows = pd.DataFrame(
        [(c, "01", e, t) for c in ("emodb", "ravdess") for e in LABELS for t in ("1", "2") for _ in range(2)],
        columns=["corpus", "speaker", "emotion", "statement"],
    )
    drawn = models.draw_enrolment(rows, 4, source, seed=3)
    for row, others in enumerate(drawn):
        clips, clip = rows.iloc[others], rows.iloc[row]
        assert 1 <= len(others) == len(set(others)) <= 4 and row not in others
        assert (clips["corpus"] == clip["corpus"]).all(), "two corpora may use the same ids"
        assert source != "other sentences" or (clips["statement"] != clip["statement"]).all()
        assert source != "one emotion" or clips["emotion"].nunique() == 1
        assert source != "neutral" or (clips["emotion"] == "neutral").all()
    assert all(map(np.array_equal, drawn, models.draw_enrolment(rows, 4, source, seed=3)))
    assert len(models.draw_enrolment(rows.iloc[:1], 4, source)[0]) == 0


@pytest.mark.slow
def test_enrolling_needs_no_label_and_no_test_speaker_for_the_prior(split):
    enrolled = models.enrol_speakers(split, CLIPS, seed=1)
    relabelled = models.enrol_speakers(replace(split, rows=split.rows.assign(emotion="sad")), CLIPS, seed=1)
    np.testing.assert_array_equal(enrolled.x, relabelled.x)
    changed = split.x.copy()
    changed[split.side("test")] = 0
    np.testing.assert_array_equal(models.training_mean(split), models.training_mean(replace(split, x=changed)))


@pytest.mark.slow
def test_the_curve_begins_with_the_plain_discriminant_and_rises(split):
    predictions = models.enrolment_predictions([split], LABELS, (0, 1, 8, 500), draws=2)
    curve = evaluation.score_by(predictions, "enrolment clips")
    plain = evaluation.select_test_rows(models.fit_discriminant(split, LABELS).predictions)
    assert list(curve.index) == [0, 1, 8]  # nobody has 500 clips
    assert curve.loc[0, "uar"] == evaluation.score_by(plain.assign(model="m"), "model")["uar"].iloc[0]
    assert curve.loc[8, "uar"] >= curve.loc[1, "uar"] and (curve["rows"] == len(plain)).all()


@pytest.mark.slow
def test_files_are_enrolled_as_in_the_run(run, tested):
    clip, others = tested
    stored = (
        results.read_predictions(run).query("model == @models.ENROLLED").set_index("clip").loc[clip["clip"], LABELS]
    )
    words = ["predict", run, clip["path"], "--enrol", *others["path"], "--csv"]
    printed = pd.read_csv(io.StringIO(sernb(*words).stdout))
    np.testing.assert_allclose(printed.loc[0, LABELS].astype(float), stored.astype(float), atol=2e-3)
    without = pd.read_csv(io.StringIO(sernb("predict", run, clip["path"], "--csv").stdout))
    assert np.abs(without.loc[0, LABELS].astype(float) - printed.loc[0, LABELS].astype(float)).max() > 1e-3
    assert "3 other clips of the speaker enrolled" in sernb(*words[:-1]).stdout


@pytest.mark.slow
def test_enrolment_is_refused_in_a_line(tmp_path, run, tested):
    path = tested[0]["path"]
    words = ["predict", run, path, "--enrol"]
    assert "enrol other clips" in sernb(*words, path).stderr
    assert "there is no such file" in sernb(*words, tmp_path / "no.wav").stderr
    assert "leave out --model" in sernb(*words, tested[1]["path"].iloc[0], "--model", models.DISCRIMINANT).stderr
    assert "takes one or more FILEs" in sernb(*words).stderr
    loaded = results.load_run(run)
    other = replace(loaded, result=loaded.result | {"models": {models.DISCRIMINANT: {}}})
    with pytest.raises(results.PredictionError, match="cannot enrol a speaker: it has no model discriminant-enrolled"):
        results.enrol_speaker(other, [path])
    assert results.enrol_speaker(other, []) is other


@pytest.mark.slow
def test_the_predict_panel_enrols_the_speaker_of_a_local_corpus(tmp_path, run, tested):
    import ipywidgets

    paths = [tested[0]["path"], *tested[1]["path"][:2]]
    speakers = ["A", "A", "B"]
    lines = ["file,emotion,speaker"]
    for path, speaker in zip(paths, speakers, strict=True):
        shutil.copy(path, tmp_path)
        lines.append(f"{Path(path).name},sad,{speaker}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    panel = lab.predict_clip(run, folders=(tmp_path.parent, tmp_path))  # one holds runs, and the corpus below them
    source, clip, message = panel.children[1].children[0], panel.children[1].children[2], panel.children[2]
    assert isinstance(clip, ipywidgets.Dropdown)
    source.value = lab.SOURCES[2]
    assert clip.label == Path(paths[2]).name and "enrolled" not in message.value, "no other clip of speaker B"
    clip.index = 1
    assert "1 other clip" in message.value


@pytest.fixture
def session(tmp_path, run, tested):
    """A corpus with a recording, another clip of the same speaker, and a part cut out of the recording."""
    recording, other = tested[0], tested[1].iloc[0]
    lines = ["file,emotion,speaker"]
    for clip, name in ((recording, "whole.ogg"), (other, "other.ogg")):
        shutil.copy(clip["path"], tmp_path / name)
        lines.append(f"{name},{clip['emotion']},S01")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    corpora.store_consent(tmp_path, "S01")
    part = corpora.cut_clip(tmp_path, "whole.ogg", 0.4, 1.3, "sad")
    return tmp_path, part


@pytest.mark.slow
@pytest.mark.parametrize("tested_clip", ["whole", "part"])
def test_no_part_of_a_clip_is_enrolled_for_it(session, run, tested_clip):
    root, part = session
    files = {"whole": "whole.ogg", "part": part}
    panel = lab.predict_clip(run, folders=(root,))
    source, _, clip, enrol, _ = panel.children[1].children
    clip.value = str(root / files.pop(tested_clip))
    source.value = lab.SOURCES[2]  # the latest clip is selected at the start
    assert enrol.layout.display is None
    message = panel.children[2]
    assert "Enrolled: 1 other clip of the speaker. Left out, since they contain sound of this clip: 1." in message.value
    card = panel.children[-1]
    assert "**discriminant-enrolled**" in card.outputs[0]["data"]["text/markdown"]
    enrol.value = False
    assert "nrolled" not in message.value and "**discriminant**" in card.outputs[0]["data"]["text/markdown"]
    (same,) = files.values()
    error = sernb("predict", run, clip.value, "--enrol", root / "other.ogg", root / same).stderr
    assert f"{root / same} contains sound of {clip.value}, which is to be predicted: enrol other clips" in " ".join(
        error.split()
    )
