"""Write a run's files: metrics, predictions, training histories and models."""

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
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models
from sernb import utils
from sernb.results.files import read_metrics
from sernb.results.outputs import MODEL_SUFFIXES
from sernb.results.outputs import RESULT_FILES
from sernb.results.outputs import claim_files
from sernb.results.outputs import read_record
from sernb.results.prediction import PredictionError
from sernb.results.prediction import network_probabilities

SCHEMA = 1
MAX_DIFFERENCE = 0.05  # of a probability predicted again: what a network in bfloat16 may differ by


@dataclass(frozen=True)
class FinalModels:
    """Hold the models fitted on all speakers, by name, how their inputs are made, and the rows they were fitted on."""

    models: Mapping[str, Any]
    inputs: Mapping[str, features.InputSpec]
    rows: pd.DataFrame


def evaluate_model(trained: models.FitResult, labels: list[str]) -> dict[str, Any]:
    """Return one model's entry in `metrics.json`: weights, epochs, seconds, scores of each set, interval, confusion.

    A model whose training failed has no scores, but `failed` with the epoch.
    """
    entry: dict[str, Any] = {
        "weights": trained.model.count_params(),
        "epochs": len(trained.history),
        "seconds": round(trained.seconds, 1),
    }
    if trained.from_disk:  # the order of the batches, and with it the last digits, differ from training in memory
        entry["from_disk"] = True
    if trained.failed_epoch:
        return {**entry, "failed": f"loss became NaN in epoch {trained.failed_epoch}"}
    return {**entry, **_side_scores(trained.predictions, trained.losses, labels)}


def _side_scores(predictions: pd.DataFrame, losses: Mapping[str, float], labels: list[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for side in evaluation.SIDES:
        rows = predictions[predictions["split"] == side]
        matrix = evaluation.confusion_matrix(rows["truth"].to_numpy(), rows["prediction"].to_numpy(), labels)
        entry[side] = {"loss": float(losses[side]), **evaluation.compute_scores(matrix)}
    # The loop ends with the test set: interval and confusion matrix are over its rows.
    return {**entry, "ci95": evaluation.speaker_interval(rows, labels), "confusion": matrix.tolist()}


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
    """Write `metrics.json`, `predictions.csv`, `history.csv` and the models, and return the content of `metrics.json`.

    `run.json` records the files, so that a later run may replace them.

    Args:
        output_dir: The folder of the run; it is created if it is missing.
        trained: The fitted models by name.
        notebook: The name of the notebook, such as `03_paper_replication`.
        parameters: As the notebook ran with them.
        table: The clip table trained from; test rows of another corpus get facts of their own, `split.tested`.
        rows: What `evaluation.make_split` returned.
        labels: The run's label list.
        protocol: The protocol in force, faults considered.
        fitted: The sets fitted on.
        inputs: How each model's inputs were made, by its name: written to `inputs.json`, so that `load_run` can prepare
            a new clip.

    Raises:
        OutputError: The folder holds a file of that name which no earlier run wrote.
        PredictionError: With inputs made as its entry of `inputs` says, a model predicts a clip differently.
    """
    folder = Path(output_dir)
    for name, spec in (inputs or {}).items():
        # How an enrolled speaker's clip is predicted depends on the clips drawn for it.
        if not trained[name].failed_epoch and not spec.prior_clips:
            check_inputs(trained[name], spec, rows, labels)
    result = {
        "schema": SCHEMA,
        "notebook": notebook,
        "parameters": dict(parameters),
        "corpus": _corpus_facts(table),
        "split": _split_facts(rows, table, protocol, fitted),
        "labels": labels,
        "models": {name: evaluate_model(model, labels) for name, model in trained.items()},
        "environment": describe_environment(parameters.get("SEED")),
    }
    files = {name: models.model_file(folder, fit_result.model, name) for name, fit_result in trained.items()}
    _start_writing(folder, [*RESULT_FILES, *(file.name for file in files.values())])
    pd.concat([model.predictions for model in trained.values()]).to_csv(folder / "predictions.csv", index=False)
    pd.concat([model.history for model in trained.values()]).to_csv(folder / "history.csv", index=False)
    for name, file in files.items():
        models.save_model(trained[name].model, file)
    if inputs:
        _write_inputs(folder, inputs)
    return _write_metrics(folder, result)


def _start_writing(folder: Path, names: list[str]) -> None:
    """Claim the files of a run, and remove those of an earlier one: `metrics.json` says that a run is complete."""
    claim_files(folder, names)
    for name in read_record(folder)["files"]:
        if name in RESULT_FILES or ("/" not in name and name.endswith(MODEL_SUFFIXES)):
            (folder / name).unlink(missing_ok=True)


def _write_metrics(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Write `metrics.json` and return its content: JSON has no NaN, so None stands for a missing interval."""
    content = _nan_to_none(result)
    (folder / "metrics.json").write_text(json.dumps(content, indent=1) + "\n")
    return content


def check_inputs(trained: models.FitResult, spec: features.InputSpec, rows: pd.DataFrame, labels: list[str]) -> None:
    """Predict a stored row again from its audio, and refuse an input specification that gives another result.

    Raises:
        PredictionError: The probabilities differ by more than `MAX_DIFFERENCE`.
    """
    recordings = trained.predictions[trained.predictions["copy"] == 0]
    # A discriminant's validation rows are predicted by another model than the one that is saved.
    test = recordings[recordings["split"] == "test"]
    stored = (test if len(test) else recordings).iloc[-1]
    path = rows.loc[rows["clip"] == stored["clip"], "path"].iloc[0]
    again = network_probabilities(trained.model, spec, [audio.load(path, spec.sample_rate)], labels).iloc[0]
    if not np.allclose(again, stored[labels].astype(float), atol=MAX_DIFFERENCE, equal_nan=True):
        label = labels[int(np.argmax(np.abs(again - stored[labels].astype(float))))]
        raise PredictionError(
            f"{trained.model.name}: the InputSpec does not describe how its inputs were made. For {stored['clip']} it "
            f"gives {label} a probability of {again[label]:.2f}, and the trained inputs gave {stored[label]:.2f}."
        )


def run_folds(
    train_fold: Callable[[int, Path, dict[str, Any]], dict[str, Any]],
    folds: Sequence[int],
    output_dir: str | Path,
    parameters: Mapping[str, Any],
    fit_final: Callable[[], FinalModels] | None = None,
) -> dict[str, Any]:
    """Train one fold into `output_dir`, or several into `fold-<k>` inside it, whose predictions are then pooled.

    Args:
        train_fold: Called with the fold's number, the folder of its files and its parameters; returns the result of
            `save_run`.
        folds: The keys of `evaluation.make_splits`; `[0]` if the protocol has no folds.
        output_dir: The folder of the run.
        parameters: As the notebook ran with them, `FOLD` among them: 0 stands for all folds.
        fit_final: Called after several folds; fits the models that the pooled run keeps, on all speakers.

    Returns:
        The content of the run's `metrics.json`.

    Raises:
        FolderInUseError: Another kernel is training into the folder.
    """
    folds, folder = list(folds), Path(output_dir)
    with utils.output_lock(folder):
        if folds == [parameters["FOLD"]]:
            return train_fold(folds[0], folder, dict(parameters))
        for fold in folds:
            train_fold(fold, folder / f"fold-{fold}", {**parameters, "FOLD": fold})
        result = pool_folds(folder, folds, parameters)
        return save_final_models(folder, fit_final()) if fit_final else result


def pool_folds(output_dir: str | Path, folds: Iterable[int], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Pool the finished runs of several folds as one run, scored over the rows of all of them.

    Each fold's run is in `fold-<k>` of the folder. The folder gets `predictions.csv` (the test rows of all folds) and
    `history.csv`, each with a column `fold`, and `metrics.json`: `split.folds` describes each fold, and the counts of
    rows and leaks in `split` are sums over folds. The run has no model of its own until `save_final_models` adds it.

    Args:
        output_dir: The folder above those of the folds.
        folds: Their numbers.
        parameters: As the notebook ran with them.

    Returns:
        The content of `metrics.json`.
    """
    folder = Path(output_dir)
    runs = {fold: json.loads((folder / f"fold-{fold}" / "metrics.json").read_text(encoding="utf-8")) for fold in folds}
    predictions, history = (_read_folds(folder, runs, name) for name in ("predictions.csv", "history.csv"))
    first = next(iter(runs.values()))
    result = {
        **first,
        "parameters": dict(parameters),
        "split": _pooled_split({fold: run["split"] for fold, run in runs.items()}, predictions),
        "models": {
            name: _pooled_model(runs, predictions[predictions["model"] == name], name) for name in first["models"]
        },
    }
    # A single run that was in this folder before loses its networks: they are not this run's.
    _start_writing(folder, ["metrics.json", "predictions.csv", "history.csv"])
    predictions[predictions["split"] == "test"].to_csv(folder / "predictions.csv", index=False)
    history.to_csv(folder / "history.csv", index=False)
    return _write_metrics(folder, result)


def save_final_models(output_dir: str | Path, final: FinalModels) -> dict[str, Any]:
    """Add models that were fitted on all speakers to a run that pooled its folds.

    Their scores are those of the folds' models, each of which was tested on other speakers. `metrics.json` gets an
    entry `final` with the numbers of clips and speakers. A network with NaN weights is not saved.

    Args:
        output_dir: The folder of the pooled run.
        final: The models, how their inputs are made, and the rows that they were fitted on.

    Returns:
        The content of `metrics.json`.
    """
    folder = Path(output_dir)
    result = read_metrics(folder)
    files = {
        name: models.model_file(folder, model, name)
        for name, model in final.models.items()
        if _has_finite_weights(model)
    }
    if not files:
        return result
    claim_files(folder, ["inputs.json", *(file.name for file in files.values())])
    for name, file in files.items():
        models.save_model(final.models[name], file)
    _write_inputs(folder, {name: final.inputs[name] for name in files})
    clips = final.rows[final.rows["copy"] == 0]
    facts = {"clips": len(clips), "speakers": int(clips["speaker"].nunique())}
    return _write_metrics(folder, {**result, "final": facts})


def _has_finite_weights(model: Any) -> bool:
    return all(np.isfinite(weights).all() for weights in model.get_weights()) if hasattr(model, "get_weights") else True


def _write_inputs(folder: Path, inputs: Mapping[str, features.InputSpec]) -> None:
    specs = {name: asdict(spec) for name, spec in inputs.items()}
    (folder / "inputs.json").write_text(json.dumps(specs, default=np.ndarray.tolist) + "\n")


def _read_folds(folder: Path, folds: Iterable[int], name: str) -> pd.DataFrame:
    """Return one file of each fold's run, to the last digit, below one another, with a first column `fold`."""
    files = {fold: folder / f"fold-{fold}" / name for fold in folds}
    text = {"speaker": str, "clip": str}  # as converters: a speaker may be called NA
    tables = {fold: pd.read_csv(file, converters=text, float_precision="round_trip") for fold, file in files.items()}
    return pd.concat(tables, names=["fold"]).reset_index("fold").reset_index(drop=True)


def _pooled_split(splits: Mapping[int, dict[str, Any]], predictions: pd.DataFrame) -> dict[str, Any]:
    every = list(splits.values())
    return {
        **every[0],
        **{side: sum(split[side] for split in every) for side in evaluation.SIDES},
        **{name: _sum_dicts([split[name] for split in every]) for name in ("leaks", "test_leaks")},
        "speakers": predictions.groupby("split")["speaker"].nunique().to_dict(),
        "folds": [{"fold": fold, **split} for fold, split in splits.items()],
    }


def _sum_dicts(counts: list[dict[str, int]]) -> dict[str, int]:
    return {key: sum(count[key] for count in counts) for key in counts[0]}


def _pooled_model(runs: Mapping[int, dict[str, Any]], predictions: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return one model's entry: scores over the rows of all folds, epochs of the longest fold, seconds of all."""
    entries = {fold: run["models"][name] for fold, run in runs.items()}
    pooled = {
        "weights": next(iter(entries.values()))["weights"],
        "epochs": max(entry["epochs"] for entry in entries.values()),
        "seconds": round(sum(entry["seconds"] for entry in entries.values()), 1),
    }
    if failed := [f"fold {fold}: {entry['failed']}" for fold, entry in entries.items() if "failed" in entry]:
        return {**pooled, "failed": "; ".join(failed)}
    rows = {side: np.array([run["split"][side] for run in runs.values()]) for side in evaluation.SIDES}
    losses = {
        side: np.average([entry[side]["loss"] for entry in entries.values()], weights=rows[side]) for side in rows
    }
    return {**pooled, **_side_scores(predictions, losses, next(iter(runs.values()))["labels"])}


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
    same_corpus = sides["test"]["path"].isin(table["path"]).all()
    return {
        **({} if same_corpus else {"tested": _corpus_facts(sides["test"])}),
        "protocol": protocol,
        **{side: len(clips) for side, clips in sides.items()},
        "speakers": {side: int(clips["speaker"].nunique()) for side, clips in sides.items()},
        "fitted": list(fitted),
        "leaks": evaluation.count_leaks(rows, fitted),
        "test_leaks": evaluation.count_leaks(rows, fitted, ("test",)),
    }


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def describe_environment(seed: int | None) -> dict[str, Any]:
    """Return versions, git revision and seed: what is needed to repeat the run."""
    import keras

    cores = utils.cpu_count()
    packages = ("sernb", "numpy", "librosa", "keras", "tensorflow", "nlpaug", "scikit-learn")
    optional = [package for package in features.ENCODER_PACKAGES if _package_version(package)]
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {cores} core{'s' * (cores != 1)}",
        "versions": {package: _package_version(package) for package in (*packages, *optional)},
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
    """Return the git revision of sernb's own checkout, with `+` if files were changed since; empty elsewhere."""
    root = Path(__file__).resolve().parents[2]
    project = root / "pyproject.toml"
    if not project.is_file() or 'name = "sernb"' not in project.read_text(encoding="utf-8"):
        return ""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> str:
        """Return what a git command prints."""
        process = subprocess.run(
            ["git", *words], cwd=root, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
        )
        return process.stdout.strip()

    try:
        # An unpacked archive, or a copy inside another project's repository, is not a checkout.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root or not git("ls-files", "sernb/__init__.py"):
            return ""
        describe = ("describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*")
        # The filter that removes outputs starts a process for each notebook: only if there are changes is it used.
        revision = git("-c", "filter.nbstripout.clean=cat", *describe)
        return git(*describe) if revision.endswith("+") else revision
    except OSError:  # there is no git
        return ""
