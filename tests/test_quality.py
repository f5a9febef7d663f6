from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write

from sernb import audio
from sernb import corpora
from sernb import evaluation

RATE = 16000


def speech(seconds=2.0, level=0.3, noise=0.0005, seed=0):
    """Half a second of tone, half of quiet, and so on."""
    rng, time = np.random.default_rng(seed), np.arange(int(seconds * RATE)) / RATE
    return level * np.sin(2 * np.pi * 200 * time) * (time % 1 < 0.5) + rng.normal(0, noise, len(time))


def test_levels_are_what_they_should_be():
    found = audio.measure_levels(speech(), RATE)
    assert found["seconds"] == 2 and found["clipped"] == 0
    assert found["peak"] == pytest.approx(20 * np.log10(0.3), abs=0.1)
    assert found["level"] == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.3)
    assert found["silent"] == pytest.approx(0.5, abs=0.02)
    assert found["snr"] == pytest.approx(20 * np.log10(0.3 / np.sqrt(2) / 0.0005), abs=1)
    assert audio.level_advice(found) == ""


@pytest.mark.parametrize(
    ("signal", "says"),
    [
        (np.clip(speech(level=1.5), -1, 1), "clipped"),
        (speech(level=0.002, noise=1e-5), "too quiet"),
        (speech(noise=0.1), "noisy"),
        (speech(0.2), "too short"),
        (np.concatenate([speech(0.5), np.zeros(RATE * 5)]), "mostly silence"),
    ],
)
def test_advice_names_the_fault(signal, says):
    assert says in audio.level_advice(audio.measure_levels(signal, RATE))


def test_silence_and_next_to_nothing_can_be_measured():
    for signal in (np.zeros(1000), np.ones(3), np.zeros(0)):
        assert np.isfinite(list(audio.measure_levels(signal, RATE).values())).all()


def test_a_corpus_is_measured_and_an_undecodable_clip_said(tmp_path):
    write(tmp_path / "a.wav", tone(0.6, RATE), RATE)
    (tmp_path / "b.wav").write_text("no audio")
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker\na.wav,sad,1\nb.wav,sad,2\n")
    measured = corpora.measure_clips(corpora.load("local", tmp_path))
    assert measured["seconds"][0] == pytest.approx(0.6) and "cannot be decoded" in measured["advice"][1]
    assert corpora.level_summary(measured).loc["all", "clips"] == 2


def clips(*pairs):
    table = pd.DataFrame(pairs, columns=["speaker", "emotion"]).assign(sex="", corpus="local")
    return table.assign(clip=table.index.astype(str))


def test_what_is_missing_for_a_speaker_split():
    table = clips(("a", "sad"), ("b", "sad"), ("a", "calm"), ("b", "calm"))
    assert evaluation.split_readiness(table).startswith("**Not yet:** 2 speakers")
    assert list(evaluation.missing_speakers(table)["speakers to add"]) == [1, 1]
    more = pd.concat([table, clips(("c", "sad"))], ignore_index=True)
    assert "3 speakers can be split" in evaluation.split_readiness(more) and "1 of calm" in evaluation.split_readiness(
        more
    )
    assert evaluation.missing_speakers(more).loc["calm", "not yet by"] == "c"
    assert "at least two emotions" in evaluation.split_readiness(clips(("a", "sad"), ("b", "unknown")))
