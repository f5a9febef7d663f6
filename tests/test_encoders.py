"""Frozen speech encoders: real architectures with random weights, small and saved to disk, through the real loading."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sernb import audio
from sernb import cli
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models
from sernb import results

torch = pytest.importorskip("torch", reason="the extra encoders is not installed")
transformers = pytest.importorskip("transformers", reason="the extra encoders is not installed")

RATE, WIDTH = 16000, 32
CONVOLUTIONAL = {
    "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
    "hubert": (transformers.HubertConfig, transformers.HubertModel),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
}
# The base models normalise over time (group), the large ones over channels (layer).
ARCHITECTURES = [f"{kind}-{norm}" for kind in CONVOLUTIONAL for norm in ("group", "layer")] + ["whisper"]


def save_model(folder: Path, architecture: str, seed: int = 0) -> Path:
    """Save a small encoder with random weights as the published ones are saved."""
    torch.manual_seed(seed)
    if architecture == "whisper":
        size = {"d_model": WIDTH, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 60}
        layers = {"encoder_layers": 3, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
        config = transformers.WhisperConfig(**size, **layers, **tokens)
        network, extractor = transformers.WhisperModel(config), transformers.WhisperFeatureExtractor()
    else:
        kind, norm = architecture.split("-")
        size = {"hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
        positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
        norms = {"feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer"}
        make_config, make_network = CONVOLUTIONAL[kind]
        network = make_network(make_config(**size, **positions, **norms, conv_dim=(16,) * 7))
        extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer")
    network.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of each architecture."""
    root = tmp_path_factory.mktemp("encoders")
    return {name: save_model(root / name, name) for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def table():
    return corpora.load("demo-ravdess", channel="speech", emotions=["angry", "sad"], max_clips=24)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def load(folder: Path) -> features.SpeechEncoder:
    parameters = features.encoder_parameters(folder)
    return features.load_encoder(parameters["model"], parameters["revision"])


# the numbers


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_encoder_gives_mean_and_deviation_of_its_frames(saved, architecture):
    """Compared with transformers used by hand."""
    vector = features.encode(noise(1.3), RATE, model=saved[architecture], layer=2)
    network = transformers.AutoModel.from_pretrained(saved[architecture]).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(saved[architecture])
    inputs = extractor(noise(1.3), sampling_rate=RATE, return_tensors="pt")
    network = network.encoder if architecture == "whisper" else network
    with torch.inference_mode():
        frames = network(**inputs, output_hidden_states=True).hidden_states[2][0]
    frames = frames[:65] if architecture == "whisper" else frames  # 50 per second, of 30 s
    expected = torch.cat([frames.mean(dim=0), frames.std(dim=0, correction=0)])
    assert vector.shape == (2 * WIDTH,) and vector.dtype == np.float32
    np.testing.assert_allclose(vector, expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_clips_encoded_together_equal_single_clips(saved, architecture):
    clips = [noise(seconds, seed) for seed, seconds in enumerate([1.0, 2.1, 0.7, 1.6])]
    together = features.encode_clips(clips, RATE, model=saved[architecture])
    single = [features.encode(clip, RATE, model=saved[architecture]) for clip in clips]
    np.testing.assert_allclose(together, single, atol=1e-5)
    assert load(saved[architecture]).can_batch == architecture.endswith("layer")


def test_short_clips_are_encoded_in_batches(saved):
    sizes = input_sizes(saved["wavlm-layer"], [noise(seconds) for seconds in (3, 5, 4, 6, 2)])
    assert sizes == [(3, 5 * RATE), (2, 6 * RATE)]
    assert input_sizes(saved["wavlm-group"], [noise(1), noise(2)]) == [(1, RATE), (1, 2 * RATE)]


def input_sizes(folder: Path, clips: list[np.ndarray]) -> list[tuple[int, int]]:
    """Return the shape of everything that the network of an encoder is given for some clips."""
    sizes = []
    hook = lambda module, positional, named: sizes.append(tuple(named["input_values"].shape))  # noqa: E731
    handle = load(folder).network.register_forward_pre_hook(hook, with_kwargs=True)
    features.encode_clips(clips, RATE, model=folder)
    handle.remove()
    return sizes


def test_a_long_clip_is_encoded_in_windows_of_bounded_length(saved):
    sizes = input_sizes(saved["wavlm-layer"], [noise(45.0)])
    assert sizes == [(1, 15 * RATE)] * 3


def test_the_windows_of_a_long_clip_count_as_one_clip(saved):
    folder = saved["hubert-layer"]
    mean, deviation = np.split(features.encode(noise(40.0), RATE, model=folder), 2)
    parts = [np.split(features.encode(part, RATE, model=folder), 2) for part in np.array_split(noise(40.0), 2)]
    means, squares = zip(*[(mean, deviation**2 + mean**2) for mean, deviation in parts], strict=True)
    np.testing.assert_allclose(mean, np.mean(means, axis=0), atol=1e-5)
    np.testing.assert_allclose(deviation**2 + mean**2, np.mean(squares, axis=0), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["wavlm-layer", "whisper"])
def test_another_rate_and_a_very_short_clip(saved, architecture):
    at_48 = features.encode(audio.resample(noise(1.0), RATE, 48000), 48000, model=saved[architecture])
    at_16 = features.encode(noise(1.0), RATE, model=saved[architecture])
    assert np.corrcoef(at_48, at_16)[0, 1] > 0.99
    assert np.isfinite(features.encode(noise(0.01), RATE, model=saved[architecture])).all()


def test_layers_differ_and_their_mean_is_the_default(saved):
    folder, clip = saved["wav2vec2-layer"], noise(1.0)
    first, *_ = layers = [features.encode(clip, RATE, model=folder, layer=layer) for layer in (1, 2, 3)]
    assert not np.allclose(first, layers[1], atol=1e-3)
    mean = np.mean([vector[:WIDTH] for vector in layers], axis=0)
    np.testing.assert_allclose(features.encode(clip, RATE, model=folder)[:WIDTH], mean, atol=1e-5)


def test_weights_of_a_larger_model_in_the_older_format(tmp_path, saved):
    """As facebook/hubert-large-ll60k: with the names of weight normalisation of older versions, as a `.bin` file."""
    from safetensors.torch import load_file

    folder = shutil.copytree(saved["hubert-layer"], tmp_path / "older")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    older = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, old in older.items():
        weights = {key.replace(new, old): value for key, value in weights.items()}
    torch.save({f"hubert.{key}": value for key, value in weights.items()}, folder / "pytorch_model.bin")
    clip = noise(1.0)
    expected = features.encode(clip, RATE, model=saved["hubert-layer"])
    np.testing.assert_allclose(features.encode(clip, RATE, model=folder), expected, atol=1e-6)


# the store


@pytest.mark.slow
def test_the_store_knows_the_weights_and_the_layer(tmp_path, saved, table, monkeypatch):
    folder = shutil.copytree(saved["wavlm-layer"], tmp_path / "model")
    options = {"sample_rate": RATE, "n_jobs": 2}
    x = features.extract(table, "encoder", **options, model=str(folder))
    assert x.shape == (len(table), 2 * WIDTH)
    moved = shutil.move(folder, tmp_path / "moved")
    with monkeypatch.context() as patch:  # nothing is encoded again
        patch.setattr("sernb.features.extraction.encode_clips", None)
        np.testing.assert_array_equal(features.extract(table, "encoder", **options, model=str(moved)), x)
    assert not np.array_equal(features.extract(table, "encoder", **options, model=str(moved), layer=1), x)
    save_model(moved, "wavlm-layer", seed=1)
    assert not np.array_equal(features.extract(table, "encoder", **options, model=str(moved)), x)


def test_a_clip_that_cannot_be_decoded_does_not_move_the_others(tmp_path, saved, table):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    rows = table.head(4).copy()
    rows.loc[1, ["path", "sha256"]] = str(tmp_path / "broken.wav"), "0" * 64
    options = {"sample_rate": RATE, "model": str(saved["wavlm-layer"])}
    usable, unusable = features.split_usable(rows, "encoder", **options)
    assert len(usable) == 3 and len(unusable) == 1
    own = features.extract(table.iloc[[3]], "encoder", **options)
    np.testing.assert_array_equal(features.extract(usable, "encoder", **options)[2], own[0])


@pytest.mark.slow
def test_the_code_of_the_page_runs(saved):
    page = Path(__file__).parents[1] / "book" / "encoders.md"
    code = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)[1]
    names = {}
    exec(code.replace("microsoft/wavlm-base-plus", str(saved["wavlm-group"])).replace("layer=9", "layer=2"), names)
    assert (
        names["x"].shape == (60, 2 * WIDTH) and names["trained"].predictions["prediction"].isin(names["labels"]).all()
    )


# models that cannot be used


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ""}, "needs a model"),
        ({"model": "/no/such/folder"}, "no such folder"),
        ({"model": "./models/wavlm"}, "no such folder"),
        ({"model": "iic/emotion2vec_plus_large"}, "no loader for emotion2vec.*wav2vec2, hubert, wavlm, whisper"),
        ({"layer": 4}, r"has the layers 1 to 3; 0 stands for the mean of all \(got 4\)"),
        ({"layer": -1}, r"got -1"),
    ],
)
def test_a_wrong_model_or_layer_is_one_readable_line(saved, options, message):
    with pytest.raises(features.EncoderError, match=message) as caught:
        features.encode(noise(1.0), RATE, **{"model": saved["wavlm-layer"], **options})
    assert len(str(caught.value).splitlines()) == 1


def damage(folder: Path, how: str) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    if how == "another type":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "bert"}))
    elif how == "cut off":
        weights.write_bytes(weights.read_bytes()[:9000])
    elif how == "layers missing":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 5}))
    else:
        (folder / how).unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("config.json", "contains no complete model"),
        ("preprocessor_config.json", "contains no complete model"),
        ("model.safetensors", "contains no complete model"),
        ("cut off", "contains no complete model"),
        ("another type", "of type bert; choose one of wav2vec2"),
        ("layers missing", "lacks [0-9]+ of the weights of its encoder, such as encoder.layers.3"),
    ],
)
def test_an_incomplete_folder_is_one_readable_line(tmp_path, saved, how, message):
    folder = shutil.copytree(saved["wavlm-layer"], tmp_path / "model")
    damage(folder, how)
    with pytest.raises(features.EncoderError, match=message) as caught:
        features.encode(noise(1.0), RATE, model=folder)
    assert len(str(caught.value).splitlines()) == 1 and str(folder) in str(caught.value)


def in_fresh_process(code: str, home: Path) -> str:
    """Return the last line of the output of code that runs offline with its own cache of models."""
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    code = f"import numpy as np\nfrom sernb import features\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_model_of_the_hub_is_used_offline_from_the_local_cache(tmp_path, saved):
    """The folders of the cache are laid out as the hub's library does."""
    commit, cache = "0123456789" * 4, tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(saved["wavlm-layer"], cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    code = "print(features.encoder_parameters('someone/tiny')['revision'], float(features.encode("
    output = in_fresh_process(f"{code}np.ones(16000, np.float32), 16000, model='someone/tiny')[0]))", tmp_path)
    revision, first = output.split()
    assert revision == commit
    expected = features.encode(np.ones(16000, np.float32), RATE, model=saved["wavlm-layer"])[0]
    assert float(first) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.slow
def test_a_model_that_is_not_in_the_cache_is_one_readable_line_offline(tmp_path):
    code = "try:\n    features.encoder_parameters('someone/absent')\n"
    code += "except features.EncoderError as error:\n    print(error)"
    message = in_fresh_process(code, tmp_path)
    assert message.startswith("someone/absent is not in the local cache of models, and cannot be downloaded")


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_without_the_extra_there_is_one_readable_line(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(features.EncoderError, match=rf"needs the packages.*{package}.*pip install.*sernb\[encoders\]"):
        features.encode(noise(1.0), RATE, model="microsoft/wavlm-base-plus")


# the discriminant


def test_the_features_of_a_discriminant(saved):
    assert models.select_features() == {"functionals": {}}
    beside = models.select_features(str(saved["whisper"]), layer=2, functionals=True)
    assert list(beside) == ["functionals", "encoder"]
    assert beside["encoder"] == features.encoder_parameters(saved["whisper"], 2)
    assert list(models.select_features(str(saved["whisper"]))) == ["encoder"]


@pytest.mark.notebook
def test_07_and_predict_with_an_encoder(tmp_path, saved, table):
    """In place of the functionals; then a new clip is predicted, with and without enrolment."""
    from test_notebooks import outputs
    from test_notebooks import run

    folder = shutil.copytree(saved["wavlm-layer"], tmp_path / "model")
    small = {"MAX_CLIPS": 48, "COPIES": 1, "FOLD": 1, "EMOTIONS": ["angry", "neutral", "sad"]}
    result = results.read_metrics(run("07_unseen_speakers", tmp_path / "run", **small, ENCODER=str(folder)))
    assert list(result["models"]) == ["discriminant", "discriminant-enrolled", "discriminant-transductive"]
    assert result["models"]["discriminant"]["weights"] == 3 * (2 * WIDTH + 1)
    assert "without encoder deviation" in outputs(tmp_path / "run")
    assert result["environment"]["versions"]["transformers"] == transformers.__version__
    check_predictions(tmp_path / "run", table)
    save_model(folder, "wavlm-layer", seed=1)
    refused(tmp_path / "run", table, "does not contain the model that was used")
    shutil.rmtree(folder)
    refused(tmp_path / "run", table, "no such folder")


@pytest.mark.slow
def test_an_encoder_beside_the_functionals(tmp_path, saved, table):
    parameters = models.select_features(str(saved["hubert-group"]), layer=2, functionals=True)
    labels, rows = corpora.emotion_labels(table), evaluation.make_split(table, "speaker", ratio="50:25:25", seed=1)
    split = models.extract_split_features(rows, parameters, copies=0, seed=1)
    numbers = len(features.feature_names()) + 2 * WIDTH
    assert split.x.shape == (len(rows), numbers)
    enrolled = models.fit_discriminant(models.enrol_speakers(split, 2), labels, name=models.ENROLLED)
    (name, settings), (other, other_settings) = parameters.items()
    spec = features.InputSpec(name, RATE, settings, beside={other: other_settings})
    mean = models.training_mean(split)
    with_mean = replace(spec, mean=mean, deviation=np.ones_like(mean), prior_clips=2)
    results.save_run(
        tmp_path, {models.DISCRIMINANT: models.fit_discriminant(split, labels), models.ENROLLED: enrolled},
        notebook="07_unseen_speakers", parameters={"SEED": 1}, table=table, rows=rows, labels=labels,
        protocol="speaker", inputs={models.DISCRIMINANT: spec, models.ENROLLED: with_mean},
    )  # fmt: skip
    check_predictions(tmp_path, table)


def check_predictions(folder: Path, table) -> None:
    """Test clips have the probabilities of `predictions.csv` again, and a speaker can be enrolled."""
    run = results.load_run(folder)
    tested = results.test_clips(run).head(3)
    again = results.predict_files(run, tested["path"])
    np.testing.assert_allclose(again[run.labels], tested[run.labels], atol=1e-4)
    enrolled = results.enrol_speaker(run, table["path"].head(3))
    assert results.predict_files(enrolled, tested["path"])["prediction"].isin(run.labels).all()
    done = CliRunner().invoke(cli.app, ["predict", str(folder), tested["path"].iloc[0]])
    assert done.exit_code == 0 and tested["prediction"].iloc[0] in done.output


def refused(folder: Path, table, message: str) -> None:
    done = CliRunner().invoke(cli.app, ["predict", str(folder), table["path"].iloc[0]])
    text = " ".join(done.output.split())
    assert done.exit_code != 0 and "needs the encoder that it was trained with" in text and message in text
