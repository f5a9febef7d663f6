"""Divide a clip table into training, validation and test sets, with or without augmented copies."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Mapping
from importlib.resources import files

import numpy as np
import pandas as pd

from sernb import corpora

SIDES = ("train", "val", "test")
SIDE_NAMES = {"train": "training", "val": "validation", "test": "test"}
PROTOCOLS = ("random", "random-folds", "speaker", "folds", "loso", "statement", "published")
WITH_FOLDS = ("random-folds", "folds", "loso")
SPLIT_BY_CLIP = ("random", "random-folds", "published")  # speakers are in several sets
N_RANDOM_FOLDS = 6  # as many as RAVDESS has published folds, for sets of about the same size
AUGMENT_CHOICES = ("before-split", "train-only", "none")


class SplitError(ValueError):
    """A split that is not possible, with how many clips or speakers there are and how many it needs."""


def make_split(
    table: pd.DataFrame,
    protocol: str,
    *,
    ratio: str = "75:15:10",
    augment: str = "none",
    fold: int = 1,
    seed: int = 42,
) -> pd.DataFrame:
    """Split a clip table and add augmented copies to it.

    Args:
        table: Clip table without `unknown`.
        protocol: `random` (stratified by emotion), `random-folds` (the same in six folds), `published` (study A's
            70/30, then 95/5), `speaker` (no speaker in two sets), `folds` (the corpus's published folds), `loso` (one
            speaker is the test set) or `statement` (no speaker and no statement of the test set is in the training
            set; clips for which that leaves no set are left out).
        ratio: Percentages train:validation:test, for `random`, `speaker` and `statement`.
        augment: `before-split` copies every clip and then splits the doubled table, `train-only` copies the training
            set, `none` copies nothing.
        fold: Number of the fold that is the test set, from 1, for `random-folds`, `folds` and `loso`.
        seed: Seed of the shuffling.

    Returns:
        The table with the columns `copy` (0 for the recording, 1 for its augmented copy) and `split`.

    Raises:
        SplitError: There are too few clips, emotions or speakers, or a name is unknown.
    """
    if augment not in AUGMENT_CHOICES:
        raise SplitError(f"AUGMENT must be one of {', '.join(AUGMENT_CHOICES)} (got {augment!r})")
    _check_two_emotions(table)
    rows = table.assign(copy=0)
    if augment == "before-split":
        rows = add_copies(rows)
    rows = rows.assign(split=assign_sides(rows, protocol, ratio=ratio, fold=fold, seed=seed))
    rows = rows[rows["split"] != ""].reset_index(drop=True)
    if augment == "train-only":
        rows = pd.concat([rows, rows[rows["split"] == "train"].assign(copy=1)], ignore_index=True)
    return rows


def make_splits(
    table: pd.DataFrame, protocol: str, *, fold: int = 0, other: pd.DataFrame | None = None, **options: str | int
) -> dict[int, pd.DataFrame]:
    """Return the splits of a run: one, or one per fold that has clips if `fold` is 0 and the protocol has folds.

    Args:
        table: Clip table without `unknown`.
        protocol: As for `make_split`.
        fold: Number of the fold that is tested; 0 for all.
        other: Clips of another corpus to use as the test set, see `use_test_corpus`.
        **options: `ratio`, `augment` and `seed` of `make_split`.

    Returns:
        The tables of `make_split` by the number of the fold.
    """
    numbers = [fold]
    if covers_all_folds(protocol, fold):
        if other is not None:
            raise SplitError(
                "FOLD 0 tests every fold of one corpus; with TEST_CORPUS set FOLD to one fold, or PROTOCOL to 'speaker'"
            )
        numbers = list(_fold_numbers(table, protocol))
    splits = {number: make_split(table, protocol, fold=number, **options) for number in numbers}
    return splits if other is None else {fold: use_test_corpus(splits[fold], other)}


def make_final_split(rows: pd.DataFrame) -> pd.DataFrame:
    """Turn a fold into the split of a final model, which is fitted on every speaker.

    Args:
        rows: The split clips of one fold. The test rows become the validation set, all others the training set.
    """
    return rows.assign(split=rows["split"].eq("test").map({True: "val", False: "train"}))


def covers_all_folds(protocol: str, fold: int) -> bool:
    """Return whether a run consists of all folds of its protocol."""
    return protocol in WITH_FOLDS and fold == 0


def use_test_corpus(rows: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Replace the test set of a split by the clips of another corpus.

    Args:
        rows: Split clips as `make_split` returns them.
        other: Clip table of the corpus to test on.
    """
    return pd.concat([rows[rows["split"] != "test"], other.assign(copy=0, split="test")], ignore_index=True)


def add_copies(rows: pd.DataFrame) -> pd.DataFrame:
    """Insert an augmented copy after every row."""
    return pd.concat([rows, rows.assign(copy=1)]).sort_index(kind="stable").reset_index(drop=True)


def assign_sides(
    rows: pd.DataFrame, protocol: str, *, ratio: str = "75:15:10", fold: int = 1, seed: int = 42
) -> np.ndarray:
    """Return `train`, `val` or `test` for each row, shape (n,); arguments as for `make_split`."""
    if protocol == "random":
        split = split_by_clip(rows, parse_ratio(ratio), seed)
    elif protocol == "random-folds":
        split = split_by_random_fold(rows, fold, seed)
    elif protocol == "published":
        split = split_like_study_a(rows, seed)
    elif protocol == "speaker":
        split = split_by_speaker(rows, parse_ratio(ratio), seed)
    elif protocol == "folds":
        split = split_by_fold(rows, fold)
    elif protocol == "loso":
        split = split_leave_one_speaker_out(rows, fold, seed)
    elif protocol == "statement":
        split = split_by_statement(rows, parse_ratio(ratio), seed)
    else:
        raise SplitError(f"PROTOCOL must be one of {', '.join(PROTOCOLS)} (got {protocol!r})")
    _check_every_emotion_trained(rows, split)
    return split


def parse_ratio(ratio: str) -> tuple[float, float, float]:
    """Parse `"75:15:10"` into fractions of train, validation and test.

    Raises:
        SplitError: The text is not three positive numbers.

    Example:
        >>> parse_ratio("75:15:10")
        (0.75, 0.15, 0.1)
    """
    try:
        train, val, test = (float(part) for part in ratio.split(":"))
    except ValueError:
        raise SplitError(f'SPLIT must be train:validation:test such as "75:15:10" (got {ratio!r})') from None
    if not min(train, val, test) > 0 or not np.isfinite(train + val + test):
        raise SplitError(f"each of the three parts of SPLIT must be above 0 (got {ratio!r})")
    total = train + val + test
    return train / total, val / total, test / total


# by clip


def split_by_clip(rows: pd.DataFrame, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """Split by clip, stratified by emotion: first the test set is drawn, then the validation set."""
    _, val, test = fractions
    return _draw_test_and_val(rows, test, val / (1 - test), seed)


def split_by_random_fold(rows: pd.DataFrame, fold: int, seed: int) -> np.ndarray:
    """Divide the clips into six parts, stratified by emotion: one is the test set, the next the validation set.

    The sets are as large as those of RAVDESS's published folds, and all folds together test every clip once. Speakers
    are in several sets, so the two protocols compare known with unknown speakers on the same clips.

    Raises:
        SplitError: There is no such fold, or an emotion has fewer clips than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    if not 1 <= fold <= N_RANDOM_FOLDS:
        raise SplitError(f"FOLD must be from 1 to {N_RANDOM_FOLDS} for 'random-folds', or 0 for all (got {fold})")
    labels = rows["emotion"].to_numpy()
    counts = rows["emotion"].value_counts()
    if counts.min() < N_RANDOM_FOLDS:
        raise SplitError(
            f"{counts.idxmin()} has {counts.min()} clips; PROTOCOL 'random-folds' needs at least {N_RANDOM_FOLDS} of "
            "each emotion. Leave it out with EMOTIONS, or use more clips."
        )
    part = np.zeros(len(labels), dtype=int)
    folds = StratifiedKFold(N_RANDOM_FOLDS, shuffle=True, random_state=seed).split(labels, labels)
    for number, (_, tested) in enumerate(folds, start=1):
        part[tested] = number
    following = fold % N_RANDOM_FOLDS + 1
    return np.select([part == fold, part == following], ["test", "val"], "train").astype(object)


def split_like_study_a(rows: pd.DataFrame, seed: int = 42) -> np.ndarray:
    """Split by clip as study A: 30% test, stratified by emotion, then 5% of the rest as validation, unstratified."""
    return _draw_test_and_val(rows, 0.3, 0.05, seed, stratify_val=False)


def _draw_test_and_val(
    rows: pd.DataFrame, test: float, val: float, seed: int, *, stratify_val: bool = True
) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    labels = rows["emotion"].to_numpy()
    _check_enough_clips(rows, test, val if stratify_val else 0)
    try:
        rest, test_at = train_test_split(np.arange(len(labels)), test_size=test, stratify=labels, random_state=seed)
        strata = labels[rest] if stratify_val else None
        _, val_at = train_test_split(rest, test_size=val, stratify=strata, random_state=seed)
    except ValueError as error:
        clips = rows.drop_duplicates("clip")["emotion"].value_counts()
        raise SplitError(
            f"{clips.idxmin()} has only {clips.min()} of {clips.sum()} clips, too few for each set of this split. "
            "Leave it out with EMOTIONS, use more clips, or change the proportions."
        ) from error
    split = np.full(len(labels), "train", dtype=object)
    split[test_at], split[val_at] = "test", "val"
    return split


def _check_enough_clips(rows: pd.DataFrame, test: float, val: float) -> None:
    """Refuse a split in which a stratified set is too small for each emotion, or an emotion for each set."""
    clips = rows.drop_duplicates("clip")["emotion"].value_counts()
    rows_per_clip = len(rows) / clips.sum()
    least = int(np.ceil((3 if val else 2) / rows_per_clip))
    if (fewest := int(clips.min())) < least:
        raise SplitError(
            f"{clips.idxmin()} has {fewest} clip{'s' * (fewest != 1)}; this split needs at least {least} of "
            "each emotion. Leave it out with EMOTIONS, or use more clips."
        )
    smallest = min(test, val * (1 - test) or test)
    if smallest * len(rows) < len(clips):
        raise SplitError(
            f"{clips.sum()} clips are too few: the smallest set must hold each of the {len(clips)} emotions, which "
            f"needs at least {int(np.ceil(len(clips) / smallest / rows_per_clip))} clips."
        )


# by speaker


def split_by_speaker(rows: pd.DataFrame, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """Split by speaker, so that sets and their emotions come as near to the fractions as possible.

    Speakers are assigned one after another, those with most clips first and otherwise shuffled, each to the set that
    then falls least short of its share of each emotion and, where it is known, each sex.

    Raises:
        SplitError: There are fewer than three speakers.
    """
    counts = pd.crosstab(rows["speaker"], rows["emotion"])
    if "sex" in rows and rows["sex"].nunique() > 1:
        # A speaker has one sex: weighted like all emotions together, or it would hardly count.
        counts = counts.join(pd.crosstab(rows["speaker"], rows["sex"]))
    if len(counts) < 3:
        raise SplitError(f"a speaker split needs at least 3 speakers, one per set (got {len(counts)})")
    sizes = _speakers_per_side(fractions, len(counts))
    target = counts.to_numpy().sum(axis=0) * np.array(fractions)[:, None]
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts.to_numpy()[order].sum(axis=1), kind="stable")]
    sides = _assign_speakers(counts.to_numpy()[order], target, sizes)
    side_of = dict(zip(counts.index[order], (SIDES[side] for side in sides), strict=True))
    return rows["speaker"].map(side_of).to_numpy(dtype=object)


def _speakers_per_side(fractions: tuple[float, float, float], speakers: int) -> np.ndarray:
    """Return the number of speakers for each set: at least one each, and together all of them."""
    sizes = np.maximum(1, np.round(np.array(fractions) * speakers).astype(int))
    while (excess := sizes.sum() - speakers) != 0:
        sizes[sizes.argmax() if excess > 0 else np.argmax(fractions)] -= np.sign(excess)
    return sizes


def _assign_speakers(counts: np.ndarray, target: np.ndarray, sizes: np.ndarray) -> list[int]:
    """Return the set of each speaker.

    Args:
        counts: Clips of each speaker by emotion (and sex), shape (speakers, classes).
        target: Clips that each set should have, shape (3, classes).
        sizes: Speakers that each set has room for, shape (3,).
    """
    assigned, room, sides = np.zeros_like(target), sizes.copy(), []
    for speaker in counts:
        change = ((assigned + speaker - target) ** 2 - (assigned - target) ** 2) / np.maximum(target, 1)
        side = int(np.argmin(np.where(room > 0, change.sum(axis=1), np.inf)))
        assigned[side] += speaker
        room[side] -= 1
        sides.append(side)
    return sides


def split_leave_one_speaker_out(rows: pd.DataFrame, fold: int, seed: int) -> np.ndarray:
    """Make the n-th speaker the test set.

    The validation set is one other speaker, or two where there are ten speakers or more, drawn by seed and fold.

    Raises:
        SplitError: There are fewer than three speakers, or no such speaker.
    """
    speakers = sorted(set(rows["speaker"]))
    if len(speakers) < 3:
        raise SplitError(f"PROTOCOL 'loso' needs at least 3 speakers, one per set (got {len(speakers)})")
    if not 1 <= fold <= len(speakers):
        raise SplitError(f"with PROTOCOL 'loso' FOLD must be from 1 to {len(speakers)}, or 0 for all (got {fold})")
    rest = [speaker for speaker in speakers if speaker != speakers[fold - 1]]
    val = np.random.default_rng([seed, fold]).permutation(rest)[: 1 + (len(speakers) >= 10)]
    split = np.where(rows["speaker"].isin(val), "val", "train").astype(object)
    split[(rows["speaker"] == speakers[fold - 1]).to_numpy()] = "test"
    return split


# by statement and speaker


def split_by_statement(rows: pd.DataFrame, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """Split by speaker and by statement; clips for which that leaves no set get `""`.

    Speakers are assigned as in `split_by_speaker`. Statements are shuffled; the test set gets its fraction of them (at
    least one, and not all), the training and validation sets share the others.

    Raises:
        SplitError: There are fewer than two statements, clips without a statement, or too few speakers.
    """
    statement = rows["statement"] if "statement" in rows else pd.Series("", rows.index)
    names = sorted(set(statement) - {""})
    if len(names) < 2 or (statement == "").any():
        without, clips = (table["clip"].nunique() for table in (rows[statement == ""], rows))
        raise SplitError(
            "PROTOCOL 'statement' needs at least two statements and a statement for every clip: there are "
            f"{len(names)} statements, and {without} of {clips} clips have none. Use PROTOCOL 'speaker'."
        )
    number = min(max(1, round(fractions[2] * len(names))), len(names) - 1)
    tested = statement.isin(np.random.default_rng(seed).permutation(names)[:number]).to_numpy()
    # Speakers are kept apart as well: knowing a speaker helps a model more than knowing the words.
    sides = split_by_speaker(rows, fractions, seed)
    split = np.where((sides == "test") == tested, sides, "")
    untested = sorted(set(rows["emotion"]) - set(rows["emotion"][split == "test"]))
    if untested or "val" not in split:
        raise SplitError(
            f"PROTOCOL 'statement' leaves no clip {f'of {untested[0]} to test' if untested else 'for validation'}: few "
            "clips are of both new speakers and new statements. Give the test set a larger part, such as 50:20:30, "
            "use another SEED, or leave that emotion out with EMOTIONS."
        )
    return split


# published folds


def published_folds(corpus: str, speakers: Iterable[str] = ()) -> dict[int, dict[str, list[str]]]:
    """Return the published folds of a corpus by number, from 1: for each the speakers of train, val and test.

    RAVDESS: the six EmoBox folds. EmoBox names test speakers only, so the next fold is the validation set and the
    other four are the training set. CREMA-D: one published speaker-disjoint split.

    Args:
        corpus: Its name.
        speakers: The speakers present, if not all: a fold that has none of them is skipped.

    Raises:
        SplitError: No folds were published for this corpus.

    Example:
        >>> published_folds("ravdess")[1]["test"]
        ['01', '11', '20', '21']
    """
    all_folds = json.loads(files("sernb").joinpath("data/folds.json").read_text())["corpora"]
    published = all_folds.get(corpus.removeprefix("demo-"))
    if published is None:
        raise SplitError(
            f"no folds were published for {corpus!r}, only for {' and '.join(all_folds)} and their demo "
            "corpora; use PROTOCOL 'speaker' or 'loso'"
        )
    if isinstance(published, dict):  # one split with all its sets
        return {1: published}
    present = set(speakers)
    groups = {i: g for i, g in enumerate(published, start=1) if not present or present & set(g)}
    return {i: _make_fold(groups, i) for i in groups}


def _make_fold(groups: dict[int, list[str]], number: int) -> dict[str, list[str]]:
    numbers = list(groups)
    following = numbers[(numbers.index(number) + 1) % len(numbers)]
    rest = [speaker for i, group in groups.items() if i not in (number, following) for speaker in group]
    return {"test": groups[number], "val": groups[following], "train": sorted(rest)}


def _fold_numbers(rows: pd.DataFrame, protocol: str) -> Iterable[int]:
    """Return the numbers of the folds that have clips."""
    if protocol == "loso":
        return range(1, rows["speaker"].nunique() + 1)
    if protocol == "random-folds":
        return range(1, N_RANDOM_FOLDS + 1)
    return published_folds(rows["corpus"].iloc[0], set(rows["speaker"]))


def split_by_fold(rows: pd.DataFrame, fold: int) -> np.ndarray:
    """Split by a published fold of the corpus; folds without clips are skipped.

    Raises:
        SplitError: There is no such fold, or a set has no clips.
    """
    corpus, present = rows["corpus"].iloc[0], set(rows["speaker"])
    folds = published_folds(corpus)
    if fold not in folds:
        raise SplitError(f"FOLD must be from 1 to {len(folds)} for this corpus, or 0 for all (got {fold})")
    if unlisted := sorted(present - {speaker for group in folds[fold].values() for speaker in group}):
        raise SplitError(f"speaker {unlisted[0]!r} is in no published fold of {corpus}; use PROTOCOL 'speaker'")
    sides = published_folds(corpus, present).get(fold, folds[fold])
    if empty := [side for side in ("test", "val", "train") if not present & set(sides[side])]:
        speakers = ", ".join(sides[empty[0]]) or "of a third fold"
        raise SplitError(
            f"fold {fold} has no clip for the {SIDE_NAMES[empty[0]]} set: it needs clips of the speakers {speakers}"
        )
    side_of = {speaker: side for side, group in sides.items() for speaker in group}
    return rows["speaker"].map(side_of).to_numpy(dtype=object)


# checks and counts


def _check_two_emotions(table: pd.DataFrame) -> None:
    emotions = sorted(set(table["emotion"]))
    if len(emotions) < 2:
        raise SplitError(
            f"a model needs clips of at least two emotions to tell apart (got {' '.join(emotions) or 'no clips'})"
        )


def _check_every_emotion_trained(rows: pd.DataFrame, split: np.ndarray) -> None:
    if missing := sorted(set(rows["emotion"][split != ""]) - set(rows["emotion"][split == "train"])):
        speakers = rows.loc[rows["emotion"] == missing[0], "speaker"].nunique()
        raise SplitError(
            f"the training set has no clip of {missing[0]}, which {speakers} of {rows['speaker'].nunique()} speakers "
            "have. Record it with more speakers, leave it out with EMOTIONS, or use another FOLD or PROTOCOL."
        )


def split_sizes(rows: pd.DataFrame | Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Count the rows, clips, speakers and clips of each emotion per set; fold by fold where there are several."""
    if not isinstance(rows, pd.DataFrame):
        by_fold = {fold: split_sizes(fold_rows) for fold, fold_rows in rows.items()}
        return pd.concat(by_fold, names=["fold"]) if len(by_fold) > 1 else next(iter(by_fold.values()))
    sizes = rows.groupby("split").agg(rows=("clip", "size"), clips=("clip", "nunique"), speakers=("speaker", "nunique"))
    present = [side for side in SIDES if side in set(rows["split"])]
    return sizes.join(pd.crosstab(rows["split"], rows["emotion"])).reindex(present)


def missing_speakers(table: pd.DataFrame) -> pd.DataFrame:
    """Count for each emotion the speakers that a speaker split still needs: three, one per set.

    Returns:
        One row per emotion, with `speakers` who have it, `speakers to add`, `clips`, and `speakers without it`.
    """
    groups = table.groupby("emotion")
    counts = groups.agg(speakers=("speaker", "nunique"), clips=("speaker", "size"))
    counts.insert(1, "speakers to add", (len(SIDES) - counts["speakers"]).clip(lower=0))
    everyone = set(table["speaker"])
    counts["speakers without it"] = groups["speaker"].agg(lambda present: ", ".join(sorted(everyone - set(present))))
    return counts.reindex(corpora.emotion_labels(table))


def split_readiness(table: pd.DataFrame, *, ratio: str = "60:20:20", seed: int = 42) -> str:
    """Return sentences on whether the corpus can be split by speaker now, and if not, what would help."""
    labelled = corpora.drop_unknown(table)
    emotions, speakers = labelled["emotion"].nunique(), labelled["speaker"].nunique()
    if emotions < 2 or speakers < len(SIDES):
        return (
            "**Not yet:** a split by speaker needs clips of at least two emotions by at least three speakers. Emotions "
            f"so far: {emotions}; speakers: {speakers}."
        )
    short = missing_speakers(labelled).query("`speakers to add` > 0")["speakers to add"]
    lacking = ", ".join(f"{number} of {emotion}" for emotion, number in short.items())
    try:
        rows = make_split(labelled, "speaker", ratio=ratio, seed=seed)
    except SplitError as error:
        if short.empty:
            return f"**Not yet:** {error}"
        rest = labelled[~labelled["emotion"].isin(short.index)]
        return (
            f"**Not yet:** more speakers are needed: {lacking}. Without these emotions: "
            f"{split_readiness(rest, ratio=ratio, seed=seed)}"
        )
    counts = rows.groupby("split")["speaker"].nunique()
    sides = ", ".join(f"{counts[side]} for {SIDE_NAMES[side]}" for side in SIDES)
    more = f" To have each emotion in each set, more speakers are needed: {lacking}." if lacking else ""
    return f"**Yes:** the {speakers} speakers can be split ({sides}).{more}"
