"""Generate the built-in demo corpora with espeak-ng: `python tools/make_demo_corpora.py [OUT_DIR]`.

OUT_DIR is the package's own folder by default. With the same versions of espeak-ng (1.51) and libsndfile the archives
are the shipped ones, byte for byte.

The effect of each emotion on the speech (numbers in `EMOTIONS`, directions from the sources below):

- angry: fast, high, wide pitch range, loud, bright (tense voice: much energy at high frequencies), irregular [1, 2, 3]
- happy: fast, high, wide range, rather loud, regular, somewhat bright [1, 2, 3]
- fear: fast, high, narrow range, irregular; the intensity is low in fear and high in panic, so medium here [1, 2, 3]
- sad: slow, low, narrow range, soft, dull and breathy (lax voice: little energy at high frequencies) [1, 2, 3]
- calm: slow, low, narrow range, soft, regular; tenderness is the most similar emotion that was studied [1]
- disgust: slow, low, slightly wide range, rather soft, grumbling [4]; the studies disagree most about it [2, 3]
- surprise: high, very wide range, rising at the end; from speech synthesis [5], as the reviews hardly cover it
- neutral: the speaker's own voice

Strong intensity multiplies the effects by 1.4 (`STRENGTH`). Each speaker has a voice, an expressiveness and habits of
expressing each emotion (`PERSON`, `HABIT`), and each clip varies randomly (`SPREAD`). The classes therefore
overlap, and a classifier scores higher on speakers that it was trained on.

The conditions of `demo-local` slow the speech or lengthen its pauses a little (`CONDITIONS`). They are invented, so
that the column has values: they are not the effects of stroke, dementia, epilepsy or migraine on speech.

[1] Juslin & Laukka 2003, Psychological Bulletin 129, 770-814. [2] Scherer 2003, Speech Communication 40, 227-256.
[3] Banse & Scherer 1996, J. Personality and Social Psychology 70, 614-636. [4] Murray & Arnott 1993, J. Acoustical
Society of America 93, 1097-1108. [5] Cahn 1990, J. American Voice I/O Society 8, 1-19.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from itertools import product
from pathlib import Path

import numpy as np

from sernb import corpora

SAMPLE_RATE = 16_000
ESPEAK_RATE = 22_050  # the sample rate of espeak-ng
SEED = 20200919
COMPRESSION = 0.965  # on libsndfile's scale from 0 to 1: Opus at about 15 kbit/s

# Rate and pitch range relative to neutral, pitch in semitones, energy in dB, spectral tilt in dB per octave (bright > 0
# > dull), breath noise relative to the voice, irregularity of periods and amplitudes; the sentence's punctuation mark.
CUES = ("rate", "pitch", "range", "energy", "tilt", "breath", "irregular")
EMOTIONS = {
    #            rate  pitch range energy tilt  breath irregular
    "neutral": ((1.00, +0.0, 1.00, +0.0, +0.0, 0.02, 0.2), "."),
    "calm": ((0.90, -1.0, 0.75, -3.0, -0.8, 0.06, 0.0), "."),
    "happy": ((1.12, +3.5, 1.50, +3.5, +1.0, 0.00, 0.0), "!"),
    "sad": ((0.82, -1.5, 0.60, -5.0, -1.5, 0.12, 0.4), "."),
    "angry": ((1.12, +2.5, 1.35, +6.0, +1.6, 0.00, 0.7), "!"),
    "fear": ((1.22, +4.5, 0.60, +0.5, -0.6, 0.08, 0.9), "."),
    "disgust": ((0.86, -2.0, 1.15, -2.5, -0.8, 0.02, 1.0), "."),
    "surprise": ((1.04, +4.5, 1.70, +1.5, +0.3, 0.05, 0.1), "?"),
}
# Standard deviations per cue: between speakers, of a speaker's expression of one emotion, and between clips.
PERSON = (0.05, 0.8, 0.10, 1.2, 0.4, 0.01, 0.05)
HABIT = (0.05, 0.9, 0.15, 1.3, 0.5, 0.02, 0.15)
SPREAD = (0.06, 0.9, 0.15, 1.7, 0.5, 0.02, 0.15)
EXPRESSIVE = (0.9, 1.5)  # range of the speakers' expressiveness, a factor
STRENGTH = {"normal": 1.0, "strong": 1.4}
CONDITIONS = {  # speaking rate as a factor, pause between words in units of 10 ms
    "": (1.00, 0),
    "stroke": (0.92, 2),
    "dementia": (0.95, 4),
    "epilepsy": (1.00, 1),
    "migraine": (0.97, 0),
}
VOICES = {
    "male": "m3 m1 m7 m2 edward m4 john m6 travis max norbert Gene adam".split(),
    "female": "f2 f1 steph f3 Annie f4 aunty f5 belinda linda shelby Alicia grandma".split(),
}
CREMA_ACTORS = {  # real ids from a published speaker-disjoint split (four train, two dev, two test); invented ages
    1001: ("male", 51),
    1002: ("female", 21),
    1003: ("female", 24),
    1005: ("male", 33),
    1049: ("female", 27),
    1059: ("male", 45),
    1048: ("male", 38),
    1074: ("female", 31),
}
RAVDESS_ACTORS = (1, 4, 9, 15, 22, 24)  # one from each EmoBox fold
RAVDESS_STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
PATIENTS = ["stroke"] * 10 + ["dementia"] * 8 + ["epilepsy"] * 4 + ["migraine"] * 3
LOCAL_STATEMENTS = (
    "The bus stops in front of the house",
    "There is a cup of tea on the table",
    "My brother is coming home on Friday",
    "The window in the kitchen is open",
)


@dataclass(frozen=True)
class Clip:
    """The description of a clip: everything that determines its samples, and its line in a manifest."""

    corpus: str
    file: str
    speaker: str
    sex: str
    voice: str
    emotion: str
    intensity: str
    text: str
    condition: str = ""


def generate(name: str, to: Path) -> None:
    """Write `to`/`name`.zip, with the same bytes each time.

    Raises:
        DemoError: The corpus is unknown, or espeak-ng is not installed.
    """
    planned = plan(name)
    if not shutil.which("espeak-ng"):
        raise corpora.DemoError(
            "the demo corpora are generated with espeak-ng, which is not installed: `apt-get install espeak-ng`"
        )
    from rich.progress import track

    clips = {clip.file: clip for clip in planned}
    with ProcessPoolExecutor() as pool:
        sounds = track(pool.map(render, clips.values(), chunksize=8), description=name, total=len(clips))
        files = dict(zip(clips, sounds, strict=True))
    files |= _side_files(name, planned)
    to.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(to / f"{name}.zip", "w", zipfile.ZIP_STORED) as packed:
        for file in sorted(files):
            packed.writestr(zipfile.ZipInfo(file, date_time=(2020, 9, 19, 0, 0, 0)), files[file])


def plan(name: str) -> list[Clip]:
    """List the clips of a corpus."""
    plans = {"demo-crema": _plan_crema, "demo-ravdess": _plan_ravdess, "demo-local": _plan_local}
    return list(plans[corpora.check_demo_name(name)]())


def _plan_crema() -> Iterator[Clip]:
    voices = _voices({str(actor): sex for actor, (sex, _) in CREMA_ACTORS.items()})
    for (actor, (sex, voice)), (code, text), (short, emotion) in product(
        voices.items(), corpora.CREMA_SENTENCES.items(), corpora.CREMA_EMOTIONS.items()
    ):
        level = "HI" if code == "IEO" and emotion != "neutral" else "XX"  # as in CREMA-D, where only IEO has levels
        file = f"AudioWAV/{actor}_{code}_{short}_{level}.ogg"
        yield Clip("demo-crema", file, actor, sex, voice, emotion, "strong" if level == "HI" else "normal", text)


def _plan_ravdess() -> Iterator[Clip]:
    voices = _voices({f"{actor:02}": "male" if actor % 2 else "female" for actor in RAVDESS_ACTORS})
    emotions, intensities = (corpora.RAVDESS_CODES[field].items() for field in ("emotion", "intensity"))
    for (actor, (sex, voice)), (code, emotion), (level, intensity), statement, repetition in product(
        voices.items(), emotions, intensities, (1, 2), (1, 2)
    ):
        if emotion == "neutral" and intensity == "strong":  # not in RAVDESS
            continue
        file = f"03-01-{code}-{level}-{statement:02}-{repetition:02}-{actor}.ogg"
        path = f"Audio_Speech_Actors_01-24/Actor_{actor}/{file}"
        yield Clip("demo-ravdess", path, actor, sex, voice, emotion, intensity, RAVDESS_STATEMENTS[statement - 1])


def _plan_local() -> Iterator[Clip]:
    patients = {f"P{i + 1:02}": condition for i, condition in enumerate(PATIENTS)}
    voices = _voices(dict(zip(patients, cycle(("female", "male")))), ("en-gb", "en-gb", "en-us", "en-us"))
    for patient, condition in patients.items():
        sex, voice = voices[patient]
        order = (
            _rng("demo-local", patient, "statements").permutation(8) % 4
        )  # shuffled, so that the sentence does not predict the emotion
        for (emotion, statement), take in product(zip(EMOTIONS, order, strict=True), (1, 2)):
            file, text = f"audio/{patient}/{patient}_{emotion}_{take}.ogg", LOCAL_STATEMENTS[statement]
            yield Clip("demo-local", file, patient, sex, voice, emotion, "normal", text, condition)


def _voices(sexes: dict[str, str], accents: tuple[str, ...] = ("en-us",)) -> dict[str, tuple[str, str]]:
    """Return sex and espeak-ng voice by speaker: each speaker gets the next voice of the right sex."""
    variants = {sex: iter(names) for sex, names in VOICES.items()}
    accent = cycle(accents)
    return {speaker: (sex, f"{next(accent)}+{next(variants[sex])}") for speaker, sex in sexes.items()}


def _side_files(name: str, clips: list[Clip]) -> dict[str, str]:
    if name == "demo-crema":
        rows = [f'{actor},{age},"{sex.title()}","Unknown","Unknown"' for actor, (sex, age) in CREMA_ACTORS.items()]
        return {"VideoDemographics.csv": "\n".join(['"ActorID","Age","Sex","Race","Ethnicity"', *rows, ""])}
    if name == "demo-local":
        rows = [",".join((c.file, c.emotion, c.speaker, c.sex, c.condition, c.text, c.intensity)) for c in clips]
        return {"manifest.csv": "\n".join(["file,emotion,speaker,sex,condition,statement,intensity", *rows, ""])}
    return {}


def render(clip: Clip) -> bytes:
    """Synthesise a clip and return it as an Ogg/Opus file."""
    import soundfile

    buffer = io.BytesIO()
    options = {"format": "OGG", "subtype": "OPUS", "compression_level": COMPRESSION}
    soundfile.write(buffer, synthesise(clip), SAMPLE_RATE, **options)
    return _tidy_ogg(buffer.getvalue())


def synthesise(clip: Clip) -> np.ndarray:
    """Synthesise a clip: espeak-ng sets rate, pitch and pitch range; the other cues are applied to its samples."""
    from scipy.signal import resample_poly

    rng = _rng(clip.corpus, clip.file)
    cues = _cues(clip, rng)
    voice = _trim(_espeak(clip, cues))
    voice = _roughen(voice, cues["irregular"], rng)
    voice = voice + cues["breath"] * _aspiration(voice, rng)
    voice = resample_poly(_tilt(voice, cues["tilt"]), SAMPLE_RATE // 50, ESPEAK_RATE // 50)
    voice *= 10 ** ((-26 + cues["energy"]) / 20) / np.sqrt(np.mean(voice**2))
    voice = np.pad(voice, (rng.integers(2000, 2800), rng.integers(2000, 2800)))  # about 0.15 s
    voice += rng.normal(0, 10 ** (rng.uniform(-70, -62) / 20), len(voice))  # a quiet room, not digital silence
    voice[-160:] *= np.linspace(1, 0, 160)
    voice = np.pad(voice, (0, (104 - len(voice)) % 320))  # Opus then ends on a whole frame, without a click
    return voice * min(1, 0.7 / np.abs(voice).max())  # Opus overshoots by up to a fifth


def _cues(clip: Clip, rng: np.random.Generator) -> dict[str, float]:
    """Draw the cues of one clip from its emotion, intensity, speaker and condition, and at random."""
    neutral, acted = np.array(EMOTIONS["neutral"][0]), np.array(EMOTIONS[clip.emotion][0])
    person, habit = _rng(clip.corpus, clip.speaker), _rng(clip.corpus, clip.speaker, clip.emotion)
    values = neutral + person.normal(0, PERSON) + rng.normal(0, SPREAD)
    if clip.emotion != "neutral":  # neutral is the speaker's own voice, without habits
        values += person.uniform(*EXPRESSIVE) * STRENGTH[clip.intensity] * (acted - neutral) + habit.normal(0, HABIT)
    cues = dict(zip(CUES, values.tolist(), strict=True))
    cues["rate"] *= CONDITIONS[clip.condition][0]
    return cues | {cue: max(0.0, cues[cue]) for cue in ("range", "breath", "irregular")}


def _rng(*key: str) -> np.random.Generator:
    """Return a random generator that depends on the key alone."""
    return np.random.default_rng([SEED, zlib.crc32("/".join(key).encode())])


def _espeak(clip: Clip, cues: dict[str, float]) -> np.ndarray:
    import soundfile

    pitch = round(np.clip(50 + cues["pitch"] / 0.165, 0, 99))  # a step of espeak-ng is about 0.165 semitones
    width = round(np.clip(50 * cues["range"], 0, 99))  # only SSML reaches the pitch range
    text = f'<speak><prosody range="{width}">{clip.text}{EMOTIONS[clip.emotion][1]}</prosody></speak>'
    options = {"-v": clip.voice, "-s": round(165 * cues["rate"]), "-p": pitch, "-g": CONDITIONS[clip.condition][1]}
    command = ["espeak-ng", *(str(part) for option in options.items() for part in option), "-m", "--stdout", text]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    return soundfile.read(io.BytesIO(wav))[0]


def _trim(x: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(np.abs(x) > 0.01 * np.abs(x).max())
    return x[loud[0] : loud[-1] + 1]


def _slow_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return slow noise (below about 60 Hz) of unit variance."""
    window = np.hanning(ESPEAK_RATE // 60)
    noise = np.convolve(rng.normal(size=n), window, "same")
    return noise / noise.std()


def _roughen(x: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Make the periods (by warping time) and the amplitudes irregular."""
    time = np.arange(len(x)) + np.cumsum(0.02 * amount * _slow_noise(len(x), rng))
    return np.interp(time, np.arange(len(x)), x) * (1 + 0.15 * amount * _slow_noise(len(x), rng))


def _aspiration(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return high-frequency noise with the amplitude envelope of the speech."""
    envelope = np.convolve(np.abs(x), np.hanning(ESPEAK_RATE // 50) / (ESPEAK_RATE // 100), "same")
    return envelope * np.diff(rng.normal(size=len(x) + 1))


def _tilt(x: np.ndarray, slope: float) -> np.ndarray:
    """Tilt the spectrum by a slope in dB per octave around 500 Hz."""
    octaves = np.log2(np.clip(np.fft.rfftfreq(len(x), 1 / ESPEAK_RATE), 125, 8000) / 500)
    return np.fft.irfft(np.fft.rfft(x) * 10 ** (slope * octaves / 20), len(x))


def _tidy_ogg(ogg: bytes) -> bytes:
    """Replace the stream's random serial number, so that equal audio has equal bytes, and drop the padding."""
    tidy, start = b"", 0
    while start < len(ogg):
        lacing = ogg[start + 27 : start + 27 + ogg[start + 26]]
        header, body = ogg[start : start + 26], ogg[start + 27 + len(lacing) :][: sum(lacing)]
        start += 27 + len(lacing) + len(body)
        if body.startswith(b"OpusTags"):  # the name of the encoder, no comments, 700 zeros
            body = body[: 16 + int.from_bytes(body[8:12], "little")]
            lacing = bytes([len(body)])
        page = header[:14] + b"demo" + header[18:22] + bytes(4) + bytes([len(lacing)]) + lacing + body
        tidy += page[:22] + _ogg_checksum(page).to_bytes(4, "little") + page[26:]
    return tidy


def _ogg_checksum(page: bytes) -> int:
    """Return Ogg's CRC-32 (unlike zlib's, without bit reflection) of a page whose checksum field is zero."""
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _ogg_table()[crc >> 24 ^ byte]
    return crc


@cache
def _ogg_table() -> list[int]:
    table = [byte << 24 for byte in range(256)]
    for _ in range(8):
        table = [(value << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if value >> 31 else 0) for value in table]
    return table


if __name__ == "__main__":
    try:
        for name in corpora.DEMO_CORPORA:
            generate(name, Path(sys.argv[1]) if len(sys.argv) > 1 else corpora.DATA_DIR)
    except corpora.DemoError as error:
        sys.exit(f"error: {error}")
