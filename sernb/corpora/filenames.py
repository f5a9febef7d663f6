"""The labels in the file names of CREMA-D, RAVDESS, EmoDB, TESS and SAVEE."""

from __future__ import annotations

import re
from pathlib import Path

CREMA_NAME_RE = re.compile(
    r"(?P<speaker>\d{4})_(?P<statement>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>[A-Z]{1,2})", re.ASCII
)
CREMA_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
CREMA_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
CREMA_LEVELS = {"LO": "low", "MD": "medium", "HI": "high"}

RAVDESS_FIELDS = ("modality", "channel", "emotion", "intensity", "statement", "repetition", "actor")
RAVDESS_NAME_RE = re.compile("-".join(rf"(?P<{field}>\d\d)" for field in RAVDESS_FIELDS), re.ASCII)
RAVDESS_CODES = {
    "modality": {"01": "audio-video", "02": "video", "03": "audio"},
    "channel": {"01": "speech", "02": "song"},
    "emotion": dict(
        zip(
            ("01", "02", "03", "04", "05", "06", "07", "08"),
            ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise"),
            strict=True,
        )
    ),
    "intensity": {"01": "normal", "02": "strong"},
    "statement": {"01": "kids", "02": "dogs"},
}
# What is said: the sentence by the statement's code, in the corpora whose clip tables have codes.
STATEMENT_TEXTS = CREMA_SENTENCES | {
    "kids": "Kids are talking by the door",
    "dogs": "Dogs are sitting by the door",
}

EMODB_NAME_RE = re.compile(r"(?P<speaker>\d\d)(?P<statement>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z]?)", re.ASCII)
EMODB_EMOTIONS = {
    "W": "angry",
    "L": "bored",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "N": "neutral",
    "T": "sad",
}
EMODB_SPEAKERS = {  # sex and age
    "03": ("male", 31),
    "08": ("female", 34),
    "09": ("female", 21),
    "10": ("male", 32),
    "11": ("male", 26),
    "12": ("male", 30),
    "13": ("female", 32),
    "14": ("female", 35),
    "15": ("male", 25),
    "16": ("female", 31),
}

# One file of the published corpus is called OA_bite_neutral.wav.
TESS_NAME_RE = re.compile(r"(?P<speaker>OAF?|YAF)_(?P<statement>[A-Za-z]+)_(?P<emotion>[A-Za-z_]+)", re.ASCII)
TESS_EMOTIONS = {name: name for name in ("angry", "disgust", "fear", "happy", "neutral", "sad")} | {"ps": "surprise"}
TESS_AGES = {"OAF": 64, "YAF": 26}

SAVEE_NAME_RE = re.compile(r"(?:.*/)?(?P<speaker>DC|JE|JK|KL)[_/](?P<emotion>[a-z]{1,2})(?P<number>\d\d)", re.ASCII)
SAVEE_EMOTIONS = {
    "a": "angry",
    "d": "disgust",
    "f": "fear",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprise",
}


def parse_crema_name(name: str) -> dict | None:
    """Parse a CREMA-D name such as `1001_IEO_ANG_HI.wav`; return None for any other name.

    An emotion code that is not one of the corpus's six becomes `unknown`.

    Example:
        >>> fields = parse_crema_name("1001_IEO_ANG_HI.wav")
        >>> fields["speaker"], fields["emotion"], fields["intensity"]
        ('1001', 'angry', 'high')
    """
    match = CREMA_NAME_RE.fullmatch(Path(name).stem)
    return match and {
        "speaker": match["speaker"],
        "emotion": CREMA_EMOTIONS.get(match["emotion"], "unknown"),
        "intensity": CREMA_LEVELS.get(match["level"], ""),
        "statement": match["statement"],
        "channel": "speech",
    }


def parse_ravdess_name(name: str) -> dict | None:
    """Parse the seven fields of a RAVDESS name such as `03-01-05-02-01-02-16.wav`; return None for any other name.

    The result also has `modality`, `repetition` and `actor`, which are not in the clip table. An emotion code that is
    not one of the published eight becomes `unknown`; other unknown codes are returned unchanged. Actors with odd
    numbers are male, those with even numbers female.

    Example:
        >>> fields = parse_ravdess_name("03-01-05-02-01-02-16.wav")
        >>> fields["emotion"], fields["channel"], fields["speaker"], fields["sex"]
        ('angry', 'speech', '16', 'female')
        >>> parse_ravdess_name("holiday.wav")
    """
    match = RAVDESS_NAME_RE.fullmatch(Path(name).stem)
    if not match:
        return None
    fields = {field: RAVDESS_CODES.get(field, {}).get(code, code) for field, code in match.groupdict().items()}
    fields["emotion"] = RAVDESS_CODES["emotion"].get(match["emotion"], "unknown")
    fields["speaker"] = match["actor"]
    fields["sex"] = "male" if int(match["actor"]) % 2 else "female"
    # Neutral was recorded at one intensity only, which its names call "normal".
    fields["intensity"] = "" if fields["emotion"] == "neutral" else fields["intensity"]
    return fields


def parse_emodb_name(name: str) -> dict | None:
    """Parse an EmoDB name such as `03a01Fa.wav`; return None for any other name.

    The result also has the speaker's `age`, which is not in the clip table. A letter that is not one of the corpus's
    seven emotions becomes `unknown`.

    Example:
        >>> fields = parse_emodb_name("03a01La.wav")
        >>> fields["speaker"], fields["sex"], fields["statement"], fields["emotion"]
        ('03', 'male', 'a01', 'bored')
    """
    match = EMODB_NAME_RE.fullmatch(Path(name).stem)
    if not match:
        return None
    sex, age = EMODB_SPEAKERS.get(match["speaker"], ("", None))
    return {
        "speaker": match["speaker"],
        "sex": sex,
        "age": age,
        "emotion": EMODB_EMOTIONS.get(match["emotion"], "unknown"),
        "statement": match["statement"],
        "channel": "speech",
    }


def parse_tess_name(name: str) -> dict | None:
    """Parse a TESS name such as `OAF_back_angry.wav`; return None for any other name.

    The statement is the word after the carrier phrase "Say the word". The result also has the speaker's `age`. An
    emotion that is not one of the corpus's seven becomes `unknown`.

    Example:
        >>> fields = parse_tess_name("YAF_dog_ps.wav")
        >>> fields["speaker"], fields["sex"], fields["statement"], fields["emotion"]
        ('YAF', 'female', 'dog', 'surprise')
    """
    match = TESS_NAME_RE.fullmatch(Path(name).stem)
    if not match:
        return None
    speaker = "YAF" if match["speaker"] == "YAF" else "OAF"
    return {
        "speaker": speaker,
        "sex": "female",
        "age": TESS_AGES[speaker],
        "emotion": TESS_EMOTIONS.get(match["emotion"].lower(), "unknown"),
        "statement": match["statement"].lower(),
        "channel": "speech",
    }


def parse_savee_name(name: str) -> dict | None:
    """Parse a SAVEE name such as `DC_a01.wav`, or `a01.wav` in a folder `DC`; return None for any other name.

    The statement is the emotion's code with the number of the sentence, since most sentences belong to one emotion. An
    emotion code that is not one of the corpus's seven becomes `unknown`.

    Example:
        >>> fields = parse_savee_name("AudioData/DC/sa01.wav")
        >>> fields["speaker"], fields["sex"], fields["statement"], fields["emotion"]
        ('DC', 'male', 'sa01', 'sad')
    """
    match = SAVEE_NAME_RE.fullmatch(Path(name).with_suffix("").as_posix())
    return match and {
        "speaker": match["speaker"],
        "sex": "male",
        "emotion": SAVEE_EMOTIONS.get(match["emotion"], "unknown"),
        "statement": match["emotion"] + match["number"],
        "channel": "speech",
    }


def take_id(name: str) -> str:
    """Return the part of a file name that is the same for all copies of one recording.

    That is the name without its suffix, for RAVDESS without the modality (audio-video, video or audio), and for SAVEE
    with the speaker, whose id may be the name of the folder.

    Example:
        >>> take_id("03-01-05-02-01-02-16.wav"), take_id("1001_IEO_ANG_HI.mp3"), take_id("DC/a01.wav")
        ('01-05-02-01-02-16', '1001_IEO_ANG_HI', 'DC_a01')
    """
    if savee := parse_savee_name(name):
        return f"{savee['speaker']}_{savee['statement']}"
    stem = Path(name).stem
    return stem[3:] if RAVDESS_NAME_RE.fullmatch(stem) else stem
