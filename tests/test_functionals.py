"""The functionals of a clip measure what they are called, and are finite for any clip."""

from __future__ import annotations

import numpy as np
import pytest
from support.audio_files import tone

from sernb import audio
from sernb import features

RATE = 16000


def measured(signal: np.ndarray, **options) -> dict[str, float]:
    return dict(
        zip(
            features.feature_names(),
            features.compute_functionals(signal.astype(np.float32), RATE, **options),
            strict=True,
        )
    )


def voice(hertz: float, seconds: float = 1.0, level: float = 0.1, glide: float = 0.0) -> np.ndarray:
    """A buzz of many harmonics, `glide` semitones higher at its end."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = hertz * 2 ** (glide / 12 * time / seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return level * sum(np.sin(k * phase) / k for k in range(1, 20))


def test_every_number_has_a_name_and_a_group():
    names = features.feature_names()
    assert (
        len(names)
        == len(set(names))
        == len(features.feature_groups())
        == len(features.compute_functionals(tone(1, RATE), RATE))
    )
    assert list(dict.fromkeys(features.feature_groups())) == [
        *("pitch", "level", "rhythm", "voice", "spectrum", "bands", "flux", "cepstrum", "cepstral slope"),
    ]


def test_pitch_is_in_semitones_above_100_hz():
    low, high = (measured(voice(hertz), speeds=1) for hertz in (100, 200))
    assert low["pitch: median"] == pytest.approx(0, abs=0.3)
    assert high["pitch: median"] == pytest.approx(12, abs=0.3)
    rising, falling = (measured(voice(150, glide=glide), speeds=1) for glide in (6, -6))
    assert rising["pitch: mean of first third"] < -1 < 1 < rising["pitch: mean of last third"]
    assert falling["pitch: mean of first third"] > 1 > -1 > falling["pitch: mean of last third"]


def test_level_rhythm_and_voice_follow_the_sound():
    soft, loud = (measured(voice(150, level=level), speeds=1) for level in (0.01, 0.1))
    assert loud["level: median"] - soft["level: median"] == pytest.approx(20, abs=0.5)
    short, long = (measured(voice(150, seconds=seconds), speeds=1) for seconds in (0.5, 2.0))
    assert long["rhythm: duration"] - short["rhythm: duration"] == pytest.approx(1.5, abs=0.05)
    breath = 0.1 * np.random.default_rng(0).normal(size=RATE)
    clear, hoarse = (measured(signal, speeds=1) for signal in (voice(150), voice(150) + breath))
    assert hoarse["voice: mean harmonics-to-noise ratio"] < clear["voice: mean harmonics-to-noise ratio"] - 5


def test_features_of_the_spectrum_are_named_after_what_they_measure():
    def band(low: float, high: float) -> np.ndarray:
        spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=RATE))
        hertz = np.fft.rfftfreq(RATE, 1 / RATE)
        return 0.1 * np.fft.irfft(np.where((hertz >= low) & (hertz < high), spectrum, 1e-3 * spectrum))

    dark, bright = (measured(signal, speeds=1) for signal in (band(200, 500), band(5000, 7500)))
    assert dark["spectrum: mean of centroid"] < 0.6 and bright["spectrum: mean of centroid"] > 5
    assert dark["spectrum: mean of rolloff"] < 0.6 and bright["spectrum: mean of rolloff"] > 6
    for balance in ("alpha ratio", "Hammarberg index", "0-500 Hz above 500-1500 Hz"):
        assert dark[f"spectrum: mean of {balance}"] > 15 > bright[f"spectrum: mean of {balance}"]
    assert bright["spectrum: mean of 5-8 kHz above 1-5 kHz"] > 15 > dark["spectrum: mean of 5-8 kHz above 1-5 kHz"]


def test_silence_around_a_clip_changes_little():
    clip, quiet = voice(180), np.zeros(RATE)
    alone, padded = (measured(signal, speeds=1) for signal in (clip, np.concatenate([quiet, clip, quiet])))
    for name in ("pitch: median", "level: median", "cepstrum: median 1", "rhythm: duration"):
        assert padded[name] == pytest.approx(alone[name], rel=0.1, abs=0.2)


def test_three_speeds_are_averaged():
    clip = voice(150).astype(np.float32)
    vectors = [
        features.compute_functionals(audio.perturb_speed(clip, speed), RATE, speeds=1) for speed in features.SPEEDS
    ]
    np.testing.assert_allclose(features.compute_functionals(clip, RATE), np.mean(vectors, axis=0), rtol=1e-3, atol=1e-3)


def test_speed_perturbation_changes_pitch_and_duration():
    clip = voice(150)
    fast = audio.perturb_speed(clip, 1.25)
    assert len(fast) == pytest.approx(len(clip) / 1.25, abs=2)
    assert measured(fast, speeds=1)["pitch: median"] == pytest.approx(
        measured(clip, speeds=1)["pitch: median"] + 12 * np.log2(1.25), abs=0.3
    )
    lengths = {len(audio.augment(clip, RATE, audio.SPEED_PERTURBATION, seed=seed)) for seed in range(20)}
    assert len(lengths) > 10 and min(lengths) >= RATE / 1.26 and max(lengths) <= RATE / 0.79
    np.testing.assert_array_equal(*(audio.augment(clip, RATE, audio.SPEED_PERTURBATION, seed=3) for _ in range(2)))


@pytest.mark.parametrize(
    "signal",
    [np.zeros(RATE), np.zeros(3), np.ones(1), np.random.default_rng(1).normal(size=300), voice(150, seconds=0.03)],
    ids=["silence", "three samples", "one sample", "a click", "two periods"],
)
@pytest.mark.parametrize("rate", [8000, RATE, 44100])
def test_functionals_of_degenerate_clips_are_finite(signal, rate):
    vector = features.compute_functionals(signal.astype(np.float32), rate)
    assert vector.shape == (len(features.feature_names()),) and np.isfinite(vector).all() and vector.dtype == np.float32


@pytest.mark.parametrize("hertz", [70, 130, 420])
def test_the_pitch_is_that_of_librosas_yin(hertz: float):
    import librosa

    from sernb.features import functionals

    noise = 0.02 * np.random.default_rng(hertz).normal(size=2 * RATE)
    signal = np.concatenate([voice(hertz, 2, glide=4) + noise, np.zeros(RATE)]).astype(np.float32)
    limits = {"fmin": functionals.MIN_PITCH, "fmax": functionals.MAX_PITCH}
    expected = librosa.yin(signal, sr=RATE, frame_length=1024, hop_length=160, **limits)
    pitch = functionals._track_voice(signal, RATE).pitch
    spoken = slice(3, 2 * RATE // 160 - 3)
    assert np.abs(pitch - 12 * np.log2(expected / 100))[spoken].max() < 1e-3
    assert np.isnan(pitch[-20:]).all(), "silence has no pitch"


def test_statistics_are_those_of_numpy_and_librosa():
    import librosa
    from scipy import fft

    from sernb.features import functionals
    from sernb.features import spectral

    rng = np.random.default_rng(0)
    for frames in (1, 2, 75):
        tracks = rng.normal(size=(3, frames)).astype(np.float32)
        expected = np.percentile(tracks, [5, 50, 95], axis=1)
        np.testing.assert_allclose(functionals._percentiles(tracks, [5, 50, 95]), expected, rtol=1e-5)
    spectra = functionals.Spectrogram(np.ones((40, 5)), np.arange(5), rng.normal(size=(functionals.BANDS, 40)))
    cepstrum = fft.dct(spectra.bands, axis=0, norm="ortho")[: functionals.COEFFICIENTS]
    slopes = librosa.feature.delta(cepstrum, width=5, mode="nearest")
    deviation = functionals._cepstrum_statistics(spectra)["cepstral slope: standard deviation"]
    np.testing.assert_allclose(deviation, slopes.std(axis=1))
    signal = voice(150).astype(np.float32)
    expected = np.square(np.abs(librosa.stft(signal, n_fft=1024, hop_length=256)))
    power = spectral.power_spectrogram(signal, 1024, 256).T
    np.testing.assert_allclose(power, expected, atol=1e-6 * expected.max())
    values = measured(signal, speeds=1)
    centroid = librosa.feature.spectral_centroid(S=expected, sr=RATE).mean() / 1000
    width = librosa.feature.spectral_bandwidth(S=expected, sr=RATE).mean() / 1000
    assert values["spectrum: mean of centroid"] == pytest.approx(centroid, rel=1e-4)
    assert values["spectrum: mean of bandwidth"] == pytest.approx(width, rel=1e-4)
