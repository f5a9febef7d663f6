"""A local corpus grows, clip by clip, in a folder that several windows may have open.

Beside the clips lie `manifest.csv` (what is in them), `consent.csv` (who agreed to what, when) and, only where the
user has said so, `publishable.txt`. Whoever changes one of these holds the lock of the folder, writes the whole file
anew and puts it in place in one step; the file of a clip is created, never overwritten.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from sernb.corpora.table import EMOTIONS
from sernb.corpora.table import read_csv

MANIFEST, CONSENTS, PUBLISHABLE = "manifest.csv", "consent.csv", "publishable.txt"
MANIFEST_COLUMNS = ["file", "emotion", "speaker", "sex", "condition", "statement", "intensity", "time"]
CONSENT_COLUMNS = ["speaker", "consent", "publish", "time"]
REQUIRED_COLUMNS = {MANIFEST: ("file", "emotion", "speaker"), CONSENTS: ("speaker", "consent")}
CONSENT_TEXT = (
    "I know what these recordings are for and who will hear them. I agree to be recorded under a pseudonym. "
    "I may withdraw at any time; my recordings are then deleted."
)
WITHDRAWN_MARK = "withdrawn"
IMPORTED_TEXT = "Whoever imported these recordings says that the speaker agreed to this use of them."
# A name does not look like this; an id such as RAVDESS's 01 or CREMA-D's 1001 does.
PSEUDONYM_RE = re.compile(r"[A-Za-z]{0,3}\d{1,5}")
STATEMENTS = (
    "The bus stops in front of the house",
    "There is a cup of tea on the table",
    "My brother is coming home on Friday",
    "The window in the kitchen is open",
)
LOCK_SECONDS = 30


class LocalError(ValueError):
    """What cannot be kept, with the value at fault and the remedy."""


# reading


def corpus_path(root: str | Path) -> Path:
    """A corpus folder as a path, `~` being the user's home.

    Raises:
        LocalError: It is empty, which would be whatever folder the kernel runs in.
    """
    if not str(root).strip():
        raise LocalError("no corpus folder is given: type one, such as ~/my-corpus.")
    return Path(root).expanduser()


def read_manifest(root: str | Path) -> pd.DataFrame:
    """The manifest as text, one row a clip, all of `COLUMNS` and those of its own; empty where there is none yet.

    Raises:
        LocalError: The file lacks a column.
    """
    return _read_table(corpus_path(root) / MANIFEST, MANIFEST_COLUMNS)


def active_consents(root: str | Path) -> pd.DataFrame:
    """The consent that counts of each speaker, the last one given; those who have withdrawn theirs are not in it.

    Raises:
        LocalError: The file lacks a column.
    """
    last = _latest_consents(root)
    return last[last["consent"] != WITHDRAWN_MARK].reset_index(drop=True)


def withdrawn_speakers(root: str | Path) -> set[str]:
    """The ids of those whose last word was to withdraw."""
    last = _latest_consents(root)
    return set(last.loc[last["consent"] == WITHDRAWN_MARK, "speaker"])


def _latest_consents(root: str | Path) -> pd.DataFrame:
    return _read_table(corpus_path(root) / CONSENTS, CONSENT_COLUMNS).drop_duplicates("speaker", keep="last")


def used_speaker_ids(root: str | Path) -> set[str]:
    """Every id that somebody of the corpus has or had: those in the manifest, and all who ever agreed or withdrew."""
    return {*read_manifest(root)["speaker"].str.strip(), *_latest_consents(root)["speaker"].str.strip()}


def _read_table(file: Path, columns: list[str]) -> pd.DataFrame:
    if not file.is_file():
        return pd.DataFrame(columns=columns, dtype=str)
    found = read_csv(file)
    if missing := [name for name in REQUIRED_COLUMNS[file.name] if name not in found]:
        # Read on, a spreadsheet's semicolons would be one column, and the next take would write the others blank.
        raise LocalError(
            f"{file}: no column {', '.join(missing)}. Found {', '.join(map(repr, found))}; expected "
            f"{','.join(columns)}. Save it as comma-separated text (a spreadsheet may use semicolons) in UTF-8."
        )
    return found.reindex(columns=[*columns, *(name for name in found if name not in columns)], fill_value="")


def next_pseudonym(root: str | Path) -> str:
    """The first of S01, S02, ... that no speaker of the corpus has, or had."""
    had = used_speaker_ids(root)
    return next(name for i in range(1, 100_000) if (name := f"S{i:02}") not in had)


def remaining_prompts(
    root: str | Path,
    speaker: str,
    *,
    emotions: Sequence[str] = EMOTIONS[:-1],
    statements: Sequence[str] = STATEMENTS,
    seed: int = 0,
) -> pd.DataFrame:
    """What is left for a speaker to say: each emotion in each statement once, shuffled as is this speaker's order.

    Returns:
        One row a prompt, `emotion` and `statement`; those that the manifest holds are left out.
    """
    plan = list(product(emotions, statements))
    # Shuffled, or the last emotion would be that of a tired speaker.
    order = np.random.default_rng([seed, *speaker.encode()]).permutation(len(plan))
    own = read_manifest(root).query("speaker == @speaker")
    said = set(zip(own["emotion"], own["statement"], strict=True))
    return pd.DataFrame([plan[i] for i in order if plan[i] not in said], columns=["emotion", "statement"])


# writing


@contextmanager
def corpus_lock(root: str | Path) -> Iterator[Path]:
    """Hold a corpus folder, made where it is missing, alone among all that write to it.

    Raises:
        LocalError: Another window has held it for 30 s, or no folder is given.
    """
    from filelock import FileLock
    from filelock import Timeout

    folder = corpus_path(root)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=LOCK_SECONDS):
            yield folder
    except Timeout as error:
        raise LocalError(f"{folder} is in use elsewhere for more than {LOCK_SECONDS} s; try again.") from error


def store_consent(
    root: str | Path, speaker: str, *, publish: bool = False, text: str = CONSENT_TEXT, new: bool = False
) -> None:
    """Store that a speaker has agreed to `text`, and whether recordings may be heard on published pages too.

    Args:
        root: The corpus folder.
        speaker: A pseudonym.
        publish: Whether published pages may play the recordings.
        text: What was agreed to.
        new: The speaker is new to the corpus: another window may have given the same id away in the meantime.

    Raises:
        LocalError: The speaker's id may be a name, or is a new speaker's and somebody has it, or had it.
    """
    check_pseudonym(speaker)
    with corpus_lock(root) as folder:
        if new and speaker in used_speaker_ids(folder):
            raise LocalError(f"{speaker} is another speaker of {folder} by now: take {next_pseudonym(folder)}.")
        add_consents(folder, [speaker], text, publish=publish)


def add_consents(folder: Path, speakers: Sequence[str], text: str, *, publish: bool = False) -> None:
    """Append to the consents; the caller holds the folder (`locked`)."""
    told = {"consent": text, "publish": "yes" if publish else "no", "time": _now()}
    _append_csv(folder / CONSENTS, CONSENT_COLUMNS, [{"speaker": speaker, **told} for speaker in speakers])


def check_pseudonym(speaker: str) -> None:
    """Refuse an id that may be a person's name.

    Raises:
        LocalError: It is not up to three letters and a number.
    """
    if not PSEUDONYM_RE.fullmatch(speaker):
        raise LocalError(f"{speaker!r} may be a name: give a pseudonym of up to three letters and a number, like S01.")


def save_take(
    root: str | Path,
    signal: np.ndarray,
    sample_rate: int,
    *,
    speaker: str,
    emotion: str,
    condition: str = "",
    statement: str = "",
    sex: str = "",
) -> dict[str, str]:
    """Keep a take: a new 16-bit WAV at its own rate, then its row in the manifest.

    Args:
        root: The corpus folder.
        signal: Samples, shape (n,): int16, or float with full scale at 1.
        sample_rate: The device's, in Hz.
        speaker: A pseudonym whose consent is stored.
        emotion: One of `corpora.EMOTIONS`.
        condition: Such as a diagnosis, if the study needs it.
        statement: The sentence that was said.
        sex: If the study needs it.

    Returns:
        The row.

    Raises:
        LocalError: No consent, an unknown emotion, or no sound.
    """
    _refuse_take(signal, emotion)
    data = encode_wav(signal, sample_rate)
    with corpus_lock(root) as folder:
        read_manifest(folder)  # one that cannot be read is refused before there is a file that it would have to name
        if speaker not in set(active_consents(folder)["speaker"]):  # asked here, or a withdrawal could come in between
            raise LocalError(f"speaker {speaker!r} has not agreed yet: tick the consent line first.")
        path = create_clip(folder, speaker, emotion, ".wav", data)
        told = {"emotion": emotion, "speaker": speaker, "sex": sex, "condition": condition, "statement": statement}
        row = {"file": path, **told, "intensity": "", "time": _now()}
        _append_csv(folder / MANIFEST, MANIFEST_COLUMNS, [row])
    return row


def _refuse_take(signal: np.ndarray, emotion: str) -> None:
    if emotion not in EMOTIONS:
        raise LocalError(f"no emotion is called {emotion!r}; there are {', '.join(EMOTIONS)}.")
    if not np.size(signal) or not np.any(signal):
        raise LocalError("the take holds no sound: is the right microphone chosen, and not muted?")


def encode_wav(signal: np.ndarray, sample_rate: int) -> bytes:
    """A clip as a 16-bit WAV file; int16 samples are kept as they are, floats above full scale are clipped."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, signal, sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def append_rows(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Append rows to the manifest; the caller holds the folder (`locked`)."""
    _append_csv(folder / MANIFEST, MANIFEST_COLUMNS, [{"time": _now(), **row} for row in rows])


def create_clip(folder: Path, speaker: str, emotion: str, suffix: str, data: bytes) -> str:
    """Create the next clip of a speaker and emotion, whole or not at all; returns its path within the folder."""
    place = folder / "audio" / speaker
    place.mkdir(parents=True, exist_ok=True)
    numbers = [re.fullmatch(rf"{re.escape(speaker)}_{emotion}_(\d+)", path.stem) for path in place.iterdir()]
    number = 1 + max((int(match[1]) for match in numbers if match), default=0)
    path = place / f"{speaker}_{emotion}_{number}{suffix}"
    part = path.with_name(f".{path.name}.part")
    _write_file(part, data)
    try:
        _link_or_copy(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path.relative_to(folder).as_posix()


def _link_or_copy(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename, it fails where the file is there already
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with path.open("xb") as file:
            file.write(part.read_bytes())


def _append_csv(file: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    table = pd.concat([_read_table(file, columns), pd.DataFrame(rows, dtype=str)], ignore_index=True).fillna("")
    _replace_csv(file, table)


def _replace_csv(file: Path, table: pd.DataFrame) -> None:
    part = file.with_name(f".{file.name}.part")
    _write_file(part, table.to_csv(index=False, lineterminator="\n").encode())
    if file.exists():
        shutil.copymode(file, part)
    os.replace(part, file)


def _write_file(path: Path, data: bytes) -> None:
    """Write, and wait until it is on the disk: a crash must not leave half of it under its final name."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def withdraw_speaker(root: str | Path, speaker: str) -> list[str]:
    """Store that a speaker's consent is withdrawn, then delete clips and rows; returns the deleted files.

    Deleted is what the manifest names as the speaker's, and what else lies in `audio/<speaker>/`. What a crash leaves
    over a second call deletes. Files outside the corpus folder are warned of and left; networks that were trained on
    the clips, results of those runs, and the feature store are not touched.

    Raises:
        LocalError: The corpus knows no such speaker.
    """
    with corpus_lock(root) as folder:
        table = read_manifest(folder)
        own = table["speaker"].str.strip() == speaker
        if speaker not in used_speaker_ids(folder):
            raise LocalError(
                f"{folder} knows no speaker {speaker!r}; there are {', '.join(sorted(used_speaker_ids(folder)))}."
            )
        if speaker not in withdrawn_speakers(folder):
            add_consents(folder, [speaker], WITHDRAWN_MARK)  # first: from here on nobody may record, import or publish
        gone = _delete_files(
            folder, [*table.loc[own, "file"], *_unlisted_of_speaker(folder, speaker, set(table.loc[~own, "file"]))]
        )
        if own.any():
            _replace_csv(folder / MANIFEST, table[~own])
    return gone


def _unlisted_of_speaker(folder: Path, speaker: str, others: set[str]) -> list[str]:
    """What lies in a speaker's folder without being another's: clips whose rows a crash has cost, parts of files."""
    place = folder / "audio" / speaker
    if place.resolve().parent != (folder / "audio").resolve():  # an id made by hand may be a path, a folder a link
        return []
    named = {(folder / name).resolve() for name in others}  # resolved, as a manifest made by hand may say ./audio/...
    files = [path for path in sorted(place.rglob("*")) if not path.is_dir() and path.resolve() not in named]
    return [path.relative_to(folder).as_posix() for path in files]


def _delete_files(folder: Path, names: Sequence[str]) -> list[str]:
    gone = []
    for name in dict.fromkeys(names):
        path = folder / name
        if not _inside(folder, name):
            warnings.warn(f"{name} lies outside {folder}: it is left; delete it by hand.", stacklevel=3)
        elif path.is_symlink() or path.is_file():
            path.unlink(missing_ok=True)
            gone.append(name)
    return gone


def _inside(folder: Path, name: str) -> bool:
    # The parent alone is resolved: of a link the link itself goes, never what it points to.
    inside = (folder / name).parent.resolve().is_relative_to(folder.resolve())
    return inside and not Path(name).is_absolute() and ".." not in Path(name).parts


# who may hear it


def is_publishable(root: str | Path) -> bool:
    """Whether pages may play and name this corpus: the user said so, and so did every speaker in the manifest."""
    return (corpus_path(root) / PUBLISHABLE).is_file() and not _speakers_refusing(root)


def _speakers_refusing(root: str | Path) -> list[str]:
    told = active_consents(root)
    willing = set(told.loc[told["publish"] == "yes", "speaker"])
    return sorted(set(read_manifest(root)["speaker"].str.strip()) - willing)


def mark_publishable(root: str | Path, reason: str) -> Path:
    """Set a corpus publishable, until `publishable.txt` is removed or a speaker comes in who has not agreed to it.

    Args:
        root: The corpus folder.
        reason: By what right, such as a licence or the number of an ethics vote; kept in the file.

    Raises:
        LocalError: A speaker has not agreed to being heard on published pages.
    """
    if unwilling := _speakers_refusing(root):
        raise LocalError(
            f"{', '.join(unwilling[:5])} of {corpus_path(root) / CONSENTS} have not agreed to be heard on published pages: "
            "ask them, then store it with local.consent(root, speaker, publish=True)."
        )
    with corpus_lock(root) as folder:
        _write_file(folder / PUBLISHABLE, f"{_now()}: {reason}\n".encode())
    return folder / PUBLISHABLE
