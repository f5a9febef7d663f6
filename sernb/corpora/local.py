"""A local corpus: a folder that grows clip by clip, and that several windows may write to.

Beside the clips there are `manifest.csv` (one row per clip), `consent.csv` (who agreed to what, and when) and, only if
the user wants it, `publishable.txt`. Every writer holds the folder's lock, writes a table as a whole and puts it in
place in one step. A clip's file is created, never overwritten.
"""

from __future__ import annotations

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
from contextlib import contextmanager
from datetime import datetime
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from sernb.corpora.manifest import EMOTIONS
from sernb.corpora.manifest import manifest_files
from sernb.corpora.manifest import read_csv

MANIFEST, CONSENTS, PUBLISHABLE = "manifest.csv", "consent.csv", "publishable.txt"
CONSENT_FORM = "consent-text.txt"  # written by the user, in place of CONSENT_TEXT
IDENTITIES = "identities.csv"
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
        All of `MANIFEST_COLUMNS` and any others that the file has.

    Raises:
        LocalError: The file lacks a column.
    """
    return _read_table(corpus_path(root) / MANIFEST, MANIFEST_COLUMNS)


def active_consents(root: str | Path) -> pd.DataFrame:
    """Read each speaker's last consent, without speakers who have withdrawn.

    Raises:
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


def used_speaker_ids(root: str | Path) -> set[str]:
    """Return every id in use, or used before: all in the manifest, and all that ever agreed or withdrew."""
    return {*read_manifest(root)["speaker"].str.strip(), *_latest_consents(root)["speaker"].str.strip()}


def _read_table(file: Path, columns: list[str]) -> pd.DataFrame:
    if not file.is_file():
        return pd.DataFrame(columns=columns, dtype=str)
    table = read_csv(file)
    if missing := [name for name in REQUIRED_COLUMNS[file.name] if name not in table]:
        # Read on, a spreadsheet's semicolons would be one column, and the next take would leave the others blank.
        raise LocalError(
            f"{file}: no column {', '.join(missing)}. Found {', '.join(map(repr, table))}; expected "
            f"{','.join(columns)}. Save it as comma-separated text (a spreadsheet may use semicolons) in UTF-8."
        )
    return table.reindex(columns=[*columns, *(name for name in table if name not in columns)], fill_value="")


def next_pseudonym(root: str | Path) -> str:
    """Return the first of S01, S02, ... that no speaker of the corpus has, or had."""
    used = used_speaker_ids(root)
    return next(name for i in range(1, 100_000) if (name := f"S{i:02}") not in used)


def remaining_prompts(
    root: str | Path,
    speaker: str,
    *,
    emotions: Sequence[str] = EMOTIONS[:-1],
    statements: Sequence[str] = STATEMENTS,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the prompts that a speaker has not recorded yet: each emotion in each statement, in the speaker's order.

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


@contextmanager
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
        speaker: A pseudonym whose consent is stored.
        emotion: One of `corpora.EMOTIONS`.
        condition: For example a diagnosis, if the study needs it.
        statement: The sentence that was spoken.
        sex: If the study needs it.

    Returns:
        The row.

    Raises:
        LocalError: No consent, an unknown emotion, or no sound.
    """
    _refuse_take(signal, emotion)
    data = encode_wav(signal, sample_rate)
    with corpus_lock(root) as folder:
        read_manifest(folder)  # one that cannot be read is refused before a clip is written
        if speaker not in set(active_consents(folder)["speaker"]):  # under the lock: withdrawals may come in between
            raise LocalError(f"speaker {speaker!r} has not agreed yet: tick the consent line first.")
        path = create_clip(folder, speaker, emotion, ".wav", data)
        labels = {"emotion": emotion, "speaker": speaker, "sex": sex, "condition": condition, "statement": statement}
        row = {"file": path, **labels, "intensity": "", "time": _now()}
        append_rows(folder, [row])
    return row


def _refuse_take(signal: np.ndarray, emotion: str) -> None:
    if emotion not in EMOTIONS:
        raise LocalError(f"no emotion is called {emotion!r}; there are {', '.join(EMOTIONS)}.")
    if not np.size(signal) or not np.any(signal):
        raise LocalError("the take holds no sound: is the right microphone chosen, and not muted?")


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
    numbers = [re.fullmatch(rf"{re.escape(speaker)}_{emotion}_(\d+)", path.stem) for path in own.iterdir()]
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
    _replace_file(file, table.to_csv(index=False, lineterminator="\n").encode())


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


def withdraw_speaker(root: str | Path, speaker: str) -> list[str]:
    """Store that a speaker's consent is withdrawn, then delete clips and rows; return the deleted files.

    Deleted are the speaker's files of the manifest, and clips in `audio/<speaker>/` that a crash left without a row. A
    second call completes a withdrawal that broke off. Files outside the corpus folder, and files in `audio/<speaker>/`
    that sernb did not write, are left, with a warning. Networks that were trained on the clips, results of those runs
    and the feature store are not changed.

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
        deleted = _delete_files(folder, list(names[own]), unlisted, speaker)
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


def _delete_files(folder: Path, listed: Sequence[str], unlisted: Sequence[str], speaker: str) -> list[str]:
    """Delete clips inside the folder: those that the manifest listed, and others that have a clip's name."""
    ours = re.compile(rf"\.?{re.escape(speaker)}_({'|'.join(EMOTIONS)})_\d+\.\w+(\.\w+)?(\.part)?")
    deleted = []
    for name in dict.fromkeys([*listed, *unlisted]):
        path = folder / name
        if not _is_inside(folder, name):
            warnings.warn(f"{name} is outside {folder} and was not deleted; delete it by hand.", stacklevel=3)
        elif name not in listed and not ours.fullmatch(path.name):
            warnings.warn(f"{path} is not a clip of {speaker}'s and was not deleted.", stacklevel=3)
        elif path.is_symlink() or path.is_file():
            path.unlink(missing_ok=True)
            deleted.append(name)
    return deleted


def _is_inside(folder: Path, name: str) -> bool:
    # Only the parent is resolved: of a link, the link itself is deleted, never its target.
    inside = (folder / name).parent.resolve().is_relative_to(folder.resolve())
    return inside and not Path(name).is_absolute() and ".." not in Path(name).parts


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
    text = name if PSEUDONYM_RE.fullmatch(name) else " ".join(name.casefold().split())  # whether p01 is P01 is asked
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

    Args:
        root: The corpus folder.
        reason: What permits it, such as a licence or the number of an ethics vote; added to the file.

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
