import numpy as np
import pandas as pd
import pytest
import soundfile
from altered_copies import WAYS
from altered_copies import alter
from altered_copies import compare_copies
from altered_copies import similar_clips
from support.audio_files import tone
from support.audio_files import write

from sernb import audio
from sernb import corpora
from sernb import evaluation

NONE = {"speaker": 0, "twin": 0, "content": 0}


def faults(rows, *sides):
    return {
        kind: count for kind, count in evaluation.count_leaks(rows, *sides).items() if kind in evaluation.LEAK_FAULTS
    }


def clips(speakers=12, per_speaker=10):
    """Return a clip table without audio files: each clip's checksum is its name."""
    names = [(f"P{s:02}", i) for s in range(speakers) for i in range(per_speaker)]
    table = pd.DataFrame({"speaker": [s for s, _ in names], "clip": [f"{s}-{i}" for s, i in names]})
    table["emotion"] = [("angry", "happy", "sad")[i % 3] for _, i in names]
    table["statement"] = [("kids", "dogs")[i % 2] for _, i in names]
    return table.assign(corpus="local", sha256=table["clip"], sex="")


def brute_force(rows, fitted=("train",), held_out=("val", "test")):
    """Return the same counts by comparing each held-out row with each row fitted on."""
    rows = rows.to_dict("records")
    trained, held = [r for r in rows if r["split"] in fitted], [r for r in rows if r["split"] in held_out]
    counts = dict.fromkeys(evaluation.LEAK_KINDS, 0)
    for row in held:
        same = [other for other in trained if other["sha256"] == row["sha256"]]
        content = any(other["copy"] == row["copy"] for other in same)
        counts["content"] += content
        counts["twin"] += bool(same) and not content
        counts["speaker"] += any(other["speaker"] == row["speaker"] for other in trained)
        counts["statement"] += any(other["statement"] == row["statement"] for other in trained)
    return counts


@pytest.mark.parametrize("protocol", ["random", "random-folds", "published", "speaker", "statement", "loso"])
@pytest.mark.parametrize("augment", evaluation.AUGMENT_CHOICES)
@pytest.mark.parametrize("fitted", [("train",), ("train", "val")])
def test_leaks_of_every_protocol_equal_a_brute_force_count(protocol, augment, fitted):
    rows = evaluation.make_split(clips(), protocol, ratio="60:20:20", augment=augment, seed=3)
    for held_out in (("val", "test"), ("test",)):
        assert evaluation.count_leaks(rows, fitted, held_out) == brute_force(rows, fitted, held_out)


def test_a_split_by_clip_leaks_and_a_speaker_split_does_not():
    paper = evaluation.count_leaks(evaluation.make_split(clips(), "random", augment="before-split", seed=0))
    assert paper["speaker"] == 60 and paper["twin"] > 30 and paper["content"] == 0
    assert faults(evaluation.make_split(clips(), "speaker", augment="before-split", seed=0)) == NONE


def test_speakers_of_two_corpora_with_the_same_id_are_different():
    ours, theirs = (
        clips(3).assign(corpus=name, split=split) for name, split in (("crema", "train"), ("local", "test"))
    )
    assert faults(pd.concat([ours, theirs.assign(sha256=theirs["sha256"] + "x")])) == NONE


def test_missing_values_are_no_leak():
    rows = pd.DataFrame({"split": ["train", "test"], "speaker": ["", None], "clip": ["a", "b"], "sha256": ["", ""]})
    assert evaluation.count_leaks(rows) == NONE | {"statement": 0}
    with pytest.raises(evaluation.LeakError, match="no row has the split val or test; the table has 'train'"):
        evaluation.find_leaks(rows.head(1))
    with pytest.raises(evaluation.LeakError, match="no column split; it has clip"):
        evaluation.find_leaks(rows[["clip"]])


# planted copies


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Return twelve demo clips of one speaker and four texts as WAV files."""
    folder = tmp_path_factory.mktemp("recordings")
    table = corpora.load("demo-crema").query("speaker == '1001'").iloc[::6].head(12)
    for path in table["path"]:
        signal, rate = soundfile.read(path, dtype="float32")
        write(folder / (path.rsplit("/", 1)[-1][:-4] + ".wav"), 0.3 * signal / np.abs(signal).max(), rate)
    return sorted(folder.iterdir())


# What the audit may miss: copies compressed to 13 kbit/s or less, noisy, clipped, or without a part of the speech.
HARD = ("8 bit", "offset 0.1", "telephone", "pressed opus", "pressed gsm", "clipped 12", "white noise 10")
SURE = tuple(how for how in WAYS if how not in HARD and "cut 0." not in how)


@pytest.mark.slow
@pytest.mark.parametrize("how", SURE)
def test_a_copy_of_a_recording_is_found(tmp_path, recordings, how):
    copy = alter(recordings[0], tmp_path, how)
    mine = pd.DataFrame({"path": [str(path) for path in [*recordings, copy]]})
    mine["split"], mine["speaker"] = ["train"] * 12 + ["test"], [*range(12), 99]
    leaks = evaluation.find_leaks(mine)
    assert leaks["kind"].tolist() == ["content"]
    assert leaks.loc[0, "trained_clip"] == str(recordings[0]) and leaks.loc[0, "row"] == 12
    assert evaluation.CORRELATION_THRESHOLD < leaks.loc[0, "similarity"] <= 1.000001
    assert faults(mine) == {"speaker": 0, "twin": 0, "content": 1}
    assert faults(mine.assign(copy=[0] * 12 + [1])) == {"speaker": 0, "twin": 1, "content": 0}


@pytest.mark.slow
def test_other_clips_of_a_speaker_are_not_the_same_recording(recordings):
    mine = pd.DataFrame({"path": list(map(str, recordings)), "split": ["train", "test"] * 6, "speaker": "me"})
    assert faults(mine) == {"speaker": 6, "twin": 0, "content": 0}


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["demo-crema", "demo-ravdess", "demo-local"])
def test_a_speaker_split_does_not_leak(corpus):
    assert faults(evaluation.make_split(corpora.load(corpus), "speaker")) == NONE


def test_silence_is_no_copy(tmp_path):
    files = [write(tmp_path / f"{i}.wav", np.zeros(8000 + i, np.float32), 8000) for i in range(2)]
    mine = pd.DataFrame({"path": list(map(str, files)), "split": ["train", "test"], "speaker": ["a", "b"]})
    assert not evaluation.fingerprint_clips(mine).any() and faults(mine) == NONE


def test_a_second_audit_decodes_nothing(recordings, monkeypatch):
    mine = pd.DataFrame({"path": list(map(str, recordings))})
    first = evaluation.fingerprint_clips(mine)
    monkeypatch.setattr("sernb.features.extraction.extract_clip", None)
    np.testing.assert_array_equal(evaluation.fingerprint_clips(mine), first)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)


def test_similar_pairs_are_found_across_blocks():
    prints = np.random.default_rng(0).normal(size=(1200, 20)).astype(np.float32)
    prints[1100] = prints[3]
    prints /= np.linalg.norm(prints, axis=1, keepdims=True)
    i, j, similarity = evaluation.similar_pairs(prints, prints[:100], 0.99)
    assert list(zip(i, j, strict=True)) == [*((k, k) for k in range(100)), (1100, 3)] and similarity.min() > 0.99


def test_correlation_is_the_largest_at_any_delay(tmp_path):
    first = tone(0.5, 8000)
    late = write(tmp_path / "late.wav", np.concatenate([np.zeros(900, np.float32), 0.1 * first]), 8000)
    files = [str(path) for path in (write(tmp_path / "a.wav", first, 8000), late)]
    assert evaluation.waveform_correlation(*files) == pytest.approx(1, abs=1e-3)
    assert evaluation.waveform_correlation(files[0], str(write(tmp_path / "b.wav", tone(0.5, 8000, 347), 8000))) < 0.2


# the page


@pytest.mark.slow
def test_the_banner_says_leaks_or_clean_and_strict_refuses():
    leaking = evaluation.make_split(clips(), "random", augment="before-split", seed=0)
    counts = evaluation.count_leaks(leaking)
    page = evaluation.leak_banner(leaking).data
    assert "LEAKS" in page and "CLEAN" not in page and f"<b>{counts['twin']}</b> have an augmented" in page
    clean = evaluation.make_split(corpora.load("demo-crema"), "speaker", seed=0)
    assert "CLEAN" in evaluation.leak_banner(clean, strict=True).data and not evaluation.unchecked_leaks(clean)
    message = rf"of 60 held-out rows 60 have their speaker and {counts['twin']} have an augmented .*PROTOCOL.*AUGMENT"
    with pytest.raises(evaluation.LeakError, match=message):
        evaluation.leak_banner(leaking, strict=True)


def test_the_banner_adds_up_the_folds():
    splits = evaluation.make_splits(clips(), "loso")
    assert "Of 360 held-out rows in 12 folds" in evaluation.leak_banner(splits.values(), strict=True).data


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"path": None}, "augmented copies and same recording (12 of 12 rows have no path, so that only identical"),
        ({"speaker": None}, "speaker (12 of 12 rows have no speaker)"),
        ({"speaker": ["", *"bcdefghijkl"]}, "speaker (1 of 12 rows have no speaker)"),
        ({"path": [f"nowhere/{i}.wav" for i in range(12)]}, "(12 of 12 audio files do not exist)"),
    ],
)
def test_the_banner_is_not_clean_where_something_was_not_checked(recordings, change, text):
    rows = pd.DataFrame(
        {"path": list(map(str, recordings)), "split": ["train", "test"] * 6, "speaker": list("abcdefghijkl")}
    )
    rows = rows.assign(statement="kids")
    assert "CLEAN" in evaluation.leak_banner(rows).data
    rows = rows.assign(**change) if None not in change.values() else rows.drop(columns=[*change])
    page = evaluation.leak_banner(rows.assign(clip=rows.index.astype(str))).data
    assert "NOT FULLY CHECKED" in page and "CLEAN" not in page
    assert f"Not fully checked: {text}" in page or text in page


def test_the_banner_says_that_silent_clips_were_not_compared(tmp_path):
    files = [write(tmp_path / f"{i}.wav", np.zeros(8000 + i, np.float32), 8000) for i in range(2)]
    rows = pd.DataFrame({"path": list(map(str, files)), "split": ["train", "test"], "speaker": ["a", "b"]})
    assert "2 of 2 rows are silent or cannot be decoded" in evaluation.leak_banner(rows).data


def test_the_banner_counts_no_statement_where_statements_are_unknown():
    page = evaluation.leak_banner(evaluation.make_split(clips().assign(statement=""), "speaker")).data
    assert "Sentences were not fully checked (120 of 120 rows have no statement)" in page
    assert "have their sentence there" not in page


# real corpora


@pytest.mark.slow
def test_ravdess_at_48_khz_is_recognised_at_16(real):
    at_16, at_48 = corpora.load("ravdess", real("ravdess")), corpora.load("ravdess", real("ravdess_48k"))
    actors = at_16[at_16["speaker"].isin(set(at_48["speaker"]))].groupby("speaker").head(20)
    names = lambda column: column.str.extract(r"([\d-]{20})")[0]  # noqa: E731
    same_names = at_16[names(at_16["clip"]).isin(names(at_48["clip"]))]
    rows = pd.concat([pd.concat([actors, same_names]).assign(split="train"), at_48.assign(split="test")])
    leaks = evaluation.find_leaks(rows.drop_duplicates("path")).query("kind == 'content'")
    assert (names(leaks["clip"]) == names(leaks["trained_clip"])).all() and len(leaks) == len(at_48)
    assert leaks["similarity"].min() > 0.99


@pytest.mark.slow
def test_one_take_of_ravdess_under_two_names_is_found(real):
    table = corpora.load("ravdess", real("ravdess"), channel="speech").query("speaker == '07'")
    take = table["clip"].str.contains("03-01-03-01-02-01-07")
    leaks = evaluation.find_leaks(table.assign(split=np.where(take, "test", "train"))).query("kind == 'content'")
    assert len(leaks) == 1 and "03-01-03-01-02-02-07" in leaks["trained_clip"].iloc[0]


@pytest.mark.slow
def test_the_thresholds_separate_copies_from_other_clips_of_ravdess(real):
    """`python benchmarks/altered_copies.py ravdess` measures it on all clips."""
    table = corpora.load("ravdess", real("ravdess")).query("speaker in ['01', '08', '13', '17']")
    measured = compare_copies(table.sample(6, random_state=1), SURE)
    assert measured["similarity"].min() >= evaluation.FINGERPRINT_THRESHOLD
    assert measured["correlation"].min() > 0.8 > evaluation.CORRELATION_THRESHOLD
    other = similar_clips(table)
    assert len(other) > 50 and other["correlation"].max() < 0.6 < evaluation.CORRELATION_THRESHOLD


def test_parts_of_a_recording_share_its_sound_and_other_clips_do_not(tmp_path):
    table = corpora.load("demo-local")
    one, other = table.loc[table["speaker"] == table["speaker"].iloc[0], "path"].iloc[:2]
    signal = audio.load(one, 16000)
    parts = {"a": signal[4000:16000], "b": signal[10000:20000], "c": 0.3 * signal[17000:]}
    for name, part in parts.items():
        soundfile.write(tmp_path / f"{name}.wav", part, 16000)
    a, b, c = (str(tmp_path / f"{name}.wav") for name in parts)
    assert all(evaluation.shares_sound(part, one) and evaluation.shares_sound(one, part) for part in (a, b, c, one))
    assert evaluation.shares_sound(a, b), "they overlap"
    assert not evaluation.shares_sound(a, c) and not evaluation.shares_sound(one, other)
    assert not evaluation.shares_sound(c, other)
    soundfile.write(tmp_path / "silence.wav", np.zeros(8000), 16000)
    assert not evaluation.shares_sound(str(tmp_path / "silence.wav"), one)
