"""The audit finds what a split gives away, and nothing where nothing is."""

import numpy as np
import pandas as pd
import pytest
import soundfile
from same import WAYS
from same import altered
from same import copies
from same import strangers
from support.audio_files import tone
from support.audio_files import write

from sernb import corpora
from sernb import evaluation

NONE = {"speaker": 0, "twin": 0, "content": 0}


def faults(rows, *sides):
    return {
        kind: count for kind, count in evaluation.count_leaks(rows, *sides).items() if kind in evaluation.LEAK_FAULTS
    }


def clips(speakers=12, per_speaker=10):
    """A table without sound: bytes are told apart by their names."""
    names = [(f"P{s:02}", i) for s in range(speakers) for i in range(per_speaker)]
    table = pd.DataFrame({"speaker": [s for s, _ in names], "clip": [f"{s}-{i}" for s, i in names]})
    table["emotion"] = [("angry", "happy", "sad")[i % 3] for _, i in names]
    table["statement"] = [("kids", "dogs")[i % 2] for _, i in names]
    return table.assign(corpus="local", sha256=table["clip"], sex="")


def brute_force(rows, fitted=("train",), held_out=("val", "test")):
    """The same counts, row by row, each against each."""
    rows = rows.to_dict("records")
    seen, held = [r for r in rows if r["split"] in fitted], [r for r in rows if r["split"] in held_out]
    found = dict.fromkeys(evaluation.LEAK_KINDS, 0)
    for row in held:
        same = [other for other in seen if other["sha256"] == row["sha256"]]
        content = any(other["copy"] == row["copy"] for other in same)
        found["content"] += content
        found["twin"] += bool(same) and not content
        found["speaker"] += any(other["speaker"] == row["speaker"] for other in seen)
        found["statement"] += any(other["statement"] == row["statement"] for other in seen)
    return found


@pytest.mark.parametrize("protocol", ["random", "published", "speaker", "statement", "loso"])
@pytest.mark.parametrize("augment", evaluation.AUGMENT_CHOICES)
@pytest.mark.parametrize("fitted", [("train",), ("train", "val")])
def test_every_protocol_is_counted_as_by_brute_force(protocol, augment, fitted):
    rows = evaluation.make_split(clips(), protocol, ratio="60:20:20", augment=augment, seed=3)
    for held_out in (("val", "test"), ("test",)):
        assert evaluation.count_leaks(rows, fitted, held_out) == brute_force(rows, fitted, held_out)


def test_the_papers_way_leaks_and_a_speaker_split_does_not():
    paper = evaluation.count_leaks(evaluation.make_split(clips(), "random", augment="before-split", seed=0))
    assert paper["speaker"] == 60 and paper["twin"] > 30 and paper["content"] == 0
    assert faults(evaluation.make_split(clips(), "speaker", augment="before-split", seed=0)) == NONE


def test_two_speakers_called_01_of_two_corpora_are_two():
    ours, theirs = (
        clips(3).assign(corpus=name, split=split) for name, split in (("crema", "train"), ("local", "test"))
    )
    assert faults(pd.concat([ours, theirs.assign(sha256=theirs["sha256"] + "x")])) == NONE


def test_what_a_table_lacks_is_shared_by_nobody():
    rows = pd.DataFrame({"split": ["train", "test"], "speaker": ["", None], "clip": ["a", "b"], "sha256": ["", ""]})
    assert evaluation.count_leaks(rows) == NONE | {"statement": 0}
    with pytest.raises(evaluation.LeakError, match="no row's split is val or test; there are 'train'"):
        evaluation.find_leaks(rows.head(1))
    with pytest.raises(evaluation.LeakError, match="no column split; it has clip"):
        evaluation.find_leaks(rows[["clip"]])


# planted copies


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Twelve demo clips as WAV: one speaker's, four texts."""
    folder = tmp_path_factory.mktemp("voices")
    table = corpora.load("demo-crema").query("speaker == '1001'").iloc[::6].head(12)
    for path in table["path"]:
        signal, rate = soundfile.read(path, dtype="float32")
        write(folder / (path.rsplit("/", 1)[-1][:-4] + ".wav"), 0.3 * signal / np.abs(signal).max(), rate)
    return sorted(folder.iterdir())


# What the audit may miss: what is pressed to 13 kbit/s and less, drowned, clipped, or lacks a part of the speech.
HARD = ("8 bit", "offset 0.1", "telephone", "pressed opus", "pressed gsm", "clipped 12", "white noise 10")
SURE = tuple(how for how in WAYS if how not in HARD and "cut 0." not in how)


@pytest.mark.parametrize("how", SURE)
def test_a_planted_copy_is_found_in_a_table_of_ones_own(tmp_path, voices, how):
    copy = altered(voices[0], tmp_path, how)
    mine = pd.DataFrame({"path": [str(path) for path in [*voices, copy]]})
    mine["split"], mine["speaker"] = ["train"] * 12 + ["test"], [*range(12), 99]
    found = evaluation.find_leaks(mine)
    assert found["kind"].tolist() == ["content"]
    assert found.loc[0, "trained_clip"] == str(voices[0]) and found.loc[0, "row"] == 12
    assert evaluation.CORRELATION_THRESHOLD < found.loc[0, "similarity"] <= 1.000001
    assert faults(mine) == {"speaker": 0, "twin": 0, "content": 1}
    assert faults(mine.assign(copy=[0] * 12 + [1])) == {"speaker": 0, "twin": 1, "content": 0}


def test_other_clips_of_the_same_voice_are_not_the_same_audio(voices):
    mine = pd.DataFrame({"path": list(map(str, voices)), "split": ["train", "test"] * 6, "speaker": "me"})
    assert faults(mine) == {"speaker": 6, "twin": 0, "content": 0}


@pytest.mark.parametrize("corpus", ["demo-crema", "demo-ravdess", "demo-local"])
def test_a_clean_speaker_split_is_clean(corpus):
    assert faults(evaluation.make_split(corpora.load(corpus), "speaker")) == NONE


def test_silence_is_nobodys_copy(tmp_path):
    files = [write(tmp_path / f"{i}.wav", np.zeros(8000 + i, np.float32), 8000) for i in range(2)]
    mine = pd.DataFrame({"path": list(map(str, files)), "split": ["train", "test"], "speaker": ["a", "b"]})
    assert not evaluation.fingerprint_clips(mine).any() and faults(mine) == NONE


def test_a_second_audit_decodes_nothing(tmp_path, voices, monkeypatch):
    mine = pd.DataFrame({"path": list(map(str, voices))})
    first = evaluation.fingerprint_clips(mine)
    monkeypatch.setattr("sernb.features.extraction.extract_clip", None)
    np.testing.assert_array_equal(evaluation.fingerprint_clips(mine), first)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)


def test_near_finds_every_pair_of_blocks_of_any_size():
    prints = np.random.default_rng(0).normal(size=(1200, 20)).astype(np.float32)
    prints[1100] = prints[3]
    prints /= np.linalg.norm(prints, axis=1, keepdims=True)
    i, j, similarity = evaluation.similar_pairs(prints, prints[:100], 0.99)
    assert list(zip(i, j, strict=True)) == [*((k, k) for k in range(100)), (1100, 3)] and similarity.min() > 0.99


def test_correlation_is_that_of_the_best_delay(tmp_path):
    first = tone(0.5, 8000)
    late = write(tmp_path / "late.wav", np.concatenate([np.zeros(900, np.float32), 0.1 * first]), 8000)
    files = [str(path) for path in (write(tmp_path / "a.wav", first, 8000), late)]
    assert evaluation.waveform_correlation(*files) == pytest.approx(1, abs=1e-3)
    assert evaluation.waveform_correlation(files[0], str(write(tmp_path / "b.wav", tone(0.5, 8000, 347), 8000))) < 0.2


# the page


def test_the_banner_says_leaks_or_clean_and_strict_refuses():
    leaking = evaluation.make_split(clips(), "random", augment="before-split", seed=0)
    counts = evaluation.count_leaks(leaking)
    page = evaluation.leak_banner(leaking).data
    assert "LEAKS" in page and "CLEAN" not in page and f"<b>{counts['twin']}</b> have an augmented" in page
    clean = evaluation.make_split(clips(), "speaker", seed=0)
    assert "CLEAN" in evaluation.leak_banner(clean, strict=True).data
    message = rf"of 60 held-out rows 60 have their speaker, {counts['twin']} have an augmented twin .*PROTOCOL.*AUGMENT"
    with pytest.raises(evaluation.LeakError, match=message):
        evaluation.leak_banner(leaking, strict=True)


def test_the_banner_of_folds_adds_them_up():
    cuts = evaluation.make_splits(clips(), "loso")
    page = evaluation.leak_banner(cuts.values(), strict=True).data
    assert "CLEAN" in page and "Of 360 held-out rows in 12 folds" in page


# the real thing


def test_ravdess_at_48_khz_is_known_again_at_16(real):
    here, there = corpora.load("ravdess", real("ravdess")), corpora.load("ravdess", real("ravdess_48k"))
    actors = here[here["speaker"].isin(set(there["speaker"]))].groupby("speaker").head(20)
    names = lambda column: column.str.extract(r"([\d-]{20})")[0]  # noqa: E731
    wanted = here[names(here["clip"]).isin(names(there["clip"]))]
    rows = pd.concat([pd.concat([actors, wanted]).assign(split="train"), there.assign(split="test")])
    found = evaluation.find_leaks(rows.drop_duplicates("path")).query("kind == 'content'")
    assert (names(found["clip"]) == names(found["trained_clip"])).all() and len(found) == len(there)
    assert found["similarity"].min() > 0.99


def test_actor_07_of_ravdess_has_one_take_under_two_names(real):
    table = corpora.load("ravdess", real("ravdess"), channel="speech").query("speaker == '07'")
    take = table["clip"].str.contains("03-01-03-01-02-01-07")
    found = evaluation.find_leaks(table.assign(split=np.where(take, "test", "train"))).query("kind == 'content'")
    assert len(found) == 1 and "03-01-03-01-02-02-07" in found["trained_clip"].iloc[0]


def test_between_copies_and_other_clips_of_ravdess_lies_a_gap(real):
    """`python tests/same.py ravdess` measures it on all clips."""
    table = corpora.load("ravdess", real("ravdess")).query("speaker in ['01', '08', '13', '17']")
    found = copies(table.sample(6, random_state=1), SURE)
    assert (
        found["similarity"].min() >= evaluation.FINGERPRINT_THRESHOLD
        and found["correlation"].min() > 0.8 > evaluation.CORRELATION_THRESHOLD
    )
    other = strangers(table)
    assert len(other) > 50 and other["correlation"].max() < 0.6 < evaluation.CORRELATION_THRESHOLD
