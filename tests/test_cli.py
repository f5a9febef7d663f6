from __future__ import annotations

from pathlib import Path

import pytest
from support import small_notebooks
from support.audio_files import tone
from support.audio_files import write
from typer.testing import CliRunner

from sernb import cli
from sernb import corpora


def sernb(*words: str | Path):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def test_corpora_are_listed_with_their_place_and_licence(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("SERNB_DATA", str(tmp_path))
    (tmp_path / "ravdess").mkdir()
    said = sernb("corpora")
    assert said.exit_code == 0
    for name, corpus in corpora.CORPORA.items():
        assert name in said.stdout and corpus.licence in said.stdout
    assert str(tmp_path / "ravdess") in said.stdout and "not found" in said.stdout


def test_check_passes_a_demo_corpus():
    said = sernb("check", "demo-ravdess")
    assert said.exit_code == 0, said.output
    assert "360 clips, 0 unusable" in said.stdout and "surprise" in said.stdout


def test_check_fails_a_corpus_with_an_unusable_clip(tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(b"no audio at all")
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker\na.wav,sad,1\n")
    said = sernb("check", "local", "--data-dir", tmp_path)
    assert said.exit_code == 1
    assert "1 unusable" in said.stdout and "a.wav: cannot be decoded" in said.stdout
    assert "passed over" not in said.stdout


def test_check_names_the_files_that_are_none_of_the_corpuss(tmp_path: Path):
    write(tmp_path / "1001_IEO_ANG_HI.wav", tone(0.3, 16000), 16000)
    for name in ("1001_IEO_ANG_HI (1).wav", "deep/song\x1b.ogg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    said = sernb("check", "crema", "--data-dir", tmp_path).stdout
    assert "1 clips, 0 unusable" in said
    assert "2 more audio files passed over, of a name that is not like 1001_IEO_ANG_HI.wav" in said
    assert "\n  1001_IEO_ANG_HI (1).wav\n  deep/song\\x1b.ogg\n" in said
    for number in range(5):
        (tmp_path / f"take {number}.wav").write_bytes(b"")
    assert "... and 2 more\n" in sernb("check", "crema", "--data-dir", tmp_path).stdout


@pytest.mark.notebook
def test_run_takes_parameters_as_papermill_does(tmp_path: Path):
    notebook = small_notebooks.write(tmp_path / "small.ipynb", small_notebooks.WRITE)
    words = ["-p", "SPLIT", "75:15:10", "-p", "SEED", "3", "-p", "MODELS", "[b, c]", "-o", tmp_path / "out"]
    said = sernb("run", notebook, *words)
    assert said.exit_code == 0, said.output
    assert said.stdout.strip() == str(tmp_path / "out" / "small.ipynb")
    assert (tmp_path / "out" / "result.txt").read_text() == "3 75:15:10 ['b', 'c']"
    assert "--again" in sernb("run", notebook, *words).stderr
    assert "--again" not in sernb("run", notebook, "--again", *words).stderr


@pytest.mark.notebook
def test_run_has_a_folder_by_default(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_notebooks.write(tmp_path / "small.ipynb", small_notebooks.WRITE)
    assert sernb("run", "small.ipynb", "-p", "SEED", "4").exit_code == 0
    assert (tmp_path / "runs" / "small" / "seed-4" / "result.txt").exists()


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["check", "nothing"], 1, "demo-crema"),
        (["run", "missing.ipynb"], 1, "missing.ipynb"),
        (["run", "small.ipynb", "-p", "SEDE", "1"], 1, "did you mean SEED"),
        (["run", "small.ipynb", "-p", "SEED"], 2, "no value"),
        (["report", "--runs", "missing.yml"], 1, "missing.yml"),
        (["sing"], 2, "sing"),
    ],
)
def test_errors_are_said_in_a_line_or_a_few(tmp_path: Path, monkeypatch, words: list[str], status: int, says: str):
    monkeypatch.chdir(tmp_path)
    small_notebooks.write(tmp_path / "small.ipynb", small_notebooks.WRITE)
    said = sernb(*words)
    assert said.exit_code == status and says in said.stderr
    assert "Traceback" not in said.output and said.stdout == ""
    assert not (tmp_path / "runs").exists()
