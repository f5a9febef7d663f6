"""Predict new clips with the model of a finished run.

A clip is prepared as the run's own were (`inputs.json`). One that is no longer than the longest of those is predicted
as a whole, a longer one by the mean over windows of that length.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
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

WINDOW_SECONDS = 2.0  # about the length of an acted sentence
HOP_SECONDS = 0.25
MAX_BATCH = 64  # clips that are predicted at a time


class PredictionError(ValueError):
    """A run that cannot predict, with its folder and the remedy."""


@dataclass(frozen=True)
class TrainedRun:
    """One model of a finished run, with all that is needed to predict."""

    folder: Path
    result: dict[str, Any]
    model: keras.Model | models.EstimatorModel
    inputs: features.InputSpec

    @property
    def labels(self) -> list[str]:
        """The emotions that the model can predict, in the order of its outputs."""
        return self.result["labels"]

    @property
    def corpus(self) -> str:
        """The name of the corpus that the model was tested on."""
        return self.result["split"].get("tested", self.result["corpus"])["name"]


# a run


def find_runs(*folders: str | Path) -> list[Path]:
    """Return the finished runs, in some folders and below them, that can predict; the newest first."""
    files = {file for folder in folders for file in Path(folder).expanduser().glob("**/inputs.json")}
    complete = [file for file in files if file.with_name("metrics.json").is_file()]
    return [file.parent for file in sorted(complete, key=lambda file: -file.stat().st_mtime)]


def load_run(run: str | Path, model: str = "") -> TrainedRun:
    """Load a model of a finished run.

    Loading an estimator (`.joblib`) runs code that the file contains, as with every pickle: load only runs that you
    trust. A network (`.keras`) contains no code.

    Args:
        run: The run's folder.
        model: The model's name; the run's first if empty.

    Raises:
        PredictionError: There is no finished run, it has no such model, or one of its files is missing or damaged.
    """
    folder = Path(run).expanduser()
    result = _read_result(folder)
    if (folds := result["split"].get("folds")) and "final" not in result:
        raise PredictionError(
            f"{folder} pooled {len(folds)} folds and has no model of its own; name one of the folds: "
            f"{folder}/fold-{folds[0]['fold']}."
        )
    name = model or next(iter(result["models"]))
    if name not in result["models"]:
        raise PredictionError(f"{folder} has no model {name!r}; it has {', '.join(result['models'])}.")
    if failure := result["models"][name].get("failed"):
        raise PredictionError(f"{name} of {folder} cannot predict: {failure}.")
    return TrainedRun(folder, result, _load_model(folder, name), _read_input_spec(folder, name))


def can_enrol(run: TrainedRun) -> bool:
    """Return whether a run has a model for `enrol_speaker`."""
    return models.ENROLLED in run.result["models"]


def enrol_speaker(run: TrainedRun, paths: Iterable[str | Path]) -> TrainedRun:
    """Return the model of a run for one speaker, of whom some clips are known, without their emotions.

    Args:
        run: What `load_run` returned, whichever model it is of.
        paths: Files of the speaker; without any, the run is returned as it is.

    Raises:
        PredictionError: The run has no model for enrolment.
        AudioError: A file cannot be decoded.
    """
    if not (paths := list(paths)):
        return run
    if not can_enrol(run):
        raise PredictionError(
            f"{run.folder} cannot enrol a speaker: it has no model {models.ENROLLED}. Name a run of 07_unseen_speakers."
        )
    enrolled = load_run(run.folder, models.ENROLLED)
    signals = [_load_signal(path, enrolled.inputs.sample_rate) for path in paths]
    clips = features.make_inputs(signals, replace(enrolled.inputs, mean=None))
    mean = models.speaker_mean(clips, enrolled.inputs.mean, enrolled.inputs.prior_clips)
    return replace(enrolled, inputs=replace(enrolled.inputs, mean=mean))


def load_folds(run: str | Path, model: str = "") -> list[TrainedRun]:
    """Load a finished run, or each fold of one that pooled them; arguments and errors are those of `load_run`."""
    folder = Path(run).expanduser()
    folds = _read_result(folder)["split"].get("folds", [])
    return [load_run(folder / f"fold-{split['fold']}", model) for split in folds] or [load_run(folder, model)]


def _read_result(folder: Path) -> dict[str, Any]:
    """Return a run's `metrics.json`, and refuse one without the parts that a prediction needs."""
    if not (folder / "metrics.json").is_file():
        raise PredictionError(f"{folder} {_describe_lack_of_run(folder)}")
    try:
        result = read_metrics(folder)
    except ValueError as error:
        raise PredictionError(str(error)) from error
    if not (isinstance(result.get("split"), dict) and result.get("models") and result.get("labels")):
        raise PredictionError(f"{folder / 'metrics.json'} is not that of a training run. Name a training run's folder.")
    return result


def _describe_lack_of_run(folder: Path) -> str:
    if not folder.is_dir():
        return "holds no finished run: there is no such folder. Name a run's folder."
    files = [*folder.glob("*/metrics.json"), *folder.glob("*/*/metrics.json")]  # as runs/<notebook>/<parameters>
    if not files:
        return "holds no finished run: there is no metrics.json. Name a run's folder."
    newest = max(files, key=lambda file: file.stat().st_mtime).parent
    return f"holds no finished run: there is no metrics.json. Name a run in it, such as {newest}."


def run_data_dir(run: TrainedRun, data_dir: str | Path = "") -> str | Path:
    """Return the folder of the corpus that a run was tested on: `data_dir`, or else the run's own parameter."""
    name = "TEST_DATA_DIR" if "tested" in run.result["split"] else "DATA_DIR"
    return data_dir or run.result["parameters"].get(name, "")


def _read_input_spec(folder: Path, name: str) -> features.InputSpec:
    file = folder / "inputs.json"
    if not file.is_file():
        raise PredictionError(f"{file} is missing: it says how the inputs of {name} were made. Run the notebook again.")
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))[name]
        scaler = {
            key: np.array(facts[key], dtype=np.float32) for key in ("mean", "deviation") if facts[key] is not None
        }
        spec = features.InputSpec(**{**facts, **scaler})
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise PredictionError(
            f"{file} does not say how the inputs of {name} were made (it is damaged or of another run). "
            "Run the notebook again."
        ) from error
    if unknown := [feature for feature in spec.features if feature not in features.FEATURES]:
        raise PredictionError(
            f"the inputs of {name} in {folder} are a feature {unknown[0]!r}, which sernb does not have: "
            "call features.register_feature first, as in the notebook that trained it."
        )
    if features.ENCODER in spec.features:
        try:
            features.encoder_parameters(**spec.features[features.ENCODER])
        except features.EncoderError as error:
            raise PredictionError(f"{folder} needs the encoder that it was trained with. {error}") from error
    return spec


def _load_model(folder: Path, name: str) -> keras.Model | models.EstimatorModel:
    file = folder / f"{name}{models.ESTIMATOR_SUFFIX}"
    if not file.is_file():
        return _load_network(folder / f"{name}{models.KERAS_SUFFIX}")
    models.init_backend()
    import joblib

    try:
        return joblib.load(file)
    except Exception as error:  # of a damaged pickle, or of a package that is missing; no common class
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise PredictionError(f"{file} cannot be loaded ({reason}). Run the notebook again.") from error


def _load_network(file: Path) -> keras.Model:
    models.init_backend()
    import keras

    if not file.is_file():
        raise PredictionError(f"{file} is missing. Run the notebook again.")
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()  # Keras itself does not notice every changed byte
        if not damaged:
            return keras.saving.load_model(file, compile=False)
    except Exception as error:  # of a damaged file: zipfile's, zlib's, h5py's, json's, Keras's; no common class
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise PredictionError(f"{file} cannot be loaded ({reason}). Run the notebook again.") from error
    raise PredictionError(f"{file} is damaged ({damaged} has a wrong checksum). Run the notebook again.")


def test_clips(run: TrainedRun, data_dir: str | Path = "") -> pd.DataFrame:
    """Return the rows of `predicted_clips` that a run was tested on: recordings only, no augmented copies."""
    return (
        _clips_of_sides(run, ("test",), data_dir)
        .query("copy == 0")
        .drop(columns=["copy", "split"])
        .reset_index(drop=True)
    )


def predicted_clips(run: TrainedRun, data_dir: str | Path = "") -> pd.DataFrame:
    """Return every row of a run as `evaluation.make_split` returned it, with the predictions of the run's model.

    Args:
        run: What `load_run` returned.
        data_dir: The folder of the corpus (of the test set); if empty, that of the run, or looked up (see
            `corpora.locate`).

    Returns:
        One row per clip and copy, with the columns of the clip table, `copy`, `split`, then `truth`, `prediction` and a
        probability for each label.

    Raises:
        PredictionError: The corpus in that folder lacks a clip of the run.
    """
    if "tested" not in run.result["split"]:
        return _clips_of_sides(run, evaluation.SIDES, data_dir)
    return pd.concat(
        [_clips_of_sides(run, evaluation.SIDES[:2]), _clips_of_sides(run, ("test",), data_dir)], ignore_index=True
    )


def _clips_of_sides(run: TrainedRun, sides: tuple[str, ...], data_dir: str | Path = "") -> pd.DataFrame:
    """Return the rows of some sets of the split, all of one corpus."""
    predictions = read_predictions(run.folder)
    predictions = predictions[(predictions["model"] == run.model.name) & predictions["split"].isin(sides)]
    tested = run.result["split"].get("tested") if sides == ("test",) else None
    name = (tested or run.result["corpus"])["name"]
    data_dir = data_dir or run.result["parameters"].get("TEST_DATA_DIR" if tested else "DATA_DIR", "")
    table = corpora.load(name, data_dir)
    if len(missing := predictions.loc[~predictions["clip"].isin(table["clip"]), "clip"]):
        raise PredictionError(
            f"{run.folder} has predictions of the clip {missing.iloc[0]} (and {len(missing) - 1} more), which "
            f"{corpora.locate(name, data_dir)} lacks: give the folder of its corpus {name} as data_dir."
        )
    columns = ["clip", "copy", "split", "truth", "prediction", *run.labels]
    return table.merge(predictions[columns], on="clip")


# a clip


def predict_proba(run: TrainedRun, signal: np.ndarray) -> pd.Series:
    """Return the probability of each emotion for a whole clip.

    Args:
        run: What `load_run` returned.
        signal: Shape (n,), at the run's sample rate (`run.inputs.sample_rate`).

    Returns:
        One value per label; a clip longer than those of the run gives the mean over windows that overlap by half.
    """
    return predict_batch(run, [signal]).iloc[0]


def predict_batch(run: TrainedRun, signals: Sequence[np.ndarray]) -> pd.DataFrame:
    """Return `predict_proba` of each of several clips: one row per clip, one column per label."""
    windows = [_windows_of_clip(run, signal) for signal in signals]
    clip = np.repeat(np.arange(len(windows)), [len(parts) for parts in windows])
    return _predict_windows(run, [part for parts in windows for part in parts]).groupby(clip).mean()


def _windows_of_clip(run: TrainedRun, signal: np.ndarray) -> list[np.ndarray]:
    longest = run.inputs.frames * features.HOP_LENGTH - 1
    if not run.inputs.frames or len(signal) <= longest:
        return [signal]
    return [part for _, part in _windows(signal, longest, longest // 2)]


def predict_windows(
    run: TrainedRun, signal: np.ndarray, *, window: float = WINDOW_SECONDS, hop: float = HOP_SECONDS
) -> pd.DataFrame:
    """Return the probabilities over time: those of each window as if it were a clip.

    Args:
        run: What `load_run` returned.
        signal: Shape (n,), at the run's sample rate.
        window: Seconds; no longer than the longest clip of the run.
        hop: Seconds from one window to the next.

    Returns:
        One row per window, indexed by `seconds` (the window's middle), one column per label.
    """
    rate = run.inputs.sample_rate
    longest = run.inputs.frames * features.HOP_LENGTH - 1 if run.inputs.frames else len(signal)
    length = max(1, min(int(window * rate), longest, len(signal)))
    parts = list(_windows(signal, length, max(1, int(hop * rate))))
    middles = pd.Index([(start + length / 2) / rate for start, _ in parts], name="seconds")
    return _predict_windows(run, [part for _, part in parts]).set_index(middles)


def merge_windows(windows: pd.DataFrame) -> pd.DataFrame:
    """Merge neighbouring windows with the same most probable emotion into parts of the recording.

    A part ends halfway between the middles of two windows; the first begins at 0, the last ends with the recording.

    Args:
        windows: What `predict_windows` returns.

    Returns:
        `tier` (`prediction`), `start`, `end` and `label`, as `audio.write_annotations` takes them, and `probability`,
        the mean over the part's windows. Parts without a prediction are left out.
    """
    middles = windows.index.to_numpy()
    labels = np.array([predicted_label(row) for _, row in windows.iterrows()])
    first = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    starts = np.r_[0.0, (middles[first[1:] - 1] + middles[first[1:]]) / 2]
    ends = np.r_[starts[1:], middles[-1] + middles[0]]  # the first window begins at 0, the last ends with the recording
    means = np.add.reduceat(windows.max(axis=1).to_numpy(), first) / np.diff(np.r_[first, len(windows)])
    parts = {"start": starts, "end": ends, "label": labels[first], "probability": means}
    return pd.DataFrame({"tier": "prediction", **parts}).query("label != ''").reset_index(drop=True)


def _windows(signal: np.ndarray, length: int, hop: int) -> Iterable[tuple[int, np.ndarray]]:
    """Yield start and samples of each window; the last one ends with the signal."""
    last = max(0, len(signal) - length)
    for start in [*range(0, last, hop), last]:
        yield start, signal[start : start + length]


def _predict_windows(run: TrainedRun, signals: list[np.ndarray]) -> pd.DataFrame:
    return network_probabilities(run.model, run.inputs, signals, run.labels)


def network_probabilities(
    model: keras.Model | models.EstimatorModel,
    inputs: features.InputSpec,
    signals: Sequence[np.ndarray],
    labels: list[str],
) -> pd.DataFrame:
    """Return a model's outputs for some signals, divided by their sum: one row per signal, one column per label."""
    import keras

    batches = [signals[i : i + MAX_BATCH] for i in range(0, len(signals), MAX_BATCH)]
    outputs = [model(features.make_inputs(batch, inputs)[..., None], training=False) for batch in batches]
    values = np.concatenate([keras.ops.convert_to_numpy(output) for output in outputs]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):  # as in predictions.csv: NaN where all outputs are zero
        return pd.DataFrame(values / values.sum(axis=1, keepdims=True), columns=labels)


def predict_files(run: TrainedRun, paths: Iterable[str | Path]) -> pd.DataFrame:
    """Predict audio files.

    Returns:
        One row per file, with `file`, `seconds`, `prediction`, one probability per label, and `problem`, which is empty
        for a file that could be decoded.
    """
    return pd.DataFrame([_file_row(run, path) for path in paths])


def predict_windows_of_files(run: TrainedRun, paths: Iterable[str | Path]) -> pd.DataFrame:
    """Return `predict_windows` of each of several files.

    Returns:
        One row per window, or one for a file that cannot be decoded; the columns are those of `predict_files`,
        `seconds` being the window's middle.
    """
    return pd.concat([_window_rows(run, path) for path in paths], ignore_index=True)


def _window_rows(run: TrainedRun, path: str | Path) -> pd.DataFrame:
    try:
        probabilities = predict_windows(run, _load_signal(path, run.inputs.sample_rate))
    except audio.AudioError:
        return predict_files(run, [path])
    labels = [predicted_label(row) for _, row in probabilities.iterrows()]
    head = pd.DataFrame({"file": str(path), "seconds": probabilities.index.round(3), "prediction": labels})
    return head.join(probabilities.reset_index(drop=True)).assign(problem="")


def predicted_label(probabilities: pd.Series) -> str:
    """Return the emotion with the largest probability; empty where all outputs of the network are zero."""
    return str(probabilities.idxmax()) if probabilities.notna().all() else ""


def _file_row(run: TrainedRun, path: str | Path) -> dict[str, Any]:
    try:
        signal = _load_signal(path, run.inputs.sample_rate)
    except audio.AudioError as error:
        unknown = dict.fromkeys(run.labels, float("nan"))
        return {"file": str(path), "seconds": 0.0, "prediction": "", **unknown, "problem": str(error)}
    probabilities = predict_proba(run, signal)
    seconds = round(len(signal) / run.inputs.sample_rate, 2)
    label = predicted_label(probabilities)
    return {"file": str(path), "seconds": seconds, "prediction": label, **probabilities, "problem": ""}


def _load_signal(path: str | Path, sample_rate: int) -> np.ndarray:
    if not Path(path).exists() and not Path(path).is_symlink():
        raise audio.AudioError(str(path), "there is no such file")
    return audio.load(path, sample_rate)
