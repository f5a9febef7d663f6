from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from support import small_notebooks
from support.audio_files import tone
from support.audio_files import write
from typer.testing import CliRunner

import sernb
from sernb import cli
from sernb import corpora
from sernb import features


def run_sernb(*words: str | Path):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def test_corpora_are_listed_with_location_and_licence(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("SERNB_DATA", str(tmp_path))
    (tmp_path / "ravdess").mkdir()
    result = run_sernb("corpora")
    assert result.exit_code == 0
    for name, corpus in corpora.CORPORA.items():
        assert name in result.stdout and corpus.licence in result.stdout
    assert str(tmp_path / "ravdess") in result.stdout and "not found" in result.stdout


def test_a_demo_corpus_without_a_cache_folder_does_not_ask_for_sernb_data(monkeypatch):
    def locate(name: str) -> Path:
        raise corpora.DemoError("the demo corpora need a folder to unpack to: set SERNB_CACHE")

    monkeypatch.setattr(corpora, "locate", locate)
    assert "SERNB_CACHE" in cli._corpus_location("demo-crema")
    assert "SERNB_DATA" not in cli._corpus_location("demo-crema")


def test_check_passes_a_demo_corpus():
    result = run_sernb("check", "demo-ravdess")
    assert result.exit_code == 0, result.output
    assert "360 clips, 0 unusable" in result.stdout and "surprise" in result.stdout


def test_check_fails_a_corpus_with_an_unusable_clip(tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(b"no audio at all")
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker\na.wav,sad,1\n")
    result = run_sernb("check", "local", "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert "1 unusable" in result.stdout and "a.wav: cannot be decoded" in result.stdout
    assert "ignored" not in result.stdout


def test_check_lists_the_files_that_are_not_clips_of_the_corpus(tmp_path: Path):
    write(tmp_path / "1001_IEO_ANG_HI.wav", tone(0.3, 16000), 16000)
    for name in ("1001_IEO_ANG_HI (1).wav", "deep/song\x1b.ogg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    text = run_sernb("check", "crema", "--data-dir", tmp_path).stdout
    assert "1 clips, 0 unusable" in text
    assert "2 other audio files ignored: a clip's name is like 1001_IEO_ANG_HI.wav" in text
    assert "\n  1001_IEO_ANG_HI (1).wav\n  deep/song\\x1b.ogg\n" in text
    for number in range(5):
        (tmp_path / f"take {number}.wav").write_bytes(b"")
    assert "... and 2 more\n" in run_sernb("check", "crema", "--data-dir", tmp_path).stdout


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_a_name_that_the_terminal_cannot_encode_is_escaped(tmp_path: Path, encoding: str):
    (tmp_path / "Łódź [red].wav").write_bytes(b"no audio")
    (tmp_path / "manifest.csv").write_text("file,emotion,speaker\nŁódź [red].wav,sad,1\n", encoding="utf-8")
    words = [sys.executable, "-m", "sernb", "check", "local", "--data-dir", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"\\u0141" in done.stdout and b"[red].wav: cannot be decoded" in done.stdout


def test_a_table_shows_brackets_and_control_characters_of_a_name(capsys):
    import pandas as pd

    cli._print_table(pd.DataFrame({"file": ["take [red] [/x].wav", "a\x1b[31m.wav"]}))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == ["take [red] [/x].wav", "a\\x1b[31m.wav"]


@pytest.mark.notebook
def test_run_takes_parameters_as_papermill_does(tmp_path: Path):
    notebook = small_notebooks.write(tmp_path / "small.ipynb", small_notebooks.WRITE)
    words = ["-p", "SPLIT", "75:15:10", "-p", "SEED", "3", "-p", "MODELS", "[b, c]", "-o", tmp_path / "out"]
    result = run_sernb("run", notebook, *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "out" / "small.ipynb")
    assert (tmp_path / "out" / "result.txt").read_text() == "3 75:15:10 ['b', 'c']"
    assert "--again" in run_sernb("run", notebook, *words).stderr
    assert "--again" not in run_sernb("run", notebook, "--again", *words).stderr


@pytest.mark.notebook
def test_run_has_a_folder_by_default(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_notebooks.write(tmp_path / "small.ipynb", small_notebooks.WRITE)
    assert run_sernb("run", "small.ipynb", "-p", "SEED", "4").exit_code == 0
    assert (tmp_path / "runs" / "small" / "seed-4" / "result.txt").exists()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["check", "nothing"], 1, "demo-crema"),
        (["run", "missing.ipynb"], 1, "missing.ipynb"),
        (["run", "small.ipynb", "-p", "SEDE", "1"], 1, "did you mean SEED"),
        (["run", "small.ipynb", "-p", "SEED"], 2, "SEED has no value"),
        (["run", "small.ipynb", "-p", "SEED", "-o", "out"], 2, "SEED has no value"),
        (["run", "small.ipynb", "-p", "SEED", "--output-dir=out"], 2, "SEED has no value"),
        (["run", "small.ipynb", "-p", "SEED", "1", "-p", "SEED", "2"], 2, "SEED is given twice (1 and 2)"),
        (["report", "--runs", "missing.yml"], 1, "missing.yml"),
        (["sing"], 2, "sing"),
    ],
)
def test_an_error_takes_a_line_or_a_few(tmp_path: Path, monkeypatch, words: list[str], status: int, message: str):
    monkeypatch.chdir(tmp_path)
    small_notebooks.write(tmp_path / "small.ipynb", small_notebooks.WRITE)
    result = run_sernb(*words)
    assert result.exit_code == status and message in " ".join(result.stderr.replace("│", "").split()), result.output
    assert "Traceback" not in result.output and result.stdout == ""
    assert not (tmp_path / "runs").exists() and not (tmp_path / "out").exists()


def test_a_negative_value_is_a_value():
    assert cli._split_pairs(["SEED=-1", "SPLIT=a=b"]) == {"SEED": "-1", "SPLIT": "a=b"}
    result = run_sernb("run", Path("notebooks/01_explore.ipynb"), "-p", "SEED", "-1")
    assert result.exit_code == 1 and "SEED" in result.stderr


def test_the_version_is_printed_by_the_command_and_by_the_package():
    assert run_sernb("--version").stdout.strip() == f"sernb {sernb.__version__}"
    done = subprocess.run([sys.executable, "-m", "sernb", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"sernb {sernb.__version__}"


def local_corpus(root: Path) -> Path:
    """Write a corpus of two speakers with two clips each."""
    rows = ["file,emotion,speaker"]
    for i, (speaker, emotion) in enumerate([("P01", "sad"), ("P01", "happy"), ("P02", "sad"), ("P02", "happy")]):
        write(root / f"{i}.wav", tone(0.4, 16000, 200 + 50 * i), 16000)
        rows.append(f"{i}.wav,{emotion},{speaker}")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root


def finished_run(folder: Path, speakers: str, **parameters: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"parameters": parameters, "models": {}}))
    rows = [f"{speaker},sad" for speaker in speakers.split()]
    (folder / "predictions.csv").write_text("\n".join(["speaker,truth", *rows]) + "\n")
    (folder / "notes.txt").write_text("mine")
    (folder / "run.json").write_text(json.dumps({"files": ["metrics.json", "predictions.csv"]}))
    return folder


def test_withdraw_deletes_recordings_and_features_and_lists_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "cache"))
    root = local_corpus(tmp_path / "mine")
    (root / "2.wav").rename(root / "Zo\u00eb.wav")
    manifest = (root / "manifest.csv").read_text(encoding="utf-8")  # may have accents in another encoding
    (root / "manifest.csv").write_text(manifest.replace("2.wav", "Zoe\u0308.wav"), encoding="utf-8")
    clips = corpora.load("local", root)
    features.extract(clips, "mfcc", sample_rate=16000)
    features.extract(clips, "zcr_rms", sample_rate=16000)
    monkeypatch.chdir(root)
    local = {"CORPUS": "local", "DATA_DIR": str(root)}
    with_both = finished_run(tmp_path / "runs" / "both", "P01 P02", **local)
    tested = {"TEST_CORPUS": "local", "TEST_DATA_DIR": str(root)}
    with_test = finished_run(tmp_path / "runs" / "test", "P02", CORPUS="ravdess", DATA_DIR="", **tested)
    others = [
        finished_run(tmp_path / "runs" / "other", "P01", **local),
        finished_run(tmp_path / "runs" / "elsewhere", "P02", CORPUS="local", DATA_DIR=str(tmp_path)),
        finished_run(tmp_path / "runs" / "gone", "P02", CORPUS="local", DATA_DIR=str(tmp_path / "gone")),
        finished_run(tmp_path / "runs" / "demo", "P02", CORPUS="demo-local", DATA_DIR=""),
    ]
    result = run_sernb("withdraw", root, "P02", "--runs", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    assert "2 files and 4 stored features of P02 were deleted" in result.stdout
    assert {str(with_both), str(with_test)} <= set(result.stdout.split()) and "--delete-runs" in result.stdout
    assert not {str(other) for other in others} & set(result.stdout.split())
    assert set(corpora.load("local", root)["speaker"]) == {"P01"} and not (root / "Zo\u00eb.wav").exists()
    stores = list((tmp_path / "cache").rglob("*-*.sqlite"))
    keys = [key for store in stores for (key,) in sqlite3.connect(store).execute("SELECT key FROM features")]
    assert sorted(keys) == sorted([*clips["sha256"][:2]] * 2)
    result = run_sernb("withdraw", root, "P02", "--runs", tmp_path / "runs", "--delete-runs")
    assert "0 files" in result.stdout and f"deleted the run {with_both}" in result.stdout
    assert not (with_both / "predictions.csv").exists() and (with_both / "notes.txt").read_text() == "mine"
    assert not (with_both / "run.json").exists() and not (with_test / "metrics.json").exists()
    assert all((other / "predictions.csv").is_file() for other in others)


def test_withdraw_of_an_unknown_speaker_says_who_is_there(tmp_path):
    result = run_sernb("withdraw", local_corpus(tmp_path), "P03")
    assert result.exit_code == 1 and "no speaker 'P03'; there are P01, P02" in result.output


def test_ctrl_c_ends_a_command_with_one_line(monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(corpora, "load", interrupt)
    result = run_sernb("check", "demo-ravdess")
    assert result.exit_code == 130 and result.stderr == "sernb: interrupted\n"


BOOK = Path(__file__).parents[1] / "book"
COMMAND = re.compile(r"^(?:# +)?(?:SERNB_DATA=\S+ )?(?:\.venv/bin/)?sernb (.*)$", re.MULTILINE)


def test_every_script_that_a_text_names_exists():
    root = BOOK.parent
    texts = [*root.glob("*.md"), root / "Makefile", *BOOK.glob("*.*"), *root.glob("sernb/**/*.py")]
    texts = [path.read_text() for path in texts if path.suffix != ".png"]
    named = {script for text in texts for script in re.findall(r"(?:benchmarks|tools)/\w+\.py", text)}
    assert len(named) > 5 and [script for script in sorted(named) if not (root / script).is_file()] == []


@pytest.mark.parametrize("page", [*BOOK.glob("*.md"), *BOOK.glob("*.yml")], ids=lambda page: page.name)
def test_every_command_of_the_book_can_be_parsed(page):
    subcommands = typer.main.get_command(cli.app).commands
    for line in COMMAND.findall(page.read_text().replace("\\\n", " ")):
        name, *words = shlex.split(line, comments=True)
        subcommands[name].make_context(name, words)
