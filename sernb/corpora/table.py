"""The clip table: a corpus folder is read into a table with one row per clip.

The labels of public corpora are read from the file names, whatever the folders; a local corpus lists its clips,
emotions and speakers in `manifest.csv`, or is an audformat database.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sernb import audio
from sernb import utils
from sernb.corpora.databases import is_database
from sernb.corpora.databases import read_database_rows
from sernb.corpora.demo import DEMO_CORPORA
from sernb.corpora.demo import demo_folder
from sernb.corpora.filenames import parse_crema_name
from sernb.corpora.filenames import parse_emodb_name
from sernb.corpora.filenames import parse_ravdess_name
from sernb.corpora.filenames import parse_savee_name
from sernb.corpora.filenames import parse_tess_name
from sernb.corpora.filenames import take_id
from sernb.corpora.manifest import EMOTIONS
from sernb.corpora.manifest import MANIFEST_PATTERN
from sernb.corpora.manifest import MAX_LISTED
from sernb.corpora.manifest import PACKED_SUFFIXES
from sernb.corpora.manifest import CorpusError
from sernb.corpora.manifest import CorpusWarning
from sernb.corpora.manifest import normalise_name
from sernb.corpora.manifest import read_demographics
from sernb.corpora.manifest import read_manifest_rows
from sernb.corpora.manifest import similar_speakers
from sernb.corpora.manifest import unpack_hint

CHANNELS = ("all", "speech", "song")
CLIP_COLUMNS = "clip path corpus speaker sex emotion intensity statement channel condition sha256".split()
AUDIO_SUFFIXES = set(".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf .w64 .rf64".split())
LOSSY_SUFFIXES = {".mp3", ".ogg", ".oga", ".opus"}
SEARCH_DEPTH = 3  # folders below $SERNB_DATA in which a corpus's folder is looked for


@dataclass(frozen=True)
class Corpus:
    """Facts about a corpus that are known before any of it is read.

    `parse` reads the labels from a path (None if the file is not a clip); without it, they are in `manifest.csv`, or
    in the header and the tables of an audformat database.
    """

    name: str
    title: str
    licence: str
    source: str
    pattern: str
    parse: Callable[[str], dict | None] | None = None

    def read(self, root: Path) -> list[dict]:
        """Return the path and the labels of each clip in a folder.

        Raises:
            CorpusError: There is no clip, or the manifest has errors.
        """
        if self.parse is None:
            has_database = is_database(root) and not (root / "manifest.csv").exists()
            return read_database_rows(root) if has_database else read_manifest_rows(root)
        files = sorted(find_audio_files(root), key=str)
        rows = [{"path": file, **fields} for file in files if (fields := self.parse(str(file)))]
        if not rows:
            raise CorpusError(_no_clips_error(self, root, files))
        if self.parse is parse_crema_name:
            actors = read_demographics(root).set_index("speaker").to_dict("index")
            rows = [{**row, **actors.get(row["speaker"], {})} for row in rows]
        return rows


# from a folder to rows


def find_audio_files(root: Path, suffixes: Set[str] = AUDIO_SUFFIXES) -> Iterator[Path]:
    """Yield the audio files below a folder in the file system's order, which differs between machines.

    Raises:
        CorpusError: A folder cannot be listed.
    """
    for folder, _, names in os.walk(root, onerror=_refuse_unlisted):
        for name in names:
            if os.path.splitext(name)[1].lower() in suffixes and not name.startswith("."):
                yield Path(folder, name)


def _refuse_unlisted(error: OSError) -> None:
    """Refuse a folder that cannot be listed: skipping it would silently make the corpus smaller."""
    if not isinstance(error, FileNotFoundError):
        raise CorpusError(f"{error.filename}: cannot be listed ({error.strerror}). Make it readable, or move it away.")


def _no_clips_error(facts: Corpus, root: Path, files: list[Path]) -> str:
    if unreadable := _unreadable_clips(facts, root, set()):
        return f"{root}: no readable clip. {_describe_unreadable(unreadable)}"
    examples = files[:2] or sorted(root.iterdir())[:2]
    names = " and ".join(repr(file.name) for file in examples) or "nothing"
    return f"{root}: no clip found. It contains {names}; expected names like {facts.pattern}.{unpack_hint(root)}"


def _unreadable_clips(facts: Corpus, root: Path, takes: Set[str]) -> list[str]:
    """Return the files that are named like clips, are in a container that cannot be read, and whose take is missing."""

    def is_clip(name: str) -> bool:
        """Return whether a file of another format would be a clip that is not in the corpus yet."""
        fields = facts.parse(name) if facts.parse and take_id(name) not in takes else None
        return fields is not None and fields.get("modality") != "video"  # RAVDESS's modality 02 has no sound

    files = find_audio_files(root, audio.UNREADABLE_SUFFIXES)
    return sorted(_clip_id(file.relative_to(root)) for file in files if is_clip(str(file)))


def _describe_unreadable(names: Sequence[str]) -> str:
    source = shlex.quote(names[0])
    target = shlex.quote(os.path.splitext(names[0])[0] + ".wav")
    return (
        f"{len(names)} {'file is' if len(names) == 1 else 'files are'} named like clips, but in a format that cannot "
        f"be read: {_list_some(names)}. Convert to WAV, for example with `ffmpeg -i {source} {target}` in the folder."
    )


def _list_some(names: Sequence[str]) -> str:
    text = ", ".join(map(audio.escape_control_characters, names[:MAX_LISTED]))
    return f"{text}, and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else text


# the corpora

CREMA_PATTERN = "1001_IEO_ANG_HI.wav (ACTOR_SENTENCE_EMOTION_LEVEL)"
RAVDESS_PATTERN = "03-01-05-01-02-01-16.wav (modality-channel-emotion-intensity-statement-repetition-actor)"
EMODB_PATTERN = "03a01Fa.wav (speaker, sentence, emotion, version)"
TESS_PATTERN = "OAF_back_angry.wav (SPEAKER_word_emotion)"
SAVEE_PATTERN = "DC_a01.wav or DC/a01.wav (SPEAKER_emotion and number of the sentence)"
_CREMA_HOME = "github.com/CheyneyComputerScience/CREMA-D, folder AudioWAV"
_RAVDESS_HOME = "zenodo.org/records/1188976, the two Audio_ archives"
_EMODB_HOME = "emodb.bilderbar.info, download.zip"
_TESS_HOME = "doi.org/10.5683/SP2/E8H2MF"
_SAVEE_HOME = "kahlan.eps.surrey.ac.uk/savee, on request"
_DEMO_SOURCE = "MIT, like this package"
_BUILT_IN = "built in"

CORPORA = {
    facts.name: facts
    for facts in (
        Corpus("crema", "CREMA-D", "ODbL 1.0", _CREMA_HOME, CREMA_PATTERN, parse_crema_name),
        Corpus("ravdess", "RAVDESS", "CC BY-NC-SA 4.0", _RAVDESS_HOME, RAVDESS_PATTERN, parse_ravdess_name),
        Corpus("emodb", "EmoDB", "CC0 1.0", _EMODB_HOME, EMODB_PATTERN, parse_emodb_name),
        Corpus("tess", "TESS", "CC BY-NC-ND 4.0", _TESS_HOME, TESS_PATTERN, parse_tess_name),
        Corpus("savee", "SAVEE", "research only", _SAVEE_HOME, SAVEE_PATTERN, parse_savee_name),
        Corpus("local", "Local corpus", "yours", "your recordings", MANIFEST_PATTERN),
        Corpus("demo-crema", "Synthetic CREMA-D", _DEMO_SOURCE, _BUILT_IN, CREMA_PATTERN, parse_crema_name),
        Corpus("demo-ravdess", "Synthetic RAVDESS", _DEMO_SOURCE, _BUILT_IN, RAVDESS_PATTERN, parse_ravdess_name),
        Corpus("demo-local", "Synthetic local corpus", _DEMO_SOURCE, _BUILT_IN, MANIFEST_PATTERN),
    )
}

FETCHED_CORPORA = ("ravdess", "crema", "emodb")  # that `sernb fetch` downloads


def get_corpus(corpus: str) -> Corpus:
    """Return the facts about a corpus.

    Raises:
        CorpusError: No corpus has that name.
    """
    if corpus not in CORPORA:
        raise CorpusError(f"no corpus is called {corpus!r}; use one of {', '.join(CORPORA)}.")
    return CORPORA[corpus]


def locate(corpus: str, data_dir: str | Path = "") -> Path:
    """Return the folder of a corpus: `data_dir`, or the built-in demo, or the corpus's folder in `$SERNB_DATA`.

    That is `$SERNB_DATA/<corpus>`, or else a folder with the corpus's name or title, in capitals or not, up to
    three folders deep, as in archives of several corpora (`archive/Crema`, `archive/Tess`).

    Raises:
        CorpusError: The corpus is unknown, its folder does not exist or is not known, or a demo corpus is given one.
    """
    facts = get_corpus(corpus)
    if data_dir and corpus in DEMO_CORPORA:
        raise CorpusError(
            f"{corpus} is built in and cannot be read from a folder. Name the corpus that is in {data_dir} "
            f"({', '.join(name for name in CORPORA if name not in DEMO_CORPORA)}), or give no folder."
        )
    if data_dir:
        folder = Path(data_dir).expanduser()
    elif corpus in DEMO_CORPORA:
        return demo_folder(corpus)
    elif os.environ.get("SERNB_DATA"):
        home = Path(os.environ["SERNB_DATA"]).expanduser()
        folder = home / corpus
        if facts.parse and not folder.exists():
            folder = _find_folder(home, facts) or folder
    else:
        raise CorpusError(
            f"where is {facts.title}? Give its folder as DATA_DIR, or set SERNB_DATA to the folder that contains "
            f"{corpus}/. {_describe_source(facts)}"
        )
    if folder.is_file():
        remedy = "unpack it" if folder.name.lower().endswith(PACKED_SUFFIXES) else "the corpus needs a folder"
        raise CorpusError(f"{folder} is a file, not a folder: {remedy}, and give the folder.")
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder. {_describe_source(facts)}")
    return folder.resolve()


def _describe_source(facts: Corpus) -> str:
    if facts.name == "local":
        return "Record or import one with 06_listen.ipynb."
    download = f"; `sernb fetch {facts.name}` downloads it" if facts.name in FETCHED_CORPORA else ""
    return f"Source of {facts.title}: {facts.source}{download}."


def _find_folder(home: Path, facts: Corpus) -> Path | None:
    """Return the folder below `home` that is called like a corpus; of several, the highest and first by name."""
    names = {_simplify(facts.name), _simplify(facts.title)}
    level = [home]
    for _ in range(SEARCH_DEPTH):
        level = sorted(folder for parent in level for folder in _subfolders(parent))
        if named := [folder for folder in level if _simplify(folder.name) in names]:
            return named[0]
    return None


def _subfolders(folder: Path) -> list[Path]:
    try:
        return [Path(entry) for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:  # not a folder, or one that may not be listed
        return []


def _simplify(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def synthetic_notice(*names: str) -> str:
    """Return the notice for a page that uses a demo corpus, or "" if all the named corpora are real (or empty)."""
    if any(get_corpus(name).name in DEMO_CORPORA for name in names if name):
        return "Synthetic speech: it shows that the tools run and says nothing about people."
    return ""


# the clip table


def load(
    corpus: str,
    data_dir: str | Path = "",
    *,
    channel: str = "all",
    emotions: Sequence[str] = (),
    max_clips: int = 0,
    seed: int = 0,
) -> pd.DataFrame:
    """Read a corpus into the clip table, sorted by clip, the same on every machine.

    Where a recording is present several times (in other folders, containers, sample rates or RAVDESS modalities), one
    file is used, and a `CorpusWarning` says so. Other warnings are about files in a format that cannot be read, and
    about similar speaker IDs in a local corpus.

    Args:
        corpus: One of `CORPORA`.
        data_dir: Its folder; empty to look it up (see `locate`).
        channel: `all`, `speech` or `song`.
        emotions: The emotions to keep; empty for all, including `unknown`.
        max_clips: The maximum number of clips, balanced over the emotions; 0 for all.
        seed: Seed of the choice of clips with `max_clips`.

    Returns:
        One row per clip with the columns of `CLIP_COLUMNS`, all of them strings. `clip` is the file's posix path within
        the folder, its accents in NFC.

    Raises:
        CorpusError: The folder does not exist or has no clips, its manifest has errors, or one of the emotions has no
            clip.
    """
    root, facts = locate(corpus, data_dir), get_corpus(corpus)
    table = pd.DataFrame(facts.read(root)).assign(corpus=corpus)
    table["clip"] = _clip_ids([path.relative_to(root) for path in table["path"]])
    table["sha256"] = sha256_of_files(table["path"])
    table["path"] = table["path"].map(str)
    table = table.reindex(columns=CLIP_COLUMNS).fillna("").sort_values("clip", ignore_index=True)
    takes = _take_ids(facts, table)
    _warn_about_labels(facts, root, table, set(takes))
    table = _keep_one_per_take(facts, table, takes)
    selected = select_clips(table, channel=channel, emotions=emotions)
    # Without one of the emotions, a model would have fewer labels than were asked for.
    if missing := [emotion for emotion in emotions if emotion not in {*selected["emotion"], "unknown"}]:
        where = corpus if channel == "all" else f"{corpus} with CHANNEL {channel!r}"
        present = ", ".join(emotion_labels(select_clips(table, channel=channel)))
        raise CorpusError(f"no clip of {where} is {' or '.join(missing)}. Its emotions: {present}.")
    return select_clips(selected, max_clips=max_clips, seed=seed)


def _clip_ids(paths: Sequence[Path]) -> list[str]:
    """Return ids with accents in NFC, whatever a file system stores; spelt as on the disk if two would be equal."""
    raw = [_clip_id(path) for path in paths]
    ids = [normalise_name(name) for name in raw]
    return ids if len(set(ids)) == len(set(raw)) else raw


def _clip_id(path: Path) -> str:
    name = path.as_posix()
    try:
        name.encode()  # it goes into tables and pages, which are UTF-8
    except UnicodeEncodeError as error:
        raise CorpusError(f"{audio.escape_control_characters(name)}: this name is not UTF-8. Rename it.") from error
    return name


def _warn(text: str) -> None:
    """Warn without naming a line of code: on a page it would be a temporary file of the kernel's."""
    warnings.warn_explicit(text, CorpusWarning, "sernb.corpora.load", 0)


def _warn_about_labels(facts: Corpus, root: Path, table: pd.DataFrame, takes: Set[str]) -> None:
    if unreadable := _unreadable_clips(facts, root, takes):
        _warn(_describe_unreadable(unreadable))
    if facts.parse is None and (groups := similar_speakers(table)):  # the ids may be private: a page shows the warning
        ids = sum(map(len, groups))
        _warn(
            f"{ids} speaker IDs differ only in capitals, spaces or number format (such as 3 and 3.0) and count as "
            f"different speakers. `sernb check {facts.name}` lists them."
        )


def _take_ids(facts: Corpus, table: pd.DataFrame) -> pd.Series:
    """Return an id for each row that is the same for copies of one recording: by name, or in a manifest by content."""
    if facts.parse:
        return table["path"].map(take_id)
    names = table["clip"].str.rsplit("/", n=1).str[-1]
    return names + table["sha256"].where(table["sha256"] != "", table["clip"])


def _keep_one_per_take(facts: Corpus, table: pd.DataFrame, takes: pd.Series) -> pd.DataFrame:
    """Keep the best file of each take (see `_copy_rank`), or the first of equally good ones."""
    copies = table.index[takes.duplicated(keep=False)]
    ranks = utils.map_files(_copy_rank, table.loc[copies, "path"])
    best: dict[str, int] = {}
    for take, _, row in sorted(zip(takes[copies], ranks, copies, strict=True)):
        best.setdefault(take, row)
    dropped = copies.difference(list(best.values()))
    if len(dropped):
        used, unused = table["clip"][best[takes[dropped[0]]]], table["clip"][dropped[0]]
        example = f" For example, {used} is used and {unused} is not." if facts.parse else ""  # a manifest is private
        _warn(
            f"{len(dropped)} of {len(table)} files are not used: further copies of clips (in another folder, format, "
            f"sample rate or modality).{example}"
        )
    return table.drop(index=dropped).reset_index(drop=True)


def _copy_rank(path: str) -> tuple[bool, str, bool, int]:
    """Return a sort key for copies of a take: readable, then audio-only (RAVDESS), lossless, of a high sample rate."""
    import soundfile

    try:
        header = None if audio.access_problem(path) else soundfile.info(os.fsencode(path))
    except (OSError, RuntimeError):  # libsndfile's errors are RuntimeErrors
        header = None
    fields = parse_ravdess_name(Path(path).name) or {}
    modality = {"audio": "1", "audio-video": "2"}.get(fields.get("modality", "audio"), "3")
    rate = header.samplerate if header else 0
    return (not (header and header.frames), modality, Path(path).suffix.lower() in LOSSY_SUFFIXES, -rate)


def sha256_of_files(paths: Sequence[str | Path], *, force: bool = False) -> list[str]:
    """Return the SHA-256 of each file, or "" for a file that cannot be read (`check_files` says why).

    Args:
        paths: The files.
        force: Read every file, also one whose digest is cached and whose size and times have not changed.
    """

    def digest(path: str | Path) -> str:
        """Return the SHA-256 of one file; empty if it cannot be read."""
        try:
            if not os.path.isfile(path):  # opening a pipe would wait for its other end
                return ""
            digest = hashlib.sha256()
            with open(path, "rb", buffering=0) as file:
                while block := file.read(2**20):
                    digest.update(block)
            return digest.hexdigest()
        except OSError:
            return ""

    return utils.map_files(digest, paths) if force else utils.cached_per_file("sha256", digest, paths)


def select_clips(
    table: pd.DataFrame,
    *,
    channel: str = "all",
    emotions: Sequence[str] = (),
    max_clips: int = 0,
    seed: int = 0,
) -> pd.DataFrame:
    """Reduce a clip table to a channel, to some emotions and to a balanced number of clips.

    Raises:
        CorpusError: No clip remains, the channel or an emotion does not exist, or `max_clips` is negative.
    """
    if channel not in CHANNELS:
        raise CorpusError(f"no channel is called {channel!r}; use one of {', '.join(CHANNELS)}.")
    known = list(dict.fromkeys([*EMOTIONS, *sorted(set(table["emotion"]))]))  # a local corpus may have words of its own
    if unknown := [emotion for emotion in emotions if emotion not in known]:
        raise CorpusError(f"no emotion is called {unknown[0]!r}; use {', '.join(known)}.")
    if max_clips < 0:
        raise CorpusError(f"max_clips is {max_clips}; give a number of clips, or 0 for all.")
    # Local corpora need not name a channel; theirs counts as speech.
    selected = table if channel == "all" else table[table["channel"].replace("", "speech") == channel]
    selected = selected[selected["emotion"].isin(emotions)] if emotions else selected
    if selected.empty:
        raise CorpusError(f"no clip has channel {channel!r} and one of the emotions {list(emotions) or 'all'}.")
    return _sample_balanced(selected, max_clips, seed) if max_clips else selected.reset_index(drop=True)


def _sample_balanced(table: pd.DataFrame, max_clips: int, seed: int) -> pd.DataFrame:
    """Shuffle the clips and take one of each emotion in turn, until there are `max_clips`."""
    shuffled = table.iloc[np.random.default_rng(seed).permutation(len(table))]
    turn = shuffled.groupby("emotion").cumcount()
    selected = shuffled.assign(turn=turn).sort_values(["turn", "emotion"]).head(max_clips)
    return selected.drop(columns="turn").sort_values("clip", ignore_index=True)


def sort_by_listing(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Return the table in the file system's order: the fault `unsorted-listing`."""
    position = {str(path): i for i, path in enumerate(find_audio_files(root))}
    return table.sort_values("path", key=lambda paths: paths.map(position), ignore_index=True)


def emotion_labels(table: pd.DataFrame) -> list[str]:
    """Return the emotions of a table in alphabetical order without `unknown`: the one label list of a run."""
    return sorted(set(table["emotion"]) - {"unknown"})


def drop_unknown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose emotion is known; the caller should show how many were dropped."""
    return table[table["emotion"] != "unknown"].reset_index(drop=True)


def keep_common_emotions(table: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reduce two corpora to their common emotions, so that a model can be trained on one and tested on the other.

    Raises:
        CorpusError: They have fewer than two emotions in common.
    """
    common = set(emotion_labels(table)) & set(emotion_labels(other))
    if len(common) < 2:
        labels = [f"{clips['corpus'].iloc[0]} has {', '.join(emotion_labels(clips))}" for clips in (table, other)]
        raise CorpusError(f"the two corpora have fewer than two emotions in common: {'; '.join(labels)}.")
    first, second = (clips[clips["emotion"].isin(common)].reset_index(drop=True) for clips in (table, other))
    return first, second


def count_by_emotion(table: pd.DataFrame) -> pd.DataFrame:
    """Count clips and speakers per emotion (including `unknown`), with the total in the last row."""
    counts = table.groupby("emotion").agg(clips=("clip", "size"), speakers=("speaker", "nunique"))
    counts.loc["all"] = [len(table), table["speaker"].nunique()]
    return counts


def example_clips(clips: pd.DataFrame) -> pd.DataFrame:
    """Return one clip per emotion, in alphabetical order: the second of each (as in study A), or the only one."""
    return clips.groupby("emotion").head(2).groupby("emotion").tail(1).sort_values("emotion")


def speaker_table(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Return one row per speaker: `speaker`, `sex`, `clips`, and `age` (years) if the corpus documents ages."""
    speakers = table.groupby("speaker", as_index=False).agg(sex=("sex", "first"), clips=("clip", "size"))
    facts = get_corpus(table["corpus"].iloc[0])
    rows = pd.DataFrame(facts.read(root) if facts.parse else [])
    if "age" not in rows:
        return speakers
    return speakers.merge(rows[["speaker", "age"]].drop_duplicates("speaker"), how="left", on="speaker")


def corpus_fingerprint(table: pd.DataFrame) -> str:
    """Return 16 hexadecimal digits that change if a clip, a label, a speaker or a clip's audio changes."""
    rows = table.sort_values("clip")[["clip", "speaker", "emotion", "sha256"]]
    return hashlib.sha256(rows.to_csv(index=False, lineterminator="\n").encode()).hexdigest()[:16]


def unmatched_files(corpus: str, data_dir: str | Path = "") -> list[str]:
    """Return the audio files in a corpus's folder that are not clips, by their names or by its manifest; sorted.

    Raises:
        CorpusError: As in `load`.
    """
    root, facts = locate(corpus, data_dir), get_corpus(corpus)
    clips = {row["path"] for row in facts.read(root)}
    files = [path for path in find_audio_files(root, AUDIO_SUFFIXES | audio.UNREADABLE_SUFFIXES) if path not in clips]
    return sorted(path.relative_to(root).as_posix() for path in files if not (facts.parse and facts.parse(str(path))))


def check_files(table: pd.DataFrame) -> pd.DataFrame:
    """Decode every clip and report problems.

    Returns:
        One row per clip, with `clip`, `emotion`, `seconds`, `sample_rate` (Hz), `channels`, `problem` (empty for a clip
        that can be used for training) and `odd` (something unusual but harmless).
    """
    reports = pd.DataFrame(utils.map_files(_check_file, table["path"]))
    return pd.concat([table[["clip", "emotion"]].reset_index(drop=True), reports], axis=1)


def _check_file(path: str) -> dict:
    recording = audio.decode(path, max_seconds=audio.MAX_SECONDS)
    facts = {"seconds": recording.seconds, "sample_rate": recording.sample_rate, "channels": recording.channels}
    return {**facts, "problem": recording.error or recording.unusable, "odd": recording.warning}
