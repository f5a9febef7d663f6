"""The labels in the file names of CREMA-D and RAVDESS."""

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


def take_id(name: str) -> str:
    """Return the part of a file name that is the same for all copies of one recording.

    That is the name without its suffix and, for RAVDESS, without the modality (audio-video, video or audio).

    Example:
        >>> take_id("03-01-05-02-01-02-16.wav"), take_id("1001_IEO_ANG_HI.mp3")
        ('01-05-02-01-02-16', '1001_IEO_ANG_HI')
    """
    stem = Path(name).stem
    return stem[3:] if RAVDESS_NAME_RE.fullmatch(stem) else stem
