from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write
from typer.testing import CliRunner

from sernb import audio
from sernb import cli
from sernb import corpora
from sernb import evaluation

RATE = 16000


def speech(seconds=2.0, level=0.3, noise=0.0005, seed=0):
    """Return half a second of tone, half a second of quiet, and so on."""
    rng, time = np.random.default_rng(seed), np.arange(int(seconds * RATE)) / RATE
    return level * np.sin(2 * np.pi * 200 * time) * (time % 1 < 0.5) + rng.normal(0, noise, len(time))


def test_levels_of_a_known_signal():
    levels = audio.measure_levels(speech(), RATE)
    assert levels["seconds"] == 2 and levels["clipped"] == 0
    assert levels["peak"] == pytest.approx(20 * np.log10(0.3), abs=0.1)
    assert levels["level"] == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.3)
    assert levels["silent"] == pytest.approx(0.5, abs=0.02)
    assert levels["snr"] == pytest.approx(20 * np.log10(0.3 / np.sqrt(2) / 0.0005), abs=1)
    assert audio.level_advice(levels) == ""


@pytest.mark.parametrize(
    ("signal", "text"),
    [
        (np.clip(speech(level=1.5), -1, 1), "clipped"),
        (speech(level=0.0003, noise=1e-6), "next to no sound"),
        (speech(level=0.01, noise=0.1), "hardly louder than the noise"),
        (speech(0.2), "too short"),
        (np.concatenate([speech(0.5), np.zeros(RATE * 5)]), "mostly silence"),
    ],
)
def test_advice_names_the_fault(signal, text):
    assert text in audio.level_advice(audio.measure_levels(signal, RATE))


def test_silence_and_very_short_signals_can_be_measured():
    for signal in (np.zeros(1000), np.ones(3), np.zeros(0)):
        assert np.isfinite(list(audio.measure_levels(signal, RATE).values())).all()


def test_a_corpus_is_measured_and_an_undecodable_clip_reported(tmp_path):
    write(tmp_path / "a.wav", tone(0.6, RATE), RATE)
    (tmp_path / "b.wav").write_text("no audio")
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker\na.wav,sad,1\nb.wav,sad,2\n")
    measured = corpora.measure_clips(corpora.load("local", tmp_path))
    assert measured["seconds"][0] == pytest.approx(0.6) and "cannot be decoded" in measured["advice"][1]
    summary = corpora.level_summary(measured)
    assert summary.loc["all", "clips"] == 2 and {"duration (s)", "SNR (dB)"} <= set(summary)


def clips(*pairs):
    table = pd.DataFrame(pairs, columns=["speaker", "emotion"]).assign(sex="", corpus="local")
    return table.assign(clip=table.index.astype(str))


def test_a_speaker_split_reports_what_is_missing():
    table = clips(("a", "sad"), ("b", "sad"), ("a", "calm"), ("b", "calm"))
    assert evaluation.split_readiness(table).endswith("by at least three speakers. Emotions so far: 2; speakers: 2.")
    assert list(evaluation.missing_speakers(table)["speakers to add"]) == [1, 1]
    more = pd.concat([table, clips(("c", "sad"))], ignore_index=True)
    assert "3 speakers can be split" in evaluation.split_readiness(more) and "1 of calm" in evaluation.split_readiness(
        more
    )
    assert evaluation.missing_speakers(more).loc["calm", "speakers without it"] == "c"
    assert "at least two emotions" in evaluation.split_readiness(clips(("a", "sad"), ("b", "unknown")))


def test_one_take_of_another_emotion_does_not_hide_that_the_rest_can_be_split():
    table = clips(*((speaker, emotion) for speaker in "abcd" for emotion in ("sad", "calm") for _ in range(3)))
    for seed in range(8):  # a side of each seed in turn would have the only take of disgust
        for speaker in "abcd":
            more = pd.concat([table, clips((speaker, "disgust"))], ignore_index=True)
            text = evaluation.split_readiness(more, seed=seed)
            assert "EMOTIONS" not in text and "SEED" not in text and "2 of disgust" in text
            assert "the 4 speakers can be split" in text
    assert "at least two emotions" in evaluation.split_readiness(clips(("a", "disgust")))


def test_a_session_is_too_quiet_as_a_whole_and_one_quiet_clip_is_not(tmp_path):
    for speaker, levels in {"S01": (0.3, 0.2, 0.004), "S02": (0.006, 0.004, 0.003)}.items():
        for i, level in enumerate(levels):
            write(tmp_path / f"{speaker}-{i}.wav", speech(level=level, noise=1e-5), RATE)
    rows = [f"{path.name},sad,{path.name[:3]}" for path in sorted(tmp_path.glob("*.wav"))]
    (tmp_path / "manifest.csv").write_text("\n".join(["file,emotion,speaker", *rows]) + "\n")
    measured = corpora.measure_clips(corpora.load("local", tmp_path))
    assert (measured["advice"] == "").all(), "a quiet sad clip is no fault: its level is a cue"
    assert list(corpora.session_advice(measured).index) == ["S02"]
    noisy = measured.assign(snr=[4.0, 12.0, 20.0, 11.0, 12.0, 13.0], level=-20.0)
    assert corpora.session_advice(noisy)["advice"].to_dict() == {
        "S01": "noisy as a whole: record further clips in a quieter room",
        "S02": "noisy as a whole: record further clips in a quieter room",
    }, "a quiet emotion is nearer to the noise"
    assert corpora.session_advice(measured.groupby("speaker").head(2)).empty
    clipped = measured.assign(clipped=measured["clipped"] + (measured["clip"] == "S02-0.wav"))
    assert corpora.session_advice(clipped).empty, "never louder and softer at once"


@pytest.mark.parametrize(
    ("signal", "column", "text"),
    [
        (np.full(RATE, 0.25), "problem", "constant value 0.25"),
        (np.random.default_rng(0).normal(0, 2e-5, RATE), "odd", "next to no sound"),
        (0.25 + np.random.default_rng(0).normal(0, 2e-5, RATE), "odd", "next to no sound"),
        (0.001 * np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE), "odd", "next to no sound"),
        (speech(level=0.02), "odd", ""),
    ],
)
def test_check_reports_clips_without_speech(tmp_path, signal, column, text):
    write(tmp_path / "a.wav", signal, RATE)
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker\na.wav,sad,1\n")
    (reported,) = corpora.check_files(corpora.load("local", tmp_path))[column]
    assert (text in reported) if text else reported == ""


def test_copies_with_other_labels_are_reported(tmp_path):
    for name, frequency in {"a": 200, "b": 200, "c": 300, "d": 300, "e": 400}.items():
        write(tmp_path / f"{name}.wav", tone(0.6, RATE, frequency), RATE)
    labels = {"a": "sad,1", "b": "angry,1", "c": "sad,1", "d": "sad,2", "e": "sad,1"}
    lines = [f"{name}.wav,{text}" for name, text in labels.items()]
    (tmp_path / "manifest.csv").write_text("\n".join(["file,emotion,speaker", *lines]) + "\n")
    conflicts = corpora.conflicting_copies(corpora.load("local", tmp_path))
    assert sorted(conflicts["clip"]) == ["a.wav", "b.wav", "c.wav", "d.wav"] and conflicts["sha256"].nunique() == 2
    text = CliRunner().invoke(cli.app, ["check", "local", "--data-dir", str(tmp_path)]).stdout
    assert "the same recording with different labels: a.wav (sad, speaker 1), b.wav (angry, speaker 1)\n" in text
    assert "c.wav (sad, speaker 1), d.wav (sad, speaker 2)\n" in text and "e.wav" not in text
