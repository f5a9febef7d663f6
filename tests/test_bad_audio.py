"""Files that cannot be used are named with the reason, and training goes on without them."""

from __future__ import annotations

import contextlib
import io
import os
import random
import socket
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.audio_files import tone
from support.audio_files import write
from support.nobody import somebody
from typer.testing import CliRunner

from sernb import audio
from sernb import cli
from sernb import corpora
from sernb import features

RATE = 16000
HAS_OPENSMILE = find_spec("opensmile") is not None
# Of the others an encoder needs a model: see test_encoders.py.
FEATURES = sorted(set(features.FEATURES) - {"encoder", *(() if HAS_OPENSMILE else ("egemaps",))})
LONG_NAME = "n" * 196 + ".wav"
NAMES = ["a name with spaces.wav", "café ñ ü.wav", "😀 happy 👩‍🔬.wav", "two\nlines.wav", LONG_NAME, "\x1b[31mred.wav"]


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "cache"))


def sound(path: Path, seconds: float = 0.3, rate: int = RATE, channels: int = 1, **options) -> Path:
    signal = tone(seconds, rate, 150 + len(path.name))
    return write(path, np.stack([signal] * channels, axis=1), rate, **options)


def cut(path: Path, bytes_left: int, seconds: float = 1.0, **options) -> Path:
    sound(path, seconds, **options)
    assert path.stat().st_size > bytes_left
    path.write_bytes(path.read_bytes()[:bytes_left])
    return path


def with_sample(path: Path, value: float) -> Path:
    signal = tone(0.3, RATE)
    signal[100] = value
    return write(path, signal, RATE, subtype="FLOAT")


def link_to(path: Path, to: str) -> Path:
    path.symlink_to(to)
    return path


def make_pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
UNUSABLE = {
    "empty.wav": (lambda path: text(path, ""), "cannot be decoded: it is empty (0 bytes)"),
    "text.wav": (lambda path: text(path, "plain text"), "cannot be decoded: Format not recognised"),
    "pointer.wav": (lambda path: text(path, POINTER), "is a Git LFS pointer in place of the audio: `git lfs pull`"),
    "header.wav": (lambda path: cut(path, 44), "holds no samples"),
    "stub.wav": (lambda path: cut(path, 20), "cannot be decoded: Error in WAV/W64/RF64 file. Malformed"),
    "cut.wav": (lambda path: cut(path, 44 + RATE), "is cut off: it holds 0.50 of 1.00 s"),
    "cut.aiff": (lambda path: cut(path, RATE), "is cut off: it holds 0.50 of 1.00 s"),
    "cut.flac": (lambda path: cut(path, 5000), "cannot be decoded: flac decoder lost sync"),
    "cut.ogg": (lambda path: cut(path, 3000), "cannot be decoded: Supported file format but file is malformed"),
    "nan.wav": (lambda path: with_sample(path, np.nan), "holds NaN or infinite samples"),
    "infinite.wav": (lambda path: with_sample(path, -np.inf), "holds NaN or infinite samples"),
    "huge.wav": (lambda path: with_sample(path, 1e30), "holds samples far beyond full scale: up to 1e+30 times"),
    "silent.wav": (lambda path: write(path, np.zeros(RATE), RATE), "is silent throughout"),
    "click.wav": (lambda path: write(path, np.array([0.1]), RATE), "is too short: 0.0001 s"),
    "minutes.wav": (
        lambda path: write(path, np.tile(tone(1, 4000), 600), 4000),
        "lasts too long: 600 s; cut it into clips of at most 60 s (all are padded to the longest)",
    ),
    "opposite.wav": (
        lambda path: write(path, np.stack([tone(0.3, RATE), -tone(0.3, RATE)], axis=1), RATE),
        "is silent once its channels are averaged: they have opposite phase; keep one of them",
    ),
    "cut-vorbis.ogg": (lambda path: cut(path, 8000, seconds=3.0), "is cut off: "),
    "cut-opus.ogg": (lambda path: cut(path, 8000, seconds=3.0, subtype="OPUS"), "is cut off: "),
    "loop.wav": (lambda path: link_to(path, path.name), "is a link that leads back to itself"),
    "nowhere.wav": (lambda path: link_to(path, "gone.wav"), "is a link to nothing"),
}
ODD = {
    "bits-8.wav": (lambda path: sound(path, subtype="PCM_U8"), "8-bit samples"),
    "bits-24.wav": (lambda path: sound(path, subtype="PCM_24"), ""),
    "rate-96000.wav": (lambda path: sound(path, rate=96000), ""),
    "rate-4000.wav": (lambda path: sound(path, rate=4000), "4,000 Hz"),
    "channels-6.wav": (lambda path: sound(path, channels=6), "6 channels, averaged"),
    "short.wav": (lambda path: sound(path, 0.05), "lasts 0.050 s"),
    "integers.wav": (lambda path: with_sample(path, 32768.0), "samples of up to 32,768 times full scale"),
}


def manifest(root: Path, names: list[str]) -> Path:
    quoted = "".join('"{}",{},S{}\n'.format(name, "sad" if i % 2 else "happy", i % 5) for i, name in enumerate(names))
    (root / "manifest.csv").write_text(f"file,emotion,speaker\n{quoted}", encoding="utf-8", newline="")
    return root


@pytest.fixture
def corpus(tmp_path):
    """A local corpus of every unusable and every unusual file, and good files with unusual names."""
    root = tmp_path / "corpus"
    root.mkdir()
    for name, (make, _) in {**UNUSABLE, **ODD}.items():
        make(root / name)
    for name in NAMES:
        sound(root / name)
    return manifest(root, [*UNUSABLE, *ODD, *NAMES])


def test_unusable_files_have_a_reason_and_unusual_files_a_note(corpus):
    checked = corpora.check_files(corpora.load("local", corpus)).set_index("clip")
    for name, (_, reason) in UNUSABLE.items():
        assert checked.loc[name, "problem"].startswith(reason), (name, checked.loc[name, "problem"])
        assert str(corpus) not in checked.loc[name, "problem"]
    for name, (_, odd) in ODD.items():
        assert (checked.loc[name, "problem"], checked.loc[name, "odd"]) == ("", odd), name
    assert (checked.loc[NAMES, ["problem", "odd"]] == "").all(axis=None)


def test_check_lists_each_problem_on_one_line(corpus):
    result = CliRunner().invoke(cli.app, ["check", "local", "--data-dir", str(corpus)])
    assert result.exit_code == 1 and "Traceback" not in result.output
    lines = result.stdout.splitlines()
    assert f"{len(UNUSABLE) + len(ODD) + len(NAMES)} clips, {len(UNUSABLE)} unusable" in result.stdout
    for name, (_, reason) in UNUSABLE.items():
        assert sum(line.strip().startswith(f"{name}: {reason}") for line in lines) == 1, name
    assert "  bits-8.wav: 8-bit samples" in lines
    assert f"{sum(odd != '' for _, odd in ODD.values())} unusual, but usable" in lines


def test_names_with_control_characters_stay_on_one_line(tmp_path):
    root = tmp_path / "corpus"
    root.mkdir()
    for name in NAMES:
        (root / name).touch()
    output = CliRunner().invoke(cli.app, ["check", "local", "--data-dir", str(manifest(root, NAMES))]).stdout
    assert "  two\\nlines.wav: cannot be decoded" in output and "\x1b[31m" not in output
    assert f"  {LONG_NAME}: cannot be decoded" in output and "  café ñ ü.wav: cannot" in output


@pytest.mark.slow
@pytest.mark.parametrize("feature", FEATURES)
def test_training_leaves_out_the_clips_that_check_lists(corpus, feature):
    table = corpora.load("local", corpus)
    usable, unusable = features.split_usable(table, feature, sample_rate=RATE, n_jobs=1 if feature != "mel" else 2)
    checked = corpora.check_files(table).set_index("clip")
    assert set(unusable["clip"]) == set(UNUSABLE) and set(usable["clip"]) == {*ODD, *NAMES}
    assert (
        dict(zip(unusable["clip"], unusable["problem"], strict=True))
        == checked.loc[unusable["clip"], "problem"].to_dict()
    )
    sentence = features.describe_unusable(usable, unusable)
    assert sentence.startswith(f"**Left out:** {len(UNUSABLE)} of {len(table)} clips: ")
    assert "is cut off (4), " in sentence
    assert ".wav" not in sentence and "S1" not in sentence
    assert len(features.extract(usable, feature, sample_rate=RATE, n_jobs=1)) == len(usable)


def test_strict_raises_an_error_that_lists_unusable_clips(corpus):
    table = corpora.load("local", corpus)
    with pytest.raises(audio.AudioError, match=rf"^{len(UNUSABLE)} of {len(table)} clips cannot be used:\n") as stopped:
        features.split_usable(table, "mfcc", sample_rate=RATE, n_jobs=1, strict=True)
    assert len(str(stopped.value).splitlines()) == 7
    usable, unusable = features.split_usable(
        table[table["clip"].isin(NAMES)], "mfcc", sample_rate=RATE, n_jobs=1, strict=True
    )
    assert len(usable) == len(NAMES) and unusable.empty and features.describe_unusable(usable, unusable) == ""


def test_no_usable_clip_is_an_error(corpus):
    table = corpora.load("local", corpus)
    with pytest.raises(audio.AudioError, match="1 of 1 clips cannot be used:\nempty.wav: "):
        features.split_usable(table[table["clip"] == "empty.wav"], "mfcc", sample_rate=RATE, n_jobs=1)


def test_features_extracted_by_split_usable_are_not_extracted_again(corpus, monkeypatch):
    table = corpora.load("local", corpus)
    usable, _ = features.split_usable(table, "mel", sample_rate=RATE, n_jobs=1)
    decoded = []
    load = audio.load
    monkeypatch.setattr("sernb.audio.load", lambda path, *args, **how: decoded.append(path) or load(path, *args, **how))
    features.extract(usable, "mel", sample_rate=RATE, n_jobs=1)
    assert decoded == []
    features.split_usable(table, "mel", sample_rate=RATE, n_jobs=1)
    assert {Path(path).name for path in decoded} <= set(UNUSABLE), "only the bad ones are tried again"


@pytest.mark.parametrize("kind", audio.AUGMENTATIONS)
@pytest.mark.parametrize("name", list(ODD))
def test_unusual_clips_can_be_augmented(tmp_path, name, kind):
    make, _ = ODD[name]
    make(tmp_path / name)
    signal = audio.load(tmp_path / name, RATE, training=True)
    altered = audio.augment(signal, RATE, kind, seed=1)
    assert np.isfinite(altered).all()


def test_clip_removed_after_loading_is_left_out(corpus):
    table = corpora.load("local", corpus)
    (corpus / NAMES[0]).unlink()
    _, unusable = features.split_usable(table, "mfcc", sample_rate=RATE, n_jobs=1)
    assert unusable.set_index("clip").loc[NAMES[0], "problem"] == "does not exist any more"
    checked = corpora.check_files(table).set_index("clip")
    assert checked.loc[NAMES[0], "problem"] == "does not exist any more"


def test_clip_unreadable_at_loading_has_no_stored_feature(tmp_path):
    """Two clips that cannot be read have no content to tell them apart: neither may be given the other's feature."""
    names = ["a.wav", "b.wav", "c.wav"]
    for name in names:
        sound(tmp_path / name)
    table = corpora.load("local", manifest(tmp_path, names))
    table["sha256"] = ["", "", table["sha256"][2]]
    (tmp_path / "a.wav").unlink()
    usable, unusable = features.split_usable(table, "mfcc", sample_rate=RATE, n_jobs=1)
    assert list(usable["clip"]) == ["c.wav"] and unusable["problem"][0] == "does not exist any more"
    assert "load it again" in unusable["problem"][1]


def test_file_without_read_permission_is_left_out(monkeypatch):
    with somebody() as root:
        monkeypatch.setenv("SERNB_CACHE", str(root / "cache"))
        for name in ("a.wav", "b.wav"):
            sound(root / name)
        table = corpora.load("local", manifest(root, ["a.wav", "b.wav"]))
        (root / "a.wav").chmod(0)
        table = corpora.load("local", root)
        assert list(corpora.check_files(table)["problem"]) == ["cannot be read: Permission denied", ""]
        assert list(features.split_usable(table, "mel", sample_rate=RATE, n_jobs=1)[0]["clip"]) == ["b.wav"]


def test_folder_without_list_permission_is_an_error():
    with somebody() as root:
        for actor in ("Actor_01", "Actor_02"):
            sound(root / actor / f"03-01-05-01-02-01-{actor[-2:]}.wav")
        (root / "Actor_02").chmod(0)
        with pytest.raises(corpora.CorpusError, match=r"Actor_02: cannot be listed \(Permission denied\)"):
            corpora.load("ravdess", root)


def test_pipes_sockets_and_links_to_folders_do_not_block(tmp_path):
    good = sound(tmp_path / "1001_IEO_ANG_HI.wav")
    make_pipe(tmp_path / "1001_IEO_DIS_HI.wav")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(tmp_path):
        listening.bind("1001_IEO_FEA_HI.wav")
        (tmp_path / "again").symlink_to(tmp_path)
        table = corpora.load("crema", tmp_path)
    assert list(table["clip"]) == [good.name, "1001_IEO_DIS_HI.wav", "1001_IEO_FEA_HI.wav"]
    assert list(corpora.check_files(table)["problem"]) == ["", *["is not a regular file"] * 2]


def test_folder_name_that_is_not_utf8_is_an_error(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    sound(tmp_path / "1001_IEO_ANG_HI.wav").rename(os.fsdecode(folder + b"/1001_IEO_ANG_HI.wav"))
    with pytest.raises(corpora.CorpusError, match=r"caf\\udce9/1001_IEO_ANG_HI.wav: this name is not UTF-8"):
        corpora.load("crema", tmp_path)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".aiff"])
def test_flipped_bytes_are_reported_and_never_crash(tmp_path, suffix):
    whole = sound(tmp_path / f"whole{suffix}").read_bytes()
    rng = random.Random(suffix)
    for _ in range(150):
        data = bytearray(whole[: rng.choice((len(whole), rng.randrange(len(whole))))])
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(min(len(data), rng.choice((60, len(data)))))] = rng.randrange(256)
        path = tmp_path / f"flipped{suffix}"
        path.write_bytes(data)
        recording = audio.decode(path, max_seconds=audio.MAX_SECONDS)
        assert recording.error or recording.unusable or np.isfinite(recording.signal).all()
        if not (recording.error or recording.unusable):
            assert np.isfinite(features.mfcc(audio.load(path, RATE, training=True), RATE)).all()


def test_streamed_wav_without_a_length_is_complete(tmp_path):
    data = sound(tmp_path / "a.wav", 1.0).read_bytes()
    for announced in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):
        (tmp_path / "a.wav").write_bytes(data[:40] + announced + data[44:])
        recording = audio.decode(tmp_path / "a.wav")
        assert (recording.error, recording.unusable, len(recording.signal)) == ("", "", RATE)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_of_varying_bitrate_without_a_length_is_decoded_to_its_end(tmp_path, rate, channels):
    """Without a length, libsndfile extrapolates from the first frames: they are quiet here, and its guess is wrong."""
    noise = np.random.default_rng(0).normal(0, 0.2, 2 * rate)
    signal = np.concatenate([0.001 * noise, noise, np.zeros(rate // 2)])
    path = write(tmp_path / "a.mp3", np.stack([signal] * channels, axis=1), rate, bitrate_mode="VARIABLE")
    data = path.read_bytes()
    first = data.find(data[:2], 4)  # the first frame holds the length alone
    assert b"Xing" in data[:first]
    for head in (b"", b"ID3\x03\0\0\0\0\0\x05abcde"):
        path.write_bytes(head + data[first:])
        recording = audio.decode(path, max_seconds=audio.MAX_SECONDS)
        assert (recording.error, recording.unusable) == ("", "")
        assert recording.seconds == pytest.approx(4.5, abs=0.1)
        assert len(audio.load(path, rate, training=True)) == audio.n_samples([path], rate)[0]


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_in_memory_is_decoded_to_its_end(tmp_path, mode):
    """An uploaded file has no path; looking for its length must not move what libsndfile reads on from."""
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE)
    path = write(tmp_path / "really-mp3.wav", noise, RATE, format="MP3", bitrate_mode=mode)
    expected = audio.load(path, RATE)
    assert len(expected) >= 2 * RATE
    assert np.array_equal(audio.load(io.BytesIO(path.read_bytes()), RATE), expected)


def test_flac_written_to_a_pipe_is_decoded_to_its_end(tmp_path):
    """Its header has no length."""
    path = sound(tmp_path / "a.flac", 5.0)
    expected, data = audio.load(path, RATE), bytearray(path.read_bytes())
    data[21] &= 0xF0  # the length: 36 bits of the first block
    data[22:26] = bytes(4)
    path.write_bytes(data)
    np.testing.assert_array_equal(audio.load(path, RATE, training=True), expected)
    assert audio.n_samples([path], RATE)[0] == len(expected)
    assert audio.decode(path).seconds == 5.0
    assert audio.decode(path, max_seconds=1.0).unusable.startswith("lasts too long: ")
    with open(path, "rb") as file:
        np.testing.assert_array_equal(audio.load(file, RATE), expected)


@pytest.mark.slow
@pytest.mark.real
def test_real_clips_are_usable_and_usual(real):
    for name, folder in (("ravdess", "ravdess_48k"), ("ravdess", "ravdess"), ("crema", "crema")):
        checked = corpora.check_files(corpora.load(name, real(folder)))
        assert (checked[["problem", "odd"]] == "").all(axis=None)


def test_libsndfile_log_names_missing_bytes(tmp_path):
    """`decoding` reads libsndfile's log; a release that words it otherwise must not go unnoticed."""
    assert "data : 32000 (should be 16000)" in soundfile.info(cut(tmp_path / "a.wav", 44 + RATE)).extra_info


def test_a_format_that_cannot_be_read_is_named_with_a_command(tmp_path):
    (tmp_path / "my voice.M4A").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    error = audio.decode(tmp_path / "my voice.M4A").error
    assert error.startswith("is in a format that cannot be read: convert it first")
    assert "`ffmpeg -i 'my voice.M4A' 'my voice.wav'`" in error and str(tmp_path) not in error
