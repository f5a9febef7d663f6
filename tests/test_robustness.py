"""Distortions have the level that they are asked for, and a run's score without distortion is its own score."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.signal import welch
from support.audio_files import tone
from support.trained_runs import make_run

from sernb import audio
from sernb import corpora
from sernb import display
from sernb import evaluation
from sernb import results
from sernb.results import robustness

RATE = 16000
FEW = {"white noise": (20, 0), "gain": (0, 12), "end cut": (0.2,), "u-law": robustness.NO_LEVEL}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def table():
    return corpora.load("demo-ravdess", max_clips=48, emotions=["angry", "calm", "sad"])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, table):
    return make_run(tmp_path_factory.mktemp("run"), table, "pad")


@pytest.fixture(scope="module")
def predictions(run_dir):
    return results.distorted_predictions(run_dir, distortions=FEW)


@pytest.fixture(scope="module")
def sentence():
    """Return half a second of silence, a second of tone, half a second of silence: speech for a measure of energy."""
    silence = np.zeros(RATE // 2, np.float32)
    return np.concatenate([silence, 0.2 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE), silence]).astype(np.float32)


def power(signal):
    return 10 * np.log10(np.square(signal, dtype=np.float64).mean())


# what is speech


def test_the_level_is_that_of_the_speech_however_much_silence_there_is(sentence):
    alone = 10 * np.log10(0.2**2 / 2)
    assert audio.speech_level(sentence, RATE) == pytest.approx(alone, abs=1)  # the hangover counts as speech
    longer = np.pad(sentence, (3 * RATE, 5 * RATE))
    assert audio.speech_level(longer, RATE) == pytest.approx(audio.speech_level(sentence, RATE), abs=0.01)
    assert power(longer) < alone - 9, "over the whole clip it would be far lower"
    hiss = longer + 0.005 * np.random.default_rng(0).standard_normal(len(longer))
    assert audio.speech_level(hiss, RATE) == pytest.approx(alone, abs=1)
    assert audio.speech_level(10 * sentence, RATE) == pytest.approx(20 + audio.speech_level(sentence, RATE), abs=0.01)


def test_a_short_pause_belongs_to_the_speech_and_a_long_one_does_not():
    word = tone(0.5, RATE)
    short, long = (np.concatenate([word, np.zeros(int(s * RATE), np.float32), word]) for s in (0.15, 0.8))
    assert audio.active_speech(short, RATE).all()
    active = audio.active_speech(long, RATE)
    assert 1 - active.mean() == pytest.approx((0.8 - audio.HANGOVER_SECONDS) / 1.8, abs=0.03)
    assert audio.active_speech(np.zeros(100, np.float32), RATE).all() and len(audio.active_speech(word[:7], RATE)) == 7


# how much


@pytest.mark.parametrize("kind", ["white noise", "pink noise", "babble"])
@pytest.mark.parametrize("level", [20, 0])
def test_noise_has_the_snr_that_is_asked_for_relative_to_the_speech(sentence, kind, level):
    noise = audio.distort(sentence, RATE, kind, level, seed=3) - sentence
    assert audio.speech_level(sentence, RATE) - power(noise) == pytest.approx(level, abs=0.05)
    padded = np.pad(sentence, (0, 4 * RATE))
    same = audio.distort(padded, RATE, kind, level, seed=3) - padded
    assert power(same) == pytest.approx(power(noise), abs=0.1), "more silence makes no less noise"


def test_noise_is_seeded_and_only_louder_at_a_lower_snr(sentence):
    at = lambda level, seed: audio.distort(sentence, RATE, "babble", level, seed=seed) - sentence  # noqa: E731
    np.testing.assert_array_equal(at(10, 1), at(10, 1))
    assert np.abs(np.corrcoef(at(10, 1), at(10, 2))[0, 1]) < 0.1
    np.testing.assert_allclose(at(0, 1), 10 * at(20, 1), atol=1e-5)


def octaves(kind):
    noise = audio.distort(tone(8, RATE), RATE, kind, 0, seed=1) - tone(8, RATE)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    edges = (250, 500, 1000, 2000, 4000)
    return [10 * np.log10(spectrum[(hertz >= low) & (hertz < 2 * low)].mean()) for low in edges[:-1]]


def test_noises_have_their_colours():
    assert np.diff(octaves("white noise")) == pytest.approx(0, abs=0.6)
    assert np.diff(octaves("pink noise")) == pytest.approx(-3, abs=0.6)
    assert octaves("babble")[0] - octaves("babble")[-1] > 12


@pytest.mark.parametrize("level", [-12, -6, 0, 6, 12])
def test_gain_clips_at_full_scale_and_nowhere_else(level):
    signal = tone(0.5, RATE, level=0.4)
    out, factor = audio.distort(signal, RATE, "gain", level), 10 ** (level / 20)
    over = np.abs(signal * factor) > 1
    np.testing.assert_allclose(out[~over], signal[~over] * factor, rtol=1e-5)
    assert np.abs(out).max() <= 1 and (np.abs(out) >= 1).sum() == over.sum()
    assert (over.sum() > 100) == (level == 12), "only the loudest clips"


@pytest.mark.parametrize("seconds", [0, 0.1, 0.4])
def test_a_cut_removes_the_silence_and_as_much_speech(sentence, seconds):
    for kind in ("start cut", "end cut"):
        left = audio.distort(sentence, RATE, kind, seconds)
        assert len(left) / RATE == pytest.approx(1.5 - seconds, abs=0.04), kind
    assert np.abs(audio.distort(sentence, RATE, "start cut", seconds)[: RATE // 50]).max() > 0.1
    assert np.abs(audio.distort(sentence, RATE, "end cut", seconds)[-RATE // 50 :]).max() > 0.1
    most = audio.distort(sentence, RATE, "start cut", 60)
    assert len(most) / RATE == pytest.approx(0.6, abs=0.04), "a tenth of the speech is left"


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_a_telephone_passes_its_band_alone(rate):
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * rate).astype(np.float32)
    band = audio.distort(noise, rate, "telephone")
    hertz, before = welch(noise, rate, nperseg=1024, detrend=False)
    change = 10 * np.log10(welch(band, rate, nperseg=1024, detrend=False)[1] / before)
    assert np.median(change[(hertz > 400) & (hertz < 3200)]) == pytest.approx(0, abs=0.5)
    assert change[hertz < 150].max() < -40 and change[hertz > 3970].max() < -40 and len(band) == len(noise)


@pytest.mark.parametrize("codec", audio.CODECS)
@pytest.mark.parametrize("rate", [16000, 22050])
def test_a_codec_keeps_the_sound_in_its_place_and_loses_some(codec, rate):
    time = np.arange(2 * rate) / rate
    signal = (np.sin(2 * np.pi * 440 * time) * np.exp(-(((time - 1) / 0.3) ** 2))).astype(np.float32)
    signal += 0.05 * np.random.default_rng(0).standard_normal(len(signal)).astype(np.float32)
    coded = audio.distort(signal, rate, codec)
    assert len(coded) == len(signal) and coded.dtype == np.float32 and np.isfinite(coded).all()
    assert 3 < audio.snr(signal, coded) < 40
    spectra = np.fft.rfft(coded, 2 * len(signal)) * np.conj(np.fft.rfft(signal, 2 * len(signal)))
    lag = np.fft.irfft(spectra).argmax()
    assert min(lag, 2 * len(signal) - lag) <= 0.001 * rate


def test_minutes_of_vorbis_and_milliseconds_of_each_codec():
    assert len(audio.distort(tone(150, RATE), RATE, "vorbis")) == 150 * RATE  # in one piece libsndfile crashes
    for codec in audio.CODECS:
        assert len(audio.distort(tone(0.01, RATE), RATE, codec)) == 160


def test_an_unknown_distortion_is_refused():
    with pytest.raises(ValueError, match="white noise, .*u-law .got .echo"):
        audio.distort(tone(0.1, RATE), RATE, "echo", 1)


# a run


@pytest.mark.parametrize("kind", ["pad", "numbers", "db"])
def test_the_undistorted_point_is_the_runs_own_score(tmp_path, table, run_dir, kind):
    folder = run_dir if kind == "pad" else make_run(tmp_path, table, kind)
    scores = results.score_distortions(results.distorted_predictions(folder, distortions={"gain": (0,)}))
    entry = next(iter(results.read_metrics(folder)["models"].values()))
    for name in (results.UNDISTORTED, "gain"):
        row = scores[scores["distortion"] == name].iloc[0]
        assert (row["uar"], row["accuracy"]) == (entry["test"]["uar"], entry["test"]["accuracy"])
        assert [row["uar_low"], row["uar_high"]] == pytest.approx(
            [np.nan if end is None else end for end in entry["ci95"]["uar"]], nan_ok=True
        )
    assert row["rows"] == results.read_metrics(folder)["split"]["test"] and row["chance"] == pytest.approx(1 / 3)


def test_every_clip_is_predicted_at_every_distortion(run_dir, table, predictions):
    clips = results.test_clips(results.load_run(run_dir))["clip"]
    sizes = predictions.groupby(["distortion", "level"], sort=False, dropna=False).size()
    assert list(sizes) == [len(clips)] * 7
    assert list(sizes.index.get_level_values(0)) == ["none", *["white noise"] * 2, *["gain"] * 2, "end cut", "u-law"]
    assert set(predictions["clip"]) == set(clips) and not predictions.duplicated(["distortion", "level", "clip"]).any()
    then = results.read_predictions(run_dir).set_index("clip")
    now = predictions[predictions["distortion"] == "none"].set_index("clip")
    np.testing.assert_allclose(
        now[corpora.emotion_labels(table)], then.loc[now.index, corpora.emotion_labels(table)], atol=2e-5
    )
    pd.testing.assert_frame_equal(predictions, results.distorted_predictions(run_dir, distortions=FEW), atol=1e-5)


def test_the_scores_are_those_of_the_predictions(predictions):
    scores = results.score_distortions(predictions).set_index(["distortion", "level"])
    part = predictions[(predictions["distortion"] == "white noise") & (predictions["level"] == 0)]
    matrix = evaluation.confusion_matrix(
        part["truth"].to_numpy(), part["prediction"].to_numpy(), ["angry", "calm", "sad"]
    )
    assert scores.loc[("white noise", 0), "uar"] == evaluation.uar(matrix)
    assert scores.loc[("white noise", 0), "unit"] == "dB SNR"
    mute = predictions.assign(prediction=predictions["prediction"].where(predictions["distortion"] == "none", ""))
    worst = results.score_distortions(mute).set_index("distortion")["accuracy"]
    assert worst["u-law"] == 0 and worst["none"] == scores["accuracy"].iloc[0], (
        "a missing prediction is no error, only wrong"
    )
    table = display.format_robustness(results.score_distortions(predictions))
    assert list(table.index) == ["none", "white noise 20 dB SNR", "white noise 0 dB SNR", "gain 0 dB", "gain 12 dB",
                                "end cut 0.2 s", "u-law"]  # fmt: skip


def test_clips_of_another_corpus_and_fewer_of_them(tmp_path, run_dir):
    own = corpora.load("demo-local", emotions=["angry", "calm", "happy"], max_clips=18)
    scores = results.score_distortions(
        results.distorted_predictions(results.load_run(run_dir), own, distortions={}, max_clips=8)
    )
    assert list(scores["distortion"]) == ["none"] and scores["rows"].iloc[0] == 8 and scores["chance"].iloc[0] == 0.5


def test_another_corpus_than_that_of_the_run_is_noticed(tmp_path, run_dir, monkeypatch):
    predictions = results.read_predictions(run_dir)
    for file in run_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    predictions["prediction"] = predictions["prediction"].map({"angry": "calm", "calm": "sad", "sad": "angry"})
    predictions.to_csv(tmp_path / "predictions.csv", index=False)
    warned = []  # `pytest.warns` is not safe beside threads, and once recorded nothing here
    monkeypatch.setattr("sernb.results.robustness.warnings.warn", lambda text, *rest, **options: warned.append(text))
    results.score_distortions(results.distorted_predictions(tmp_path, distortions={}))
    assert any("undistorted clips differ from those in predictions.csv" in text for text in warned)
    predictions.assign(clip="gone/" + predictions["clip"]).to_csv(tmp_path / "predictions.csv", index=False)
    with pytest.raises(results.PredictionError, match="predictions of the clip gone/.*data_dir"):
        results.score_distortions(results.distorted_predictions(tmp_path))


def test_many_clips_at_once_are_predicted_as_one_by_one(run_dir):
    run = results.load_run(run_dir)
    clips = [tone(seconds, RATE, 200 + 50 * i) for i, seconds in enumerate((0.5, 9, 2, 12))]
    one_by_one = pd.DataFrame([results.predict_proba(run, clip) for clip in clips], index=range(4))
    pd.testing.assert_frame_equal(results.predict_batch(run, clips), one_by_one, atol=1e-5)


def test_about_a_third_of_a_real_clip_is_speech(real):
    own = corpora.load("ravdess", real("ravdess"), channel="speech", max_clips=16)
    shares = [audio.active_speech(audio.load(path, RATE), RATE).mean() for path in own["path"]]
    assert 0.25 < np.median(shares) < 0.6
