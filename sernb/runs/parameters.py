"""What each parameter of the notebooks may be: one table, asked by `sernb run` and within a notebook."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import models
from sernb import studies
from sernb import utils
from sernb.runs.notebooks import ParameterError
from sernb.runs.notebooks import notebook_parameters

if TYPE_CHECKING:
    pass

MEL_BANDS = 128  # which librosa makes its coefficients of; asked for more, it gives so many without a word
MAX_SEED = 2**32 - 1  # scikit-learn's and NumPy's


@dataclass(frozen=True)
class ParameterLimit:
    """What a parameter may be: in words, as a test, and the names among which a misspelt one is looked for."""

    right: str
    is_valid: Callable[[Any], bool]
    names: Collection[str] = ()


def _whole_number(low: int, high: int | None = None, unit: str = "") -> ParameterLimit:
    right = f"{low} or more" if high is None else f"{low} to {high}"
    of, _, besides = unit.partition("; ")
    right += f"{of}, a whole number" + (f"; {besides}" if besides else "")
    return ParameterLimit(right, lambda value: type(value) is int and low <= value <= (value if high is None else high))


def _one_of(names: Iterable[str], *, empty: str = "") -> ParameterLimit:
    """A name; or "", which then means what `empty` says."""
    names = tuple(names)
    right = f"{', '.join(names[:-1])} or {names[-1]}" + (f'; or "": {empty}' if empty else "")
    return ParameterLimit(right, lambda value: value in names or (value == "" and bool(empty)), names)


def _some_of(names: Iterable[str], *, least: int = 0) -> ParameterLimit:
    names = tuple(names)

    def holds(value: Any) -> bool:
        listed = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
        return listed and len(value) >= least and set(value) <= set(names) and len(set(value)) == len(value)

    return ParameterLimit(f"a list, no name twice, of {', '.join(names)}" + "; one at least" * least, holds, names)


def _folder_limit(right: str, holds: Callable[[str], bool] = lambda text: True) -> ParameterLimit:
    return ParameterLimit(right, lambda value: isinstance(value, str) and _is_valid_path(value) and holds(value))


def _is_valid_path(text: str) -> bool:
    """Whether a folder can be called so at all: no NUL, no unknown `~user`, no name that no file system holds."""
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


_LOOKED_UP = 'the corpus\'s folder, which must be there; or "": it is looked up'
_FILLED = _folder_limit(
    "a folder, there or to be made, and not a file", lambda text: text != "" and not os.path.isfile(_expand_home(text))
)
_CORPUS = _one_of(corpora.CORPORA)
_ANOTHER = _one_of(corpora.CORPORA, empty="none")

PARAMETER_LIMITS: dict[str, ParameterLimit] = {
    "CORPUS": _CORPUS,
    "TEST_CORPUS": _ANOTHER,
    "OTHER_CORPUS": _ANOTHER,
    "DATA_DIR": _folder_limit(_LOOKED_UP),
    "TEST_DATA_DIR": _folder_limit(_LOOKED_UP),
    "OTHER_DATA_DIR": _folder_limit(_LOOKED_UP),
    "OUTPUT_DIR": _FILLED,
    "RECORD_DIR": _FILLED,
    "RUN_DIR": _folder_limit('the folder of a finished run, with its metrics.json; or "": one is trained'),
    "RESULTS_DIR": _folder_limit("a folder of finished sweeps, such as book/results"),
    "MODEL": ParameterLimit('one of the run\'s networks; or "": its first', lambda value: isinstance(value, str)),
    "SEED": _whole_number(0, MAX_SEED),
    "MAX_CLIPS": _whole_number(0, unit=" clips; 0: all"),
    "DISTORTED": _whole_number(0, unit=" clips; 0: all"),
    "EMOTIONS": _some_of(corpora.EMOTIONS),
    "CHANNEL": _one_of(corpora.CHANNELS),
    "EPOCHS": _whole_number(0, unit="; 0: the study's own"),
    "PROTOCOL": _one_of(evaluation.PROTOCOLS),
    "FOLD": _whole_number(0, unit="; 0: all folds"),
    "STRICT": ParameterLimit("True or False", lambda value: isinstance(value, bool)),
    "SAMPLE_RATE": _whole_number(*audio.SAMPLE_RATE_RANGE, unit=" Hz"),
    "MODELS": _some_of(studies.NETWORKS, least=1),
    "FAULTS": _some_of((studies.AS_PUBLISHED, *studies.FAULTS)),
    "SPLIT": ParameterLimit('train:validation:test such as "75:15:10", each above 0', _is_ratio),
    "OUTPUT_ACTIVATION": _one_of(studies.OUTPUT_ACTIVATIONS),
    "AUGMENT": _one_of(evaluation.AUGMENT_CHOICES),
    "NORMALISE": _one_of(("pad", "max-minus")),
    "N_MFCC": _whole_number(studies.MIN_INPUT_SIZE, MEL_BANDS),
    "RECIPE": _one_of(models.RECIPES),
    "COPIES": _whole_number(0, 100, " other voices of each clip"),
    "SHRINKAGE": _whole_number(0, 100, " per cent"),
    "PRECISION": _one_of(models.PRECISIONS),
}


def _expand_home(text: str) -> Path:
    return Path(text).expanduser()


def is_valid(name: str, value: Any) -> bool:
    """Whether a value is right by the table; what the table does not know may be anything."""
    return name not in PARAMETER_LIMITS or PARAMETER_LIMITS[name].is_valid(value)


def check_parameters(values: Mapping[str, Any], names: Iterable[str] | None = None, *, base: Path | None = None) -> None:
    """Refuse values that are out of range, alone or together with others.

    Args:
        values: All of a notebook's parameters, by name.
        names: Those to look at; all of `values` if not given.
        base: The folder that relative ones are relative to; without it no folder is looked for.

    Raises:
        ParameterError: One line: the parameter, its value, and what would be right.
    """
    for name in (name for name in (values if names is None else names) if name in PARAMETER_LIMITS):
        if not PARAMETER_LIMITS[name].is_valid(values[name]):
            raise _limit_error(name, values[name], PARAMETER_LIMITS[name].right)
    told = {name: values[name] for name in values if is_valid(name, values[name])}
    _check_emotions(told)
    _check_fold(told)
    if base is not None:
        _check_folders(told, base)
        _check_speakers(told, base)


def check_notebook(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """A notebook's parameters, its UPPER_CASE names as far as they are plain values; refused if one is wrong.

    Raises:
        ParameterError: See `check`.
    """
    plain = (str, int, float, bool, list)
    kept = {name: value for name, value in namespace.items() if name.isupper() and isinstance(value, plain)}
    utils.memory_limit()  # refuses a bound on memory that is no number
    # A name of the table counts whatever it holds: None is no plain value, and no right one.
    check_parameters({name: value for name, value in namespace.items() if name in kept or name in PARAMETER_LIMITS}, base=Path.cwd())
    return kept


def _limit_error(name: str, value: Any, right: str) -> ParameterError:
    return ParameterError(f"{name} is {short_repr(value)}; {_suggestion(name, value)}give {right}.")


def short_repr(value: Any) -> str:
    """A value as it would be written, in one line that is not too long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _suggestion(name: str, value: Any) -> str:
    """Which name of the table a misspelt one comes near to."""
    names = PARAMETER_LIMITS[name].names
    said = [text for text in (value if isinstance(value, list | tuple) else [value]) if isinstance(text, str)]
    strange = [text for text in said if text not in names]
    found = difflib.get_close_matches(strange[0], names, n=1) if names and strange else []
    return f"did you mean {found[0]!r}? Or " if found else ""


# what must fit together


def _check_emotions(told: Mapping[str, Any]) -> None:
    """A network takes two emotions at least, and learns none that is unknown."""
    chosen = set(told.get("EMOTIONS", ()))
    if "PROTOCOL" in told and chosen and len(chosen - {"unknown"}) < 2:
        raise _limit_error("EMOTIONS", list(told["EMOTIONS"]), "two known emotions or more to tell apart, or []: all")


def _check_fold(told: Mapping[str, Any]) -> None:
    fold, protocol, corpus = told.get("FOLD", 0), told.get("PROTOCOL"), told.get("CORPUS")
    if fold and protocol and protocol not in evaluation.WITH_FOLDS:
        folded = " or ".join(evaluation.WITH_FOLDS)
        raise _limit_error("FOLD", fold, f"0: PROTOCOL {protocol!r} has no folds ({folded} would have)")
    if protocol == "folds" and corpus and not told.get("RUN_DIR"):
        try:
            several = evaluation.published_folds(corpus)
        except evaluation.SplitError as error:
            raise ParameterError(f"PROTOCOL is {protocol!r}; {error}") from error
        if fold not in (0, *several):
            raise _limit_error("FOLD", fold, f"0 to {len(several)}; 0: all folds of {corpus}")
    if told.get("TEST_CORPUS") and protocol and evaluation.covers_all_folds(protocol, fold):
        raise _limit_error("FOLD", fold, f"the number of a fold: with TEST_CORPUS {told['TEST_CORPUS']!r} one is trained on")


def _check_folders(told: Mapping[str, Any], base: Path) -> None:
    run = told.get("RUN_DIR")
    if run and not (base / _expand_home(run) / "metrics.json").is_file():
        raise _limit_error("RUN_DIR", run, PARAMETER_LIMITS["RUN_DIR"].right)
    _check_model(told, base)
    results = told.get("RESULTS_DIR", "")
    # As `results.read_sweep` looks for them.
    if not any(os.path.isdir(root / _expand_home(results)) for root in (base, utils.project_root())):
        raise _limit_error("RESULTS_DIR", results, PARAMETER_LIMITS["RESULTS_DIR"].right)
    for name in [name for name in told if name.endswith("CORPUS") and told[name]]:
        place = name.removesuffix("CORPUS") + "DATA_DIR"
        # Of a finished run the corpus is the run's own.
        if place in told and not (run and name == "CORPUS"):
            _locate(name, told[name], place, told[place], base)


def _check_model(told: Mapping[str, Any], base: Path) -> None:
    if not (model := told.get("MODEL")):
        return
    known = ["paper-cnn"]
    if run := told.get("RUN_DIR"):
        known = list(json.loads((base / _expand_home(run) / "metrics.json").read_text(encoding="utf-8")).get("models", ()))
    if model not in known:
        raise _limit_error("MODEL", model, f'{" or ".join(known)}; or "": the first')


def _locate(name: str, corpus: str, place: str, folder: str, base: Path) -> Path:
    try:
        return corpora.locate(corpus, base / _expand_home(folder) if folder else "")
    except (corpora.CorpusError, corpora.DemoError) as error:
        said = f"{place} is {folder!r}" if folder else f"{name} is {corpus!r}"
        raise ParameterError(f"{said}; {error}") from error


def _check_speakers(told: Mapping[str, Any], base: Path) -> None:
    """Of `loso` there are as many folds as speakers: they are counted by the clips' names, no audio is read."""
    fold = told.get("FOLD", 0)
    if told.get("PROTOCOL") != "loso" or not fold or not {"CORPUS", "DATA_DIR"} <= set(told):
        return
    root = _locate("CORPUS", told["CORPUS"], "DATA_DIR", told["DATA_DIR"], base)
    voices = {row["speaker"] for row in corpora.get_corpus(told["CORPUS"]).read(root)}
    if fold > len(voices):
        raise _limit_error("FOLD", fold, f"0 to {len(voices)}: a fold is one of the speakers; 0: all of them")


def validate_parameters(notebook: Path, parameters: dict[str, Any], base: Path | None = None) -> None:
    """Refuse parameters that a notebook does not have, of another type than their default, or out of range.

    A notebook whose own default is out of a parameter's range (see `limits`) means something else by that name.

    Args:
        notebook: The notebook.
        parameters: Values by name.
        base: The folder that relative ones are relative to; without it no folder is looked for.

    Raises:
        ParameterError: Naming the parameter, its value and what would be right.
    """
    known = notebook_parameters(notebook)
    for name, value in parameters.items():
        if name not in known:
            raise ParameterError(_unknown_parameter(notebook, name, list(known)))
        if name == "OUTPUT_DIR":
            raise ParameterError("OUTPUT_DIR is where the run's folder is: name it by -o (or output_dir)")
        if not _is_same_type(value, known[name]):
            raise ParameterError(
                f"{notebook}: {name} takes a value like {known[name]!r} ({type(known[name]).__name__}), "
                f"not {short_repr(value)} ({type(value).__name__}).{_value_hint(value, known[name])}"
            )
    try:
        check_parameters(known | parameters, [name for name in parameters if is_valid(name, known[name])], base=base)
    except ParameterError as error:
        raise ParameterError(f"{notebook}: {error}") from error


def _value_hint(value: Any, default: Any) -> str:
    if isinstance(default, list):
        return f" Write it as a list: [{str(value)[:60]}]."
    return " In YAML, text with a colon needs quotes." if isinstance(default, str) else ""


def _unknown_parameter(notebook: Path, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(str(name).upper(), known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    has = f"It has {', '.join(known)}." if known else "It has no cell tagged `parameters`."
    return f"{notebook} has no parameter {name}: {hint}{has}"


def _is_same_type(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        return all(_is_same_type(item, default[0]) for item in value) if default else True
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)
