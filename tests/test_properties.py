"""Random file names and manifests: they give a table, or an error that says what would be right."""

from __future__ import annotations

import csv
import io
import string
import tempfile
import unicodedata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.hypothesis_settings import QUICK
from support.hypothesis_settings import SLOWER

from sernb import audio
from sernb import corpora

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
DIGITS = st.text(string.digits, min_size=2, max_size=2)


@QUICK
@given(st.lists(DIGITS, min_size=7, max_size=7), st.sampled_from(sorted(corpora.AUDIO_SUFFIXES)))
def test_every_ravdess_name_has_valid_labels(fields, suffix):
    labels = corpora.parse_ravdess_name("-".join(fields) + suffix)
    assert labels["emotion"] in corpora.EMOTIONS and labels["speaker"] == fields[-1]
    assert labels["sex"] == ("female" if int(fields[-1]) % 2 == 0 else "male")
    assert (labels["emotion"] == "neutral") <= (labels["intensity"] == "")


@QUICK
@given(st.from_regex(corpora.CREMA_NAME_RE, fullmatch=True))
def test_every_crema_name_has_valid_labels(name):
    labels = corpora.parse_crema_name(f"{name}.wav")
    assert labels["emotion"] in corpora.EMOTIONS and labels["speaker"] == name[:4] and name[:4].isascii()
    assert name.startswith(f"{labels['speaker']}_{labels['statement']}_")


@QUICK
@given(TEXT)
def test_any_other_name_is_no_clip(name):
    parsers = {corpora.parse_ravdess_name: 20, corpora.parse_crema_name: 15, corpora.parse_emodb_name: 7}
    for parse, length in parsers.items():
        assert parse(name) is None or (len(Path(name).stem) <= length and Path(name).stem.isascii())


@QUICK
@given(st.text())
def test_printed_names_are_one_line_without_control_characters(text):
    escaped = audio.escape_control_characters(text)
    assert escaped.isprintable() and (escaped == text) == text.isprintable()
    assert escaped.encode().decode() == escaped


def as_manifest(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        [["file", "emotion", "speaker", "condition"], *rows]
    )
    return text.getvalue()


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=30)
SPEAKERS = st.text(string.ascii_letters + string.digits + "äß ", min_size=1).map(str.strip).filter(bool)
FREE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


def file_name(text: str) -> str:
    return f"{text.strip()}.wav"


def clip_id(name: str) -> str:
    return unicodedata.normalize("NFC", Path(name).as_posix())


@SLOWER
@given(st.data())
def test_a_correct_manifest_is_read_without_changes(data):
    """For any file names, and any text in a free column."""
    names = data.draw(st.lists(NAMES.map(file_name), min_size=1, max_size=5, unique_by=clip_id))
    rows = [
        [name, data.draw(st.sampled_from(corpora.EMOTIONS)), data.draw(SPEAKERS), data.draw(FREE)] for name in names
    ]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in names:
            (root / name).touch()
        (root / "manifest.csv").write_text(as_manifest(rows), encoding="utf-8", newline="")
        table = corpora.load("local", root).set_index("clip")
    assert set(table.index) == set(map(clip_id, names))
    for name, emotion, speaker, condition in rows:
        row = table.loc[clip_id(name)]
        assert (row["emotion"], row["speaker"], row["condition"]) == (emotion, speaker, condition.strip())


@SLOWER
@given(st.lists(st.lists(TEXT, min_size=4, max_size=4), max_size=4))
def test_any_rows_give_a_table_or_an_error_that_names_the_manifest(rows):
    check_read_or_refused(as_manifest(rows).encode())


@SLOWER
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=100).map(lambda tail: b"file,emotion,speaker\n" + tail)))
def test_any_bytes_give_a_table_or_an_error_that_names_the_manifest(content):
    check_read_or_refused(content)


def check_read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "manifest.csv").write_bytes(content)
        try:
            assert len(corpora.load("local", folder))
        except corpora.CorpusError as error:
            assert "manifest.csv" in str(error)
