from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import tone

from sernb import corpora
from sernb import local
from sernb import privacy
from sernb import quality
from sernb import runs

TAKE = (tone(0.3, 8000) * 20000).astype("int16")


def keep(root, speaker="S01", emotion="sad", **told):
    return local.keep(root, TAKE, 8000, speaker=speaker, emotion=emotion, **told)


def test_a_kept_take_is_its_samples_at_its_rate_and_a_row(tmp_path):
    local.consent(tmp_path, "S01")
    row = keep(tmp_path, statement='He said "no, thank you"', condition="stroke", sex="female")
    samples, rate = soundfile.read(tmp_path / row["file"], dtype="int16")
    assert rate == 8000 and np.array_equal(samples, TAKE)
    assert soundfile.info(tmp_path / row["file"]).subtype == "PCM_16"
    assert keep(tmp_path)["file"] == "audio/S01/S01_sad_2.wav", "the first is not overwritten"
    table = corpora.load("local", tmp_path)
    assert list(table["statement"]) == ['He said "no, thank you"', ""] and table["condition"][0] == "stroke"
    assert local.manifest(tmp_path)["time"].str.match(r"\d{4}-\d\d-\d\dT").all()
    assert not [path for path in tmp_path.rglob("*.part")]


def test_a_manifest_made_by_hand_keeps_its_columns(tmp_path):
    (tmp_path / "a.wav").write_bytes(local.wav(TAKE, 8000))
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker,ward\na.wav,calm,P1,3\n", encoding="utf-8-sig")
    local.consent(tmp_path, "S01")
    keep(tmp_path)
    table = local.manifest(tmp_path)
    assert list(table["ward"]) == ["3", ""] and list(table["speaker"]) == ["P1", "S01"]


def test_a_manifest_that_cannot_be_read_is_left_alone(tmp_path):
    local.consent(tmp_path, "S01")
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker\na.wav,sad,1,2,3,4\n")
    with pytest.raises(corpora.CorpusError, match=r"manifest\.csv cannot be read"):
        keep(tmp_path)
    assert (tmp_path / "manifest.csv").read_text().endswith("1,2,3,4\n")
    assert not (tmp_path / "audio").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speaker": "S02"}, "S02.*has not agreed"),
        ({"emotion": "sadd"}, "sadd.*angry"),
        ({"signal": np.zeros(100, "int16")}, "no sound"),
        ({"signal": TAKE[:0]}, "no sound"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_words(tmp_path, change, message):
    local.consent(tmp_path, "S01")
    given = {"signal": TAKE, "speaker": "S01", "emotion": "sad"} | change
    with pytest.raises(local.LocalError, match=message):
        local.keep(tmp_path, given.pop("signal"), 8000, **given)
    assert not (tmp_path / "manifest.csv").exists() and not (tmp_path / "audio").exists()


@pytest.mark.parametrize("speaker", ["Anna", "anna miller", "", "../S01", "S01/..", "Jo"])
def test_a_speaker_is_a_pseudonym(tmp_path, speaker):
    with pytest.raises(local.LocalError, match="may be a name"):
        local.consent(tmp_path, speaker)


def test_prompts_are_shuffled_and_end(tmp_path):
    plan = {"emotions": ["sad", "calm"], "statements": ["a", "b"]}
    first, other = (local.prompts(tmp_path, speaker, **plan) for speaker in ("S01", "S03"))
    assert len(first) == 4 and not first.equals(other)
    local.consent(tmp_path, "S01")
    for emotion, statement in first.itertuples(index=False):
        keep(tmp_path, emotion=emotion, statement=statement)
    assert local.prompts(tmp_path, "S01", **plan).empty
    assert len(local.prompts(tmp_path, "S02", **plan)) == 4 and local.next_pseudonym(tmp_path) == "S02"


WRITER = """
import sys
import numpy as np
from sernb import local
root, speaker, takes = sys.argv[1], sys.argv[2], int(sys.argv[3])
local.consent(root, speaker)
for i in range(takes):
    local.keep(root, np.full(800, i + 1, "int16"), 8000, speaker=speaker, emotion="sad", statement=str(i))
"""


def writer(root: Path, speaker: str, takes: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(root), speaker, str(takes)])


def test_two_windows_on_one_corpus_lose_nothing(tmp_path):
    windows = [writer(tmp_path, "S01", 25), writer(tmp_path, "S01", 25)]
    assert [window.wait(timeout=240) for window in windows] == [0, 0]
    table = local.manifest(tmp_path)
    assert len(table) == table["file"].nunique() == 50
    for row in table.itertuples():
        assert soundfile.read(tmp_path / row.file, dtype="int16")[0][0] == int(row.statement) + 1


def test_a_crash_leaves_a_whole_corpus(tmp_path):
    window = writer(tmp_path, "S01", 100_000)
    while len(local.manifest(tmp_path)) < 20:
        assert window.poll() is None
        time.sleep(0.05)
    window.kill()
    window.wait()
    table = corpora.load("local", tmp_path)
    assert len(table) >= 20 and (corpora.check(table)["problem"] == "").all()
    assert len(quality.strays(tmp_path)) <= 1, "at most the take in progress"
    keep(tmp_path)


def test_consent_can_be_withdrawn(tmp_path):
    for speaker in ("S01", "S02"):
        local.consent(tmp_path, speaker)
        keep(tmp_path, speaker)
    assert local.withdraw(tmp_path, "S01") == ["audio/S01/S01_sad_1.wav"]
    assert list(corpora.load("local", tmp_path)["speaker"]) == ["S02"]
    assert not (tmp_path / "audio/S01/S01_sad_1.wav").exists()
    with pytest.raises(local.LocalError, match="has not agreed"):
        keep(tmp_path, "S01")
    assert local.next_pseudonym(tmp_path) == "S03", "an id is not given twice"
    assert "withdrawn" in (tmp_path / "consent.csv").read_text()


def test_a_corpus_is_private_until_user_and_speakers_say_otherwise(tmp_path, monkeypatch):
    local.consent(tmp_path, "S01")
    keep(tmp_path)
    table = corpora.load("local", tmp_path)
    assert privacy.private(table) and "withheld" in privacy.notice(table)
    with pytest.raises(local.LocalError, match="S01 of .*consent.csv have not agreed"):
        local.publish(tmp_path, "CC BY 4.0")
    (tmp_path / "publishable.txt").write_text("by hand, without asking")
    assert privacy.private(table)
    local.consent(tmp_path, "S01", publish=True)
    local.publish(tmp_path, "CC BY 4.0")
    assert not privacy.private(table) and privacy.notice(table) == ""
    local.consent(tmp_path, "S02")
    keep(tmp_path, "S02")
    assert privacy.private(corpora.load("local", tmp_path)), "a new speaker has not agreed"
    assert not privacy.private(corpora.load("demo-local", max_clips=8))


def test_names_and_ids_are_withheld_from_a_page_and_shown_in_jupyterlab(tmp_path, monkeypatch):
    local.consent(tmp_path, "S01")
    keep(tmp_path)
    table = corpora.load("local", tmp_path)
    by_speaker = table.groupby("speaker").agg(clips=("clip", "size"))
    shown = privacy.shown(table, table).to_csv() + privacy.shown(by_speaker, table).to_csv()
    assert "S01" not in shown and str(tmp_path) not in shown and "sad" in shown
    monkeypatch.setattr(privacy, "headless", lambda: False)
    assert privacy.shown(table, table) is table and privacy.notice(table) == ""


def test_a_page_is_stale_once_its_corpus_may_no_longer_be_published(tmp_path):
    local.consent(tmp_path, "S01", publish=True)
    keep(tmp_path)
    given = {"CORPUS": "local", "DATA_DIR": str(tmp_path)}
    private = runs._data_digest(given, tmp_path)
    local.publish(tmp_path, "CC BY 4.0")
    public = runs._data_digest(given, tmp_path)
    (tmp_path / "publishable.txt").unlink()
    assert private == runs._data_digest(given, tmp_path) != public
