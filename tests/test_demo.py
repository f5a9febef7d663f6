from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import make_demo_corpora
import numpy as np
import pandas as pd
import pytest
import soundfile

from sernb import corpora
from sernb.corpora import demo

CLIPS = {"demo-crema": 576, "demo-ravdess": 360, "demo-local": 400}
SPEAKERS = {"demo-crema": 8, "demo-ravdess": 6, "demo-local": 25}
EMOBOX = [{1, 11, 20, 21}, {4, 10, 12, 14}, {8, 9, 19, 23}, {3, 5, 7, 24}, {2, 15, 16, 18}, {6, 13, 17, 22}]
REAL_CREMA = Path(__file__).parents[2] / "shared" / "data" / "crema"

needs_espeak = pytest.mark.skipif(
    not shutil.which("espeak-ng"), reason="espeak-ng is not installed: only the shipped archives can be tested"
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sounds(name):
    """Yield the name and the bytes of every shipped clip."""
    with zipfile.ZipFile(corpora.DATA_DIR / f"{name}.zip") as packed:
        for file in packed.namelist():
            if file.endswith(".ogg"):
                yield file, packed.read(file)


def decode(ogg):
    return soundfile.read(io.BytesIO(ogg))


# The shipped archives


def test_zips_are_small():
    assert sum((corpora.DATA_DIR / f"{name}.zip").stat().st_size for name in corpora.DEMO_CORPORA) <= 6_000_000


@pytest.mark.parametrize("name", corpora.DEMO_CORPORA)
def test_zip_is_plain(name):
    with zipfile.ZipFile(corpora.DATA_DIR / f"{name}.zip") as packed:
        assert packed.testzip() is None
        assert packed.namelist() == sorted(packed.namelist())
        assert {(info.compress_type, info.date_time) for info in packed.infolist()} == {
            (zipfile.ZIP_STORED, (2020, 9, 19, 0, 0, 0))
        }


@pytest.mark.parametrize("name", corpora.DEMO_CORPORA)
def test_zip_contains_the_planned_clips(name):
    planned = make_demo_corpora.plan(name)
    assert len(planned) == CLIPS[name]
    assert len({clip.speaker for clip in planned}) == len({clip.voice for clip in planned}) == SPEAKERS[name]
    assert sorted(clip.file for clip in planned) == [file for file, _ in sounds(name)]


@pytest.mark.slow
@pytest.mark.parametrize("name", corpora.DEMO_CORPORA)
def test_clips_have_plausible_lengths_and_levels(name):
    for file, ogg in sounds(name):
        samples, rate = decode(ogg)
        assert rate == 16_000 and samples.ndim == 1, file
        assert 1.0 < len(samples) / rate < 6, file
        assert np.abs(samples).max() < 0.95, file
        assert 0.005 < np.sqrt(np.mean(samples**2)) < 0.2, file
        loud = np.flatnonzero(np.abs(samples) > 0.05 * np.abs(samples).max()) / rate
        assert 0.08 < loud[0] < 0.4 and 0.08 < len(samples) / rate - loud[-1] < 0.6, file
        assert np.abs(samples[-320:]).max() < 0.02 * np.abs(samples).max(), f"{file} ends with a click"


@pytest.mark.parametrize("name", corpora.DEMO_CORPORA)
def test_no_two_clips_sound_the_same(name):
    assert len({hashlib.sha256(ogg).digest() for _, ogg in sounds(name)}) == CLIPS[name]


@pytest.mark.slow
def test_cues_can_be_measured():
    """Angry clips are loud and short, sad ones soft and long, as in the table of emotions."""
    measured = {"angry": [], "sad": [], "neutral": []}
    emotions = {clip.file: clip.emotion for clip in make_demo_corpora.plan("demo-crema")}
    for file, ogg in sounds("demo-crema"):
        if emotions[file] in measured:
            samples, rate = decode(ogg)
            measured[emotions[file]].append((len(samples) / rate, 10 * np.log10(np.mean(samples**2))))
    angry, sad, neutral = (np.mean(rows, axis=0) for rows in measured.values())  # seconds, dB
    assert angry[0] < neutral[0] < sad[0]
    assert angry[1] > neutral[1] + 3 and sad[1] < neutral[1] - 3


# Designs


def test_crema_design():
    folder = corpora.demo_folder("demo-crema")
    names = [file.stem.split("_") for file in (folder / "AudioWAV").iterdir()]
    cells = {(int(actor), sentence, emotion) for actor, sentence, emotion, _ in names}
    sentences = "IEO IOM IWL IWW DFA ITH ITS TSI TIE TAI MTI WSI".split()
    assert cells == set(product(make_demo_corpora.CREMA_ACTORS, sentences, "ANG DIS FEA HAP NEU SAD".split()))
    assert len(names) == len(cells)
    assert all((level == "HI") == (s == "IEO" and e != "NEU") for _, s, e, level in names)


def test_crema_demographics():
    table = pd.read_csv(corpora.demo_folder("demo-crema") / "VideoDemographics.csv")
    assert list(table.columns) == ["ActorID", "Age", "Sex", "Race", "Ethnicity"]
    assert dict(zip(table.ActorID, table.Sex, strict=True)) == {
        actor: sex.title() for actor, (sex, _) in make_demo_corpora.CREMA_ACTORS.items()
    }


@pytest.mark.skipif(not REAL_CREMA.is_dir(), reason="the lists of CREMA-D are not available")
def test_crema_actors_are_balanced_over_the_published_split():
    split = json.loads((REAL_CREMA / "speaker_splits.json").read_text())
    sexes = pd.read_csv(REAL_CREMA / "VideoDemographics.csv").set_index("ActorID").Sex.str.lower()
    assert all(sexes[actor] == sex for actor, (sex, _) in make_demo_corpora.CREMA_ACTORS.items())
    parts = Counter((p, sexes[a]) for a in make_demo_corpora.CREMA_ACTORS for p in split if a in split[p])
    assert parts == {(p, sex): n for p, n in {"train": 2, "dev": 1, "test": 1}.items() for sex in ("male", "female")}


def test_ravdess_design():
    files = sorted(corpora.demo_folder("demo-ravdess").rglob("*.ogg"))
    assert all(re.fullmatch(r"03-01-0[1-8]-0[12]-0[12]-0[12]-\d\d", file.stem) for file in files)
    assert all(file.parent.name == f"Actor_{file.stem[-2:]}" for file in files)
    assert {file.parent.parent.name for file in files} == {"Audio_Speech_Actors_01-24"}
    assert set(Counter(file.parent for file in files).values()) == {60}
    assert not any(file.stem.startswith("03-01-01-02") for file in files)
    actors = {int(file.stem[-2:]) for file in files}
    assert [len(actors & fold) for fold in EMOBOX] == [1] * 6


def test_local_manifest():
    folder = corpora.demo_folder("demo-local")
    table = pd.read_csv(folder / "manifest.csv")
    assert list(table.columns) == ["file", "emotion", "speaker", "sex", "condition", "statement", "intensity"]
    assert table.notna().all(axis=None)
    assert all((folder / file).is_file() for file in table.file)
    assert set(table.groupby(["speaker", "emotion"]).size()) == {2}
    assert table.emotion.nunique() == 8
    patients = table.drop_duplicates("speaker")
    assert Counter(patients.condition) == {"stroke": 10, "dementia": 8, "epilepsy": 4, "migraine": 3}
    assert sorted(patients.speaker) == [f"P{i:02}" for i in range(1, 26)]
    assert sorted(Counter(patients.sex).values()) == [12, 13]


def test_local_statements_do_not_predict_the_emotion():
    """The sentence does not predict the emotion, neither alone nor together with sex and accent."""
    clips = pd.DataFrame(make_demo_corpora.plan("demo-local"))
    assert set(clips.groupby(["speaker", "text"]).size()) == {4}
    assert set(clips.groupby(["speaker", "emotion"]).text.nunique()) == {1}
    groups = [clips.sex, clips.voice.str.split("+").str[0]]
    assert clips.groupby([*groups, "emotion"]).text.nunique().min() >= 2
    assert clips.groupby([*groups, "text"]).emotion.nunique().min() >= 5


# Unpacking


def test_a_corpus_is_unpacked_once(cache):
    first = corpora.demo_folder("demo-ravdess")
    stamp = first.stat().st_mtime_ns
    assert corpora.demo_folder("demo-ravdess") == first and first.stat().st_mtime_ns == stamp
    digest = hashlib.sha256((corpora.DATA_DIR / "demo-ravdess.zip").read_bytes()).hexdigest()
    assert first == cache / f"demo-ravdess-{digest[:8]}"
    assert list(cache.iterdir()) == [first]


@pytest.mark.slow
def test_many_processes_may_unpack_at_once(cache):
    code = "from sernb import corpora; f = corpora.demo_folder('demo-local'); print(f, len(list(f.rglob('*.ogg'))))"
    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(lambda _: subprocess.check_output([sys.executable, "-c", code], text=True), range(6)))
    assert set(runs) == {f"{corpora.demo_folder('demo-local')} 400\n"}
    assert len(list(cache.iterdir())) == 1


def test_an_interrupted_unpacking_leaves_nothing(cache, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(zipfile.ZipFile, "_extract_member", _half_way(zipfile.ZipFile._extract_member))
        corpora.demo_folder("demo-ravdess")
    assert list(cache.iterdir()) == []
    assert len(list(corpora.demo_folder("demo-ravdess").rglob("*.ogg"))) == 360


def _half_way(extract):
    """Return an extraction that is interrupted at the hundredth file."""
    extracted = []

    def stop(self, *args):
        extracted.append(args)
        if len(extracted) == 100:
            raise KeyboardInterrupt
        return extract(self, *args)

    return stop


def test_files_of_a_killed_process_do_no_harm(cache):
    (cache / ".demo-ravdess-killed" / "fresh" / "Audio_Speech_Actors_01-24").mkdir(parents=True)
    assert len(list(corpora.demo_folder("demo-ravdess").rglob("*.ogg"))) == 360


def test_the_folder_of_a_faster_process_is_left_unchanged():
    """Another process may already be reading it."""
    folder = corpora.demo_folder("demo-ravdess")
    inode = folder.stat().st_ino
    demo._unpack(corpora.DATA_DIR / "demo-ravdess.zip", folder)
    assert folder.stat().st_ino == inode


def test_damaged_folder_is_unpacked_again(cache):
    folder = corpora.demo_folder("demo-ravdess")
    next(folder.rglob("*.ogg")).unlink()
    assert corpora.demo_folder("demo-ravdess") == folder
    assert len(list(folder.rglob("*.ogg"))) == 360 and list(cache.iterdir()) == [folder]


def test_a_file_as_the_cache_is_reported(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "file"))
    with pytest.raises(corpora.DemoError, match=r"\$SERNB_CACHE"):
        corpora.demo_folder("demo-crema")


def test_a_read_only_cache_is_reported(cache, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sernb.corpora.demo.tempfile.mkdtemp", refuse)  # root may write into any folder
    with pytest.raises(corpora.DemoError, match=r"Permission denied. Set \$SERNB_CACHE"):
        corpora.demo_folder("demo-crema")


def test_an_unknown_name_is_refused_with_the_right_ones():
    with pytest.raises(corpora.DemoError, match="demo-crema, demo-ravdess, demo-local"):
        corpora.demo_folder("demo-cremad")


def test_a_missing_zip_is_reported_with_the_command_that_generates_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sernb.corpora.demo.DATA_DIR", tmp_path)
    with pytest.raises(corpora.DemoError, match=r"python tools/make_demo_corpora\.py"):
        corpora.demo_folder("demo-crema")


# The generator


def test_without_espeak_the_command_that_installs_it_is_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(corpora.DemoError, match="apt-get install espeak-ng"):
        make_demo_corpora.generate("demo-crema", tmp_path)


def test_an_unknown_name_is_refused_by_the_generator(tmp_path):
    with pytest.raises(corpora.DemoError, match="demo-cremad"):
        make_demo_corpora.generate("demo-cremad", tmp_path)


@pytest.mark.slow
@needs_espeak
@pytest.mark.parametrize("name", corpora.DEMO_CORPORA)
def test_generator_is_deterministic(name):
    for clip in make_demo_corpora.plan(name)[:: CLIPS[name] // 3]:
        assert make_demo_corpora.render(clip) == make_demo_corpora.render(clip)


@pytest.mark.slow
@needs_espeak
def test_generated_zip_is_the_same_twice(tmp_path, monkeypatch):
    few = make_demo_corpora.plan("demo-local")[:8]
    monkeypatch.setattr("make_demo_corpora.plan", lambda name: few)
    for part in "ab":
        make_demo_corpora.generate("demo-local", tmp_path / part)
    assert (tmp_path / "a" / "demo-local.zip").read_bytes() == (tmp_path / "b" / "demo-local.zip").read_bytes()


@needs_espeak
def test_the_generator_reproduces_the_shipped_clips():
    """Approximately, as the versions of espeak-ng and of libsndfile may differ."""
    shipped = dict(sounds("demo-ravdess"))
    for clip in make_demo_corpora.plan("demo-ravdess")[::90]:
        samples, expected = (decode(ogg)[0] for ogg in (make_demo_corpora.render(clip), shipped[clip.file]))
        assert len(samples) == pytest.approx(len(expected), rel=0.1)
        assert np.sqrt(np.mean(samples**2)) == pytest.approx(np.sqrt(np.mean(expected**2)), rel=0.1)


def test_tidy_ogg_leaves_the_audio_unchanged():
    options = {"format": "OGG", "subtype": "OPUS"}
    files = []
    for _ in range(2):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.sin(np.arange(20_000) / 9) / 2, 16_000, **options)
        files.append(buffer.getvalue())
    tidy = [make_demo_corpora._tidy_ogg(ogg) for ogg in files]
    assert tidy[0] == tidy[1] and len(tidy[0]) < len(files[0])
    np.testing.assert_array_equal(decode(tidy[0])[0], decode(files[0])[0])


# Difficulty


@pytest.mark.slow
def test_emotions_of_new_speakers_are_neither_trivial_nor_impossible_to_classify():
    """An SVM on means and deviations of MFCC, leaving out one actor at a time: above chance (0.125), below 0.75."""
    import librosa
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import LeaveOneGroupOut
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    def features(ogg):
        samples, rate = decode(ogg)
        mfcc = librosa.feature.mfcc(y=samples, sr=rate, n_mfcc=20)
        return np.concatenate([mfcc.mean(axis=1), mfcc.std(axis=1)])

    clips = {clip.file: clip for clip in make_demo_corpora.plan("demo-ravdess")}
    rows = [(features(ogg), clips[file].emotion, clips[file].speaker) for file, ogg in sounds("demo-ravdess")]
    x, truth, speakers = map(np.array, zip(*rows, strict=True))
    svm = make_pipeline(StandardScaler(), SVC())
    predicted = cross_val_predict(svm, x, truth, groups=speakers, cv=LeaveOneGroupOut())
    assert 0.30 < balanced_accuracy_score(truth, predicted) < 0.75
