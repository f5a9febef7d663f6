"""Floor 1: a row becomes a feature, extracted once and kept in the feature store.

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

from sernb import assembled
from sernb import audio
from sernb import decoding
from sernb import functionals
from sernb import large
from sernb import store
from sernb.progress import progress

HOP_LENGTH = 512
N_FFT = 2048
SILENT = 1e-10  # what librosa takes for zero when it looks for crossings
CHUNK, ENOUGH = 128, 2**24  # clips, or bytes, whose features are written at once: a killed run loses no more
BLOCK = 256  # clips that are begun before the first of them is asked for: those done wait in memory
# Raise it when stored features would no longer be what this module computes.
VERSION = 4


def zcr_rms(signal: np.ndarray, sample_rate: int, *, length: int = 0) -> np.ndarray:
    """Mean zero-crossing rate and mean RMS energy over frames of 2048 samples, 512 apart: librosa's.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz; neither number depends on it.
        length: Zero-pad the clip to so many samples first, as study A does: both means then encode how long the
            clip is. 0 leaves the clip as it is.

    Returns:
        Crossings per sample and RMS energy, shape (2,).
    """
    frames = 1 + max(len(signal), length) // HOP_LENGTH
    # Frames that hear the padding alone are zero in both, and need only be counted.
    padded = audio.pad(signal, min(length, len(signal) + N_FFT))
    return np.array([_zero_crossing_rate(padded).sum() / frames, _rms(padded).sum() / frames], dtype=np.float32)


def _zero_crossing_rate(signal: np.ndarray) -> np.ndarray:
    """librosa's; but each crossing is looked for once, and not in all of the four frames that it falls into."""
    below = signal < -SILENT
    crossings = 1 + np.flatnonzero(below[1:] != below[:-1])
    starts = np.arange(0, len(signal) + 1, HOP_LENGTH) - N_FFT // 2
    # The first sample of a frame has none before it that it could differ from.
    return (np.searchsorted(crossings, starts + N_FFT) - np.searchsorted(crossings, starts + 1)) / N_FFT


def _rms(signal: np.ndarray) -> np.ndarray:
    """librosa's; but each sample is squared once: a frame is four hops that others share."""
    whole, rest = np.split(signal, [len(signal) // HOP_LENGTH * HOP_LENGTH])
    hops = whole.reshape(-1, HOP_LENGTH)
    energy = np.concatenate([[0, 0], np.einsum("ij,ij->i", hops, hops), [rest @ rest, 0]])
    return np.sqrt(np.lib.stride_tricks.sliding_window_view(energy, N_FFT // HOP_LENGTH).sum(axis=1) / N_FFT)


def mel(signal: np.ndarray, sample_rate: int, *, n_mels: int = 128) -> np.ndarray:
    """Librosa's mel spectrogram as power (Slaney's mel scale, n_fft 2048, hop 512); shape (n_mels, frames).

    In single precision, and of the filters only what is not zero: three times as fast as
    `librosa.feature.melspectrogram`, from which it differs by less than a millionth of the clip's maximum.
    """
    from scipy.fft import rfft

    centred = np.pad(signal.astype(np.float32, copy=False), N_FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(centred, N_FFT)[::HOP_LENGTH]
    spectrum = rfft(frames * _window(), axis=1)
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    return _filters(sample_rate, n_mels) @ power.T


@functools.cache
def _window() -> np.ndarray:
    import librosa

    return librosa.filters.get_window("hann", N_FFT).astype(np.float32)


@functools.cache
def _filters(sample_rate: int, n_mels: int) -> Any:
    import librosa
    from scipy.sparse import csr_array

    return csr_array(librosa.filters.mel(sr=sample_rate, n_fft=N_FFT, n_mels=n_mels))


def mfcc(signal: np.ndarray, sample_rate: int, *, n_mfcc: int = 100) -> np.ndarray:
    """Librosa's mel-frequency cepstral coefficients (128 mel bands, n_fft 2048, hop 512); shape (n_mfcc, frames)."""
    import librosa

    return librosa.feature.mfcc(S=librosa.power_to_db(mel(signal, sample_rate)), n_mfcc=n_mfcc)


def fingerprint(signal: np.ndarray, sample_rate: int) -> np.ndarray:
    """What a copy of a recording keeps at another rate, level or codec, or with silence added at its ends.

    A mel spectrogram of 12 bands (150 to 3,400 Hz, a frame each 10 ms) in dB, of which the upper 30 count, smoothed in
    time: its Fourier transform over the frames at 12 modulation frequencies up to 9 Hz. Time is counted from the
    spectrogram's centre of gravity, so that nothing depends on where the sound begins.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz, at least 8,000.

    Returns:
        A vector of length 1, or of zeros for silence; shape (288,), float32.
    """
    import librosa

    window, hop = sample_rate * 32 // 1000, sample_rate // 100
    power = librosa.feature.melspectrogram(
        y=audio.pad(signal, window), sr=sample_rate, n_fft=window, hop_length=hop, n_mels=12, fmin=150, fmax=3400
    )
    if not power.max() > 1e-10:
        return np.zeros(288, dtype=np.float32)
    loud = np.maximum(0, 30 + librosa.power_to_db(power, ref=np.max, amin=1e-20))
    seconds = np.arange(power.shape[1]) * hop / sample_rate
    seconds -= loud.sum(axis=0) @ seconds / loud.sum()
    waves = loud @ np.exp(-2j * np.pi * np.outer(seconds, 0.75 * np.arange(1, 13)))
    vector = np.concatenate([waves.real.ravel(), waves.imag.ravel()])
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def pitch(signal: np.ndarray, sample_rate: int, *, low: float = 65.0, high: float = 600.0) -> np.ndarray:
    """Fundamental frequency of each frame in Hz by YIN, NaN where the voice is not periodic; shape (frames,).

    A frame is voiced if it is less than 35 dB below the loudest one and resembles itself one period later (normalised
    correlation above 0.5). That is cruder than librosa's pYIN and thirty times as fast.
    """
    import librosa

    frame = 2 * int(np.ceil(sample_rate / low))
    f0 = librosa.yin(signal, fmin=low, fmax=high, sr=sample_rate, frame_length=frame, hop_length=HOP_LENGTH)
    frames = librosa.util.frame(np.pad(signal, frame // 2), frame_length=frame, hop_length=HOP_LENGTH).T[: len(f0)]
    level = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-10)
    lags = np.round(sample_rate / f0[: len(frames)]).astype(int)
    alike = [_correlation(one[lag:], one[:-lag]) for one, lag in zip(frames, lags, strict=True)]
    voiced = (level > level.max() - 35) & (np.array(alike) > 0.5)
    return np.where(voiced, f0[: len(frames)], np.nan)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt(max((a @ a) * (b @ b), 1e-20)))


FEATURES: dict[str, Callable[..., np.ndarray]] = {
    "zcr_rms": zcr_rms,
    "mel": mel,
    "mfcc": mfcc,
    "fingerprint": fingerprint,
    "functionals": functionals.functionals,
}
NUMBERS = (zcr_rms, fingerprint, functionals.functionals)  # without frames
# NumPy and SciPy alone, which let other threads run: these are done by threads, where processes take seconds to start.
LIGHT = ("zcr_rms", "mel", "mfcc", "fingerprint")


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
    plan = _planned(rows, {feature: parameters}, sample_rate, augmentation, seed)
    place = plan.places[feature]
    if (array := assembled.load(place, plan.keys)) is not None:
        return array
    for attempt in range(3):  # what is damaged in the store is made again, and at last the store itself
        if bad := _fill(plan, n_jobs):
            raise _refusal(bad)
        array, damaged = assembled.make(place, plan.keys)
        if not damaged:
            return array
        store.working(place, functools.partial(store.drop, keys=damaged))
        if attempt:
            store.put_away(place)
    raise store.trouble(place, f"{len(damaged)} arrays are damaged again, as soon as they are written")


def _refusal(bad: dict[str, audio.AudioError]) -> audio.AudioError:
    first = next(iter(bad.values()))
    more = f" And {len(bad) - 1} more clips cannot be used." if len(bad) > 1 else ""
    return audio.AudioError(*first.args[:-1], f"{first.reason}. `sernb check` lists every such clip.{more}")


def gather(
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
    plan = _planned(rows.assign(copy=0), wanted, sample_rate, "", 0)
    bad = _fill(plan, n_jobs)
    return pd.Series([bad[key].reason if key in bad else "" for key in plan.keys], rows.index, dtype=str)


def usable(
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
    problems = gather(rows, wanted, sample_rate=sample_rate, n_jobs=n_jobs)
    kept, out = rows[problems == ""], rows.assign(problem=problems)[problems != ""]
    if len(out) and (strict or kept.empty):
        raise audio.AudioError(_listed(out, len(rows)))
    return kept.reset_index(drop=True), out.reset_index(drop=True)


def _listed(out: pd.DataFrame, of: int) -> str:
    clips = zip(out["clip"].head(5), out["problem"].head(5), strict=True)
    shown = [f"{decoding.printable(clip)}: {problem}" for clip, problem in clips]
    more = [f"... and {len(out) - 5} more"] if len(out) > 5 else []
    return "\n".join([f"{len(out)} of {of} clips cannot be used:", *shown, *more])


def left_out(kept: pd.DataFrame, out: pd.DataFrame) -> str:
    """A sentence for the page on what `usable` has left out, without names; empty where that is nothing."""
    reasons = out["problem"].str.split(":").str[0].value_counts()
    told = ", ".join(f"{reason} ({number})" for reason, number in reasons.items())
    return f"**Left out:** {len(out)} of {len(kept) + len(out)} clips: {told}." if told else ""


# from clips to the store


@dataclass(frozen=True)
class Plan:
    """What is to be in the store: the key of each row, its clip by key; the recipe and the place of each feature."""

    keys: list[str]
    clips: dict[str, dict]
    recipes: dict[str, dict]
    places: dict[str, Path]
    augmentation: str
    seed: int


def _planned(
    rows: pd.DataFrame, wanted: Mapping[str, Mapping[str, int]], sample_rate: int, augmentation: str, seed: int
) -> Plan:
    records = rows.to_dict("records")
    keys = [_key(row, augmentation, seed) for row in records]
    recipes = {
        name: {"feature": name, "sample_rate": sample_rate, **_defaults(FEATURES[name]), **parameters}
        for name, parameters in wanted.items()
    }
    places = {name: store.place(recipe, version=VERSION) for name, recipe in recipes.items()}
    return Plan(keys, dict(zip(keys, records, strict=True)), recipes, places, augmentation, seed)


def _key(row: dict, augmentation: str, seed: int) -> str:
    if not row["sha256"]:
        return f"unread {row['path']}"  # nothing is kept under it: see `compute`
    if not row.get("copy", 0):
        return row["sha256"]
    return f"{row['sha256']}:{augmentation}:{row['copy']}:{seed}:nlpaug-{_nlpaug()}"


@functools.cache
def _nlpaug() -> str:
    return version("nlpaug")


def _defaults(function: Callable) -> dict[str, int]:
    """A feature's own settings, so that a default and the same value spelt out share one store."""
    settings = inspect.signature(function).parameters.values()
    return {setting.name: setting.default for setting in settings if setting.kind is setting.KEYWORD_ONLY}


def _lacking(plan: Plan) -> dict[str, list[str]]:
    """The features that the store lacks of each clip, by its key."""
    found: dict[str, list[str]] = {}
    for name, place in plan.places.items():
        for key in store.working(place, lambda there: store.lacking(there, plan.clips)):
            found.setdefault(key, []).append(name)
    return found


def _fill(plan: Plan, n_jobs: int) -> dict[str, audio.AudioError]:
    """Compute and keep what the store lacks; of several processes that lack the same one does it, the others wait.

    Returns:
        The clips that cannot be used, by their keys.
    """
    if not _lacking(plan):
        return {}
    with store.turns([f"{place.name} {key}" for key in plan.clips] for place in plan.places.values()):
        return _computed(plan, _lacking(plan), n_jobs)


def _computed(plan: Plan, todo: dict[str, list[str]], n_jobs: int) -> dict[str, audio.AudioError]:
    jobs = [
        (plan.clips[key], [plan.recipes[name] for name in names], plan.augmentation, plan.seed)
        for key, names in todo.items()
    ]
    bar = progress(_in_parallel(jobs, n_jobs), total=len(jobs), desc=f"features of {len(jobs)} clips")
    done: dict[str, list] = {name: [] for name in plan.places}
    bad = {}
    try:
        for (key, names), results in zip(todo.items(), bar, strict=True):
            if isinstance(results, audio.AudioError):
                bad[key] = results
                continue
            for name, result in zip(names, results, strict=True):
                done[name].append((key, *result))
            _keep(plan, {name: some for name, some in done.items() if _enough(some)})
    finally:
        _keep(plan, done)
    return bad


def _enough(some: list) -> bool:
    return len(some) >= CHUNK or (len(some) > 0 and len(some) * some[-1][2].nbytes >= ENOUGH)


def _keep(plan: Plan, done: dict[str, list]) -> None:
    for name, some in done.items():
        if some:
            store.working(plan.places[name], functools.partial(store.put, done=some))


def _in_parallel(jobs: Sequence[tuple], n_jobs: int) -> Iterator[list[tuple[int, np.ndarray]] | audio.AudioError]:
    light = all(recipe["feature"] in LIGHT for _, recipes, *_ in jobs for recipe in recipes)
    # One thread at a time may augment (see `audio.seeded`); noise is made in a moment, a change of pitch is not.
    light &= all(augmentation == "noise" or not row.get("copy", 0) for row, _, augmentation, _ in jobs)
    # Starting processes costs seconds: a handful of clips is quicker without.
    if n_jobs == 1 or len(jobs) < 24:
        return _one_by_one(jobs)
    return _by_threads(jobs, n_jobs) if light else _by_processes(jobs, n_jobs)


def _attempt(*job: Any) -> list[tuple[int, np.ndarray]] | audio.AudioError:
    """A bad clip is an answer like others: raised, it would cost those that other workers have under way."""
    try:
        return compute(*job)
    except audio.AudioError as error:
        return error


def _one_by_one(jobs: Iterable[tuple]) -> Iterator[list[tuple[int, np.ndarray]] | audio.AudioError]:
    from threadpoolctl import threadpool_limits

    # joblib's processes have one BLAS thread each; so here, or the last digits would depend on the number of jobs.
    with threadpool_limits(1, user_api="blas"):
        yield from (_attempt(*job) for job in jobs)


def _by_threads(jobs: Sequence[tuple], n_jobs: int) -> Iterator[list[tuple[int, np.ndarray]] | audio.AudioError]:
    from joblib import Parallel
    from joblib import delayed
    from threadpoolctl import threadpool_limits

    audio.warm()
    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator", batch_size=8)
    with threadpool_limits(1, user_api="blas"):
        for block in _blocks(jobs):
            yield from parallel(delayed(_attempt)(*job) for job in block)


def _by_processes(jobs: Sequence[tuple], n_jobs: int) -> Iterator[list[tuple[int, np.ndarray]] | audio.AudioError]:
    from joblib import Parallel
    from joblib import delayed
    from joblib.externals.loky import get_reusable_executor

    audio.warm()
    parallel = Parallel(n_jobs=n_jobs, return_as="generator", batch_size=8, max_nbytes=None)
    try:
        for block in _blocks(jobs):
            yield from parallel(delayed(_attempt)(*job) for job in block)
    finally:
        # Idle processes would keep their memory throughout the training that follows.
        get_reusable_executor().shutdown(wait=True)


def _blocks(jobs: Sequence[tuple]) -> Iterator[Sequence[tuple]]:
    """Joblib goes on whether or not its results are taken: given all at once it could come to hold them all."""
    return (jobs[start : start + BLOCK] for start in range(0, len(jobs), BLOCK))


def compute(row: dict, recipes: Sequence[dict], augmentation: str, seed: int) -> list[tuple[int, np.ndarray]]:
    """Decode one clip, augment it if the row is a copy, and extract features that want it at one rate.

    Returns:
        For each the frames of the clip itself (0 for a feature without frames), and the array to keep.
    """
    if not row["sha256"]:  # what could not be read when the table was made has no name in the store
        reason = decoding.unreachable(row["path"]) or "could not be read when the corpus was loaded: load it again"
        raise audio.AudioError(row["path"], reason)
    sample_rate = recipes[0]["sample_rate"]
    signal = audio.load(row["path"], sample_rate, training=True)
    if copy := row.get("copy", 0):
        clip_seed = audio.clip_seed(row["sha256"], copy, seed)
        signal = audio.augment(signal, sample_rate, augmentation, seed=clip_seed)
    return [_of_signal(signal, recipe) for recipe in recipes]


def _of_signal(signal: np.ndarray, recipe: dict) -> tuple[int, np.ndarray]:
    settings = dict(recipe)
    function, sample_rate = FEATURES[settings.pop("feature")], settings.pop("sample_rate")
    if function in NUMBERS:
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


def to_db(power: np.ndarray) -> np.ndarray:
    """Power spectrograms, shape (n, bands, frames), in dB below each clip's own maximum, at most 80 of them."""
    import librosa

    db = store.room(power.shape)
    for i, clip in enumerate(power):
        db[i] = librosa.power_to_db(clip, ref=np.max)
    return db


def max_minus(pictures: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Each clip's maximum minus each of its values, then padded with zeros: one reading of the paper's normalisation.

    Args:
        pictures: Shape (n, bands, frames).
        lengths: Samples of each clip before it was padded, at the rate of the feature; shape (n,).

    Returns:
        An array of the same shape.
    """
    out = store.room(pictures.shape)
    for i, frames in enumerate(1 + lengths // HOP_LENGTH):
        own = pictures[i, :, :frames]
        out[i, :, :frames] = own.max() - own
    return out


def scaling(x: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each band (or number), learnt from the training rows alone.

    Args:
        x: Shape (n, bands, frames) or (n, numbers).
        train: Boolean, shape (n,): the rows to learn from.

    Returns:
        Two float32 arrays of shape (bands,) or (numbers,); a deviation of 0 is given as 1.
    """
    axes, rows = tuple(axis for axis in range(x.ndim) if axis != 1), np.flatnonzero(train)
    count = len(rows) * x[:1].size // x.shape[1]
    mean = sum(x[some].sum(axis=axes, dtype=np.float64) for some in large.blocks(x, rows)) / count
    centre = mean.reshape(-1, *(1,) * (x.ndim - 2))
    squares = (np.square(x[some] - centre).sum(axis=axes) for some in large.blocks(x, rows))
    deviation = np.sqrt(sum(squares) / count).astype(np.float32)
    return mean.astype(np.float32), np.where(deviation > 0, deviation, np.float32(1))


def scaled(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Rows, shape (n, bands, frames) or (n, numbers), less the mean of each band, in units of its deviation."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    out = store.room(x.shape)
    for rows in large.blocks(x):
        out[rows] = (x[rows] - mean.reshape(shape)) / deviation.reshape(shape)
    return out


def standardise(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """`scaled` by the `scaling` of the same rows: zero mean and unit deviation for each band over the training rows."""
    return scaled(x, *scaling(x, train))


@dataclass(frozen=True)
class Inputs:
    """How a network's inputs were made of clips: what it takes to prepare one that it has never seen.

    `scale` is `db`, `max-minus`, or anything else for neither; `frames` is the width of a picture, 0 for numbers;
    `mean` and `deviation` are those of `scaling`, None where the inputs were not standardised.
    """

    feature: str
    sample_rate: int
    parameters: dict[str, int]
    scale: str = ""
    frames: int = 0
    mean: np.ndarray | None = None
    deviation: np.ndarray | None = None


def prepare(signals: Sequence[np.ndarray], inputs: Inputs) -> np.ndarray:
    """New clips as a network was given those that it was trained on; one longer than those is cut.

    Args:
        signals: Each of shape (n,), at the inputs' sample rate.
        inputs: What the network's run has kept.

    Returns:
        float32, shape (n, bands, frames) or (n, numbers).
    """
    settings = {"feature": inputs.feature, "sample_rate": inputs.sample_rate}
    recipe = settings | _defaults(FEATURES[inputs.feature]) | inputs.parameters
    x = np.stack([_widened(_of_signal(signal, recipe)[1], inputs.frames) for signal in signals])
    if inputs.scale == "db":
        x = to_db(x)
    elif inputs.scale == "max-minus":
        x = max_minus(x, np.array([len(signal) for signal in signals]))
    return x if inputs.mean is None else scaled(x, inputs.mean, inputs.deviation)


def _widened(array: np.ndarray, frames: int) -> np.ndarray:
    """A stored picture, its tail of silence included, at another width; numbers (0 frames) as they are."""
    if not frames:
        return array
    return np.pad(array[:, :frames], ((0, 0), (0, max(0, frames - array.shape[1]))), mode="edge")
