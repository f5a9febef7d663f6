"""A map peaks at the region that the prediction depends on, and differs from that of an untrained network."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write
from support.trained_runs import make_run

from sernb import corpora
from sernb import display
from sernb import features
from sernb import models
from sernb import results
from sernb.results import explanation

RATE, BANDS, FRAMES = 16000, 40, 60
REGION = np.s_[8:14, 20:32]
MAPS = [results.occlusion_map, results.integrated_gradients]

pytestmark = pytest.mark.slow


def hand_made(region: tuple = REGION, feature: str = "mel", *, standardised: bool = True) -> results.TrainedRun:
    """Return a network of one dense layer whose prediction depends only on the mean of one region of its input."""
    models.init_backend()
    import keras

    weights = np.zeros((BANDS, FRAMES, 2), np.float32)
    weights[(*region, 0)] = 4 / weights[(*region, 0)].size
    shape = [keras.Input((BANDS, FRAMES, 1)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential(shape, name="hand-made")
    model.set_weights([weights.reshape(-1, 2), np.zeros(2, np.float32)])
    scaler = (np.full(BANDS, -40, np.float32), np.full(BANDS, 20, np.float32)) if standardised else (None, None)
    settings = {"mel": {"n_mels": BANDS}, "mfcc": {"n_mfcc": BANDS}}[feature]
    inputs = features.InputSpec(feature, RATE, settings, "db" if feature == "mel" else "pad", FRAMES, *scaler)
    return results.TrainedRun(Path("hand-made"), {"labels": ["angry", "sad"]}, model, inputs)


@pytest.fixture(scope="module")
def noise():
    return 0.1 * np.random.default_rng(0).standard_normal(FRAMES * features.HOP_LENGTH - 1).astype(np.float32)


@pytest.mark.parametrize("map_of", MAPS)
@pytest.mark.parametrize("region", [REGION, np.s_[30:36, 5:15]])
def test_the_map_peaks_at_the_region_that_the_prediction_depends_on(noise, map_of, region):
    attribution = map_of(hand_made(region), noise)
    effect = attribution.attribution.to_numpy()
    inside = np.zeros(effect.shape, bool)
    inside[region] = True
    assert effect.shape == (BANDS, FRAMES) == attribution.input.shape
    assert inside[np.unravel_index(effect.argmax(), effect.shape)]
    assert effect[inside].mean() > 5 * np.abs(effect[~inside]).mean() and attribution.label == "angry"
    opposite = map_of(hand_made(region), noise, "sad").attribution.to_numpy()
    np.testing.assert_allclose(opposite, -effect, atol=1e-5)


def test_integrated_gradients_sum_to_the_difference_of_the_probabilities(noise):
    run = hand_made()
    attribution = results.integrated_gradients(run, noise)
    x = attribution.input.to_numpy()[None]
    both = explanation._label_probability(run, np.concatenate([x, 0 * x]).astype(np.float32), attribution.label)
    assert both[1] == pytest.approx(0.5) and attribution.probability == pytest.approx(both[0])
    assert attribution.attribution.to_numpy().sum() == pytest.approx(both[0] - both[1], abs=1e-3)


def test_without_training_means_those_of_the_clip_are_usual(noise):
    run = hand_made(standardised=False)
    x, usual = explanation._input_and_baseline(run, noise)
    np.testing.assert_allclose(usual, np.repeat(x.mean(axis=1, keepdims=True), FRAMES, 1), rtol=1e-5)
    assert not explanation._input_and_baseline(hand_made(), noise)[1].any()


def test_the_axes_are_seconds_and_bands():
    clip = np.concatenate([np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE), np.zeros(RATE // 2)]).astype(np.float32)
    attribution = results.occlusion_map(hand_made(), clip)
    loud = attribution.input.loc[:, :0.9].mean(axis=1)
    assert loud.idxmax() == pytest.approx(1000, rel=0.08) and attribution.input.index.name == "mel band (Hz)"
    assert attribution.input.columns[1] == pytest.approx(features.HOP_LENGTH / RATE) and attribution.seconds == 1.5
    assert attribution.input.columns.name == "seconds" and attribution.method == "occlusion"
    coefficients = results.occlusion_map(hand_made(feature="mfcc"), clip).attribution.index
    assert list(coefficients) == list(range(BANDS)) and coefficients.name == "MFCC coefficient"


def test_every_part_is_covered_whatever_the_patch(noise):
    for patch in ((0.01, 0.01), (0.3, 0.35), (1, 9), (5, 0.2)):
        assert np.isfinite(results.occlusion_map(hand_made(), noise, patch=patch).attribution.to_numpy()).all(), patch
    whole = results.occlusion_map(hand_made(), noise, patch=(1, 9))
    assert whole.attribution.to_numpy() == pytest.approx(whole.probability - 0.5)


@pytest.fixture(scope="module")
def demo():
    return corpora.load("demo-local", max_clips=24, emotions=["angry", "calm", "sad"])


def test_what_cannot_be_attributed_is_refused(tmp_path, noise, demo):
    with pytest.raises(results.AttributionError, match="'happy'; it knows angry, sad"):
        results.occlusion_map(hand_made(), noise, "happy")
    numbers = results.load_run(make_run(tmp_path, demo, "numbers"))
    for map_of in MAPS:
        with pytest.raises(results.AttributionError, match="conv1d-b .* zcr_rms, not a spectrogram.* mel or mfcc"):
            map_of(numbers, tone(1, RATE))


def test_an_untrained_network_gives_another_map(tmp_path, noise):
    """Adebayo et al. 2018: a map that does not depend on the weights only shows the input."""
    run = hand_made()
    trained = results.occlusion_map(run, noise)
    assert results.map_correlation(trained, trained) == pytest.approx(1)
    untrained = [
        results.occlusion_map(results.with_random_weights(run, seed=i), noise, trained.label) for i in range(3)
    ]
    correlations = [results.map_correlation(trained, attribution) for attribution in untrained]
    assert np.abs(correlations).max() < 0.5 and len(set(correlations)) == 3


@pytest.mark.slow
def test_random_weights_are_seeded_and_leave_the_run_alone(tmp_path, demo):
    run = results.load_run(make_run(tmp_path, demo, "pad"))
    before = [weights.copy() for weights in run.model.get_weights()]
    first, again, other = (results.with_random_weights(run, seed=seed).model.get_weights() for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(first[0], other[0]) and not np.allclose(first[0], before[0])
    assert all((a == b).all() for a, b in zip(before, run.model.get_weights(), strict=True))
    clip = tone(1, RATE)
    for map_of in MAPS:
        trained, untrained = (map_of(model, clip, "sad") for model in (run, results.with_random_weights(run)))
        assert results.map_correlation(trained, untrained) < 0.8


def test_examples_are_the_most_confident_right_and_wrong_predictions():
    predictions = pd.DataFrame(
        [
            ("a", "sad", "sad", 0.9, 0.1),
            ("b", "sad", "sad", 0.8, 0.2),
            ("c", "angry", "angry", 0.4, 0.6),
            ("d", "angry", "sad", 0.7, 0.3),
            ("e", "angry", "sad", 0.95, 0.05),
            ("f", "sad", "", np.nan, np.nan),
        ],
        columns=["clip", "truth", "prediction", "sad", "angry"],
    )
    examples = results.most_confident(predictions, 2)
    assert list(examples["clip"]) == ["a", "c", "e", "d"], "one of each emotion first"
    assert list(examples["right"]) == [True, True, False, False]
    assert list(examples["confidence"]) == [0.9, 0.6, 0.95, 0.7]
    assert len(results.most_confident(predictions.iloc[:2], 5)) == 2


def test_from_a_run_to_a_map(tmp_path, demo):
    from sernb import audio
    from sernb import results

    run = results.load_run(make_run(tmp_path, demo, "pad"))
    row = results.most_confident(results.test_clips(run), 1).iloc[0]
    attribution = results.occlusion_map(run, audio.load(row["path"], RATE))
    assert attribution.label == row["prediction"] and attribution.probability == pytest.approx(
        row["confidence"], abs=2e-5
    )


@pytest.mark.parametrize("region", [np.s_[10:15, 10:20], np.s_[30:35, 40:50]])
def test_the_mean_map_peaks_at_the_region_that_all_predictions_depend_on(tmp_path, monkeypatch, region):
    """Clips with speech from the 10th frame to the 50th; a cell is five bands high and ten frames long."""
    speech = np.random.default_rng(0).normal(0, 0.1, 40 * features.HOP_LENGTH).astype(np.float32)
    path = write(tmp_path / "a.wav", np.pad(speech, 10 * features.HOP_LENGTH), RATE)
    clips = pd.DataFrame({"path": str(path), "emotion": ["angry", "sad"] * 3, "speaker": list("aabbcc")})
    monkeypatch.setattr(
        "sernb.results.explanation.test_clips", lambda run, data_dir: clips.assign(prediction="angry", channel="")
    )
    table = results.mean_occlusion_map([hand_made(region)], parts=4)
    assert list(table["prediction"].unique()) == ["correct", "incorrect"] and (table["clips"] == 3).all()
    assert list(table["part"].unique()) == ["before", "1", "2", "3", "4", "after"] and len(table) == 2 * 8 * 6
    assert (table["speakers"] == 3).all() and set(table["axis"]) == {"mel band (Hz)"}
    for _, part in table.groupby("prediction"):
        effect = part["effect"].to_numpy().reshape(8, 6)
        cell = (region[0].start // 5, region[1].start // 10)
        assert np.unravel_index(np.abs(effect).argmax(), effect.shape) == cell
        assert np.abs(np.delete(effect.ravel(), cell[0] * 6 + cell[1])).max() < 0.2 * np.abs(effect).max()


def test_the_mean_is_over_clips_and_its_error_over_speakers():
    head = {"prediction": "correct", "band": "0 to 4", "part": "1"}
    effects = pd.DataFrame([{**head, "speaker": s, "effect": e} for s, e in [("a", 0.1), ("a", 0.3), ("b", 0.5)]])
    table = explanation._average_cells(
        pd.concat([effects, effects.assign(prediction="incorrect", effect=[np.nan, 1, 2])])
    )
    assert table["effect"].tolist() == pytest.approx([0.3, 1.5]) and table["clips"].tolist() == [3, 2]
    assert table["error"].tolist() == pytest.approx([0.15, 0.5]) and table["speakers"].tolist() == [2, 2]


def test_the_mean_map_is_over_all_test_clips_or_as_many_as_are_asked_for(tmp_path, demo):
    run = results.load_run(make_run(tmp_path, demo, "pad"))
    number = len(results.test_clips(run))
    counts = [
        results.mean_occlusion_map([run, run], max_clips=n).groupby("prediction")["clips"].max().sum() for n in (0, 2)
    ]
    assert counts == [2 * number, 4]


def test_the_mean_map_is_drawn_as_it_was_measured():
    import matplotlib.pyplot as plt

    cells = [
        (a, b, p, i / 100) for i, (a, b, p) in enumerate(product(["correct", "incorrect"], ["0 to 4", "5 to 9"], "pq"))
    ]
    table = pd.DataFrame(cells, columns=["prediction", "band", "part", "effect"]).assign(
        clips=[1] * 4 + [7] * 4, axis="mel"
    )
    figure = display.mean_attribution_map(table)
    right, wrong = figure.axes[:2]
    np.testing.assert_allclose(wrong.images[0].get_array(), [[0.04, 0.05], [0.06, 0.07]])
    assert [ax.get_title() for ax in (right, wrong)] == [
        "correct predictions (1 clip)",
        "incorrect predictions (7 clips)",
    ]
    assert right.get_ylabel() == "mel" and right.images[0].get_clim() == wrong.images[0].get_clim() == (-0.07, 0.07)
    assert len(display.mean_attribution_map(table[table["prediction"] == "incorrect"]).axes) == 2, (
        "one panel and the scale"
    )
    plt.close("all")
