"""A local corpus: a folder that grows clip by clip, and that several windows may write to.

Beside the clips there are `manifest.csv` (one row per clip), `consent.csv` (who agreed to what, and when), `notes/` (on
parts of clips) and, only if the user wants it, `publishable.txt`. Every writer holds the folder's lock, writes a table
as a whole and puts it in place in one step. A clip's file is created, never overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from datetime import datetime
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from sernb import audio
from sernb.corpora.databases import is_database
from sernb.corpora.manifest import EMOTIONS
from sernb.corpora.manifest import csv_separator
from sernb.corpora.manifest import label_problem
from sernb.corpora.manifest import manifest_files
from sernb.corpora.manifest import normalise_name
from sernb.corpora.manifest import read_csv

MANIFEST, CONSENTS, PUBLISHABLE = "manifest.csv", "consent.csv", "publishable.txt"
CONSENT_FORM = "consent-text.txt"  # written by the user, in place of CONSENT_TEXT
STATEMENTS_FILE = "statements.txt"  # the same, in place of STATEMENTS
IDENTITIES = "identities.csv"
NOTES = "notes"
MANIFEST_COLUMNS = ["file", "emotion", "speaker", "sex", "condition", "statement", "intensity", "time"]
CONSENT_COLUMNS = ["speaker", "consent", "publish", "time"]
IDENTITY_COLUMNS = ["name_hash", "speaker"]
REQUIRED_COLUMNS = {
    MANIFEST: ("file", "emotion", "speaker"),
    CONSENTS: ("speaker", "consent"),
    IDENTITIES: ("name_hash", "speaker"),
}
CONSENT_TEXT = (
    "I know what these recordings are for and who will hear them. I agree to be recorded under a pseudonym. "
    "I may withdraw at any time; my recordings are then deleted."
)
WITHDRAWN_MARK = "withdrawn"
IMPORTED_TEXT = "The person who imported these recordings states that the speaker agreed to this use of them."
# A name does not look like this; an id such as RAVDESS's 01 or CREMA-D's 1001 does.
PSEUDONYM_RE = re.compile(r"[A-Za-z]{0,3}\d{1,5}")
STATEMENTS = (
    "The bus stops in front of the house",
    "There is a cup of tea on the table",
    "My brother is coming home on Friday",
    "The window in the kitchen is open",
)
PROMPT_EMOTIONS = tuple(emotion for emotion in EMOTIONS if emotion not in ("bored", "unknown"))  # those of RAVDESS
LOCK_SECONDS = 30


class LocalError(ValueError):
    """Something that a local corpus cannot store; the message names the value and what would be right."""


# reading


def corpus_path(root: str | Path) -> Path:
    """Return a corpus folder as a path, `~` being the user's home.

    Raises:
        LocalError: The name is empty, which would mean the kernel's working folder.
    """
    if not str(root).strip():
        raise LocalError("no corpus folder is given: type one, such as ~/my-corpus.")
    return Path(root).expanduser()


def read_manifest(root: str | Path) -> pd.DataFrame:
    """Read the manifest as text, one row per clip; empty if there is none yet.

    Returns:
        The columns `file`, `emotion`, `speaker`, `sex`, `condition`, `statement`, `intensity` and `time`, and any
        others that the file has.

    Raises:
        CorpusError: The file cannot be read (see `read_csv`).
        LocalError: The file lacks a column.
    """
    return _read_table(corpus_path(root) / MANIFEST, MANIFEST_COLUMNS)


def has_clips(root: str | Path) -> bool:
    """Return whether a folder is a corpus with clips: one with rows in its manifest, or an audformat database."""
    folder = corpus_path(root)
    return bool(len(read_manifest(folder))) or (not (folder / MANIFEST).is_file() and is_database(folder))


def active_consents(root: str | Path) -> pd.DataFrame:
    """Read each speaker's last consent, without speakers who have withdrawn.

    Returns:
        One row per speaker, with `speaker`, `consent` (the text), `publish` (yes or no) and `time`.

    Raises:
        CorpusError: The file cannot be read (see `read_csv`).
        LocalError: The file lacks a column.
    """
    last = _latest_consents(root)
    return last[last["consent"] != WITHDRAWN_MARK].reset_index(drop=True)


def withdrawn_speakers(root: str | Path) -> set[str]:
    """Return the ids of the speakers who have withdrawn."""
    last = _latest_consents(root)
    return set(last.loc[last["consent"] == WITHDRAWN_MARK, "speaker"])


def _latest_consents(root: str | Path) -> pd.DataFrame:
    return _read_table(corpus_path(root) / CONSENTS, CONSENT_COLUMNS).drop_duplicates("speaker", keep="last")


def consent_text(root: str | Path) -> str:
    """Return what a speaker agrees to: the corpus's own `consent-text.txt`, or `CONSENT_TEXT` if there is none."""
    form = corpus_path(root) / CONSENT_FORM
    own = " ".join(form.read_text(encoding="utf-8-sig").split()) if form.is_file() else ""
    return own or CONSENT_TEXT


def read_statements(root: str | Path) -> list[str]:
    """Return the sentences to record: the lines of the corpus's own `statements.txt`, or `STATEMENTS`.

    Raises:
        LocalError: The file holds no sentence, or is not text in UTF-8.
    """
    file = corpus_path(root) / STATEMENTS_FILE
    if not file.is_file():
        return list(STATEMENTS)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise LocalError(f"{file} is not text in UTF-8: save it as UTF-8.") from error
    if statements := list(dict.fromkeys(text for line in lines if (text := " ".join(line.split())))):
        return statements
    raise LocalError(f"{file} holds no sentence: write one per line, or delete the file to use sernb's own.")


def used_speaker_ids(root: str | Path) -> set[str]:
    """Return every id in use, or used before: all in the manifest, and all that ever agreed or withdrew."""
    return {*read_manifest(root)["speaker"].str.strip(), *_latest_consents(root)["speaker"].str.strip()}


def _read_table(file: Path, columns: list[str]) -> pd.DataFrame:
    if not file.is_file():
        return pd.DataFrame(columns=columns, dtype=str)
    table = read_csv(file)
    if missing := [name for name in REQUIRED_COLUMNS[file.name] if name not in table]:
        # Otherwise the next take would leave the other columns blank.
        raise LocalError(
            f"{file}: no column {', '.join(missing)}. Found {', '.join(map(repr, table))}; expected "
            f"{','.join(columns)}. Save it as comma-separated text in UTF-8."
        )
    return table.reindex(columns=[*columns, *(name for name in table if name not in columns)], fill_value="")


def next_pseudonym(root: str | Path) -> str:
    """Return the first of the pseudonyms S01, S02 and so on that no speaker of the corpus has, or had."""
    used = used_speaker_ids(root)
    return next(name for i in range(1, 100_000) if (name := f"S{i:02}") not in used)


def remaining_prompts(
    root: str | Path,
    speaker: str,
    *,
    emotions: Sequence[str] = PROMPT_EMOTIONS,
    statements: Sequence[str] = STATEMENTS,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the prompts that a speaker has not recorded yet: each emotion with each statement, in a random order.

    The order depends on the speaker and the seed.

    Returns:
        One row per prompt, with `emotion` and `statement`.
    """
    plan = list(product(emotions, statements))
    # Shuffled, or the last emotion would always be acted by a tired speaker.
    order = np.random.default_rng([seed, *speaker.encode()]).permutation(len(plan))
    own = read_manifest(root).query("speaker == @speaker")
    recorded = set(zip(own["emotion"], own["statement"], strict=True))
    return pd.DataFrame([plan[i] for i in order if plan[i] not in recorded], columns=["emotion", "statement"])


# writing


@contextlib.contextmanager
def corpus_lock(root: str | Path) -> Iterator[Path]:
    """Hold the lock of a corpus folder, which is created if it is missing.

    Raises:
        LocalError: Another window has held it for 30 s, no folder is given, or `.lock` is a file of the user's.
    """
    from filelock import FileLock
    from filelock import Timeout

    folder = corpus_path(root)
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".lock"
    if lock.exists() and (not lock.is_file() or lock.stat().st_size):  # locking it would empty it
        raise LocalError(f"{lock} is not a lock of sernb's: move it away, or choose another corpus folder.")
    try:
        with FileLock(lock, timeout=LOCK_SECONDS):
            yield folder
    except Timeout as error:
        raise LocalError(f"{folder} has been in use elsewhere for more than {LOCK_SECONDS} s; try again.") from error


def store_consent(root: str | Path, speaker: str, *, publish: bool = False, text: str = "", new: bool = False) -> None:
    """Store that a speaker has agreed to `text`, and whether published pages may play the recordings.

    Args:
        root: The corpus folder.
        speaker: A pseudonym.
        publish: Whether published pages may play the recordings.
        text: What was agreed to; by default the corpus's `consent_text`.
        new: Whether the speaker is new to the corpus: another window may have assigned the same id in the meantime.

    Raises:
        LocalError: The id may be a name, or it is a new speaker's and is, or was, in use.
    """
    check_pseudonym(speaker)
    with corpus_lock(root) as folder:
        if new and speaker in used_speaker_ids(folder):
            raise LocalError(f"{speaker} is another speaker of {folder} by now: use {next_pseudonym(folder)}.")
        add_consents(folder, [speaker], text or consent_text(folder), publish=publish)


def add_consents(folder: Path, speakers: Sequence[str], text: str, *, publish: bool = False) -> None:
    """Append to the consents; the caller holds the lock (`corpus_lock`)."""
    consent = {"consent": text, "publish": "yes" if publish else "no", "time": _now()}
    _append_csv(folder / CONSENTS, CONSENT_COLUMNS, [{"speaker": speaker, **consent} for speaker in speakers])


def undo_consent(root: str | Path, speaker: str) -> None:
    """Remove a consent that was stored by mistake; the id is free again if it was the speaker's only one.

    All of the speaker's lines since the last withdrawal are removed.

    Raises:
        LocalError: The corpus holds clips of the speaker.
    """
    with corpus_lock(root) as folder:
        clips = int((read_manifest(folder)["speaker"].str.strip() == speaker).sum())
        if clips:
            raise LocalError(f"{speaker} has {clips} clips in {folder}: to delete them, withdraw the speaker.")
        table = _read_table(folder / CONSENTS, CONSENT_COLUMNS)
        own = table.index[table["speaker"].str.strip() == speaker]
        if len(own) and table.loc[own[-1], "consent"] != WITHDRAWN_MARK:
            withdrawals = own[table.loc[own, "consent"] == WITHDRAWN_MARK]
            since = own[own > max(withdrawals, default=-1)]  # publication may have been ticked afterwards
            _replace_csv(folder / CONSENTS, table.drop(index=since))


def check_pseudonym(speaker: str) -> None:
    """Refuse an id that may be a person's name.

    Raises:
        LocalError: It is not up to three letters and a number.
    """
    if not PSEUDONYM_RE.fullmatch(speaker):
        raise LocalError(f"{speaker!r} may be a name: use a pseudonym of up to three letters and a number, like S01.")


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
    """Save a take as a new 16-bit WAV file at its own sample rate, then as a row of the manifest.

    Args:
        root: The corpus folder.
        signal: Samples, shape (n,): int16, or float with full scale at 1.
        sample_rate: The device's, in Hz.
        speaker: The pseudonym of a speaker whose consent is stored.
        emotion: One of `corpora.EMOTIONS`, or a word of the corpus's own.
        condition: For example a diagnosis, if the study needs it.
        statement: The sentence that was spoken.
        sex: If the study needs it.

    Returns:
        The row.

    Raises:
        LocalError: No consent, a word that cannot be an emotion, or no sound.
    """
    _refuse_take(signal, emotion)
    data = encode_wav(signal, sample_rate)
    labels = {"emotion": emotion, "speaker": speaker, "sex": sex, "condition": condition, "statement": statement}
    with corpus_lock(root) as folder:
        return add_clip(folder, data, {**labels, "intensity": ""})


def add_clip(folder: Path, data: bytes, labels: Mapping[str, str]) -> dict[str, str]:
    """Write a WAV file and its row of the manifest, which is returned; the caller holds the lock (`corpus_lock`)."""
    read_manifest(folder)  # one that cannot be read is refused before a clip is written
    speaker = labels["speaker"]
    if speaker not in set(active_consents(folder)["speaker"]):  # under the lock: withdrawals may come in between
        raise LocalError(f"speaker {speaker!r} has not agreed yet: tick the consent line first.")
    path = create_clip(folder, speaker, labels["emotion"], ".wav", data)
    row = {**labels, "file": path, "time": _now()}
    append_rows(folder, [row])
    return row


def _refuse_take(signal: np.ndarray, emotion: str) -> None:
    refuse_emotion(emotion)
    if not np.size(signal) or not np.any(signal):
        raise LocalError("the take holds no sound: is the right microphone chosen, and not muted?")


def refuse_emotion(emotion: str) -> None:
    """Refuse a word that cannot be the emotion of a clip.

    Raises:
        LocalError: The message says why (see `label_problem`).
    """
    if problem := label_problem(emotion):
        raise LocalError(problem)


def encode_wav(signal: np.ndarray, sample_rate: int) -> bytes:
    """Encode a clip as a 16-bit WAV file; int16 samples stay as they are, floats above full scale are clipped."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, signal, sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def append_rows(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Append rows to the manifest; the caller holds the lock (`corpus_lock`)."""
    _append_csv(folder / MANIFEST, MANIFEST_COLUMNS, [{"time": _now(), **row} for row in rows])


def create_clip(folder: Path, speaker: str, emotion: str, suffix: str, data: bytes) -> str:
    """Create the next clip of a speaker and emotion, as a whole or not at all; return its path within the folder."""
    own = folder / "audio" / speaker
    own.mkdir(parents=True, exist_ok=True)
    numbers = [re.fullmatch(rf"{re.escape(speaker)}_{re.escape(emotion)}_(\d+)", path.stem) for path in own.iterdir()]
    number = 1 + max((int(match[1]) for match in numbers if match), default=0)
    path = own / f"{speaker}_{emotion}_{number}{suffix}"
    part = _write_part(path, data)
    try:
        _link_or_copy(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path.relative_to(folder).as_posix()


def _link_or_copy(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename, it fails if the file exists
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        _create_file(path, part.read_bytes())


def _append_csv(file: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    table = pd.concat([_read_table(file, columns), pd.DataFrame(rows, dtype=str)], ignore_index=True).fillna("")
    _replace_csv(file, table)


def _replace_csv(file: Path, table: pd.DataFrame) -> None:
    """Write a table, separated as the file was: the user's spreadsheet may expect semicolons."""
    separator = csv_separator(file)[0] if file.is_file() else ","
    _replace_file(file, table.to_csv(index=False, sep=separator, lineterminator="\n").encode())


def _replace_file(file: Path, data: bytes) -> None:
    file = file.resolve()  # a link stays a link
    part = _write_part(file, data)
    if file.exists():
        shutil.copymode(file, part)
    os.replace(part, file)


def _write_part(path: Path, data: bytes) -> Path:
    """Write a new file beside `path`, and wait until it is on the disk: a crash must not leave half of `path`."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    _create_file(part, data)
    return part


def _create_file(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)  # half of it, on a full disk
            raise


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def relabel_clip(root: str | Path, clip: str, emotion: str) -> str:
    """Correct the emotion of a clip in the manifest, and in the file's name if sernb has chosen it; return its path.

    Args:
        root: The corpus folder.
        clip: The clip's id, its path within the folder.
        emotion: One of `corpora.EMOTIONS`, or a word of the corpus's own.

    Raises:
        LocalError: The manifest has no such clip, or the word cannot be an emotion.
    """
    refuse_emotion(emotion)
    with corpus_lock(root) as folder:
        table = read_manifest(folder)
        row = row_of_clip(folder, table, clip)
        speaker, before, old = (table.loc[row, name].strip() for name in ("speaker", "emotion", "file"))
        new = old
        if before != emotion and re.fullmatch(rf"audio/({re.escape(speaker)})/\1_{re.escape(before)}_\d+\.\w+", old):
            new = create_clip(folder, speaker, emotion, Path(old).suffix, (folder / old).read_bytes())
        table.loc[row, ["file", "emotion"]] = new, emotion
        try:
            _replace_csv(folder / MANIFEST, table)
        except BaseException:
            if new != old:
                (folder / new).unlink(missing_ok=True)
            raise
        if new != old:
            if (notes := _notes_file(folder, old)).is_file():
                notes.replace(_notes_file(folder, new))
            (folder / old).unlink(missing_ok=True)
    return new


def delete_clip(root: str | Path, clip: str) -> None:
    """Remove a clip from the manifest, then delete its notes and its file.

    A file outside the folder is left, with a warning.

    Raises:
        LocalError: The manifest has no such clip.
    """
    with corpus_lock(root) as folder:
        table = read_manifest(folder)
        row = row_of_clip(folder, table, clip)
        name = table.loc[row, "file"]
        _replace_csv(folder / MANIFEST, table.drop(index=row))
        if _is_inside(folder, (path := manifest_files(folder, [name])[0])):
            _delete_notes(folder, path)
            (folder / path).unlink(missing_ok=True)
        else:
            warnings.warn(f"{name} is outside {folder} and was not deleted; delete it by hand.", stacklevel=2)


def row_of_clip(folder: Path, table: pd.DataFrame, clip: str) -> int:
    """Return the index of a clip's row in the manifest.

    Raises:
        LocalError: There is none.
    """
    names = map(normalise_name, manifest_files(folder, list(table["file"])))
    rows = [row for row, name in zip(table.index, names, strict=True) if name == normalise_name(clip)]
    if not rows:
        raise LocalError(f"{folder / MANIFEST} has no clip {clip} any more: load the corpus again.")
    return rows[0]


def withdraw_speaker(root: str | Path, speaker: str) -> list[str]:
    """Store that a speaker's consent is withdrawn, then delete clips and rows; return the deleted files.

    This deletes the speaker's files in the manifest, and clips in `audio/<speaker>/` that a crash left without a row,
    each with its notes. A second call completes a withdrawal that broke off. Files outside the corpus folder, and files
    in `audio/<speaker>/` that sernb did not write, are left, with a warning. Networks that were trained on the clips,
    results of those runs and the feature store are not changed.

    So that nobody imports or records the person again without notice, `consent.csv` keeps the pseudonym's earlier
    consents and its withdrawal. If an import remembered the speaker, `identities.csv` keeps a line with the salted hash
    of the name (see `remember_speakers`): delete this line to forget the name.

    Raises:
        LocalError: The corpus has no such speaker.
    """
    with corpus_lock(root) as folder:
        table = read_manifest(folder)
        own = table["speaker"].str.strip() == speaker
        if speaker not in (used := used_speaker_ids(folder)):
            raise LocalError(f"{folder} has no speaker {speaker!r}; there are {', '.join(sorted(used))}.")
        if speaker not in withdrawn_speakers(folder):
            add_consents(folder, [speaker], WITHDRAWN_MARK)  # first: from now on nobody may record, import or publish
        names = pd.Series(manifest_files(folder, list(table["file"])), table.index, dtype=str)
        unlisted = _unlisted_of_speaker(folder, speaker, set(names[~own]))
        emotions = {*EMOTIONS, *table["emotion"].str.strip()}
        deleted = _delete_files(folder, list(names[own]), unlisted, speaker, emotions)
        if own.any():
            _replace_csv(folder / MANIFEST, table[~own])
    return deleted


def _unlisted_of_speaker(folder: Path, speaker: str, others: set[str]) -> list[str]:
    """Return the files in a speaker's folder that belong to no other speaker, such as a clip that a crash left."""
    own = folder / "audio" / speaker
    if own.resolve().parent != (folder / "audio").resolve():  # an id made by hand may be a path, a folder a link
        return []
    named = {(folder / name).resolve() for name in others}
    files = [path for path in sorted(own.rglob("*")) if not path.is_dir() and path.resolve() not in named]
    return [path.relative_to(folder).as_posix() for path in files]


def _delete_files(
    folder: Path, listed: Sequence[str], unlisted: Sequence[str], speaker: str, emotions: Iterable[str]
) -> list[str]:
    """Delete clips inside the folder and their notes: those that the manifest listed, and others with a clip's name."""
    ours = re.compile(rf"\.?{re.escape(speaker)}_({'|'.join(map(re.escape, emotions))})_\d+\.\w+(\.\w+)?(\.part)?")
    deleted = []
    for name in dict.fromkeys([*listed, *unlisted]):
        path = folder / name
        if not _is_inside(folder, name):
            warnings.warn(f"{name} is outside {folder} and was not deleted; delete it by hand.", stacklevel=3)
        elif name not in listed and not ours.fullmatch(path.name):
            warnings.warn(f"{path} is not a clip of {speaker}'s and was not deleted.", stacklevel=3)
        else:
            _delete_notes(folder, name)  # first: without the clip, a second withdrawal would not look for them
            if path.is_symlink() or path.is_file():
                path.unlink(missing_ok=True)
                deleted.append(name)
    with contextlib.suppress(OSError):  # it is missing, or not empty
        (folder / "audio" / speaker).rmdir()
    return deleted


def _is_inside(folder: Path, name: str) -> bool:
    # Only the parent is resolved: of a link, the link itself is deleted, never its target.
    inside = (folder / name).parent.resolve().is_relative_to(folder.resolve())
    return inside and not Path(name).is_absolute() and ".." not in Path(name).parts


# notes


def read_notes(root: str | Path, clip: str) -> pd.DataFrame:
    """Read the notes on parts of a clip, as `audio.read_annotations` returns them; empty if there are none.

    Raises:
        AnnotationError: The file is not a label track of Audacity.
    """
    file = _notes_file(corpus_path(root), clip)
    return audio.read_annotations(file) if file.is_file() else pd.DataFrame(columns=audio.ANNOTATION_COLUMNS)


def add_note(root: str | Path, clip: str, start: float, end: float, text: str) -> Path:
    """Append a note on a part of a clip to `notes/<clip>.txt`, a label track of Audacity; return the file.

    Args:
        root: The corpus folder.
        clip: The clip's id, its path within the folder.
        start: Where the part begins, in seconds.
        end: Where it ends, in seconds.
        text: The note; line breaks become spaces.

    Raises:
        AnnotationError: The clip's file of notes cannot be read.
        LocalError: The manifest has no such clip, or the note is empty.
    """
    if not (text := " ".join(text.split())):
        raise LocalError("the note is empty: write what you hear in this part.")
    with corpus_lock(root) as folder:
        row_of_clip(folder, read_manifest(folder), clip)
        read_notes(folder, clip)  # a file that cannot be read is left as it is
        file = _notes_file(folder, clip)
        file.parent.mkdir(parents=True, exist_ok=True)
        earlier = file.read_bytes() if file.is_file() else b""
        line_break = b"" if not earlier or earlier.endswith(b"\n") else b"\n"
        _replace_file(file, earlier + line_break + audio.audacity_line(start, end, text).encode())
    return file


def _notes_file(folder: Path, clip: str) -> Path:
    return folder / NOTES / f"{clip}.txt"


def _delete_notes(folder: Path, clip: str) -> None:
    if (file := _notes_file(folder, clip)).is_file():
        file.unlink()
        with contextlib.suppress(OSError):  # not empty
            file.parent.rmdir()


# who is who


def known_speakers(root: str | Path, names: Iterable[str]) -> dict[str, str]:
    """Return the pseudonym of each name that an earlier import has remembered (see `remember_speakers`)."""
    table = _read_table(corpus_path(root) / IDENTITIES, IDENTITY_COLUMNS)
    speakers = dict(zip(table["name_hash"], table["speaker"], strict=True))
    salts = dict.fromkeys(name_hash.partition("$")[0] for name_hash in speakers)  # the latest last: it counts
    hashes = {name: [_hash_name(name, salt) for salt in salts] for name in names}
    return {name: speakers[key] for name, keys in hashes.items() for key in keys if key in speakers}


def remember_speakers(root: str | Path, pseudonyms: Mapping[str, str]) -> None:
    """Remember which pseudonym belongs to which name, so that a later import joins recordings of the same person.

    `identities.csv`, which only its owner may read, holds a salted hash of each name and no name. Whoever has this file
    and a list of possible names can still find out who is who: delete the file to forget it, and never pass it on.
    A withdrawal leaves the speaker's line: without it, another import of the person would not be noticed.
    """
    with corpus_lock(root) as folder:
        remembered = known_speakers(folder, pseudonyms)
        salt = secrets.token_hex(8)
        rows = [
            {"name_hash": _hash_name(name, salt), "speaker": speaker}
            for name, speaker in pseudonyms.items()
            if remembered.get(name) != speaker
        ]
        if rows:
            _append_csv(folder / IDENTITIES, IDENTITY_COLUMNS, rows)
            (folder / IDENTITIES).chmod(0o600)


def _hash_name(name: str, salt: str) -> str:
    text = name if PSEUDONYM_RE.fullmatch(name) else " ".join(name.casefold().split())  # p01 need not be P01
    return f"{salt}${hashlib.blake2b(text.encode(), salt=bytes.fromhex(salt)).hexdigest()}"


# publication


def is_publishable(root: str | Path) -> bool:
    """Return whether pages may play and name this corpus: its user and every speaker in the manifest agreed."""
    return (corpus_path(root) / PUBLISHABLE).is_file() and not _speakers_refusing(root)


def _speakers_refusing(root: str | Path) -> list[str]:
    consents = active_consents(root)
    willing = set(consents.loc[consents["publish"] == "yes", "speaker"])
    return sorted(set(read_manifest(root)["speaker"].str.strip()) - willing)


def mark_publishable(root: str | Path, reason: str) -> Path:
    """Mark a corpus as publishable, until `publishable.txt` is removed or a speaker is added who has not agreed.

    An audformat database has no manifest and no consents: there, the reason alone counts.

    Args:
        root: The corpus folder.
        reason: What permits it, such as a licence or the number of an ethics approval; added to the file.

    Raises:
        LocalError: A speaker has not agreed to being heard on published pages.
    """
    if refusing := _speakers_refusing(root):
        raise LocalError(
            f"{', '.join(refusing[:5])} in {corpus_path(root) / CONSENTS} have not agreed to be heard on published "
            "pages: ask them, then store it with corpora.store_consent(root, speaker, publish=True)."
        )
    with corpus_lock(root) as folder:
        file = folder / PUBLISHABLE
        earlier = file.read_bytes() if file.is_file() else b""
        _replace_file(file, earlier + f"{_now()}: {reason}\n".encode())
    return file
