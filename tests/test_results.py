"""What the files of finished runs say."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from sernb import results

ROOT = Path(__file__).parents[1]


def test_results_become_a_table(tmp_path: Path):
    assert set(results.table(tmp_path)) > {*results.RUN_COLUMNS, *results.MODEL_COLUMNS}
    test = {"loss": 1.0, "accuracy": 0.5, "uar": 0.4, "macro_f1": 0.3, "weighted_f1": 0.2}
    good = {
        "weights": 9,
        "epochs": 3,
        "seconds": 1.5,
        "test": test,
        "ci95": {"accuracy": [0.4, 0.6], "uar": [None, None]},
    }
    metrics = {
        "notebook": "03_paper",
        "parameters": {"SEED": 1, "DATA_DIR": "/somewhere"},
        "corpus": {"name": "local", "clips": 7, "fingerprint": "abc"},
        "split": {"protocol": "speaker"},
        "models": {"good": good, "bad": {"epochs": 2, "failed": "loss became NaN in epoch 2"}},
        "environment": {"revision": "123"},
    }
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "metrics.json").write_text(json.dumps(metrics))
    table = results.table(tmp_path).set_index("model")
    assert table.loc["good", ["run", "SEED", "accuracy", "accuracy_high", "status"]].tolist() == [
        "one",
        1,
        0.5,
        0.6,
        "finished",
    ]
    assert table["status"]["bad"] == "loss became NaN in epoch 2"
    assert table[["uar_low", "uar_high"]].isna().all(axis=None) and "DATA_DIR" not in table


def run_folder(folder: Path, **changed) -> Path:
    """A finished run's files, as far as publishing reads them."""
    result = {
        "notebook": "03_paper_replication",
        "parameters": {"SEED": 1, "DATA_DIR": "/home/someone/audio", "OUTPUT_DIR": "/home/someone/runs"},
        "corpus": {"name": "local", "clips": 7, "fingerprint": "abc"},
        "split": {"protocol": "speaker"},
        "models": {"m": {"epochs": 2, "test": {"accuracy": 0.5, "uar": 0.25}}},
        "environment": {},
    }
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({**result, **changed}))
    (folder / "history.csv").write_text("model,epoch\nm,1\n")
    (folder / "predictions.csv").write_text("clip\nsecret.wav\n")
    return folder


def test_publishing_leaves_paths_and_clips_behind(tmp_path):
    run_folder(tmp_path / "runs" / "one")
    (written,) = results.publish(tmp_path / "runs", tmp_path / "book")
    assert written.name == "paper-replication.csv"
    assert pd.read_csv(written)["uar"].tolist() == [0.25]
    assert {path.name for path in (tmp_path / "book" / "one").iterdir()} == {"metrics.json", "history.csv"}
    assert not [p for p in (tmp_path / "book").rglob("*") if p.is_file() and "someone" in p.read_text()]


def test_the_books_tables_are_those_of_its_runs():
    table = results.table(ROOT / "book" / "results")
    for notebook, part in table.groupby("notebook"):
        written = pd.read_csv(ROOT / "book" / "results" / results.TABLES[notebook], float_precision="round_trip")
        for column in ("run", "model", *results.SCORES, "fingerprint"):
            assert written[column].tolist() == part[column].tolist()
