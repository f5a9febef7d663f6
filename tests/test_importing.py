from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write

from sernb import corpora
from sernb.corpora import importing

EMOTIONS = ("angry", "sad", "happy")


def odd_folder(folder: Path) -> Path:
    """Write 27 files: several containers, sample rates, capitals, spaces and accents; five are unusable."""
    kinds = [(".wav", 44100), (".WAV", 8000), (".flac", 48000), (".ogg", 16000), (".aiff", 22050), (".mp3", 44100)]
    names = ["Zoë", "José María", "p3", "Li"]
    for i in range(22):
        (suffix, rate), name = kinds[i % 6], names[i % 4]
        write(folder / f"{name}_{EMOTIONS[i % 3][:3].upper()}_{i:02}{suffix}", tone(0.3, rate, 150 + 10 * i), rate)
    (folder / "p3_SAD_90.wav").write_text("no audio")
    (folder / "p3_SAD_91.wav").touch()
    (folder / "p3_SAD_92.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    (folder / "notes on the patients.txt").write_text("private")
    shutil.copy(folder / "p3_HAP_02.flac", folder / "p3_HAP_93.flac")
    (folder / ".DS_Store").write_text("of the system's")
    return folder


def test_a_mixed_folder_is_imported_and_unusable_files_are_named(tmp_path):
    listed = corpora.list_recordings(odd_folder(tmp_path / "old"))
    assert len(listed) == 27
    pattern = corpora.suggest_pattern(listed["file"])
    assert pattern == "{speaker}_{emotion}_{n}"
    labels = corpora.parse_names(listed["file"], pattern)
    names = corpora.assign_pseudonyms([name for name in labels["speaker"] if name], tmp_path / "mine")
    assert sorted(names) == ["José María", "Li", "Zoë", "p3"] and names["p3"] == "p3"
    labels["speaker"] = labels["speaker"].map(names).fillna("")
    done = corpora.import_recordings(listed.join(labels), tmp_path / "mine")
    table = corpora.load("local", tmp_path / "mine")
    assert len(table) == 22 and (corpora.check_files(table)["problem"] == "").all()
    assert set(table["emotion"]) == set(EMOTIONS) and table["speaker"].nunique() == 4
    assert not table["clip"].str.contains("Zo|Jos|Li_").any(), "a file's name tells no person's name"
    rejected = done[done["kept"] == ""].set_index("file")["problem"]
    assert len(rejected) == 5
    reasons = {
        "p3_SAD_90.wav": "cannot be decoded",
        "p3_SAD_92.m4a": "convert it first",
        "notes on the patients.txt": "",
    }
    for file, reason in reasons.items():
        assert reason in rejected[file] and str(tmp_path) not in rejected[file]
    assert "p3_HAP_02.flac" in rejected["p3_HAP_93.flac"]
    imported = done[done["kept"] != ""]
    assert corpora.sha256_of_files([tmp_path / "mine" / file for file in imported["kept"]]) == list(imported["sha256"])
    assert set(corpora.active_consents(tmp_path / "mine")["speaker"]) == set(table["speaker"])
    again = corpora.import_recordings(listed.join(labels), tmp_path / "mine")
    assert (again["kept"] == "").all() and len(corpora.load("local", tmp_path / "mine")) == 22


def test_a_folder_becomes_a_corpus_in_place(tmp_path):
    write(tmp_path / "P1" / "ang_1.wav", tone(0.2, 8000), 8000)
    write(tmp_path / "P2" / "sad_1.wav", tone(0.2, 8000, 300), 8000)
    listed = corpora.list_recordings(tmp_path)
    labelled = listed.join(corpora.parse_names(listed["file"], corpora.suggest_pattern(listed["file"])))
    assert list(corpora.import_recordings(labelled, tmp_path)["kept"]) == ["P1/ang_1.wav", "P2/sad_1.wav"]
    assert list(corpora.load("local", tmp_path)["speaker"]) == ["P1", "P2"]
    assert len(list(tmp_path.rglob("*.wav"))) == 2, "nothing is copied"


@pytest.mark.parametrize(
    ("name", "pattern", "speaker", "emotion"),
    [
        ("P_01_sad_3.wav", "{speaker}_{emotion}_{n}", "P_01", "sad"),
        ("OAF_back_ps.wav", "{speaker}_{skip}_{emotion}", "OAF", "surprise"),
        ("03a01Fa.wav", "{speaker:2}{statement:3}{emotion:1}{skip}", "03", "happy"),
        ("deep/er/S7/Anger 2.WAV", "{speaker}/{emotion} {n}", "S7", "angry"),
        ("03-01-06-01-02-01-12.wav", "ravdess", "12", "fear"),
        ("1001_DFA_DIS_XX.wav", "crema", "1001", "disgust"),
        ("x (copy).wav", "{speaker}_{emotion}", "", "unknown"),
    ],
)
def test_patterns_read_names(name, pattern, speaker, emotion):
    (row,) = corpora.parse_names([name], pattern, corpora.parse_codes("F=happy; W=angry")).to_dict("records")
    assert (row["speaker"], row["emotion"]) == (speaker, emotion)
    assert bool(row["note"]) == (speaker == "")


def test_an_unknown_code_is_questioned():
    (row,) = corpora.parse_names(["S1_XYZ_1.wav"], "{speaker}_{emotion}_{n}").to_dict("records")
    assert row["emotion"] == "unknown" and "'XYZ'" in row["note"]


@pytest.mark.parametrize("pattern", ["{speaker}_{mood}", "{speaker}_{speaker}"])
def test_a_wrong_pattern_is_refused(pattern):
    with pytest.raises(corpora.ImportPatternError, match="speaker, emotion, sex"):
        corpora.parse_names(["a.wav"], pattern)


@pytest.mark.parametrize("text", ["W", "W=angr"])
def test_a_wrong_code_is_refused(text):
    with pytest.raises(corpora.ImportPatternError, match="code=emotion"):
        corpora.parse_codes(text)


def test_a_missing_or_empty_folder(tmp_path):
    for folder, text in ((tmp_path, "no file"), (tmp_path / "x", "no such folder")):
        with pytest.raises(corpora.LocalError, match=text):
            corpora.list_recordings(folder)


def test_a_name_in_the_speakers_column_is_not_written(tmp_path):
    write(tmp_path / "a.wav", tone(0.2, 8000), 8000)
    labelled = corpora.list_recordings(tmp_path).join(pd.DataFrame([{"speaker": "Anna", "emotion": "sad"}]))
    (problem,) = corpora.import_recordings(labelled, tmp_path / "mine")["problem"]
    assert "'Anna'" in problem and not (tmp_path / "mine" / "manifest.csv").exists()


def study(folder: Path, *names: str) -> pd.DataFrame:
    """Write and list recordings of another study; the sounds differ between folders."""
    lowest = 150 + sum(map(ord, folder.name)) % 400
    for i, name in enumerate(names):
        write(folder / name, tone(0.2, 8000, lowest + 7 * i), 8000)
    listed = corpora.list_recordings(folder)
    return listed.join(corpora.parse_names(listed["file"], "{speaker}_{emotion}_{n}"))


def pseudonymised(labelled: pd.DataFrame, root: Path) -> pd.DataFrame:
    return labelled.assign(speaker=labelled["speaker"].map(corpora.assign_pseudonyms(labelled["speaker"], root)))


@pytest.fixture
def published(tmp_path):
    """A corpus of one speaker, who agreed to publication."""
    root = tmp_path / "mine"
    corpora.store_consent(root, "S01", publish=True)
    corpora.save_take(root, tone(0.2, 8000), 8000, speaker="S01", emotion="sad")
    corpora.mark_publishable(root, "CC BY 4.0")
    assert corpora.is_publishable(root)
    return root


def test_another_studys_s01_is_another_person(tmp_path, published):
    labelled = study(tmp_path / "old", "S01_angry_1.wav", "S02_angry_1.wav")
    assert corpora.assign_pseudonyms(labelled["speaker"], published) == {"S01": "S03", "S02": "S02"}
    problems = corpora.import_recordings(labelled[labelled["speaker"] == "S01"], published)["problem"]
    assert "has S01 as its speaker, an id of the corpus" in problems.iloc[0] and corpora.is_publishable(published)
    assert (corpora.import_recordings(pseudonymised(labelled, published), published)["problem"] == "").all()
    assert list(corpora.read_manifest(published)["speaker"]) == ["S01", "S03", "S02"]
    assert set(corpora.active_consents(published)["publish"]) == {"yes", "no"} and not corpora.is_publishable(published)


def test_every_proposed_pseudonym_is_free(tmp_path):
    for speaker in ("S02", "S04"):
        corpora.store_consent(tmp_path, speaker)
    corpora.withdraw_speaker(tmp_path, "S04")
    names = corpora.assign_pseudonyms(["Anna", "Bea", "Cleo", "S05", "S02"], tmp_path)
    assert names == {"Anna": "S01", "Bea": "S03", "Cleo": "S06", "S02": "S07", "S05": "S05"}


def test_a_clip_joined_to_a_speaker_by_hand_has_a_consent_of_its_own(tmp_path, published):
    labelled = study(tmp_path / "old", "Anna_angry_1.wav", "Anna_sad_2.wav").assign(speaker="S01", joins=True)
    assert (corpora.import_recordings(labelled, published)["kept"] != "").all()
    assert set(corpora.read_manifest(published)["speaker"]) == {"S01"} and not corpora.is_publishable(published)
    consents = pd.read_csv(published / "consent.csv")
    assert list(consents["publish"]) == ["yes", "no"] and consents["consent"].iloc[1] == corpora.IMPORTED_TEXT
    (only,) = corpora.active_consents(published)["publish"]
    assert only == "no"


def test_a_speaker_who_withdrew_is_rejected_and_the_others_are_imported(tmp_path, published):
    corpora.withdraw_speaker(published, "S01")
    labelled = study(tmp_path / "old", "S01_angry_1.wav", "S02_angry_1.wav")
    assert corpora.assign_pseudonyms(labelled["speaker"], published) == {"S01": "S03", "S02": "S02"}
    for joins in (True, False):
        results = corpora.import_recordings(labelled.assign(joins=joins), published)
        assert "S01 as its speaker, who withdrew" in results["problem"][0]
    assert list(corpora.read_manifest(published)["speaker"]) == ["S02"]
    assert list(corpora.active_consents(published)["speaker"]) == ["S02"]


def test_nothing_is_imported_into_a_corpus_whose_manifest_lacks_columns(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.csv").write_text("file|emotion|speaker\n")
    with pytest.raises(corpora.LocalError, match="manifest.csv: no column"):
        corpora.import_recordings(study(tmp_path / "old", "S01_angry_1.wav"), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir() if path.name != ".lock"] == ["manifest.csv"]


def test_an_import_into_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    labelled = study(tmp_path / "old", "S01_angry_1.wav")
    assert list(corpora.import_recordings(labelled, "~/mine")["kept"]) == ["audio/S01/S01_angry_1.wav"]
    assert corpora.assign_pseudonyms(["S01"], "~/mine") == {"S01": "S02"}
    with pytest.raises(corpora.LocalError, match="no corpus folder"):
        corpora.import_recordings(labelled, "")


def test_a_file_that_cannot_be_copied_does_not_stop_the_others(tmp_path, monkeypatch):
    labelled = study(tmp_path / "old", *(f"S0{i}_sad_1.wav" for i in range(1, 6)))
    Path(labelled["path"][1]).unlink()
    write(Path(labelled["path"][2]), tone(0.2, 8000, 900), 8000)
    new_file = corpora.create_clip

    def full(folder, speaker, *rest):
        if speaker == "S04":
            raise OSError(28, "No space left on device")
        return new_file(folder, speaker, *rest)

    monkeypatch.setattr("sernb.corpora.importing.create_clip", full)
    done = corpora.import_recordings(labelled, tmp_path / "mine")
    assert [path != "" for path in done["kept"]] == [True, False, False, False, True]
    for problem, text in zip(done["problem"][1:4], ("No such file", "changed since", "No space left"), strict=True):
        assert text in problem
    assert list(corpora.load("local", tmp_path / "mine")["speaker"]) == ["S01", "S05"]


def test_a_full_disk_leaves_no_clip_without_its_row(tmp_path, monkeypatch):
    labelled = study(tmp_path / "old", "S01_sad_1.wav")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sernb.corpora.importing.append_rows", full)
    (problem,) = corpora.import_recordings(labelled, tmp_path / "mine")["problem"]
    assert "No space left" in problem and not list((tmp_path / "mine").rglob("*.wav"))


def check_complete(root: Path) -> None:
    """Check that every clip has a row, and its speaker a consent."""
    clips = {path.relative_to(root).as_posix() for path in root.rglob("*.wav")}
    rows = corpora.read_manifest(root)
    assert clips == set(rows["file"]) and len(rows) == len(clips)
    assert set(rows["speaker"]) <= set(corpora.active_consents(root)["speaker"])


def failing_after(act, after: int, error: BaseException):
    """Return a function that raises `error` after so many calls."""
    calls = iter(range(after))

    def broken(*args):
        if next(calls, None) is None:
            raise error
        return act(*args)

    return broken


def test_an_interrupted_import_is_consistent_and_can_be_repeated(tmp_path, monkeypatch):
    root, labelled = tmp_path / "mine", study(tmp_path / "old", *(f"S0{i % 2 + 1}_sad_{i}.wav" for i in range(40)))
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(
            "sernb.corpora.importing.create_clip", failing_after(corpora.create_clip, 20, KeyboardInterrupt())
        )
        corpora.import_recordings(labelled, root)
    assert len(corpora.read_manifest(root)) == 20
    check_complete(root)
    again = corpora.import_recordings(labelled.assign(joins=True), root)
    assert (again["kept"] != "").sum() == 20 and again["problem"].str.contains("already, as audio/S0").sum() == 20
    check_complete(root)


def test_clips_that_a_crash_left_without_a_row_are_not_copied_again(tmp_path, monkeypatch):
    root, labelled = tmp_path / "mine", study(tmp_path / "old", *(f"S01_sad_{i}.wav" for i in range(40)))
    with monkeypatch.context() as killed, pytest.raises(SystemExit):
        killed.setattr("sernb.corpora.importing.append_rows", failing_after(corpora.append_rows, 1, SystemExit()))
        corpora.import_recordings(labelled, root)
    assert len(corpora.read_manifest(root)) == 16 < len(list(root.rglob("*.wav"))) <= 32
    assert list(corpora.active_consents(root)["speaker"]) == ["S01"]
    corpora.import_recordings(labelled.assign(joins=True), root)
    assert len(list(root.rglob("*.wav"))) == 40
    check_complete(root)


def test_others_can_write_while_an_import_goes_on(tmp_path, monkeypatch):
    root, labelled = tmp_path / "mine", study(tmp_path / "old", *(f"S01_sad_{i}.wav" for i in range(40)))
    loaded = importing._read_bytes

    def meanwhile(row, folder):
        if row["file"] == labelled["file"].iloc[-1]:
            corpora.store_consent(root, "S02", new=True)  # it would wait for ever if the import held the corpus
        return loaded(row, folder)

    monkeypatch.setattr("sernb.corpora.importing._read_bytes", meanwhile)
    monkeypatch.setattr("sernb.corpora.local.LOCK_SECONDS", 1)
    assert (corpora.import_recordings(labelled, root)["problem"] == "").all()
    assert set(corpora.active_consents(root)["speaker"]) == {"S01", "S02"}


def test_an_id_assigned_elsewhere_during_an_import_is_not_shared(tmp_path, monkeypatch):
    root, labelled = tmp_path / "mine", study(tmp_path / "old", *(f"S0{i // 20 + 1}_sad_{i}.wav" for i in range(40)))
    loaded = importing._read_bytes

    def meanwhile(row, folder):
        if row["file"] == labelled["file"].iloc[16]:
            corpora.store_consent(root, "S02", publish=True, new=True)
        return loaded(row, folder)

    monkeypatch.setattr("sernb.corpora.importing._read_bytes", meanwhile)
    done = corpora.import_recordings(labelled, root)
    assert set(done.loc[done["kept"] != "", "speaker"]) == {"S01"} and len(corpora.read_manifest(root)) == 20


TESS_WORDS = ("back", "bar", "base", "bath", "bean")


@pytest.mark.parametrize(
    ("files", "pattern"),
    [
        ([f"{actor}_{word}_{emotion}.wav" for actor in ("OAF", "YAF") for word in TESS_WORDS
          for emotion in ("angry", "ps", "sad")], "tess"),
        ([f"{actor}_{word}_{emotion}.wav" for actor in ("ANN", "BOB") for word in TESS_WORDS
          for emotion in ("angry", "ps", "sad")], "{speaker}_{skip}_{emotion}"),
        ([f"ANN_{word}_{emotion}.wav" for word in TESS_WORDS for emotion in ("angry", "sad")],
         "{speaker}_{skip}_{emotion}"),
        (["03a01Fa.wav", "03a01Lb.wav", "16b10Wa.wav"], "emodb"),
        (["DC/a01.wav", "DC/sa02.wav", "JE/su15.wav"], "savee"),
        ([f"S{i}_0{k}_sad_1.wav" for i in range(3) for k in range(3)], "{speaker}_{skip}_{emotion}_{skip}"),
        ([f"P_0{i}_sad_{k}.wav" for i in range(3) for k in range(3)], "{speaker}_{emotion}_{n}"),
        (["03-01-06-01-02-01-12.wav", "03-01-05-01-02-01-12.wav"], "ravdess"),
        (["holiday.wav", "birthday (copy).wav"], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_the_suggested_pattern_has_the_fewest_speakers(files, pattern):
    assert corpora.suggest_pattern(files) == pattern


def test_nearly_as_many_speakers_as_clips_are_questioned():
    assert "5 speakers in 6 clips are too many" in corpora.speaker_warning(list("abcdea"))
    assert corpora.speaker_warning(["a", "a", "b", "b"]) == "" == corpora.speaker_warning(["a", "b"])


def test_names_of_an_earlier_import_keep_their_pseudonym(tmp_path):
    corpora.remember_speakers(tmp_path, {"Anna": "S01", "P01": "P01"})
    corpora.remember_speakers(tmp_path, {"Bea": "S02", "P01": "P01"})
    corpora.remember_speakers(tmp_path, {"Bea": "S04"})  # corrected
    assert corpora.known_speakers(tmp_path, ["anna ", "P01", "Bea", "Cleo"]) == {
        "anna ": "S01",
        "P01": "P01",
        "Bea": "S04",
    }
    file = tmp_path / "identities.csv"
    assert len(file.read_text().splitlines()) == 5 and not any(name in file.read_text() for name in ("Anna", "Bea"))
    assert file.stat().st_mode & 0o077 == 0, "only its owner may read it"
    assert corpora.assign_pseudonyms(["Anna", "Cleo"], tmp_path, remembered={"Anna": "S01"}) == {
        "Anna": "S01",
        "Cleo": "S02",
    }


def test_a_failed_import_removes_only_its_own_copies(tmp_path, monkeypatch):
    root, labelled = tmp_path / "mine", study(tmp_path / "old", "S01_sad_1.wav")
    own = root / "audio" / "S01" / "S01_sad_7.wav"
    own.parent.mkdir(parents=True)
    own.write_bytes(Path(labelled["path"][0]).read_bytes())
    monkeypatch.setattr(
        "sernb.corpora.importing.append_rows", failing_after(corpora.append_rows, 0, OSError(28, "full"))
    )
    assert "cannot be written" in corpora.import_recordings(labelled, root)["problem"][0] and own.exists()


def test_a_manifest_with_accents_in_another_encoding_lists_its_files(tmp_path):
    write(tmp_path / "Zo\u00eb.wav", tone(0.2, 8000), 8000)
    write(tmp_path / "b.wav", tone(0.3, 8000), 8000)
    lines = ["Zoe\u0308.wav,sad,P1", f"{tmp_path / 'b.wav'},sad,P2"]
    (tmp_path / "manifest.csv").write_text("\n".join(["file,emotion,speaker", *lines]) + "\n", encoding="utf-8")
    assert corpora.unlisted_files(tmp_path) == []
    assert corpora.withdraw_speaker(tmp_path, "P2") == ["b.wav"] and not (tmp_path / "b.wav").exists()
    assert corpora.withdraw_speaker(tmp_path, "P1") == ["Zo\u00eb.wav"]
