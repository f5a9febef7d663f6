"""Names and manifests that nobody thought of: there is a table, or an error that says what to do."""

from __future__ import annotations

import csv
import io
import string
import tempfile
from pathlib import Path

from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from sernb import audio
from sernb import corpora

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
DIGITS = st.text(string.digits, min_size=2, max_size=2)
# The same examples each time, and no folder of them left behind.
QUICK = settings(
    max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
SLOWER = settings(QUICK, max_examples=60)


@QUICK
@given(st.lists(DIGITS, min_size=7, max_size=7), st.sampled_from(sorted(corpora.AUDIO_SUFFIXES)))
def test_every_name_of_ravdess_gives_labels_that_the_table_knows(fields, suffix):
    found = corpora.parse_ravdess_name("-".join(fields) + suffix)
    assert found["emotion"] in corpora.EMOTIONS and found["speaker"] == fields[-1]
    assert found["sex"] == ("female" if int(fields[-1]) % 2 == 0 else "male")
    assert (found["emotion"] == "neutral") <= (found["intensity"] == "")


@QUICK
@given(st.from_regex(corpora.CREMA_NAME_RE, fullmatch=True))
def test_every_name_of_crema_gives_labels_that_the_table_knows(name):
    found = corpora.parse_crema_name(f"{name}.wav")
    assert found["emotion"] in corpora.EMOTIONS and found["speaker"] == name[:4] and name[:4].isascii()
    assert name.startswith(f"{found['speaker']}_{found['statement']}_")


@QUICK
@given(TEXT)
def test_any_other_name_is_no_clip_of_theirs(name):
    for fields_of, length in ((corpora.parse_ravdess_name, 20), (corpora.parse_crema_name, 15)):
        found = fields_of(name)
        assert found is None or (len(Path(name).stem) <= length and Path(name).stem.isascii())


@QUICK
@given(st.text())
def test_what_is_printed_is_one_line_without_control_characters(text):
    shown = audio.escape_control_characters(text)
    assert shown.isprintable() and (shown == text) == text.isprintable()
    assert shown.encode().decode() == shown


def as_manifest(rows: list[list[str]]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        [["file", "emotion", "speaker", "condition"], *rows]
    )
    return written.getvalue()


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=30)
SPEAKERS = st.text(string.ascii_letters + string.digits + "äß ", min_size=1).map(str.strip).filter(bool)
FREE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@SLOWER
@given(st.data())
def test_a_right_manifest_is_read_as_it_was_written(data):
    """Whatever the files are called, and whatever stands in a free column."""
    names = data.draw(st.lists(NAMES.map(lambda name: f"{name.strip()}.wav"), min_size=1, max_size=5, unique=True))
    rows = [
        [name, data.draw(st.sampled_from(corpora.EMOTIONS)), data.draw(SPEAKERS), data.draw(FREE)] for name in names
    ]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in names:
            (root / name).touch()
        (root / "manifest.csv").write_text(as_manifest(rows), encoding="utf-8", newline="")
        table = corpora.load("local", root).set_index("clip")
    assert set(table.index) == {Path(name).as_posix() for name in names}
    for name, emotion, speaker, condition in rows:
        row = table.loc[Path(name).as_posix()]
        assert (row["emotion"], row["speaker"], row["condition"]) == (emotion, speaker, condition.strip())


@SLOWER
@given(st.lists(st.lists(TEXT, min_size=4, max_size=4), max_size=4))
def test_any_rows_are_a_table_or_an_error_that_names_the_manifest(rows):
    refused_or_read(as_manifest(rows).encode())


@SLOWER
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=100).map(lambda tail: b"file,emotion,speaker\n" + tail)))
def test_any_bytes_are_a_table_or_an_error_that_names_the_manifest(content):
    refused_or_read(content)


def refused_or_read(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "manifest.csv").write_bytes(content)
        try:
            assert len(corpora.load("local", folder))
        except corpora.CorpusError as error:
            assert "manifest.csv" in str(error)
