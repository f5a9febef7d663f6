"""A corpus folder becomes a table, one row a clip.

Names decide the labels, in whatever folders the clips lie; a local corpus says in `manifest.csv` what its names do not.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sernb import audio
from sernb import utils
from sernb.corpora.demo import DEMO_CORPORA
from sernb.corpora.demo import demo_folder
from sernb.corpora.filenames import parse_crema_name
from sernb.corpora.filenames import parse_ravdess_name

EMOTIONS = ("angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise", "unknown")
CHANNELS = ("all", "speech", "song")
CLIP_COLUMNS = [
    "clip",
    "path",
    "corpus",
    "speaker",
    "sex",
    "emotion",
    "intensity",
    "statement",
    "channel",
    "condition",
    "sha256",
]
AUDIO_SUFFIXES = {
    ".wav",
    ".flac",
    ".ogg",
    ".opus",
    ".mp3",
    ".aif",
    ".aiff",
    ".aifc",
    ".au",
    ".caf",
    ".w64",
    ".rf64",
}


class CorpusError(ValueError):
    """A corpus that cannot be read, with the file or value at fault and the remedy."""


@dataclass(frozen=True)
class Corpus:
    """What is known of a corpus before any of it is read."""

    name: str
    title: str
    licence: str
    source: str
    pattern: str
    read: Callable[[Path], list[dict]]


# from a folder to rows


def find_audio_files(root: Path) -> Iterator[Path]:
    """Audio files under a folder in the order in which the file system lists them (it differs between machines)."""
    for folder, _, names in os.walk(root, onerror=_refuse_unlisted):
        yield from (Path(folder, name) for name in names if _is_audio(name))


def _refuse_unlisted(error: OSError) -> None:
    """Passed over, a folder that cannot be listed would make the corpus smaller and nobody the wiser."""
    if isinstance(error, FileNotFoundError):
        return
    raise CorpusError(f"{error.filename}: cannot be listed ({error.strerror}). Make it readable, or move it away.")


def _is_audio(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and not name.startswith(".")


def _reader_for(fields_of: Callable[[str], dict | None], pattern: str) -> Callable[[Path], list[dict]]:
    def read(root: Path) -> list[dict]:
        files = sorted(find_audio_files(root), key=str)
        rows = [{"path": file, **fields} for file in files if (fields := fields_of(file.name))]
        if not rows:
            raise CorpusError(_no_clips_error(root, files, pattern))
        return rows

    return read


def _no_clips_error(root: Path, files: list[Path], pattern: str) -> str:
    seen = files[:2] or sorted(root.iterdir())[:2]
    found = " and ".join(repr(file.name) for file in seen) or "nothing at all"
    return f"{root}: no recognisable clip. Found for example {found}; expected names like {pattern}."


def _read_crema(root: Path) -> list[dict]:
    rows = _reader_for(parse_crema_name, CREMA_PATTERN)(root)
    sexes = read_demographics(root).set_index("speaker")["sex"].to_dict()
    return [{**row, "sex": sexes.get(row["speaker"], "")} for row in rows]


def read_demographics(root: Path) -> pd.DataFrame:
    """Speaker, sex and age (years) from CREMA-D's `VideoDemographics.csv` in a corpus folder, above or below it.

    The table is empty where the file does not lie there.
    """
    below = sorted(path for path in root.iterdir() if path.is_dir())
    for file in (folder / "VideoDemographics.csv" for folder in (root, root.parent, *below)):
        if file.is_file():
            found = pd.read_csv(file, dtype={"ActorID": str})
            found = found.rename(columns={"ActorID": "speaker", "Sex": "sex", "Age": "age"})
            if missing := {"speaker", "sex", "age"} - set(found):
                raise CorpusError(f"{file}: no column for {', '.join(sorted(missing))}; expected ActorID, Age, Sex.")
            return found[["speaker", "sex", "age"]].assign(sex=found["sex"].str.lower())
    return pd.DataFrame(columns=["speaker", "sex", "age"])


def _read_manifest(root: Path) -> list[dict]:
    file = root / "manifest.csv"
    if not file.is_file():
        raise CorpusError(f"{file} is missing. A local corpus needs it, with the columns {MANIFEST_PATTERN}.")
    rows = read_csv(file)
    missing = [column for column in ("file", "emotion", "speaker") if column not in rows]
    if missing:
        raise CorpusError(
            f"{file}, line 1: no column {', '.join(missing)}. Found {', '.join(rows)}; expected {MANIFEST_PATTERN}."
        )
    problems = list(_manifest_problems(root, rows))
    if problems or rows.empty:
        shown = "\n".join(problems[:5] or ["no row below the header: add one line for each clip."])
        more = f"\n... and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CorpusError(f"{file}:\n{shown}{more}")
    columns = [
        column for column in CLIP_COLUMNS if column in rows and column not in ("clip", "path", "corpus", "sha256")
    ]
    return [{"path": root / row["file"], **{c: row[c].strip() for c in columns}} for row in rows.to_dict("records")]


def read_csv(file: Path) -> pd.DataFrame:
    """Every line below the header as text, blank ones dropped, indexed so that line = index + 2.

    Raises:
        CorpusError: It is not comma-separated text in UTF-8.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines longer than the header would be cut
            rows = pd.read_csv(
                file, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True,
                index_col=False, skip_blank_lines=False,
            )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        said = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise CorpusError(f"{file} cannot be read: {said}. Save it as comma-separated text in UTF-8.") from error
    return rows[(rows != "").any(axis=1)]


def _manifest_problems(root: Path, rows: pd.DataFrame) -> Iterator[str]:
    first_line: dict[str, int] = {}
    for line, row in zip(rows.index + 2, rows.to_dict("records"), strict=True):
        name, emotion = row["file"], row["emotion"].strip()
        if Path(name).is_absolute() or ".." in Path(name).parts:
            yield f"line {line}: {name!r} leaves the corpus folder; give a path inside {root}."
        elif not name or not _exists(root / name):
            yield f"line {line}: there is no file {name!r} in {root}."
        elif Path(name).as_posix() in first_line:
            yield f"line {line}: {name!r} stands already in line {first_line[Path(name).as_posix()]}; remove one."
        first_line.setdefault(Path(name).as_posix(), line)
        if emotion not in EMOTIONS:
            near = difflib.get_close_matches(emotion.lower(), EMOTIONS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(EMOTIONS)} is right."
            yield f"line {line}: unknown emotion {emotion!r}; {hint}"
        if not row["speaker"].strip():
            yield f"line {line}: no speaker; give a pseudonym, the same for all clips of one person."


def _exists(path: Path) -> bool:
    """Whether a file is there, or a link, of which `check` says where it leads."""
    try:
        return path.is_file() or path.is_symlink()
    except (OSError, ValueError):  # a name that no file can have
        return False


# the corpora

CREMA_PATTERN = "1001_IEO_ANG_HI.wav (ACTOR_SENTENCE_EMOTION_LEVEL)"
RAVDESS_PATTERN = "03-01-05-01-02-01-16.wav (modality-channel-emotion-intensity-statement-repetition-actor)"
MANIFEST_PATTERN = "file,emotion,speaker and optionally sex,condition,statement,intensity"
_CREMA_HOME = "github.com/CheyneyComputerScience/CREMA-D, folder AudioWAV"
_RAVDESS_HOME = "zenodo.org/records/1188976, the two Audio_ archives"
_DEMO_SOURCE = "MIT, like this package"
_BUILT_IN = "built in"

CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus("crema", "CREMA-D", "ODbL 1.0", _CREMA_HOME, CREMA_PATTERN, _read_crema),
        Corpus(
            "ravdess",
            "RAVDESS",
            "CC BY-NC-SA 4.0",
            _RAVDESS_HOME,
            RAVDESS_PATTERN,
            _reader_for(parse_ravdess_name, RAVDESS_PATTERN),
        ),
        Corpus("local", "Local corpus", "yours", "your recordings", MANIFEST_PATTERN, _read_manifest),
        Corpus("demo-crema", "Synthetic CREMA-D", _DEMO_SOURCE, _BUILT_IN, CREMA_PATTERN, _read_crema),
        Corpus(
            "demo-ravdess",
            "Synthetic RAVDESS",
            _DEMO_SOURCE,
            _BUILT_IN,
            RAVDESS_PATTERN,
            _reader_for(parse_ravdess_name, RAVDESS_PATTERN),
        ),
        Corpus("demo-local", "Synthetic local corpus", _DEMO_SOURCE, _BUILT_IN, MANIFEST_PATTERN, _read_manifest),
    )
}


def get_corpus(corpus: str) -> Corpus:
    """The corpus of that name.

    Raises:
        CorpusError: No corpus has that name.
    """
    if corpus not in CORPORA:
        raise CorpusError(f"no corpus is called {corpus!r}; there are {', '.join(CORPORA)}.")
    return CORPORA[corpus]


def locate(corpus: str, data_dir: str | Path = "") -> Path:
    """The folder of a corpus: `data_dir`, or the built-in demo, or `$SERNB_DATA/<corpus>`.

    Raises:
        CorpusError: The corpus is unknown or its folder is not there.
    """
    wanted = get_corpus(corpus)
    if data_dir and corpus in DEMO_CORPORA:
        raise CorpusError(
            f"{corpus} is built in, and lies in no other folder. Name the corpus that lies there "
            f"({', '.join(name for name in CORPORA if name not in DEMO_CORPORA)}), or give no folder."
        )
    if data_dir:
        folder = Path(data_dir).expanduser()
    elif corpus in DEMO_CORPORA:
        return demo_folder(corpus)
    elif os.environ.get("SERNB_DATA"):
        folder = Path(os.environ["SERNB_DATA"]).expanduser() / corpus
    else:
        raise CorpusError(
            f"where is {wanted.title}? Give its folder as DATA_DIR, or set SERNB_DATA to the folder that holds "
            f"{corpus}/. It comes from: {wanted.source}."
        )
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder. {wanted.title} comes from: {wanted.source}.")
    return folder.resolve()


def synthetic_notice(*names: str) -> str:
    """What every page on a demo corpus says; empty where all corpora are real (an empty name is none)."""
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

    Args:
        corpus: One of `CORPORA`.
        data_dir: Its folder; empty to look it up (see `locate`).
        channel: `all`, `speech` or `song`.
        emotions: The emotions to keep; empty for all, `unknown` among them.
        max_clips: At most so many clips, balanced over the emotions; 0 for all.
        seed: Of the choice of clips under `max_clips`.

    Returns:
        One row a clip with the columns of `COLUMNS`, all of them strings.

    Raises:
        CorpusError: Nothing to read, or a manifest with errors.
    """
    root = locate(corpus, data_dir)
    table = pd.DataFrame(get_corpus(corpus).read(root)).assign(corpus=corpus)
    table["clip"] = [_clip_id(path.relative_to(root)) for path in table["path"]]
    table["sha256"] = sha256_of_files(table["path"])
    table["path"] = table["path"].map(str)
    table = table.reindex(columns=CLIP_COLUMNS).fillna("").sort_values("clip", ignore_index=True)
    return select_clips(_drop_duplicates(table), channel=channel, emotions=emotions, max_clips=max_clips, seed=seed)


def _clip_id(path: Path) -> str:
    """A clip's id; it goes into tables and pages, which are UTF-8."""
    name = path.as_posix()
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"{audio.escape_control_characters(name)}: this name is not UTF-8. Rename it.") from error
    return name


def sha256_of_files(paths: Sequence[str | Path], *, again: bool = False) -> list[str]:
    """SHA-256 of each file's bytes; empty for a file that cannot be read (`check` tells why).

    Args:
        paths: The files.
        again: Read those too that have been read before and have the same size and times (see `files`).
    """

    def digest(path: str | Path) -> str:
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

    return utils.map_files(digest, paths) if again else utils.cached_per_file("sha256", digest, paths)


def _drop_duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Drop copies of one file under one name: common downloads hold the whole corpus twice, in nested folders."""
    names = table["clip"].str.rsplit("/", n=1).str[-1]
    twin = pd.DataFrame({"name": names, "sha256": table["sha256"]}).duplicated() & (table["sha256"] != "")
    if twin.any():
        warnings.warn(f"{twin.sum()} clips lie here twice under one name; the first of each is kept.", stacklevel=3)
    return table[~twin].reset_index(drop=True)


def select_clips(
    table: pd.DataFrame,
    *,
    channel: str = "all",
    emotions: Sequence[str] = (),
    max_clips: int = 0,
    seed: int = 0,
) -> pd.DataFrame:
    """Narrow a clip table to a channel, to some emotions and to a balanced number of clips.

    Raises:
        CorpusError: Nothing is left, or a channel or emotion does not exist.
    """
    if channel not in CHANNELS:
        raise CorpusError(f"no channel is called {channel!r}; there are {', '.join(CHANNELS)}.")
    if strangers := [emotion for emotion in emotions if emotion not in EMOTIONS]:
        raise CorpusError(f"no emotion is called {strangers[0]!r}; there are {', '.join(EMOTIONS)}.")
    if max_clips < 0:
        raise CorpusError(f"max_clips is {max_clips}; give a number of clips, or 0 for all.")
    # Local corpora need not name a channel: theirs counts as speech.
    chosen = table if channel == "all" else table[table["channel"].replace("", "speech") == channel]
    chosen = chosen[chosen["emotion"].isin(emotions)] if emotions else chosen
    if chosen.empty:
        raise CorpusError(f"no clip is left with channel {channel!r} and emotions {list(emotions) or 'all'}.")
    return _sample_balanced(chosen, max_clips, seed) if max_clips else chosen.reset_index(drop=True)


def _sample_balanced(table: pd.DataFrame, max_clips: int, seed: int) -> pd.DataFrame:
    """The first `max_clips` rows when every emotion, shuffled, gives one clip in turn."""
    shuffled = table.iloc[np.random.default_rng(seed).permutation(len(table))]
    turn = shuffled.groupby("emotion").cumcount()
    chosen = shuffled.assign(turn=turn).sort_values(["turn", "emotion"]).head(max_clips)
    return chosen.drop(columns="turn").sort_values("clip", ignore_index=True)


def sort_by_listing(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The table as the file system happens to list it: the fault `unsorted-listing`."""
    place = {str(path): i for i, path in enumerate(find_audio_files(root))}
    return table.sort_values("path", key=lambda paths: paths.map(place), ignore_index=True)


def emotion_labels(table: pd.DataFrame) -> list[str]:
    """The emotions of a table in alphabetical order without `unknown`: the one label list of a run."""
    return sorted(set(table["emotion"]) - {"unknown"})


def drop_unknown(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose emotion is known; how many are left out is for the caller to show."""
    return table[table["emotion"] != "unknown"].reset_index(drop=True)


def keep_common_emotions(table: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of two corpora, the clips whose emotion the other has too: one can be trained on and the other tested.

    Raises:
        CorpusError: They share fewer than two emotions.
    """
    shared = set(emotion_labels(table)) & set(emotion_labels(other))
    if len(shared) < 2:
        names = [f"{one['corpus'].iloc[0]} has {', '.join(emotion_labels(one))}" for one in (table, other)]
        raise CorpusError(f"the two corpora share fewer than two emotions: {'; '.join(names)}")
    kept, kept_other = (one[one["emotion"].isin(shared)].reset_index(drop=True) for one in (table, other))
    return kept, kept_other


def count_by_emotion(table: pd.DataFrame) -> pd.DataFrame:
    """Clips and speakers for each emotion (`unknown` included), with the total below."""
    grouped = table.groupby("emotion").agg(clips=("clip", "size"), speakers=("speaker", "nunique"))
    grouped.loc["all"] = [len(table), table["speaker"].nunique()]
    return grouped


def example_clips(clips: pd.DataFrame) -> pd.DataFrame:
    """Return one clip per emotion, in alphabetical order: the second of each (as in study A), or the only one."""
    return clips.groupby("emotion").head(2).groupby("emotion").tail(1).sort_values("emotion")


def speaker_table(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """One row a speaker: `speaker`, `sex`, `clips`, and `age` (years) where the corpus comes with ages."""
    found = table.groupby("speaker", as_index=False).agg(sex=("sex", "first"), clips=("clip", "size"))
    ages = read_demographics(root) if get_corpus(table["corpus"].iloc[0]).read is _read_crema else pd.DataFrame()
    return found if ages.empty else found.merge(ages[["speaker", "age"]], how="left", on="speaker")


def corpus_fingerprint(table: pd.DataFrame) -> str:
    """16 hexadecimal digits that change when a clip, a label, a speaker or a clip's audio does."""
    rows = table.sort_values("clip")[["clip", "speaker", "emotion", "sha256"]]
    return hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()[:16]


def unmatched_files(corpus: str, data_dir: str | Path = "") -> list[str]:
    """Audio files in a corpus's folder that are none of its clips, by their names or by its manifest; sorted.

    Raises:
        CorpusError: As of `load`.
    """
    root = locate(corpus, data_dir)
    clips = {row["path"] for row in get_corpus(corpus).read(root)}
    return sorted(path.relative_to(root).as_posix() for path in find_audio_files(root) if path not in clips)


def check_files(table: pd.DataFrame) -> pd.DataFrame:
    """Open every clip and say what is wrong with it.

    Returns:
        One row a clip, with `clip`, `emotion`, `seconds`, `sample_rate` (Hz), `channels`, `problem`, which is empty for
        a clip that can be trained on, and `odd`: what is unusual about it and harmless.
    """
    found = pd.DataFrame(utils.map_files(_check_file, table["path"]))
    return pd.concat([table[["clip", "emotion"]].reset_index(drop=True), found], axis=1)


def _check_file(path: str) -> dict:
    found = audio.decode(path, longest=audio.MAX_SECONDS)
    facts = {"seconds": found.seconds, "sample_rate": found.sample_rate, "channels": found.channels}
    return {**facts, "problem": found.broken or found.unfit, "odd": found.odd}
