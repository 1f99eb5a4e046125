"""What all tests share."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Before TensorFlow is imported

import pytest
from absl import logging

from tests.datasets import write_folders, write_kaggle

# A trace makes millions of objects that stay: looking through them takes a sixth of all time.
gc.set_threshold(200_000, 50, 100)


# Where tests start processes or train: begun last, one of them would let the other cores wait.
_LONG = {"end_to_end", "training", "commands", "export", "benchmarks", "model_files", "models"}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Files with long tests come first, otherwise in the order that chance has given."""
    # The documents' commands take longest: they run one after the other.
    commands = {"test_readme", "test_recipes"}
    items.sort(key=lambda x: (x.path.stem not in commands, x.path.parent.name not in _LONG))


@pytest.fixture(autouse=True)
def same_draws(request):
    """A module's `RNG` begins anew for each test: what one draws hangs on no other's turn."""
    rng = getattr(request.module, "RNG", None)
    if rng is not None:
        rng.bit_generator.state = type(rng.bit_generator)(0).state


@pytest.fixture
def kaggle(tmp_path):
    """A data set in Kaggle's layout, to be damaged at will."""
    return write_kaggle(tmp_path / "kaggle")


@pytest.fixture
def folders(tmp_path):
    """The same images in class folders."""
    return write_folders(tmp_path / "folders")


@pytest.fixture
def logged(caplog):
    """What absl logged, from INFO up: `logged.text`."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)  # Saving a SavedModel resets the level to it
    with caplog.at_level("INFO", logger="absl"):
        yield caplog
    logging.set_verbosity(before)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Three classes of 16 x 16 pixels; 37 validation images are no multiple of a batch.

    Not to be changed: all tests of a session share it. Its name has a blank.
    """
    counts = {"train": 80, "validation": 37, "test": 7}
    return write_kaggle(tmp_path_factory.mktemp("my images"), counts=counts, classes="012")


@pytest.fixture(scope="session")
def finished(data_dir, tmp_path_factory):
    """A run that was never interrupted, and its metrics. Not to be changed."""
    from dfk import training
    from tests.experiments import FINISHED, short

    settings = short(data_dir, tmp_path_factory.mktemp("runs"), *FINISHED)
    return settings, training.run(settings)


@pytest.fixture(scope="module")
def narrow():
    """VGG16 with a sixteenth of its channels: the same layers, phases and files."""
    import keras

    from dfk.models import vgg
    from tests.networks import narrow_vgg16

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg, "_WIDTHS", tuple(width // 16 for width in vgg._WIDTHS))
        patch.setattr(keras.applications, "VGG16", narrow_vgg16)
        yield


@pytest.fixture(scope="module")
def few_counts():
    """`rich` with one histogram of each kernel, of fifty: to trace them all takes seconds."""
    from dfk.layers import rich_features

    few = tuple({which.kernel: which for which in rich_features.COOCCURRENCES}.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rich_features.RichFeatures.__init__, "__defaults__", (few,))
        yield


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The folder of the versions of an exported ensemble, beside its `model.keras`."""
    from dfk.export import export
    from tests.networks import ensemble

    run_dir = tmp_path_factory.mktemp("runs") / "my ensemble"
    run_dir.mkdir()
    ensemble().save(run_dir / "model.keras")
    return export(run_dir).folder.parent


@pytest.fixture(scope="session")
def server(exported):
    """A server on it, in another process."""
    from dfk.benchmarks.serving.client import serving

    with serving(exported, "my_ensemble") as running:
        yield running
