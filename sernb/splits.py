"""Floor 2: who is trained on and who is tested: protocols, augmented copies, and what leaks between the sides."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pandas as pd

SIDES = ("train", "val", "test")
PROTOCOLS = ("random", "speaker", "folds", "published")
AUGMENT = ("before-split", "train-only", "none")


class SplitError(ValueError):
    """A split that cannot be had, with how many clips or speakers there are and how many it takes."""


def prepare(
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
            two sides) or `folds` (the corpus's published folds).
        ratio: train:validation:test in per cent, for `random` and `speaker`.
        augment: `before-split` makes a copy of every clip and then splits the doubled table, `train-only` copies
            what is in train, `none` copies nothing.
        fold: Which fold is the test side, for `folds`, from 1.
        seed: Of the shuffling.

    Returns:
        The table with the columns `copy` (0 the recording, 1 its augmented copy) and `split`.

    Raises:
        SplitError: Too few clips or speakers, or an unknown name.
    """
    if augment not in AUGMENT:
        raise SplitError(f"AUGMENT is {augment!r}; give one of {', '.join(AUGMENT)}.")
    rows = table.assign(copy=0)
    if augment == "before-split":
        rows = with_copies(rows)
    rows = rows.assign(split=assign(rows, protocol, ratio=ratio, fold=fold, seed=seed))
    if augment == "train-only":
        rows = pd.concat([rows, rows[rows["split"] == "train"].assign(copy=1)], ignore_index=True)
    return rows


def test_elsewhere(rows: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The training and validation rows of a split, with the clips of another corpus as the test side.

    Args:
        rows: What `prepare` returns; its own test side is left out.
        other: Clip table of the corpus to test on.
    """
    kept = rows[rows["split"] != "test"]
    return pd.concat([kept, other.assign(copy=0, split="test")], ignore_index=True)


def with_copies(rows: pd.DataFrame) -> pd.DataFrame:
    """Every row followed by one augmented copy of it."""
    return pd.concat([rows, rows.assign(copy=1)]).sort_index(kind="stable").reset_index(drop=True)


def assign(rows: pd.DataFrame, protocol: str, *, ratio: str = "75:15:10", fold: int = 1, seed: int = 42) -> np.ndarray:
    """The side of each row, `train`, `val` or `test`, shape (n,); arguments as in `prepare`."""
    if protocol == "random":
        return random(rows["emotion"], parts(ratio), seed)
    if protocol == "published":
        return published(rows["emotion"], seed)
    if protocol == "speaker":
        return by_speaker(rows, parts(ratio), seed)
    if protocol == "folds":
        return by_fold(rows, fold)
    raise SplitError(f"PROTOCOL is {protocol!r}; give one of {', '.join(PROTOCOLS)}.")


def parts(ratio: str) -> tuple[float, float, float]:
    """`"75:15:10"` as fractions of train, validation and test.

    Raises:
        SplitError: Not three positive numbers.
    """
    try:
        train, val, test = (float(part) for part in ratio.split(":"))
    except ValueError:
        raise SplitError(f'SPLIT is {ratio!r}; give train:validation:test such as "75:15:10".') from None
    if not min(train, val, test) > 0 or not np.isfinite(train + val + test):
        raise SplitError(f"SPLIT is {ratio!r}; each of the three parts must be above 0.")
    total = train + val + test
    return train / total, val / total, test / total


def random(emotions: pd.Series, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """A split by clip, stratified by emotion: test is cut off first, then validation."""
    _, val, test = fractions
    return _cut_twice(emotions, test, val / (1 - test), seed)


def published(emotions: pd.Series, seed: int = 42) -> np.ndarray:
    """Study A's split by clip: 30 % test stratified by emotion, then 5 % of train, unstratified, as validation."""
    return _cut_twice(emotions, 0.3, 0.05, seed, stratify_val=False)


def _cut_twice(emotions: pd.Series, test: float, val: float, seed: int, *, stratify_val: bool = True) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    labels = emotions.to_numpy()
    _enough_clips(emotions, test, val if stratify_val else 0)
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


def _enough_clips(emotions: pd.Series, test: float, val: float) -> None:
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


def by_speaker(rows: pd.DataFrame, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
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
    if untaught := sorted(set(rows["emotion"]) - set(rows["emotion"][split == "train"])):
        voices = rows.loc[rows["emotion"] == untaught[0], "speaker"].nunique()
        raise SplitError(
            f"no speaker of {untaught[0]} is left for train: {voices} of {len(counts)} speakers have it. "
            "Leave it out with EMOTIONS, or use another SEED."
        )
    return split


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


def folds(corpus: str) -> list[dict[str, list[str]]]:
    """The published folds of a corpus: for each the speakers of train, val and test.

    RAVDESS: the six EmoBox folds; EmoBox names test speakers only, so the next fold is validation and the other four
    are train. CREMA-D: one published speaker-disjoint split.

    Raises:
        SplitError: No folds were published for this corpus.
    """
    known = json.loads(files("sernb").joinpath("data/folds.json").read_text())
    name = corpus.removeprefix("demo-")
    if name == "crema":
        split = known["crema"]
        return [{"train": split["train"], "val": split["dev"], "test": split["test"]}]
    if name != "ravdess":
        raise SplitError(f"no folds were published for {corpus!r}, only for ravdess and crema; use PROTOCOL 'speaker'.")
    groups = known["ravdess"]
    return [
        {
            "test": groups[i],
            "val": groups[(i + 1) % len(groups)],
            "train": sorted(s for j, group in enumerate(groups) if j not in (i, (i + 1) % len(groups)) for s in group),
        }
        for i in range(len(groups))
    ]


def by_fold(rows: pd.DataFrame, fold: int) -> np.ndarray:
    """The side of each row in one published fold of its corpus.

    Raises:
        SplitError: No such fold, or a side without clips.
    """
    published_folds = folds(rows["corpus"].iloc[0])
    if not 1 <= fold <= len(published_folds):
        raise SplitError(f"FOLD is {fold}; this corpus has folds 1 to {len(published_folds)}.")
    side_of = {speaker: side for side, group in published_folds[fold - 1].items() for speaker in group}
    sides = rows["speaker"].map(side_of)
    if sides.isna().any():
        raise SplitError(f"speaker {rows['speaker'][sides.isna()].iloc[0]!r} is in no published fold.")
    if empty := [side for side in SIDES if side not in set(sides)]:
        speakers = ", ".join(published_folds[fold - 1][empty[0]])
        raise SplitError(f"fold {fold} has no clip for {empty[0]}: it takes clips of the speakers {speakers}.")
    return sides.to_numpy(dtype=object)


def sizes(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows, clips, speakers and clips of each emotion, side by side."""
    sides = rows.groupby("split")
    table = sides.agg(rows=("clip", "size"), clips=("clip", "nunique"), speakers=("speaker", "nunique"))
    return table.join(pd.crosstab(rows["split"], rows["emotion"])).reindex(
        [s for s in SIDES if s in set(rows["split"])]
    )


def leaks(
    rows: pd.DataFrame, fitted: tuple[str, ...] = ("train",), held_out: tuple[str, ...] = ("val", "test")
) -> dict[str, int]:
    """How many held-out rows the rows that are fitted on give away.

    Args:
        rows: What `prepare` returns.
        fitted: The sides that the model is fitted on; `validation-in-train` fits on two.
        held_out: The sides whose rows are counted.

    Returns:
        Held-out rows whose speaker (`speaker`), clip in another copy (`twin`) or very audio in the same copy
        (`content`) is trained on too.
    """
    seen, held = rows[rows["split"].isin(fitted)], rows[rows["split"].isin(held_out)]
    audio_of = lambda part: part["sha256"] + ":" + part["copy"].astype(str)  # noqa: E731
    voice_of = lambda part: part["corpus"] + ":" + part["speaker"]  # noqa: E731 (two corpora may both have an "01")
    same_clip = held["sha256"].isin(seen["sha256"])
    same_audio = audio_of(held).isin(audio_of(seen))
    return {
        "speaker": int(voice_of(held).isin(voice_of(seen)).sum()),
        "twin": int((same_clip & ~same_audio).sum()),
        "content": int(same_audio.sum()),
    }


def leak_note(rows: pd.DataFrame, fitted: tuple[str, ...] = ("train",)) -> str:
    """The counts of `leaks` as a sentence for the page."""
    found, held_out = leaks(rows, fitted), int(rows["split"].isin(("val", "test")).sum())
    return (
        f"Of the {held_out} held-out rows (validation and test), **{found['speaker']}** have a speaker, "
        f"**{found['twin']}** an augmented twin and **{found['content']}** their very own audio among the rows "
        "that are fitted on."
    )
