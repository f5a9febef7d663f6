import os
import subprocess
import sys

import librosa
import numpy as np
import pytest
from support.audio_files import tone
from support.audio_files import write
from support.nobody import somebody

from sernb import audio
from sernb.audio import loading


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"), [(48000, 2, "PCM_16"), (8000, 1, "PCM_U8"), (22050, 1, "FLOAT")]
)
def test_load_equals_librosa(tmp_path, rate, channels, subtype):
    signal = np.stack([tone(0.5, rate, 220 * (c + 1)) for c in range(channels)], axis=1)
    path = write(tmp_path / "clip.wav", signal, rate, subtype=subtype)
    expected, _ = librosa.load(path, sr=22050)
    loaded = audio.load(path, 22050)
    np.testing.assert_allclose(loaded, expected, atol=1e-6)
    assert loaded.dtype == np.float32
    assert audio.n_samples([path], 22050) == [len(expected)]


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVEfmt ", b"plain text"])
def test_error_names_a_file_that_cannot_be_decoded(tmp_path, content):
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    for read in (lambda: audio.load(path, 16000), lambda: audio.n_samples([path], 16000)):
        with pytest.raises(audio.AudioError, match="broken.wav"):
            read()


def test_non_finite_samples_are_refused(tmp_path):
    path = write(tmp_path / "nan.wav", np.array([0.1, np.nan], dtype=np.float32), 16000, subtype="FLOAT")
    with pytest.raises(audio.AudioError, match="NaN"):
        audio.load(path, 16000)


@pytest.mark.parametrize("kind", audio.AUGMENTATIONS)
def test_augmentation_is_seeded_and_leaves_the_ends_unchanged(kind):
    clean = tone(1.0, 16000)
    first, again, other = (audio.augment(clean, 16000, kind, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or not np.allclose(first, other)
    assert first.dtype == np.float32 and np.isfinite(first).all()
    np.testing.assert_array_equal(first[:3000], clean[:3000])
    np.testing.assert_array_equal(first[-3000:], clean[-3000:])


def test_noise_has_the_level_of_nlpaug():
    silence = np.zeros(16000, dtype=np.float32)
    noise = audio.augment(silence, 16000, "noise", seed=0)[3200:12800]
    assert noise.std() == pytest.approx(1 / np.sqrt(9600), rel=0.1)


def test_augmentation_restores_the_global_generators():
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    audio.augment(tone(0.5, 16000), 16000, "noise", seed=1)
    assert np.random.rand() == expected


def test_unknown_augmentation_is_an_error():
    with pytest.raises(ValueError, match="noise, pitch, speed, vtlp"):
        audio.augment(tone(0.5, 16000), 16000, "reverb", seed=1)


def test_clip_seeds_differ_by_clip_copy_and_run():
    seeds = {audio.clip_seed(*key) for key in (("a", 1, 0), ("b", 1, 0), ("a", 2, 0), ("a", 1, 1))}
    assert len(seeds) == 4


def test_snr():
    clean = np.ones(100, dtype=np.float32)
    assert audio.snr(clean, clean + 0.1) == pytest.approx(20, abs=0.01)


def test_apply_effects_has_the_requested_strength():
    signal = tone(2, 16000, 220)
    assert audio.snr(signal, audio.apply_effects(signal, 16000, snr=10)) == pytest.approx(10, abs=0.3)
    assert len(audio.apply_effects(signal, 16000, speed=2)) == pytest.approx(len(signal) / 2, rel=0.02)
    higher = np.abs(np.fft.rfft(audio.apply_effects(signal, 16000, semitones=12)[: len(signal)]))
    assert higher.argmax() / 2 == pytest.approx(440, abs=6)
    larger = audio.apply_effects(signal, 16000, vocal_tract=0.9)
    assert not np.allclose(larger[:16000], signal[:16000], atol=0.01)
    np.testing.assert_array_equal(audio.apply_effects(signal, 16000), signal)


def test_read_only_home_is_no_error(monkeypatch):
    with somebody() as root:
        (root / "cache").mkdir(mode=0o555)
        monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        with loading._numba_lock():
            assert not list((root / "cache").iterdir())


@pytest.mark.slow
def test_compile_librosa_compiles_everything_used_later(tmp_path):
    """Nobody's first click on a change of pitch waits for a compiler."""
    code = (
        "import os\nimport numpy as np\nfrom sernb import audio\n\naudio.compile_librosa()\n"
        "count = lambda: sum(len(names) for _, _, names in os.walk(os.environ['NUMBA_CACHE_DIR']))\nbefore = count()\n"
        "noise = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)\n"
        "for kind in audio.AUGMENTATIONS:\n    audio.augment(noise, 16000, kind, seed=1)\nprint(before, count())"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    before, after = process.stdout.split()
    assert before == after and int(before) > 10
    assert any(path.name.startswith("sernb-compiled") for path in tmp_path.iterdir()), (
        "the next process does not need to compile"
    )
