"""Who is trained on and who is tested: protocols and augmented copies. What leaks, `audit` tells."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Mapping
from importlib.resources import files

import numpy as np
import pandas as pd

from sernb import corpora

SIDES = ("train", "val", "test")
PROTOCOLS = ("random", "speaker", "folds", "loso", "statement", "published")
WITH_FOLDS = ("folds", "loso")
AUGMENT_CHOICES = ("before-split", "train-only", "none")


class SplitError(ValueError):
    """A split that cannot be had, with how many clips or speakers there are and how many it takes."""


def make_split(
    table: pd.DataFrame,
    protocol: str,
    *,
    ratio: str = "75:15:10",
    augment: str = "none",
    fold: int = 1,
    seed: int = 42,
) -> pd.DataFrame:
    """Split a clip table and add augmented copies on the side of the split that is asked for.

    Args:
        table: Clip table without `unknown`.
        protocol: `random` (stratified by emotion), `published` (study A's 70/30 then 95/5), `speaker` (no speaker on
            two sides), `folds` (the corpus's published folds), `loso` (one speaker is tested) or `statement` (neither
            a speaker nor a statement is trained on and tested; clips that this leaves without a side are left out).
        ratio: train:validation:test in per cent, for `random`, `speaker` and `statement`.
        augment: `before-split` makes a copy of every clip and then splits the doubled table, `train-only` copies
            what is in train, `none` copies nothing.
        fold: Which fold is the test side, for `folds` and `loso`, from 1.
        seed: Of the shuffling.

    Returns:
        The table with the columns `copy` (0 the recording, 1 its augmented copy) and `split`.

    Raises:
        SplitError: Too few clips or speakers, or an unknown name.
    """
    if augment not in AUGMENT_CHOICES:
        raise SplitError(f"AUGMENT is {augment!r}; give one of {', '.join(AUGMENT_CHOICES)}.")
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
    """The splits of a run: one, or, for fold 0 of a protocol with folds, one for each fold that has clips.

    Args:
        table: Clip table without `unknown`.
        protocol: As for `prepare`.
        fold: Which fold is tested; 0 for all.
        other: Clips of another corpus to test on instead, see `test_elsewhere`.
        **options: `ratio`, `augment` and `seed` of `prepare`.

    Returns:
        What `prepare` returns, by the number of the fold.
    """
    numbers = [fold]
    if covers_all_folds(protocol, fold):
        if other is not None:
            raise SplitError("FOLD 0 tests each fold of one corpus; with TEST_CORPUS name a fold, or use 'speaker'.")
        numbers = list(_fold_numbers(table, protocol))
    found = {number: make_split(table, protocol, fold=number, **options) for number in numbers}
    return found if other is None else {fold: use_test_corpus(found[fold], other)}


def covers_all_folds(protocol: str, fold: int) -> bool:
    """Whether a run is made of all the folds of its protocol."""
    return protocol in WITH_FOLDS and fold == 0


def use_test_corpus(rows: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The training and validation rows of a split, with the clips of another corpus as the test side.

    Args:
        rows: What `prepare` returns; its own test side is left out.
        other: Clip table of the corpus to test on.
    """
    kept = rows[rows["split"] != "test"]
    return pd.concat([kept, other.assign(copy=0, split="test")], ignore_index=True)


def add_copies(rows: pd.DataFrame) -> pd.DataFrame:
    """Every row followed by one augmented copy of it."""
    return pd.concat([rows, rows.assign(copy=1)]).sort_index(kind="stable").reset_index(drop=True)


def assign_sides(
    rows: pd.DataFrame, protocol: str, *, ratio: str = "75:15:10", fold: int = 1, seed: int = 42
) -> np.ndarray:
    """The side of each row, `train`, `val` or `test`, shape (n,); arguments as in `prepare`."""
    if protocol == "random":
        return split_by_clip(rows["emotion"], parse_ratio(ratio), seed)
    if protocol == "published":
        return split_like_study_a(rows["emotion"], seed)
    if protocol == "speaker":
        return split_by_speaker(rows, parse_ratio(ratio), seed)
    if protocol == "folds":
        return split_by_fold(rows, fold)
    if protocol == "loso":
        return split_leave_one_speaker_out(rows, fold, seed)
    if protocol == "statement":
        return split_by_statement(rows, parse_ratio(ratio), seed)
    raise SplitError(f"PROTOCOL is {protocol!r}; give one of {', '.join(PROTOCOLS)}.")


def parse_ratio(ratio: str) -> tuple[float, float, float]:
    """`"75:15:10"` as fractions of train, validation and test.

    Raises:
        SplitError: Not three positive numbers.

    Example:
        >>> parts("75:15:10")
        (0.75, 0.15, 0.1)
    """
    try:
        train, val, test = (float(part) for part in ratio.split(":"))
    except ValueError:
        raise SplitError(f'SPLIT is {ratio!r}; give train:validation:test such as "75:15:10".') from None
    if not min(train, val, test) > 0 or not np.isfinite(train + val + test):
        raise SplitError(f"SPLIT is {ratio!r}; each of the three parts must be above 0.")
    total = train + val + test
    return train / total, val / total, test / total


def split_by_clip(emotions: pd.Series, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """A split by clip, stratified by emotion: test is cut off first, then validation."""
    _, val, test = fractions
    return _cut_twice(emotions, test, val / (1 - test), seed)


def split_like_study_a(emotions: pd.Series, seed: int = 42) -> np.ndarray:
    """Study A's split by clip: 30 % test stratified by emotion, then 5 % of train, unstratified, as validation."""
    return _cut_twice(emotions, 0.3, 0.05, seed, stratify_val=False)


def _cut_twice(emotions: pd.Series, test: float, val: float, seed: int, *, stratify_val: bool = True) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    labels = emotions.to_numpy()
    _check_enough_clips(emotions, test, val if stratify_val else 0)
    try:
        rest, test_at = train_test_split(np.arange(len(labels)), test_size=test, stratify=labels, random_state=seed)
        strata = labels[rest] if stratify_val else None
        _, val_at = train_test_split(rest, test_size=val, stratify=strata, random_state=seed)
    except ValueError as error:
        rarest = emotions.value_counts()
        raise SplitError(
            f"{rarest.idxmin()} has only {rarest.min()} of {len(emotions)} clips: too few for each side of this split. "
            "Leave it out with EMOTIONS, use more clips, or other proportions."
        ) from error
    sides = np.full(len(labels), "train", dtype=object)
    sides[test_at], sides[val_at] = "test", "val"
    return sides


def _check_enough_clips(emotions: pd.Series, test: float, val: float) -> None:
    """Each side that is stratified must have room for each class, and each class a clip for each side."""
    sizes = emotions.value_counts()
    least = 3 if val else 2
    if (sizes < least).any():
        raise SplitError(
            f"{sizes.idxmin()} has {sizes.min()} clips; a stratified split takes at least {least} of each emotion. "
            f"Leave it out with EMOTIONS, or use more clips."
        )
    smallest = min(test, val * (1 - test) or test) * len(emotions)
    if smallest < len(sizes):
        raise SplitError(
            f"{len(emotions)} clips leave {int(smallest)} for the smallest side, which must hold each of the "
            f"{len(sizes)} emotions; it takes at least {int(np.ceil(len(sizes) * len(emotions) / smallest))} clips."
        )


def split_by_speaker(rows: pd.DataFrame, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """A split that gives each speaker to one side, sides and their classes as near to the fractions as can be.

    Speakers, those with most clips first and otherwise shuffled, go one after another to the side that then
    falls least short of its share of each emotion and, where it is known, each sex.

    Raises:
        SplitError: Fewer than three speakers.
    """
    counts = pd.crosstab(rows["speaker"], rows["emotion"])
    if "sex" in rows and rows["sex"].nunique() > 1:
        # A speaker has one sex: weighed like all emotions together, or it would hardly count.
        counts = counts.join(pd.crosstab(rows["speaker"], rows["sex"]))
    if len(counts) < 3:
        raise SplitError(f"{len(counts)} speakers; a speaker split takes at least 3, one for each side.")
    sizes = _side_sizes(fractions, len(counts))
    wanted = counts.to_numpy().sum(axis=0) * np.array(fractions)[:, None]
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts.to_numpy()[order].sum(axis=1), kind="stable")]
    side_of = _deal(counts.to_numpy()[order], wanted, sizes)
    sides = dict(zip(counts.index[order], (SIDES[side] for side in side_of), strict=True))
    split = rows["speaker"].map(sides).to_numpy(dtype=object)
    _check_every_emotion_trained(rows, split)
    return split


def _check_every_emotion_trained(rows: pd.DataFrame, split: np.ndarray) -> None:
    if untaught := sorted(set(rows["emotion"][split != ""]) - set(rows["emotion"][split == "train"])):
        voices = rows.loc[rows["emotion"] == untaught[0], "speaker"].nunique()
        raise SplitError(
            f"no speaker of {untaught[0]} is left for train: {voices} of {rows['speaker'].nunique()} speakers have it. "
            "Leave it out with EMOTIONS, or use another SEED."
        )


def _side_sizes(fractions: tuple[float, float, float], speakers: int) -> np.ndarray:
    """Speakers for each side: at least one, and together all of them."""
    sizes = np.maximum(1, np.round(np.array(fractions) * speakers).astype(int))
    while (excess := sizes.sum() - speakers) != 0:
        sizes[sizes.argmax() if excess > 0 else np.argmax(fractions)] -= np.sign(excess)
    return sizes


def _deal(counts: np.ndarray, wanted: np.ndarray, sizes: np.ndarray) -> list[int]:
    """Give each row of counts, shape (speakers, classes), to a side with room; returns the side of each."""
    dealt, left, sides = np.zeros_like(wanted), sizes.copy(), []
    for speaker in counts:
        short = ((dealt + speaker - wanted) ** 2 - (dealt - wanted) ** 2) / np.maximum(wanted, 1)
        cost = np.where(left > 0, short.sum(axis=1), np.inf)
        side = int(np.argmin(cost))
        dealt[side] += speaker
        left[side] -= 1
        sides.append(side)
    return sides


def split_by_statement(rows: pd.DataFrame, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """A split that gives each speaker and each statement to one side; `""` for clips that then have no side.

    Speakers are dealt out as by `by_speaker`. Statements, shuffled, go to test by its fraction (one at least, and one
    at least not) and the others to train and validation, which differ in their speakers alone.

    Raises:
        SplitError: Fewer than two statements, clips without one, or too few speakers.
    """
    told = rows["statement"] if "statement" in rows else pd.Series("", rows.index)
    names = sorted(set(told) - {""})
    if len(names) < 2 or (told == "").any():
        raise SplitError(
            f"PROTOCOL 'statement' takes two statements or more, and every clip must have one: there are {len(names)}, "
            f"and {(told == '').sum()} of {len(rows)} clips have none. Use PROTOCOL 'speaker'."
        )
    number = min(max(1, round(fractions[2] * len(names))), len(names) - 1)
    new = told.isin(np.random.default_rng(seed).permutation(names)[:number]).to_numpy()
    # If speakers were shared, as new statements alone would allow, a known voice would help more than known words do.
    sides = split_by_speaker(rows, fractions, seed)
    split = np.where((sides == "test") == new, sides, "")
    _check_every_emotion_trained(rows, split)
    untested = sorted(set(rows["emotion"]) - set(rows["emotion"][split == "test"]))
    if untested or "val" not in split:
        raise SplitError(
            f"PROTOCOL 'statement' leaves no clip {f'of {untested[0]} to test' if untested else 'for validation'}: new "
            "sentences of new speakers are few. Give test a larger part, such as 50:20:30, use another SEED, or leave "
            "that emotion out with EMOTIONS."
        )
    return split


def published_folds(corpus: str, speakers: Iterable[str] = ()) -> dict[int, dict[str, list[str]]]:
    """The published folds of a corpus by number, from 1: for each the speakers of train, val and test.

    RAVDESS: the six EmoBox folds; EmoBox names test speakers only, so the next fold is validation and the other four
    are train. CREMA-D: one published speaker-disjoint split.

    Args:
        corpus: Its name.
        speakers: Those there are, if not all: a fold that has none of them is passed over.

    Raises:
        SplitError: No folds were published for this corpus.

    Example:
        >>> folds("ravdess")[1]["test"]
        ['01', '11', '20', '21']
    """
    known = json.loads(files("sernb").joinpath("data/folds.json").read_text())["corpora"]
    published = known.get(corpus.removeprefix("demo-"))
    if published is None:
        raise SplitError(
            f"no folds were published for {corpus!r}, only for {' and '.join(known)}; use PROTOCOL 'speaker' or 'loso'."
        )
    if isinstance(published, dict):  # one split, with all its sides
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
    """The numbers of the folds that have clips."""
    if protocol == "loso":
        return range(1, rows["speaker"].nunique() + 1)
    return published_folds(rows["corpus"].iloc[0], set(rows["speaker"]))


def split_by_fold(rows: pd.DataFrame, fold: int) -> np.ndarray:
    """The side of each row in one published fold of its corpus; folds without clips are passed over.

    Raises:
        SplitError: No such fold, or a side without clips.
    """
    corpus, present = rows["corpus"].iloc[0], set(rows["speaker"])
    everyone = published_folds(corpus)
    if fold not in everyone:
        raise SplitError(f"FOLD is {fold}; this corpus has folds 1 to {len(everyone)} (0: all of them).")
    if strangers := sorted(present - {speaker for group in everyone[fold].values() for speaker in group}):
        raise SplitError(f"speaker {strangers[0]!r} is in no published fold.")
    sides = published_folds(corpus, present).get(fold, everyone[fold])
    if empty := [side for side in ("test", "val", "train") if not present & set(sides[side])]:
        speakers = ", ".join(sides[empty[0]]) or "of a third fold"
        raise SplitError(f"fold {fold} has no clip for {empty[0]}: it takes clips of the speakers {speakers}.")
    side_of = {speaker: side for side, group in sides.items() for speaker in group}
    return rows["speaker"].map(side_of).to_numpy(dtype=object)


def split_leave_one_speaker_out(rows: pd.DataFrame, fold: int, seed: int) -> np.ndarray:
    """Leave one speaker out: the side of each row when the n-th speaker is tested.

    Validation is one other speaker, or two where there are ten speakers or more, drawn by seed and fold.

    Raises:
        SplitError: Fewer than three speakers, no such speaker, or an emotion that nobody is left to teach.
    """
    speakers = sorted(set(rows["speaker"]))
    if len(speakers) < 3:
        raise SplitError(f"{len(speakers)} speakers; to leave one out takes at least 3, one for each side.")
    if not 1 <= fold <= len(speakers):
        raise SplitError(f"FOLD is {fold}; with PROTOCOL 'loso' this corpus has folds 1 to {len(speakers)} (0: all).")
    rest = [speaker for speaker in speakers if speaker != speakers[fold - 1]]
    drawn = np.random.default_rng([seed, fold]).permutation(rest)[: 1 + (len(speakers) >= 10)]
    split = np.where(rows["speaker"].isin(drawn), "val", "train").astype(object)
    split[(rows["speaker"] == speakers[fold - 1]).to_numpy()] = "test"
    _check_every_emotion_trained(rows, split)
    return split


def split_sizes(rows: pd.DataFrame | Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Rows, clips, speakers and clips of each emotion, side by side; fold by fold where there are several."""
    if not isinstance(rows, pd.DataFrame):
        each = {fold: split_sizes(part) for fold, part in rows.items()}
        return pd.concat(each, names=["fold"]) if len(each) > 1 else next(iter(each.values()))
    sides = rows.groupby("split")
    table = sides.agg(rows=("clip", "size"), clips=("clip", "nunique"), speakers=("speaker", "nunique"))
    return table.join(pd.crosstab(rows["split"], rows["emotion"])).reindex(
        [s for s in SIDES if s in set(rows["split"])]
    )


def missing_speakers(table: pd.DataFrame) -> pd.DataFrame:
    """What a speaker split still lacks: each emotion takes three speakers, one for each side.

    Returns:
        One row an emotion, with `speakers` who have it, `speakers to add`, `clips`, and `not yet by`, those who lack
        it.
    """
    voices = sorted(table["speaker"].unique())
    rows = []
    for emotion in corpora.emotion_labels(table):
        own = table[table["emotion"] == emotion]
        have = set(own["speaker"])
        lacking = ", ".join(voice for voice in voices if voice not in have)
        told = {"speakers": len(have), "speakers to add": max(0, len(SIDES) - len(have)), "clips": len(own)}
        rows.append({"emotion": emotion, **told, "not yet by": lacking})
    return pd.DataFrame(rows).set_index("emotion")


def split_readiness(table: pd.DataFrame, *, ratio: str = "60:20:20", seed: int = 42) -> str:
    """Whether the corpus can be split by speaker now, as a sentence, and if not, what is in the way."""
    known = corpora.drop_unknown(table)
    if known["emotion"].nunique() < 2:
        return "**Not yet:** there is nothing to tell apart; record at least two emotions."
    try:
        rows = make_split(known, "speaker", ratio=ratio, seed=seed)
    except SplitError as error:
        return f"**Not yet:** {error}"
    sides = rows.groupby("split")["speaker"].nunique()
    shares = ", ".join(f"{sides[side]} for {name}" for side, name in zip(SIDES, _SIDE_NAMES, strict=True))
    short = missing_speakers(known).query("`speakers to add` > 0")
    lacking = ", ".join(f"{row['speakers to add']} of {emotion}" for emotion, row in short.iterrows())
    more = f" To have each emotion on each side it takes more speakers: {lacking}." if lacking else ""
    return f"**Yes:** the {known['speaker'].nunique()} speakers can be split: {shares}.{more}"


_SIDE_NAMES = ("training", "validation", "test")
