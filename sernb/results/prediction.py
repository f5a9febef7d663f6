"""A finished run predicts clips that it has never seen.

A clip is prepared as the run's own were (`inputs.json`). One that is no longer than the longest of those is predicted
whole, a longer one by the mean over windows of that length.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pandas as pd

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models
from sernb.results.files import read_metrics
from sernb.results.files import read_predictions

if TYPE_CHECKING:
    import keras

WINDOW_SECONDS = 2.0  # seconds: about the length of an acted sentence
HOP_SECONDS = 0.25


class PredictionError(ValueError):
    """A run that cannot predict, with its folder and the remedy."""


@dataclass(frozen=True)
class TrainedRun:
    """One model of a finished run: all that a prediction takes."""

    folder: Path
    result: dict[str, Any]
    model: keras.Model
    inputs: features.InputSpec

    @property
    def labels(self) -> list[str]:
        """The emotions that it knows, in the order of its outputs."""
        return self.result["labels"]

    @property
    def corpus(self) -> str:
        """The name of the corpus that it was tested on."""
        return self.result["split"].get("tested", self.result["corpus"])["name"]


# a run


def find_runs(*folders: str | Path) -> list[Path]:
    """Finished runs that can predict, in some folders and below them, the newest first."""
    files = {file for folder in folders for file in Path(folder).expanduser().glob("**/inputs.json")}
    whole = [file for file in files if file.with_name("metrics.json").is_file()]
    return [file.parent for file in sorted(whole, key=lambda file: -file.stat().st_mtime)]


def load_run(run: str | Path, model: str = "") -> TrainedRun:
    """Load a model of a finished run.

    Args:
        run: The run's folder.
        model: Its name; the run's first if empty.

    Raises:
        PredictionError: No finished run lies there, it has no such model, or it keeps too little to predict with.
    """
    folder = Path(run).expanduser()
    if not (folder / "metrics.json").is_file():
        raise PredictionError(f"{folder} holds no finished run: there is no metrics.json. Name a run's folder.")
    result = read_metrics(folder)
    if parts := result["split"].get("folds"):
        raise PredictionError(
            f"{folder} pooled {len(parts)} folds; name one of them: {folder}/fold-{parts[0]['fold']}."
        )
    name = model or next(iter(result["models"]))
    if name not in result["models"]:
        raise PredictionError(f"{folder} has no model {name!r}; it has {', '.join(result['models'])}.")
    if failure := result["models"][name].get("failed"):
        raise PredictionError(f"{name} of {folder} cannot predict: {failure}.")
    return TrainedRun(folder, result, _load_network(folder, name), _read_input_spec(folder, name))


def load_folds(run: str | Path, model: str = "") -> list[TrainedRun]:
    """A finished run, or each fold of one that pooled them; arguments and errors as of `load`."""
    folder = Path(run).expanduser()
    there = (folder / "metrics.json").is_file()
    told = read_metrics(folder)["split"].get("folds", []) if there else []
    return [load_run(folder / f"fold-{one['fold']}", model) for one in told] or [load_run(folder, model)]


def run_data_dir(run: TrainedRun, given: str | Path = "") -> str | Path:
    """The folder of the corpus that a run was tested on: the one given, else the one that the run was given."""
    name = "TEST_DATA_DIR" if "tested" in run.result["split"] else "DATA_DIR"
    return given or run.result["parameters"].get(name, "")


def _read_input_spec(folder: Path, name: str) -> features.InputSpec:
    try:
        told = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))[name]
    except (OSError, KeyError) as error:
        raise PredictionError(
            f"{folder} does not say how the inputs of {name} were made (inputs.json): make the run again."
        ) from error
    learnt = {key: np.array(told[key], dtype=np.float32) for key in ("mean", "deviation") if told[key] is not None}
    return features.InputSpec(**{**told, **learnt})


def _load_network(folder: Path, name: str) -> keras.Model:
    models.init_backend()
    import keras

    try:
        return keras.saving.load_model(folder / f"{name}.keras", compile=False)
    except (OSError, ValueError) as error:
        raise PredictionError(f"{folder / name}.keras cannot be loaded ({error}): make the run again.") from error


def model_card(run: TrainedRun) -> str:
    """A model's card as Markdown: what it was trained on, how well it does on unseen speakers, what it is for."""
    name, corpus, split = run.model.name, run.result["corpus"], run.result["split"]
    synthetic = " It was trained on **synthetic speech** and says nothing about people." * bool(
        corpora.synthetic_notice(corpus["name"])
    )
    return f"""\
**{name}**, trained by `{Path(run.result["notebook"]).stem}` on {corpora.get_corpus(corpus["name"]).title}:
{split["train"]} rows of {_count_speakers(run, "train")} (protocol `{split["protocol"]}`, fingerprint
`{corpus["fingerprint"]}`).{synthetic}

- {_describe_score(run)}
- **Licence of the data:** {corpora.get_corpus(corpus["name"]).licence}. It binds whoever passes this model on.
- **It knows** {", ".join(run.labels)}. Whatever it hears, it answers with these, and a probability is no certainty.
- **For** learning and research: to hear and see what such a network makes of a voice.
- **Limits.** One network, one seed, one split. Another microphone, room, language, age or illness is another task.
- **Not a diagnosis**, and not for deciding anything about the person who speaks.
"""


def _describe_score(run: TrainedRun) -> str:
    entry, split = run.result["models"][run.model.name], run.result["split"]
    uar, (low, high) = entry["test"]["uar"], entry["ci95"]["uar"]
    interval = "one speaker: no interval" if low is None else f"95 % interval {low:.2f} to {high:.2f}"
    told = f"**{uar:.2f}** ({interval}; chance {1 / len(run.labels):.2f}), {split['test']} rows"
    if "tested" in split:
        told += f" of {corpora.get_corpus(split['tested']['name']).title}"
    if split.get("test_leaks", split["leaks"])["speaker"]:  # validation may share speakers where the test does not
        return f"**UAR on unseen speakers: not measured.** On clips of the speakers that it was trained on: {told}."
    return f"**UAR on unseen speakers:** {told} of {_count_speakers(run, 'test')}."


def _count_speakers(run: TrainedRun, side: str) -> str:
    number = run.result["split"]["speakers"][side]
    return f"{number} speaker{'s' * (number != 1)}"


def test_clips(run: TrainedRun, data_dir: str | Path = "") -> pd.DataFrame:
    """The rows of `rows` that a run was tested on: recordings only, no augmented copies."""
    return (
        _clips_of_sides(run, ("test",), data_dir)
        .query("copy == 0")
        .drop(columns=["copy", "split"])
        .reset_index(drop=True)
    )


def predicted_clips(run: TrainedRun, data_dir: str | Path = "") -> pd.DataFrame:
    """Every row of a run as `evaluation.make_split` gave it, with what the run's model answered.

    Args:
        run: What `load` returned.
        data_dir: Where the corpus (of the test side) lies; empty for where the run had it, or to look it up (see
            `corpora.locate`).

    Returns:
        One row a clip and copy, with the columns of the clip table, `copy`, `split`, then `truth`, `prediction` and a
        probability for each label.

    Raises:
        PredictionError: The corpus there lacks a clip of the run.
    """
    if "tested" not in run.result["split"]:
        return _clips_of_sides(run, evaluation.SIDES, data_dir)
    return pd.concat(
        [_clips_of_sides(run, evaluation.SIDES[:2]), _clips_of_sides(run, ("test",), data_dir)], ignore_index=True
    )


def _clips_of_sides(run: TrainedRun, sides: tuple[str, ...], data_dir: str | Path = "") -> pd.DataFrame:
    """The rows of some sides, all of one corpus."""
    told = read_predictions(run.folder)
    told = told[(told["model"] == run.model.name) & told["split"].isin(sides)]
    elsewhere = run.result["split"].get("tested") if sides == ("test",) else None
    name = (elsewhere or run.result["corpus"])["name"]
    given = run.result["parameters"].get("TEST_DATA_DIR" if elsewhere else "DATA_DIR", "")
    table = corpora.load(name, data_dir or given)
    if len(strangers := told.loc[~told["clip"].isin(table["clip"]), "clip"]):
        raise PredictionError(
            f"{run.folder} has the clip {strangers.iloc[0]}, which {corpora.locate(name, data_dir or given)} has not "
            f"(nor {len(strangers) - 1} more): give the folder of its corpus {name} as data_dir."
        )
    columns = ["clip", "copy", "split", "truth", "prediction", *run.labels]
    return table.merge(told[columns], on="clip")


# a clip


def predict_proba(run: TrainedRun, signal: np.ndarray) -> pd.Series:
    """The probability of each emotion for a whole clip.

    Args:
        run: What `load` returned.
        signal: Shape (n,), at the run's sample rate (`run.inputs.sample_rate`).

    Returns:
        One value a label; a clip longer than those of the run gives the mean over windows half overlapping.
    """
    return predict_batch(run, [signal]).iloc[0]


def predict_batch(run: TrainedRun, signals: Sequence[np.ndarray]) -> pd.DataFrame:
    """The `probabilities` of each of several clips: one row a clip, one column a label."""
    longest = run.inputs.frames * features.HOP_LENGTH - 1
    whole = lambda signal: not run.inputs.frames or len(signal) <= longest  # noqa: E731
    parts = [[s] if whole(s) else [part for _, part in _windows(s, longest, longest // 2)] for s in signals]
    clip = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return _network_outputs(run, [part for each in parts for part in each]).groupby(clip).mean()


def predict_windows(
    run: TrainedRun, signal: np.ndarray, *, window: float = WINDOW_SECONDS, hop: float = HOP_SECONDS
) -> pd.DataFrame:
    """The probabilities from moment to moment: what the network would say of each window as if it were a clip.

    Args:
        run: What `load` returned.
        signal: Shape (n,), at the run's sample rate.
        window: Seconds; no longer than the longest clip of the run.
        hop: Seconds from one window to the next.

    Returns:
        One row a window, indexed by `seconds` (the window's middle), one column a label.
    """
    rate = run.inputs.sample_rate
    longest = run.inputs.frames * features.HOP_LENGTH - 1 if run.inputs.frames else len(signal)
    length = max(1, min(int(window * rate), longest, len(signal)))
    parts = list(_windows(signal, length, max(1, int(hop * rate))))
    middles = pd.Index([(start + length / 2) / rate for start, _ in parts], name="seconds")
    return _network_outputs(run, [part for _, part in parts]).set_index(middles)


def _windows(signal: np.ndarray, length: int, hop: int) -> Iterable[tuple[int, np.ndarray]]:
    """Start and samples of each window; the last one ends with the signal."""
    last = max(0, len(signal) - length)
    for start in [*range(0, last, hop), last]:
        yield start, signal[start : start + length]


def _network_outputs(run: TrainedRun, signals: list[np.ndarray]) -> pd.DataFrame:
    import keras

    batches = [signals[i : i + 64] for i in range(0, len(signals), 64)]
    outputs = [run.model(features.make_inputs(batch, run.inputs)[..., None], training=False) for batch in batches]
    found = np.concatenate([keras.ops.convert_to_numpy(output) for output in outputs]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):  # as in predictions.csv: NaN where all outputs are zero
        return pd.DataFrame(found / found.sum(axis=1, keepdims=True), columns=run.labels)


def predict_files(run: TrainedRun, paths: Iterable[str | Path]) -> pd.DataFrame:
    """Predict files.

    Returns:
        One row a file, with `file`, `seconds`, `prediction`, one probability a label, and `problem`, which is empty for
        a file that could be decoded.
    """
    return pd.DataFrame([_file_row(run, path) for path in paths])


def predict_windows_of_files(run: TrainedRun, paths: Iterable[str | Path]) -> pd.DataFrame:
    """The `course` of each file.

    Returns:
        One row a window, or one for a file that cannot be decoded; the columns are those of `files`, `seconds` being
        the window's middle.
    """
    return pd.concat([_window_rows(run, path) for path in paths], ignore_index=True)


def _window_rows(run: TrainedRun, path: str | Path) -> pd.DataFrame:
    try:
        found = predict_windows(run, audio.load(path, run.inputs.sample_rate))
    except audio.AudioError:
        return predict_files(run, [path])
    answers = [predicted_label(row) for _, row in found.iterrows()]
    head = pd.DataFrame({"file": str(path), "seconds": found.index.round(3), "prediction": answers})
    return head.join(found.reset_index(drop=True)).assign(problem="")


def predicted_label(found: pd.Series) -> str:
    """The largest probability's emotion; none where the network answers all zero."""
    return str(found.idxmax()) if found.notna().all() else ""


def _file_row(run: TrainedRun, path: str | Path) -> dict[str, Any]:
    unknown = dict.fromkeys(run.labels, float("nan"))
    try:
        signal = audio.load(path, run.inputs.sample_rate)
    except audio.AudioError as error:
        return {"file": str(path), "seconds": 0.0, "prediction": "", **unknown, "problem": str(error)}
    found = predict_proba(run, signal)
    seconds = round(len(signal) / run.inputs.sample_rate, 2)
    return {"file": str(path), "seconds": seconds, "prediction": predicted_label(found), **found, "problem": ""}
