from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.audio_files import tone

from sernb import corpora
from sernb import display
from sernb.runs import freshness

TAKE = (tone(0.3, 8000) * 20000).astype("int16")


def save(root, speaker="S01", emotion="sad", **labels):
    return corpora.save_take(root, TAKE, 8000, speaker=speaker, emotion=emotion, **labels)


def test_a_saved_take_has_its_samples_its_rate_and_a_row(tmp_path):
    corpora.store_consent(tmp_path, "S01")
    row = save(tmp_path, statement='He said "no, thank you"', condition="stroke", sex="female")
    samples, rate = soundfile.read(tmp_path / row["file"], dtype="int16")
    assert rate == 8000 and np.array_equal(samples, TAKE)
    assert soundfile.info(tmp_path / row["file"]).subtype == "PCM_16"
    assert save(tmp_path)["file"] == "audio/S01/S01_sad_2.wav", "the first is not overwritten"
    table = corpora.load("local", tmp_path)
    assert list(table["statement"]) == ['He said "no, thank you"', ""] and table["condition"][0] == "stroke"
    assert corpora.read_manifest(tmp_path)["time"].str.match(r"\d{4}-\d\d-\d\dT").all()
    assert not [path for path in tmp_path.rglob("*.part")]


def test_a_manifest_made_by_hand_keeps_its_columns(tmp_path):
    (tmp_path / "a.wav").write_bytes(corpora.encode_wav(TAKE, 8000))
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker,ward\na.wav,calm,P1,3\n", encoding="utf-8-sig")
    corpora.store_consent(tmp_path, "S01")
    save(tmp_path)
    table = corpora.read_manifest(tmp_path)
    assert list(table["ward"]) == ["3", ""] and list(table["speaker"]) == ["P1", "S01"]


def test_a_manifest_that_cannot_be_read_is_left_alone(tmp_path):
    corpora.store_consent(tmp_path, "S01")
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker\na.wav,sad,1,2,3,4\n")
    with pytest.raises(corpora.CorpusError, match=r"manifest\.csv cannot be read"):
        save(tmp_path)
    assert (tmp_path / "manifest.csv").read_text().endswith("1,2,3,4\n")
    assert not (tmp_path / "audio").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speaker": "S02"}, "S02.*has not agreed"),
        ({"emotion": "sadd"}, "sadd.*did you mean 'sad'"),
        ({"emotion": "a/b"}, "cannot be an emotion"),
        ({"signal": np.zeros(100, "int16")}, "no sound"),
        ({"signal": TAKE[:0]}, "no sound"),
    ],
)
def test_a_take_that_cannot_be_saved_is_refused(tmp_path, change, message):
    corpora.store_consent(tmp_path, "S01")
    arguments = {"signal": TAKE, "speaker": "S01", "emotion": "sad"} | change
    with pytest.raises(corpora.LocalError, match=message):
        corpora.save_take(tmp_path, arguments.pop("signal"), 8000, **arguments)
    assert not (tmp_path / "manifest.csv").exists() and not (tmp_path / "audio").exists()


@pytest.mark.parametrize("speaker", ["Anna", "anna miller", "", "../S01", "S01/..", "Jo"])
def test_a_speaker_is_a_pseudonym(tmp_path, speaker):
    with pytest.raises(corpora.LocalError, match="may be a name"):
        corpora.store_consent(tmp_path, speaker)


def test_prompts_are_shuffled_and_come_to_an_end(tmp_path):
    plan = {"emotions": ["sad", "calm"], "statements": ["a", "b"]}
    first, other = (corpora.remaining_prompts(tmp_path, speaker, **plan) for speaker in ("S01", "S03"))
    assert len(first) == 4 and not first.equals(other)
    corpora.store_consent(tmp_path, "S01")
    for emotion, statement in first.itertuples(index=False):
        save(tmp_path, emotion=emotion, statement=statement)
    assert corpora.remaining_prompts(tmp_path, "S01", **plan).empty
    assert len(corpora.remaining_prompts(tmp_path, "S02", **plan)) == 4 and corpora.next_pseudonym(tmp_path) == "S02"


WRITER = """
import sys
import numpy as np
from sernb import corpora
root, speaker, takes = sys.argv[1], sys.argv[2], int(sys.argv[3])
corpora.store_consent(root, speaker)
for i in range(takes):
    take = np.arange(i + 1, i + 801).astype("int16")
    corpora.save_take(root, take, 8000, speaker=speaker, emotion="sad", statement=str(i))
"""


def writer(root: Path, speaker: str, takes: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(root), speaker, str(takes)])


@pytest.mark.slow
def test_two_windows_on_one_corpus_lose_no_take(tmp_path):
    windows = [writer(tmp_path, "S01", 25), writer(tmp_path, "S01", 25)]
    assert [window.wait(timeout=240) for window in windows] == [0, 0]
    table = corpora.read_manifest(tmp_path)
    assert len(table) == table["file"].nunique() == 50
    for row in table.itertuples():
        assert soundfile.read(tmp_path / row.file, dtype="int16")[0][0] == int(row.statement) + 1


@pytest.mark.slow
def test_a_crash_leaves_a_consistent_corpus(tmp_path):
    window = writer(tmp_path, "S01", 100_000)
    while len(corpora.read_manifest(tmp_path)) < 20:
        assert window.poll() is None
        time.sleep(0.05)
    window.kill()
    window.wait()
    table = corpora.load("local", tmp_path)
    assert len(table) >= 20 and (corpora.check_files(table)["problem"] == "").all()
    assert len(corpora.unlisted_files(tmp_path)) <= 1, "at most the take in progress"
    save(tmp_path)


def test_consent_can_be_withdrawn(tmp_path):
    for speaker in ("S01", "S02"):
        corpora.store_consent(tmp_path, speaker)
        save(tmp_path, speaker)
    assert corpora.withdraw_speaker(tmp_path, "S01") == ["audio/S01/S01_sad_1.wav"]
    assert not (tmp_path / "audio" / "S01").exists(), "no empty folder tells that there was such a speaker"
    assert list(corpora.load("local", tmp_path)["speaker"]) == ["S02"]
    assert not (tmp_path / "audio/S01/S01_sad_1.wav").exists()
    with pytest.raises(corpora.LocalError, match="has not agreed"):
        save(tmp_path, "S01")
    assert corpora.next_pseudonym(tmp_path) == "S03", "an id is not given twice"
    assert "withdrawn" in (tmp_path / "consent.csv").read_text()


def test_a_corpus_is_private_until_user_and_speakers_agree(tmp_path, monkeypatch):
    corpora.store_consent(tmp_path, "S01")
    save(tmp_path)
    table = corpora.load("local", tmp_path)
    assert corpora.is_private(table) and "withheld" in corpora.privacy_notice(table)
    with pytest.raises(corpora.LocalError, match="S01 in .*consent.csv have not agreed"):
        corpora.mark_publishable(tmp_path, "CC BY 4.0")
    (tmp_path / "publishable.txt").write_text("by hand, without asking")
    assert corpora.is_private(table)
    corpora.store_consent(tmp_path, "S01", publish=True)
    corpora.mark_publishable(tmp_path, "CC BY 4.0")
    assert not corpora.is_private(table) and corpora.privacy_notice(table) == ""
    corpora.store_consent(tmp_path, "S02")
    save(tmp_path, "S02")
    assert corpora.is_private(corpora.load("local", tmp_path)), "a new speaker has not agreed"
    assert not corpora.is_private(corpora.load("demo-local", max_clips=8))


def test_names_and_ids_are_withheld_from_a_page_and_shown_in_jupyterlab(tmp_path, monkeypatch):
    corpora.store_consent(tmp_path, "S01")
    save(tmp_path)
    table = corpora.load("local", tmp_path)
    by_speaker = table.groupby("speaker").agg(clips=("clip", "size"))
    text = display.redact(table, table).to_csv() + display.redact(by_speaker, table).to_csv()
    assert "S01" not in text and str(tmp_path) not in text and "sad" in text
    monkeypatch.setattr("sernb.utils.is_headless", lambda: False)
    assert display.redact(table, table) is table and corpora.privacy_notice(table) == ""


def test_a_page_is_stale_once_its_corpus_may_no_longer_be_published(tmp_path):
    corpora.store_consent(tmp_path, "S01", publish=True)
    save(tmp_path)
    parameters = {"CORPUS": "local", "DATA_DIR": str(tmp_path)}
    private = freshness._data_digest(parameters, tmp_path)
    corpora.mark_publishable(tmp_path, "CC BY 4.0")
    public = freshness._data_digest(parameters, tmp_path)
    (tmp_path / "publishable.txt").unlink()
    assert private == freshness._data_digest(parameters, tmp_path) != public


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Use another home, and another working folder."""
    for folder in ("home", "work"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_a_corpus_in_the_home_folder_is_the_same_for_all_functions(home):
    corpora.store_consent("~/mine", "S01", publish=True)
    save("~/mine")
    assert (
        list(corpora.read_manifest("~/mine")["speaker"])
        == list(corpora.active_consents("~/mine")["speaker"])
        == ["S01"]
    )
    assert corpora.next_pseudonym("~/mine") == "S02" and corpora.used_speaker_ids("~/mine") == {"S01"}
    assert corpora.mark_publishable("~/mine", "CC BY 4.0") == home / "mine" / "publishable.txt"
    assert corpora.is_publishable("~/mine") and corpora.is_publishable(home / "mine")
    corpora.store_consent("~/mine", "S02")
    save("~/mine", "S02")
    assert not corpora.is_publishable("~/mine")
    with pytest.raises(corpora.LocalError, match="S02 in .*home.*consent.csv have not"):
        corpora.mark_publishable("~/mine", "CC BY 4.0")
    assert corpora.withdraw_speaker("~/mine", "S02") == ["audio/S02/S02_sad_1.wav"] and corpora.withdrawn_speakers(
        "~/mine"
    ) == {"S02"}
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("root", ["", "  "])
@pytest.mark.parametrize(
    "act",
    [
        corpora.read_manifest,
        corpora.active_consents,
        corpora.next_pseudonym,
        corpora.is_publishable,
        save,
        lambda root: corpora.store_consent(root, "S01"),
        lambda root: corpora.mark_publishable(root, "CC0"),
        lambda root: corpora.withdraw_speaker(root, "S01"),
    ],
)
def test_an_empty_folder_name_is_refused(home, root, act):
    with pytest.raises(corpora.LocalError, match="no corpus folder is given"):
        act(root)
    assert not list(Path.cwd().iterdir())


BARS = {
    "manifest.csv": "file|emotion|speaker\na.wav|sad|S01\n",
    "consent.csv": "speaker|consent|publish|time\nS01|yes|no|\n",
}


@pytest.mark.parametrize("name", BARS)
def test_a_table_without_its_columns_is_refused_and_left_alone(tmp_path, name):
    corpora.store_consent(tmp_path, "S01")
    (tmp_path / name).write_text(BARS[name])
    with pytest.raises(corpora.LocalError, match=rf"{name}: no column .*speaker.*Found '\w+\|\w+\|.*comma-separated"):
        save(tmp_path)
    with pytest.raises(corpora.LocalError, match="Found"):
        corpora.withdraw_speaker(tmp_path, "S01")
    with pytest.raises(corpora.LocalError, match="Found"):
        corpora.store_consent(tmp_path, "S02", new=True)
    assert (tmp_path / name).read_text() == BARS[name] and not (tmp_path / "audio").exists()


def test_tables_of_a_european_spreadsheet_stay_with_semicolons(tmp_path):
    (tmp_path / "consent.csv").write_text("speaker;consent;publish;time\nS01;I agree, fully;no;\n", "utf-8-sig")
    (tmp_path / "a.wav").write_bytes(corpora.encode_wav(TAKE, 8000))
    (tmp_path / "manifest.csv").write_text("file;emotion;speaker;condition\na.wav;sad;S01;a, b\n")
    save(tmp_path)
    corpora.store_consent(tmp_path, "S02")
    header, own, new = (tmp_path / "manifest.csv").read_text().splitlines()
    assert header.startswith("file;emotion;speaker;sex;condition") and own == "a.wav;sad;S01;;a, b;;;"
    assert new.startswith("audio/S01/S01_sad_1.wav;sad;S01;")
    assert list(corpora.active_consents(tmp_path)["consent"]) == ["I agree, fully", corpora.CONSENT_TEXT]
    assert set(corpora.load("local", tmp_path)["condition"]) == {"a, b", ""}


def fails(error: Exception):
    def act(*_, **__):
        raise error

    return act


def test_a_withdrawal_that_breaks_off_is_completed_by_a_second(tmp_path, monkeypatch):
    for speaker in ("S01", "S02"):
        corpora.store_consent(tmp_path, speaker, publish=True)
        save(tmp_path, speaker)
    corpora.mark_publishable(tmp_path, "CC BY 4.0")
    with monkeypatch.context() as broken, pytest.raises(PermissionError):
        broken.setattr(Path, "unlink", fails(PermissionError("in use")))
        corpora.withdraw_speaker(tmp_path, "S01")
    with pytest.raises(corpora.LocalError, match="has not agreed"):
        save(tmp_path)
    assert not corpora.is_publishable(tmp_path)
    with monkeypatch.context() as broken, pytest.raises(OSError, match="no space"):
        broken.setattr("sernb.corpora.local._replace_csv", fails(OSError("no space")))
        corpora.withdraw_speaker(tmp_path, "S01")
    assert not (tmp_path / "audio/S01/S01_sad_1.wav").exists() and len(corpora.read_manifest(tmp_path)) == 2
    assert corpora.withdraw_speaker(tmp_path, "S01") == []
    assert list(corpora.load("local", tmp_path)["speaker"]) == ["S02"]
    assert (tmp_path / "consent.csv").read_text().count("withdrawn") == 1


def test_a_withdrawal_deletes_all_of_the_speaker_and_nothing_else(tmp_path):
    root = tmp_path / "mine"
    for speaker in ("S01", "S02"):
        corpora.store_consent(root, speaker)
        save(root, speaker)
    save(root)
    for name in ("S01_sad_3.wav", ".S01_sad_4.wav.part"):
        (root / "audio/S01" / name).write_bytes(b"left by a crash")
    outside = [tmp_path / "a.wav", tmp_path / "b.wav", tmp_path / "far" / "c.wav"]
    (tmp_path / "far").mkdir()
    for path in outside:
        path.write_bytes(b"another's")
    (root / "link").symlink_to(tmp_path / "far")
    with (root / "manifest.csv").open("a") as file:
        file.writelines(f"{name},sad,S01,,,,,\n" for name in (outside[0], "../b.wav", "link/c.wav"))
    # A speaker put right by hand: the clip is another's, wherever it lies.
    text = (root / "manifest.csv").read_text()
    right = text.replace("audio/S01/S01_sad_2.wav,sad,S01", "./audio/S01/S01_sad_2.wav,sad,S02")
    (root / "manifest.csv").write_text(right)
    with pytest.warns(UserWarning, match="is outside"):
        gone = corpora.withdraw_speaker(root, "S01")
    assert sorted(gone) == [f"audio/S01/{name}" for name in (".S01_sad_4.wav.part", "S01_sad_1.wav", "S01_sad_3.wav")]
    assert all(path.exists() for path in outside)
    assert set(corpora.load("local", root)["clip"]) == {"audio/S01/S01_sad_2.wav", "audio/S02/S02_sad_1.wav"}


def test_a_withdrawal_of_an_unknown_speaker_is_refused(tmp_path):
    corpora.store_consent(tmp_path, "S01")
    with pytest.raises(corpora.LocalError, match="no speaker 'S1'; there are S01"):
        corpora.withdraw_speaker(tmp_path, "S1")


def test_a_new_speaker_never_gets_an_id_in_use(tmp_path):
    (tmp_path / "a.wav").write_bytes(corpora.encode_wav(TAKE, 8000))
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker\na.wav,sad,S01\n")
    corpora.store_consent(tmp_path, "S02", new=True)
    corpora.store_consent(tmp_path, "S03", new=True)
    corpora.withdraw_speaker(tmp_path, "S03")
    for speaker in ("S01", "S02", "S03"):
        with pytest.raises(corpora.LocalError, match=f"{speaker} is another speaker.*use S04"):
            corpora.store_consent(tmp_path, speaker, new=True)
    corpora.store_consent(tmp_path, "S02", publish=True)
    assert len((tmp_path / "consent.csv").read_text().splitlines()) == 5


def test_a_clip_is_relabelled_and_its_name_with_it(tmp_path):
    corpora.store_consent(tmp_path, "S01")
    save(tmp_path)
    save(tmp_path)
    assert corpora.relabel_clip(tmp_path, "audio/S01/S01_sad_1.wav", "calm") == "audio/S01/S01_calm_1.wav"
    assert corpora.relabel_clip(tmp_path, "audio/S01/S01_calm_1.wav", "calm") == "audio/S01/S01_calm_1.wav"
    table = corpora.load("local", tmp_path).set_index("clip")
    assert table["emotion"].to_dict() == {"audio/S01/S01_calm_1.wav": "calm", "audio/S01/S01_sad_2.wav": "sad"}
    assert len(list((tmp_path / "audio/S01").iterdir())) == 2
    (tmp_path / "mine ü.wav").write_bytes(corpora.encode_wav(TAKE, 8000))
    with (tmp_path / "manifest.csv").open("a") as file:
        file.write("mine u\u0308.wav,sad,S01,,,,,\n")
    assert corpora.relabel_clip(tmp_path, "mine ü.wav", "fear") == "mine u\u0308.wav", "a name of the user's stays"
    with pytest.raises(corpora.LocalError, match="unknown emotion 'sadd'"):
        corpora.relabel_clip(tmp_path, "mine ü.wav", "sadd")
    with pytest.raises(corpora.LocalError, match="has no clip audio/S01/S01_sad_1.wav any more"):
        corpora.relabel_clip(tmp_path, "audio/S01/S01_sad_1.wav", "calm")


def test_a_relabelling_that_breaks_off_changes_nothing(tmp_path, monkeypatch):
    corpora.store_consent(tmp_path, "S01")
    save(tmp_path)
    before = snapshot(tmp_path)
    monkeypatch.setattr("sernb.corpora.local._replace_csv", fails(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        corpora.relabel_clip(tmp_path, "audio/S01/S01_sad_1.wav", "calm")
    with pytest.raises(OSError, match="no space"):
        corpora.delete_clip(tmp_path, "audio/S01/S01_sad_1.wav")
    assert snapshot(tmp_path) == before


def test_a_clip_is_deleted_with_its_row_and_no_other(tmp_path):
    root = tmp_path / "mine"
    corpora.store_consent(root, "S01")
    save(root)
    save(root)
    (tmp_path / "outside.wav").write_bytes(corpora.encode_wav(TAKE, 8000))
    with (root / "manifest.csv").open("a") as file:
        file.write("../outside.wav,sad,S01,,,,,\n")
    corpora.delete_clip(root, "audio/S01/S01_sad_1.wav")
    with pytest.warns(UserWarning, match="outside.wav is outside .* not deleted"):
        corpora.delete_clip(root, "../outside.wav")
    assert list(corpora.load("local", root)["clip"]) == ["audio/S01/S01_sad_2.wav"]
    assert not (root / "audio/S01/S01_sad_1.wav").exists() and (tmp_path / "outside.wav").exists()
    with pytest.raises(corpora.LocalError, match="has no clip"):
        corpora.delete_clip(root, "audio/S01/S01_sad_1.wav")


def snapshot(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_recording_overwrites_and_removes_no_file_of_the_users(tmp_path):
    names = ("audio/S01/S01_sad_1.wav", "audio/S01/.S01_sad_2.wav.part", "audio/S01/notes.txt", ".manifest.csv.part")
    for name in (*names, ".consent.csv.part", "publishable.txt", "thesis.keras"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = snapshot(tmp_path)
    corpora.store_consent(tmp_path, "S01", publish=True)
    assert save(tmp_path)["file"] == "audio/S01/S01_sad_2.wav"
    corpora.mark_publishable(tmp_path, "CC0")
    after = snapshot(tmp_path)
    assert (tmp_path / "publishable.txt").read_text().startswith("mine")
    assert {path: after[path] for path in before if path.name != "publishable.txt"} == {
        path: data for path, data in before.items() if path.name != "publishable.txt"
    }
    with pytest.warns(UserWarning, match=r"notes\.txt is not a clip of S01's and was not deleted"):
        corpora.withdraw_speaker(tmp_path, "S01")
    for name in ("audio/S01/notes.txt", ".manifest.csv.part", "thesis.keras"):
        assert (tmp_path / name).read_text() == "mine"


def test_a_lock_file_of_the_users_is_not_emptied(tmp_path):
    (tmp_path / ".lock").write_text("mine")
    with pytest.raises(corpora.LocalError, match=r"\.lock is not a lock of sernb's"):
        corpora.store_consent(tmp_path, "S01")
    assert snapshot(tmp_path) == {tmp_path / ".lock": b"mine"}


def test_a_manifest_that_is_a_link_stays_one(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "shared.csv").write_text("file,emotion,speaker\n")
    (tmp_path / "mine" / "manifest.csv").symlink_to(tmp_path / "shared.csv")
    corpora.store_consent(tmp_path / "mine", "S01")
    save(tmp_path / "mine")
    assert (tmp_path / "mine" / "manifest.csv").is_symlink() and "S01_sad_1" in (tmp_path / "shared.csv").read_text()


def test_a_file_that_cannot_be_written_whole_is_removed(tmp_path, monkeypatch):
    corpora.store_consent(tmp_path, "S01")
    monkeypatch.setattr("os.fsync", fails(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        save(tmp_path)
    assert not [path for path in (tmp_path / "audio").rglob("*") if path.is_file()]


def test_a_consent_is_undone_back_to_the_last_withdrawal(tmp_path):
    corpora.store_consent(tmp_path, "S01")
    corpora.withdraw_speaker(tmp_path, "S01")
    corpora.store_consent(tmp_path, "S01")
    corpora.store_consent(tmp_path, "S01", publish=True)
    corpora.undo_consent(tmp_path, "S01")
    assert corpora.withdrawn_speakers(tmp_path) == {"S01"}
    corpora.undo_consent(tmp_path, "S01")
    assert corpora.withdrawn_speakers(tmp_path) == {"S01"}, "a withdrawal is not undone"
    corpora.store_consent(tmp_path, "S02")
    save(tmp_path, "S02")
    with pytest.raises(corpora.LocalError, match="S02 has 1 clips"):
        corpora.undo_consent(tmp_path, "S02")


def test_a_corpus_may_have_a_consent_text_of_its_own(tmp_path):
    assert corpora.consent_text(tmp_path) == corpora.CONSENT_TEXT
    (tmp_path / "consent-text.txt").write_text("Vote 12/34:\n I agree.\n", encoding="utf-8")
    corpora.store_consent(tmp_path, "S01")
    assert list(corpora.active_consents(tmp_path)["consent"]) == ["Vote 12/34: I agree."]


def test_notes_follow_a_relabelled_clip_and_are_deleted_with_it(tmp_path):
    for speaker in ("S01", "S02"):
        corpora.store_consent(tmp_path, speaker)
    clips = [save(tmp_path, speaker, "sad")["file"] for speaker in ("S01", "S01", "S02")]
    for clip in clips:
        corpora.add_note(tmp_path, clip, 0.1, 0.2, f"on {clip}")
    new = corpora.relabel_clip(tmp_path, clips[0], "calm")
    assert corpora.read_notes(tmp_path, new)["label"].tolist() == [f"on {clips[0]}"]
    assert corpora.read_notes(tmp_path, clips[0]).empty
    corpora.delete_clip(tmp_path, new)
    assert not (tmp_path / "notes" / f"{new}.txt").exists() and len(corpora.read_notes(tmp_path, clips[1])) == 1
    corpora.withdraw_speaker(tmp_path, "S01")
    assert not (tmp_path / "notes/audio/S01").exists() and len(corpora.read_notes(tmp_path, clips[2])) == 1
    with pytest.raises(corpora.LocalError, match="has no clip"):
        corpora.add_note(tmp_path, clips[1], 0, 1, "on nobody")
