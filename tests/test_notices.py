"""Notices about a corpus, the clips that are left out, example clips, and one run per fold."""

from __future__ import annotations

import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write

from sernb import audio
from sernb import corpora
from sernb import display as show
from sernb import results


@pytest.fixture
def page(monkeypatch):
    """The list of what is displayed during a test, as text."""
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda value: outputs.append(getattr(value, "data", str(value))))
    return outputs


def small_corpus(folder, emotions):
    """Write a local corpus with one tone per emotion of a list."""
    lines = ["file,emotion,speaker"]
    for i, emotion in enumerate(emotions):
        write(folder / f"{i}.wav", tone(0.5, 16000, 200 + 10 * i), 16000)
        lines.append(f"{i}.wav,{emotion},P{i % 2}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return corpora.load("local", folder)


def test_example_clips_are_the_second_of_each_emotion_or_the_only_one():
    clips = pd.DataFrame({"emotion": ["sad", "calm", "sad", "sad", "angry", "angry"], "clip": list("abcdef")})
    examples = corpora.example_clips(clips)
    assert examples["emotion"].tolist() == ["angry", "calm", "sad"]
    assert examples["clip"].tolist() == ["f", "b", "c"]


def test_notices_name_synthetic_speech_once_and_real_speech_not_at_all(page):
    demo = corpora.load("demo-local", max_clips=8)
    show.notices(demo, None)
    show.notices(demo.assign(corpus="ravdess"), None)
    text = "\n".join(page)
    assert text.count("Synthetic speech") == 1 and "Withheld" not in text


def test_notices_say_what_a_page_withholds_of_a_private_corpus(tmp_path, page):
    show.notices(corpora.load("demo-local", max_clips=8), small_corpus(tmp_path, ["sad", "calm"]))
    text = "\n".join(page)
    assert "Synthetic speech" in text and "Withheld" in text


def test_usable_clips_drops_unknown_and_broken_clips_and_shows_the_broken_ones(tmp_path, page):
    clips = small_corpus(tmp_path, ["sad", "sad", "unknown", "calm", "calm"])
    (tmp_path / "4.wav").write_bytes(b"no audio")
    usable, none = show.usable_clips(clips, None, "mfcc", sample_rate=16000, n_mfcc=40)
    assert none is None
    assert usable["clip"].tolist() == ["0.wav", "1.wav", "3.wav"] and list(usable.index) == [0, 1, 2]
    text = "\n".join(page)
    assert "1 of 4 clips" in text and "4.wav" not in text  # a private corpus: no file names
    with pytest.raises(audio.AudioError):
        show.usable_clips(clips, None, "mfcc", sample_rate=16000, n_mfcc=40, strict=True)


def test_usable_clips_keeps_the_emotions_that_both_corpora_have(tmp_path, page):
    clips = small_corpus(tmp_path / "a", ["sad", "calm", "happy"])
    test_clips = small_corpus(tmp_path / "b", ["calm", "sad", "angry"])
    clips, test_clips = show.usable_clips(clips, test_clips, "zcr_rms", sample_rate=16000)
    assert set(clips["emotion"]) == set(test_clips["emotion"]) == {"calm", "sad"}
    assert any("Tested on `local`" in text for text in page)


def test_run_folds_trains_one_split_in_the_folder_of_the_run(tmp_path):
    calls = []
    result = results.run_folds(lambda *call: calls.append(call) or {"schema": 1}, [2], tmp_path, {"FOLD": 2})
    assert calls == [(2, tmp_path, {"FOLD": 2})] and result == {"schema": 1}


def test_run_folds_trains_each_fold_in_a_folder_of_its_own_and_pools_them(tmp_path, monkeypatch):
    calls, pooled = [], []
    monkeypatch.setattr("sernb.results.saving.pool_folds", lambda *call: pooled.append(call) or {"schema": 1})
    results.run_folds(lambda *call: calls.append(call), {1: "", 3: ""}, tmp_path, {"SEED": 4, "FOLD": 0})
    assert calls == [(k, tmp_path / f"fold-{k}", {"SEED": 4, "FOLD": k}) for k in (1, 3)]
    assert pooled == [(tmp_path, [1, 3], {"SEED": 4, "FOLD": 0})]
    pooled.clear()
    results.run_folds(lambda *call: calls.append(call), {3: ""}, tmp_path, {"FOLD": 0})  # the only fold with clips
    assert len(pooled) == 1


def test_describe_balance_says_when_the_most_frequent_emotion_pays():
    even = pd.DataFrame({"emotion": ["sad", "calm"] * 3})
    assert show.describe_balance(even).startswith("3 per emotion") and "chance" in show.describe_balance(even)
    assert show.describe_balance(even.iloc[:-1]).startswith("2 to 3 per emotion")


@pytest.mark.parametrize(
    ("train", "val", "misleading", "advice"),
    [
        (0.2, 0.2, (), "Chance is 0.167, so the network has learned little"),
        (0.9, 0.5, (), "memorises"),
        (0.9, 0.85, (), "5 points apart"),
        (0.9, 0.5, ("constant-validation",), "With `constant-validation`, the validation curve is not informative"),
    ],
)
def test_describe_curve_reads_the_last_epoch(train, val, misleading, advice):
    text = show.describe_curve({"train_accuracy": train, "val_accuracy": val}, 6, misleading)
    assert advice in text and f"{train:.3f} in training" in text


def test_describe_ranking_sorts_models_and_skips_those_without_a_score():
    cells = pd.DataFrame(
        {"uar": [0.3, 0.5, float("nan")], "uar_low": 0.2, "speakers": [4, 4, 4]}, index=["net", "mfcc-svm", "other"]
    )
    text = show.describe_ranking(cells, ["mfcc-svm"])
    assert text.startswith("**UAR: mfcc-svm 0.500, net 0.300.**") and "4 test speakers" in text


def test_describe_snr_names_the_extremes():
    text = show.describe_snr(pd.Series({"sad": 3.0, "angry": 15.25, "calm": -1.0}))
    assert "angry clip has the highest SNR (15.2 dB)" in text and "calm clip the lowest (-1.0 dB)" in text


@pytest.mark.parametrize(
    ("corpus", "text"),
    [("ravdess", "paper for RAVDESS"), ("demo-local", "Not comparable"), ("crema", "makes no claim")],
)
def test_describe_claims_names_the_corpus_of_the_claims(corpus, text):
    result = {"corpus": {"name": corpus}, "split": {}, "models": {"paper-cnn": {"test": {"accuracy": 0.5}}}}
    result["parameters"] = {"MAX_CLIPS": 0, "EPOCHS": 0, "EMOTIONS": [], "CHANNEL": "all", "RECIPE": "plain"}
    assert text in show.describe_claims(result)
    assert ("Not comparable" in show.describe_claims(result)) == corpus.startswith("demo")
    assert show.claims_table(result).loc["test", "this run"] == "0.500"


def test_describe_claims_says_what_was_shortened():
    parameters = {"MAX_CLIPS": 400, "EPOCHS": 8, "EMOTIONS": [], "CHANNEL": "speech", "RECIPE": "plain"}
    result = {"corpus": {"name": "ravdess"}, "split": {}, "parameters": parameters}
    text = show.describe_claims(result)
    assert "shortened (at most 400 clips, speech only, 8 epochs instead of 120)" in text
    complete = {**result, "parameters": parameters | {"MAX_CLIPS": 0, "EPOCHS": 240, "CHANNEL": "all"}}
    assert "Not comparable" not in show.describe_claims(complete)


def test_describe_corpus_counts_clips_and_speakers():
    clips = corpora.load("demo-local", max_clips=8)
    assert f"8 clips, {clips['speaker'].nunique()} speakers; licence: MIT" in show.describe_corpus(clips)
