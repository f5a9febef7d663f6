"""Describe a clip by a frozen speech encoder: wav2vec 2.0, HuBERT, WavLM or the encoder of Whisper.

A pretrained network of the library transformers turns a clip into frames, about 50 per second; the feature is their
mean and standard deviation. Nothing is trained. torch and transformers are the optional extra `encoders`; they are
imported when an encoder is used.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sernb import audio
from sernb import utils

ENCODER = "encoder"
ENCODER_TYPES = ("wav2vec2", "hubert", "wavlm", "whisper")  # as `model_type` of their configuration
ENCODER_PACKAGES = ("torch", "transformers")
ALL_LAYERS = 0
MAX_SECONDS = 20.0  # of audio that is encoded at a time, to limit the memory
MIN_SECONDS = 0.1  # shorter clips, which have no complete frame, are padded with silence
# Parameters that a file of weights may lack: they are used in training alone.
UNUSED_WEIGHTS = ("masked_spec_embed", "decoder.")
NOT_INSTALLED = (
    "A speech encoder needs the packages torch and transformers ({error}): `pip install torch transformers`, or the "
    "extra `sernb[encoders]`."
)


class EncoderError(ValueError):
    """An encoder that cannot be used, with the reason and the remedy in one line."""


@dataclass(frozen=True)
class SpeechEncoder:
    """Hold a loaded encoder, the extractor of its inputs, and where it is computed (`cpu` or `cuda`)."""

    network: Any
    extractor: Any
    device: str

    @property
    def is_whisper(self) -> bool:
        """Whether the inputs are the log-mel spectrograms of Whisper, which always last 30 s."""
        return self.network.config.model_type == "whisper"

    @property
    def can_batch(self) -> bool:
        """Whether clips of different lengths can be encoded together without a change of their frames.

        Encoders with group normalisation normalise over time, padding included, and were trained without masks, so
        their clips are encoded one by one. Whisper pads each clip to 30 s: a batch would only take more memory.
        """
        return getattr(self.network.config, "feat_extract_norm", "") == "layer" and self.extractor.return_attention_mask


def encode(
    signal: np.ndarray, sample_rate: int, *, model: str = "", layer: int = ALL_LAYERS, revision: str = ""
) -> np.ndarray:
    """Return the mean and the standard deviation over time of a speech encoder's frames.

    Args:
        signal: Samples, shape (n,).
        sample_rate: In Hz; the signal is resampled to the rate of the encoder.
        model: Name of a model on the Hugging Face hub, such as `microsoft/wavlm-base-plus`, or a folder with one.
        layer: 1 for the output of the first transformer layer, and so on; 0 for the mean of all.
        revision: The `revision` that `encoder_parameters` returned; if empty, the model's current one.

    Returns:
        The means, then the deviations; float32, shape (2 d,) for an encoder of width d.

    Raises:
        EncoderError: torch or transformers is not installed, or the model cannot be used or has no such layer.
    """
    return encode_clips([signal], sample_rate, model=model, layer=layer, revision=revision)[0]


def encode_clips(
    signals: Sequence[np.ndarray],
    sample_rate: int,
    *,
    model: str,
    layer: int = ALL_LAYERS,
    revision: str = "",
) -> np.ndarray:
    """Return `encode` of each of several clips, shape (n, 2 d).

    At most `MAX_SECONDS` of audio are encoded at a time. Short clips are encoded together, with masks for the padding,
    if the encoder allows it. A longer clip is divided into windows of nearly equal length, which are encoded one after
    another, and the mean and deviation are over the frames of all windows.
    """
    facts = encoder_parameters(model, layer, revision)
    encoder = load_encoder(facts["model"], facts["revision"])
    rate = encoder.extractor.sampling_rate
    windows = [
        (clip, window)
        for clip, signal in enumerate(signals)
        for window in _windows(signal if sample_rate == rate else audio.resample(signal, sample_rate, rate), rate)
    ]
    totals: dict[int, np.ndarray] = {}  # of each clip: number, sum and sum of squares of its frames
    for batch in _batches(windows, encoder):
        for (clip, _), frames in zip(batch, _frames(encoder, [window for _, window in batch], layer), strict=True):
            moments = np.stack(
                [np.full(frames.shape[1], len(frames)), frames.sum(axis=0), np.square(frames).sum(axis=0)]
            )
            totals[clip] = totals.get(clip, 0) + moments
    count, total, squares = np.stack([totals[clip] for clip in range(len(signals))], axis=1)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    return np.hstack([mean, deviation]).astype(np.float32)


def _windows(signal: np.ndarray, rate: int) -> list[np.ndarray]:
    """Divide a signal into as few parts of nearly equal length as have at most `MAX_SECONDS` each."""
    signal = np.pad(signal, (0, max(0, int(MIN_SECONDS * rate) - len(signal))))
    return np.array_split(signal, int(np.ceil(len(signal) / int(MAX_SECONDS * rate))))


def _batches(windows: Sequence[tuple[int, np.ndarray]], encoder: SpeechEncoder) -> Iterator[list[tuple]]:
    """Yield the windows in their order, together as long as they take at most `MAX_SECONDS` with their padding."""
    batch: list[tuple] = []
    for window in windows:
        longest = max(len(samples) for _, samples in [*batch, window])
        full = (len(batch) + 1) * longest > MAX_SECONDS * encoder.extractor.sampling_rate
        if batch and (full or not encoder.can_batch):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _frames(encoder: SpeechEncoder, windows: list[np.ndarray], layer: int) -> list[np.ndarray]:
    """Return the frames of a layer of each window, without those of its padding; float64, shape (frames, d)."""
    import torch

    rate = encoder.extractor.sampling_rate
    options = {} if encoder.is_whisper else {"padding": True}
    inputs = encoder.extractor(windows, sampling_rate=rate, return_tensors="pt", **options)
    lengths = torch.tensor([len(window) for window in windows])
    if encoder.is_whisper:
        counts = -(-lengths // (2 * encoder.extractor.hop_length))  # its second convolution has a stride of 2
    else:
        counts = encoder.network._get_feat_extract_output_lengths(lengths)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*key_padding_mask")  # torch's own about WavLM's masks
        states = encoder.network(**inputs.to(encoder.device), output_hidden_states=True).hidden_states
        values = torch.stack(states[1:]).mean(dim=0) if layer == ALL_LAYERS else states[layer]
    return [frames[:count].cpu().numpy().astype(np.float64) for frames, count in zip(values, counts, strict=True)]


# the model


def encoder_parameters(model: str, layer: int = ALL_LAYERS, revision: str = "") -> dict[str, int | str]:
    """Return the parameters of the feature `encoder` in full, with the revision of the model; check model and layer.

    A model on the hub is looked for in the local cache first, and only its configuration is read here.

    Args:
        model: As for `encode`.
        layer: As for `encode`.
        revision: The revision that is needed; if empty, the model's current one.

    Returns:
        `model` (a folder as an absolute path), `layer`, and `revision`, the commit of a model on the hub or a digest of
        the configuration and weights in a folder.

    Raises:
        EncoderError: See `encode`; or the model of a folder is not of that revision.
    """
    transformers = _import_transformers()
    import huggingface_hub

    name, folder = str(model), Path(model).expanduser()
    if not name:
        raise EncoderError("The feature encoder needs a model: a name on the Hugging Face hub, or a folder.")
    if folder.name.lower().startswith("emotion2vec"):
        raise EncoderError(
            f"{name}: transformers has no loader for emotion2vec, whose own is the package funasr; choose one of the "
            f"types {', '.join(ENCODER_TYPES)}."
        )
    if folder.is_dir():
        name, present = str(folder.absolute()), folder_revision(folder)
        if revision not in ("", present):
            raise EncoderError(
                f"{folder} does not contain the model that was used: its revision is {present}, and {revision} is "
                "needed. Name the folder of that model."
            )
        config = _from_pretrained(transformers.AutoConfig, name)
    else:
        if name.startswith(("/", ".", "~")) or name.count("/") > 1 or name.endswith("/"):  # no name on the hub
            raise EncoderError(f"{name}: there is no such folder. Name the folder of a model, or its name on the hub.")
        options = {"revision": revision or None}
        config = _from_pretrained(transformers.AutoConfig, name, **options)
        # The cache keeps the files of each commit in a folder that has its name.
        present = Path(huggingface_hub.try_to_load_from_cache(name, "config.json", **options)).parent.name
    _check_layer(name, config, layer)
    return {"model": name, "layer": layer, "revision": present}


def _check_layer(name: str, config: Any, layer: int) -> None:
    if config.model_type not in ENCODER_TYPES:
        raise EncoderError(f"{name} is a model of type {config.model_type}; choose one of {', '.join(ENCODER_TYPES)}.")
    layers = getattr(config, "encoder_layers", None) or config.num_hidden_layers
    if layer not in range(layers + 1):
        raise EncoderError(f"{name} has the layers 1 to {layers}; 0 stands for the mean of all (got {layer!r}).")


def folder_revision(folder: Path) -> str:
    """Return a digest of the configuration and the weights in the folder of a model."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors", ".bin"})
    digests = utils.cached_per_file("sha256 of a model", _file_sha256, files)
    lines = (f"{file.name} {digest}\n" for file, digest in zip(files, digests, strict=True))
    return utils.text_digest("".join(lines))[:16]


def _file_sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1)  # a large one takes gigabytes
def load_encoder(model: str, revision: str) -> SpeechEncoder:
    """Load an encoder, onto the GPU if torch finds one; the last one is kept.

    Args:
        model: `model` of `encoder_parameters`.
        revision: Its `revision`.

    Raises:
        EncoderError: A file is missing or damaged, or some weights are not in it.
    """
    import torch

    transformers = _import_transformers()
    options = {} if Path(model).is_dir() else {"revision": revision}
    extractor = _from_pretrained(transformers.AutoFeatureExtractor, model, **options)
    options |= {"dtype": torch.float32, "output_loading_info": True}
    network, loading = _from_pretrained(transformers.AutoModel, model, **options)
    # transformers would leave them at random values, with a warning.
    if missing := sorted(key for key in loading["missing_keys"] if not key.startswith(UNUSED_WEIGHTS)):
        raise EncoderError(f"{model} lacks {len(missing)} of the weights of its encoder, such as {missing[0]}.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.encoder if network.config.model_type == "whisper" else network
    return SpeechEncoder(network.eval().requires_grad_(False).to(device), extractor, device)


def _from_pretrained(loader: Any, model: str, **options: Any) -> Any:
    """Load a part of a model from its folder or the local cache; if it is not there, download it."""
    is_folder = Path(model).is_dir()
    try:
        return loader.from_pretrained(model, local_files_only=True, **options)
    except Exception as error:  # of a damaged file: OSError, ValueError, safetensors's own; no common class
        if is_folder:
            raise EncoderError(f"{model} contains no complete model of transformers: {_first_line(error)}") from error
    try:
        return loader.from_pretrained(model, **options)
    except Exception as error:
        raise EncoderError(
            f"{model} is not in the local cache of models, and cannot be downloaded from the Hugging Face hub: "
            f"{_first_line(error)} Check the name and the connection, or give the folder of a downloaded model."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]


def _import_transformers() -> Any:
    # Else a thread asks the hub to convert older files of weights.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise EncoderError(NOT_INSTALLED.format(error=error)) from error
    transformers.utils.logging.disable_progress_bar()
    return transformers
