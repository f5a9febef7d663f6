import keras
import numpy as np
import pytest

from sernb import models
from sernb import studies


@pytest.mark.parametrize(
    ("name", "shape", "weights"),
    [
        ("conv1d-a", (2, 1), 106_694),
        ("conv1d-b", (2, 1), 42_246),
        ("conv2d-a", (128, 216, 1), 14_175_494),
        ("conv2d-as-1d", (128, 216, 1), 28_386_950),
    ],
)
def test_study_as_networks_have_the_published_weights(name, shape, weights):
    assert studies.build_network(name, shape, 6).count_params() == weights


def test_equal_architectures_differ_in_dimension_alone():
    for flat, picture in (("conv1d-b", "conv2d-as-1d"), ("conv1d-as-2d", "conv2d-a")):
        assert studies.NETWORKS[flat].filters == studies.NETWORKS[picture].filters
        assert studies.NETWORKS[flat].dense == studies.NETWORKS[picture].dense


@pytest.mark.parametrize("activation", studies.OUTPUT_ACTIVATIONS)
def test_the_papers_network(activation):
    model = studies.paper_cnn((100, 200, 1), 8, output_activation=activation)
    assert model.count_params() == 44_344
    assert model.layers[-1].activation.__name__ == activation


def test_an_unknown_activation():
    with pytest.raises(ValueError, match="relu, sigmoid, softmax, softplus"):
        studies.paper_cnn((100, 200, 1), 8, output_activation="tanh")


def test_the_summary_is_text():
    text = models.model_summary(studies.build_network("conv1d-a", (2, 1), 6))
    assert "106,694" in text and "conv1d" in text


def test_sigmoid_is_no_softmax_in_disguise_and_can_be_kept(tmp_path):
    """Keras trains its own sigmoid on the logits that it remembers, as it does softmax: then both give one network."""
    x, y = np.random.default_rng(0).normal(size=(32, 40, 40, 1)), np.eye(8)[np.arange(32) % 8]
    losses = {}
    for activation in ("sigmoid", "softmax"):
        keras.utils.set_random_seed(1)
        model = studies.paper_cnn((40, 40, 1), 8, output_activation=activation)
        losses[activation] = model.fit(x, y, epochs=2, verbose=0).history["loss"]
        models.strip_optimizer(model).save(tmp_path / "kept.keras")
        kept = keras.saving.load_model(tmp_path / "kept.keras")
        np.testing.assert_allclose(kept.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert losses["sigmoid"] != losses["softmax"]
