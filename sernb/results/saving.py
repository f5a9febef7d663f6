"""Writing a run's files: metrics, predictions, histories and models."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pandas as pd

from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models

if TYPE_CHECKING:
    pass

SCHEMA = 1


def evaluate_model(trained: models.FitResult, labels: list[str]) -> dict[str, Any]:
    """One model's entry in `metrics.json`: weights, epochs, seconds, scores of each side, interval, confusion.

    A run that failed has no scores, but `failed` with the epoch.
    """
    entry: dict[str, Any] = {
        "weights": trained.model.count_params(),
        "epochs": len(trained.history),
        "seconds": round(trained.seconds, 1),
    }
    if trained.from_disk:  # the batches then have another order, and the figures other digits
        entry["from_disk"] = True
    if trained.failed_epoch:
        return {**entry, "failed": f"loss became NaN in epoch {trained.failed_epoch}"}
    return {**entry, **_side_scores(trained.predictions, trained.losses, labels)}


def _side_scores(predictions: pd.DataFrame, losses: Mapping[str, float], labels: list[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for side in evaluation.SIDES:
        part = predictions[predictions["split"] == side]
        matrix = evaluation.confusion_matrix(part["truth"].to_numpy(), part["prediction"].to_numpy(), labels)
        entry[side] = {"loss": float(losses[side]), **evaluation.compute_scores(matrix)}
    # The loop ends with test: its rows carry the interval and the confusion.
    return {**entry, "ci95": evaluation.speaker_interval(part, labels), "confusion": matrix.tolist()}


def save_run(
    output_dir: str | Path,
    trained: Mapping[str, models.FitResult],
    *,
    notebook: str,
    parameters: Mapping[str, Any],
    table: pd.DataFrame,
    rows: pd.DataFrame,
    labels: list[str],
    protocol: str,
    fitted: tuple[str, ...] = ("train",),
    inputs: Mapping[str, features.InputSpec] | None = None,
) -> dict[str, Any]:
    """Write `metrics.json`, `predictions.csv`, `history.csv` and the models, and return what `metrics.json` holds.

    Args:
        output_dir: Made where it is missing.
        trained: By model name.
        notebook: Its file's name.
        parameters: As the notebook ran with them.
        table: The clip table trained from; test rows of another corpus get facts of their own, `split.tested`.
        rows: What `evaluation.make_split` returned.
        labels: The run's label list.
        protocol: The protocol in force, faults considered.
        fitted: The sides fitted on.
        inputs: How each model's inputs were made, by its name: written to `inputs.json`, so that `prediction` can
            prepare a new clip.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    result = {
        "schema": SCHEMA,
        "notebook": notebook,
        "parameters": dict(parameters),
        "corpus": _corpus_facts(table),
        "split": _split_facts(rows, table, protocol, fitted),
        "labels": labels,
        "models": {name: evaluate_model(one, labels) for name, one in trained.items()},
        "environment": describe_environment(parameters.get("SEED")),
    }
    pd.concat([one.predictions for one in trained.values()]).to_csv(folder / "predictions.csv", index=False)
    pd.concat([one.history for one in trained.values()]).to_csv(folder / "history.csv", index=False)
    for name, one in trained.items():
        models.strip_optimizer(one.model).save(folder / f"{name}.keras")
    if inputs:
        told = {name: asdict(one) for name, one in inputs.items()}
        (folder / "inputs.json").write_text(json.dumps(told, default=np.ndarray.tolist) + "\n")
    # Last, because its presence says that the run is whole. NaN is no JSON: a missing interval is null.
    (folder / "metrics.json").write_text(json.dumps(_nan_to_none(result), indent=1) + "\n")
    return result


def run_folds(
    train_fold: Callable[[int, Path, dict[str, Any]], dict[str, Any]],
    folds: Sequence[int],
    output_dir: str | Path,
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Train one fold into `output_dir`, or several into `fold-<k>` inside it, whose predictions are then pooled.

    Args:
        train_fold: Called with the fold's number, the folder of its files and its parameters; returns the result of
            `save_run`.
        folds: The keys of `evaluation.make_splits`; `[0]` if the protocol has no folds.
        output_dir: The folder of the run.
        parameters: As the notebook ran with them, `FOLD` among them: 0 stands for all folds.

    Returns:
        The content of the run's `metrics.json`.
    """
    folds, folder = list(folds), Path(output_dir)
    if folds == [parameters["FOLD"]]:
        return train_fold(folds[0], folder, dict(parameters))
    for fold in folds:
        train_fold(fold, folder / f"fold-{fold}", {**parameters, "FOLD": fold})
    return pool_folds(folder, folds, parameters)


def pool_folds(output_dir: str | Path, folds: Iterable[int], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Put the finished runs of some folds together as one, scored over the rows of all of them.

    Each fold's run lies in `fold-<k>` of the folder. Beside these come `predictions.csv` (the test rows of all folds)
    and `history.csv`, each with a column `fold`, and `metrics.json`: `split.folds` tells of each fold, and the counts
    of `split` are sums over folds. There is no network to load but those of the folds.

    Args:
        output_dir: The folder above those of the folds.
        folds: Their numbers.
        parameters: As the notebook ran with them.

    Returns:
        What `metrics.json` holds.
    """
    folder = Path(output_dir)
    runs = {fold: json.loads((folder / f"fold-{fold}" / "metrics.json").read_text(encoding="utf-8")) for fold in folds}
    told, curves = (_read_folds(folder, runs, name) for name in ("predictions.csv", "history.csv"))
    first = next(iter(runs.values()))
    result = {
        **first,
        "parameters": dict(parameters),
        "split": _pooled_split({fold: run["split"] for fold, run in runs.items()}, told),
        "models": {name: _pooled_model(runs, told[told["model"] == name], name) for name in first["models"]},
    }
    (folder / "inputs.json").unlink(missing_ok=True)  # of a single run that lay here: its network is not this run's
    told[told["split"] == "test"].to_csv(folder / "predictions.csv", index=False)
    curves.to_csv(folder / "history.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(_nan_to_none(result), indent=1) + "\n")
    return result


def _read_folds(folder: Path, folds: Iterable[int], name: str) -> pd.DataFrame:
    """One file of each fold's run, to the last digit, below one another, with a first column `fold`."""
    files = {fold: folder / f"fold-{fold}" / name for fold in folds}
    text = {"speaker": str, "clip": str}
    read = {fold: pd.read_csv(file, dtype=text, float_precision="round_trip") for fold, file in files.items()}
    return pd.concat(read, names=["fold"]).reset_index("fold").reset_index(drop=True)


def _pooled_split(parts: Mapping[int, dict[str, Any]], told: pd.DataFrame) -> dict[str, Any]:
    each = list(parts.values())
    return {
        **each[0],
        **{side: sum(part[side] for part in each) for side in evaluation.SIDES},
        **{name: _sum_dicts([part[name] for part in each]) for name in ("leaks", "test_leaks")},
        "speakers": told.groupby("split")["speaker"].nunique().to_dict(),
        "folds": [{"fold": fold, **part} for fold, part in parts.items()],
    }


def _sum_dicts(each: list[dict[str, int]]) -> dict[str, int]:
    return {key: sum(one[key] for one in each) for key in each[0]}


def _pooled_model(runs: Mapping[int, dict[str, Any]], told: pd.DataFrame, name: str) -> dict[str, Any]:
    """One model's entry: scores over the rows of all folds, epochs of the longest fold, seconds of all together."""
    each = {fold: run["models"][name] for fold, run in runs.items()}
    entry = {
        "weights": next(iter(each.values()))["weights"],
        "epochs": max(one["epochs"] for one in each.values()),
        "seconds": round(sum(one["seconds"] for one in each.values()), 1),
    }
    if failed := [f"fold {fold}: {one['failed']}" for fold, one in each.items() if "failed" in one]:
        return {**entry, "failed": "; ".join(failed)}
    rows = {side: np.array([run["split"][side] for run in runs.values()]) for side in evaluation.SIDES}
    losses = {side: np.average([one[side]["loss"] for one in each.values()], weights=rows[side]) for side in rows}
    return {**entry, **_side_scores(told, losses, next(iter(runs.values()))["labels"])}


def _corpus_facts(table: pd.DataFrame) -> dict[str, Any]:
    return {
        "name": table["corpus"].iloc[0],
        "clips": len(table),
        "speakers": int(table["speaker"].nunique()),
        "fingerprint": corpora.corpus_fingerprint(table),
    }


def _split_facts(rows: pd.DataFrame, table: pd.DataFrame, protocol: str, fitted: tuple[str, ...]) -> dict[str, Any]:
    sides = {side: rows[rows["split"] == side] for side in evaluation.SIDES}
    # By path: two corpora may both be called `local`.
    elsewhere = {} if sides["test"]["path"].isin(table["path"]).all() else {"tested": _corpus_facts(sides["test"])}
    return {
        **elsewhere,
        "protocol": protocol,
        **{side: len(part) for side, part in sides.items()},
        "speakers": {side: int(part["speaker"].nunique()) for side, part in sides.items()},
        "fitted": list(fitted),
        "leaks": evaluation.count_leaks(rows, fitted),
        "test_leaks": evaluation.count_leaks(rows, fitted, ("test",)),
    }


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nan_to_none(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_nan_to_none(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def describe_environment(seed: int | None) -> dict[str, Any]:
    """Versions, git revision and seed: what one needs to know to run it again."""
    import keras

    packages = ("sernb", "numpy", "librosa", "keras", "tensorflow", "nlpaug", "scikit-learn")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {package: _package_version(package) for package in packages},
        "backend": keras.backend.backend(),
        "revision": git_revision(),
        "seed": seed,
    }


def _package_version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def git_revision() -> str:
    """The git revision of the code, with `+` if it was changed since; empty outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
