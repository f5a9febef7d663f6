"""The table of what each parameter of the notebooks may be, used by `sernb run` and within a notebook."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import models
from sernb import results
from sernb import studies
from sernb import utils
from sernb.runs.notebooks import ParameterError
from sernb.runs.notebooks import notebook_parameters

MEL_BANDS = 128  # bands from which librosa computes MFCCs; it silently returns no more coefficients than these
MAX_SEED = 2**32 - 1  # scikit-learn's and NumPy's
SETTINGS = "{settings}"  # in an OUTPUT_DIR: a folder per setting


@dataclass(frozen=True)
class ParameterLimit:
    """What a parameter may be: in words, as a test, and the names among which a misspelt one is looked up."""

    description: str
    is_valid: Callable[[Any], bool]
    names: Collection[str] = ()


def _whole_number(low: int, high: int | None = None, unit: str = "", note: str = "") -> ParameterLimit:
    bounds = f"of {low} or more" if high is None else f"from {low} to {high}"
    text = f"a whole number {bounds}{unit and ' ' + unit}{note and ' (' + note + ')'}"
    return ParameterLimit(text, lambda value: type(value) is int and low <= value <= (value if high is None else high))


def _one_of(names: Iterable[str], *, empty: str = "") -> ParameterLimit:
    """Return the limit of a name; or "", which then means what `empty` says."""
    names = tuple(names)
    text = f"{', '.join(names[:-1])} or {names[-1]}" + (f'; or "" for {empty}' if empty else "")
    return ParameterLimit(text, lambda value: value in names or (value == "" and bool(empty)), names)


def _some_of(
    names: Iterable[str], *, min_length: int = 0, is_other: Callable[[str], bool] = lambda name: False, note: str = ""
) -> ParameterLimit:
    """Return the limit of a list of names, of which `is_other` allows more."""
    names = tuple(names)

    def is_valid(value: Any) -> bool:
        """Return whether a value is a list of different valid names."""
        is_list = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
        if not is_list or len(value) < min_length or len(set(value)) < len(value):
            return False
        return all(name in names or is_other(name) for name in value)

    text = "a list of different names" + ", at least one," * min_length + f" from {', '.join(names)}{note}"
    return ParameterLimit(text, is_valid, names)


def _folder_limit(text: str, is_valid: Callable[[str], bool] = lambda text: True) -> ParameterLimit:
    return ParameterLimit(text, lambda value: isinstance(value, str) and _is_valid_path(value) and is_valid(value))


def _is_valid_path(text: str) -> bool:
    """Return whether a path can exist at all: no NUL, no unknown `~user`, no name that file systems cannot hold."""
    try:
        os.fsencode(text)
        return "\0" not in text and len(str(Path(text).expanduser())) < 4096
    except (RuntimeError, ValueError):
        return False


def _is_ratio(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(evaluation.parse_ratio(value))
    except evaluation.SplitError:
        return False


_LOOKED_UP = 'the existing folder of the corpus, or "" to look it up'
_FILLED = _folder_limit(
    "a folder (it need not exist) and not a file", lambda text: text != "" and not os.path.isfile(_expand_home(text))
)
_CORPUS = _one_of(corpora.CORPORA)
_OTHER_CORPUS = _one_of(corpora.CORPORA, empty="none")

PARAMETER_LIMITS: dict[str, ParameterLimit] = {
    "CORPUS": _CORPUS,
    "TEST_CORPUS": _OTHER_CORPUS,
    "OTHER_CORPUS": _OTHER_CORPUS,
    "DATA_DIR": _folder_limit(_LOOKED_UP),
    "TEST_DATA_DIR": _folder_limit(_LOOKED_UP),
    "OTHER_DATA_DIR": _folder_limit(_LOOKED_UP),
    "OUTPUT_DIR": _FILLED,
    "RECORD_DIR": _FILLED,
    "RUN_DIR": _folder_limit('the folder of a finished run, with its metrics.json, or "" to train one'),
    "RESULTS_DIR": _folder_limit("a folder of finished sweeps, such as book/results"),
    "MODEL": ParameterLimit('one of the run\'s networks, or "" for its first', lambda value: isinstance(value, str)),
    "SEED": _whole_number(0, MAX_SEED),
    "MAX_CLIPS": _whole_number(0, unit="clips", note="0: all"),
    "DISTORTED": _whole_number(0, unit="clips", note="0: all"),
    "EMOTIONS": _some_of(
        corpora.EMOTIONS,
        is_other=lambda name: not corpora.label_problem(name),
        note=", or of a local corpus's own words",
    ),
    "CHANNEL": _one_of(corpora.CHANNELS),
    "EPOCHS": _whole_number(0, note="0: the study's own number"),
    "PROTOCOL": _one_of(evaluation.PROTOCOLS),
    "FOLD": _whole_number(0, note="0: all folds"),
    "STRICT": ParameterLimit("True or False", lambda value: isinstance(value, bool)),
    "SAMPLE_RATE": _whole_number(*audio.SAMPLE_RATE_RANGE, unit="Hz"),
    "MODELS": _some_of(studies.NETWORKS, min_length=1),
    "FAULTS": _some_of((studies.AS_PUBLISHED, *studies.FAULTS)),
    "SPLIT": ParameterLimit('train:validation:test such as "75:15:10", each above 0', _is_ratio),
    "OUTPUT_ACTIVATION": _one_of(studies.OUTPUT_ACTIVATIONS),
    "AUGMENT": _one_of(evaluation.AUGMENT_CHOICES),
    "NORMALISE": _one_of(("pad", "max-minus")),
    "N_MFCC": _whole_number(studies.MIN_INPUT_SIZE, MEL_BANDS),
    "RECIPE": _one_of(models.RECIPES),
    "COPIES": _whole_number(0, 100, unit="speed-perturbed copies of each clip"),
    "SHRINKAGE": _whole_number(0, 100, unit="per cent"),
    "ENROL_CLIPS": _whole_number(1, 1000, unit="enrolment clips of each speaker"),
    "PRIOR_CLIPS": _whole_number(1, 1000, unit="clips"),
    "ENCODER": _folder_limit('a speech encoder\'s name on the Hugging Face hub or its folder, or "" for none'),
    "ENCODER_LAYER": _whole_number(0, 1000, note="0: the mean of all layers"),
    "ENCODER_WITH_FUNCTIONALS": ParameterLimit("True or False", lambda value: isinstance(value, bool)),
    "PRECISION": _one_of(models.PRECISIONS),
}


def _expand_home(text: str) -> Path:
    return Path(text).expanduser()


def is_valid(name: str, value: Any) -> bool:
    """Return whether the table allows a value; parameters that it does not name may be anything."""
    return name not in PARAMETER_LIMITS or PARAMETER_LIMITS[name].is_valid(value)


def check_parameters(
    values: Mapping[str, Any], names: Iterable[str] | None = None, *, base: Path | None = None
) -> None:
    """Refuse values that are out of range, alone or together with others.

    Args:
        values: All of a notebook's parameters, by name.
        names: Those to check; all of `values` by default.
        base: The folder that relative paths start from; without it no folder is looked for.

    Raises:
        ParameterError: One line: the parameter, what would be right, and its value.
    """
    for name in (name for name in (values if names is None else names) if name in PARAMETER_LIMITS):
        if not PARAMETER_LIMITS[name].is_valid(values[name]):
            raise _limit_error(name, values[name], PARAMETER_LIMITS[name].description)
    valid = {name: value for name, value in values.items() if is_valid(name, value)}
    _check_emotions(valid)
    _check_fold(valid)
    if base is not None:
        _check_folders(valid, base)
        _check_speakers(valid, base)


def check_notebook(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return a notebook's parameters, its UPPER_CASE names with plain values; refuse wrong ones.

    In `OUTPUT_DIR`, `{settings}` is replaced by a name for the other parameters: each setting has a folder of its own.

    Raises:
        ParameterError: See `check_parameters`.
        OutputError: Results in `OUTPUT_DIR` that no earlier run wrote would be overwritten.
        MemoryLimitError: See `utils.memory_limit`.
    """
    plain = (str, int, float, bool, list)
    parameters = {name: value for name, value in namespace.items() if name.isupper() and isinstance(value, plain)}
    if earlier := namespace.get("PARAMETERS"):  # run again, the cell also finds what cells below it assign, as LABELS
        parameters = {name: parameters[name] for name in parameters if name in {*earlier, *PARAMETER_LIMITS}}
    utils.memory_limit()  # refuses a memory limit that is not a number
    # A name of the table is checked whatever its value: None is no plain value, and never a right one.
    checked = {name: value for name, value in namespace.items() if name in parameters or name in PARAMETER_LIMITS}
    check_parameters(checked, base=Path.cwd())
    if "OUTPUT_DIR" in parameters:
        parameters["OUTPUT_DIR"] = _setting_dir(parameters["OUTPUT_DIR"], parameters)
        results.check_output_dir(parameters["OUTPUT_DIR"])
    return parameters


# folders named by parameters


def slug(parameters: dict[str, Any]) -> str:
    """Return a readable folder name: `corpus-demo-crema_max-clips-240`."""
    # A folder is private to a machine, and the name may be published: a digest tells two folders apart.
    values = {
        name: utils.text_digest(str(value))[:6] if results.is_dir_parameter(name) else value
        for name, value in parameters.items()
    }
    text = "_".join(f"{_slug_value(name)}-{_slug_value(value)}" for name, value in values.items()) or "defaults"
    return text if len(text) <= 120 else f"{text[:110]}-{utils.text_digest(text)[:8]}"


def _slug_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "+".join(map(_slug_value, value)) or "none"
    sign = "-" if isinstance(value, int | float) and value < 0 else ""
    text = str(value).lower()
    digest = "" if text.isascii() else f"-{utils.text_digest(text)[:6]}"  # the name has no other letters
    return sign + re.sub(r"[^a-z0-9.+]+", "-", text).strip("-") + digest


def _setting_dir(output_dir: str, parameters: Mapping[str, Any]) -> str:
    """Return an `OUTPUT_DIR` with `SETTINGS` replaced by a name for all other parameters that are not 0 or empty."""
    settings = {name: value for name, value in parameters.items() if name != "OUTPUT_DIR" and value}
    return output_dir.replace(SETTINGS, slug(settings))


def _limit_error(name: str, value: Any, description: str) -> ParameterError:
    return ParameterError(f"{name} must be {description} (got {short_repr(value)}){_suggestion(name, value)}")


def short_repr(value: Any) -> str:
    """Return a value as Python would write it, in one line that is not too long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _suggestion(name: str, value: Any) -> str:
    """Return a question with the name of the table that a misspelt one is similar to."""
    names = PARAMETER_LIMITS[name].names
    items = value if isinstance(value, list | tuple) else [value]
    unknown = [text for text in items if isinstance(text, str) and text not in names]
    similar = difflib.get_close_matches(unknown[0], names, n=1) if names and unknown else []
    return f"; did you mean {similar[0]!r}?" if similar else ""


# what must fit together


def _check_emotions(values: Mapping[str, Any]) -> None:
    """Refuse to train on fewer than two known emotions, and words that only a local corpus may use for emotions."""
    emotions = set(values.get("EMOTIONS", ()))
    has_own_words = "CORPUS" not in values or corpora.get_corpus(values["CORPUS"]).parse is None
    if emotions - set(corpora.EMOTIONS) and not has_own_words:
        raise _limit_error("EMOTIONS", list(values["EMOTIONS"]), PARAMETER_LIMITS["EMOTIONS"].description)
    if "PROTOCOL" in values and emotions and len(emotions - {"unknown"}) < 2:
        raise _limit_error("EMOTIONS", list(values["EMOTIONS"]), "at least two known emotions, or [] for all")


def _check_fold(values: Mapping[str, Any]) -> None:
    fold, protocol, corpus = values.get("FOLD", 0), values.get("PROTOCOL"), values.get("CORPUS")
    if fold and protocol and protocol not in evaluation.WITH_FOLDS:
        with_folds = ", ".join(evaluation.WITH_FOLDS)
        raise _limit_error(
            "FOLD", fold, f"0 because PROTOCOL {protocol!r} has no folds (those with folds: {with_folds})"
        )
    if protocol == "random-folds" and fold > evaluation.N_RANDOM_FOLDS:
        raise _limit_error("FOLD", fold, f"a number from 0 to {evaluation.N_RANDOM_FOLDS} (0: all folds)")
    if protocol == "folds" and corpus and not values.get("RUN_DIR"):
        try:
            folds = evaluation.published_folds(corpus)
        except evaluation.SplitError as error:
            raise ParameterError(f"PROTOCOL cannot be {protocol!r}: {error}") from error
        if fold not in (0, *folds):
            raise _limit_error("FOLD", fold, f"a number from 0 to {len(folds)} (0: all folds of {corpus})")
    if (test_corpus := values.get("TEST_CORPUS")) and protocol and evaluation.covers_all_folds(protocol, fold):
        raise _limit_error("FOLD", fold, f"the number of the fold to train on with TEST_CORPUS {test_corpus!r}")


def _check_folders(values: Mapping[str, Any], base: Path) -> None:
    run = values.get("RUN_DIR")
    if run and not (base / _expand_home(run) / "metrics.json").is_file():
        raise _limit_error("RUN_DIR", run, PARAMETER_LIMITS["RUN_DIR"].description)
    _check_model(values, base)
    # `results.read_sweep` looks there too.
    results_dir = _expand_home(values.get("RESULTS_DIR", ""))
    if not (base / results_dir).is_dir() and not utils.find_resource(results_dir).is_dir():
        raise _limit_error("RESULTS_DIR", values["RESULTS_DIR"], PARAMETER_LIMITS["RESULTS_DIR"].description)
    for name in [name for name in values if name.endswith("CORPUS") and values[name]]:
        data_dir = name.removesuffix("CORPUS") + "DATA_DIR"
        # With a finished run, DATA_DIR is the folder of the run's corpus and not of CORPUS.
        if data_dir in values and not (run and name == "CORPUS"):
            _locate(name, values[name], data_dir, values[data_dir], base)


def _check_model(values: Mapping[str, Any], base: Path) -> None:
    if not (model := values.get("MODEL")):
        return
    names = ["paper-cnn"]
    if run := values.get("RUN_DIR"):
        try:
            names = list(results.read_metrics(base / _expand_home(run)).get("models", ()))
        except ValueError as error:
            raise ParameterError(f"RUN_DIR cannot be {run!r}: {error}") from error
    if model not in names:
        raise _limit_error("MODEL", model, f'{" or ".join(names)}, or "" for the first')


def _locate(name: str, corpus: str, data_dir: str, folder: str, base: Path) -> Path:
    try:
        return corpora.locate(corpus, base / _expand_home(folder) if folder else "")
    except (corpora.CorpusError, corpora.DemoError) as error:
        wrong, value = (data_dir, folder) if folder else (name, corpus)
        raise ParameterError(f"{wrong} cannot be {value!r}: {error}") from None  # a notebook would show it twice


def _check_speakers(values: Mapping[str, Any], base: Path) -> None:
    """Refuse a fold of `loso` beyond the number of speakers, who are counted by the clips' names alone."""
    fold = values.get("FOLD", 0)
    if values.get("PROTOCOL") != "loso" or not fold or not {"CORPUS", "DATA_DIR"} <= set(values):
        return
    root = _locate("CORPUS", values["CORPUS"], "DATA_DIR", values["DATA_DIR"], base)
    speakers = {row["speaker"] for row in corpora.get_corpus(values["CORPUS"]).read(root)}
    if fold > len(speakers):
        raise _limit_error("FOLD", fold, f"the number of a speaker, from 1 to {len(speakers)}, or 0 for all")


def validate_parameters(notebook: Path, parameters: dict[str, Any], base: Path | None = None) -> None:
    """Refuse parameters that a notebook does not have, of another type than their default, or out of range.

    A parameter whose default is out of the range of `PARAMETER_LIMITS` means something else in that notebook and is not
    compared with that range.

    Args:
        notebook: The notebook.
        parameters: Values by name.
        base: The folder that relative paths start from; without it no folder is looked for.

    Raises:
        ParameterError: Naming the parameter, its value and what would be right.
    """
    defaults = notebook_parameters(notebook)
    for name, value in parameters.items():
        if name not in defaults:
            raise ParameterError(_unknown_parameter(notebook, name, list(defaults)))
        if name == "OUTPUT_DIR":
            raise ParameterError("OUTPUT_DIR is the run's folder: set it by -o (or output_dir)")
        if not _is_same_type(value, defaults[name]):
            raise ParameterError(
                f"{notebook}: {name} takes a value like {defaults[name]!r} ({type(defaults[name]).__name__}), "
                f"not {short_repr(value)} ({type(value).__name__}).{_value_hint(value, defaults[name])}"
            )
    try:
        names = [name for name in parameters if is_valid(name, defaults[name])]
        check_parameters(defaults | parameters, names, base=base)
    except ParameterError as error:
        raise ParameterError(f"{notebook}: {error}") from error


def _value_hint(value: Any, default: Any) -> str:
    if isinstance(default, list):
        items = "" if value in (None, "", {}) else str(value)[:60]
        return f" Write it as a list: [{items}]."
    return " In YAML, a text that looks like a number needs quotes." if isinstance(default, str) else ""


def _unknown_parameter(notebook: Path, name: str, names: list[str]) -> str:
    similar = difflib.get_close_matches(str(name).upper(), names, n=1)
    hint = f"did you mean {similar[0]}? " if similar else ""
    has = f"It has {', '.join(names)}." if names else "It has no cell tagged `parameters`."
    return f"{notebook} has no parameter {name}: {hint}{has}"


def _is_same_type(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        return all(_is_same_type(item, default[0]) for item in value) if default else True
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)
