"""Extract features of clips once, and keep them in the feature store.

A spectrogram (mel, MFCC) is stored with a tail of silence after its clip: padding a clip at its end only repeats the
last, silent frame, so one stored spectrogram serves every padded length, whatever clips are added later.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sernb import audio
from sernb import utils
from sernb.features.encoders import ENCODER
from sernb.features.encoders import ENCODER_PACKAGES
from sernb.features.encoders import encode
from sernb.features.encoders import encode_clips
from sernb.features.encoders import encoder_parameters
from sernb.features.functionals import compute_functionals
from sernb.features.functionals import egemaps
from sernb.features.spectral import HOP_LENGTH
from sernb.features.spectral import N_FFT
from sernb.features.spectral import audio_fingerprint
from sernb.features.spectral import mel
from sernb.features.spectral import mfcc
from sernb.features.spectral import zcr_rms
from sernb.features.store import FEATURE_TABLE
from sernb.features.store import PACKAGES
from sernb.features.store import decode_row
from sernb.features.store import delete
from sernb.features.store import extraction_locks
from sernb.features.store import frame_counts
from sernb.features.store import insert
from sernb.features.store import load_stacked
from sernb.features.store import missing_keys
from sernb.features.store import stack
from sernb.features.store import store_path

# Results are written in batches of this number of clips, or bytes: a killed run loses at most one batch.
MIN_BATCH_CLIPS = 128
MAX_PENDING_BYTES = 2**24
ENCODER_CLIPS = 16  # that are decoded, and then encoded, before the next ones
JOBS_PER_BLOCK = 256  # clips that are begun before the first result is taken: finished ones wait in memory

FEATURES: dict[str, Callable[..., np.ndarray]] = {
    "zcr_rms": zcr_rms,
    "mel": mel,
    "mfcc": mfcc,
    "fingerprint": audio_fingerprint,
    "functionals": compute_functionals,
    "egemaps": egemaps,
    ENCODER: encode,
}
CLIP_LEVEL = ("zcr_rms", "fingerprint", "functionals", "egemaps", ENCODER)  # one vector per clip, without frames
# They spend their time in NumPy and SciPy, which release Python's lock, so threads extract them: processes take seconds
# to start.
THREAD_SAFE = ("zcr_rms", "mel", "mfcc", "fingerprint")
REGISTERED: dict[str, tuple[Callable[..., np.ndarray], bool]] = {}  # and whether it describes a whole clip
OPTIONAL_PACKAGES = {"egemaps": ("opensmile",), ENCODER: ENCODER_PACKAGES}  # versions matter, as for `PACKAGES`
NO_OPENSMILE = (
    "eGeMAPS needs the package opensmile, which is not installed: `pip install opensmile`, or `sernb[egemaps]`. "
    "Its licence allows private, research and teaching use, nothing commercial, which is why it is an extra."
)


def register_feature(name: str, function: Callable[..., np.ndarray], *, clip_level: bool = False) -> None:
    """Add a feature of your own, for example from a notebook, to those that `extract` and the store know.

    A cell that is run again replaces it. What is stored is extracted again if the function's code changes, or that of
    what it uses (see `utils.source_digest`).

    Args:
        name: A name that no feature of `sernb` has.
        function: Called with a signal, shape (n,), the sample rate in Hz, and the feature's settings as keyword-only
            arguments with defaults. It returns float32 of shape (bands, frames), with frames of `N_FFT` samples centred
            `HOP_LENGTH` apart, or (numbers,) with `clip_level`.
        clip_level: Whether it describes a clip as a whole, by one vector.

    Raises:
        ValueError: The name is one of `sernb`'s own, or not an identifier.
    """
    if not name.isidentifier():
        raise ValueError(f"a feature's name has only letters, digits and underscores, no digit first (got {name!r})")
    if name in FEATURES and name not in REGISTERED:
        raise ValueError(f"sernb has a feature {name!r} already: choose another name than {', '.join(FEATURES)}")
    REGISTERED[name] = (function, clip_level)
    FEATURES[name] = function


def extract(
    rows: pd.DataFrame,
    feature: str,
    *,
    sample_rate: int,
    augmentation: str = "noise",
    seed: int = 0,
    n_jobs: int = -1,
    **parameters: int | str,
) -> np.ndarray:
    """Return a feature of every row, padded at its end to the longest clip; what is stored is not extracted again.

    Args:
        rows: `path` and `sha256` of each clip and, optionally, `copy`: 0 for the recording, 1 and up for augmented
            copies of it.
        feature: One of `FEATURES`.
        sample_rate: Clips are resampled to it, in Hz.
        augmentation: How the copies are made, see `audio.augment`.
        seed: Of the augmentation; each clip derives its own from it.
        n_jobs: Workers; -1 for one per core.
        **parameters: Of the feature.

    Returns:
        float32, row by row, of shape (n, 2) for `zcr_rms`, (n, 288) for `fingerprint`, (n, 824) for `functionals`,
        (n, 88) for `egemaps`, (n, 2 d) for an `encoder` of width d, (n, bands, frames) for `mel` and `mfcc`, `frames`
        being those of the longest clip.

    Raises:
        AudioError: A clip cannot be used (`split_usable` leaves those out); the others are in the store by then.
        ImportError: `egemaps` without the package opensmile.
        EncoderError: `encoder` without its packages, or with a model that cannot be used.
        StoreError: The store cannot be read or written.
    """
    plan = _make_plan(rows, {feature: parameters}, sample_rate, augmentation, seed)
    path = plan.paths[feature]
    if (array := load_stacked(path, plan.keys)) is not None:
        return array
    for attempt in range(3):  # damaged rows are extracted again, and at last the whole store
        if problems := _fill_missing(plan, n_jobs):
            raise _unusable_error(problems)
        array, damaged = stack(path, plan.keys)
        if not damaged:
            return array
        utils.run_transaction(path, functools.partial(delete, keys=damaged), FEATURE_TABLE)
        if attempt:
            utils.quarantine(path)
    raise utils.storage_error(path, f"{len(damaged)} arrays were damaged again as soon as they were written")


def count_frames(
    rows: pd.DataFrame,
    feature: str,
    *,
    sample_rate: int,
    augmentation: str = "noise",
    seed: int = 0,
    n_jobs: int = -1,
    **parameters: int | str,
) -> np.ndarray:
    """Return the number of frames of each row's own clip in what `extract` returns, without its padding; shape (n,).

    An augmented copy has its own number: a changed speed changes the length. The arguments are those of `extract`.
    """
    plan = _make_plan(rows, {feature: parameters}, sample_rate, augmentation, seed)
    if problems := _fill_missing(plan, n_jobs):
        raise _unusable_error(problems)
    frames = utils.run_transaction(plan.paths[feature], functools.partial(frame_counts, keys=plan.keys), FEATURE_TABLE)
    return np.array(frames, dtype=int)


def _unusable_error(problems: dict[str, audio.AudioError]) -> audio.AudioError:
    first = next(iter(problems.values()))
    more = f" {len(problems) - 1} more clips cannot be used." if len(problems) > 1 else ""
    return audio.AudioError(*first.args[:-1], f"{first.reason}. `sernb check` lists every such clip.{more}")


def fill_store(
    rows: pd.DataFrame, parameters: Mapping[str, Mapping[str, int | str]], *, sample_rate: int, n_jobs: int = -1
) -> pd.Series:
    """Extract several features of recordings into the store; each clip is decoded once for all that it lacks.

    Args:
        rows: `path` and `sha256` of each clip.
        parameters: The features that are needed, of `FEATURES`, with the parameters of each.
        sample_rate: In Hz, for all features.
        n_jobs: Workers; -1 for one per core.

    Returns:
        For each row why its clip cannot be used; an empty text if it can.
    """
    plan = _make_plan(rows.assign(copy=0), parameters, sample_rate, "", 0)
    problems = _fill_missing(plan, n_jobs)
    return pd.Series([problems[key].reason if key in problems else "" for key in plan.keys], rows.index, dtype=str)


def split_usable(
    rows: pd.DataFrame,
    feature: str,
    *,
    sample_rate: int,
    also: Sequence[str] = (),
    strict: bool = False,
    n_jobs: int = -1,
    **parameters: int | str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate the clips that can be trained on from those that cannot, by extracting a feature that is needed anyway.

    Args:
        rows: The clip table; its recordings' feature is in the store afterwards.
        feature: One of `FEATURES`.
        sample_rate: In Hz.
        also: Further features, with their default parameters: a clip is decoded once for all.
        strict: Stop at a clip that cannot be used.
        n_jobs: Workers; -1 for one per core.
        **parameters: Of the feature.

    Returns:
        The usable rows, and the others with the reason as `problem`; `describe_unusable` sums those up.

    Raises:
        AudioError: A clip cannot be used and `strict` forbids that, or no clip can be used.
    """
    problems = fill_store(
        rows, {**{name: {} for name in also}, feature: parameters}, sample_rate=sample_rate, n_jobs=n_jobs
    )
    usable, unusable = rows[problems == ""], rows.assign(problem=problems)[problems != ""]
    if len(unusable) and (strict or usable.empty):
        raise audio.AudioError(_list_unusable(unusable, len(rows)))
    return usable.reset_index(drop=True), unusable.reset_index(drop=True)


def _list_unusable(unusable: pd.DataFrame, total: int) -> str:
    first = zip(unusable["clip"].head(5), unusable["problem"].head(5), strict=True)
    lines = [f"{audio.escape_control_characters(clip)}: {problem}" for clip, problem in first]
    more = [f"... and {len(unusable) - 5} more"] if len(unusable) > 5 else []
    return "\n".join([f"{len(unusable)} of {total} clips cannot be used:", *lines, *more])


def describe_unusable(usable: pd.DataFrame, unusable: pd.DataFrame) -> str:
    """Return a sentence on the clips that `split_usable` left out, without their names; empty where there are none."""
    counts = unusable["problem"].str.split(":").str[0].value_counts()
    reasons = ", ".join(f"{reason} ({number})" for reason, number in counts.items())
    total = len(usable) + len(unusable)
    return f"**Left out:** {len(unusable)} of {total} clips: {reasons}." if reasons else ""


# from clips to the store


@dataclass(frozen=True)
class ExtractionPlan:
    """What has to be in the store: the key of each row, each key's clip, and the recipe and file of each feature."""

    keys: list[str]
    clips: dict[str, dict]
    recipes: dict[str, dict]
    paths: dict[str, Path]
    augmentation: str
    seed: int


def _make_plan(
    rows: pd.DataFrame,
    parameters: Mapping[str, Mapping[str, int | str]],
    sample_rate: int,
    augmentation: str,
    seed: int,
) -> ExtractionPlan:
    records = rows.to_dict("records")
    copies = _augmentation_version() if rows.get("copy", pd.Series([0])).any() else ""
    keys = [_row_key(row, augmentation, seed, copies) for row in records]
    recipes = {name: _make_recipe(name, sample_rate, settings) for name, settings in parameters.items()}
    paths = {name: _feature_path(name, recipe) for name, recipe in recipes.items()}
    return ExtractionPlan(keys, dict(zip(keys, records, strict=True)), recipes, paths, augmentation, seed)


def _make_recipe(name: str, sample_rate: int, settings: Mapping[str, int | str]) -> dict:
    settings = {**default_parameters(FEATURES[name]), **settings}
    if name == ENCODER:
        settings = encoder_parameters(**settings)
    return {"feature": name, "sample_rate": sample_rate, **settings}


def _feature_path(name: str, recipe: dict) -> Path:
    """Return the store's file for a feature as the present code and packages compute it."""
    if name == ENCODER:  # known by its revision: a folder may be moved
        recipe = {setting: value for setting, value in recipe.items() if setting != "model"}
    code = utils.source_digest([FEATURES[name], _decode_clip, _extract_frames, insert, decode_row])
    try:
        return store_path(recipe, code, PACKAGES + OPTIONAL_PACKAGES.get(name, ()))
    except PackageNotFoundError as error:
        raise ImportError(NO_OPENSMILE) from error


def _row_key(row: dict, augmentation: str, seed: int, copies: str) -> str:
    if not row["sha256"]:
        return f"unread {row['path']}"  # never stored: see `_decode_clip`
    if not row.get("copy", 0):
        return row["sha256"]
    return f"{row['sha256']}:{augmentation}:{row['copy']}:{seed}:{copies}"


def _augmentation_version() -> str:
    return f"nlpaug-{version('nlpaug')}:{utils.source_digest([_augment_clip])[:12]}"


def default_parameters(function: Callable) -> dict[str, int | str]:
    """Return a feature's default settings, so that a default and the same value spelt out share one store."""
    settings = inspect.signature(function).parameters.values()
    return {setting.name: setting.default for setting in settings if setting.kind is setting.KEYWORD_ONLY}


def _missing(plan: ExtractionPlan) -> dict[str, list[str]]:
    """Return the features that the store lacks of each clip, by the clip's key."""
    missing: dict[str, list[str]] = {}
    for name, path in plan.paths.items():
        for key in utils.run_transaction(path, functools.partial(missing_keys, keys=plan.clips), FEATURE_TABLE):
            missing.setdefault(key, []).append(name)
    return missing


def _fill_missing(plan: ExtractionPlan, n_jobs: int) -> dict[str, audio.AudioError]:
    """Extract what the store lacks; of several processes that lack the same, one does it and the others wait.

    Returns:
        The errors of clips that cannot be used, by their keys.
    """
    if not _missing(plan):
        return {}
    with extraction_locks([f"{path.name} {key}" for key in plan.clips] for path in plan.paths.values()):
        return _extract_missing(plan, _missing(plan), n_jobs)


def _extract_missing(plan: ExtractionPlan, missing: dict[str, list[str]], n_jobs: int) -> dict[str, audio.AudioError]:
    jobs = [
        (plan.clips[key], [plan.recipes[name] for name in names], plan.augmentation, plan.seed)
        for key, names in missing.items()
    ]
    copies = sum(bool(row.get("copy", 0)) for row, *_ in jobs)
    what = f"{len(jobs) - copies} clips" + (f" and {copies} augmented copies" if copies else "")
    bar = utils.progress_bar(_run_jobs(jobs, n_jobs), total=len(jobs), desc=f"features of {what}")
    pending: dict[str, list] = {name: [] for name in plan.paths}
    problems = {}
    try:
        for (key, names), results in zip(missing.items(), bar, strict=True):
            if isinstance(results, audio.AudioError):
                problems[key] = results
                continue
            for name, result in zip(names, results, strict=True):
                pending[name].append((key, *result))
            _flush(plan, {name: batch for name, batch in pending.items() if _should_flush(batch)})
    finally:
        _flush(plan, pending)
    return problems


def _should_flush(batch: list) -> bool:
    return len(batch) >= MIN_BATCH_CLIPS or (len(batch) > 0 and len(batch) * batch[-1][2].nbytes >= MAX_PENDING_BYTES)


def _flush(plan: ExtractionPlan, pending: dict[str, list]) -> None:
    for name, batch in pending.items():
        if batch:
            utils.run_transaction(plan.paths[name], functools.partial(insert, results=batch), FEATURE_TABLE)


# workers


def _run_jobs(jobs: Sequence[tuple], n_jobs: int) -> Iterator[list[tuple[int, np.ndarray]] | audio.AudioError]:
    names = [{recipe["feature"] for recipe in recipes} for _, recipes, *_ in jobs]
    if names and all(name == {ENCODER} for name in names):  # there are no jobs if another process was faster
        return _run_encoder(jobs)
    if n_jobs == 1 or len(jobs) < 24 or {ENCODER} <= set().union(*names):  # starting processes costs seconds
        return _run_serially(jobs)
    threads = all(recipe["feature"] in THREAD_SAFE for _, recipes, *_ in jobs for recipe in recipes)
    # Only one thread at a time may augment (see `audio.seeded_global_rng`): noise is quick, a change of pitch is not.
    threads &= all(augmentation == "noise" or not row.get("copy", 0) for row, _, augmentation, _ in jobs)
    return _run_in_threads(jobs, n_jobs) if threads else _run_in_processes(jobs, n_jobs)


def _try_extract(*job: Any) -> list[tuple[int, np.ndarray]] | audio.AudioError:
    """Return an error instead of raising it: raised, it would lose what other workers are computing."""
    try:
        return extract_clip(*job)
    except audio.AudioError as error:
        return error


def _try_extract_with(
    registered: Mapping[str, tuple[Callable[..., np.ndarray], bool]], *job: Any
) -> list[tuple[int, np.ndarray]] | audio.AudioError:
    """Call `_try_extract` in a process that may not know the registered features."""
    for name, (function, clip_level) in registered.items():
        register_feature(name, function, clip_level=clip_level)
    return _try_extract(*job)


def _run_serially(jobs: Iterable[tuple]) -> Iterator[list[tuple[int, np.ndarray]] | audio.AudioError]:
    from threadpoolctl import threadpool_limits

    # As joblib's processes, which have one BLAS thread each: the last digits must not depend on the number of jobs.
    with threadpool_limits(1, user_api="blas"):
        yield from (_try_extract(*job) for job in jobs)


def _run_encoder(jobs: Sequence[tuple]) -> Iterator[list[tuple[int, np.ndarray]] | audio.AudioError]:
    """Encode some clips at a time in this process: several processes would each load the encoder."""
    settings = dict(jobs[0][1][0])
    settings.pop("feature")
    for start in range(0, len(jobs), ENCODER_CLIPS):
        loaded = [_try_load(row, settings["sample_rate"], *how) for row, _, *how in jobs[start : start + ENCODER_CLIPS]]
        signals = [signal for signal in loaded if not isinstance(signal, audio.AudioError)]
        vectors = iter(encode_clips(signals, **settings) if signals else ())
        yield from (item if isinstance(item, audio.AudioError) else [(0, next(vectors))] for item in loaded)


def _run_in_threads(jobs: Sequence[tuple], n_jobs: int) -> Iterator[list[tuple[int, np.ndarray]] | audio.AudioError]:
    from joblib import Parallel
    from joblib import delayed
    from threadpoolctl import threadpool_limits

    audio.compile_librosa()
    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator", batch_size=8)
    with threadpool_limits(1, user_api="blas"):
        for block in _job_blocks(jobs):
            yield from parallel(delayed(_try_extract)(*job) for job in block)


def _run_in_processes(jobs: Sequence[tuple], n_jobs: int) -> Iterator[list[tuple[int, np.ndarray]] | audio.AudioError]:
    from joblib import Parallel
    from joblib import delayed
    from joblib.externals.loky import get_reusable_executor

    audio.compile_librosa()
    parallel = Parallel(n_jobs=n_jobs, return_as="generator", batch_size=8, max_nbytes=None)
    try:
        for block in _job_blocks(jobs):
            yield from parallel(delayed(_try_extract_with)(REGISTERED, *job) for job in block)
    finally:
        # Idle processes would keep their memory during the training that follows.
        get_reusable_executor().shutdown(wait=True)


def _job_blocks(jobs: Sequence[tuple]) -> Iterator[Sequence[tuple]]:
    """Return the jobs in blocks: joblib does not wait for its results to be taken, and could come to hold them all."""
    return (jobs[start : start + JOBS_PER_BLOCK] for start in range(0, len(jobs), JOBS_PER_BLOCK))


def extract_clip(row: dict, recipes: Sequence[dict], augmentation: str, seed: int) -> list[tuple[int, np.ndarray]]:
    """Decode one clip, augment it if the row is a copy, and extract features that share one sample rate.

    Returns:
        For each recipe the number of frames of the clip itself (0 for a feature without any), and the array to store.
    """
    signal = _load_clip(row, recipes[0]["sample_rate"], augmentation, seed)
    return [extract_signal(signal, recipe) for recipe in recipes]


def _load_clip(row: dict, sample_rate: int, augmentation: str, seed: int) -> np.ndarray:
    signal = _decode_clip(row, sample_rate)
    return _augment_clip(signal, sample_rate, row, augmentation, seed) if row.get("copy", 0) else signal


def _try_load(*job: Any) -> np.ndarray | audio.AudioError:
    try:
        return _load_clip(*job)
    except audio.AudioError as error:
        return error


def _decode_clip(row: dict, sample_rate: int) -> np.ndarray:
    if not row["sha256"]:  # a clip that could not be read when the corpus was loaded has no key
        reason = audio.access_problem(row["path"]) or "could not be read when the corpus was loaded: load it again"
        raise audio.AudioError(row["path"], reason)
    return audio.load(row["path"], sample_rate, training=True)


def _augment_clip(signal: np.ndarray, sample_rate: int, row: dict, augmentation: str, seed: int) -> np.ndarray:
    clip_seed = audio.clip_seed(row["sha256"], row["copy"], seed)
    return audio.augment(signal, sample_rate, augmentation, seed=clip_seed)


def extract_signal(signal: np.ndarray, recipe: dict) -> tuple[int, np.ndarray]:
    """Return the number of frames of a signal itself (0 for a feature without frames) and the array to store.

    Args:
        signal: Samples, shape (n,).
        recipe: `feature`, `sample_rate` in Hz and the feature's parameters.
    """
    settings = dict(recipe)
    name, sample_rate = settings.pop("feature"), settings.pop("sample_rate")
    if name in CLIP_LEVEL or REGISTERED.get(name, (None, False))[1]:
        return 0, FEATURES[name](signal, sample_rate, **settings)
    return _extract_frames(FEATURES[name], signal, sample_rate, settings)


def _extract_frames(
    function: Callable[..., np.ndarray], signal: np.ndarray, sample_rate: int, settings: dict
) -> tuple[int, np.ndarray]:
    # The last frame of this tail is centred more than half a window after the clip: it holds silence alone.
    length = len(signal) + N_FFT // 2 + HOP_LENGTH
    array, frames = function(audio.pad(signal, length), sample_rate, **settings), 1 + length // HOP_LENGTH
    if array.ndim != 2 or array.shape[1] != frames:  # it would be cut or padded silently
        raise ValueError(
            f"the feature function {function.__name__} must return the shape (bands, {frames}), of frames {HOP_LENGTH} "
            f"samples apart (got {array.shape}). Register a feature of one vector per clip with clip_level=True."
        )
    return 1 + len(signal) // HOP_LENGTH, array
