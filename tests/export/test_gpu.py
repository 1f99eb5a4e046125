"""What the exported SavedModel promises holds on a GPU, too, where TensorFlow sees one."""

import numpy as np
import pytest
import tensorflow as tf

from dfk.export import export
from tests.networks import network
from tests.pictures import noise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="TensorFlow sees no GPU"),
]
IMAGES = np.stack([noise(24, 24, seed) for seed in range(5)])


@pytest.fixture(scope="module")
def model():
    return network(16)


@pytest.fixture(scope="module")
def signatures(model, tmp_path_factory):
    """Those of an export, which has been checked against the model on the way."""
    file = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(file)
    folder = export(file, file.parent / "saved_model").folder
    return tf.saved_model.load(str(folder)).signatures


def _on_the_cpu(model):
    with tf.device("/CPU:0"):
        return np.asarray(model(IMAGES.astype(np.float32), training=False))


def test_pixels_are_answered_as_the_model_answers_on_the_cpu(model, signatures):
    tf.config.experimental.reset_memory_stats("GPU:0")
    answers = signatures["serve_images"](images=tf.constant(IMAGES))
    assert tf.config.experimental.get_memory_info("GPU:0")["peak"] > IMAGES.nbytes
    np.testing.assert_allclose(answers["probabilities"], _on_the_cpu(model), atol=1e-3)


def test_a_file_that_is_damaged_disturbs_no_neighbour(model, signatures):
    files = [tf.io.encode_png(image).numpy() for image in IMAGES]
    files.insert(2, b"no image")
    answers = signatures["serving_default"](image_bytes=tf.constant(files))
    valid = answers["valid"].numpy()
    assert valid.tolist() == [True, True, False, True, True, True]
    found = answers["probabilities"].numpy()
    np.testing.assert_allclose(found[valid], _on_the_cpu(model), atol=1e-3)
    assert not found[2].any()
