"""Floor 3: a finished run predicts clips that it has never seen.

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
from sernb import features
from sernb import models
from sernb import results
from sernb import splits

if TYPE_CHECKING:
    import keras

WINDOW = 2.0  # seconds: about the length of an acted sentence
HOP = 0.25


class PredictionError(ValueError):
    """A run that cannot predict, with its folder and the remedy."""


@dataclass(frozen=True)
class Finished:
    """One model of a finished run: all that a prediction takes."""

    folder: Path
    result: dict[str, Any]
    model: keras.Model
    inputs: features.Inputs

    @property
    def labels(self) -> list[str]:
        """The emotions that it knows, in the order of its outputs."""
        return self.result["labels"]

    @property
    def corpus(self) -> str:
        """The name of the corpus that it was tested on."""
        return self.result["split"].get("tested", self.result["corpus"])["name"]


# a run


def find(*folders: str | Path) -> list[Path]:
    """Finished runs that can predict, in some folders and below them, the newest first."""
    files = {file for folder in folders for file in Path(folder).expanduser().glob("**/inputs.json")}
    whole = [file for file in files if file.with_name("metrics.json").is_file()]
    return [file.parent for file in sorted(whole, key=lambda file: -file.stat().st_mtime)]


def load(run: str | Path, model: str = "") -> Finished:
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
    result = results.read(folder)
    if parts := result["split"].get("folds"):
        raise PredictionError(
            f"{folder} pooled {len(parts)} folds; name one of them: {folder}/fold-{parts[0]['fold']}."
        )
    name = model or next(iter(result["models"]))
    if name not in result["models"]:
        raise PredictionError(f"{folder} has no model {name!r}; it has {', '.join(result['models'])}.")
    if failure := result["models"][name].get("failed"):
        raise PredictionError(f"{name} of {folder} cannot predict: {failure}.")
    return Finished(folder, result, _network(folder, name), _inputs(folder, name))


def folds(run: str | Path, model: str = "") -> list[Finished]:
    """A finished run, or each fold of one that pooled them; arguments and errors as of `load`."""
    folder = Path(run).expanduser()
    there = (folder / "metrics.json").is_file()
    told = results.read(folder)["split"].get("folds", []) if there else []
    return [load(folder / f"fold-{one['fold']}", model) for one in told] or [load(folder, model)]


def data_dir(run: Finished, given: str | Path = "") -> str | Path:
    """The folder of the corpus that a run was tested on: the one given, else the one that the run was given."""
    name = "TEST_DATA_DIR" if "tested" in run.result["split"] else "DATA_DIR"
    return given or run.result["parameters"].get(name, "")


def _inputs(folder: Path, name: str) -> features.Inputs:
    try:
        told = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))[name]
    except (OSError, KeyError) as error:
        raise PredictionError(
            f"{folder} does not say how the inputs of {name} were made (inputs.json): make the run again."
        ) from error
    learnt = {key: np.array(told[key], dtype=np.float32) for key in ("mean", "deviation") if told[key] is not None}
    return features.Inputs(**{**told, **learnt})


def _network(folder: Path, name: str) -> keras.Model:
    models.wake_backend()
    import keras

    try:
        return keras.saving.load_model(folder / f"{name}.keras", compile=False)
    except (OSError, ValueError) as error:
        raise PredictionError(f"{folder / name}.keras cannot be loaded ({error}): make the run again.") from error


def card(run: Finished) -> str:
    """A model's card as Markdown: what it was trained on, how well it does on unseen speakers, what it is for."""
    name, corpus, split = run.model.name, run.result["corpus"], run.result["split"]
    synthetic = " It was trained on **synthetic speech** and says nothing about people." * bool(
        corpora.notice(corpus["name"])
    )
    return f"""\
**{name}**, trained by `{Path(run.result["notebook"]).stem}` on {corpora.known(corpus["name"]).title}:
{split["train"]} rows of {_speakers(run, "train")} (protocol `{split["protocol"]}`, fingerprint
`{corpus["fingerprint"]}`).{synthetic}

- {_scored(run)}
- **Licence of the data:** {corpora.known(corpus["name"]).licence}. It binds whoever passes this model on.
- **It knows** {", ".join(run.labels)}. Whatever it hears, it answers with these, and a probability is no certainty.
- **For** learning and research: to hear and see what such a network makes of a voice.
- **Limits.** One network, one seed, one split. Another microphone, room, language, age or illness is another task.
- **Not a diagnosis**, and not for deciding anything about the person who speaks.
"""


def _scored(run: Finished) -> str:
    entry, split = run.result["models"][run.model.name], run.result["split"]
    uar, (low, high) = entry["test"]["uar"], entry["ci95"]["uar"]
    interval = "one speaker: no interval" if low is None else f"95 % interval {low:.2f} to {high:.2f}"
    told = f"**{uar:.2f}** ({interval}; chance {1 / len(run.labels):.2f}), {split['test']} rows"
    if "tested" in split:
        told += f" of {corpora.known(split['tested']['name']).title}"
    if split.get("test_leaks", split["leaks"])["speaker"]:  # validation may share speakers where the test does not
        return f"**UAR on unseen speakers: not measured.** On clips of the speakers that it was trained on: {told}."
    return f"**UAR on unseen speakers:** {told} of {_speakers(run, 'test')}."


def _speakers(run: Finished, side: str) -> str:
    number = run.result["split"]["speakers"][side]
    return f"{number} speaker{'s' * (number != 1)}"


def tested(run: Finished, data_dir: str | Path = "") -> pd.DataFrame:
    """The rows of `rows` that a run was tested on: recordings only, no augmented copies."""
    return _found(run, ("test",), data_dir).query("copy == 0").drop(columns=["copy", "split"]).reset_index(drop=True)


def rows(run: Finished, data_dir: str | Path = "") -> pd.DataFrame:
    """Every row of a run as `splits.prepare` gave it, with what the run's model answered.

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
        return _found(run, splits.SIDES, data_dir)
    return pd.concat([_found(run, splits.SIDES[:2]), _found(run, ("test",), data_dir)], ignore_index=True)


def _found(run: Finished, sides: tuple[str, ...], data_dir: str | Path = "") -> pd.DataFrame:
    """The rows of some sides, all of one corpus."""
    told = results.predictions(run.folder)
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


def probabilities(run: Finished, signal: np.ndarray) -> pd.Series:
    """The probability of each emotion for a whole clip.

    Args:
        run: What `load` returned.
        signal: Shape (n,), at the run's sample rate (`run.inputs.sample_rate`).

    Returns:
        One value a label; a clip longer than those of the run gives the mean over windows half overlapping.
    """
    return batch(run, [signal]).iloc[0]


def batch(run: Finished, signals: Sequence[np.ndarray]) -> pd.DataFrame:
    """The `probabilities` of each of several clips: one row a clip, one column a label."""
    longest = run.inputs.frames * features.HOP_LENGTH - 1
    whole = lambda signal: not run.inputs.frames or len(signal) <= longest  # noqa: E731
    parts = [[s] if whole(s) else [part for _, part in _windows(s, longest, longest // 2)] for s in signals]
    clip = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return _outputs(run, [part for each in parts for part in each]).groupby(clip).mean()


def course(run: Finished, signal: np.ndarray, *, window: float = WINDOW, hop: float = HOP) -> pd.DataFrame:
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
    return _outputs(run, [part for _, part in parts]).set_index(middles)


def _windows(signal: np.ndarray, length: int, hop: int) -> Iterable[tuple[int, np.ndarray]]:
    """Start and samples of each window; the last one ends with the signal."""
    last = max(0, len(signal) - length)
    for start in [*range(0, last, hop), last]:
        yield start, signal[start : start + length]


def _outputs(run: Finished, signals: list[np.ndarray]) -> pd.DataFrame:
    import keras

    batches = [signals[i : i + 64] for i in range(0, len(signals), 64)]
    outputs = [run.model(features.prepare(batch, run.inputs)[..., None], training=False) for batch in batches]
    found = np.concatenate([keras.ops.convert_to_numpy(output) for output in outputs]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):  # as in predictions.csv: NaN where all outputs are zero
        return pd.DataFrame(found / found.sum(axis=1, keepdims=True), columns=run.labels)


def files(run: Finished, paths: Iterable[str | Path]) -> pd.DataFrame:
    """Predict files.

    Returns:
        One row a file, with `file`, `seconds`, `prediction`, one probability a label, and `problem`, which is empty for
        a file that could be decoded.
    """
    return pd.DataFrame([_row(run, path) for path in paths])


def courses(run: Finished, paths: Iterable[str | Path]) -> pd.DataFrame:
    """The `course` of each file.

    Returns:
        One row a window, or one for a file that cannot be decoded; the columns are those of `files`, `seconds` being
        the window's middle.
    """
    return pd.concat([_course_rows(run, path) for path in paths], ignore_index=True)


def _course_rows(run: Finished, path: str | Path) -> pd.DataFrame:
    try:
        found = course(run, audio.load(path, run.inputs.sample_rate))
    except audio.AudioError:
        return files(run, [path])
    answers = [answer(row) for _, row in found.iterrows()]
    head = pd.DataFrame({"file": str(path), "seconds": found.index.round(3), "prediction": answers})
    return head.join(found.reset_index(drop=True)).assign(problem="")


def answer(found: pd.Series) -> str:
    """The largest probability's emotion; none where the network answers all zero."""
    return str(found.idxmax()) if found.notna().all() else ""


def _row(run: Finished, path: str | Path) -> dict[str, Any]:
    unknown = dict.fromkeys(run.labels, float("nan"))
    try:
        signal = audio.load(path, run.inputs.sample_rate)
    except audio.AudioError as error:
        return {"file": str(path), "seconds": 0.0, "prediction": "", **unknown, "problem": str(error)}
    found = probabilities(run, signal)
    seconds = round(len(signal) / run.inputs.sample_rate, 2)
    return {"file": str(path), "seconds": seconds, "prediction": answer(found), **found, "problem": ""}
