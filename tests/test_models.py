import logging
import os
import subprocess
import sys

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
def test_networks_of_study_a_have_the_published_number_of_weights(name, shape, weights):
    assert studies.study_a_network(name, shape, 6).count_params() == weights


def test_equal_architectures_differ_only_in_dimension():
    for name_1d, name_2d in (("conv1d-b", "conv2d-as-1d"), ("conv1d-as-2d", "conv2d-a")):
        assert studies.NETWORKS[name_1d].filters == studies.NETWORKS[name_2d].filters
        assert studies.NETWORKS[name_1d].dense == studies.NETWORKS[name_2d].dense


@pytest.mark.parametrize("activation", studies.OUTPUT_ACTIVATIONS)
def test_the_network_of_the_paper(activation):
    model = studies.paper_cnn((100, 200, 1), 8, output_activation=activation)
    assert model.count_params() == 44_344
    assert model.layers[-1].activation.__name__ == activation


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="relu, sigmoid, softmax, softplus"):
        studies.paper_cnn((100, 200, 1), 8, output_activation="tanh")


def test_the_summary_is_text():
    text = models.model_summary(studies.study_a_network("conv1d-a", (2, 1), 6))
    assert "106,694" in text and "conv1d" in text


@pytest.mark.slow
def test_sigmoid_differs_from_softmax_and_can_be_saved(tmp_path):
    """Keras trains its own sigmoid on the remembered logits, as it does softmax, and both give the same network."""
    x, y = np.random.default_rng(0).normal(size=(32, 40, 40, 1)), np.eye(8)[np.arange(32) % 8]
    losses = {}
    for activation in ("sigmoid", "softmax"):
        keras.utils.set_random_seed(1)
        model = studies.paper_cnn((40, 40, 1), 8, output_activation=activation)
        losses[activation] = model.fit(x, y, epochs=2, verbose=0).history["loss"]
        models.strip_optimizer(model).save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert losses["sigmoid"] != losses["softmax"]


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_backend_starts_where_stderr_is_closed():
    """As under a service manager that gives a process no standard error."""
    code = """
import os
os.close(2)
from sernb import models
models.init_backend()
print("ready")
"""
    result = run_python(code)
    assert (result.returncode, result.stdout) == (0, "ready\n")


@pytest.mark.slow
def test_settings_of_the_user_do_not_change_a_run(tmp_path):
    settings = '{"image_data_format": "channels_first", "floatx": "float64", "epsilon": 0.1, "backend": "jax"}'
    (tmp_path / "keras.json").write_text(settings)
    code = """
from sernb import models, studies
models.seed_everything(1)
import keras
model = studies.paper_cnn((40, 64, 1), 8)
print(keras.config.epsilon(), keras.config.backend(), model.layers[0].data_format, model.dtype)
print(model.count_params())
"""
    result = run_python(code, KERAS_HOME=str(tmp_path))
    assert result.stdout.split() == ["1e-07", "tensorflow", "channels_last", "float32", "44344"], result.stderr


def test_a_missing_backend_is_named_with_what_to_do():
    result = run_python("from sernb import models; models.init_backend()", KERAS_BACKEND="torch")
    if not result.returncode:
        pytest.skip("torch is installed")
    assert "KERAS_BACKEND is 'torch'" in result.stderr and "Unset KERAS_BACKEND to use TensorFlow" in result.stderr


def test_several_networks_in_one_process_cause_no_warning(caplog):
    """TensorFlow warned on the pages of study A that functions were compiled again."""
    models.init_backend()
    logger = logging.getLogger("tensorflow")
    logger.warning("5 out of the last 13 calls triggered tf.function retracing")
    assert not caplog.records and logger.isEnabledFor(logging.ERROR)
