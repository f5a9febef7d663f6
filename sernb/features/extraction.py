"""A row becomes a feature, extracted once and kept in the feature store.

A picture (mel, MFCC) is kept with a tail of silence after its clip: padding a clip at its end only repeats the last,
silent frame, so one stored picture serves every padded length, and a longer clip added later spoils nothing.
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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sernb import audio
from sernb import utils
from sernb.features.functionals import compute_functionals
from sernb.features.spectral import HOP_LENGTH
from sernb.features.spectral import N_FFT
from sernb.features.spectral import audio_fingerprint
from sernb.features.spectral import mel
from sernb.features.spectral import mfcc
from sernb.features.spectral import zcr_rms
from sernb.features.stacked import load_stacked
from sernb.features.stacked import stack
from sernb.features.store import FEATURE_TABLE
from sernb.features.store import delete
from sernb.features.store import extraction_locks
from sernb.features.store import insert
from sernb.features.store import missing_keys
from sernb.features.store import store_path

MIN_BATCH_CLIPS, MAX_PENDING_BYTES = (
    128,
    2**24,
)  # clips, or bytes, whose features are written at once: a killed run loses no more
JOBS_PER_BLOCK = 256  # clips that are begun before the first of them is asked for: those done wait in memory
# Raise it when stored features would no longer be what this module computes.
STORE_VERSION = 4


FEATURES: dict[str, Callable[..., np.ndarray]] = {
    "zcr_rms": zcr_rms,
    "mel": mel,
    "mfcc": mfcc,
    "fingerprint": audio_fingerprint,
    "functionals": compute_functionals,
}
CLIP_LEVEL = (zcr_rms, audio_fingerprint, compute_functionals)  # without frames
# NumPy and SciPy alone, which let other threads run: these are done by threads, where processes take seconds to start.
THREAD_SAFE = ("zcr_rms", "mel", "mfcc", "fingerprint")


def extract(
    rows: pd.DataFrame,
    feature: str,
    *,
    sample_rate: int,
    augmentation: str = "noise",
    seed: int = 0,
    n_jobs: int = -1,
    **parameters: int,
) -> np.ndarray:
    """The feature of every row, padded at its end to the longest clip; what is in the store is not extracted again.

    Args:
        rows: `path` and `sha256` of each clip, and `copy`, if there: 0 for the recording, 1 and up for augmented
            copies of it.
        feature: One of `FEATURES`.
        sample_rate: Clips are resampled to it, in Hz.
        augmentation: What was done to the copies, see `audio.augment`.
        seed: Of the augmentation; each clip derives its own from it.
        n_jobs: Workers; -1 for one a core.
        **parameters: Of the feature.

    Returns:
        float32, row by row, of shape (n, 2) for `zcr_rms`, (n, 288) for `fingerprint`, (n, 824) for `functionals`,
        (n, bands, frames) for the pictures, `frames` being those of the longest clip.

    Raises:
        AudioError: A clip cannot be used (`usable` leaves those out); the others are in the store by then.
        StoreError: The store cannot be read or written.
    """
    plan = _make_plan(rows, {feature: parameters}, sample_rate, augmentation, seed)
    place = plan.places[feature]
    if (array := load_stacked(place, plan.keys)) is not None:
        return array
    for attempt in range(3):  # what is damaged in the store is made again, and at last the store itself
        if bad := _fill_missing(plan, n_jobs):
            raise _unusable_error(bad)
        array, damaged = stack(place, plan.keys)
        if not damaged:
            return array
        utils.run_transaction(place, functools.partial(delete, keys=damaged), FEATURE_TABLE)
        if attempt:
            utils.quarantine(place)
    raise utils.storage_error(place, f"{len(damaged)} arrays are damaged again, as soon as they are written")


def _unusable_error(bad: dict[str, audio.AudioError]) -> audio.AudioError:
    first = next(iter(bad.values()))
    more = f" And {len(bad) - 1} more clips cannot be used." if len(bad) > 1 else ""
    return audio.AudioError(*first.args[:-1], f"{first.reason}. `sernb check` lists every such clip.{more}")


def fill_store(
    rows: pd.DataFrame, wanted: Mapping[str, Mapping[str, int]], *, sample_rate: int, n_jobs: int = -1
) -> pd.Series:
    """Bring several features of recordings into the store: a clip is decoded once for all that it lacks.

    Args:
        rows: `path` and `sha256` of each clip.
        wanted: The parameters of each of `FEATURES` that is wanted.
        sample_rate: In Hz, of all of them.
        n_jobs: Workers; -1 for one a core.

    Returns:
        For each row why its clip cannot be used; empty if it can.
    """
    plan = _make_plan(rows.assign(copy=0), wanted, sample_rate, "", 0)
    bad = _fill_missing(plan, n_jobs)
    return pd.Series([bad[key].reason if key in bad else "" for key in plan.keys], rows.index, dtype=str)


def split_usable(
    rows: pd.DataFrame,
    feature: str,
    *,
    sample_rate: int,
    also: Sequence[str] = (),
    strict: bool = False,
    n_jobs: int = -1,
    **parameters: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tell the clips that can be trained on from those that cannot, by extracting a feature that is needed anyway.

    Args:
        rows: The clip table; its recordings' feature is in the store afterwards.
        feature: One of `FEATURES`.
        sample_rate: In Hz.
        also: Further features, with their own settings, that will be wanted: a clip is decoded once for all.
        strict: Stop at a clip that cannot be used.
        n_jobs: Workers; -1 for one a core.
        **parameters: Of the feature.

    Returns:
        The rows that can be used, and those that cannot, with `problem`; `left_out` tells how many.

    Raises:
        AudioError: A clip cannot be used and `strict` forbids that, or none can.
    """
    wanted = {**{name: {} for name in also}, feature: parameters}
    problems = fill_store(rows, wanted, sample_rate=sample_rate, n_jobs=n_jobs)
    kept, out = rows[problems == ""], rows.assign(problem=problems)[problems != ""]
    if len(out) and (strict or kept.empty):
        raise audio.AudioError(_list_unusable(out, len(rows)))
    return kept.reset_index(drop=True), out.reset_index(drop=True)


def _list_unusable(out: pd.DataFrame, of: int) -> str:
    clips = zip(out["clip"].head(5), out["problem"].head(5), strict=True)
    shown = [f"{audio.escape_control_characters(clip)}: {problem}" for clip, problem in clips]
    more = [f"... and {len(out) - 5} more"] if len(out) > 5 else []
    return "\n".join([f"{len(out)} of {of} clips cannot be used:", *shown, *more])


def describe_unusable(kept: pd.DataFrame, out: pd.DataFrame) -> str:
    """A sentence for the page on what `usable` has left out, without names; empty where that is nothing."""
    reasons = out["problem"].str.split(":").str[0].value_counts()
    told = ", ".join(f"{reason} ({number})" for reason, number in reasons.items())
    return f"**Left out:** {len(out)} of {len(kept) + len(out)} clips: {told}." if told else ""


# from clips to the store


@dataclass(frozen=True)
class ExtractionPlan:
    """What is to be in the store: the key of each row, its clip by key; the recipe and the place of each feature."""

    keys: list[str]
    clips: dict[str, dict]
    recipes: dict[str, dict]
    places: dict[str, Path]
    augmentation: str
    seed: int


def _make_plan(
    rows: pd.DataFrame, wanted: Mapping[str, Mapping[str, int]], sample_rate: int, augmentation: str, seed: int
) -> ExtractionPlan:
    records = rows.to_dict("records")
    keys = [_row_key(row, augmentation, seed) for row in records]
    recipes = {
        name: {"feature": name, "sample_rate": sample_rate, **default_parameters(FEATURES[name]), **parameters}
        for name, parameters in wanted.items()
    }
    places = {name: store_path(recipe, version=STORE_VERSION) for name, recipe in recipes.items()}
    return ExtractionPlan(keys, dict(zip(keys, records, strict=True)), recipes, places, augmentation, seed)


def _row_key(row: dict, augmentation: str, seed: int) -> str:
    if not row["sha256"]:
        return f"unread {row['path']}"  # nothing is kept under it: see `compute`
    if not row.get("copy", 0):
        return row["sha256"]
    return f"{row['sha256']}:{augmentation}:{row['copy']}:{seed}:nlpaug-{_nlpaug_version()}"


@functools.cache
def _nlpaug_version() -> str:
    return version("nlpaug")


def default_parameters(function: Callable) -> dict[str, int]:
    """A feature's own settings, so that a default and the same value spelt out share one store."""
    settings = inspect.signature(function).parameters.values()
    return {setting.name: setting.default for setting in settings if setting.kind is setting.KEYWORD_ONLY}


def _missing(plan: ExtractionPlan) -> dict[str, list[str]]:
    """The features that the store lacks of each clip, by its key."""
    found: dict[str, list[str]] = {}
    for name, place in plan.places.items():
        for key in utils.run_transaction(place, lambda there: missing_keys(there, plan.clips), FEATURE_TABLE):
            found.setdefault(key, []).append(name)
    return found


def _fill_missing(plan: ExtractionPlan, n_jobs: int) -> dict[str, audio.AudioError]:
    """Compute and keep what the store lacks; of several processes that lack the same one does it, the others wait.

    Returns:
        The clips that cannot be used, by their keys.
    """
    if not _missing(plan):
        return {}
    with extraction_locks([f"{place.name} {key}" for key in plan.clips] for place in plan.places.values()):
        return _compute_missing(plan, _missing(plan), n_jobs)


def _compute_missing(plan: ExtractionPlan, todo: dict[str, list[str]], n_jobs: int) -> dict[str, audio.AudioError]:
    jobs = [
        (plan.clips[key], [plan.recipes[name] for name in names], plan.augmentation, plan.seed)
        for key, names in todo.items()
    ]
    bar = utils.progress_bar(_run_jobs(jobs, n_jobs), total=len(jobs), desc=f"features of {len(jobs)} clips")
    done: dict[str, list] = {name: [] for name in plan.places}
    bad = {}
    try:
        for (key, names), results in zip(todo.items(), bar, strict=True):
            if isinstance(results, audio.AudioError):
                bad[key] = results
                continue
            for name, result in zip(names, results, strict=True):
                done[name].append((key, *result))
            _flush(plan, {name: some for name, some in done.items() if _should_flush(some)})
    finally:
        _flush(plan, done)
    return bad


def _should_flush(some: list) -> bool:
    return len(some) >= MIN_BATCH_CLIPS or (len(some) > 0 and len(some) * some[-1][2].nbytes >= MAX_PENDING_BYTES)


def _flush(plan: ExtractionPlan, done: dict[str, list]) -> None:
    for name, some in done.items():
        if some:
            utils.run_transaction(plan.places[name], functools.partial(insert, done=some), FEATURE_TABLE)


def _run_jobs(jobs: Sequence[tuple], n_jobs: int) -> Iterator[list[tuple[int, np.ndarray]] | audio.AudioError]:
    light = all(recipe["feature"] in THREAD_SAFE for _, recipes, *_ in jobs for recipe in recipes)
    # One thread at a time may augment (see `audio.seeded_global_rng`); noise is made in a moment, a change of pitch is not.
    light &= all(augmentation == "noise" or not row.get("copy", 0) for row, _, augmentation, _ in jobs)
    # Starting processes costs seconds: a handful of clips is quicker without.
    if n_jobs == 1 or len(jobs) < 24:
        return _run_serially(jobs)
    return _run_in_threads(jobs, n_jobs) if light else _run_in_processes(jobs, n_jobs)


def _try_extract(*job: Any) -> list[tuple[int, np.ndarray]] | audio.AudioError:
    """A bad clip is an answer like others: raised, it would cost those that other workers have under way."""
    try:
        return extract_clip(*job)
    except audio.AudioError as error:
        return error


def _run_serially(jobs: Iterable[tuple]) -> Iterator[list[tuple[int, np.ndarray]] | audio.AudioError]:
    from threadpoolctl import threadpool_limits

    # joblib's processes have one BLAS thread each; so here, or the last digits would depend on the number of jobs.
    with threadpool_limits(1, user_api="blas"):
        yield from (_try_extract(*job) for job in jobs)


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
            yield from parallel(delayed(_try_extract)(*job) for job in block)
    finally:
        # Idle processes would keep their memory throughout the training that follows.
        get_reusable_executor().shutdown(wait=True)


def _job_blocks(jobs: Sequence[tuple]) -> Iterator[Sequence[tuple]]:
    """Joblib goes on whether or not its results are taken: given all at once it could come to hold them all."""
    return (jobs[start : start + JOBS_PER_BLOCK] for start in range(0, len(jobs), JOBS_PER_BLOCK))


def extract_clip(row: dict, recipes: Sequence[dict], augmentation: str, seed: int) -> list[tuple[int, np.ndarray]]:
    """Decode one clip, augment it if the row is a copy, and extract features that want it at one rate.

    Returns:
        For each the frames of the clip itself (0 for a feature without frames), and the array to keep.
    """
    if not row["sha256"]:  # what could not be read when the table was made has no name in the store
        reason = audio.access_problem(row["path"]) or "could not be read when the corpus was loaded: load it again"
        raise audio.AudioError(row["path"], reason)
    sample_rate = recipes[0]["sample_rate"]
    signal = audio.load(row["path"], sample_rate, training=True)
    if copy := row.get("copy", 0):
        clip_seed = audio.clip_seed(row["sha256"], copy, seed)
        signal = audio.augment(signal, sample_rate, augmentation, seed=clip_seed)
    return [extract_signal(signal, recipe) for recipe in recipes]


def extract_signal(signal: np.ndarray, recipe: dict) -> tuple[int, np.ndarray]:
    settings = dict(recipe)
    function, sample_rate = FEATURES[settings.pop("feature")], settings.pop("sample_rate")
    if function in CLIP_LEVEL:
        return 0, function(signal, sample_rate, **settings)
    # The last frame of this tail is centred more than half a window behind the clip: it hears silence alone.
    length = len(signal) + N_FFT // 2 + HOP_LENGTH
    array, frames = function(audio.pad(signal, length), sample_rate, **settings), 1 + length // HOP_LENGTH
    if array.ndim != 2 or array.shape[1] != frames:  # it would be cut, or padded, without a word
        raise ValueError(
            f"{recipe['feature']} gives an array of shape {array.shape}; with frames {HOP_LENGTH} samples apart it has "
            f"(bands, {frames}), without frames it is one of NUMBERS."
        )
    return 1 + len(signal) // HOP_LENGTH, array
